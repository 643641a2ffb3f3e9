"""Limits and timeouts in one frozen, validated object."""

import math
from typing import Any

import attrs

from trio_s2s.checks import flag

__all__ = ["PeerConfig"]


def _size(minimum: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if type(value) is not int or not minimum <= value <= 2**32 - 1:
            raise ValueError(
                f"{attribute.name} is a whole number from {minimum:,} to"
                f" {2**32 - 1:,}, not {value!r}"
            )

    return check


def _seconds(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or math.isnan(value) or value <= 0:
        raise ValueError(
            f"{attribute.name} is a number of seconds above 0 (infinity switches it"
            f" off), not {value!r}"
        )


@attrs.frozen(kw_only=True)
class PeerConfig:
    """The limits and timeouts of one side of a connection. Sizes are bytes."""

    max_frame: int = attrs.field(default=512 * 1024, validator=_size(1024))
    """The largest frame that this side takes. Photon: `MaxMessageSize`."""
    max_elements: int = attrs.field(default=4096, validator=_size(16))
    """Elements that one array or map may have."""
    max_concurrent_requests: int = attrs.field(default=1024, validator=_size(0))
    """Requests of the other side that run here at once."""
    max_request_weight: int = attrs.field(default=4 * 1024**2, validator=_size(0))
    """Bytes of unanswered requests that this side holds, plus 64 for each."""
    max_event_weight: int = attrs.field(default=256 * 1024, validator=_size(0))
    """Bytes of unhandled events that this side holds per channel, plus 64 for each."""
    send_buffer: int = attrs.field(default=1024**2, validator=_size(1))
    """Bytes that wait to leave before senders have to wait too."""
    max_pending_handshakes: int = attrs.field(default=64, validator=_size(1))
    """Connections of one listener that may be in their handshake at once."""
    max_pending_handshakes_per_address: int = attrs.field(
        default=16, validator=_size(1)
    )
    """The same, from one address."""
    connect_timeout: float = attrs.field(default=10.0, validator=_seconds)
    """For the name look-up and the connection itself."""
    handshake_timeout: float = attrs.field(default=5.0, validator=_seconds)
    """For TLS and the handshake together."""
    heartbeat_interval: float = attrs.field(default=2.5, validator=_seconds)
    """Silence after which this side asks for a sign of life; the larger of both
    sides' is in force, between 0.1 s and 10 minutes. Photon: `PingFrequency`."""
    heartbeat_misses: int = attrs.field(default=3, validator=_size(1))
    """Intervals of silence that end the connection. Photon: `InactivityTimeout`."""
    send_timeout: float = attrs.field(default=10.0, validator=_seconds)
    """Time in which the other side has to take the next 64 KiB, or what is left."""
    hook_timeout: float = attrs.field(default=5.0, validator=_seconds)
    """For `on_failed`, for `on_disconnected`, and for tasks that were cancelled."""
    connected_timeout: float = attrs.field(default=30.0, validator=_seconds)
    """For `on_connected`."""
    handler_wait: float = attrs.field(default=10.0, validator=_seconds)
    """How long a call from inside a handler waits for the other side's window."""
    drain_timeout: float = attrs.field(default=5.0, validator=_seconds)
    """For what was accepted for sending, and for running requests, at the end."""
    resume_ttl: float = attrs.field(default=20.0, validator=_seconds)
    """How long a server that was lost is known, should it come back."""
    expose_errors: bool = attrs.field(default=False, validator=flag)
    """Whether callers are told the text of a handler's unexpected exception."""
