"""Waits until nothing is at work any more, for a time that may be shortened."""

from collections.abc import Callable

import trio

from trio_s2s.runtime import current_runtime, now, timer

__all__ = ["Settling"]


class Settling:
    """What is at work on one connection, and how long its end leaves it."""

    def __init__(self, limit: float) -> None:
        self.limit: float = limit
        """Seconds that a goodbye leaves for what was accepted."""
        self._moved = trio.lowlevel.ParkingLot()
        self._scope: trio.CancelScope | None = None

    def moved(self) -> None:
        """Look again whether something is at work."""
        self._moved.unpark_all()

    async def wait(self, is_busy: Callable[[], bool]) -> None:
        """Wait while something is at work; asked again whenever something `moved`."""
        while is_busy():
            await self._moved.park()

    async def wait_within_limit(self, is_busy: Callable[[], bool]) -> None:
        """Wait while something is at work, until the limit is over."""
        with timer(self.limit) as self._scope:
            await self.wait(is_busy)

    def shorten(self, limit: float) -> None:
        """Set another limit; who waits already waits no longer than that."""
        self.limit = limit
        if self._scope is not None and now() + limit < self._scope.deadline:
            current_runtime.get().restart(self._scope, limit)
