"""`@handles`, and the table of handlers that a peer class has."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

import attrs

from trio_s2s.contracts import Contract, Event, Operation, contract_of

__all__ = ["Handler", "HandlerTable", "handles", "table_of"]

P = TypeVar("P")
R = TypeVar("R")
Method = Callable[[P, Any], Awaitable[R] | R]

MARK = "__s2s_handles__"


@overload
def handles(
    contract: type[Event],
) -> Callable[[Method[P, None]], Method[P, None]]: ...


@overload
def handles(
    contract: type[Operation[R]],
) -> Callable[[Method[P, R]], Method[P, R]]: ...


def handles(contract: Any) -> Callable[[Any], Any]:
    """Mark a method of a peer class as the handler of one operation or event.

    The method takes the operation or event, and returns the operation's result, or None
    for an event. An `async def` method runs as a task of the peer; a `def` method runs
    at once, between two messages, and must be quick.
    """
    if not (isinstance(contract, type) and issubclass(contract, (Operation, Event))):
        raise TypeError(
            f"@handles takes a class of an operation or an event, not {contract!r}"
        )

    def mark(method: Any) -> Any:
        setattr(method, MARK, contract)
        return method

    return mark


@attrs.frozen
class Handler:
    """One method, and the contract that it handles."""

    name: str
    contract: Contract
    is_async: bool


@attrs.frozen
class HandlerTable:
    """The handlers of one peer class, by code."""

    operations: dict[int, Handler] = attrs.field(factory=dict)
    events: dict[int, Handler] = attrs.field(factory=dict)


def table_of(cls: type) -> HandlerTable:
    """Find the marked methods of a class; two for one code are a TypeError.

    A method that overrides a marked one handles the same contract without a mark.
    """
    marks: dict[str, type] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if hasattr(value, MARK):
                marks[name] = getattr(value, MARK)
    table = HandlerTable()
    for name, contract_class in marks.items():
        contract = contract_of(contract_class)
        _check_signature(cls, name, contract_class)
        handler = Handler(
            name, contract, inspect.iscoroutinefunction(getattr(cls, name))
        )
        is_event = issubclass(contract_class, Event)
        handlers = table.events if is_event else table.operations
        other = handlers.setdefault(contract.code, handler)
        if other is not handler:
            raise TypeError(
                f"{cls.__name__}: {other.name} handles {other.contract.name} and"
                f" {name} handles {contract.name}, both with code {contract.code}"
            )
    return table


def _check_signature(cls: type, name: str, contract_class: type) -> None:
    """Find out at once that a handler can't be called, or expects something else."""
    method = getattr(cls, name)
    where = f"{cls.__name__}.{name}, which handles {contract_class.__name__},"
    try:
        bound = inspect.signature(method).bind(None, None)
    except TypeError as error:
        raise TypeError(f"{where} can't be called with it: {error}") from error
    taken = list(inspect.signature(method).parameters.values())[1 : len(bound.args)]
    for parameter in taken:
        expects = parameter.annotation
        is_contract = isinstance(expects, type) and issubclass(
            expects, (Operation, Event)
        )
        if is_contract and not issubclass(contract_class, expects):
            raise TypeError(f"{where} expects {expects.__name__}")
