"""Typed messages and their tables, right and wrong; annotations are postponed."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, assert_type

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_s2s.contracts import Event, Operation, contract_of, parameter
from trio_s2s.errors import ContractError, EncodeError

T = TypeVar("T")
Arrays: Any = list
Alias: Any = type("TypeAliasType", (), {"__value__": property(lambda a: Arrays[a])})
ONE: Any = Annotated[int, parameter(1)]
NO_INIT = {"init": False, "default": 5}
Tags = attrs.make_class("Tags", {"a": attrs.field(type=set[str])})
BAD_CODES: list[Any] = [True, -1, 1.5, 2**64]


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
class Count(Operation[int], code=0):
    _secret: str
    limit: int = attrs.field(default=5, kw_only=True)


@attrs.frozen
class Item:
    name: str
    price: float = attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen
class Buy(Operation[None], code=5):
    items: list[Item]
    color: Literal["red", "blue"] = "red"


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


MESSAGES: list[tuple[Any, dict[int | str, Any]]] = [
    (Greet("Ada"), {0: "Ada", 1: False}),
    (RoomClosed("hall", "fire", 5), {7: "hall", "why": "fire", 2: 5}),
    (Count("x", limit=3), {0: "x", 1: 3}),
    (Buy([Item("a", 1.5)], "blue"), {0: [{0: "a", 1: 1.5}], 1: "blue"}),
    (Node([Node([])]), {0: [{0: [], 1: None}], 1: None}),
    (Node([], Later(Node([]))), {0: [], 1: {0: {0: [], 1: None}}}),
    (Shout("hall", 5), {0: "hall", 1: 5}),
    (Ask(), {}),
]


@pytest.mark.parametrize(("message", "table"), MESSAGES)
def test_message_and_its_table(message: Any, table: dict[int | str, Any]) -> None:
    contract = contract_of(type(message))
    assert contract.to_parameters(message) == table
    assert contract.from_parameters(table) == message


def test_contract_names_its_class_and_is_made_once() -> None:
    assert contract_of(Greet) is contract_of(Greet)
    assert [contract_of(Count).name, contract_of(Count).code] == ["Count", 0]


def test_result_type_is_inferred() -> None:
    def request(_: Operation[T]) -> T | None:
        return None

    assert_type(request(Greet("Ada")), Greeting | None)
    assert_type(request(Count("x")), int | None)


@pytest.mark.parametrize(
    ("cls", "result", "table"),
    [
        (Greet, Greeting("hi"), {0: "hi"}),
        (Buy, None, {}),
        (Count, 5, {0: 5}),
        (Ask, [Later(Node([]))], {0: [{0: {0: [], 1: None}}]}),
    ],
)
def test_result_and_its_table(cls: Any, result: Any, table: Any) -> None:
    contract = contract_of(cls)
    assert contract.result_to_parameters(result) == table
    assert contract.result_from_parameters({**table, 99: "unknown"}) == result


def test_missing_parameter_takes_its_default_and_unknown_are_ignored() -> None:
    assert contract_of(Greet).from_parameters({0: "A", "x": 2}) == Greet("A")


# -- wrong values --

MISSING = ("name (parameter 0)", "str", "nothing")
REFUSED = ("items (parameter 0)[0]", "a valid Item", "'price' must be >= 0: -1.0")
BAD_ITEMS = [
    ("items (parameter 0)[1].price (parameter 1)", "float", "str 'x'"),
    ("items (parameter 0)[2]", "Item", "int 5"),
    ("items (parameter 0)[3].price (parameter 1)", "float", "nothing"),
    ("color (parameter 1)", "'red' | 'blue'", "str 'green'"),
]
BAD_ITEMS_TABLE = {0: [{0: "a", 1: 1}, {0: "b", 1: "x"}, 5, {0: "c"}], 1: "green"}
BAD_RECEIVED: list[tuple[type, Any, list[tuple[str, str, str]]]] = [
    (Greet, {1: 1}, [MISSING, ("loud (parameter 1)", "bool", "int 1")]),
    (RoomClosed, {0: "hall"}, [("room (parameter 7)", "str", "nothing")]),
    (Buy, BAD_ITEMS_TABLE, BAD_ITEMS),
    (Buy, {0: [{0: "a", 1: -1}]}, [REFUSED]),
]


@pytest.mark.parametrize(("cls", "table", "errors"), BAD_RECEIVED)
def test_wrong_parameters_are_all_listed(cls: Any, table: Any, errors: Any) -> None:
    with pytest.raises(ContractError) as caught:
        contract_of(cls).from_parameters(table)
    assert (caught.value.subject, list(caught.value.errors)) == (cls.__name__, errors)


BAD: Any = 5
BAD_SENT: list[tuple[type, Any, str]] = [
    (Buy, "x", "Buy's result: expected None, got str 'x'"),
    (Count, "x", "Count's result.parameter 0: expected int, got str 'x'"),
    (Greet, BAD, "Greet's result Greeting: expected Greeting, got int 5"),
    (Greet, Greeting(BAD), "Greet's result Greeting.text (parameter 0): expected str"),
]


def test_wrong_value_is_not_sent_and_all_wrong_fields_are_listed() -> None:
    for cls, result, text in BAD_SENT:
        with pytest.raises(EncodeError) as caught:
            contract_of(cls).result_to_parameters(result)
        assert str(caught.value).startswith(text)
    with pytest.raises(EncodeError, match=r"Greet\.name .*; Greet\.loud "):
        contract_of(Greet).to_parameters(Greet(BAD, BAD))


BAD_RESULTS: list[tuple[type, Any, str, tuple[str, str, str]]] = [
    (Greet, {}, "Greet's result Greeting", ("text (parameter 0)", "str", "nothing")),
    (Count, {}, "Count's result", ("parameter 0", "int", "nothing")),
    (Count, {0: "x"}, "Count's result", ("parameter 0", "int", "str 'x'")),
]


def test_wrong_result_is_a_contract_error() -> None:
    for cls, table, subject, error in BAD_RESULTS:
        with pytest.raises(ContractError) as caught:
            contract_of(cls).result_from_parameters(table)
        assert (caught.value.subject, caught.value.errors) == (subject, (error,))


def test_object_that_holds_itself_is_refused() -> None:
    node = Node([])
    node.children.append(node)
    with pytest.raises(EncodeError, match="Node: nested too deep, or in itself"):
        contract_of(Node).to_parameters(node)


def test_deep_errors_are_found_in_one_pass() -> None:
    """Looking twice at every level would take 2**40 steps."""
    table: Any = {0: [5]}
    for _ in range(40):
        table = {0: [table]}
    with pytest.raises(ContractError):
        contract_of(Node).from_parameters(table)


FOREIGN = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.integers(0, 3), v),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([0, 1, 2, 7, "why"]), FOREIGN),
    st.sampled_from([type(message) for message, _ in MESSAGES]),
)
def test_foreign_table_is_a_message_or_a_contract_error(table: Any, cls: Any) -> None:
    contract = contract_of(cls)
    with contextlib.suppress(ContractError):
        message = contract.from_parameters(table)
        assert contract.from_parameters(contract.to_parameters(message)) == message


# -- wrong definitions --


def define(
    bases: Any = (Event,), code: Any = 1, field: Any = None, **kinds: Any
) -> Any:
    """Make an attrs class by the name of Bad."""
    body = {} if field is None else {"a": attrs.field(**field)}

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(body, __annotations__=kinds)

    return attrs.frozen(types.new_class("Bad", bases, {"code": code}, fill))


WRONG: dict[str, Callable[[], object]] = {
    r"Bad\.a: complex cannot travel: use None, bool": lambda: define(a=complex),
    "Bad.a: ~T cannot travel": lambda: define(a=T),
    r"Bad\.a: Tags\.a: set\[str\] cannot travel": lambda: define(a=Tags),
    r"Bad\.a: .*recursion": lambda: define(a=Alias()),
    r"Bad\.b: parameter 1 is a's; use another": lambda: define(a=ONE, b=int),
    r"Bad\.text: a class that others inherit": lambda: define((Greeting, Event)),
    r"Bad\.a: init=False cannot be": lambda: define(a=int, field=NO_INIT),
    r"Bad\.a: it has no type; write one": lambda: define(field={}),
    "Bad's result: complex cannot travel": lambda: define((Operation[complex],)),
    "Bad: say what answers it": lambda: define((Operation,)),
    "Bad: its code must be an int >= 0": lambda: define((Shout,), None),
    "Bare: decorate it with @attrs.frozen": lambda: contract_of(
        type("Bare", (Event,), {})
    ),
    "Sub: decorate it with @attrs.frozen": lambda: contract_of(
        type("Sub", (Greet,), {})
    ),
    "Greeting: it must be an Operation": lambda: contract_of(Greeting),
    "Bad: cannot find a type: .*Huh": lambda: contract_of(define(a="Huh")),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_definition_is_refused(text: str) -> None:
    with pytest.raises(TypeError, match=f"^{text}"):
        WRONG[text]()


@pytest.mark.parametrize("code", BAD_CODES)
def test_wrong_code_is_refused(code: Any) -> None:
    with pytest.raises(TypeError, match=r"Bad: its code must be an int >= 0"):
        define(code=code)
    with pytest.raises(TypeError, match=r"Bad\.a: parameter\(.* must be an int >= 0"):
        define(a=Annotated[int, parameter(code)])


def test_local_names_may_be_resolved_later() -> None:
    @attrs.frozen
    class Left:
        right: Right | None

    hold_class = define(left=Left)

    @attrs.frozen
    class Right:
        left: Left | None

    attrs.resolve_types(Left, localns={"Right": Right})
    attrs.resolve_types(Right, localns={"Left": Left})
    hold, contract = hold_class(Left(Right(Left(None)))), contract_of(hold_class)
    assert contract.to_parameters(hold) == {0: {0: {0: {0: None}}}}
    assert contract.from_parameters({0: {0: {0: {0: None}}}}) == hold
