"""Requests and events on their way out."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.streams import LIMITS
from trio_s2s.codec import NOTHING, pack_event, unpack_messages
from trio_s2s.codes import CancelReason, Kind, ReturnCode
from trio_s2s.errors import OperationError, PeerBusyError
from trio_s2s.forms import Message
from trio_s2s.protocol import Protocol
from trio_s2s.tickets import Call, Post, Ticket
from trio_s2s.windows import Limits


def call(on_end: Callable[[Call], None] | None = None) -> Call:
    return Call("Echo", code=5, parameters=NOTHING, on_end=on_end)


def post(channel: int = 3) -> Post:
    return Post("Note", channel=channel, packed=pack_event(7, NOTHING, channel))


def protocol(theirs: Limits = LIMITS) -> Protocol:
    return Protocol(LIMITS, theirs)


def unpack(packed: bytes) -> Message:
    [(message, _)] = unpack_messages(packed, 4096)
    return message


def test_call_is_packed_with_the_next_id() -> None:
    ours = protocol()
    first, second = call(), call()
    second.options = {1: 2}
    assert unpack(first.payload(ours)) == [Kind.REQUEST, 1, 5, {}]
    first.queued(ours, 10)
    assert first.id == 1
    assert unpack(second.payload(ours)) == [Kind.REQUEST, 2, 5, {}, {1: 2}]


def test_call_is_never_larger_than_it_says() -> None:
    ours = protocol()
    said = call().size_at_most(ours)
    ours._last_id = 2**63 - 2
    assert len(call().payload(ours)) <= said


def test_call_holds_a_slot_and_its_weight() -> None:
    ours = protocol(Limits(1024, 1, 1000, 1000))
    first, second = call(), call()
    assert first.fits(ours, 10)
    first.queued(ours, 10)
    assert ours.outstanding == {1: 74}
    assert not second.fits(ours, 10)
    first.withdrawn(ours)
    assert second.fits(ours, 10)
    second.queued(ours, 10)
    assert second.id == 2  # The first id stays a gap.


def test_call_waits_for_its_answer_unless_a_function_is_told() -> None:
    assert call().waits_for_answer
    assert not call(lambda _: None).waits_for_answer
    assert not post().waits_for_answer


def test_call_tells_its_function_that_it_ended() -> None:
    told: list[Call] = []
    one = call(told.append)
    one.end()
    assert told == [one]


async def test_call_wakes_its_task_once(nursery: trio.Nursery) -> None:
    one = call()
    woken: list[bool] = []

    async def wait() -> None:
        one.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(
            lambda _: trio.lowlevel.Abort.SUCCEEDED
        )
        woken.append(True)

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    one.end()
    one.end()
    await trio.testing.wait_all_tasks_blocked()
    assert woken == [True]


@pytest.mark.parametrize(
    ("deadline", "reason"),
    [
        (float("inf"), CancelReason.CALLER),
        (1.0, CancelReason.CALLER),
        (0.0, CancelReason.DEADLINE),
        (-5.0, CancelReason.DEADLINE),
        # What a scope that is cancelled already says of itself.
        (float("-inf"), CancelReason.CALLER),
    ],
)
async def test_cancel_message_says_whether_a_deadline_did_it(
    deadline: float, reason: CancelReason, mock_clock: trio.testing.MockClock
) -> None:
    one = call()
    one.id = 9
    one.deadline = trio.current_time() + deadline
    assert unpack(one.cancel_message()) == [Kind.CANCEL, 9, reason]


def test_post_takes_credit_of_its_channel() -> None:
    ours = protocol(Limits(1024, 1, 1000, 100))
    one, other = post(3), post(4)
    size = len(one.packed)
    assert one.size_at_most(ours) == size
    assert one.payload(ours) is one.packed
    assert one.fits(ours, size)
    one.queued(ours, size)
    assert not one.fits(ours, size)
    assert other.fits(ours, size)
    one.withdrawn(ours)
    assert one.fits(ours, size)


def test_ticket_knows_its_lane() -> None:
    assert post(0).lane == 0
    assert post(15).lane == 15
    assert call().lane not in range(16)


@pytest.mark.parametrize("ticket", [call(), post()])
def test_ticket_is_not_taken_by_a_side_that_wants_none(ticket: Ticket) -> None:
    assert ticket.is_taken(protocol())
    assert not ticket.is_taken(protocol(Limits(1024, 0, 0, 0)))


def test_ticket_words_the_error_of_a_busy_side() -> None:
    error = call().busy("too long")
    assert isinstance(error, OperationError)
    assert error.return_code == ReturnCode.SERVER_BUSY
    assert error.debug_message == "too long"
    assert isinstance(post().busy("too long"), PeerBusyError)
