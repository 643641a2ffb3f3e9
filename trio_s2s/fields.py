"""The fields that a HELLO and a WELCOME have in common, to and from a map."""

import re
from typing import Any, Final

import attrs

from trio_s2s.config import PeerConfig
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.forms import clip
from trio_s2s.windows import Limits

__all__ = [
    "Identity",
    "Terms",
    "field",
    "fields_of",
    "read_identity",
    "read_terms",
    "valid_server_id",
]

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


def valid_server_id(name: str) -> bool:
    """Whether a name is one, or empty."""
    return name == "" or _NAME.fullmatch(name) is not None


def check_server_id(value: object, *, may_be_empty: bool = False) -> None:
    """Raise a ValueError for what is no name of a server."""
    is_one = isinstance(value, str) and valid_server_id(value)
    if not is_one or not (value or may_be_empty):
        empty = ", or empty" if may_be_empty else ""
        text = f"server_id is 1 to 64 of A-Z a-z 0-9 . _ -{empty}, not {value!r}"
        raise ValueError(text)


def fields_of(identity: Identity, value: Any, config: PeerConfig) -> dict[Any, Any]:
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


_REQUIRED: Final = object()


def field(
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


def read_identity(fields: dict[Any, Any]) -> Identity:
    server_id = field(fields, 0, str, "server id")
    if not valid_server_id(server_id):
        raise RemoteProtocolError(
            "with a wrong server id: 1 to 64 of A-Z a-z 0-9 . _ - are allowed, got"
            f" {clip(ascii(server_id), 80)}"
        )
    instance_id = field(fields, 1, bytes, "instance id")
    if len(instance_id) != 16:
        raise RemoteProtocolError(
            f"with an instance id of {len(instance_id)} bytes, not 16"
        )
    return Identity(instance_id, server_id, field(fields, 3, str, "version", ""))


def read_terms(fields: dict[Any, Any]) -> Terms:
    limits = field(fields, 4, dict, "limits")
    values = [field(limits, key, int, f"limit {key}") for key in range(4)]
    if min(values) < 0 or values[0] < _MIN_FRAME:
        raise RemoteProtocolError(
            f"with wrong limits {values}: none below 0, max_frame at least"
            f" {_MIN_FRAME:,}"
        )
    heartbeat = field(fields, 5, int, "heartbeat interval", 0)
    field(fields, 9, list, "feature names", [])
    return Terms(Limits(*values), heartbeat / 1000)
