"""Finds the handler of what arrives, and runs it: requests side by side, events not."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from trio_s2s.answers import (
    CANCELLED,
    NEVER_RAN,
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
from trio_s2s.lanes import Job, Lane
from trio_s2s.messages import (
    EventData,
    OperationRequest,
    OperationResponse,
    SendParameters,
)
from trio_s2s.peer import Peer, log
from trio_s2s.tasks import Tasks
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
        self._held: deque[Callable[[], None]] | None = deque()
        self._lanes: dict[int, Lane] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._told_unknown = False

    # -- when it may begin, and must end --

    def open(self) -> None:
        """Let handlers run: `on_connected` has finished."""
        held, self._held = self._held, None
        for start in held or ():
            start()

    def close(self) -> None:
        """Drop what has not begun: the peer's tasks are about to be cancelled."""
        for lane in self._lanes.values():
            lane.clear()
        self._held = None
        for request_id in list(self._connection.protocol.running):
            if request_id not in self._scopes:
                self._respond(request_id, NEVER_RAN)

    @property
    def has_work(self) -> bool:
        """Whether something that arrived is not done with."""
        return bool(self._held) or any(lane.is_busy for lane in self._lanes.values())

    @property
    def has_answers(self) -> bool:
        """Whether `on_operation_response` is not done with all that ended."""
        return RESPONSES in self._lanes and self._lanes[RESPONSES].is_busy

    def _when_open(self, start: Callable[[], None]) -> None:
        if self._held is None:
            start()
        else:
            self._held.append(start)

    # -- requests --

    def request_received(self, message: Message) -> None:
        """Run the handler of a request, as soon as handlers may run."""
        self._when_open(partial(self._start_request, message))

    def cancel_received(self, request_id: int) -> None:
        """Cancel the handler of a request, if it is at work."""
        scope = self._scopes.get(request_id)
        if scope is not None:
            scope.cancel(reason="the caller on the other side was cancelled")

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
        finish = partial(answer_result, code, contract, config=self._config)
        if not job.is_async:
            context = self._tasks.context(is_handler=True)
            self._respond(request_id, context.run(self._answer_now, job, finish))
            return
        scope = self._scopes[request_id] = trio.CancelScope()
        self._tasks.start_soon(
            self._run_request,
            request_id,
            scope,
            job,
            finish,
            name=f"{job.name} (request {request_id})",
            is_handler=True,
        )

    async def _run_request(
        self,
        request_id: int,
        scope: trio.CancelScope,
        job: Job,
        finish: Callable[[Any], Answer],
    ) -> None:
        answer = CANCELLED
        try:
            with scope:
                answer = await self._answer(job, finish)
        finally:
            del self._scopes[request_id]
            self._respond(request_id, answer)

    async def _answer(self, job: Job, finish: Callable[[Any], Answer]) -> Answer:
        try:
            arguments = job.arguments()
        except ContractError as error:
            return answer_invalid(error, self._config)
        try:
            return finish(await job.method(*arguments))
        except Exception as error:
            return self._answer_error(error, job.name)

    def _answer_now(self, job: Job, finish: Callable[[Any], Answer]) -> Answer:
        try:
            arguments = job.arguments()
        except ContractError as error:
            return answer_invalid(error, self._config)
        try:
            return finish(job.method(*arguments))
        except Exception as error:
            return self._answer_error(error, job.name)

    def _answer_error(self, error: Exception, name: str) -> Answer:
        answer = answer_error(error, self._config)
        if answer.is_surprise:
            self._report(error, name)
        return answer

    def _respond(self, request_id: int, answer: Answer) -> None:
        try:
            self._connection.respond(request_id, answer)
        except MessageTooLargeError as error:
            log.error("%r: %s", self._peer, error)
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
        self._when_open(partial(self._lane(channel).add, job))

    def _tell_unknown(self, code: int) -> None:
        if self._told_unknown or type(self._peer).on_event is not Peer.on_event:
            return
        self._told_unknown = True
        log.warning(
            "%r: nobody handles event %d; it is dropped, and so are all others of"
            " unknown codes, without another word",
            self._peer,
            code,
        )

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
        job = Job(
            "on_operation_response",
            True,
            self._peer.on_operation_response,
            lambda: (response, sent),
            self._connection.moved,
        )
        self._when_open(partial(self._lane(RESPONSES).add, job))

    def _lane(self, number: int) -> Lane:
        return self._lanes.setdefault(number, Lane(self._start_job))

    def _start_job(self, lane: Lane, job: Job) -> bool:
        """Do a job of a lane; False if its task goes on with the lane."""
        if job.is_async:
            name = f"{job.name} (in order)"
            self._tasks.start_soon(self._run_job, lane, job, name=name, is_handler=True)
            return False
        try:
            context = self._tasks.context(is_handler=True)
            context.run(lambda: job.method(*job.arguments()))
        except Exception as error:
            self._report(error, job.name)
        finally:
            job.done()
        return True

    async def _run_job(self, lane: Lane, job: Job) -> None:
        try:
            await job.method(*job.arguments())
        except Exception as error:
            self._report(error, job.name)
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
        if self._connection.ending.explains(error):
            log.debug("%r: %s ended with its connection: %s", self._peer, name, error)
        elif isinstance(error, ContractError):
            log.warning("%r: %s was not called: %s", self._peer, name, error)
        else:
            log.error("%r: %s raised", self._peer, name, exc_info=error)
