"""Where an application listens, and what holds there: one frozen, validated object."""

import ssl
from typing import Any, Final

import attrs

from trio_s2s.checks import filled, flag
from trio_s2s.config import PeerConfig
from trio_s2s.security import check_context, check_port, refuse_plain_text

__all__ = ["ListenerConfig"]

MAX_BACKLOG: Final = 65_535


def _port(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_port(value, lowest=0)


def _backlog(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is None:
        return
    if type(value) is not int or not 1 <= value <= MAX_BACKLOG:
        raise ValueError(
            f"backlog is a whole number from 1 to {MAX_BACKLOG:,}, not {value!r}"
        )


def _context(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and not isinstance(value, ssl.SSLContext):
        raise ValueError(f"ssl_context is an ssl.SSLContext, not {value!r}")
    check_context(value, listens=True)


def _limits(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if value is not None and not isinstance(value, PeerConfig):
        raise ValueError(f"config is a PeerConfig, not {value!r}")


@attrs.frozen
class ListenerConfig:
    """A TCP listener of an application, for `listen`. Photon: `TCPListener`.

    Raises a ValueError for what makes no sense, and for plain text that would leave
    this machine without `insecure=True`.
    """

    port: int = attrs.field(validator=_port)
    """0 to 65535; 0 lets the system choose. Photon: `Port`."""
    host: str = attrs.field(default="127.0.0.1", kw_only=True, validator=filled)
    """Where to listen, a name or an address. Without `ssl_context` it must be loopback,
    unless `insecure` is True. Photon: `IPAddress`."""
    backlog: int | None = attrs.field(default=None, kw_only=True, validator=_backlog)
    """Connections that the system holds before they are accepted, 1 to 65,535; None: as
    many as it likes. Photon: `ListenBacklog`."""
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, kw_only=True, validator=_context
    )
    """Makes it TLS. Photon has none here: it encrypts single messages (`Encrypted`)."""
    insecure: bool = attrs.field(default=False, kw_only=True, validator=flag)
    """Allows plain text to leave this machine; Photon always does."""
    config: PeerConfig | None = attrs.field(
        default=None, kw_only=True, validator=_limits
    )
    """Limits and timeouts of its connections, from the handshake on; None: those of the
    application. Photon: `InactivityTimeout`, `PingFrequency`, `DisconnectTimeout`,
    `MaxMessageSize`, `MaxQueuedDataPerPeer`."""

    def __attrs_post_init__(self) -> None:
        refuse_plain_text("listening on", self.host, self.ssl_context, self.insecure)
