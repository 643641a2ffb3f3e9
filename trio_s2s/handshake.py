"""The handshake without I/O: hello, then welcome or reject."""

import re
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
from trio_s2s.forms import Message, clip, printable
from trio_s2s.framing import encode_frame
from trio_s2s.windows import Limits

__all__ = [
    "MAX_HANDSHAKE_FRAME",
    "Hello",
    "Identity",
    "Terms",
    "Welcome",
    "hello",
    "read_answer",
    "read_hello",
    "reject",
    "valid_server_id",
    "welcome",
]

MAX_HANDSHAKE_FRAME: Final = 4096
MAX_REJECT: Final = 512
MAGIC: Final = "trio-s2s"
VERSIONS: Final = (1, 1)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_MIN_FRAME: Final = 1024


@attrs.frozen
class Identity:
    """Who one side is."""

    instance_id: bytes
    server_id: str = ""
    version: str = ""


@attrs.frozen
class Terms:
    """What both sides tell each other of what they take."""

    limits: Limits
    heartbeat: float
    """Seconds."""


@attrs.frozen
class Hello:
    """What a HELLO said."""

    identity: Identity
    application_name: str
    terms: Terms
    init_object: Any


@attrs.frozen
class Welcome:
    """What a WELCOME said."""

    identity: Identity
    terms: Terms
    response_object: Any
    resumed: bool


def valid_server_id(name: str) -> bool:
    """Whether a name is one, or empty."""
    return name == "" or _NAME.fullmatch(name) is not None


# -- writing --


def hello(
    identity: Identity, application_name: str, init_object: Any, config: PeerConfig
) -> bytes:
    """Make the dialler's frame; an init object that can't travel is an EncodeError."""
    fields = _fields(identity, init_object, config) | {2: application_name}
    packed = _pack_fields(fields, "init_object", config)
    return _frame(
        b"\x94\x00" + pack(MAGIC) + pack(list(VERSIONS)) + packed, "init_object"
    )


def welcome(identity: Identity, response_object: Any, config: PeerConfig) -> bytes:
    """Make the acceptor's frame; the response object must be able to travel."""
    fields = _fields(identity, response_object, config)
    packed = _pack_fields(fields, "response_object", config)
    return _frame(b"\x93\x03" + pack(VERSIONS[1]) + packed, "response_object")


def reject(code: int, text: str) -> bytes:
    """Make the acceptor's frame that says no; its text is cut to what is allowed."""
    if not -(2**63) <= code < 2**63:
        code = CloseCode.INTERNAL  # The application's own, and it can't travel.
    return encode_frame([pack([Kind.REJECT, code, clip(text, MAX_REJECT - 32), None])])


def _fields(identity: Identity, value: Any, config: PeerConfig) -> dict[Any, Any]:
    limits = Limits.of(config)
    return {
        0: identity.server_id,
        1: identity.instance_id,
        3: identity.version,
        4: dict(enumerate(attrs.astuple(limits))),
        5: round(min(config.heartbeat_interval, 600.0) * 1000),
        6: value,
        9: [],
    }


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


def read_hello(body: bytes, own: Collection[bytes], config: PeerConfig) -> Hello:
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
        if fields.get(1) in own:
            raise ConnectionRejectedError(
                CloseCode.SELF_CONNECTION, "this server has dialled itself"
            )
        identity = _read_identity(fields)
        application = _field(fields, 2, str, "application name")
        return Hello(identity, application, _read_terms(fields), fields.get(6))
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
            raise ConnectionRejectedError(message[1], printable(clip(message[2])))
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
        identity = _read_identity(fields)
        resumed = _field(fields, 10, bool, "resumed", default=False)
        return Welcome(identity, _read_terms(fields), fields.get(6), resumed)
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


_REQUIRED: Final = object()


def _field(
    fields: dict[Any, Any], key: int, kind: type, what: str, default: Any = _REQUIRED
) -> Any:
    value = fields.get(key, default)
    if value is _REQUIRED:
        raise RemoteProtocolError(f"without its {what} (field {key})")
    if type(value) is not kind:
        raise RemoteProtocolError(
            f"with a wrong {what} (field {key}): a {type(value).__name__}"
        )
    return value


def _read_identity(fields: dict[Any, Any]) -> Identity:
    server_id = _field(fields, 0, str, "server id")
    if not valid_server_id(server_id):
        raise RemoteProtocolError(
            "with a wrong server id: 1 to 64 of A-Z a-z 0-9 . _ - are allowed, got"
            f" {clip(ascii(server_id), 80)}"
        )
    instance_id = _field(fields, 1, bytes, "instance id")
    if len(instance_id) != 16:
        raise RemoteProtocolError(
            f"with an instance id of {len(instance_id)} bytes, not 16"
        )
    return Identity(instance_id, server_id, _field(fields, 3, str, "version", ""))


def _read_terms(fields: dict[Any, Any]) -> Terms:
    limits = _field(fields, 4, dict, "limits")
    values = [_field(limits, key, int, f"limit {key}") for key in range(4)]
    if min(values) < 0 or values[0] < _MIN_FRAME:
        raise RemoteProtocolError(
            f"with wrong limits {values}: none below 0, max_frame at least"
            f" {_MIN_FRAME:,}"
        )
    heartbeat = _field(fields, 5, int, "heartbeat interval", 0)
    _field(fields, 9, list, "feature names", [])
    return Terms(Limits(*values), heartbeat / 1000)
