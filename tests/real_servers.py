"""Servers on the machines of `namespaces`, and how long they may take to notice."""

import textwrap
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import attrs
import pytest
import trio
import trio.testing

from tests.namespaces import Network
from tests.peers import Acceptor, Dialler, Echo, Recorder, Wait
from trio_s2s import (
    Application,
    ConnectionFailedError,
    DisconnectReason,
    FailureReason,
    InboundPeer,
    InitRequest,
    Link,
    Outcome,
    PeerConfig,
    PeerDisconnectedError,
    handles,
    open_application,
    open_tcp_peer,
    serve_tcp,
)
from trio_s2s.runtime import Runtime

A, B = Network.address["a"], Network.address["b"]
PORT = 4520
FAST = PeerConfig(heartbeat_interval=0.2, heartbeat_misses=3)
CALM = PeerConfig()
"""For what is to be noticed at once, without a PING of any side."""
HASTY = attrs.evolve(FAST, connect_timeout=0.5, handshake_timeout=0.5)
"""For connections that are not to come about; a busy machine may need longer."""
SILENCE = FAST.heartbeat_interval * FAST.heartbeat_misses * 1.1
"""Seconds after which both sides have noticed that they hear nothing."""
ABSENT = "10.66.2.53"
"""The address of no machine."""
CAP = 3.0
"""Seconds that a link waits at most before it dials again."""
TICK = 0.01
"""Seconds between two looks at what nobody tells of."""
LOST = {DisconnectReason.CONNECTION_LOST, DisconnectReason.CONNECTION_RESET}
"""As which a process that dies is seen: its system may have unread bytes, or none."""


class Steady(Runtime):
    """Waits for a fifth of the bound before each attempt, not for a random part."""

    def uniform(self, most: float) -> float:
        return most / 5


@asynccontextmanager
async def within(seconds: float) -> AsyncGenerator[None]:
    """Let a block take so long, without the time that this process did not get.

    What a busy machine takes from it is seen by a task that wants to run every 10 ms:
    as much later as that one runs, everything else here may be.
    """
    began = due = trio.current_time()
    lost = 0.0

    async def tick() -> None:
        nonlocal due, lost
        while True:
            due = trio.current_time() + TICK
            await trio.sleep_until(due)
            lost += trio.current_time() - due

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        yield
        ended = trio.current_time()
        lost += max(0.0, ended - due)
        nursery.cancel_scope.cancel()
    assert ended - began - lost <= seconds


class Working(Recorder):
    """Answers, or lets its caller wait."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)


class Near(Working, Dialler):
    """The dialler, on `a`."""


class Far(Working, Acceptor):
    """The acceptor, on `b`."""


@asynccontextmanager
async def server(
    network: Network, config: PeerConfig = FAST
) -> AsyncGenerator[list[Far]]:
    """Listen on `b` for a `with` block; give the peers that were accepted."""
    accepted: list[Far] = []

    def accept(init_request: InitRequest) -> Far:
        accepted.append(Far(init_request))
        return accepted[-1]

    serve = partial(
        serve_tcp, accept, PORT, host="0.0.0.0", insecure=True, config=config
    )
    async with trio.open_nursery() as nursery:
        with network.at("b"):
            await nursery.start(serve)
        yield accepted
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def linked(
    network: Network, config: PeerConfig = FAST
) -> AsyncGenerator[tuple[Near, Far]]:
    """Connect `a` to `b` for a `with` block."""
    async with AsyncExitStack() as stack:
        accepted = await stack.enter_async_context(server(network, config))
        with network.at("a"):
            near = await stack.enter_async_context(
                open_tcp_peer(B, PORT, Near, insecure=True, config=config)
            )
        assert await near.request(Echo("connected")) == "connected"
        yield near, accepted[0]
        network.hang_up()


async def both_end(near: Near, far: Far) -> None:
    """Wait until both know; they heard of it once."""
    await near.ended.wait()
    await far.ended.wait()
    for peer in near, far:
        assert peer.reason is not None
        assert peer.record == ["connected", f"disconnected {peer.reason.name}"]


async def lose(peer: Near | Far, text: str = "") -> None:
    """Wait for an answer that does not come, since the peer is lost."""
    with pytest.raises(PeerDisconnectedError) as caught:
        await peer.request(Echo(text) if text else Wait())
    assert caught.value.reason is peer.reason or peer.reason is None
    assert caught.value.outcome is Outcome.UNKNOWN


async def fail(network: Network, host: str = B) -> FailureReason:
    """Fail to connect from `a`, and tell why."""
    with network.at("a"), pytest.raises(ConnectionFailedError) as caught:
        async with open_tcp_peer(host, PORT, Near, insecure=True, config=HASTY):
            raise AssertionError("not reached")
    assert f"{host}:{PORT}" in str(caught.value)
    return caught.value.reason


def dialled(near: Near) -> Any:
    """Give the system's own socket of a peer that has dialled."""
    assert near._session is not None
    stream = near._session.connection.transport._stream
    assert isinstance(stream, trio.SocketStream)
    return stream.socket


