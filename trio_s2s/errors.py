"""Every exception raised on purpose, as one tree."""

from collections.abc import Sequence
from typing import Any

import trio

from trio_s2s.codes import (
    FAILURE_OF_REJECT,
    CloseCode,
    DisconnectReason,
    FailureReason,
    Outcome,
    ReturnCode,
)

__all__ = [
    "ConnectionFailedError",
    "ConnectionRejectedError",
    "ContractError",
    "EncodeError",
    "ListenError",
    "LocalProtocolError",
    "MessageTooLargeError",
    "OperationError",
    "PeerBusyError",
    "PeerClosedError",
    "PeerDisconnectedError",
    "ProtocolError",
    "RemoteProtocolError",
    "S2SError",
]


class S2SError(Exception):
    """The root: `except S2SError` catches all that trio_s2s raises on purpose."""

    _ending: object = None
    """The end of a connection that this error only tells of."""


# -- the rules of the connection --


class ProtocolError(S2SError):
    """One of the two sides broke a rule of the protocol."""


class LocalProtocolError(ProtocolError):
    """This side asked for something illegal; nothing was sent."""


class MessageTooLargeError(LocalProtocolError):
    """A message is larger than the other side takes; nothing was sent."""

    def __init__(self, what: str, size: int, max_size: int) -> None:
        super().__init__(
            f"{what} has {size:,} bytes, more than the {max_size:,} that both sides"
            " take (max_frame); nothing was sent"
        )
        self.size = size
        """Bytes that the message has."""
        self.max_size = max_size
        """Bytes that a message may have."""


class EncodeError(LocalProtocolError):
    """A value cannot travel; the text names its path, e.g. `parameters[3].when`."""


class RemoteProtocolError(ProtocolError):
    """The other side broke a rule; the connection is over."""

    def __init__(self, text: str, code: CloseCode = CloseCode.PROTOCOL) -> None:
        super().__init__(text)
        self.code = code
        """What the other side is told: PROTOCOL, DECODE, FRAME_TOO_LARGE or FLOOD."""


# -- connecting and listening --


class ConnectionFailedError(S2SError):
    """No connection could be made; `__cause__` has the system's own error."""

    def __init__(self, text: str, reason: FailureReason) -> None:
        super().__init__(text)
        self.reason = reason
        """The kind of failure."""


class ConnectionRejectedError(ConnectionFailedError):
    """The other side said no; an acceptor raises it in `create_peer` to say so."""

    _retry_after = 0.0
    """Seconds that the other side wants to be left alone."""

    def __init__(self, code: int, debug_message: str = "", where: str = "") -> None:
        # It is easily called with the text alone, or without one.
        given: tuple[Any, Any] = code, debug_message
        match given:
            case (int(), str()) if not isinstance(code, bool):
                pass
            case _:
                raise TypeError(f"a rejection has a code and a text, not {given!r}")
        super().__init__(
            f"{where or 'the other side'} rejected the connection with code {code}:"
            f" {debug_message or 'no reason given'}",
            FAILURE_OF_REJECT.get(code, FailureReason.REJECTED),
        )
        self.code = code
        """The REJECT's code; above 0 the application's own."""
        self.debug_message = debug_message
        """The REJECT's text."""


class ListenError(S2SError):
    """A listener could not be opened; `__cause__` has the system's own error."""


# -- using a peer --


class PeerDisconnectedError(S2SError, trio.BrokenResourceError):
    """The connection ended before, or while, this call was at work."""

    def __init__(
        self,
        reason: DisconnectReason,
        detail: str,
        outcome: Outcome = Outcome.NEVER_SENT,
        code: int | None = None,
        what: str = "",
        who: str = "",
    ) -> None:
        waiting = f" while {what} was waiting" if what else ""
        was = f"{who or 'the peer'} was disconnected{waiting}: {reason.name},"
        if reason is DisconnectReason.NOT_CONNECTED:
            was = f"{reason.name},"
        super().__init__(f"{was} {detail or 'no detail'} (outcome {outcome.name})")
        self.reason = reason
        """Why the connection ended: the same for everybody who asks."""
        self.detail = detail
        """The reason in words."""
        self.outcome = outcome
        """What became of the request."""
        self.code = code
        """What the other side's GOODBYE said, None without one."""


class PeerClosedError(S2SError, trio.ClosedResourceError):
    """This side has closed the peer, or the block that owns it has ended."""


class PeerBusyError(S2SError):
    """A handler waited `handler_wait` for the other side's credit; nothing was sent."""


_RETURN_CODES = {int(code): f" {code.name}" for code in ReturnCode}


class OperationError(S2SError):
    """An operation's answer was an error; a handler raises it to answer one."""

    def __init__(
        self, return_code: int, debug_message: str = "", details: object = None
    ) -> None:
        name = _RETURN_CODES.get(return_code, "")
        text = f"operation failed with return code {return_code}{name}"
        super().__init__(f"{text}: {debug_message}" if debug_message else text)
        self.was_received = False
        """Whether another server answered so; then a handler must not pass it on."""
        self.return_code = return_code
        """Above 0 the application's own, below 0 a `ReturnCode`."""
        self.debug_message = debug_message
        """The text that came with it, for people."""
        self.details: Any = details
        """What came with it: the answer's parameters, or, for OPERATION_INVALID,
        `[[path, expected, got], …]`."""


class ContractError(S2SError):
    """Parameters do not fit an attrs class; it lists every field that is wrong."""

    def __init__(self, subject: str, errors: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(
            "; ".join(
                f"{subject}{path and '.'}{path}: expected {expected}, got {got}"
                for path, expected, got in errors
            )
        )
        self.subject = subject
        """The name of the attrs class."""
        self.errors: tuple[tuple[str, str, str], ...] = tuple(errors)
        """(path, expected, got) of every wrong field."""
