"""Callers with little time: handlers, those with a deadline, those of a slow hook."""

import math
from typing import Any

import pytest
import trio
import trio.testing

from tests.streams import Side, call, heads, limits, post, settled
from trio_s2s.codes import Kind, ReturnCode
from trio_s2s.deadlines import handler_deadline
from trio_s2s.errors import OperationError, PeerBusyError
from trio_s2s.forms import Message
from trio_s2s.tickets import Call

Clock = trio.testing.MockClock


def nothing(_: Call) -> None:
    pass


# -- inside a handler --


async def test_handler_waits_for_a_slot_for_a_while_only(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    side = Side(limits(slots=1))
    await side.request(nursery, "a")
    handler_deadline.set(math.inf)
    start = trio.current_time()
    with pytest.raises(OperationError, match=r"waited 10 s \(handler_wait\)") as caught:
        await side.calls.request(call())
    assert caught.value.return_code == ReturnCode.SERVER_BUSY
    with pytest.raises(OperationError):
        await side.calls.post_request(call(on_end=nothing))
    assert trio.current_time() - start == 20
    assert heads(side.take()) == [[Kind.REQUEST, 1]]
    assert side.take() == []
    nursery.cancel_scope.cancel()


async def test_handler_waits_for_credit_for_a_while_only(
    autojump_clock: Clock,
) -> None:
    side = Side(limits(events=100))
    handler_deadline.set(math.inf)
    await side.send(post(1))
    with pytest.raises(PeerBusyError, match="nothing was sent"):
        await side.send(post(2), flush=True)
    assert heads(side.take()) == [[Kind.EVENT, 1]]
    side.credit(0, 68)
    assert side.take() == []


async def test_handler_waits_for_its_answer_as_long_as_it_takes(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    side = Side(limits(slots=1))
    await side.request(nursery, "a")
    handler_deadline.set(math.inf)
    await side.request(nursery, "b")
    handler_deadline.set(None)
    side.take()
    await trio.sleep(9)
    side.answer(1)
    side.take()
    await trio.sleep(100)
    assert side.names == ["a"]
    side.answer(2)
    await settled()
    assert side.names == ["a", "b"]


# -- with a deadline --


def time_left(message: Message) -> int | None:
    left: int | None = message[4][0] if len(message) > 4 else None
    return left


async def ask(side: Side, nursery: trio.Nursery, seconds: float) -> None:
    async def limited() -> Message:
        with trio.fail_after(seconds):
            return await side.calls.request(call())

    await side.start(nursery, f"in {seconds:g} s", limited)


async def test_time_left_is_told_when_the_slot_is_granted(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    side = Side(limits(slots=1))
    await ask(side, nursery, math.inf)
    await ask(side, nursery, 5)
    [first] = side.take()
    assert time_left(first) is None
    await trio.sleep(2)
    side.answer(1)
    [second] = side.take()
    assert time_left(second) == 3000
    nursery.cancel_scope.cancel()


async def test_time_that_was_over_before_it_was_sent_is_the_shortest(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    """It is taken back at once, since its caller is cancelled already."""
    side = Side()
    with trio.move_on_at(trio.current_time() - 1):
        await side.calls.request(call())
    with trio.CancelScope() as scope:
        scope.cancel()
        await side.calls.request(call())
    assert side.take() == []


async def test_handler_hands_on_what_is_left_of_its_time(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    side = Side()
    handler_deadline.set(trio.current_time() + 4)
    for seconds in (2, 10):
        await ask(side, nursery, seconds)
    assert [time_left(message) for message in side.take()] == [2000, 4000]
    nursery.cancel_scope.cancel()


async def test_posted_request_has_no_deadline(autojump_clock: Clock) -> None:
    """Who posts it does not wait for its answer."""
    side = Side()
    with trio.fail_after(5):
        await side.calls.post_request(call(on_end=nothing))
    assert [time_left(message) for message in side.take()] == [None]


@pytest.mark.parametrize("is_extended", [False, True])
async def test_own_scope_decides_what_the_caller_sees(
    is_extended: bool, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    """The other side's clock runs faster: its -6 comes before our time is over."""
    side = Side()
    ends: list[Any] = []

    async def limited() -> None:
        with trio.move_on_after(5) as scope:
            scopes.append(scope)
            try:
                ends.append(await side.calls.request(call()))
            finally:
                ends.append(trio.current_time())

    scopes: list[trio.CancelScope] = []
    nursery.start_soon(limited)
    await settled()
    side.take()
    await trio.sleep(4.5)
    if is_extended:
        scopes[0].deadline += 10
    side.answer(1, ReturnCode.DEADLINE_EXCEEDED)
    await trio.sleep(100)
    answer = [[Kind.RESPONSE, 1, -6, {}, None]] if is_extended else []
    assert ends == [*answer, 5]


async def test_answer_that_is_much_too_early_is_an_answer(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    """The caller waited for its own deadline, also when the connection was lost."""
    side = Side()
    ends: list[Any] = []

    async def limited() -> None:
        with trio.fail_after(3600):
            ends.append(await side.calls.request(call()))

    nursery.start_soon(limited)
    await settled()
    side.take()
    side.answer(1, ReturnCode.DEADLINE_EXCEEDED)
    await settled()
    assert ends == [[Kind.RESPONSE, 1, -6, {}, None]]


async def test_deadline_of_another_caller_is_an_answer_like_any() -> None:
    """Who has no deadline itself waits for nothing."""
    side = Side()
    async with trio.open_nursery() as nursery:
        await side.request(nursery, "a")
        side.take()
        side.answer(1, ReturnCode.DEADLINE_EXCEEDED)
    assert side.ended == [("a", [Kind.RESPONSE, 1, -6, {}, None])]


# -- whose answers go to a hook --


async def test_posts_wait_for_a_hook_that_takes_its_time(
    nursery: trio.Nursery,
) -> None:
    """As many answers wait for it as the other side takes requests at once."""
    side = Side(limits(slots=2))
    for request_id in (1, 2):
        await side.calls.post_request(call(on_end=nothing))
        side.take()
        side.answer(request_id)
    await side.start(
        nursery, "3", lambda: side.calls.post_request(call(on_end=nothing))
    )
    assert side.take() == []
    assert side.ended == []
    side.calls.answer_taken()
    assert heads(side.take()) == [[Kind.REQUEST, 3]]
    await settled()
    assert side.ended == [("3", None)]


async def test_callers_that_await_their_answers_do_not_wait_for_a_hook(
    nursery: trio.Nursery,
) -> None:
    """Neither for a slow one, nor behind those that do wait for it."""
    side = Side(limits(slots=1))
    await side.calls.post_request(call(on_end=nothing))
    side.take()
    side.answer(1)
    await side.start(
        nursery, "post", lambda: side.calls.post_request(call(on_end=nothing))
    )
    await side.request(nursery, "a")
    assert heads(side.take()) == [[Kind.REQUEST, 2]]
    nursery.cancel_scope.cancel()
