"""One message to and from msgpack bytes; raises one error type."""

import gc
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgpack

from trio_s2s.codes import CloseCode
from trio_s2s.errors import EncodeError, RemoteProtocolError
from trio_s2s.forms import MAX_DEPTH, Message, check_form, clip

__all__ = [
    "NOTHING",
    "pack",
    "pack_event",
    "pack_parameters",
    "pack_request",
    "pack_response",
    "unpack_messages",
]

_packer = msgpack.Packer(datetime=True, autoreset=True)
pack: Callable[[Any], bytes] = _packer.pack
"""Pack a message of numbers and texts that this package made."""

NOTHING = pack({})
"""An empty parameter table."""
_END = object()
_LARGE = 64 * 1024


# -- packing --


def pack_parameters(parameters: Mapping[int | str, Any], max_elements: int) -> bytes:
    """Pack a parameter table; `EncodeError` names what can't travel, and where."""
    table = parameters if type(parameters) is dict else dict(parameters)
    _check_map(table, "parameters", 0, max_elements)
    try:
        return pack(table)
    except (TypeError, ValueError, OverflowError) as error:
        path, text = next(_culprits(table, "parameters"), ("parameters", str(error)))
        raise EncodeError(f"{path} cannot travel: {text}") from error


def _check(value: Any, path: str, depth: int, limit: int) -> None:
    if isinstance(value, dict):
        _check_map(value, path, depth, limit)
    elif isinstance(value, msgpack.ExtType):
        raise EncodeError(f"{path} cannot travel: a msgpack extension type")
    else:
        _check_size(value, path, depth, limit)
        for index, item in enumerate(value):
            if isinstance(item, (dict, list, tuple)):
                _check(item, f"{path}[{index}]", depth + 1, limit)


def _check_map(value: dict[Any, Any], path: str, depth: int, limit: int) -> None:
    _check_size(value, path, depth, limit)
    for key, item in value.items():
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            raise EncodeError(f"{path} cannot travel: its key {key!r} is no int or str")
        if isinstance(item, (dict, list, tuple)):
            _check(item, _step(path, key), depth + 1, limit)


def _check_size(value: Any, path: str, depth: int, limit: int) -> None:
    if depth > MAX_DEPTH:
        raise EncodeError(f"{path} cannot travel: nested more than {MAX_DEPTH} deep")
    if len(value) > limit:
        raise EncodeError(
            f"{path} cannot travel: {len(value):,} elements, more than {limit:,}"
            " (max_elements)"
        )


def _step(path: str, key: int | str) -> str:
    return f"{path}.{key}" if isinstance(key, str) else f"{path}[{key}]"


def _culprits(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Find what the packer refused; slow, so only to word an error."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _culprits(key, f"a key of {path}")
            yield from _culprits(item, _step(path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _culprits(item, f"{path}[{index}]")
    else:
        try:
            pack(value)
        except (TypeError, ValueError, OverflowError) as error:
            yield path, f"{type(value).__name__}: {error}"


def pack_request(
    request_id: int, code: int, parameters: bytes, options: Mapping[int, Any]
) -> bytes:
    """Pack a REQUEST around parameters that are packed already."""
    head = b"\x95\x05" if options else b"\x94\x05"
    tail = pack(options) if options else b""
    return b"".join((head, pack(request_id), pack(code), parameters, tail))


def pack_response(
    request_id: int, return_code: int, parameters: bytes, debug_message: str | None
) -> bytes:
    """Pack a RESPONSE around parameters that are packed already."""
    ends = pack(debug_message)
    return b"".join(
        (b"\x95\x06", pack(request_id), pack(return_code), parameters, ends)
    )


def pack_event(code: int, parameters: bytes, channel: int) -> bytes:
    """Pack an EVENT around parameters that are packed already."""
    if channel == 0:
        return b"".join((b"\x93\x07", pack(code), parameters))
    return b"".join((b"\x94\x07", pack(code), parameters, pack(channel)))


# -- unpacking --


def unpack_messages(body: bytes, max_elements: int) -> Iterator[tuple[Message, int]]:
    """Unpack a frame's body, one message of the right form and its size at a time.

    Whatever is wrong with it becomes a `RemoteProtocolError`.
    """
    try:
        yield from _unpack(body, _options(max_elements))
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        msgpack.exceptions.UnpackException,
    ) as error:
        raise RemoteProtocolError(
            f"a frame of {len(body):,} bytes holds no messages:"
            f" {clip(str(error), 200) or type(error).__name__}",
            CloseCode.DECODE,
        ) from error


def _options(max_elements: int) -> dict[str, Any]:
    return {
        "raw": False,
        "strict_map_key": False,
        "timestamp": 3,
        "ext_hook": _refuse_extension,
        "max_array_len": max_elements,
        "max_map_len": max_elements,
    }


def _refuse_extension(code: int, _data: bytes) -> None:
    raise ValueError(f"extension type {code}")


def _unpack(body: bytes, options: dict[str, Any]) -> Iterator[tuple[Message, int]]:
    rest = b""
    try:
        message = _calmly(len(body), partial(msgpack.unpackb, body, **options))
    except msgpack.ExtraData as several:
        message, rest = several.unpacked, several.extra
    check_form(message)
    yield message, len(body) - len(rest)
    if rest:
        yield from _unpack_rest(rest, options)


def _unpack_rest(rest: bytes, options: dict[str, Any]) -> Iterator[tuple[Message, int]]:
    # A fresh Unpacker a frame: one that is kept holds 44 KiB for every connection.
    unpacker = msgpack.Unpacker(max_buffer_size=len(rest), **options)
    unpacker.feed(rest)
    unpack = partial(next, unpacker, _END)
    start = 0
    while (message := _calmly(len(rest) - start, unpack)) is not _END:
        end = unpacker.tell()
        check_form(message)
        yield message, end - start
        start = end
    if start != len(rest):
        raise ValueError(f"the last message lacks its end ({len(rest) - start} bytes)")


def _calmly(size: int, unpack: Callable[[], Any]) -> Any:
    # The garbage collector looks at each new list many times: in a message that is all
    # lists that takes longer than the unpacking.
    if size < _LARGE or not gc.isenabled():
        return unpack()
    gc.disable()
    try:
        return unpack()
    finally:
        gc.enable()
