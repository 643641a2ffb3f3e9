"""What two peers exchange, as attrs classes."""

from collections.abc import Mapping
from typing import Any

import attrs

from trio_s2s.codes import ReturnCode

__all__ = [
    "EventData",
    "InitRequest",
    "InitResponse",
    "OperationRequest",
    "OperationResponse",
    "Parameters",
    "SendParameters",
]

Parameters = Mapping[int | str, Any]
"""A table of values by int or str key, as Photon's `Dictionary<byte, object>`."""


def _integer(lowest: int, highest: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not is_integer or not lowest <= value <= highest:
            raise ValueError(
                f"{attribute.name} is a whole number from {lowest} to {highest}, not"
                f" {value!r}"
            )

    return check


_code = _integer(0, 2**64 - 1)


@attrs.frozen
class SendParameters:
    """How a message is sent. Photon: `SendParameters`."""

    channel: int = attrs.field(default=0, validator=_integer(0, 15))
    """0 to 15: events of one channel keep their order, channels do not wait for
    each other."""
    unreliable: bool = attrs.field(default=False, kw_only=True)
    """Drop the event, and count it, where it would have to wait."""
    encrypted: bool = attrs.field(default=False, kw_only=True)
    """Refuse to send unless the connection is TLS."""
    flush: bool = attrs.field(default=False, kw_only=True)
    """Return only when the transport has taken the message; a `*_nowait` call never
    waits and takes no notice."""


@attrs.frozen
class OperationResponse:
    """The answer to an operation, without a contract. Photon: `OperationResponse`."""

    operation_code: int = attrs.field(validator=_code)
    return_code: int = attrs.field(default=0, validator=_integer(-10, 2**63 - 1))
    """0 is success, above 0 the application's own, below 0 a `ReturnCode`."""
    parameters: Parameters = attrs.field(factory=dict)
    debug_message: str | None = None
    """A text for people."""


@attrs.frozen
class OperationRequest:
    """An operation without a contract. Photon: `OperationRequest`."""

    operation_code: int = attrs.field(validator=_code)
    parameters: Parameters = attrs.field(factory=dict)

    def respond(
        self,
        parameters: Parameters | None = None,
        *,
        return_code: int = ReturnCode.OK,
        debug_message: str | None = None,
    ) -> OperationResponse:
        """Make the answer to this request."""
        return OperationResponse(
            self.operation_code, return_code, parameters or {}, debug_message
        )


@attrs.frozen
class EventData:
    """An event without a contract. Photon: `EventData`."""

    event_code: int = attrs.field(validator=_code)
    parameters: Parameters = attrs.field(factory=dict)


@attrs.frozen
class InitRequest:
    """Who asks to be let in. Photon: `InitRequest`."""

    application_name: str = ""
    """The application that the dialler wants; empty: the listener's own."""
    server_id: str = ""
    """The dialler's name; empty: it is anonymous."""
    instance_id: bytes = b""
    """16 bytes, new for each start of the dialler."""
    version: str = ""
    """The version of the dialler's application."""
    init_object: Any = None
    """What the dialler passed as `init_object=`."""
    local_address: str = ""
    """Where it was accepted, as `host:port`, or a path, or empty."""
    local_port: int | None = None
    """The port on which it was accepted; None where there is none."""
    remote_address: str = ""
    """Where it came from, in the same form."""
    identity_verified: bool = False
    """Whether `server_id` was proven: it is a DNS name of the dialler's certificate,
    which the listener's `ssl_context` has verified. Else it is only a claim."""


@attrs.frozen
class InitResponse:
    """Who let us in. Photon: `InitResponse`."""

    server_id: str = ""
    """The acceptor's name; empty: it is anonymous."""
    instance_id: bytes = b""
    """16 bytes, new for each start of the acceptor."""
    version: str = ""
    """The version of the acceptor's application."""
    response_object: Any = None
    """What the acceptor put into `peer.response_object`."""
    resumed: bool = False
    """Whether the acceptor remembers this very dialler."""
