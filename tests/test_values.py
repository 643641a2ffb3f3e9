"""Values and their wire forms, right and wrong."""

import contextlib
import enum
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict, TypeVar

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_s2s.values import Converter, Mismatch, converter_of, gather


class Color(enum.Enum):
    RED = "red"
    NONE = None


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(str):
    pass


class Moment(datetime):
    pass


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


@attrs.frozen
class Item:
    pass


Alias: Any = type("TypeAliasType", (), {"__value__": list[int]})
STATE: Any = Literal["a"]
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ID = uuid.UUID(int=5)


def nested(cls: Any) -> Converter:
    return Converter(cls.__name__, (cls,), frozenset({dict}), lambda _: {}, lambda _: 1)


def converter(kind: Any) -> Converter:
    return converter_of(kind, nested)


def error(convert: Any, value: object) -> list[tuple[str, str, str]]:
    with pytest.raises(Mismatch) as caught:
        convert(value)
    return caught.value.errors


CASES: list[tuple[Any, Any, Any]] = [
    (None, None, None),
    (bool, True, True),
    (int, -(2**63), -(2**63)),
    (int, 2**64 - 1, 2**64 - 1),
    (float, 1.5, 1.5),
    (str, "a", "a"),
    (bytes, b"a", b"a"),
    (uuid.UUID, ID, ID.bytes),
    (datetime, NOW, NOW),
    (list[int], [1, 2], [1, 2]),
    (tuple[int, str], (1, "a"), [1, "a"]),
    (tuple[()], (), []),
    (Sequence[int], (1, 2), [1, 2]),
    (Sequence, (1, "a"), [1, "a"]),
    (dict[int, str], {1: "a"}, {1: "a"}),
    (dict, {1: "a", "b": None}, {1: "a", "b": None}),
    (dict[Level, int], {Level.LOW: 5}, {1: 5}),
    (dict[Literal["a"], int], {"a": 5}, {"a": 5}),
    (Color, Color.RED, "red"),
    (Color, Color.NONE, None),
    (Level, Level.HIGH, 2),
    (Literal["a", 1], 1, 1),
    (int | None, 5, 5),
    (int | float, 5, 5),
    (int | float, 5.0, 5.0),
    (Literal["auto"] | int, "auto", "auto"),
    (Level | str, Level.LOW, 1),
    (Sequence[str] | str, "ab", "ab"),
    (Sequence[str] | str, ("ab",), ["ab"]),
    (datetime | str | None, NOW, NOW),
    (uuid.UUID | int, ID, ID.bytes),
    ((int | None) | Annotated[str, "x"], "x", "x"),
    (Annotated[int, 1] | Annotated[int, 2] | None, 5, 5),
    (Any, Decimal(1), Decimal(1)),
    (Any | None, 5, 5),
    (list[Item] | None, [1], [{}]),
    (Annotated[int, "x"], 5, 5),
    (NewType("Name", str), "a", "a"),
    (Alias(), [1], [1]),
]


@pytest.mark.parametrize(("kind", "value", "wire"), CASES)
def test_value_and_its_wire_form(kind: Any, value: Any, wire: Any) -> None:
    made = converter(kind)
    encoded = made.encode(value)
    assert (type(encoded), encoded) == (type(wire), wire)
    decoded = made.decode(wire)
    assert (type(decoded), decoded) == (type(value), value)


