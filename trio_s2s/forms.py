"""What each kind of message looks like; a message of another form is refused."""

from collections.abc import Callable
from typing import Any, Final

from trio_s2s.codes import CancelReason, CloseCode, Kind
from trio_s2s.errors import RemoteProtocolError

__all__ = [
    "CHANNELS",
    "MAX_DEPTH",
    "MAX_TEXT",
    "Message",
    "check_form",
    "clip",
    "printable",
    "show_error",
]

Message = list[Any]
"""A message as it travels: its kind, then its elements."""

MAX_DEPTH: Final = 32
"""How deep containers in a parameter's value may be nested."""
CHANNELS: Final = 16
MAX_TEXT: Final = 1024


def clip(text: str, size: int = MAX_TEXT) -> str:
    """Cut a text to at most `size` bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) > size:
        return data[: size - 3].decode("utf-8", "ignore") + "…"
    # Decoded again, since what cannot be encoded was replaced.
    return data.decode("utf-8")


def printable(text: str) -> str:
    """Escape what is not to be printed: the other side may try to forge a log."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def show_error(error: BaseException) -> str:
    """Say what was raised; its own `__str__` may raise."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:
        return name


_Check = Callable[[Any], bool]


def _uint(value: Any) -> bool:
    return type(value) is int and value >= 0


def _request_id(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**63


def _table(value: Any) -> bool:
    if type(value) is not dict:
        return False
    _check_values(value, MAX_DEPTH)
    return True


def _check_values(box: Any, depth: int) -> None:
    # A frame may hold 500,000 lists and maps: every step in here counts.
    if type(box) is dict:
        for key in box:
            if type(key) is not int and type(key) is not str:
                raise RemoteProtocolError(
                    f"a map has a key of type {type(key).__name__}, not int or str",
                    CloseCode.DECODE,
                )
        box = box.values()
    for item in box:
        if type(item) is list or type(item) is dict:
            if not depth:
                raise RemoteProtocolError(
                    f"parameters are nested more than {MAX_DEPTH} deep",
                    CloseCode.DECODE,
                )
            if item:
                _check_values(item, depth - 1)


def _channel(value: Any) -> bool:
    return type(value) is int and 0 <= value < CHANNELS


def _request_options(value: Any) -> bool:
    return (
        _table(value)
        and _uint(value.get(0, 0))
        and _channel(value.get(1, 0))
        and type(value.get(2, {})) is dict
    )


def _text(value: Any) -> bool:
    return type(value) is str


def _optional_text(value: Any) -> bool:
    return value is None or type(value) is str


def _integer(value: Any) -> bool:
    return type(value) is int


def _return_code(value: Any) -> bool:
    return type(value) is int and -10 < value < 2**63


def _flag(value: Any) -> bool:
    return type(value) is bool


def _versions(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(map(_uint, value))


def _reason(value: Any) -> bool:
    return type(value) is int and value in (CancelReason.CALLER, CancelReason.DEADLINE)


def _weight(value: Any) -> bool:
    return type(value) is int and value > 0


def _optional_uint(value: Any) -> bool:
    return value is None or _uint(value)


def _list(value: Any) -> bool:
    return type(value) is list


def _mac(value: Any) -> bool:
    return type(value) is bytes


_FORMS: dict[int, tuple[int, tuple[tuple[str, _Check], ...]]] = {
    Kind.HELLO: (3, (("magic", _text), ("versions", _versions), ("fields", _table))),
    Kind.CHALLENGE: (1, (("fields", _table),)),
    Kind.PROOF: (1, (("fields", _table),)),
    Kind.WELCOME: (2, (("version", _uint), ("fields", _table), ("mac", _mac))),
    Kind.REJECT: (
        3,
        (("code", _integer), ("text", _text), ("retry after", _optional_uint)),
    ),
    Kind.REQUEST: (
        3,
        (
            ("id", _request_id),
            ("operation code", _uint),
            ("parameters", _table),
            ("options", _request_options),
        ),
    ),
    Kind.RESPONSE: (
        4,
        (
            ("id", _request_id),
            ("return code", _return_code),
            ("parameters", _table),
            ("debug message", _optional_text),
        ),
    ),
    Kind.EVENT: (
        2,
        (("event code", _uint), ("parameters", _table), ("channel", _channel)),
    ),
    Kind.CANCEL: (2, (("id", _request_id), ("reason", _reason))),
    Kind.CREDIT: (2, (("channel", _channel), ("weight", _weight))),
    Kind.PING: (1, (("token", _uint),)),
    Kind.PONG: (1, (("token", _uint),)),
    Kind.GOODBYE: (
        4,
        (("code", _integer), ("text", _text), ("highest id", _uint), ("last", _flag)),
    ),
    Kind.CONTRACTS: (1, (("contracts", _list),)),
}
"""Per kind: how many elements it must have, and what each that is known looks like."""


def check_form(message: Any) -> None:
    """Refuse a message whose kind, length or known elements are wrong."""
    if type(message) is not list or not message or not _uint(message[0]):
        raise RemoteProtocolError(
            f"a message is an array that begins with its kind, not {_show(message)}"
        )
    form = _FORMS.get(message[0])
    if form is None:
        return
    required, elements = form
    if len(message) <= required:
        raise RemoteProtocolError(
            f"{Kind(message[0]).name} has {len(message) - 1} elements, not {required}"
        )
    for (name, check), value in zip(elements, message[1:], strict=False):
        if not check(value):
            raise RemoteProtocolError(
                f"{Kind(message[0]).name} with a wrong {name}: {_show(value)}"
            )


def _show(value: Any) -> str:
    name = type(value).__name__
    if isinstance(value, (list, dict)):
        return f"{name} of {len(value):,}"  # Its repr could take long.
    return f"{name} {clip(repr(value), 80)}"
