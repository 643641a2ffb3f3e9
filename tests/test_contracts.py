from __future__ import annotations

import enum
import types
from typing import Annotated, Any, Generic, TypeVar, assert_type

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from trio_s2s.contracts import Event, Operation, contract_of, parameter
from trio_s2s.errors import ContractError, EncodeError

T = TypeVar("T")
Endless = TypeAliasType("Endless", "list[Endless]")  # type: ignore[misc]
BAD_CODES: list[Any] = [True, -1, 1.5, 2**64]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Greeting:
    text: str


@attrs.frozen
class Greet(Operation[Greeting], code=1):
    name: str
    loud: bool = False


@attrs.frozen
class RoomClosed(Event, code=3):
    room: Annotated[str, parameter(7)]
    why: Annotated[str | None, parameter("why")] = None
    count: int = 0


@attrs.define(slots=False)
class Count(Operation[int], code=4):
    _secret: str
    limit: int = attrs.field(default=5, kw_only=True)


@attrs.frozen
class Item:
    name: str
    price: float = attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen
class Buy(Operation[None], code=5):
    items: list[Item]
    color: Color = Color.RED


@attrs.frozen
class Node(Event, code=6):
    children: list[Node]
    later: Later | None = None


@attrs.frozen
class Ask(Operation["list[Later]"], code=7):
    pass


@attrs.frozen
class Later:
    node: Node | None = None


@attrs.frozen
class Base:
    room: Annotated[str, parameter(0)]


@attrs.frozen
class Shout(Base, Operation[None], code=8):
    volume: int


class Answerer(Operation[list[int]]):
    """An operation base without a code of its own: it is never sent."""


@attrs.frozen
class Numbers(Answerer, code=0):
    pass


MESSAGES: list[tuple[Any, dict[int | str, Any]]] = [
    (Greet("Ada"), {0: "Ada", 1: False}),
    (RoomClosed("hall", "fire", 5), {7: "hall", "why": "fire", 2: 5}),
    (Count("x", limit=3), {0: "x", 1: 3}),
    (
        Buy([Item("a", 1.5)], Color.BLUE),
        {0: [{0: "a", 1: 1.5}], 1: "blue"},
    ),
    (Node([Node([])]), {0: [{0: [], 1: None}], 1: None}),
    (Node([], Later(Node([]))), {0: [], 1: {0: {0: [], 1: None}}}),
    (Shout("hall", 5), {0: "hall", 1: 5}),
    (Numbers(), {}),
]


@pytest.mark.parametrize(("message", "table"), MESSAGES)
def test_message_and_its_table(message: Any, table: dict[int | str, Any]) -> None:
    contract = contract_of(type(message))
    assert contract.to_parameters(message) == table
    assert contract.from_parameters(table) == message


def test_contract_is_made_once_and_names_its_class() -> None:
    contract = contract_of(Greet)
    assert contract is contract_of(Greet)
    assert (contract.cls, contract.code, contract.name) == (Greet, 1, "Greet")
    assert contract_of(Numbers).code == 0


def test_result_type_is_inferred() -> None:
    def request(operation: Operation[T]) -> T:
        raise NotImplementedError(operation)

    with pytest.raises(NotImplementedError):
        assert_type(request(Greet("Ada")), Greeting)
    with pytest.raises(NotImplementedError):
        assert_type(request(Count("x")), int)
    with pytest.raises(NotImplementedError):
        request(Buy([]))


@pytest.mark.parametrize(
    ("cls", "result", "table"),
    [
        (Greet, Greeting("hi"), {0: "hi"}),
        (Buy, None, {}),
        (Count, 5, {0: 5}),
        (Ask, [Later(Node([]))], {0: [{0: {0: [], 1: None}}]}),
        (Numbers, [1], {0: [1]}),
    ],
)
def test_result_and_its_table(
    cls: Any, result: object, table: dict[int | str, Any]
) -> None:
    contract = contract_of(cls)
    assert contract.result_to_parameters(result) == table
    assert contract.result_from_parameters({**table, 99: "unknown"}) == result


def test_missing_parameter_with_a_default_takes_it_and_unknown_are_ignored() -> None:
    greet = contract_of(Greet).from_parameters({0: "Ada", 5: 1, "x": 2})
    assert greet == Greet("Ada")


# -- wrong values --


