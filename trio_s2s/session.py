"""What a peer has from the moment that it is connected."""

from collections.abc import Callable

import attrs
import trio

from trio_s2s.codec import pack_event, pack_parameters
from trio_s2s.connection import Connection
from trio_s2s.contracts import Event, contract_of
from trio_s2s.messages import EventData, OperationRequest, Parameters, SendParameters
from trio_s2s.tasks import Tasks
from trio_s2s.tickets import Call, Post

__all__ = ["Session"]


@attrs.define(eq=False)
class Session:
    """One connection of a peer, and the tasks that live as long as it does."""

    connection: Connection
    tasks: Tasks
    crashed: Callable[[Exception, str], None]
    """Called with the error of a task, and the task's name."""
    responded: Callable[[Call, OperationRequest, SendParameters], None]
    """Called with a call whose answer is for `on_operation_response`."""
    finished: trio.Event = attrs.field(factory=trio.Event)
    """Set when `on_disconnected` has run and the stream is closed."""

    def call(self, code: int, parameters: Parameters, name: str) -> Call:
        """Pack a request; what can't travel is an EncodeError."""
        packed = self._pack(parameters)
        return Call(f"{name} (operation {code})", code=code, parameters=packed)

    def post(self, event: Event | EventData, channel: int) -> Post:
        """Pack an event; what can't travel is an EncodeError."""
        if isinstance(event, EventData):
            code, table, name = event.event_code, event.parameters, "event"
        elif not isinstance(event, Event):
            raise TypeError(f"send_event takes an event, not {event!r}")
        else:
            contract = contract_of(type(event))
            code, name = contract.code, contract.name
            table = contract.to_parameters(event)
        packed = pack_event(code, self._pack(table), channel)
        return Post(f"{name} (event {code})", channel=channel, packed=packed)

    def _pack(self, parameters: Parameters) -> bytes:
        return pack_parameters(parameters, self.connection.config.max_elements)
