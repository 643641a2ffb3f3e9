"""Hands what arrives to its handlers: requests side by side, all else in its order."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from trio_s2s.codec import unpack_messages
from trio_s2s.connection import Connection
from trio_s2s.forms import Message
from trio_s2s.jobs import Job, Roster, dropped_response, loss_response
from trio_s2s.journal import Journal
from trio_s2s.lanes import Lane
from trio_s2s.messages import OperationRequest, SendParameters
from trio_s2s.peer import Peer
from trio_s2s.serving import Serving
from trio_s2s.tasks import Tasks, reported
from trio_s2s.tickets import Call
from trio_s2s.windows import weigh

__all__ = ["Dispatcher"]


_Event = bytes | tuple[Message, int]
"""An event in the lane of its channel: what waits is kept packed, and nothing else."""


@attrs.define(eq=False)
class _Answer:
    """An answer in the lane of `on_operation_response`."""

    message: Message | bytes
    request: OperationRequest
    sent: SendParameters


class Dispatcher:
    """Between a connection and its peer: what arrives becomes calls of handlers."""

    def __init__(
        self, peer: Peer, connection: Connection, tasks: Tasks, journal: Journal
    ) -> None:
        self._connection = connection
        self._tasks = tasks
        self._roster = Roster(peer, connection, journal)
        self.serving: Serving = Serving(self._roster, connection, tasks)
        self._is_open = False
        self._is_closed = False
        self._channels: dict[int, Lane[_Event]] = {}
        self._answers: Lane[_Answer] | None = None
        self._kept = 0
        """What the answers weigh that wait for `on_operation_response`."""

    # -- when it may begin, and must end --

    def open(self) -> None:
        """Let handlers run: `on_connected` has finished."""
        self._is_open = True
        # A request that runs now may begin other lanes, which are open already.
        lanes = self._lanes
        self.serving.open()
        for lane in lanes:
            lane.open()

    def close(self) -> None:
        """Drop what has not begun: the peer's tasks are about to be cancelled."""
        self._is_closed = True
        self.serving.close()
        for lane in self._lanes:
            lane.clear()

    @property
    def _lanes(self) -> list[Lane[Any]]:
        answers = [] if self._answers is None else [self._answers]
        return [*self._channels.values(), *answers]

    @property
    def has_work(self) -> bool:
        """Whether something that arrived is not done with."""
        return self.serving.is_holding or any(lane.is_busy for lane in self._lanes)

    @property
    def has_answers(self) -> bool:
        """Whether `on_operation_response`, if it may run, is not done with all."""
        answers = self._answers
        return self._is_open and answers is not None and answers.is_busy

    # -- what arrives --

    def request_received(self, message: Message) -> None:
        """Run the handler of a request, as soon as handlers may run."""
        self.serving.take(message)

    def cancel_received(self, request_id: int) -> None:
        """Cut a request off, whether it has begun or not."""
        self.serving.cancel(request_id)

    def event_received(self, message: Message, size: int) -> None:
        """Handle an event in its turn, as soon as handlers may run."""
        channel = message[3] if len(message) > 3 else 0
        if self._is_closed:
            self._connection.event_handled(channel, size)
            return
        if channel not in self._channels:
            start = partial(self._start_event, channel)
            self._channels[channel] = Lane(start, is_open=self._is_open)
        lane = self._channels[channel]
        packed = self._connection.inbox.packed
        lane.add(packed() if lane.must_wait else (message, size))

    def responded(
        self, call: Call, request: OperationRequest, sent: SendParameters
    ) -> None:
        """Hand the end of a `send_operation_request` to `on_operation_response`."""
        if self._answers is None:
            self._answers = Lane(self._start_answer, is_open=self._is_open)
        kept: Message | bytes
        if call.response is None:
            kept = loss_response(call)
        elif self._answers.must_wait:
            kept = self._keep(call)
        else:
            kept = call.response
        self._answers.add(_Answer(kept, request, sent))

    def _keep(self, call: Call) -> Message | bytes:
        """Keep an answer that has to wait; a slow hook must not cost any memory."""
        packed = self._connection.inbox.packed()
        limit = self._connection.config.max_request_weight
        if self._kept and self._kept + weigh(len(packed)) > limit:
            return dropped_response(call)
        self._kept += weigh(len(packed))
        return packed

    # -- one at a time --

    def _start_event(self, channel: int, lane: Lane[_Event], event: _Event) -> bool:
        message, size = self._unpacked(event) if isinstance(event, bytes) else event
        done = partial(self._connection.event_handled, channel, size)
        return self._start(lane, self._roster.for_event(message), done)

    def _start_answer(self, lane: Lane[_Answer], answer: _Answer) -> bool:
        message = answer.message
        if isinstance(message, bytes):
            message, size = self._unpacked(message)
            self._kept -= weigh(size)
        # It waits no longer, so another request may go, from its own hook too.
        self._connection.calls.answer_taken()
        job = self._roster.for_response(message, answer.request, answer.sent)
        return self._start(lane, job, self._connection.moved)

    def _unpacked(self, packed: bytes) -> tuple[Message, int]:
        [found] = unpack_messages(packed, self._connection.config.max_elements)
        return found

    def _start(self, lane: Lane[Any], job: Job, done: Callable[[], None]) -> bool:
        """Do what is next in a lane; False if its task goes on with the lane."""
        if job.is_async:
            name = f"{job.name} (in order)"
            self._tasks.start_soon(
                self._run, lane, job, done, name=name, handler_deadline=math.inf
            )
            return False
        try:
            self._tasks.context(math.inf).run(self._call_now, job)
        finally:
            done()
        return True

    def _call_now(self, job: Job) -> None:
        try:
            self._roster.call_now(job, job.arguments())
        except Exception as error:
            self._roster.report(error, job)

    async def _run(self, lane: Lane[Any], job: Job, done: Callable[[], None]) -> None:
        try:
            with reported(lambda error: self._roster.report(error, job)):
                await job.method(*job.arguments())
        finally:
            done()
            lane.go_on()