@pytest.mark.parametrize(
    ("cls", "table", "errors"),
    [
        (
            Greet,
            {0: 5, 1: 1},
            [
                ("name (parameter 0)", "str", "int 5"),
                ("loud (parameter 1)", "bool", "int 1"),
            ],
        ),
        (Greet, {}, [("name (parameter 0)", "str", "nothing")]),
        (RoomClosed, {0: "hall"}, [("room (parameter 7)", "str", "nothing")]),
        (
            RoomClosed,
            {7: "", "why": 5},
            [("why (parameter 'why')", "str | None", "int 5")],
        ),
        (
            Buy,
            {0: [{0: "a", 1: 1}, {0: "b", 1: "x"}, 5, {0: "c"}], 1: "green"},
            [
                ("items (parameter 0)[1].price (parameter 1)", "float", "str 'x'"),
                ("items (parameter 0)[2]", "Item", "int 5"),
                ("items (parameter 0)[3].price (parameter 1)", "float", "nothing"),
                ("color (parameter 1)", "Color ('red' | 'blue')", "str 'green'"),
            ],
        ),
        (
            Buy,
            {0: [{0: "a", 1: -1}]},
            [("items (parameter 0)[0]", "a valid Item", "'price' must be >= 0: -1.0")],
        ),
    ],
)
def test_wrong_parameters_are_all_listed(
    cls: Any, table: dict[int | str, Any], errors: object
) -> None:
    with pytest.raises(ContractError) as caught:
        contract_of(cls).from_parameters(table)
    assert caught.value.subject == cls.__name__
    assert list(caught.value.errors) == errors


def test_wrong_fields_are_all_listed_before_sending() -> None:
    bad: Any = 5
    with pytest.raises(EncodeError) as caught:
        contract_of(Greet).to_parameters(Greet(bad, bad))
    assert str(caught.value) == (
        "Greet.name (parameter 0): expected str, got int 5;"
        " Greet.loud (parameter 1): expected bool, got int 5"
    )


def test_wrong_result_names_the_operation() -> None:
    bad: Any = 5
    texts = []
    for cls, result in ((Greet, bad), (Greet, Greeting(bad)), (Buy, "x"), (Count, "x")):
        with pytest.raises(EncodeError) as caught:
            contract_of(cls).result_to_parameters(result)
        texts.append(str(caught.value))
    assert texts == [
        "Greet's result Greeting: expected Greeting, got int 5",
        "Greet's result Greeting.text (parameter 0): expected str, got int 5",
        "Buy's result: expected None, got str 'x'",
        "Count's result.parameter 0: expected int, got str 'x'",
    ]


def test_wrong_result_parameters_are_listed() -> None:
    found = []
    empty: dict[int | str, Any] = {}
    for cls, table in ((Greet, empty), (Count, empty), (Count, {0: "x"})):
        with pytest.raises(ContractError) as caught:
            contract_of(cls).result_from_parameters(table)
        found.append((caught.value.subject, *caught.value.errors))
    assert found == [
        ("Greet's result Greeting", ("text (parameter 0)", "str", "nothing")),
        ("Count's result", ("parameter 0", "int", "nothing")),
        ("Count's result", ("parameter 0", "int", "str 'x'")),
    ]


def test_class_that_refuses_its_values_is_a_contract_error() -> None:
    def check(_: object, _attribute: object, value: str) -> None:
        raise KeyError if value == "empty" else ValueError(value)

    @attrs.frozen
    class Picky(Event, code=1):
        name: str = attrs.field(validator=check)

    for value, text in (("empty", "KeyError"), ("no good", "no good")):
        with pytest.raises(ContractError) as caught:
            contract_of(Picky).from_parameters({0: value})
        assert caught.value.errors == (("", "a valid Picky", text),)


def test_object_that_holds_itself_is_refused() -> None:
    node = Node([])
    node.children.append(node)
    with pytest.raises(EncodeError, match="Node: nested too deep, or in itself"):
        contract_of(Node).to_parameters(node)


def test_deep_errors_are_found_in_one_pass() -> None:
    """Looking twice at every level would take 2**40 steps."""
    table: dict[int | str, Any] = {0: [5]}
    for _ in range(40):
        table = {0: [table]}
    with pytest.raises(ContractError):
        contract_of(Node).from_parameters(table)


