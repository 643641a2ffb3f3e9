"""The requests of the other side: handled side by side, each answered exactly once."""

import logging
import math
from typing import Any

import attrs
import trio

from trio_s2s.answers import (
    BUSY,
    CANCELLED,
    LATE,
    NEVER_RAN,
    NOT_ENCODABLE,
    TOO_LARGE,
    Answer,
    answer_error,
    answer_invalid,
    answer_result,
)
from trio_s2s.codec import unpack_messages
from trio_s2s.connection import Connection
from trio_s2s.deadlines import Deadlines
from trio_s2s.errors import ContractError, MessageTooLargeError
from trio_s2s.forms import Message
from trio_s2s.jobs import Job, Roster
from trio_s2s.runtime import now
from trio_s2s.tasks import Tasks, reported

__all__ = ["Serving"]


@attrs.define(eq=False)
class _Request:
    """One that is not answered yet."""

    deadline: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    cut: Answer = CANCELLED
    """Its answer, should it be cut off now."""


class Serving:
    """The requests that one connection has taken on."""

    def __init__(self, roster: Roster, connection: Connection, tasks: Tasks) -> None:
        self._roster = roster
        self._connection = connection
        self._config = connection.config
        self._tasks = tasks
        self._is_open = False
        self._is_closed = False
        self._requests: dict[int, _Request] = {}
        self._held: dict[int, bytes] = {}
        self._deadlines: Deadlines | None = None

    # -- when it may begin, and must end --

    @property
    def is_holding(self) -> bool:
        """Whether requests wait that have not begun."""
        return bool(self._held)

    def open(self) -> None:
        """Let handlers run."""
        self._is_open = True
        while self._held:
            request_id = next(iter(self._held))
            packed = self._held.pop(request_id)
            [(message, _)] = unpack_messages(packed, self._config.max_elements)
            self._start(message)

    def close(self) -> None:
        """Let no more begin."""
        self._is_closed = True
        for request_id in list(self._held):
            self._cut_held(request_id, NEVER_RAN)

    # -- what the connection tells --

    def take(self, message: Message) -> None:
        """Run the handler of a request, as soon as handlers may run."""
        request_id = message[1]
        options = message[4] if len(message) > 4 else {}
        deadline = now() + options[0] / 1000 if 0 in options else math.inf
        self._requests[request_id] = _Request(deadline)
        if self._is_closed:
            self._respond(request_id, NEVER_RAN)
            return
        if deadline < math.inf:
            self._watch(request_id, deadline)
        if self._is_open:
            self._start(message)
        else:
            self._held[request_id] = self._connection.inbox.packed()

    def cancel(self, request_id: int) -> None:
        """Cut a request off because its caller was cancelled."""
        self._cut(request_id, CANCELLED, "the caller on the other side was cancelled")

    def _watch(self, request_id: int, deadline: float) -> None:
        if self._deadlines is None:
            self._deadlines = Deadlines(self._requests, self._expire)
            self._tasks.start_soon(self._deadlines.watch, name="deadlines")
        self._deadlines.add(request_id, deadline)

    def _expire(self, request_id: int) -> None:
        self._cut(request_id, LATE, "the time of the caller on the other side is over")

    def _cut(self, request_id: int, answer: Answer, reason: str) -> None:
        if request_id in self._held:
            self._cut_held(request_id, answer)
            return
        request = self._requests[request_id]
        if not request.scope.cancel_called:
            request.cut = answer
            request.scope.cancel(reason=reason)

    def _cut_held(self, request_id: int, answer: Answer) -> None:
        del self._held[request_id]
        self._respond(request_id, answer)

    # -- running --

    def _start(self, message: Message) -> None:
        request_id = message[1]
        request = self._requests[request_id]
        job = self._roster.for_request(message)
        if job.is_async:
            self._tasks.start_soon(
                self._run,
                request_id,
                request,
                job,
                name=f"{job.name} (request {request_id})",
                handler_deadline=request.deadline,
            )
        else:
            context = self._tasks.context(request.deadline)
            self._respond(request_id, context.run(self._answer_now, job))

    async def _run(self, request_id: int, request: _Request, job: Job) -> None:
        answer: Answer | None = None
        try:
            with request.scope:
                answer = await self._answer(job)
        finally:
            self._respond(request_id, request.cut if answer is None else answer)

    async def _answer(self, job: Job) -> Answer | None:
        arguments = self._arguments(job)
        if isinstance(arguments, Answer):
            return arguments
        answer: Answer | None = None

        def failed(error: Exception) -> None:
            nonlocal answer
            answer = self._failed(error, job)

        with reported(failed):
            answer = self._packed(await job.method(*arguments), job)
        return answer

    def _answer_now(self, job: Job) -> Answer:
        arguments = self._arguments(job)
        if isinstance(arguments, Answer):
            return arguments
        try:
            returned = self._roster.call_now(job, arguments)
        except Exception as error:
            return self._failed(error, job)
        return self._packed(returned, job)

    # -- answering --

    def _arguments(self, job: Job) -> tuple[Any, ...] | Answer:
        if self._connection.is_full_of_answers:
            # Since it was received others have answered, and more than is taken.
            return BUSY
        try:
            return job.arguments()
        except ContractError as error:
            return answer_invalid(error, self._config)
        except Exception as error:
            return self._failed(error, job)

    def _packed(self, returned: object, job: Job) -> Answer:
        try:
            return answer_result(job.code, job.contract, returned, self._config)
        except Exception as error:
            text = f"what {job.name} returned can't travel: {error}"
            self._roster.tell(logging.ERROR, job.name, text)
            return NOT_ENCODABLE

    def _failed(self, error: Exception, job: Job) -> Answer:
        answer = answer_error(error, self._config)
        if answer.is_surprise:
            self._roster.report(error, job)
        return answer

    def _respond(self, request_id: int, answer: Answer) -> None:
        del self._requests[request_id]
        try:
            self._connection.respond(request_id, answer)
        except MessageTooLargeError as error:
            self._roster.tell(logging.ERROR, "too large", str(error))
            self._connection.respond(request_id, TOO_LARGE)
