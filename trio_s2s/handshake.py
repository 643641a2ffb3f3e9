"""The handshake without I/O: hello, then welcome or reject."""

from collections.abc import Collection
from typing import Any, Final

import attrs

from trio_s2s.codec import pack, pack_parameters, unpack_messages
from trio_s2s.codes import CloseCode, FailureReason, Kind
from trio_s2s.config import PeerConfig
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    EncodeError,
    LocalProtocolError,
    RemoteProtocolError,
)
from trio_s2s.fields import (
    Identity,
    Terms,
    field,
    fields_of,
    read_identity,
    read_terms,
)
from trio_s2s.forms import Message, clip, printable
from trio_s2s.framing import encode_frame

__all__ = [
    "MAX_HANDSHAKE_FRAME",
    "Hello",
    "Welcome",
    "hello",
    "leave",
    "read_answer",
    "read_hello",
    "reject",
    "welcome",
]

MAX_HANDSHAKE_FRAME: Final = 4096
MAX_REJECT: Final = 512
MAGIC: Final = "trio-s2s"
VERSIONS: Final = (1, 1)


@attrs.frozen
class Hello:
    """What a HELLO said."""

    identity: Identity
    application_name: str
    terms: Terms
    init_object: Any
    known: bytes = b""
    """The instance of the acceptor that the dialler remembers, or empty."""


@attrs.frozen
class Welcome:
    """What a WELCOME said."""

    identity: Identity
    terms: Terms
    response_object: Any
    resumed: bool


# -- writing --


def hello(
    identity: Identity,
    application_name: str,
    init_object: Any,
    config: PeerConfig,
    known: bytes = b"",
) -> bytes:
    """Make the dialler's frame; an init object that can't travel is an EncodeError.

    `known` is the acceptor's instance, if the dialler remembers one.
    """
    fields = fields_of(identity, init_object, config) | {2: application_name}
    if known:
        fields[11] = known
    packed = _pack_fields(fields, "init_object", config)
    return _frame(
        b"\x94\x00" + pack(MAGIC) + pack(list(VERSIONS)) + packed, "init_object"
    )


def welcome(
    identity: Identity, response_object: Any, config: PeerConfig, resumed: bool = False
) -> bytes:
    """Make the acceptor's frame; the response object must be able to travel."""
    fields = fields_of(identity, response_object, config)
    if resumed:
        fields[10] = True
    packed = _pack_fields(fields, "response_object", config)
    return _frame(b"\x93\x03" + pack(VERSIONS[1]) + packed, "response_object")


def reject(code: int, text: str) -> bytes:
    """Make the acceptor's frame that says no; its text is cut to what is allowed."""
    if not -(2**63) <= code < 2**63:
        code = CloseCode.INTERNAL  # The application's own, and it can't travel.
    return encode_frame([pack([Kind.REJECT, code, clip(text, MAX_REJECT - 32), None])])


def leave(text: str) -> bytes:
    """Make the frame of a dialler that was welcome, and needs no connection."""
    return encode_frame([pack([Kind.GOODBYE, CloseCode.DUPLICATE, text, 0, True])])


def _pack_fields(fields: dict[Any, Any], what: str, config: PeerConfig) -> bytes:
    try:
        return pack_parameters(fields, config.max_elements)
    except EncodeError as error:
        raise EncodeError(str(error).replace("parameters[6]", what, 1)) from error


def _frame(payload: bytes, what: str) -> bytes:
    if len(payload) > MAX_HANDSHAKE_FRAME:
        raise LocalProtocolError(
            f"the handshake with this {what} has {len(payload):,} bytes, more than"
            f" {MAX_HANDSHAKE_FRAME:,}; send the rest as an operation"
        )
    return encode_frame([payload])


# -- reading --


