"""Callers that wait for a window, for the buffer, and for answers."""

from typing import Any

import pytest
import trio
import trio.testing

from tests.streams import Side, call, heads, limits, post, settled
from trio_s2s.codes import CancelReason, DisconnectReason, Kind, Outcome
from trio_s2s.errors import (
    LocalProtocolError,
    MessageTooLargeError,
    PeerClosedError,
    PeerDisconnectedError,
)
from trio_s2s.tickets import Call


def nothing(_: Call) -> None:
    pass


def print_nothing(_: Call) -> None:
    pass


# -- requests --


async def test_request_gives_its_answer(nursery: trio.Nursery) -> None:
    side = Side()
    await side.request(nursery, "a")
    assert side.wakes == 1
    assert side.take() == [[Kind.REQUEST, 1, 1, {}]]
    side.answer(1)
    await settled()
    assert side.ended == [("a", [Kind.RESPONSE, 1, 0, {}, None])]
    assert side.protocol.is_idle


async def test_requests_wait_for_slots_in_the_order_of_asking(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(slots=1))
    for name in "abc":
        await side.request(nursery, name)
    assert heads(side.take()) == [[Kind.REQUEST, 1]]
    assert side.take() == []
    for request_id in (1, 2, 3):
        side.answer(request_id)
        side.take()
    await settled()
    assert sorted(side.names) == ["a", "b", "c"]


async def test_small_request_does_not_overtake_a_large_one(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(requests=1000))
    await side.request(nursery, "a", 500)
    await side.request(nursery, "large", 600)
    await side.request(nursery, "small")
    assert heads(side.take()) == [[Kind.REQUEST, 1]]
    side.answer(1)
    assert [message[3] for message in side.take()] == [{0: bytes(600)}, {}]
    nursery.cancel_scope.cancel()


async def test_lanes_take_turns_where_the_buffer_is_short(
    nursery: trio.Nursery,
) -> None:
    """However many requests wait: an event goes as soon as its turn has come."""
    side = Side(limits(), buffer=1)
    for name in "abcd":
        await side.request(nursery, name)
    await side.event(nursery, 1)
    await side.event(nursery, 2, channel=3)
    order = [message[0] for _ in range(6) for message in side.take()]
    assert order[0] == Kind.REQUEST
    assert set(order[1:4]) == {Kind.REQUEST, Kind.EVENT}
    assert sorted(order[1:4]).count(Kind.EVENT) == 2
    nursery.cancel_scope.cancel()


async def test_cancelled_waiting_request_leaves_its_lane(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(slots=1))
    for name in "abc":
        scope = await side.request(nursery, name)
        if name == "b":
            scope_b = scope
    side.take()
    scope_b.cancel()
    await settled()
    side.answer(1)
    assert heads(side.take()) == [[Kind.REQUEST, 2]]
    side.answer(2)
    await settled()
    assert sorted(side.names) == ["a", "b", "c"]
    assert side.protocol.is_idle


async def test_cancelled_large_request_lets_those_behind_it_go(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(requests=1000))
    await side.request(nursery, "a", 500)
    scope = await side.request(nursery, "large", 600)
    await side.request(nursery, "small")
    assert len(side.take()) == 1
    scope.cancel()
    await settled()
    assert [message[3] for message in side.take()] == [{}]
    nursery.cancel_scope.cancel()


async def test_cancelled_queued_request_is_taken_back(nursery: trio.Nursery) -> None:
    side = Side()
    scope = await side.request(nursery, "a")
    scope.cancel()
    await settled()
    assert side.take() == []
    assert side.protocol.is_idle
    await side.request(nursery, "b")
    assert heads(side.take()) == [[Kind.REQUEST, 2]]  # Id 1 is a gap.
    nursery.cancel_scope.cancel()


