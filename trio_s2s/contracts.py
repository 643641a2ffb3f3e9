"""Typed attrs classes (`Operation[R]`, `Event`) to and from parameter tables."""

import contextlib
import sys
import typing
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Generic, TypeVar

import attrs

from trio_s2s import values
from trio_s2s.errors import ContractError, EncodeError
from trio_s2s.values import Converter, Mismatch

__all__ = ["Contract", "Event", "Operation", "contract_of", "parameter"]

R_co = TypeVar("R_co", covariant=True)

_Table = dict[int | str, Any]
_To = Callable[[Any], _Table]
_From = Callable[[Mapping[int | str, Any]], Any]
_CODE = "__s2s_code__"
_RECORD = "__s2s_record__"
_CONTRACT = "__s2s_contract__"
# A name that stands for nothing yet, alone or in a module that is half imported.
_UNRESOLVED = (NameError, AttributeError)


# -- what users write --


@attrs.frozen(eq=False)  # typing takes Annotated of equal marks for one: 1, True, 1.0.
class _Parameter:
    code: Any


def parameter(code: int | str) -> Any:
    """Give a field its parameter code: `room: Annotated[str, parameter(7)]`."""
    return _Parameter(code)


class _Message:
    __slots__ = ()

    def __init_subclass__(cls, *, code: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # attrs makes a slotted class a second time, from what the first one holds
        # and without the keywords.
        if code is not None:
            setattr(cls, _CODE, code)

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        # `contract_of` tries again, when the whole module is there.
        with contextlib.suppress(*_UNRESOLVED):
            _make_contract(cls)


class Operation(_Message, Generic[R_co]):
    """The base of a question that an `R` answers: `class Greet(Operation[R], code=1)`.

    `R` is None, an attrs class, or any other type that can travel.
    """

    __slots__ = ()


class Event(_Message):
    """The base of an event: `class RoomClosed(Event, code=3)`."""

    __slots__ = ()


# -- attrs classes --


@attrs.frozen
class _Field:
    code: int | str
    name: str
    alias: str
    path: str
    is_required: bool
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    expected: str

    def missing(self, _: object) -> Any:
        raise Mismatch([("", self.expected, "nothing")])


class _Record:
    """An attrs class to and from its table; its fields come late, for recursion."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.name: str = cls.__name__
        self.codes: list[int | str] = []
        self.fields: list[_Field] = []
        self.is_ready = False

    def make_ready(self) -> None:
        if self.is_ready:  # Or under way: the class holds itself.
            return
        self.is_ready = True
        try:
            # A class is not in its module yet while it is being made.
            attrs.resolve_types(self.cls, localns={self.name: self.cls})
            fields: dict[int | str, _Field] = {}
            for position, attribute in enumerate(attrs.fields(self.cls)):
                try:
                    field = _field(position, attribute, fields)
                except (TypeError, RecursionError) as error:
                    where = f"{self.name}.{attribute.name}"
                    raise TypeError(f"{where}: {error}") from error
                fields[field.code] = field
            self.codes, self.fields = list(fields), list(fields.values())
        except BaseException:
            self.is_ready = False
            raise

    def encode(self, message: Any) -> _Table:
        self.make_ready()
        if type(message) is not self.cls:
            raise values.wrong(self.name, message)
        steps = [(f.path, f.encode, getattr(message, f.name)) for f in self.fields]
        return dict(zip(self.codes, values.gather(steps, "{}"), strict=True))

    def decode(self, table: Any) -> Any:
        self.make_ready()
        if not isinstance(table, dict):
            raise values.wrong(self.name, table)
        names: list[str] = []
        steps: list[tuple[str, Callable[[Any], Any], Any]] = []
        for field in self.fields:
            if field.code in table:
                names.append(field.alias)
                steps.append((field.path, field.decode, table[field.code]))
            elif field.is_required:
                steps.append((field.path, field.missing, None))
        arguments = values.gather(steps, "{}")
        try:
            return self.cls(**dict(zip(names, arguments, strict=True)))
        except Exception as error:
            # attrs' own validators put the attribute and more behind the text.
            text = str(error.args[0]) if error.args else type(error).__name__
            raise Mismatch([("", f"a valid {self.name}", text[:200])]) from error


def _is_code(code: object) -> bool:
    return type(code) is int and 0 <= code < 2**64


def _field(position: int, attribute: Any, others: dict[int | str, _Field]) -> _Field:
    name, kind = attribute.name, attribute.type
    marks = getattr(kind, "__metadata__", ())
    codes = [mark.code for mark in marks if isinstance(mark, _Parameter)]
    code = codes[-1] if codes else position
    if kind is None:
        raise TypeError("it has no type; write one")
    if not attribute.init:
        raise TypeError("init=False cannot be filled; make it a property")
    if attribute.inherited and not codes:
        raise TypeError(
            "a class that others inherit numbers its fields; write"
            f" `{name}: Annotated[..., parameter({position})]` there"
        )
    if type(code) is not str and not _is_code(code):
        raise TypeError(f"parameter({code!r}) must be an int >= 0 or a str")
    if code in others:
        raise TypeError(f"parameter {code!r} is {others[code].name}'s; use another")
    path = f".{name} (parameter {code!r})"
    is_required = attribute.default is attrs.NOTHING
    way = values.converter_of(kind, _nested)
    ways = (way.encode, way.decode, way.name)
    return _Field(code, name, attribute.alias, path, is_required, *ways)


def _record_of(cls: Any) -> _Record:
    record: _Record | None = vars(cls).get(_RECORD)
    if record is None:
        if "__attrs_attrs__" not in vars(cls):
            raise TypeError(f"{cls.__name__}: decorate it with @attrs.frozen")
        record = _Record(cls)
        setattr(cls, _RECORD, record)
    return record


def _nested(cls: Any) -> Converter:
    record = _record_of(cls)
    with contextlib.suppress(*_UNRESOLVED):  # Its first use tries again.
        record.make_ready()
    name, encode, decode = record.name, record.encode, record.decode
    return Converter(name, (cls,), frozenset({dict}), encode, decode)


# -- contracts --


def _ways(subject: str, encode: _To, decode: _From) -> tuple[_To, _From]:
    def to_parameters(value: Any) -> _Table:
        try:
            return encode(value)
        except Mismatch as mismatch:
            texts = [f"{p}: expected {e}, got {g}" for p, e, g in mismatch.errors]
            raise EncodeError("; ".join(subject + t for t in texts)) from mismatch
        except RecursionError:
            raise EncodeError(f"{subject}: nested too deep, or in itself") from None

    def from_parameters(parameters: Mapping[int | str, Any]) -> Any:
        try:
            return decode(dict(parameters))
        except Mismatch as mismatch:
            errors = [(p.removeprefix("."), e, g) for p, e, g in mismatch.errors]
            raise ContractError(subject, errors) from mismatch

    return to_parameters, from_parameters


@attrs.frozen
class Contract:
    """One message class and its table; an error lists all fields that are wrong."""

    cls: type
    code: int
    name: str
    to_parameters: _To
    from_parameters: _From
    result_to_parameters: _To
    """The answer of an operation; that of an event is None."""
    result_from_parameters: _From


def contract_of(cls: Any) -> Contract:
    """Find the contract of a message class; `TypeError` says why there is none."""
    contract: Contract | None = vars(cls).get(_CONTRACT)
    if contract is not None:
        return contract
    try:
        return _make_contract(cls)
    except _UNRESOLVED as error:
        raise TypeError(f"{cls.__name__}: cannot find a type: {error}") from error


def _make_contract(cls: Any) -> Contract:
    name, code = cls.__name__, vars(cls).get(_CODE)
    if not issubclass(cls, (Operation, Event)):
        raise TypeError(f"{name}: it must be an Operation[...] or an Event")
    record = _record_of(cls)
    if not _is_code(code):
        raise TypeError(f"{name}: its code must be an int >= 0: `{name}(..., code=1)`")
    record.make_ready()
    ways = _ways(name, record.encode, record.decode)
    contract = Contract(cls, code, name, *ways, *_result_ways(cls, f"{name}'s result"))
    setattr(cls, _CONTRACT, contract)
    return contract


def _result_ways(cls: Any, subject: str) -> tuple[_To, _From]:
    kind = values.look_through(_result_type(cls))
    try:
        converter = values.converter_of(kind, _nested)
    except TypeError as error:
        raise TypeError(f"{subject}: {error}") from error
    encode, decode = converter.encode, converter.decode
    if kind is NoneType:
        return _ways(subject, lambda value: encode(value) or {}, lambda _: None)
    if isinstance(kind, type) and attrs.has(kind):
        return _ways(f"{subject} {kind.__name__}", encode, decode)

    def to_table(value: Any) -> _Table:
        return {0: values.gather([(0, encode, value)], ".parameter {}")[0]}

    def from_table(table: Mapping[int | str, Any]) -> Any:
        if 0 not in table:
            raise Mismatch([(".parameter 0", converter.name, "nothing")])
        return values.gather([(0, decode, table[0])], ".parameter {}")[0]

    return _ways(subject, to_table, from_table)


def _result_type(cls: Any) -> Any:
    for base in cls.__mro__:
        for parent in vars(base).get("__orig_bases__", ()):
            if typing.get_origin(parent) is Operation:

                def holder() -> None: ...

                # Only this function of typing finds names inside `list["Item"]`.
                holder.__annotations__ = {"return": typing.get_args(parent)[0]}
                scope = vars(sys.modules[base.__module__])
                names = {cls.__name__: cls}
                return typing.get_type_hints(holder, scope, names, True)["return"]
    if issubclass(cls, Event):
        return None
    raise TypeError(f"{cls.__name__}: say what answers it, with Operation[...]")
