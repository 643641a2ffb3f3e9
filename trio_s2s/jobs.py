"""Finds who handles what has arrived, and makes one call of it."""

import logging
from collections.abc import Callable
from typing import Any, Final

import attrs

from trio_s2s.codes import ReturnCode
from trio_s2s.connection import Connection
from trio_s2s.contracts import Contract
from trio_s2s.errors import ContractError
from trio_s2s.forms import Message
from trio_s2s.handlers import Handler
from trio_s2s.journal import Journal, log
from trio_s2s.messages import (
    EventData,
    OperationRequest,
    OperationResponse,
    Parameters,
    SendParameters,
)
from trio_s2s.peer import Peer, describe
from trio_s2s.runtime import now
from trio_s2s.tickets import Call

__all__ = ["Job", "Roster", "loss_response"]

SLOW: Final = 0.5
"""Seconds for which a plain function may hold up the whole process."""


@attrs.define(eq=False)
class Job:
    """One call of a handler, ready to be made."""

    name: str
    is_async: bool
    method: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    """Made when the handler's turn has come; it may raise ContractError."""
    code: int = 0
    """That of the operation or event."""
    contract: Contract | None = None
    """Its contract, if it has one."""


class Roster:
    """Knows who handles what, for one peer."""

    def __init__(self, peer: Peer, connection: Connection, journal: Journal) -> None:
        self._peer = peer
        self._journal = journal
        self._explains = connection.ending.explains
        self._table = peer._handlers
        self._told_unknown = False

    @property
    def who(self) -> str:
        """The peer, for a log."""
        return describe(self._peer)

    def for_request(self, message: Message) -> Job:
        """Find who answers a REQUEST."""
        code, table = message[2:4]
        handler = self._table.operations.get(code)
        if handler is not None:
            return self._typed(handler, code, table)
        options = message[4] if len(message) > 4 else {}
        hook = self._peer.on_operation_request
        request = OperationRequest(code, table)
        return _plain(hook, code, request, SendParameters(options.get(1, 0)))

    def for_event(self, message: Message) -> Job:
        """Find who handles an EVENT."""
        code, table = message[1:3]
        handler = self._table.events.get(code)
        if handler is not None:
            return self._typed(handler, code, table)
        self._tell_unknown(code)
        sent = SendParameters(message[3] if len(message) > 3 else 0)
        return _plain(self._peer.on_event, code, EventData(code, table), sent)

    def for_response(
        self, message: Message, request: OperationRequest, sent: SendParameters
    ) -> Job:
        """Make the call that hands a RESPONSE to `on_operation_response`."""
        response = OperationResponse(request.operation_code, *message[2:5])
        hook = self._peer.on_operation_response
        return _plain(hook, request.operation_code, response, sent)

    def call_now(self, job: Job, arguments: tuple[Any, ...]) -> Any:
        """Call a plain function, and tell if it held up everybody else."""
        began = now()
        try:
            return job.method(*arguments)
        finally:
            if (took := now() - began) > SLOW:
                text = "%s: %s is no async function, and held up all others for %.1f s"
                log.warning(text, self.who, job.name, took)

    def report(self, error: Exception, job: Job) -> None:
        """Log what a handler has raised."""
        if self._explains(error):
            text = "%s: %s ended with its connection: %s"
            log.debug(text, self.who, job.name, error)
        elif isinstance(error, ContractError):
            self.tell(logging.WARNING, job.name, f"{job.name}: {error}")
        else:
            log.error("%s: %s raised", self.who, job.name, exc_info=error)

    def tell(self, level: int, kind: str, text: str) -> None:
        """Log what the other side can make happen as often as it likes."""
        host = self._peer.remote_address.rpartition(":")[0]
        self._journal.tell(level, kind, host, f"{self.who}: {text}")

    def _typed(self, handler: Handler, code: int, table: Parameters) -> Job:
        contract = handler.contract
        return Job(
            handler.name,
            handler.is_async,
            getattr(self._peer, handler.name),
            lambda: (contract.from_parameters(table),),
            code,
            contract,
        )

    def _tell_unknown(self, code: int) -> None:
        if self._told_unknown or type(self._peer).on_event is not Peer.on_event:
            return
        self._told_unknown = True
        text = f"nobody handles event {code}: it is dropped, and so will all such be"
        self.tell(logging.WARNING, "unknown event", text)


def _plain(
    hook: Callable[..., Any], code: int, message: object, sent: SendParameters
) -> Job:
    return Job(hook.__name__, True, hook, lambda: (message, sent), code)


def loss_response(call: Call) -> Message:
    """Make the RESPONSE that a request gets which the end has cut off."""
    assert call.outcome is not None
    text = f"the peer was disconnected (outcome {call.outcome.name})"
    code = ReturnCode.DISCONNECTED
    return [None, call.id, code, {0: int(call.outcome)}, text]


def dropped_response(call: Call) -> Message:
    """Make the RESPONSE in place of one that was too much to be kept."""
    text = (
        "the answer came, and was dropped: on_operation_response is slow, and more of"
        " them wait for it than max_request_weight"
    )
    return [None, call.id, ReturnCode.RESPONSE_NOT_ENCODABLE, {}, text]