async def test_nothing_leaves_from_a_cancelled_scope() -> None:
    side = Side()
    for ask in (
        lambda: side.calls.request(call()),
        lambda: side.calls.post_request(call(on_end=nothing)),
        lambda: side.send(post(1)),
        lambda: side.send(post(1), flush=True),
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await ask()
        assert scope.cancelled_caught
        assert side.take() == []
    assert side.protocol.is_idle


async def test_request_taken_back_lets_the_next_one_go(nursery: trio.Nursery) -> None:
    side = Side(limits(slots=1))
    scope = await side.request(nursery, "a")
    await side.request(nursery, "b")
    scope.cancel()
    await settled()
    assert heads(side.take()) == [[Kind.REQUEST, 2]]
    nursery.cancel_scope.cancel()


async def test_cancelled_sent_request_keeps_its_slot_until_the_answer(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(slots=1))
    scope = await side.request(nursery, "a")
    await side.request(nursery, "b")
    side.take()
    scope.cancel()
    await settled()
    assert side.take() == [[Kind.CANCEL, 1, CancelReason.CALLER]]
    assert side.take() == []
    assert side.protocol.late_responses == 0
    side.answer(1)
    assert side.protocol.late_responses == 1
    assert heads(side.take()) == [[Kind.REQUEST, 2]]
    nursery.cancel_scope.cancel()


async def test_cancel_goes_ahead_of_what_waits(nursery: trio.Nursery) -> None:
    side = Side()
    scope = await side.request(nursery, "a")
    side.take()
    await side.event(nursery, 7)
    scope.cancel()
    await settled()
    assert heads(side.take()) == [[Kind.CANCEL, 1], [Kind.EVENT, 7]]


async def test_deadline_is_told_to_the_other_side(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    side = Side()

    async def ask() -> None:
        with trio.fail_after(5):
            await side.calls.request(call())

    await side.start(nursery, "a", ask)
    side.take()
    await trio.sleep(6)
    assert isinstance(side.error(), trio.TooSlowError)
    assert side.take() == [[Kind.CANCEL, 1, CancelReason.DEADLINE]]


async def test_answer_wins_over_a_cancel_in_the_same_turn(
    nursery: trio.Nursery,
) -> None:
    side = Side()
    scope = await side.request(nursery, "a")
    side.take()
    side.answer(1)
    scope.cancel()
    await settled()
    assert side.ended == [("a", [Kind.RESPONSE, 1, 0, {}, None])]
    assert side.take() == []


# -- requests whose answer goes elsewhere --


async def test_posted_request_returns_when_it_is_queued() -> None:
    side = Side()
    told: list[Call] = []
    with trio.testing.assert_checkpoints():
        await side.calls.post_request(call(on_end=told.append))
    assert heads(side.take()) == [[Kind.REQUEST, 1]]
    assert told == []
    side.answer(1)
    [ended] = told
    assert ended.response is not None


async def test_posted_request_that_waits_is_never_sent_at_the_end(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(slots=1))
    told: list[Call] = []
    await side.calls.post_request(call(on_end=told.append))
    await side.start(
        nursery, "b", lambda: side.calls.post_request(call(on_end=nothing))
    )
    side.take()
    side.end()
    side.calls.end_all()
    await settled()
    assert side.error().outcome is Outcome.NEVER_SENT
    assert [one.outcome for one in told] == [Outcome.UNKNOWN]


async def test_posted_request_is_told_once_if_it_ends_as_it_is_queued(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(slots=1))
    told: list[Call] = []
    await side.request(nursery, "a")
    await side.start(
        nursery, "b", lambda: side.calls.post_request(call(on_end=told.append))
    )
    side.take()
    side.answer(1)  # Now the second is queued, but its task has not gone on.
    side.end()
    side.calls.end_all()
    await settled()
    assert [one.outcome for one in told] == [Outcome.NEVER_SENT]
    assert ("b", None) in side.ended


# -- events --


async def test_events_of_a_channel_keep_their_order(nursery: trio.Nursery) -> None:
    side = Side(limits(events=200))
    for number in (1, 2, 3, 4):
        await side.event(nursery, number)
    assert heads(side.take()) == [[Kind.EVENT, 1], [Kind.EVENT, 2]]
    side.credit(0, 68)
    assert heads(side.take()) == [[Kind.EVENT, 3]]
    side.credit(0, 2 * 68)
    assert heads(side.take()) == [[Kind.EVENT, 4]]
    await settled()
    assert sorted(side.names) == ["1", "2", "3", "4"]


async def test_channels_do_not_wait_for_each_other(nursery: trio.Nursery) -> None:
    side = Side(limits(events=100))
    for number, channel in [(1, 0), (2, 0), (3, 1), (4, 1)]:
        await side.event(nursery, number, channel=channel)
    assert heads(side.take()) == [[Kind.EVENT, 1], [Kind.EVENT, 3]]
    side.credit(1, 68)
    assert heads(side.take()) == [[Kind.EVENT, 4]]
    nursery.cancel_scope.cancel()


async def test_events_wait_for_the_buffer(nursery: trio.Nursery) -> None:
    side = Side(buffer=1000)
    await side.event(nursery, 1, 500)
    await side.event(nursery, 2, 500)
    await side.event(nursery, 3)
    assert side.names == ["1"]
    assert heads(side.take()) == [[Kind.EVENT, 1]]
    await settled()
    assert sorted(side.names) == ["1", "2", "3"]
    assert heads(side.take()) == [[Kind.EVENT, 2], [Kind.EVENT, 3]]


async def test_nobody_overtakes_what_waits_for_the_buffer(
    nursery: trio.Nursery,
) -> None:
    side = Side(buffer=1000)
    await side.event(nursery, 1, 500)
    await side.event(nursery, 2, 5000)
    await side.event(nursery, 3, channel=1)
    await side.request(nursery, "a")
    assert heads(side.take()) == [[Kind.EVENT, 1]]
    # The large one goes alone; it had waited first.
    assert heads(side.take()) == [[Kind.EVENT, 2]]
    rest = heads(side.take())
    assert sorted(rest) == [[Kind.REQUEST, 1], [Kind.EVENT, 3]]
    nursery.cancel_scope.cancel()


async def test_cancelled_event_that_waits_is_not_sent(nursery: trio.Nursery) -> None:
    side = Side(limits(events=100))
    await side.event(nursery, 1)
    scope = await side.event(nursery, 2)
    await side.event(nursery, 3)
    scope.cancel()
    await settled()
    side.take()
    side.credit(0, 68)
    assert heads(side.take()) == [[Kind.EVENT, 3]]


async def test_many_events_let_other_tasks_have_a_turn(nursery: trio.Nursery) -> None:
    side = Side(limits(events=2**24), buffer=2**24)
    turns = []

    async def other() -> None:
        turns.append(True)

    nursery.start_soon(other)
    for number in range(20):
        await side.send(post(number, 30_000))
    assert turns


async def test_unreliable_event_is_dropped_under_pressure() -> None:
    side = Side(limits(events=100))
    for number in (1, 2):
        await side.send(post(number), unreliable=True)
    side.calls.send_event_nowait(post(3), unreliable=True)
    side.calls.send_event_nowait(post(4, channel=1), unreliable=True)
    assert side.calls.events_dropped == 2
    assert heads(side.take()) == [[Kind.EVENT, 1], [Kind.EVENT, 4]]


async def test_event_that_may_not_wait_would_block(nursery: trio.Nursery) -> None:
    side = Side(limits(events=100))
    side.calls.send_event_nowait(post(1), unreliable=False)
    with pytest.raises(trio.WouldBlock):
        side.calls.send_event_nowait(post(2), unreliable=False)
    assert side.calls.events_dropped == 0
    await side.event(nursery, 3)
    side.credit(0, 68)  # Event 3 is queued, and takes all the credit.
    with pytest.raises(trio.WouldBlock):
        side.calls.send_event_nowait(post(4), unreliable=False)
    assert heads(side.take()) == [[Kind.EVENT, 1], [Kind.EVENT, 3]]
    full = Side(buffer=100)
    full.calls.send_event_nowait(post(1, 80), unreliable=False)
    with pytest.raises(trio.WouldBlock):
        full.calls.send_event_nowait(post(2, 80), unreliable=False)


# -- flush --


async def test_flushed_event_returns_when_it_was_sent(nursery: trio.Nursery) -> None:
    side = Side()
    await side.start(nursery, "1", lambda: side.send(post(1), flush=True))
    assert side.ended == []
    side.take()
    await settled()
    assert side.ended == [("1", None)]


async def test_flushed_event_that_waited_returns_when_it_was_sent(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(events=100))
    await side.event(nursery, 1)
    await side.start(nursery, "2", lambda: side.send(post(2), flush=True))
    side.take()
    side.credit(0, 68)
    await settled()
    assert side.names == ["1"]
    side.take()
    await settled()
    assert side.names == ["1", "2"]


async def test_flushed_event_may_leave_before_its_task_goes_on(
    nursery: trio.Nursery,
) -> None:
    """The writer runs in the same turn as the task that waited for credit."""
    side = Side(limits(events=100))
    await side.event(nursery, 1)
    await side.start(nursery, "2", lambda: side.send(post(2), flush=True))
    side.take()
    side.credit(0, 68)
    side.take()
    await settled()
    assert side.names == ["1", "2"]


async def test_cancelled_flush_takes_the_event_back(nursery: trio.Nursery) -> None:
    side = Side(limits(events=100))
    with trio.move_on_after(0) as scope:
        await side.send(post(1), flush=True)
    assert scope.cancelled_caught
    assert side.take() == []
    await side.event(nursery, 2)  # It had its credit back.
    assert side.names == ["2"]


async def test_cancelled_flush_of_what_has_left_sends_no_cancel(
    nursery: trio.Nursery,
) -> None:
    side = Side()
    scope = trio.CancelScope()

    async def send() -> None:
        with scope:
            await side.send(post(1), flush=True)

    await side.start(nursery, "1", send)
    frame, told = side.outbox.take_frame(1000)
    scope.cancel()
    await settled()
    for tell in told:
        tell()
    assert frame
    assert side.ended == [("1", None)]
    assert side.take() == []


async def test_flush_fails_when_the_connection_ends(nursery: trio.Nursery) -> None:
    side = Side()
    await side.start(nursery, "1", lambda: side.send(post(1), flush=True))
    side.end()
    side.calls.end_all()
    await settled()
    assert isinstance(side.error(), PeerDisconnectedError)


async def test_flush_that_waited_fails_when_the_connection_ends_in_the_same_turn(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(events=100))
    await side.event(nursery, 1)
    await side.start(nursery, "2", lambda: side.send(post(2), flush=True))
    side.take()
    side.credit(0, 68)
    side.end()
    side.calls.end_all()
    await settled()
    assert isinstance(dict(side.ended)["2"], PeerDisconnectedError)


# -- what is illegal --


async def test_message_that_is_too_large_is_refused() -> None:
    side = Side()
    with pytest.raises(MessageTooLargeError, match="Echo has 600,0"):
        await side.calls.request(call(600_000))
    with pytest.raises(MessageTooLargeError, match="Note has 600,0"):
        await side.send(post(1, 600_000))
    with pytest.raises(MessageTooLargeError):
        await side.send(post(1, 600_000), unreliable=True)
    with pytest.raises(MessageTooLargeError):
        side.calls.send_event_nowait(post(1, 600_000), unreliable=True)
    assert side.take() == []


async def test_message_that_the_other_side_never_takes_is_refused() -> None:
    side = Side(limits(slots=0, events=0))
    with pytest.raises(LocalProtocolError, match="Echo cannot be sent: the other side"):
        await side.calls.request(call())
    with pytest.raises(LocalProtocolError, match="Note cannot be sent"):
        await side.send(post(1))


# -- the end --


async def test_end_tells_each_caller_what_became_of_it(nursery: trio.Nursery) -> None:
    side = Side(limits(slots=2))
    await side.request(nursery, "sent")
    side.take()
    await side.request(nursery, "queued")
    await side.request(nursery, "waiting")
    side.end()
    side.calls.end_all()
    assert side.protocol.is_idle
    await settled()
    errors: dict[str, Any] = dict(side.ended)
    assert {name: error.outcome for name, error in errors.items()} == {
        "sent": Outcome.UNKNOWN,
        "queued": Outcome.NEVER_SENT,
        "waiting": Outcome.NEVER_SENT,
    }
    for error in errors.values():
        assert error.reason is DisconnectReason.CONNECTION_LOST
        assert side.ending.explains(error)


async def test_goodbye_refuses_what_the_other_side_did_not_take_on(
    nursery: trio.Nursery,
) -> None:
    side = Side()
    for name in ("taken on", "crossed it"):
        await side.request(nursery, name)
    side.take()
    await side.request(nursery, "queued")
    side.end(DisconnectReason.REMOTE_CLOSE)
    side.calls.end_unsent(1)
    await settled()
    errors: dict[str, Any] = dict(side.ended)
    assert {name: error.outcome for name, error in errors.items()} == {
        "crossed it": Outcome.REFUSED,
        "queued": Outcome.NEVER_SENT,
    }
    side.answer(1)
    await settled()
    assert side.ended[-1] == ("taken on", [Kind.RESPONSE, 1, 0, {}, None])


async def test_event_that_waits_is_never_sent_at_the_end(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(events=100))
    await side.send(post(1))
    await side.event(nursery, 2)
    await side.start(nursery, "3", lambda: side.send(post(3), flush=True))
    side.end()
    await settled()
    errors: dict[str, Any] = dict(side.ended)
    assert [errors[name].outcome for name in "23"] == [Outcome.NEVER_SENT] * 2


async def test_calls_after_the_end_fail_at_once() -> None:
    lost, side = Side(), Side()
    lost.end()
    with pytest.raises(PeerDisconnectedError) as caught:
        await lost.calls.request(call())
    assert caught.value.outcome is Outcome.NEVER_SENT
    side.end(DisconnectReason.LOCAL_CLOSE)
    with pytest.raises(PeerClosedError):
        await side.send(post(1))
    with pytest.raises(PeerClosedError):
        side.calls.send_event_nowait(post(1), unreliable=True)
    with pytest.raises(PeerClosedError):
        await side.calls.post_request(call(on_end=nothing))
