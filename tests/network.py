"""Applications in memory: unmodified, they find each other by port."""

import contextlib
import random
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import trio

from tests.peers import Acceptor, Dialler, MemoryListener, Note, Wait
from trio_s2s import (
    Application,
    InboundPeer,
    InitRequest,
    Link,
    handles,
    open_application,
)
from trio_s2s.runtime import Runtime, current_runtime


@attrs.frozen
class Address:
    """What a stream in memory has for a socket."""

    port: int

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 50000


class InMemory(Runtime):
    """Applications find each other by port, without sockets."""

    def __init__(self) -> None:
        self.listeners: dict[int, MemoryListener] = {}
        self.attempts: list[float] = []
        self._random = random.Random(1)

    def uniform(self, most: float) -> float:
        return self._random.uniform(0, most)

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        try:
            stream = self.listeners[port].dial()
        except (KeyError, trio.ClosedResourceError, trio.BrokenResourceError):
            raise ConnectionRefusedError(111, "Connection refused") from None
        far: Any = self.listeners[port].accepted[-1]
        far.socket = Address(port)
        return stream

    async def open_tcp_listeners(self, port: int, host: str, backlog: Any) -> Any:
        await trio.lowlevel.checkpoint()
        listener = self.listeners[port] = MemoryListener()
        return [listener]


class Server(Application):
    """Accepts everybody, and keeps the peers that it has made."""

    def __init__(self, **options: Any) -> None:
        super().__init__("Server", **options)
        self.made: list[Any] = []
        self.log: list[str] = []

    async def setup(self) -> None:
        self.log.append("setup")
        await self.listen_tcp(4520)

    async def tear_down(self) -> None:
        ended = [peer.record[-1] for peer in self.made if peer.record]
        self.log.append(f"tear_down after {ended}")

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        peer = Worker(init_request)
        self.made.append(peer)
        return peer


class Worker(Acceptor):
    """Waits when it is asked to."""

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)


class Caller(Dialler):
    """Notes the events that it gets."""

    @handles(Note)
    def note(self, event: Note) -> None:
        self.record.append(f"note {event.number}")


@contextlib.asynccontextmanager
async def memory(world: InMemory | None = None) -> AsyncGenerator[InMemory]:
    """Give the memory in which the applications of a block meet."""
    world = world or InMemory()
    token = current_runtime.set(world)
    try:
        yield world
    finally:
        current_runtime.reset(token)


@contextlib.asynccontextmanager
async def server_and_link() -> AsyncGenerator[tuple[Server, Link[Caller], Application]]:
    """Give a server, a link to it that is connected, and the application of that."""
    async with memory(), open_application(Server()) as server:
        client = Application("Client", server_id="client")
        async with open_application(client):
            link = client.connect_tcp("localhost", 4520, Caller)
            await server.peers.wait_for("client")
            await link.connected()
            yield server, link, client
