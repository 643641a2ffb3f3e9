"""Callers that wait: for the other side's window, for the buffer, for an answer."""

import math
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from trio_s2s.codes import Kind, Outcome, ReturnCode
from trio_s2s.deadlines import give_up_time, handler_deadline
from trio_s2s.ending import Ending
from trio_s2s.errors import LocalProtocolError, MessageTooLargeError
from trio_s2s.forms import Message
from trio_s2s.journal import log
from trio_s2s.outbox import BATCH, Outbox
from trio_s2s.protocol import Protocol
from trio_s2s.runtime import current_runtime, now, sleep, timer
from trio_s2s.tickets import POST_LANE, Call, Post, Ticket

__all__ = ["Calls"]

SKEW: Final = 1.0
"""Seconds by which the other side may have been early with the end of a deadline."""


class Calls:
    """What the tasks of one side have asked for and do not have yet.

    Whatever may go at once goes at once; all else waits in a lane, requests in one and
    the events of each channel in another, in the order of asking.
    """

    def __init__(
        self,
        protocol: Protocol,
        outbox: Outbox,
        wake_writer: Callable[[], None],
        ending: Ending,
        handler_wait: float,
    ) -> None:
        self.events_dropped: int = 0
        """Unreliable events that found no room."""
        self.ended: Counter[str] = Counter()
        """How requests have ended, by the names of `RequestCounts`."""
        self._protocol = protocol
        self._outbox = outbox
        self._wake_writer = wake_writer
        self._ending = ending
        self._handler_wait = handler_wait
        self._lanes: dict[int, deque[Ticket]] = {}
        self._buffer_is_full = False
        self._calls: dict[int, Call] = {}
        self._flushing: dict[Ticket, None] = {}
        self._posted = 0
        self._since_yield = 0

    # -- asking --

    async def request(self, call: Call) -> Message:
        """Send a request and wait for its RESPONSE.

        A caller that is cancelled takes the request back, or sends a CANCEL.
        """
        call.deadline = give_up_time()
        await self._wait(call, self._join(call))
        if call.outcome is not None:
            raise self._error(call)
        assert call.response is not None
        if call.response[2] == ReturnCode.DEADLINE_EXCEEDED:
            left = call.deadline - now()
            if left < SKEW:
                # Two clocks differ: what the caller sees its own scope decides.
                await sleep(left)
        return call.response

    async def post_request(self, call: Call) -> None:
        """Send a request whose answer goes to its `on_end`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._join(call):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        await self._wait(call, True)
        if call.outcome is not None and call.entry is None:
            raise self._error(call)

    async def send_event(self, post: Post, *, unreliable: bool, flush: bool) -> None:
        """Queue an event, waiting for credit and buffer."""
        if self._since_yield > BATCH:
            self._since_yield = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        self._since_yield += len(post.packed)
        if unreliable and not self._may_join(post):
            self.events_dropped += 1
            return
        post.flush = flush
        in_lane = self._join(post)
        if in_lane or flush:
            await self._wait(post, in_lane)
        if post.outcome is not None:
            raise self._error(post)

    def send_event_nowait(self, post: Post, *, unreliable: bool) -> None:
        """Queue an event, or raise trio.WouldBlock."""
        if self._may_join(post):
            self._join(post)
        elif unreliable:
            self.events_dropped += 1
        else:
            raise trio.WouldBlock

    def _flushed(self, ticket: Ticket) -> None:
        self._flushing.pop(ticket, None)
        ticket.wake()

    # -- what the connection tells --

    def response_received(self, message: Message) -> None:
        """Hand a RESPONSE to who waits for it; nobody may."""
        call = self._calls.pop(message[1], None)
        if call is not None:
            call.response = message
            self.ended["failed" if message[2] else "succeeded"] += 1
            call.end()

    def answer_taken(self) -> None:
        """Take note that an answer to a `post_request` waits no longer."""
        self._posted -= 1
        self._wake_writer()

    def pump(self) -> None:
        """Let those go for whom there is room now, the lanes in turn."""
        self._buffer_is_full = False
        lanes = list(self._lanes)
        while lanes:
            lanes = [lane for lane in lanes if self._let_one_go(lane)]

    def _let_one_go(self, lane: int) -> bool:
        """Let the first of a lane go; whether the next may be tried."""
        waiting = self._lanes[lane]
        if not self._admit(waiting[0]):
            return False
        ticket = waiting.popleft()
        # The others come first now: where the buffer is short, each lane has its turn.
        del self._lanes[lane]
        if waiting:
            self._lanes[lane] = waiting
        if not ticket.waits_for_answer:
            ticket.wake()
        return bool(waiting)

    def shut(self) -> None:
        """End those that were never queued: the end has begun, no more are taken."""
        lanes, self._lanes = self._lanes, {}
        for waiting in lanes.values():
            for ticket in waiting:
                ticket.outcome = Outcome.NEVER_SENT
                self._count(ticket)
                ticket.wake()

    def end_unsent(self, highest: int) -> None:
        """End what the other side will not run: unsent, or above the id it named."""
        for call in list(self._calls.values()):
            assert call.entry is not None
            if self._outbox.take_back(call.entry):
                self._end(call, Outcome.NEVER_SENT)
            elif call.id > highest:
                self._end(call, Outcome.REFUSED)

    def end_all(self) -> None:
        """End every caller: there will be no answers any more."""
        self.end_unsent(self._protocol.next_id)
        for call in list(self._calls.values()):
            self._end(call, Outcome.UNKNOWN)
        for post in self._flushing:
            assert post.entry is not None
            unsent = self._outbox.take_back(post.entry)
            post.outcome = Outcome.NEVER_SENT if unsent else Outcome.UNKNOWN
            post.wake()
        self._flushing.clear()

    def _end(self, call: Call, outcome: Outcome) -> None:
        del self._calls[call.id]
        call.withdrawn(self._protocol)
        call.outcome = outcome
        self._count(call)
        call.end()

    def _count(self, ticket: Ticket) -> None:
        if isinstance(ticket, Call):
            end = "cancelled" if ticket.outcome is None else ticket.outcome.name.lower()
            self.ended[end] += 1

    def _error(self, ticket: Ticket) -> Exception:
        assert ticket.outcome is not None
        return self._ending.error(ticket.outcome, ticket.what)

    # -- lanes --

    def _may_join(self, ticket: Ticket) -> bool:
        """Whether a message could go at once; what is illegal raises."""
        self._check(ticket)
        return not self._must_queue(ticket) and self._fits(
            ticket, len(ticket.payload(self._protocol))
        )

    def _join(self, ticket: Ticket) -> bool:
        """Queue a message, or let it wait in its lane: then True."""
        self._check(ticket)
        if not self._must_queue(ticket) and self._admit(ticket):
            return False
        self._lanes.setdefault(ticket.lane, deque()).append(ticket)
        return True

    def _must_queue(self, ticket: Ticket) -> bool:
        return self._buffer_is_full or ticket.lane in self._lanes

    def _check(self, ticket: Ticket) -> None:
        if self._ending.reason is not None:
            raise self._ending.error(None, ticket.what)
        size = ticket.size_at_most(self._protocol)
        if size > self._protocol.max_frame:
            raise MessageTooLargeError(ticket.what, size, self._protocol.max_frame)
        if not ticket.is_taken(self._protocol):
            raise LocalProtocolError(
                f"{ticket.what} cannot be sent: the other side takes none at all (its"
                " max_concurrent_requests, max_request_weight or max_event_weight is 0)"
            )

    def _fits(self, ticket: Ticket, size: int) -> bool:
        if not ticket.fits(self._protocol, size):
            return False
        if ticket.lane == POST_LANE and self._posted >= self._protocol.request_slots:
            # So many answers wait for a hook that is slower than the other side.
            return False
        if not self._outbox.has_room(size):
            # From now on nobody overtakes, or a large message would never go.
            self._buffer_is_full = True
        return not self._buffer_is_full

    def _admit(self, ticket: Ticket) -> bool:
        payload = ticket.payload(self._protocol)
        if not self._fits(ticket, len(payload)):
            return False
        ticket.queued(self._protocol, len(payload))
        ticket.entry = self._outbox.put(payload)
        if isinstance(ticket, Call):
            self._calls[ticket.id] = ticket
            self._posted += ticket.lane == POST_LANE
        elif ticket.waits_for_answer:
            self._flushing[ticket] = None
            ticket.entry.on_sent = partial(self._flushed, ticket)
        if ticket.scope is not None:
            current_runtime.get().restart(ticket.scope, math.inf)
        self._wake_writer()
        return True

    async def _wait(self, ticket: Ticket, in_lane: bool) -> None:
        def give_up(_: object) -> trio.lowlevel.Abort:
            ticket.task = None
            self._give_up(ticket)
            return trio.lowlevel.Abort.SUCCEEDED

        ticket.task = trio.lowlevel.current_task()
        if not (in_lane and handler_deadline.get() is not None):
            await trio.lowlevel.wait_task_rescheduled(give_up)
            return
        with timer(self._handler_wait) as ticket.scope:
            await trio.lowlevel.wait_task_rescheduled(give_up)
        if ticket.scope.cancelled_caught:
            text = (
                f"{ticket.what} waited {self._handler_wait:g} s (handler_wait) inside"
                f" a handler for {self._ending.who or 'the other side'} to take it;"
                " nothing was sent"
            )
            log.warning(text)
            raise ticket.busy(text)

    def _give_up(self, ticket: Ticket) -> None:
        self._count(ticket)
        if isinstance(ticket, Call):
            self._calls.pop(ticket.id, None)
        self._flushing.pop(ticket, None)
        if ticket.entry is None:
            waiting = self._lanes[ticket.lane]
            waiting.remove(ticket)
            if not waiting:
                del self._lanes[ticket.lane]
        elif self._outbox.take_back(ticket.entry):
            ticket.withdrawn(self._protocol)
        elif isinstance(ticket, Call):
            self._protocol.request_abandoned(ticket.id)
            key = (Kind.CANCEL, ticket.id)
            self._outbox.put_control(key, ticket.cancel_message())
        # It pumps: of several that are cancelled together none may take the room of
        # another, and in which order they come here is not for a seed to say.
        self._wake_writer()
