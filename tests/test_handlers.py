"""`@handles`, and what a peer class handles."""

from typing import Any

import attrs
import pytest

from trio_s2s.contracts import Event, Operation
from trio_s2s.handlers import HandlerTable, handles, table_of
from trio_s2s.peer import InboundPeer


@attrs.frozen
class Echo(Operation[str], code=1):
    text: str


@attrs.frozen
class Shout(Operation[str], code=1):
    text: str


@attrs.frozen
class Note(Event, code=1):
    text: str


class Base:
    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        return operation.text

    @handles(Note)
    def note(self, event: Note) -> None:
        pass


def names(table: HandlerTable) -> tuple[dict[int, str], dict[int, str]]:
    return (
        {code: handler.name for code, handler in table.operations.items()},
        {code: handler.name for code, handler in table.events.items()},
    )


def test_table_has_operations_and_events_apart() -> None:
    table = table_of(Base)
    assert names(table) == ({1: "echo"}, {1: "note"})
    assert table.operations[1].is_async
    assert not table.events[1].is_async
    assert table.operations[1].contract.name == "Echo"


def test_table_of_a_class_without_handlers_is_empty() -> None:
    assert table_of(object) == HandlerTable()


def test_override_handles_the_same_without_a_mark() -> None:
    class Derived(Base):
        def echo(self, operation: Echo) -> str:
            return "derived"

    table = table_of(Derived)
    assert names(table) == ({1: "echo"}, {1: "note"})
    assert not table.operations[1].is_async


def test_override_may_handle_something_else() -> None:
    class Derived(Base):
        @handles(Shout)
        async def echo(self, operation: Any) -> str:
            return "loud"

    assert table_of(Derived).operations[1].contract.name == "Shout"


def test_two_handlers_of_one_code_are_refused() -> None:
    class Derived(Base):
        @handles(Shout)
        async def shout(self, operation: Shout) -> str:
            return "loud"

    with pytest.raises(
        TypeError,
        match="Derived: echo handles Echo and shout handles Shout, both with code 1",
    ):
        table_of(Derived)


def test_two_handlers_of_one_contract_are_refused() -> None:
    class Derived(Base):
        @handles(Note)
        def again(self, event: Note) -> None:
            pass

    with pytest.raises(TypeError, match="both with code 1"):
        table_of(Derived)


@pytest.mark.parametrize("wrong", [int, Echo("a"), "Echo", 1])
def test_handles_takes_contracts_only(wrong: Any) -> None:
    with pytest.raises(TypeError, match="@handles takes a class"):
        handles(wrong)


def test_handler_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Mine\.greet, which handles Echo, can't be"):

        class Mine(InboundPeer):
            @handles(Echo)  # type: ignore[arg-type]  # on purpose
            async def greet(self) -> str:
                return ""


def test_handler_of_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"which handles Echo, expects Note"):

        class Mine(InboundPeer):
            @handles(Echo)
            async def greet(self, operation: Note) -> str:
                return ""
