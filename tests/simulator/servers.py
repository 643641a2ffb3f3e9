"""The servers of a world, which tell the checker everything."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import attrs
import trio

from tests.simulator.checker import Call, Checker, Life
from tests.simulator.options import Options
from tests.simulator.pairs import Pairs
from trio_s2s import (
    Application,
    ConnectionFailedError,
    DisconnectReason,
    Event,
    InboundPeer,
    InitRequest,
    Link,
    Operation,
    OperationRequest,
    OperationResponse,
    OutboundPeer,
    S2SError,
    SendParameters,
    handles,
)

PORT = 4520
LARGEST = 1000
"""Bytes that no request, event or answer here has."""
HOOKS = ("on_connected", "on_failed", "on_disconnected")


@attrs.frozen
class Do(Operation[str], code=1):
    """Is answered with its name, after some work and some calls back."""

    name: str
    work: float = 0.0
    nested: int = 0
    fails: bool = False
    load: bytes = b""


@attrs.frozen
class Quick(Operation[str], code=2):
    """Is answered at once."""

    name: str


@attrs.frozen
class Tick(Event, code=1):
    """The next of its channel."""

    channel: int
    number: int
    load: bytes = b""


@attrs.frozen
class News(Event, code=2):
    """Is for all."""

    number: int


class SimPeer(InboundPeer, OutboundPeer):
    """Either side of a connection."""

    def __init__(
        self, server: "Server", init_request: InitRequest | None = None
    ) -> None:
        super().__init__(init_request or InitRequest())
        self.server = server
        checker = server.checker
        side = "in" if init_request else "out"
        name = f"{server.server_id}.{side}{len(checker.lives)}"
        self.life: Life = checker.life(name, trio.current_time())
        self.sent: dict[int, int] = {}
        """The number of the last event of each channel."""
        self.photons: list[Call] = []
        """Requests whose answers come to `on_operation_response`, in order."""
        self.busy: set[int] = set()
        """Channels on which somebody sends just now."""

    async def on_connected(self) -> None:
        self.server.checker.connecting(self.life, trio.current_time())
        pairs, name = self.server.pairs, self.life.name
        pairs.begins(self.server_id, name, resumed=self.resumed)
        await trio.sleep(self.server.draw() * self.server.options.hook_delay)
        self.server.crash("on_connected")
        self.server.checker.connected(self.life)

    async def on_failed(self, error: ConnectionFailedError) -> None:
        self.server.checker.failed(self.life, error)
        self.server.crash("on_failed")

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        for call in self.photons:
            self.server.checker.lost(call, trio.current_time())
        self.photons.clear()
        left = self.statistics().requests_outstanding
        self.server.checker.disconnected(self.life, reason, trio.current_time(), left)
        try:
            await trio.sleep(self.server.draw() * 0.1)
            self.server.crash("on_disconnected")
        finally:
            self.server.pairs.ends(self.server_id, trio.current_time())

    async def on_operation_response(
        self, response: OperationResponse, send_parameters: SendParameters
    ) -> None:
        with self.handling():
            now = trio.current_time()
            named = [
                one for one in self.photons if response.parameters.get(0) == one.name
            ]
            # An error does not tell which of them it is for.
            call = (named or self.photons)[0]
            self.photons.remove(call)
            if response.return_code == 0:
                self.server.checker.answered(call, response.parameters.get(0), now)
            else:
                self.server.checker.lost(call, now)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Tell the checker that a handler runs."""
        self.server.checker.handler_begins(self.life, self.statistics())
        try:
            yield
        finally:
            self.server.checker.handler_ends(self.life)

    @handles(Do)
    async def do(self, operation: Do) -> str:
        with self.handling():
            checker = self.server.checker
            call = checker.ran(operation.name, trio.current_time())
            try:
                await trio.sleep(operation.work)
                if operation.nested:
                    await self.server.call(self, operation.nested - 1, parent=call)
                if operation.fails:
                    raise ValueError("as it was told")
                return operation.name
            finally:
                checker.has_run(call, trio.current_time())

    @handles(Quick)
    def quick(self, operation: Quick) -> str:
        with self.handling():
            self.server.checker.ran(operation.name, trio.current_time())
            return operation.name

    @handles(Tick)
    async def tick(self, event: Tick) -> None:
        with self.handling():
            self.server.checker.event(self.life, event.channel, event.number)
            await trio.sleep(0 if event.number % 5 else 0.02)

    @handles(News)
    def news(self, event: News) -> None:
        with self.handling():
            self.server.checker.news(self.life, event.number)


