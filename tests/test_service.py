"""A nursery that the exceptions of its block do not notice."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from trio_s2s.service import service_nursery


class Expected(Exception):
    """An error that only tells that the connection ended."""


def is_expected(error: BaseException) -> bool:
    return isinstance(error, Expected)


class Service:
    """One task that works until the block is left, and may crash then or before."""

    def __init__(self, crash: BaseException | None = None) -> None:
        self.crash = crash
        self.left = trio.Event()
        self.has_ended = False

    async def run(self) -> None:
        with trio.CancelScope(shield=True):
            await self.left.wait()
            await trio.sleep(1)
        self.has_ended = True
        if self.crash is not None:
            raise self.crash

    async def block(self, body: Callable[[], object] = lambda: None) -> None:
        async with service_nursery(self.left.set, is_expected) as nursery:
            nursery.start_soon(self.run)
            body()

    async def error(self, body: Callable[[], object]) -> BaseException:
        """Give what comes out of a block."""
        try:
            await self.block(body)
        except BaseException as error:
            return error
        raise AssertionError("nothing was raised")


def raiser(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


async def test_block_waits_for_its_tasks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service()
    await service.block()
    assert service.has_ended
    assert trio.current_time() >= 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ExceptionGroup("x", [ValueError()]),
        BaseExceptionGroup("x", [KeyboardInterrupt(), ValueError()]),
        KeyboardInterrupt(),
        SystemExit(3),
        StopAsyncIteration(),
        GeneratorExit(),
        Expected(),
        trio.TooSlowError(),
        RuntimeError("async generator raised StopAsyncIteration"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_error_of_the_block_comes_out_as_it_is(
    error: BaseException, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service()
    cause = error.__cause__ = OSError()
    assert await service.error(raiser(error)) is error
    assert error.__cause__ is cause
    assert service.has_ended


async def test_error_of_a_task_comes_out_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crash = ValueError("of a task")
    assert await Service(crash).error(lambda: None) is crash
    assert crash.__suppress_context__


async def test_errors_of_two_tasks_come_out_as_a_group(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crashes = [ValueError("a"), KeyError("b")]

    async def crash(error: Exception) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        raise error

    with pytest.RaisesGroup(ValueError, KeyError):
        async with service_nursery(lambda: None, is_expected) as nursery:
            for error in crashes:
                nursery.start_soon(crash, error)


async def test_error_of_a_task_cancels_the_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crash = ValueError("of a task")
    left = trio.Event()

    async def fail() -> None:
        raise crash

    with pytest.raises(ValueError, match="of a task") as caught:
        async with service_nursery(left.set, is_expected) as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()
    assert caught.value is crash
    assert left.is_set()


async def test_errors_of_the_block_and_of_a_task_come_out_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crash, own = ValueError("of a task"), KeyError("of the block")
    group = await Service(crash).error(raiser(own))
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (own, crash)


async def test_error_of_the_block_that_is_a_consequence_gives_way(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crash = ValueError("of a task")
    assert await Service(crash).error(raiser(Expected())) is crash


async def test_block_that_cleans_up_badly_after_a_crash_keeps_its_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crash, own = ValueError("of a task"), KeyError("of the block")

    async def fail() -> None:
        raise crash

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise own

    with pytest.RaisesGroup(pytest.RaisesGroup(KeyError), ValueError) as caught:
        async with service_nursery(lambda: None, is_expected) as nursery:
            nursery.start_soon(fail)
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.sleep_forever)
                inner.start_soon(work)
    assert caught.value.exceptions[1] is crash


async def test_cancelled_block_with_a_nursery_of_its_own_lets_the_crash_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crash = ValueError("of a task")

    async def fail() -> None:
        raise crash

    with pytest.raises(ValueError, match="of a task") as caught:
        async with service_nursery(lambda: None, is_expected) as nursery:
            nursery.start_soon(fail)
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.sleep_forever)
                inner.start_soon(trio.sleep_forever)
    assert caught.value is crash


async def test_outer_cancel_is_seen_by_its_scope(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service()
    with trio.move_on_after(5) as scope:
        async with service_nursery(service.left.set, is_expected) as nursery:
            nursery.start_soon(service.run)
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert service.has_ended
    assert trio.current_time() >= 6


async def test_outer_timeout_is_a_too_slow_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service()
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(5):
            async with service_nursery(service.left.set, is_expected) as nursery:
                nursery.start_soon(service.run)
                await trio.sleep_forever()


async def test_error_of_a_task_comes_out_of_a_cancelled_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    crash = ValueError("of a task")
    service = Service(crash)
    with trio.CancelScope() as scope, pytest.raises(ValueError, match="of a task"):
        async with service_nursery(service.left.set, is_expected) as nursery:
            nursery.start_soon(service.run)
            scope.cancel()
            await trio.sleep_forever()


async def test_cancel_while_the_tasks_end_is_seen_by_its_scope(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow() -> None:
        await trio.sleep(100)

    with trio.move_on_after(5) as scope:
        async with service_nursery(lambda: None, is_expected) as nursery:
            nursery.start_soon(slow)
    assert scope.cancelled_caught
    with trio.move_on_after(5) as scope:
        async with service_nursery(lambda: None, is_expected) as nursery:
            nursery.start_soon(slow)
            nursery.start_soon(slow)
    assert scope.cancelled_caught


async def test_error_of_the_block_wins_over_a_cancel_meanwhile(
    autojump_clock: trio.testing.MockClock,
) -> None:
    own = KeyError("of the block")
    with trio.move_on_after(5), pytest.raises(KeyError) as caught:
        async with service_nursery(lambda: None, is_expected) as nursery:
            nursery.start_soon(trio.sleep, 100)
            raise own
    assert caught.value is own
