"""One converter per type, made once: a Python value to and from what msgpack packs."""

import enum
import functools
import typing
from collections import abc
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import count, repeat
from types import NoneType, UnionType
from typing import Any
from uuid import UUID

import attrs

__all__ = ["Converter", "Mismatch", "converter_of", "gather", "look_through", "wrong"]

_MAX_ERRORS = 64  # A hostile message could have one for every byte.
_SCALARS = frozenset({NoneType, bool, int, float, str, bytes})
_WIRE = _SCALARS | {list, dict, datetime}

_Convert = Callable[[Any], Any]


@attrs.frozen
class Converter:
    """Both ways of one type; each way raises `Mismatch`."""

    name: str
    """What an error says that it expected."""
    python: tuple[type, ...]
    """The classes that it takes for sending, by which a union chooses."""
    wire: frozenset[type]
    """The classes in which msgpack delivers it, by which a union chooses."""
    encode: _Convert
    decode: _Convert


# -- what is wrong --


class Mismatch(Exception):
    """What is wrong inside one value: (path, expected, got) of each error."""

    def __init__(self, errors: list[tuple[str, str, str]]) -> None:
        super().__init__(errors)
        self.errors = errors


def wrong(expected: str, value: object) -> Mismatch:
    """Say what a value should be and what it is: expected `str`, got `int 5`."""
    try:
        # The repr of a hostile list could take long.
        text = f"of {len(value):,}" if isinstance(value, (list, dict)) else repr(value)
    except Exception:  # Python refuses to print an int of more than 4300 digits.
        text = "(no repr)"
    text = text if len(text) <= 40 else f"{text[:37]}..."
    found = text if value is None else f"{type(value).__name__} {text}"
    return Mismatch([("", expected, found)])


def gather(steps: Iterable[tuple[Any, _Convert, Any]], path: str) -> list[Any]:
    """Convert each (place, converter, value); collect the errors of all of them."""
    done: list[Any] = []
    errors: list[tuple[str, str, str]] = []
    for place, convert, value in steps:
        try:
            done.append(convert(value))
        except Mismatch as mismatch:
            head = path.format(place)
            errors += [(head + tail, e, g) for tail, e, g in mismatch.errors]
            if len(errors) >= _MAX_ERRORS:
                break
    if errors:
        raise Mismatch(errors[:_MAX_ERRORS])
    return done


# -- single values --


def _same(kind: type, name: str) -> Converter:
    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        raise wrong(name, value)

    return Converter(name, (kind,), frozenset({kind}), convert, convert)


def _decode_int(value: Any) -> int:
    if type(value) is not int:
        raise wrong("int", value)
    if not -(2**63) <= value < 2**64:
        raise wrong("an int from -2**63 to 2**64 - 1", value)
    return value


def _encode_int(value: Any) -> int:
    is_subclass = isinstance(value, int) and not isinstance(value, bool)
    return _decode_int(int.__int__(value) if is_subclass else value)


def _float(value: Any) -> float:
    if isinstance(value, float):
        return value
    if type(value) is not int:
        raise wrong("float", value)
    if not -(2**63) <= value < 2**64 or int(float(value)) != value:
        raise wrong("float, or an int that is exact as a float", value)
    return float(value)


