"""Callers that wait for a window, for the buffer, and for answers."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.streams import LIMITS
from trio_s2s.calls import Calls, inside_handler
from trio_s2s.codec import NOTHING, pack_event, pack_parameters, unpack_messages
from trio_s2s.codes import CancelReason, DisconnectReason, Kind, Outcome, ReturnCode
from trio_s2s.ending import Ending
from trio_s2s.errors import (
    LocalProtocolError,
    MessageTooLargeError,
    OperationError,
    PeerBusyError,
    PeerClosedError,
    PeerDisconnectedError,
)
from trio_s2s.forms import Message
from trio_s2s.outbox import Outbox
from trio_s2s.protocol import Protocol
from trio_s2s.tickets import Call, Post
from trio_s2s.windows import Limits

settled = trio.testing.wait_all_tasks_blocked


def limits(
    *, slots: int = 1024, requests: int = 4 * 1024**2, events: int = 256 * 1024
) -> Limits:
    return Limits(512 * 1024, slots, requests, events)


def call(size: int = 0, on_end: Callable[[Call], None] | None = None) -> Call:
    parameters = pack_parameters({0: bytes(size)}, 10) if size else NOTHING
    return Call("Echo", code=1, parameters=parameters, on_end=on_end)


def post(number: int, size: int = 0, channel: int = 0) -> Post:
    table = pack_parameters({0: bytes(size)}, 10) if size else NOTHING
    packed = pack_event(number, table, channel)
    return Post("Note", channel=channel, packed=packed)


class Side:
    """Calls without a connection: a test is the writer, the reader and the far side."""

    def __init__(self, theirs: Limits = LIMITS, buffer: int = 1024**2) -> None:
        self.protocol = Protocol(LIMITS, theirs)
        self.outbox = Outbox(buffer)
        self.ending = Ending()
        self.wakes = 0
        self.calls = Calls(self.protocol, self.outbox, self._wake, 10.0)
        self.ended: list[tuple[str, object]] = []

    def _wake(self) -> None:
        self.wakes += 1

    def take(self) -> list[Message]:
        """Take a frame as the writer does, and tell that it was sent."""
        frame, told = self.outbox.take_frame(self.protocol.max_frame)
        if not frame:
            return []
        self.calls.pump()
        for tell in told:
            tell()
        return [message for message, _ in unpack_messages(frame[4:], 4096)]

    def answer(self, request_id: int) -> None:
        """Receive the answer to a request, as the reader does."""
        message: Message = [Kind.RESPONSE, request_id, 0, {}, None]
        if self.protocol.receive(message, 10):
            self.calls.response_received(message)
        self.calls.pump()

    def credit(self, channel: int, weight: int) -> None:
        self.protocol.receive([Kind.CREDIT, channel, weight], 10)
        self.calls.pump()

    def end(self, reason: DisconnectReason = DisconnectReason.CONNECTION_LOST) -> None:
        """Begin the end, as a connection does."""
        self.ending.record(reason, "gone")
        self.calls.shut(self.ending.error)

    async def run(self, name: str, function: Callable[[], Awaitable[Any]]) -> None:
        """Await a call and note how it ended."""
        try:
            result: object = await function()
        except trio.Cancelled:
            self.ended.append((name, "cancelled"))
            raise
        except Exception as error:
            result = error
        self.ended.append((name, result))

    async def start(
        self, nursery: trio.Nursery, name: str, function: Callable[[], Awaitable[Any]]
    ) -> None:
        nursery.start_soon(self.run, name, function)
        await settled()

    async def request(
        self, nursery: trio.Nursery, name: str, size: int = 0
    ) -> trio.CancelScope:
        """Start a request in a scope of its own."""
        scope = trio.CancelScope()

        async def ask() -> Message:
            with scope:
                return await self.calls.request(call(size))
            raise AssertionError("it was cancelled")

        await self.start(nursery, name, ask)
        return scope

    async def event(
        self, nursery: trio.Nursery, number: int, size: int = 0, channel: int = 0
    ) -> trio.CancelScope:
        """Start an event in a scope of its own."""
        scope = trio.CancelScope()

        async def send() -> None:
            with scope:
                await self.send(post(number, size, channel))

        await self.start(nursery, str(number), send)
        return scope

    async def send(
        self, one: Post, *, unreliable: bool = False, flush: bool = False
    ) -> None:
        await self.calls.send_event(one, unreliable=unreliable, flush=flush)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.ended]

    def error(self) -> Any:
        [(_, error)] = self.ended
        return error


def heads(messages: list[Message]) -> list[list[Any]]:
    """Give the kinds of messages, with their ids or event codes."""
    return [message[:2] for message in messages]


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
    assert side.names == ["a", "b", "c"]


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


async def test_answer_that_nobody_waits_for_is_dropped() -> None:
    Side().calls.response_received([Kind.RESPONSE, 5, 0, {}, None])


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


async def test_request_in_a_cancelled_scope_never_leaves() -> None:
    side = Side()
    with trio.CancelScope() as scope:
        scope.cancel()
        await side.calls.request(call())
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


async def test_cancel_under_a_deadline_to_come_is_the_callers(
    nursery: trio.Nursery,
) -> None:
    side = Side()
    scope = await side.request(nursery, "a")
    scope.deadline = trio.current_time() + 100
    side.take()
    scope.cancel()
    await settled()
    assert side.take() == [[Kind.CANCEL, 1, CancelReason.CALLER]]


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


async def test_posted_request_waits_for_a_slot(nursery: trio.Nursery) -> None:
    side = Side(limits(slots=1))
    await side.request(nursery, "a")
    await side.start(
        nursery, "b", lambda: side.calls.post_request(call(on_end=print_nothing))
    )
    side.take()
    assert side.names == []
    side.answer(1)
    await settled()
    assert sorted(side.names) == ["a", "b"]


def print_nothing(_: Call) -> None:
    pass


async def test_posted_request_that_waits_is_never_sent_at_the_end(
    nursery: trio.Nursery,
) -> None:
    side = Side(limits(slots=1))
    told: list[Call] = []
    await side.calls.post_request(call(on_end=told.append))
    await side.start(
        nursery, "b", lambda: side.calls.post_request(call(on_end=print_nothing))
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


async def test_posted_request_in_a_cancelled_scope_is_not_sent() -> None:
    side = Side()
    with trio.CancelScope() as scope:
        scope.cancel()
        await side.calls.post_request(call(on_end=print_nothing))
    assert scope.cancelled_caught
    assert side.take() == []


# -- events --


async def test_event_is_queued_at_once() -> None:
    side = Side()
    await side.send(post(7))
    assert side.take() == [[Kind.EVENT, 7, {}]]


async def test_events_of_a_channel_keep_their_order(nursery: trio.Nursery) -> None:
    side = Side(limits(events=200))
    for number in (1, 2, 3, 4):
        await side.event(nursery, number)
    assert heads(side.take()) == [[Kind.EVENT, 1], [Kind.EVENT, 2]]
    side.credit(0, 67)
    assert heads(side.take()) == [[Kind.EVENT, 3]]
    side.credit(0, 2 * 67)
    assert heads(side.take()) == [[Kind.EVENT, 4]]
    await settled()
    assert side.names == ["1", "2", "3", "4"]


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
    assert side.names == ["1", "2", "3"]
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
    side.credit(0, 67)
    assert heads(side.take()) == [[Kind.EVENT, 3]]


async def test_many_events_let_other_tasks_have_a_turn(nursery: trio.Nursery) -> None:
    side = Side(limits(events=2**24), buffer=2**24)
    turns = []

    async def other() -> None:
        turns.append(True)

    nursery.start_soon(other)
    for number in range(5):
        await side.send(post(number, 30_000))
    assert turns


async def test_event_in_a_cancelled_scope_is_not_sent() -> None:
    side = Side()
    with trio.CancelScope() as scope:
        scope.cancel()
        await side.send(post(1))
    assert scope.cancelled_caught
    assert side.take() == []


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
    side.credit(0, 67)  # Event 3 is queued, and takes all the credit.
    with pytest.raises(trio.WouldBlock):
        side.calls.send_event_nowait(post(4), unreliable=False)
    assert heads(side.take()) == [[Kind.EVENT, 1], [Kind.EVENT, 3]]


async def test_event_that_may_not_wait_would_block_on_a_full_buffer() -> None:
    side = Side(buffer=100)
    side.calls.send_event_nowait(post(1, 80), unreliable=False)
    with pytest.raises(trio.WouldBlock):
        side.calls.send_event_nowait(post(2, 80), unreliable=False)
    side.take()
    side.calls.send_event_nowait(post(3, 80), unreliable=False)


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
    side.credit(0, 67)
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
    side.credit(0, 67)
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
