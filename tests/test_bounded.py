"""Twin of `bounded.py`."""

import linecache
import math

import pytest
import trio
import trio.testing

from trio_s2s.bounded import run_last_hook, where_waiting
from trio_s2s.deadlines import handler_deadline

Clock = trio.testing.MockClock


async def test_hook_runs_also_in_a_cancelled_scope(autojump_clock: Clock) -> None:
    ran: list[float] = []

    async def hook() -> None:
        await trio.sleep(2)
        ran.append(trio.current_time())

    with trio.CancelScope() as scope:
        scope.cancel()
        await run_last_hook(hook, "<Dialler>", "on_failed", 3)
    assert ran == [2]


async def test_hook_is_cut_at_its_limit(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await run_last_hook(trio.sleep_forever, "<Dialler>", "on_failed", 3)
    assert trio.current_time() == 3
    assert "on_failed took more than 3 s (hook_timeout)" in caplog.text


@pytest.mark.parametrize("is_told", [False, True])
async def test_error_of_a_hook_is_logged_or_told(
    is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def hook() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail)

    told: list[Exception] = []
    raised = told.append if is_told else None
    await run_last_hook(hook, "<Dialler>", "on_disconnected", 3, raised)
    assert len(told) == is_told
    assert ("on_disconnected raised" in caplog.text) != is_told


async def test_hook_that_is_cut_while_it_raises_is_both(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def hook() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                await _fail()

    await run_last_hook(hook, "<Dialler>", "on_failed", 3)
    assert "ValueError: on purpose" in caplog.text


async def test_hook_is_not_inside_a_handler() -> None:
    seen: list[float | None] = []

    async def hook() -> None:
        seen.append(handler_deadline.get())
        await trio.lowlevel.checkpoint()

    handler_deadline.set(math.inf)
    await run_last_hook(hook, "<Dialler>", "on_failed", 3)
    assert seen == [None]
    assert handler_deadline.get() == math.inf


async def _fail() -> None:
    raise ValueError("on purpose")


async def _wait_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep_forever()  # here


async def _wait() -> None:
    await trio.sleep_forever()  # here


@pytest.mark.parametrize("hook", [_wait, _wait_in_a_nursery])
async def test_place_of_a_cancellation_is_a_line_of_the_application(
    hook: object,
) -> None:
    linecache.clearcache()
    place = ""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            assert callable(hook)
            await hook()
        except BaseException as error:
            place = where_waiting(error)
            raise
    assert "nursery" in place or "# here" in place
    assert "test_bounded.py:" in place


def test_place_without_a_traceback_is_the_first_line() -> None:
    group = BaseExceptionGroup("none", [KeyboardInterrupt()])
    assert where_waiting(group) == "its first line"