def read_hello(body: bytes, config: PeerConfig) -> Hello:
    """Read the dialler's frame.

    Raises ConnectionFailedError (NOT_S2S) for what is no S2S at all, which gets no
    answer, and ConnectionRejectedError for all else that is wrong, which is a REJECT.
    """
    message = _read(body, config)
    if message[0] != Kind.HELLO:
        raise ConnectionRejectedError(
            CloseCode.PROTOCOL, f"expected HELLO, got {_name(message)}"
        )
    _, magic, versions, fields = message[:4]
    if magic != MAGIC:
        raise ConnectionFailedError(
            f"it said {clip(magic, 32)!r}, not {MAGIC!r}", FailureReason.NOT_S2S
        )
    low, high = versions
    if not low <= VERSIONS[1] or not high >= VERSIONS[0] or low > high:
        raise ConnectionRejectedError(
            CloseCode.VERSION,
            f"this side speaks protocol {VERSIONS[0]} to {VERSIONS[1]},"
            f" the dialler {low} to {high}",
        )
    try:
        identity = read_identity(fields)
        application = field(fields, 2, str, "application name")
        known = field(fields, 11, bytes, "instance id that it remembers", b"")
        return Hello(identity, application, read_terms(fields), fields.get(6), known)
    except RemoteProtocolError as error:
        raise ConnectionRejectedError(CloseCode.PROTOCOL, f"HELLO {error}") from error


def read_answer(body: bytes, own: Collection[bytes], config: PeerConfig) -> Welcome:
    """Read the acceptor's frame; all but a WELCOME is a ConnectionFailedError."""
    try:
        message = _read(body, config)
    except ConnectionRejectedError as error:
        text = error.debug_message
        raise ConnectionFailedError(text, FailureReason.PROTOCOL_ERROR) from error
    match message[0]:
        case Kind.WELCOME:
            return _read_welcome(message)
        case Kind.REJECT:
            refused = ConnectionRejectedError(message[1], printable(clip(message[2])))
            refused._retry_after = (message[3] or 0) / 1000
            raise refused
        case Kind.CHALLENGE:
            raise ConnectionFailedError(
                "the server wants proof of a shared secret, and this side has none",
                FailureReason.AUTH_FAILED,
            )
        case Kind.HELLO:
            itself = message[3].get(1) in own
            raise ConnectionFailedError(
                "the connection has reached its own dialler"
                if itself
                else "the other side dials as well: it said HELLO, not WELCOME",
                FailureReason.SELF_CONNECTION
                if itself
                else FailureReason.PROTOCOL_ERROR,
            )
    raise ConnectionFailedError(
        f"expected WELCOME or REJECT, got {_name(message)}",
        FailureReason.PROTOCOL_ERROR,
    )


def _read_welcome(message: Message) -> Welcome:
    _, version, fields = message[:3]
    try:
        if not VERSIONS[0] <= version <= VERSIONS[1]:
            raise RemoteProtocolError(f"with protocol version {version}, not offered")
        identity = read_identity(fields)
        resumed = field(fields, 10, bool, "resumed", default=False)
        return Welcome(identity, read_terms(fields), fields.get(6), resumed)
    except RemoteProtocolError as error:
        raise ConnectionFailedError(
            f"WELCOME {error}", FailureReason.PROTOCOL_ERROR
        ) from error


def _read(body: bytes, config: PeerConfig) -> Message:
    try:
        messages = list(unpack_messages(body, config.max_elements))
    except RemoteProtocolError as error:
        if body[1:2] == b"\0" and MAGIC.encode() in body[:16]:
            raise ConnectionRejectedError(error.code, str(error)) from error
        raise ConnectionFailedError(
            f"its first frame is no S2S: {error}", FailureReason.NOT_S2S
        ) from error
    if len(messages) > 1:
        raise ConnectionRejectedError(
            CloseCode.PROTOCOL, f"{len(messages)} messages in one handshake frame"
        )
    return messages[0][0]


def _name(message: Message) -> str:
    kind = message[0]
    return Kind(kind).name if kind <= max(Kind) else f"kind {kind}"