@given(
    st.dictionaries(
        st.integers(0, 3) | st.text(),
        st.recursive(
            st.none() | st.integers() | st.text() | st.floats(),
            lambda v: st.lists(v) | st.dictionaries(st.integers(0, 3), v),
        ),
    ),
    st.sampled_from([type(message) for message, _ in MESSAGES]),
)
def test_foreign_table_is_a_message_or_a_contract_error(table: Any, cls: Any) -> None:
    contract = contract_of(cls)
    try:
        message = contract.from_parameters(table)
    except ContractError as error:
        message = error
    if isinstance(message, cls):
        assert contract.from_parameters(contract.to_parameters(message)) == message


# -- wrong definitions --


def define(bases: Any = (Event,), code: Any = 1, **fields: Any) -> Any:
    """Make an attrs class by the name of Bad."""
    return attrs.frozen(type("Bad", bases, {"__annotations__": fields}, code=code))


@attrs.frozen
class Page(Generic[T]):
    item: T


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"a": complex}, "a: complex cannot travel: use None, bool"),
        ({"a": Page[int]}, r"a: .*Page\[int\] cannot travel"),
        ({"a": Endless}, "a: "),
        ({"a": Annotated[int, parameter(1)], "b": int}, "b: parameter 1 is a's"),
        *(
            ({"a": Annotated[int, parameter(code)]}, r"a: parameter\(.* must be an int")
            for code in BAD_CODES
        ),
    ],
)
def test_wrong_field_is_refused_when_the_class_is_made(
    fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(TypeError, match=rf"^Bad\.{text}"):
        define(**fields)


@pytest.mark.parametrize("code", [None, "1", *BAD_CODES])
def test_wrong_code_is_refused(code: Any) -> None:
    with pytest.raises(TypeError, match="Bad: its code must be an int >= 0"):
        define(code=code)


@pytest.mark.parametrize(
    ("bases", "text"),
    [
        ((Operation[complex],), "Bad's result: complex cannot travel"),
        ((Operation,), "Bad: say what answers it"),
        ((Greeting, Event), r"Bad\.text: a class that others inherit numbers"),
    ],
)
def test_wrong_base_is_refused(bases: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        attrs.frozen(types.new_class("Bad", bases, {"code": 1}))


def test_code_is_not_inherited() -> None:
    with pytest.raises(TypeError, match="Bad: its code must be"):
        define((Numbers,), None)


def test_wrong_field_of_a_nested_class_is_named() -> None:
    @attrs.frozen
    class Inner:
        tags: set[str]

    with pytest.raises(TypeError, match=r"Bad\.a: Inner\.tags: set\[str\] cannot"):
        define(a=Inner)


def test_field_that_cannot_be_filled_is_refused() -> None:
    class Bad(Event, code=1):
        a: int = attrs.field(init=False, default=5)

    with pytest.raises(TypeError, match=r"Bad\.a: init=False cannot be filled"):
        attrs.frozen(Bad)


def test_field_without_a_type_is_refused() -> None:
    bad = type("Bad", (Event,), {"a": attrs.field()}, code=1)
    with pytest.raises(TypeError, match=r"Bad\.a: it has no type"):
        attrs.frozen(bad)


def test_class_without_attrs_is_refused_at_first_use() -> None:
    class Bare(Event, code=1):
        pass

    class Sub(Greet, code=2):
        pass

    for cls in (Bare, Sub):
        with pytest.raises(TypeError, match=f"{cls.__name__}: decorate it with @attrs"):
            contract_of(cls)


def test_other_class_has_no_contract() -> None:
    with pytest.raises(TypeError, match="Greeting: it must be an Operation"):
        contract_of(Greeting)


def test_name_that_stands_for_nothing_is_refused_at_first_use() -> None:
    bad = define(a="Unknown")
    with pytest.raises(TypeError, match=r"Bad: cannot find a type: .*Unknown"):
        contract_of(bad)


def test_local_names_may_be_resolved_later() -> None:
    @attrs.frozen
    class Left:
        right: Right | None

    hold_class = define(left=Left)

    @attrs.frozen
    class Right:
        left: Left | None

    attrs.resolve_types(Left, localns={"Right": Right})
    hold, contract = hold_class(Left(Right(Left(None)))), contract_of(hold_class)
    assert contract.to_parameters(hold) == {0: {0: {0: {0: None}}}}
    assert contract.from_parameters({0: {0: {0: {0: None}}}}) == hold
