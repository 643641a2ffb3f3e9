"""Two peers in memory: a listener without sockets, and peers that keep a record."""

import itertools
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import trio
import trio.testing
import trustme

from trio_s2s import (
    ConnectionFailedError,
    DisconnectReason,
    Event,
    EventData,
    InboundPeer,
    InitRequest,
    Operation,
    OperationResponse,
    OutboundPeer,
    Peer,
    PeerConfig,
    SendParameters,
    handles,
    open_peer,
    serve_peers,
)

MemoryStream = trio.StapledStream[
    trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream
]


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts the other end of what `dial` gives."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](100)
        self.accepted: list[MemoryStream] = []
        self.dialled: list[MemoryStream] = []
        self.taken: list[trio.abc.Stream] = []
        """The streams that the server has accepted."""

    def dial(self) -> MemoryStream:
        near, far = trio.testing.memory_stream_pair()
        self.accepted.append(far)
        self.dialled.append(near)
        self.offer(far)
        return near

    def offer(self, stream: trio.abc.Stream) -> None:
        """Let the server accept a stream that a test has made itself."""
        self._send.send_nowait(stream)

    async def accept(self) -> trio.abc.Stream:
        self.taken.append(await self._receive.receive())
        return self.taken[-1]

    async def aclose(self) -> None:
        self._receive.close()
        self._send.close()
        await trio.lowlevel.checkpoint()


def silence(stream: MemoryStream) -> None:
    """Lose what is sent from now on, and do not tell."""
    stream.send_stream.send_all_hook = None


class Recorder(Peer):
    """Notes its hooks, in order, with the time since the first."""

    record: list[str]

    def __init__(self, init_request: InitRequest | None = None) -> None:
        self.record = []
        self.ended = trio.Event()
        self.reason: DisconnectReason | None = None
        self.detail = ""

    async def on_connected(self) -> None:
        self.record.append("connected")

    async def on_failed(self, error: ConnectionFailedError) -> None:
        self.record.append(f"failed {error.reason.name}")

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        self.record.append(f"disconnected {reason.name}")
        self.reason, self.detail = reason, detail
        self.ended.set()

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        self.record.append(f"event {event.event_code}")

    async def on_operation_response(
        self, response: OperationResponse, send_parameters: SendParameters
    ) -> None:
        self.record.append(f"response {response.return_code}")


class Acceptor(Recorder, InboundPeer):
    """An inbound peer that keeps a record."""


class Dialler(Recorder, OutboundPeer):
    """An outbound peer that keeps a record."""


@attrs.frozen
class Echo(Operation[str], code=1):
    text: str


@attrs.frozen
class Wait(Operation[None], code=2):
    seconds: float = 1e6


@attrs.frozen
class Note(Event, code=1):
    number: int


class Worker(Acceptor):
    """An inbound peer with handlers that note what they do."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        self.record.append(f"echo {operation.text}")
        await trio.lowlevel.checkpoint()
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        try:
            await trio.sleep(operation.seconds)
        finally:
            self.record.append("wait ends")

    @handles(Note)
    async def note(self, event: Note) -> None:
        self.record.append(f"note {event.number} begins")
        await trio.sleep(event.number / 10)
        self.record.append(f"note {event.number} ends")


class Server:
    """A running server in memory, and the peers that it has made."""

    def __init__(self, create_peer: Callable[[InitRequest], InboundPeer]) -> None:
        self.listener = MemoryListener()
        self.peers: list[Any] = []
        self._create_peer = create_peer

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        peer = self._create_peer(init_request)
        self.peers.append(peer)
        return peer

    @property
    def peer(self) -> Any:
        """The newest peer of the server's side."""
        return self.peers[-1]

    @property
    def near(self) -> MemoryStream:
        """The dialler's end of the newest stream."""
        return self.listener.dialled[-1]

    @property
    def far(self) -> MemoryStream:
        """The server's end of the newest stream."""
        return self.listener.accepted[-1]


async def start_server(
    nursery: trio.Nursery,
    create_peer: Callable[[InitRequest], InboundPeer] = Acceptor,
    config: PeerConfig | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Server:
    """Start a server as a task of a nursery."""
    server = Server(create_peer)

    async def serve(task_status: trio.TaskStatus[Any]) -> None:
        await serve_peers(
            server.create_peer,
            [server.listener],
            config=config,
            ssl_context=ssl_context,
            task_status=task_status,
        )

    await nursery.start(serve)
    return server


@asynccontextmanager
async def linked(
    create_inbound: Callable[[InitRequest], InboundPeer] = Acceptor,
    create_outbound: Callable[[], Any] = Dialler,
    *,
    config: PeerConfig | None = None,
    server_config: PeerConfig | None = None,
) -> AsyncGenerator[tuple[Any, Server]]:
    """Give an outbound peer and the server to which it is connected."""
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, create_inbound, server_config or config)
        stream = server.listener.dial()
        async with open_peer(stream, create_outbound, config=config) as peer:
            yield peer, server
        nursery.cancel_scope.cancel()


def tls_contexts(
    name: str = "127.0.0.1",
    shown: Collection[str] = (),
    verify_mode: ssl.VerifyMode = ssl.CERT_NONE,
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Give a server's context for a name, and a dialler's that trusts it.

    The dialler has a certificate with the names that are `shown`, if there are any.
    """
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = verify_mode
    dialler = ssl.create_default_context()
    authority.configure_trust(dialler)
    if shown:
        authority.issue_cert(*shown, common_name="gs-1").configure_cert(dialler)
    return server, dialler


class CancelAtStep(trio.abc.Instrument):
    """Cancels a block at the n-th step that any task makes while it is at work."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.steps = 0
        self.scope: trio.CancelScope | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is not None:
            self.steps += 1
            if self.steps == self.step:
                self.scope.cancel()

    @contextmanager
    def block(self) -> Iterator[trio.CancelScope]:
        """Mark what is cancelled."""
        try:
            with trio.CancelScope() as self.scope:
                yield self.scope
        finally:
            self.scope = None


def cancel_at_every_step(scenario: Callable[[CancelAtStep], Awaitable[None]]) -> int:
    """Run a scenario again and again, each time cancelled one step later.

    Gives the number of steps: the last run was not cancelled at all.
    """

    async def bounded(cancel: CancelAtStep) -> None:
        with trio.fail_after(3600):  # The clock jumps: a hang ends at once.
            await scenario(cancel)

    for step in itertools.count(1):
        cancel = CancelAtStep(step)
        clock = trio.testing.MockClock(autojump_threshold=0)
        try:
            trio.run(bounded, cancel, clock=clock, instruments=[cancel])
        except BaseException as error:
            error.add_note(f"cancelled at step {step}")
            raise
        if cancel.steps < step:
            break
    return step - 1
