"""Twin of `settling.py`."""

import math

import pytest
import trio
import trio.testing

from trio_s2s.settling import Settling

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


class Busy:
    """Something at work, and what waits for its end."""

    def __init__(self, limit: float) -> None:
        self.settling = Settling(limit)
        self.work = 1
        self.ended_at: float | None = None

    def has_work(self) -> bool:
        return self.work > 0

    async def wait(self) -> None:
        await self.settling.wait_within_limit(self.has_work)
        self.ended_at = trio.current_time()


async def test_who_waits_looks_again_when_something_moved(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    busy = Busy(math.inf)
    nursery.start_soon(busy.wait)
    await settled()
    busy.settling.moved()
    await settled()
    assert busy.ended_at is None
    busy.work = 0
    await settled()
    assert busy.ended_at is None
    busy.settling.moved()
    await settled()
    assert busy.ended_at == 0


async def test_nobody_waits_where_nothing_is_at_work() -> None:
    settling = Settling(0)
    await settling.wait(lambda: False)
    await settling.wait_within_limit(lambda: False)


async def test_wait_is_over_at_its_limit(autojump_clock: Clock) -> None:
    busy = Busy(3)
    await busy.wait()
    assert busy.ended_at == 3


@pytest.mark.parametrize(("limit", "end"), [(0, 1), (2, 3), (9, 10), (60, 10)])
async def test_wait_under_way_can_be_shortened_but_not_prolonged(
    limit: float, end: float, autojump_clock: Clock
) -> None:
    busy = Busy(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.wait)
        await trio.sleep(1)
        busy.settling.shorten(limit)
    assert busy.ended_at == end


@pytest.mark.parametrize("limit", [2, 60])
async def test_limit_that_is_set_beforehand_is_the_limit(
    limit: float, autojump_clock: Clock
) -> None:
    busy = Busy(10)
    busy.settling.shorten(limit)
    await busy.wait()
    assert busy.ended_at == busy.settling.limit == limit


async def test_limit_may_be_shortened_when_all_is_over(autojump_clock: Clock) -> None:
    busy = Busy(3)
    await busy.wait()
    busy.settling.shorten(1)
    assert busy.settling.limit == 1
