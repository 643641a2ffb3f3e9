"""One timer for the deadlines of many requests."""

import math

import pytest
import trio
import trio.testing

from tests.streams import settled
from trio_s2s.deadlines import (
    FEW,
    Deadlines,
    give_up_time,
    handler_deadline,
    time_left,
)

Clock = trio.testing.MockClock


class Watched:
    """Deadlines of requests, of which some are running."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.running: set[int] = set()
        self.expired: list[tuple[float, int]] = []
        self.deadlines = Deadlines(self.running, self.expire)
        nursery.start_soon(self.deadlines.watch)

    def add(self, request_id: int, due: float) -> None:
        self.running.add(request_id)
        self.deadlines.add(request_id, due)

    def expire(self, request_id: int) -> None:
        self.expired.append((trio.current_time(), request_id))
        self.running.remove(request_id)


async def test_each_request_is_told_when_it_is_due(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    watched = Watched(nursery)
    await settled()
    for request_id, due in enumerate([3.0, 1.0, 2.0, 2.0], 1):
        watched.add(request_id, due)
    await trio.sleep(10)
    assert watched.expired == [(1, 2), (2, 3), (2, 4), (3, 1)]
    assert len(watched.deadlines._due) == 0
    watched.add(5, 11.0)
    await trio.sleep(5)
    assert watched.expired[4:] == [(11, 5)]
    nursery.cancel_scope.cancel()


async def test_one_that_came_before_the_timer_began_is_told(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    watched = Watched(nursery)
    watched.add(1, 2.0)
    watched.add(2, -5.0)  # Its time was over when it came.
    await trio.sleep(1)
    assert watched.expired == [(0, 2)]
    await trio.sleep(10)
    assert watched.expired == [(0, 2), (2, 1)]
    nursery.cancel_scope.cancel()


async def test_request_that_has_ended_is_not_told(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    watched = Watched(nursery)
    watched.add(1, 1.0)
    watched.add(2, 1.0)
    watched.running.remove(1)
    await trio.sleep(10)
    assert watched.expired == [(1, 2)]
    nursery.cancel_scope.cancel()


async def test_those_that_have_ended_are_forgotten(nursery: trio.Nursery) -> None:
    """A million quick requests with a long deadline hold next to no memory."""
    watched = Watched(nursery)
    for request_id in range(10_000):
        watched.add(request_id, trio.current_time() + 3600)
        if request_id >= 10:
            watched.running.remove(request_id)
        assert len(watched.deadlines._due) <= 2 * 11 + FEW
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("seconds", "left"),
    [
        (1, 1000),
        (0.0005, 1),
        (0.0011, 2),
        (0, 1),
        (-5, 1),
        (-math.inf, 1),
        (math.inf, None),
        (1e13, None),
    ],
)
async def test_time_left_is_in_milliseconds_rounded_up(
    seconds: float, left: int | None, mock_clock: Clock
) -> None:
    assert time_left(trio.current_time() + seconds) == left


async def test_who_calls_gives_up_with_its_scope_or_with_its_handler(
    mock_clock: Clock,
) -> None:
    assert give_up_time() == math.inf
    with trio.CancelScope(deadline=trio.current_time() + 5):
        assert give_up_time() == 5
        handler_deadline.set(7)
        assert give_up_time() == 5
        handler_deadline.set(3)
        assert give_up_time() == 3
        await trio.lowlevel.checkpoint()
    assert give_up_time() == 3
