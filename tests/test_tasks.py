"""The tasks of one peer."""

import math
from contextvars import ContextVar

import pytest
import trio
import trio.testing

from tests.streams import settled
from trio_s2s.deadlines import handler_deadline
from trio_s2s.tasks import Tasks, inside_peers, reported

secret: ContextVar[str] = ContextVar("secret", default="")


async def test_task_runs_in_a_clean_context(nursery: trio.Nursery) -> None:
    handler_deadline.set(math.inf)
    tasks = Tasks(nursery, "me")
    seen: list[tuple[str, float | None, tuple[object, ...]]] = []

    async def look() -> None:
        seen.append((secret.get(), handler_deadline.get(), inside_peers.get()))
        secret.set("left behind")

    secret.set("of the caller")
    inside_peers.set(("another",))
    for _ in range(2):
        tasks.start_soon(look, name="look")
        await settled()
    assert seen == [("", None, ("me",))] * 2
    assert secret.get() == "of the caller"


async def test_handler_knows_that_it_is_one(nursery: trio.Nursery) -> None:
    tasks = Tasks(nursery, "me")
    seen: list[float | None] = []

    async def look(factor: int) -> None:
        seen.append(handler_deadline.get())

    tasks.start_soon(look, 1, name="look", handler_deadline=7)
    await settled()
    assert seen == [7]
    assert handler_deadline.get() is None
    assert tasks.context(8).run(handler_deadline.get) == 8
    assert tasks.context(None).run(handler_deadline.get) is None


async def test_task_has_its_name(nursery: trio.Nursery) -> None:
    tasks = Tasks(nursery, "me")
    names: list[str] = []

    async def look() -> None:
        names.append(trio.lowlevel.current_task().name)

    tasks.start_soon(look, name="looker")
    await settled()
    assert names == ["looker"]


async def test_tasks_are_counted(nursery: trio.Nursery) -> None:
    tasks = Tasks(nursery, "me")
    event = trio.Event()
    tasks.start_soon(event.wait, name="a")
    tasks.start_soon(trio.sleep_forever, name="b")
    assert tasks.running == 2
    event.set()
    await settled()
    assert tasks.running == 1
    nursery.cancel_scope.cancel()


async def test_task_that_raises_is_not_counted_any_more() -> None:
    async def fail() -> None:
        raise ValueError

    caught = []
    try:
        async with trio.open_nursery() as nursery:
            tasks = Tasks(nursery, "me")
            tasks.start_soon(fail, name="fail")
    except* ValueError as group:
        caught.append(group)
    assert len(caught) == 1
    assert tasks.running == 0


async def test_cancel_returns_when_the_last_task_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def clean_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)

    async with trio.open_nursery() as nursery:
        tasks = Tasks(nursery, "me")
        tasks.start_soon(trio.sleep_forever, name="a")
        tasks.start_soon(clean_up, name="b")
        await settled()
        start = trio.current_time()
        with trio.CancelScope(shield=True):
            await tasks.cancel("over")
        assert trio.current_time() - start == 3
        assert tasks.running == 0


async def test_cancel_without_tasks_returns_at_once() -> None:
    async with trio.open_nursery() as nursery:
        await Tasks(nursery, "me").cancel("over")
    assert nursery.cancel_scope.cancel_called


# -- errors --


def tell(error: BaseException) -> list[Exception]:
    """Raise an error where errors are reported; give what was."""
    told: list[Exception] = []

    def fail() -> None:
        raise error

    with reported(told.append):
        fail()
    return told


def test_error_is_reported_and_goes_no_further() -> None:
    assert [str(one) for one in tell(ValueError("x"))] == ["x"]
    assert len(tell(ExceptionGroup("y", [ValueError("y"), ValueError("z")]))) == 1


def test_what_is_beside_an_error_goes_on() -> None:
    both = [ValueError("x"), KeyboardInterrupt()]
    with pytest.raises(BaseExceptionGroup) as caught:
        tell(BaseExceptionGroup("both", both))
    assert [type(one) for one in caught.value.exceptions] == [KeyboardInterrupt]


def test_interrupt_alone_is_no_error() -> None:
    with pytest.raises(KeyboardInterrupt):
        tell(KeyboardInterrupt())
    with pytest.raises(BaseExceptionGroup):
        tell(BaseExceptionGroup("one", [KeyboardInterrupt()]))
