"""What can be counted about a peer, as one frozen object."""

import attrs

__all__ = ["PeerStatistics"]


@attrs.frozen(kw_only=True)
class PeerStatistics:
    """The counters of one connection at one moment."""

    round_trip_time: float | None
    """Seconds that the newest PING took, None before the first answer."""
    bytes_received: int
    bytes_sent: int
    messages_received: int
    messages_sent: int
    requests_running: int
    """Requests of the other side that are not answered yet."""
    requests_outstanding: int
    """Requests of this side that are not answered yet."""
    bytes_waiting: int
    """Bytes of messages that wait to leave."""
    events_dropped: int
    """Unreliable events that found no room."""
    late_responses: int
    """Answers to requests whose callers had gone."""
    glitches: int
    """Messages that made no sense but did no harm."""
