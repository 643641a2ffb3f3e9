"""The tasks of one peer: in a clean context, counted, so that its end can wait."""

import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio

from trio_s2s import deadlines

__all__ = ["Tasks", "in_acceptor_hook", "inside_peers", "reported"]

inside_peers: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar(
    "inside_peers", default=()
)
"""The peers one of whose hooks, handlers or tasks is at work here."""
in_acceptor_hook: contextvars.ContextVar[object] = contextvars.ContextVar(
    "in_acceptor_hook", default=None
)
"""The inbound peer whose `on_connected` is at work here."""


@contextlib.contextmanager
def reported(report: Callable[[Exception], None]) -> Iterator[None]:
    """Hand the errors of the application to `report`; let cancellations out.

    A nursery of the application may raise both at once, as a group.
    """
    try:
        yield
    except Exception as error:
        report(error)
    except BaseExceptionGroup as group:
        errors, rest = group.split(Exception)
        if errors is not None:
            report(errors)
        assert rest is not None  # Else it were an ExceptionGroup.
        raise rest from None


class Tasks:
    """Starts the handlers, hooks and tasks of one peer, and ends them."""

    def __init__(self, nursery: trio.Nursery, owner: object) -> None:
        self._nursery = nursery
        self._owner = owner
        self._clean = contextvars.copy_context()
        self._clean.run(deadlines.handler_deadline.set, None)
        self._clean.run(inside_peers.set, (owner,))
        self._moved = trio.lowlevel.ParkingLot()
        self.running: int = 0
        """How many have not ended."""

    def context(self, handler_deadline: float | None) -> contextvars.Context:
        """Give a context in which nothing of another request is left."""
        context = self._clean.copy()
        if handler_deadline is not None:
            context.run(deadlines.handler_deadline.set, handler_deadline)
        return context

    def start_soon(
        self,
        function: Callable[..., Awaitable[object]],
        *args: Any,
        name: str,
        handler_deadline: float | None = None,
    ) -> None:
        """Start a task that the peer's end cancels; a handler has a deadline."""
        context = self.context(handler_deadline)
        context.run(self._start, name, function, args)
        self.running += 1

    def _start(
        self, name: str, function: Callable[..., Awaitable[object]], args: Any
    ) -> None:
        self._nursery.start_soon(self._run, function, args, name=name)

    async def _run(
        self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> None:
        try:
            await function(*args)
        finally:
            self.running -= 1
            self._moved.unpark_all()

    async def cancel(self, reason: str) -> None:
        """Cancel all, and wait until the last has ended."""
        self._nursery.cancel_scope.cancel(reason=reason)
        while self.running:
            await self._moved.park()
