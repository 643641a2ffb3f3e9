"""Peers and an application that write down what happens to them."""

from typing import Any

import attrs

from trio_s2s.application import Application
from trio_s2s.codes import DisconnectReason, FailureReason
from trio_s2s.config import PeerConfig
from trio_s2s.errors import ConnectionFailedError
from trio_s2s.messages import (
    EventData,
    InitRequest,
    OperationRequest,
    OperationResponse,
    SendParameters,
)
from trio_s2s.peer import InboundPeer, OutboundPeer
from trio_s2s.runtime import now

__all__ = ["Record", "RecordingApplication", "RecordingPeer"]


@attrs.frozen
class Record:
    """One hook that has run, and when."""

    time: float = attrs.field(eq=False)
    """Seconds by Trio's clock; two records that differ only in it are equal."""
    hook: str
    server_id: str = ""
    about: Any = None
    """The reason, the error, the event, the request or the answer."""


class RecordingPeer(InboundPeer, OutboundPeer):
    """A peer for either side that writes down all its hooks, in `records`.

    It answers every operation with the parameters that it came with.
    """

    records: list[Record]

    def __init__(self, init_request: InitRequest | None = None) -> None:
        """Make a peer; an application gives it the request that it accepts."""
        super().__init__(init_request or InitRequest())
        self.records = []

    async def on_connected(self) -> None:
        """Write it down."""
        self.record("on_connected")

    async def on_failed(self, error: ConnectionFailedError) -> None:
        """Write it down."""
        self.record("on_failed", error.reason)

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        """Write it down."""
        self.record("on_disconnected", reason)

    async def on_operation_request(
        self, request: OperationRequest, send_parameters: SendParameters
    ) -> OperationResponse | None:
        """Write it down, and answer it with its own parameters."""
        self.record("on_operation_request", request)
        return request.respond(request.parameters)

    async def on_operation_response(
        self, response: OperationResponse, send_parameters: SendParameters
    ) -> None:
        """Write it down."""
        self.record("on_operation_response", response)

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        """Write it down."""
        self.record("on_event", event)

    def record(self, hook: str, about: Any = None) -> None:
        """Write down that a hook runs now; a subclass may do it for its own."""
        self.records.append(Record(now(), hook, self.server_id, about))


class RecordingApplication(Application):
    """An application that accepts everybody, and keeps what its peers write down."""

    def __init__(
        self,
        name: str,
        *,
        port: int = 4520,
        server_id: str = "",
        version: str = "",
        config: PeerConfig | None = None,
    ) -> None:
        """Make one that listens on a port, which no other node on the network needs."""
        super().__init__(name, server_id=server_id, version=version, config=config)
        self.port = port
        self.records: list[Record] = []
        """All that has happened to any of its peers, in order."""

    async def setup(self) -> None:
        """Listen."""
        await self.listen_tcp(self.port)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        """Make a peer whose records are those of the application."""
        return self.recorded(RecordingPeer(init_request))

    def recorded(self, peer: RecordingPeer) -> RecordingPeer:
        """Let a peer write into the records of the application."""
        peer.records = self.records
        return peer

    @property
    def connects(self) -> list[str]:
        """The servers that were connected, in order."""
        return [one.server_id for one in self._of("on_connected")]

    @property
    def failures(self) -> list[FailureReason]:
        """Why connections could not be made."""
        return [one.about for one in self._of("on_failed")]

    @property
    def disconnects(self) -> list[tuple[str, DisconnectReason]]:
        """The servers that were disconnected, and why."""
        return [(one.server_id, one.about) for one in self._of("on_disconnected")]

    @property
    def events(self) -> list[tuple[str, EventData]]:
        """The events that came, and from whom."""
        return [(one.server_id, one.about) for one in self._of("on_event")]

    def _of(self, hook: str) -> list[Record]:
        return [record for record in self.records if record.hook == hook]
