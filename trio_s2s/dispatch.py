"""Finds the handler of what arrives, and runs it: requests side by side, events not."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from trio_s2s.answers import (
    CANCELLED,
    NEVER_RAN,
    NOT_ENCODABLE,
    TOO_LARGE,
    Answer,
    answer_error,
    answer_invalid,
    answer_result,
)
from trio_s2s.codes import ReturnCode
from trio_s2s.connection import Connection
from trio_s2s.errors import ContractError, MessageTooLargeError
from trio_s2s.forms import Message
from trio_s2s.handlers import Handler
from trio_s2s.journal import log
from trio_s2s.lanes import Job, Lane
from trio_s2s.messages import (
    EventData,
    OperationRequest,
    OperationResponse,
    SendParameters,
)
from trio_s2s.peer import Peer, describe
from trio_s2s.tasks import Tasks, reported
from trio_s2s.tickets import Call

__all__ = ["Dispatcher"]

RESPONSES = -1
"""The lane of `on_operation_response`, beside those of the channels."""


class Dispatcher:
    """Between a connection and its peer: what arrives becomes calls of handlers."""

    def __init__(self, peer: Peer, connection: Connection, tasks: Tasks) -> None:
        self._peer = peer
        self._connection = connection
        self._config = connection.config
        self._tasks = tasks
        self._table = peer._handlers
        self._is_open = False
        self._is_closed = False
        self._held: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        self._lanes: dict[int, Lane] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._told_unknown = False

    # -- when it may begin, and must end --

    def open(self) -> None:
        """Let handlers run: `on_connected` has finished."""
        self._is_open = True
        while self._held:
            start, _ = self._held.popleft()
            start()

    def close(self) -> None:
        """Drop what has not begun: the peer's tasks are about to be cancelled."""
        self._is_closed = True
        for lane in self._lanes.values():
            lane.clear()
        while self._held:
            _, drop = self._held.popleft()
            drop()

    @property
    def has_work(self) -> bool:
        """Whether something that arrived is not done with."""
        return bool(self._held) or any(lane.is_busy for lane in self._lanes.values())

    @property
    def has_answers(self) -> bool:
        """Whether `on_operation_response` is not done with all that ended."""
        return RESPONSES in self._lanes and self._lanes[RESPONSES].is_busy

    def _when_open(self, start: Callable[[], None], drop: Callable[[], None]) -> None:
        if self._is_closed:
            drop()
        elif self._is_open:
            start()
        else:
            self._held.append((start, drop))

    # -- requests --

    def request_received(self, message: Message) -> None:
        """Run the handler of a request, as soon as handlers may run."""
        request_id = message[1]
        self._scopes[request_id] = trio.CancelScope()
        self._when_open(
            partial(self._start_request, message),
            partial(self._respond, request_id, NEVER_RAN),
        )

    def cancel_received(self, request_id: int) -> None:
        """Cancel the handler of a request, whether it has begun or not."""
        reason = "the caller on the other side was cancelled"
        self._scopes[request_id].cancel(reason=reason)

    def _start_request(self, message: Message) -> None:
        request_id, code, table = message[1:4]
        handler = self._table.operations.get(code)
        if handler is None:
            options = message[4] if len(message) > 4 else {}
            request = OperationRequest(code, table)
            job = self._plain(
                self._peer.on_operation_request, request, options.get(1, 0)
            )
        else:
            job = self._typed(handler, table)
        contract = None if handler is None else handler.contract
        pack = partial(answer_result, code, contract, config=self._config)
        if self._scopes[request_id].cancel_called:
            self._respond(request_id, CANCELLED)
        elif job.is_async:
            self._tasks.start_soon(
                self._run_request,
                request_id,
                job,
                pack,
                name=f"{job.name} (request {request_id})",
                is_handler=True,
            )
        else:
            context = self._tasks.context(is_handler=True)
            self._respond(request_id, context.run(self._answer_now, job, pack))

    async def _run_request(
        self, request_id: int, job: Job, pack: Callable[[Any], Answer]
    ) -> None:
        answer = CANCELLED
        try:
            with self._scopes[request_id]:
                answer = await self._answer(job, pack)
        finally:
            self._respond(request_id, answer)

    async def _answer(self, job: Job, pack: Callable[[Any], Answer]) -> Answer:
        arguments = self._arguments(job)
        if isinstance(arguments, Answer):
            return arguments
        answer = CANCELLED

        def failed(error: Exception) -> None:
            nonlocal answer
            answer = self._failed(error, job)

        with reported(failed):
            answer = self._packed(await job.method(*arguments), job, pack)
        return answer

    def _answer_now(self, job: Job, pack: Callable[[Any], Answer]) -> Answer:
        arguments = self._arguments(job)
        if isinstance(arguments, Answer):
            return arguments
        try:
            returned = job.method(*arguments)
        except Exception as error:
            return self._failed(error, job)
        return self._packed(returned, job, pack)

    def _arguments(self, job: Job) -> tuple[Any, ...] | Answer:
        try:
            return job.arguments()
        except ContractError as error:
            return answer_invalid(error, self._config)
        except Exception as error:
            return self._failed(error, job)

    def _packed(
        self, returned: object, job: Job, pack: Callable[[Any], Answer]
    ) -> Answer:
        try:
            return pack(returned)
        except Exception as error:
            who = describe(self._peer)
            log.error("%s: what %s returned can't travel: %s", who, job.name, error)
            return NOT_ENCODABLE

    def _failed(self, error: Exception, job: Job) -> Answer:
        answer = answer_error(error, self._config)
        if answer.is_surprise:
            self._report(error, job.name)
        return answer

    def _respond(self, request_id: int, answer: Answer) -> None:
        del self._scopes[request_id]
        try:
            self._connection.respond(request_id, answer)
        except MessageTooLargeError as error:
            log.error("%s: %s", describe(self._peer), error)
            self._connection.respond(request_id, TOO_LARGE)

    # -- events --

    def event_received(self, message: Message, size: int) -> None:
        """Handle an event in its turn, as soon as handlers may run."""
        _, code, table = message[:3]
        channel = message[3] if len(message) > 3 else 0
        handler = self._table.events.get(code)
        if handler is None:
            self._tell_unknown(code)
            job = self._plain(self._peer.on_event, EventData(code, table), channel)
        else:
            job = self._typed(handler, table)
        job.done = partial(self._connection.event_handled, channel, size)
        self._when_open(partial(self._lane(channel).add, job), job.done)

    def _tell_unknown(self, code: int) -> None:
        if self._told_unknown or type(self._peer).on_event is not Peer.on_event:
            return
        self._told_unknown = True
        text = "%s: nobody handles event %d: it is dropped, and so will all such be"
        log.warning(text, describe(self._peer), code)

    def responded(
        self, call: Call, request: OperationRequest, sent: SendParameters
    ) -> None:
        """Hand the end of a `send_operation_request` to `on_operation_response`."""
        code = request.operation_code
        if call.response is not None:
            response = OperationResponse(code, *call.response[2:5])
        else:
            assert call.outcome is not None
            response = OperationResponse(
                code,
                ReturnCode.DISCONNECTED,
                {0: int(call.outcome)},
                f"the peer was disconnected (outcome {call.outcome.name})",
            )
        hook = self._peer.on_operation_response
        job = Job(
            hook.__name__, True, hook, lambda: (response, sent), self._connection.moved
        )
        self._when_open(partial(self._lane(RESPONSES).add, job), job.done)

    def _lane(self, number: int) -> Lane:
        return self._lanes.setdefault(number, Lane(self._start_job))

    def _start_job(self, lane: Lane, job: Job) -> bool:
        """Do a job of a lane; False if its task goes on with the lane."""
        if job.is_async:
            name = f"{job.name} (in order)"
            self._tasks.start_soon(self._run_job, lane, job, name=name, is_handler=True)
            return False
        context = self._tasks.context(is_handler=True)
        try:
            context.run(self._call_now, job)
        finally:
            job.done()
        return True

    def _call_now(self, job: Job) -> None:
        try:
            job.method(*job.arguments())
        except Exception as error:
            self._report(error, job.name)

    async def _run_job(self, lane: Lane, job: Job) -> None:
        try:
            with reported(lambda error: self._report(error, job.name)):
                await job.method(*job.arguments())
        finally:
            job.done()
            lane.go_on()

    # -- both --

    def _plain(self, hook: Callable[..., Any], message: object, channel: int) -> Job:
        sent = SendParameters(channel)
        return Job(hook.__name__, True, hook, lambda: (message, sent))

    def _typed(self, handler: Handler, table: dict[int | str, Any]) -> Job:
        return Job(
            handler.name,
            handler.is_async,
            getattr(self._peer, handler.name),
            lambda: (handler.contract.from_parameters(table),),
        )

    def _report(self, error: Exception, name: str) -> None:
        who = describe(self._peer)
        if self._connection.ending.explains(error):
            log.debug("%s: %s ended with its connection: %s", who, name, error)
        elif isinstance(error, ContractError):
            log.warning("%s: %s: %s", who, name, error)
        else:
            log.error("%s: %s raised", who, name, exc_info=error)