class Server(Application):
    """Listens, keeps links, and makes calls on demand."""

    def __init__(self, name: str, options: Options, checker: Checker, rng: Any) -> None:
        super().__init__("Sim", server_id=name, config=options.config)
        checker.first_hook = options.first_hook
        checker.slots = options.config.max_concurrent_requests
        checker.buffer = options.config.send_buffer + LARGEST * (checker.slots + 1)
        self.options = options
        self.checker = checker
        self.draw = rng.random
        self.rng = rng
        self.is_set_up = False
        self.links: dict[str, Link[SimPeer]] = {}
        self.newest: dict[str, SimPeer] = {}
        """The last peer that was made for a link."""
        self.pairs = Pairs(name, checker.check_plainly)
        self.crashes: set[str] = set()
        """Hooks of which the next is to raise."""

    async def setup(self) -> None:
        await self.listen_tcp(PORT)
        for source, target in self.options.links():
            if source == self.server_id:
                make = partial(self.make_peer, target)
                self.links[target] = self.connect_tcp(
                    target,
                    PORT,
                    make,
                    server_id=target,
                    insecure=True,
                    retry=self.options.retry,
                )
        self.is_set_up = True

    def make_peer(self, target: str) -> SimPeer:
        """Make a peer for a link."""
        peer = self.newest[target] = SimPeer(self)
        return peer

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return SimPeer(self, init_request)

    async def server_lost(self, server_id: str) -> None:
        self.pairs.lost(server_id, trio.current_time())
        await trio.sleep(self.draw() * 0.1)

    def crash(self, hook: str) -> None:
        """Raise if the plan says so."""
        if hook in self.crashes:
            self.crashes.remove(hook)
            raise ValueError(f"{hook} was told to raise")

    async def call(
        self,
        peer: SimPeer,
        nested: int = 0,
        limit: float = 20.0,
        parent: Call | None = None,
    ) -> None:
        """Make a request, and tell the checker how it ends."""
        checker, rng = self.checker, self.rng
        name = checker.new_name()
        fails = rng.random() < 0.05
        load = bytes(rng.choice([0, 0, 10, 400]))
        work = rng.choice([0.0, 0.0, 0.05, 2.0])
        operation: Any = Do(name, work, nested, fails, load)
        if not fails and not nested and rng.random() < 0.4:
            operation = Quick(name)
        now = trio.current_time
        call = checker.asked(name, peer.life, now(), limit, fails=fails, parent=parent)
        with trio.move_on_after(limit):
            try:
                checker.answered(call, await peer.request(operation), now())
            except S2SError as error:
                checker.refused(call, error, now())
            except trio.Cancelled:
                checker.cancelled(call, now())
                raise

    async def send(self, peer: SimPeer, channel: int, count: int, limit: float) -> None:
        """Send events; one that is cancelled, or refused, was not sent."""
        if channel in peer.busy:
            return
        peer.busy.add(channel)
        load = bytes(self.rng.choice([0, 0, 100]))
        sent = SendParameters(channel)
        try:
            with trio.move_on_after(limit), suppress(S2SError):
                for _ in range(count):
                    number = peer.sent.get(channel, 0) + 1
                    await peer.send_event(Tick(channel, number, load), sent)
                    peer.sent[channel] = number
        finally:
            peer.busy.remove(channel)

    async def tell_all(self, number: int, slow: Any) -> None:
        """Broadcast."""
        with trio.move_on_after(20):
            await self.broadcast(News(number), self.peers, slow=slow)

    async def ask_photons_way(self, peer: SimPeer) -> None:
        """Ask with the answer to come to `on_operation_response`."""
        name = self.checker.new_name()
        now = trio.current_time
        call = self.checker.asked(name, peer.life, now(), math.inf)
        # It is known by its name only when the answer comes.
        request = OperationRequest(2, {0: name})
        with trio.CancelScope(deadline=now() + 10):
            try:
                await peer.send_operation_request(request)
                peer.photons.append(call)
            except S2SError as error:
                self.checker.refused(call, error, now())
            except trio.Cancelled:
                self.checker.cancelled(call, now())
                raise