def _datetime(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise wrong("an aware datetime", value)
    # The packer takes the very class only, not that of pandas or freezegun.
    return value if type(value) is datetime else datetime.combine(value, value.timetz())


def _encode_uuid(value: Any) -> bytes:
    if isinstance(value, UUID):
        return value.bytes
    raise wrong("UUID", value)


def _decode_uuid(value: Any) -> UUID:
    if type(value) is bytes and len(value) == 16:
        return UUID(bytes=value)
    raise wrong("UUID (16 bytes)", value)


def _untouched(value: Any) -> Any:
    return value


_ANY = Converter("anything", (), _WIRE, _untouched, _untouched)
_SINGLE: dict[Any, Converter] = {
    Any: _ANY,
    object: _ANY,
    NoneType: _same(NoneType, "None"),
    bool: _same(bool, "bool"),
    int: Converter("int", (int,), frozenset({int}), _encode_int, _decode_int),
    float: Converter("float", (float,), frozenset({float}), _float, _float),
    str: _same(str, "str"),
    bytes: _same(bytes, "bytes"),
    UUID: Converter("UUID", (UUID,), frozenset({bytes}), _encode_uuid, _decode_uuid),
    datetime: attrs.evolve(
        _same(datetime, "an aware datetime"), encode=_datetime, decode=_datetime
    ),
}


def _choice(name: str, members: list[tuple[Any, Any]]) -> Converter:
    wire = frozenset(type(value) for value, _ in members)
    if not wire or not wire <= _SCALARS:
        raise TypeError(
            f"{name} cannot travel: use values of None, bool, int, float, str or bytes"
        )

    def both(pairs: list[tuple[Any, Any]]) -> _Convert:
        kinds = {type(value) for value, _ in pairs}
        # 1, True and 1.0 are one key to a dict.
        table = {(type(value), value): other for value, other in pairs}

        def convert(value: Any) -> Any:
            if type(value) in kinds and (type(value), value) in table:
                return table[type(value), value]
            raise wrong(name, value)

        return convert

    encode = both([(member, value) for value, member in members])
    python = dict.fromkeys(type(member) for _, member in members)
    return Converter(name, tuple(python), wire, encode, both(members))


# -- values that hold values --


def _array(kind: Any, origin: type, members: list[Converter], size: int) -> Converter:
    def both(accepts: type, converts: list[_Convert], make: Any) -> _Convert:
        steps = repeat(converts[0]) if size < 0 else converts

        def convert(array: Any) -> Any:
            fits = isinstance(array, accepts) and not isinstance(array, (str, bytes))
            if not fits or size not in (-1, len(array)):
                raise wrong(_name(kind), array)
            return make(gather(zip(count(), steps, array, strict=False), "[{}]"))

        return convert

    make = list if origin is list else tuple
    encode = both(origin, [member.encode for member in members], list)
    decode = both(list, [member.decode for member in members], make)
    return Converter(_name(kind), (origin,), frozenset({list}), encode, decode)


def _map(kind: Any, origin: type, key: Converter, item: Converter) -> Converter:
    if not key.wire <= {int, str}:
        raise TypeError(f"{_name(kind)} cannot travel: its keys must be int or str")

    def both(accepts: type, key: _Convert, item: _Convert) -> _Convert:
        def convert(table: Any) -> Any:
            is_table: bool = isinstance(table, accepts)
            if not is_table:
                raise wrong(_name(kind), table)
            keys = gather(((k, key, k) for k in table), "[{!r:.40}] (key)")
            items = gather(((k, item, table[k]) for k in table), "[{!r:.40}]")
            return dict(zip(keys, items, strict=True))

        return convert

    encode = both(origin, key.encode, item.encode)
    decode = both(dict, key.decode, item.decode)
    return Converter(_name(kind), (origin,), frozenset({dict}), encode, decode)


def _union(members: list[Converter]) -> Converter:
    name = " | ".join(member.name for member in members)
    by_wire: dict[type, Converter] = {}
    for member in members:
        for kind in member.wire:
            other = by_wire.setdefault(kind, member)
            if other is not member:
                raise TypeError(
                    f"{other.name} and {member.name} cannot be told apart: both travel"
                    f" as {kind.__name__}; keep one of them"
                )
    if float in by_wire:
        by_wire.setdefault(int, by_wire[float])
    by_class = {kind: member for member in members for kind in member.python}

    def encode(value: Any) -> Any:
        # The nearest class comes first: a str is a Sequence too.
        for kind in (*type(value).__mro__, *by_class):
            if kind in by_class and isinstance(value, kind):
                return by_class[kind].encode(value)
        raise wrong(name, value)

    def decode(value: Any) -> Any:
        if type(value) in by_wire:
            return by_wire[type(value)].decode(value)
        raise wrong(name, value)

    return Converter(name, tuple(by_class), frozenset(by_wire), encode, decode)


# -- choosing --


def look_through(kind: Any) -> Any:
    """Take off `Annotated`, `NewType` and `type X = ...`."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = kind.__origin__
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":  # In typing since Python 3.12.
            kind = kind.__value__
        else:
            return NoneType if kind is None else kind


def _name(kind: Any) -> str:
    name: str = kind.__name__ if isinstance(kind, type) else str(kind)
    return name.replace("typing.", "")


def converter_of(kind: Any, nested: Callable[[Any], Converter]) -> Converter:
    """Make a type's converter, `nested` those of attrs classes, or raise TypeError."""
    kind = look_through(kind)
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    of = functools.partial(converter_of, nested=nested)
    if origin is typing.Literal:
        return _choice(" | ".join(map(repr, args)), [(value, value) for value in args])
    if kind in _SINGLE:
        return _SINGLE[kind]
    if origin in (typing.Union, UnionType):
        members = [of(arg) for arg in args]
        return _ANY if _ANY in members else _union(members)
    if origin in (dict, abc.Mapping):
        key, item = args or (Any, Any)
        return _map(kind, origin, of(int | str if key is Any else key), of(item))
    if origin in (list, tuple, abc.Sequence):
        any_size = origin is not tuple or kind is tuple or args[-1:] == (...,)
        members = [of(arg) for arg in args if arg is not ...]
        return _array(kind, origin, members or [_ANY], -1 if any_size else len(args))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        pairs = [(member.value, member) for member in kind]
        values = " | ".join(repr(value) for value, _ in pairs)
        return _choice(f"{_name(kind)} ({values})", pairs)
    if isinstance(kind, type) and attrs.has(kind):
        return nested(kind)
    raise TypeError(
        f"{_name(kind)} cannot travel: use None, bool, int, float, str, bytes, list"
        " (for sets), tuple, Sequence, dict, Mapping, an Enum, Literal, uuid.UUID,"
        " datetime.datetime, an attrs class, a union of these, or Any"
    )
