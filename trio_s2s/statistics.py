"""What can be counted about a peer and an application, as frozen objects."""

from collections.abc import Iterable, Mapping

import attrs

from trio_s2s.codes import DisconnectReason, FailureReason

__all__ = [
    "ApplicationStatistics",
    "ConnectionCounts",
    "PeerReport",
    "PeerStatistics",
    "RequestCounts",
    "StopReport",
    "sum_up",
]


@attrs.frozen(kw_only=True)
class RequestCounts:
    """How the requests of this side have ended."""

    succeeded: int = 0
    """Answered with return code 0."""
    failed: int = 0
    """Answered with another return code."""
    cancelled: int = 0
    """Given up by their callers, or after `handler_wait`."""
    never_sent: int = 0
    refused: int = 0
    unknown: int = 0
    """Lost with the connection; these three are an `Outcome`."""


@attrs.frozen(kw_only=True)
class PeerStatistics:
    """The counters of one connection at one moment."""

    round_trip_time: float | None
    """Seconds that the newest PING took, None before the first answer."""
    bytes_received: int
    bytes_sent: int
    messages_received: int
    messages_sent: int
    requests: RequestCounts
    """Requests of this side that have ended."""
    requests_outstanding: int
    """Requests of this side that are not answered yet."""
    requests_running: int
    """Requests of the other side that are not answered yet."""
    bytes_waiting: int
    """Bytes of messages that wait to leave."""
    events_dropped: int
    """Unreliable events that found no room."""
    late_responses: int
    """Answers to requests whose callers had gone."""
    glitches: int
    """Messages that made no sense but did no harm."""


@attrs.frozen(kw_only=True)
class ConnectionCounts:
    """Connections of one side, by state."""

    handshaking: int = 0
    connecting: int = 0
    """Welcomed, `on_connected` is at work."""
    connected: int = 0
    ending: int = 0
    """Their reason is known, `on_disconnected` has not finished."""


@attrs.frozen(kw_only=True)
class ApplicationStatistics:
    """The counters of one server at one moment."""

    inbound: ConnectionCounts
    outbound: ConnectionCounts
    rejections: Mapping[FailureReason, int]
    """Connections that were turned away here, by cause."""
    failures: Mapping[FailureReason, int]
    """Attempts of this server to connect that failed, by cause."""
    ends: Mapping[DisconnectReason, int]
    """Connections that have ended, by reason."""
    total: PeerStatistics
    """The sum over all connections so far; its `round_trip_time` is the longest of
    those that there are."""


@attrs.frozen(kw_only=True)
class PeerReport:
    """What became of the work of one peer when its server was stopped."""

    peer: str
    """Its server id, or its address."""
    finished: int
    """Requests of the other side that were answered in time."""
    refused: int
    """Requests of the other side that came too late, and did not run."""
    cancelled: int
    """Requests of the other side that still ran when the time was over."""
    events_unsent: int
    """Events that were accepted for sending and have not left."""


@attrs.frozen
class StopReport:
    """What became of the work of a server's peers when it was stopped."""

    peers: tuple[PeerReport, ...]
    """Of those that have ended since."""
    is_finished: bool
    """Whether all have; a stop from inside of one of them does not wait for it."""


def sum_up(parts: Iterable[PeerStatistics]) -> PeerStatistics:
    """Add up statistics; the longest round-trip time is kept."""
    parts = list(parts)
    trips = [p.round_trip_time for p in parts if p.round_trip_time is not None]
    requests = [attrs.astuple(part.requests) for part in parts]
    counted = {
        field.name: sum(getattr(part, field.name) for part in parts)
        for field in attrs.fields(PeerStatistics)
        if field.name not in ("round_trip_time", "requests")
    }
    names = [field.name for field in attrs.fields(RequestCounts)]
    columns = zip(*requests, strict=True) if requests else [()] * len(names)
    return PeerStatistics(
        round_trip_time=max(trips, default=None),
        requests=RequestCounts(**dict(zip(names, map(sum, columns), strict=True))),
        **counted,
    )