def test_subclasses_travel_as_their_base() -> None:
    assert type(converter(int).encode(Level.LOW)) is int
    assert converter(str).encode(Word("a")) == "a"
    assert converter(Sequence[str] | str).encode(Word("a")) == "a"
    moment = Moment(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert type(converter(datetime).encode(moment)) is datetime
    assert converter(datetime).encode(moment) == moment


def test_any_sequence_may_be_sent_as_sequence() -> None:
    assert converter(Sequence[int]).encode(range(2)) == [0, 1]
    assert converter(Sequence[int] | None).encode(deque([1])) == [1]


def test_exact_int_is_accepted_for_float() -> None:
    for convert in (converter(float).encode, converter(float | None).decode):
        made = convert(5)
        assert (type(made), made) == (float, 5.0)
        text = "float, or an int that is exact as a float"
        assert error(convert, 2**53 + 1) == [("", text, f"int {2**53 + 1}")]
        assert error(convert, 2**64) == [("", text, f"int {2**64}")]


@pytest.mark.parametrize(
    ("kind", "value", "expected", "found"),
    [
        (str, 5, "str", "int 5"),
        (int, "5", "int", "str '5'"),
        (int, True, "int", "bool True"),
        (int, 2**64, "an int from -2**63 to 2**64 - 1", f"int {2**64}"),
        (int, -(2**63) - 1, "an int from -2**63 to 2**64 - 1", f"int {-(2**63) - 1}"),
        (float, True, "float", "bool True"),
        (None, 0, "None", "int 0"),
        (bytes, None, "bytes", "None"),
        (datetime, NOW.replace(tzinfo=None), "an aware datetime", "datetime "),
        (datetime, "now", "an aware datetime", "str 'now'"),
        (uuid.UUID, "a", "UUID", "str 'a'"),
        (list[int], {}, "list[int]", "dict of 0"),
        (Sequence[str], "ab", "Sequence[str]", "str 'ab'"),
        (tuple[int, str], [1], "tuple[int, str]", "list of 1"),
        (dict[str, int], [], "dict[str, int]", "list of 0"),
        (Color, "green", "Color ('red' | None)", "str 'green'"),
        (Color, [], "Color ('red' | None)", "list of 0"),
        (Level, 1.0, "Level (1 | 2)", "float 1.0"),
        (Literal["a", 1], True, "'a' | 1", "bool True"),
        (int | None, "x", "int | None", "str 'x'"),
        pytest.param(str, 10**5000, "str", "int (no repr)", id="endless int"),
        (str, [0] * 99, "str", "list of 99"),
        (str, Unprintable(), "str", "Unprintable (no repr)"),
    ],
)
def test_wrong_value_is_described(
    kind: Any, value: Any, expected: str, found: str
) -> None:
    made = converter(kind)
    for convert in (made.encode, made.decode):
        [(path, wanted, seen)] = error(convert, value)
        assert (path, seen.startswith(found)) == ("", True)
        assert wanted.removesuffix(" (16 bytes)") == expected.replace(
            "Sequence[", "collections.abc.Sequence["
        )


def test_sending_is_strict_and_so_is_receiving() -> None:
    assert error(converter(Level).encode, 1) == [("", "Level (1 | 2)", "int 1")]
    assert error(converter(list[int]).encode, (1,)) == [("", "list[int]", "tuple (1,)")]
    expected = ("", "UUID (16 bytes)", "bytes b'a'")
    assert error(converter(uuid.UUID).decode, b"a") == [expected]


def test_errors_have_paths_and_are_all_listed() -> None:
    made = converter(dict[str, list[tuple[int, str]]])
    assert error(made.decode, {"a": [[1, 2], ["x", 3]], "b": [[1, "x"]], "c": 0}) == [
        ("['a'][0][1]", "str", "int 2"),
        ("['a'][1][0]", "int", "str 'x'"),
        ("['a'][1][1]", "str", "int 3"),
        ("['c']", "list[tuple[int, str]]", "int 0"),
    ]
    assert error(made.decode, {5: []}) == [("[5] (key)", "str", "int 5")]


def test_errors_are_bounded() -> None:
    assert len(error(converter(list[list[int]]).decode, [["x"] * 50] * 50)) == 64
    assert len(error(converter(list[int]).decode, ["x"] * 5000)) == 64
    with pytest.raises(Mismatch):
        gather([("a", converter(int).decode, "x")], "{}")


Table = TypedDict("Table", {"a": int})  # noqa: UP013  one line
Pair = NamedTuple("Pair", [("a", int)])  # noqa: UP014  one line
Odd = enum.Enum("Odd", {"A": (1, 2), "B": [1]})
Maps: Any = dict
UNSUPPORTED: dict[str, Any] = {
    "sets": [set[int], frozenset, list[set[int]]],
    "records": [Table, Pair],
    "enums": [enum.Enum, Odd, Literal[b"a", Level.LOW]],
    "keys": [Maps[key, int] for key in (bytes, float, Color)],
    "others": [Decimal, date, Iterable[int], TypeVar("T"), "Later", Callable[[], int]],
}


@pytest.mark.parametrize("group", UNSUPPORTED)
def test_unsupported_type_is_refused(group: str) -> None:
    for kind in UNSUPPORTED[group]:
        with pytest.raises(TypeError, match=r"cannot travel: (use|its keys)"):
            converter(kind)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (uuid.UUID | bytes, "UUID and bytes .* as bytes"),
        (Item | dict[str, int], r"Item and dict\[str, int\] .* as dict"),
        (Item | Mapping[str, int] | None, "Item and .* as dict"),
        (STATE | str, "'a' and str .* as str"),
        (Level | int, r"Level \(1 \| 2\) and int .* as int"),
        (list[int] | tuple[int, ...], r"list\[int\] and tuple"),
    ],
)
def test_union_that_cannot_be_told_apart_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(TypeError, match=f"{text}"):
        converter(kind)


SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**63), 2**64 - 1)),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (str, st.text(st.characters(exclude_categories=["Cs"]))),
    (bytes, st.binary()),
    (uuid.UUID, st.uuids()),
    (Level, st.sampled_from(Level)),
    (Color, st.sampled_from(Color)),
    (None, st.none()),
    (
        datetime,
        st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5))])),
    ),
]


def typed(pairs: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Build (type, strategy of its values) from such pairs."""
    arrays: Any = list
    maps: Any = dict
    tuples: Any = tuple
    return st.one_of(
        pairs.map(lambda p: (arrays[p[0]], st.lists(p[1], max_size=3))),
        pairs.map(lambda p: (tuples[p[0], ...], st.lists(p[1]).map(tuple))),
        pairs.map(lambda p: (maps[str, p[0]], st.dictionaries(st.text("abc"), p[1]))),
        st.tuples(pairs, pairs).map(
            lambda p: (tuples[p[0][0], p[1][0]], st.tuples(p[0][1], p[1][1]))
        ),
    )


@given(st.data())
def test_value_survives_the_wire(data: st.DataObject) -> None:
    pairs = st.recursive(st.sampled_from(SCALARS), typed, max_leaves=4)
    kind, strategy = data.draw(pairs)
    value = data.draw(strategy)
    made = converter(kind)
    packed = msgpack.packb(made.encode(value), datetime=True)
    wire = msgpack.unpackb(packed, timestamp=3, strict_map_key=False)
    assert made.decode(wire) == value


@given(
    st.sampled_from([*(kind for kind, _, _ in CASES), list[dict[int, Level]]]),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)
        ),
    ),
)
def test_foreign_value_is_taken_or_a_mismatch(kind: Any, value: Any) -> None:
    with contextlib.suppress(Mismatch):
        converter(kind).decode(value)
