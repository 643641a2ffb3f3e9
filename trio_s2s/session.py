"""What a peer has from the moment that it is connected."""

from collections.abc import Callable

import attrs
import trio

from trio_s2s.codec import pack_event, pack_parameters
from trio_s2s.connection import Connection
from trio_s2s.contracts import Event, contract_of
from trio_s2s.messages import EventData, OperationRequest, Parameters, SendParameters
from trio_s2s.statistics import PeerReport, PeerStatistics, RequestCounts
from trio_s2s.tasks import Tasks
from trio_s2s.tickets import Call, Post

__all__ = ["Session", "pack_post"]


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

    home: trio.lowlevel.TrioToken = attrs.field(
        factory=trio.lowlevel.current_trio_token
    )
    """The run of Trio that it lives in."""

    running_at_stop: int = 0
    """Requests of the other side that ran when the server was stopped."""
    running_at_end: int = 0
    """Those of them that still ran when the time was over."""

    def check_home(self, who: str) -> None:
        """Raise RuntimeError in a thread or in a run of Trio that is not its own."""
        if trio.lowlevel.current_trio_token() is not self.home:
            text = "belongs to another run of Trio; use trio.from_thread to get there"
            raise RuntimeError(f"{who} {text}")

    def statistics(self) -> PeerStatistics:
        """Count what has happened so far."""
        connection = self.connection
        return PeerStatistics(
            round_trip_time=connection.heartbeat.round_trip_time,
            bytes_received=connection.transport.bytes_received,
            bytes_sent=connection.transport.bytes_sent,
            messages_received=connection.inbox.messages_taken,
            messages_sent=connection.outbox.messages_taken,
            requests=RequestCounts(**connection.calls.ended),
            requests_outstanding=len(connection.protocol.outstanding),
            requests_running=len(connection.protocol.running),
            bytes_waiting=connection.outbox.size,
            events_dropped=connection.calls.events_dropped,
            late_responses=connection.protocol.late_responses,
            glitches=connection.protocol.glitches,
        )

    def report(self, name: str) -> PeerReport:
        """Say what became of its work when the server was stopped."""
        connection = self.connection
        return PeerReport(
            peer=name,
            finished=max(0, self.running_at_stop - self.running_at_end),
            refused=connection.protocol.refused,
            cancelled=self.running_at_end,
            events_unsent=connection.events_unsent,
        )

    def call(self, code: int, parameters: Parameters, name: str) -> Call:
        """Pack a request; what can't travel is an EncodeError."""
        packed = self._pack(parameters)
        return Call(f"{name} (operation {code})", code=code, parameters=packed)

    def post(self, event: Event | EventData, channel: int) -> Post:
        """Pack an event; what can't travel is an EncodeError."""
        return pack_post(event, channel, self.connection.config.max_elements)

    def _pack(self, parameters: Parameters) -> bytes:
        return pack_parameters(parameters, self.connection.config.max_elements)


def pack_post(event: Event | EventData, channel: int, max_elements: int) -> Post:
    """Pack an event for any peer; what can't travel is an EncodeError."""
    if isinstance(event, EventData):
        code, table, name = event.event_code, event.parameters, "event"
    elif not isinstance(event, Event):
        raise TypeError(f"an event is sent, not {event!r}")
    else:
        contract = contract_of(type(event))
        code, name = contract.code, contract.name
        table = contract.to_parameters(event)
    packed = pack_event(code, pack_parameters(table, max_elements), channel)
    return Post(f"{name} (event {code})", channel=channel, packed=packed)
