"""Hands what arrives to its handlers: requests side by side, all else in its order."""

import math
from collections.abc import Callable
from functools import partial

import attrs

from trio_s2s.codec import unpack_messages
from trio_s2s.connection import Connection
from trio_s2s.forms import Message
from trio_s2s.jobs import Job, Roster, loss_response
from trio_s2s.lanes import Lane
from trio_s2s.messages import OperationRequest, SendParameters
from trio_s2s.peer import Peer
from trio_s2s.serving import Serving
from trio_s2s.tasks import Tasks, reported
from trio_s2s.tickets import Call

__all__ = ["Dispatcher"]

RESPONSES = -1
"""The lane of `on_operation_response`, beside those of the channels."""


@attrs.define(eq=False)
class _Turn:
    """A message in a lane: what waits is kept packed."""

    message: Message | bytes
    job: Callable[[Message], Job]
    done: Callable[[], None]
    """Called once it is over."""


class Dispatcher:
    """Between a connection and its peer: what arrives becomes calls of handlers."""

    def __init__(self, peer: Peer, connection: Connection, tasks: Tasks) -> None:
        self._connection = connection
        self._tasks = tasks
        self._roster = Roster(peer, connection)
        self.serving: Serving = Serving(self._roster, connection, tasks)
        self._is_open = False
        self._is_closed = False
        self._lanes: dict[int, Lane[_Turn]] = {}

    # -- when it may begin, and must end --

    def open(self) -> None:
        """Let handlers run: `on_connected` has finished."""
        self._is_open = True
        # A request that runs now may begin other lanes, which are open already.
        lanes = list(self._lanes.values())
        self.serving.open()
        for lane in lanes:
            lane.open()

    def close(self) -> None:
        """Drop what has not begun: the peer's tasks are about to be cancelled."""
        self._is_closed = True
        self.serving.close()
        for lane in self._lanes.values():
            lane.clear()

    @property
    def has_work(self) -> bool:
        """Whether something that arrived is not done with."""
        lanes = self._lanes.values()
        return self.serving.is_holding or any(lane.is_busy for lane in lanes)

    @property
    def has_answers(self) -> bool:
        """Whether `on_operation_response`, if it may run, is not done with all."""
        answers = self._lanes.get(RESPONSES)
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
        done = partial(self._connection.event_handled, channel, size)
        if self._is_closed:
            done()
            return
        lane = self._lane(channel)
        kept = self._connection.inbox.packed() if lane.must_wait else message
        lane.add(_Turn(kept, self._roster.for_event, done))

    def responded(
        self, call: Call, request: OperationRequest, sent: SendParameters
    ) -> None:
        """Hand the end of a `send_operation_request` to `on_operation_response`."""

        def job(message: Message) -> Job:
            # It waits no longer, so another request may go, from its own hook too.
            self._connection.calls.answer_taken()
            return self._roster.for_response(message, request, sent)

        lane = self._lane(RESPONSES)
        if call.response is None:
            kept: Message | bytes = loss_response(call)
        elif lane.must_wait:
            kept = self._connection.inbox.packed()
        else:
            kept = call.response
        lane.add(_Turn(kept, job, self._connection.moved))

    def _lane(self, number: int) -> Lane[_Turn]:
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Lane(self._start, is_open=self._is_open)
        return lane

    # -- one at a time --

    def _start(self, lane: Lane[_Turn], turn: _Turn) -> bool:
        """Do what is next in a lane; False if its task goes on with the lane."""
        message = turn.message
        if isinstance(message, bytes):
            limit = self._connection.config.max_elements
            [(message, _)] = unpack_messages(message, limit)
        job = turn.job(message)
        if job.is_async:
            name = f"{job.name} (in order)"
            self._tasks.start_soon(
                self._run, lane, job, turn.done, name=name, handler_deadline=math.inf
            )
            return False
        try:
            self._tasks.context(math.inf).run(self._call_now, job)
        finally:
            turn.done()
        return True

    def _call_now(self, job: Job) -> None:
        try:
            self._roster.call_now(job, job.arguments())
        except Exception as error:
            self._roster.report(error, job)

    async def _run(self, lane: Lane[_Turn], job: Job, done: Callable[[], None]) -> None:
        try:
            with reported(lambda error: self._roster.report(error, job)):
                await job.method(*job.arguments())
        finally:
            done()
            lane.go_on()
