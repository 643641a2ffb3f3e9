"""Twin of `testing/injector.py`."""

import pytest
import trio

from trio_s2s.testing import Injector, cancel_at_every_step


async def three_steps(injector: Injector) -> None:
    with injector.block():
        for _ in range(3):
            await trio.lowlevel.checkpoint()
    await trio.sleep(60)  # It costs no time.


def test_block_is_cancelled_at_each_of_its_steps() -> None:
    assert cancel_at_every_step(three_steps) == 3


def test_steps_of_all_tasks_are_more() -> None:
    async def scenario(injector: Injector) -> None:
        with injector.block():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
                nursery.start_soon(trio.sleep, 1)

    assert cancel_at_every_step(scenario, own=False) > cancel_at_every_step(scenario)


def test_steps_of_another_task_may_be_meant() -> None:
    async def scenario(injector: Injector) -> None:
        async def other() -> None:
            injector.aim_from_here()
            await trio.lowlevel.checkpoint()

        with injector.block():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                await trio.sleep(1)

    assert cancel_at_every_step(scenario) > 0


def test_failure_tells_the_step() -> None:
    async def scenario(injector: Injector) -> None:
        with injector.block() as scope:
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        assert not scope.cancelled_caught

    with pytest.raises(AssertionError) as caught:
        cancel_at_every_step(scenario, seed=4)
    assert caught.value.__notes__[0] == "cancelled at step 1, with seed 4"