# -- servers that are linked --


class Master(Application):
    """Listens on `b`, and keeps the peers that it has accepted."""

    def __init__(self, config: PeerConfig = FAST) -> None:
        super().__init__("Master", server_id="master", config=config)
        self.accepted: list[Far] = []

    async def setup(self) -> None:
        await self.listen_tcp(PORT, host="0.0.0.0", insecure=True)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        self.accepted.append(Far(init_request))
        return self.accepted[-1]


class Game(Application):
    """Keeps a link from `a` to `b`, and the peers that it has made."""

    link: Link[Near]

    def __init__(self, config: PeerConfig = FAST) -> None:
        # So that an attempt in the dark does not outlast it for long.
        config = attrs.evolve(config, connect_timeout=0.5)
        super().__init__("Game", server_id="game", config=config)
        self.made: list[Near] = []

    async def setup(self) -> None:
        self.link = self.connect_tcp(B, PORT, self.make, insecure=True)

    def make(self) -> Near:
        self.made.append(Near())
        return self.made[-1]

    @property
    def ends(self) -> list[DisconnectReason]:
        """Give the reasons of all connections that are over."""
        return [peer.reason for peer in self.made if peer.reason is not None]


S = TypeVar("S", bound=Application)


async def start(stack: AsyncExitStack, network: Network, machine: str, server: S) -> S:
    """Run an application on a machine."""
    with network.at(machine):
        return await stack.enter_async_context(open_application(server))


MASTER = textwrap.dedent("""
    import attrs, trio
    from tests.peers import Acceptor, Echo, Note, Wait
    from trio_s2s import *

    class Far(Acceptor):
        @handles(Echo)
        async def echo(self, operation):
            return operation.text

        @handles(Wait)
        async def wait(self, operation):
            await trio.sleep(operation.seconds)

        @handles(Note)
        async def pour(self, event):
            while True:
                await self.send_event(EventData(2, {0: bytes(400_000)}))

        async def on_connected(self):
            print("connected", flush=True)

        async def on_disconnected(self, reason, detail):
            print("disconnected", reason.name, flush=True)

    class Master(Application):
        async def setup(self):
            await self.listen_tcp(4520, host="0.0.0.0", insecure=True)
            print("listens", flush=True)

        def create_peer(self, init_request):
            return Far(init_request)

    config = PeerConfig(heartbeat_interval=0.2, heartbeat_misses=3)
    trio.run(run_application, Master("Master", server_id="master", config=config))
""")
ASKS = textwrap.dedent("""
    import trio
    from trio_s2s import *

    async def main():
        began = trio.current_time()
        config = PeerConfig(connect_timeout=1.0)
        try:
            async with open_tcp_peer("master.test", 4520, insecure=True, config=config):
                print("CONNECTED", flush=True)
        except ConnectionFailedError as error:
            waited = trio.current_time() - began
            print(error.reason.name, waited, error, flush=True)

    trio.run(main)
""")
