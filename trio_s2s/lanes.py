"""Things to do, one at a time, in the order in which they came."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Lane"]

Item = TypeVar("Item")


class Lane(Generic[Item]):
    """Things to do, of which one is done at a time, in the order in which they came."""

    def __init__(
        self, start: Callable[["Lane[Item]", Item], bool], *, is_open: bool = True
    ) -> None:
        self._start = start
        self._waiting: deque[Item] = deque()
        self._is_open = is_open
        self._is_at_work = False

    @property
    def is_busy(self) -> bool:
        """Whether something is at work, or waits."""
        return self._is_at_work or bool(self._waiting)

    @property
    def must_wait(self) -> bool:
        """Whether what is added now has to wait."""
        return self._is_at_work or not self._is_open

    def add(self, item: Item) -> None:
        """Do something as soon as it is its turn."""
        self._waiting.append(item)
        if not self.must_wait:
            self.go_on()

    def open(self) -> None:
        """Begin with what waits."""
        self._is_open = True
        self.go_on()

    def go_on(self) -> None:
        """Do what waits, up to what has to be awaited; its task goes on here."""
        self._is_at_work = True
        while self._waiting:
            if not self._start(self, self._waiting.popleft()):
                return
        self._is_at_work = False

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
