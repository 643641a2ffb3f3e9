"""Jobs of which one is at work at a time, in the order in which they came."""

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Job", "Lane"]


def _nothing() -> None:
    pass


@attrs.define(eq=False)
class Job:
    """One call of a handler, ready to be made."""

    name: str
    is_async: bool
    method: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    """Made when the handler's turn has come; it may raise ContractError."""
    done: Callable[[], None] = _nothing
    """Called once it is over, or will never begin."""


class Lane:
    """Jobs of which one is at work at a time, in the order in which they came."""

    def __init__(self, start: Callable[["Lane", Job], bool]) -> None:
        self._start = start
        self._waiting: deque[Job] = deque()
        self.is_busy: bool = False

    def add(self, job: Job) -> None:
        self._waiting.append(job)
        if not self.is_busy:
            self.go_on()

    def go_on(self) -> None:
        """Do what waits, up to a job that has to be awaited; its task goes on here."""
        self.is_busy = True
        while self._waiting:
            if not self._start(self, self._waiting.popleft()):
                return
        self.is_busy = False

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
