"""The time that callers on the other side have left: one timer for all of them."""

import heapq
import math
from collections.abc import Callable, Container
from contextvars import ContextVar
from typing import Final

import trio

from trio_s2s.runtime import current_runtime, now, timer

__all__ = ["Deadlines", "give_up_time", "handler_deadline", "time_left"]

FEW: Final = 64
LONGEST: Final = 2**53
"""Milliseconds; more is no deadline."""

handler_deadline: ContextVar[float | None] = ContextVar(
    "handler_deadline", default=None
)
"""When the handler that is at work here must end; None where none is at work."""


def give_up_time() -> float:
    """Give the time at which who calls now gives up, or is given up."""
    inherited = handler_deadline.get()
    own = trio.current_effective_deadline()
    return own if inherited is None else min(own, inherited)


def time_left(deadline: float) -> int | None:
    """Give the milliseconds up to a deadline as they travel, None if there is none.

    They are rounded up, so that who asks is the first to give up.
    """
    left = (deadline - now()) * 1000
    if left > LONGEST:
        return None
    return math.ceil(left) if left > 1 else 1


class Deadlines:
    """Says when the time of a request is over.

    A scope with a deadline of its own would cost each request more than this does.
    """

    def __init__(self, running: Container[int], expire: Callable[[int], None]) -> None:
        self._running = running
        self._expire = expire
        self._due: list[tuple[float, int]] = []
        self._most = FEW
        self._timer: trio.CancelScope | None = None

    def add(self, request_id: int, due: float) -> None:
        """Call `expire` with a request when it is due, unless it has ended before."""
        if len(self._due) >= self._most:
            self._sweep()
        heapq.heappush(self._due, (due, request_id))
        if self._timer is not None and self._due[0][1] == request_id:
            current_runtime.get().restart(self._timer, due - now())

    def _sweep(self) -> None:
        # Those that have ended stay in the heap, but never more than half of it.
        self._due = [one for one in self._due if one[1] in self._running]
        self._most = 2 * len(self._due) + FEW
        heapq.heapify(self._due)

    async def watch(self) -> None:
        """Wait for one deadline after the other."""
        while True:
            with timer(self._due[0][0] - now() if self._due else math.inf) as scope:
                self._timer = scope
                await trio.sleep_forever()
            while self._due and self._due[0][0] <= now():
                _, request_id = heapq.heappop(self._due)
                if request_id in self._running:
                    self._expire(request_id)
