"""The numbers that travel, and the reasons that users see."""

from enum import IntEnum

__all__ = [
    "CancelReason",
    "CloseCode",
    "DisconnectReason",
    "FailureReason",
    "Kind",
    "Outcome",
    "ReturnCode",
]


class Kind(IntEnum):
    """The first element of every message: what it is."""

    HELLO = 0
    CHALLENGE = 1
    PROOF = 2
    WELCOME = 3
    REJECT = 4
    REQUEST = 5
    RESPONSE = 6
    EVENT = 7
    CANCEL = 8
    CREDIT = 9
    PING = 10
    PONG = 11
    GOODBYE = 12
    CONTRACTS = 13


class CancelReason(IntEnum):
    """Why a CANCEL was sent."""

    CALLER = 1
    DEADLINE = 2


class ReturnCode(IntEnum):
    """How a request ended, as its answer says it; above 0 the application's own."""

    OK = 0
    INTERNAL_ERROR = -1
    """The handler raised; the text stays at its server (`expose_errors`)."""
    OPERATION_INVALID = -2
    """Parameters are missing or wrong; all of them are in `details`."""
    OPERATION_DENIED = -3
    UNKNOWN_OPERATION = -4
    CANCELLED = -5
    DEADLINE_EXCEEDED = -6
    """The time that the caller gave ran out at the other server."""
    SERVER_BUSY = -7
    """The request never ran."""
    SHUTTING_DOWN = -8
    """The request never ran."""
    RESPONSE_NOT_ENCODABLE = -9
    """The handler's answer could not be packed, or was too large."""
    DISCONNECTED = -10
    """Never travels: what `on_operation_response` is told when the link was lost."""


class CloseCode(IntEnum):
    """What a REJECT or a GOODBYE says; above 0 the application's own."""

    CLOSED = 0
    INTERNAL = -1
    PROTOCOL = -2
    DECODE = -3
    FRAME_TOO_LARGE = -4
    HEARTBEAT = -5
    WRITE_TIMEOUT = -6
    FLOOD = -7
    SHUTTING_DOWN = -8
    REPLACED = -9
    PEER_RESTARTED = -10
    DUPLICATE = -11
    VERSION = -20
    AUTHENTICATION = -21
    IDENTITY = -22
    SELF_CONNECTION = -23
    NAME_IN_USE = -24
    UNKNOWN_APPLICATION = -25
    BUSY = -26


class Outcome(IntEnum):
    """What became of a request whose link was lost."""

    NEVER_SENT = 0
    """Not a byte of it left this server: it may be sent again."""
    REFUSED = 1
    """The other server said that it did not run it: it may be sent again."""
    UNKNOWN = 2
    """It may have run, or not: only the application can tell."""


class DisconnectReason(IntEnum):
    """Why a connection ended; the numbers never travel."""

    LOCAL_CLOSE = 1
    """This side closed it. Photon: ClientDisconnect/ManagedDisconnect."""
    REMOTE_CLOSE = 2
    """The other side said goodbye."""
    CONNECTION_LOST = 3
    """The stream ended without a goodbye."""
    CONNECTION_RESET = 4
    """The other side's system aborted the stream."""
    HEARTBEAT_TIMEOUT = 5
    """Nothing was received for too long. Photon: TimeoutDisconnect."""
    WRITE_TIMEOUT = 6
    """The other side took no byte for too long."""
    PROTOCOL_ERROR = 7
    """The other side broke a rule of the protocol."""
    DECODE_ERROR = 8
    """The other side sent bytes that are no messages."""
    FRAME_TOO_LARGE = 9
    """The other side announced more than this side takes."""
    REPORTED_BY_PEER = 10
    """The other side ended it because of an error, which `detail` tells."""
    FLOOD = 11
    """The other side sent too much of what is cheap to send."""
    REPLACED = 12
    """A newer connection of the same pair took over."""
    PEER_RESTARTED = 13
    """The other server was started anew and connected again."""
    SHUTDOWN = 14
    """A server is being stopped."""
    INTERNAL_ERROR = 15
    """A hook or a task of this peer raised."""
    NOT_CONNECTED = 16
    """There is no connection."""


class FailureReason(IntEnum):
    """Why a connection could not be made; the numbers never travel."""

    INVALID_ADDRESS = 1
    DNS_ERROR = 2
    DNS_TIMEOUT = 3
    REFUSED = 4
    UNREACHABLE = 5
    DENIED = 6
    CONNECT_TIMEOUT = 7
    LOCAL_RESOURCES = 8
    TLS_CONFIG = 9
    TLS_UNTRUSTED = 10
    TLS_HOSTNAME = 11
    TLS_EXPIRED = 12
    TLS_VERSION = 13
    TLS_ERROR = 14
    NOT_TLS = 15
    NOT_S2S = 16
    HANDSHAKE_TIMEOUT = 17
    CLOSED_DURING_HANDSHAKE = 18
    VERSION_MISMATCH = 19
    AUTH_FAILED = 20
    IDENTITY_MISMATCH = 21
    SELF_CONNECTION = 22
    DUPLICATE = 23
    NAME_IN_USE = 24
    PROTOCOL_ERROR = 25
    REJECTED_BUSY = 26
    REJECTED = 27


REASON_OF_ERROR: dict[int, DisconnectReason] = {
    CloseCode.INTERNAL: DisconnectReason.INTERNAL_ERROR,
    CloseCode.PROTOCOL: DisconnectReason.PROTOCOL_ERROR,
    CloseCode.DECODE: DisconnectReason.DECODE_ERROR,
    CloseCode.FRAME_TOO_LARGE: DisconnectReason.FRAME_TOO_LARGE,
    CloseCode.FLOOD: DisconnectReason.FLOOD,
}
"""What this side calls an error that it found, by the code it tells the other side."""

REASON_OF_GOODBYE: dict[int, DisconnectReason] = {
    CloseCode.CLOSED: DisconnectReason.REMOTE_CLOSE,
    CloseCode.SHUTTING_DOWN: DisconnectReason.SHUTDOWN,
    CloseCode.REPLACED: DisconnectReason.REPLACED,
    CloseCode.PEER_RESTARTED: DisconnectReason.PEER_RESTARTED,
    CloseCode.DUPLICATE: DisconnectReason.REPLACED,
}
"""What this side calls a goodbye that it received; see `reason_of_goodbye`."""

FAILURE_OF_REJECT: dict[int, FailureReason] = {
    CloseCode.PROTOCOL: FailureReason.PROTOCOL_ERROR,
    CloseCode.DECODE: FailureReason.PROTOCOL_ERROR,
    CloseCode.FRAME_TOO_LARGE: FailureReason.PROTOCOL_ERROR,
    CloseCode.DUPLICATE: FailureReason.DUPLICATE,
    CloseCode.VERSION: FailureReason.VERSION_MISMATCH,
    CloseCode.AUTHENTICATION: FailureReason.AUTH_FAILED,
    CloseCode.IDENTITY: FailureReason.IDENTITY_MISMATCH,
    CloseCode.SELF_CONNECTION: FailureReason.SELF_CONNECTION,
    CloseCode.NAME_IN_USE: FailureReason.NAME_IN_USE,
    CloseCode.BUSY: FailureReason.REJECTED_BUSY,
}
"""What a dialler calls a REJECT; every other code is REJECTED."""


def reason_of_goodbye(code: int) -> DisconnectReason:
    """Say what a GOODBYE of this code means here; codes above 0 are a plain close."""
    if code > 0:
        return DisconnectReason.REMOTE_CLOSE
    return REASON_OF_GOODBYE.get(code, DisconnectReason.REPORTED_BY_PEER)
