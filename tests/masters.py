"""A master and its game servers, as Photon's load balancing has them.

A game server registers by its init object, tells its rooms after each connect, and then
each change. The master keeps a context for each, which outlives a short break.
"""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from trio_s2s import (
    Application,
    Backoff,
    ConnectionFailedError,
    ConnectionRejectedError,
    DisconnectReason,
    Event,
    Fixed,
    InboundPeer,
    InitRequest,
    Link,
    OutboundPeer,
    PeerConfig,
    handles,
)
from trio_s2s.testing import MemoryNetwork

PORT = 4520
MISSING = 1
"""The application's own code: a registration lacks a field."""
REQUIRED = {3: "server id", 4: "address"}


@attrs.frozen
class Load(Event, code=1):
    """Sent once a second."""

    level: int


@attrs.frozen
class Room(Event, code=3):
    """A room is there, or was there before the connection was made."""

    name: str
    is_told_again: bool = False


@attrs.frozen
class RoomGone(Event, code=4):
    """A room is not there any more."""

    name: str


@attrs.frozen
class RoomsToCome(Event, code=5):
    """How many rooms will be told again."""

    count: int


@attrs.define
class Context:
    """What the master knows of one game server."""

    rooms: set[str] = attrs.field(factory=set)
    told_again: set[str] = attrs.field(factory=set)
    to_come: int = 0
    is_told: bool = False
    """Whether the rooms are being told again."""
    load: int = 0


class MasterPeer(InboundPeer):
    """The master's side of one game server."""

    def __init__(self, init_request: InitRequest, master: "Master") -> None:
        super().__init__(init_request)
        self.master = master

    async def on_connected(self) -> None:
        self.master.counts["begun"] += 1
        contexts = self.master.contexts
        if not self.resumed:
            assert self.server_id not in contexts
            contexts[self.server_id] = Context()
        self.context = contexts[self.server_id]
        self.context.is_told, self.context.told_again = True, set()

    @handles(RoomsToCome)
    def rooms_to_come(self, event: RoomsToCome) -> None:
        self.context.to_come = event.count
        self._maybe_finished()

    @handles(Room)
    def room(self, event: Room) -> None:
        self.context.rooms.add(event.name)
        if event.is_told_again:
            self.context.told_again.add(event.name)
            self._maybe_finished()

    @handles(RoomGone)
    def room_gone(self, event: RoomGone) -> None:
        self.context.rooms.discard(event.name)

    @handles(Load)
    def load(self, event: Load) -> None:
        self.context.load = event.level

    def _maybe_finished(self) -> None:
        context = self.context
        if context.is_told and len(context.told_again) == context.to_come:
            context.is_told = False
            context.rooms &= context.told_again
            self.master.counts["finished"] += 1


class Master(Application):
    """Keeps a context for each game server."""

    def __init__(self, misses: int = 3) -> None:
        config = PeerConfig(resume_ttl=20, heartbeat_misses=misses)
        super().__init__("Master", server_id="master", config=config)
        self.contexts: dict[str, Context] = {}
        self.counts: Counter[str] = Counter()
        """How often rooms were `begun` to be told again, `finished`, `aborted`; and how
        many servers went `offline`."""

    async def setup(self) -> None:
        await self.listen_tcp(PORT)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        told = init_request.init_object or {}
        missing = [f"{REQUIRED[key]} ({key})" for key in REQUIRED if key not in told]
        if missing:
            raise ConnectionRejectedError(MISSING, f"missing: {', '.join(missing)}")
        peer = MasterPeer(init_request, self)
        peer.response_object = {10: 0, 2: b"\x7f\0\0\1"}
        return peer

    async def server_lost(self, server_id: str) -> None:
        self.counts["offline"] += 1
        self.counts["aborted"] += self.contexts.pop(server_id).is_told

    def find_room(self, name: str) -> str | None:
        """Say on which server a room is."""
        for server_id, context in self.contexts.items():
            if name in context.rooms:
                return server_id
        return None


class GamePeer(OutboundPeer):
    """A game server's side of its link."""

    def __init__(self, game: "Game") -> None:
        self.game = game

    async def on_connected(self) -> None:
        self.game.notes.append("connected")
        rooms = sorted(self.game.rooms)
        await self.send_event(RoomsToCome(len(rooms)))
        for name in rooms:
            await self.send_event(Room(name, is_told_again=True))
        self.start_soon(self.tell_load)

    async def tell_load(self) -> None:
        while True:
            await self.send_event(Load(len(self.game.rooms)))
            await trio.sleep(1)

    async def on_failed(self, error: ConnectionFailedError) -> None:
        self.game.notes.append(error.reason.name)

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        self.game.notes.append(reason.name)


class Game(Application):
    """A game server with rooms."""

    link: Link[GamePeer]

    def __init__(
        self, name: str, retry: Backoff | Fixed, told: dict[int, Any] | None = None
    ) -> None:
        super().__init__("Game", server_id=name)
        self.retry = retry
        self.told = {3: name, 4: "127.0.0.1"} if told is None else told
        self.notes: list[str] = []
        self.rooms = {f"{name} lobby"}

    async def setup(self) -> None:
        self.link = self.dial()

    def dial(self) -> Link[GamePeer]:
        return self.connect_tcp(
            "master",
            PORT,
            partial(GamePeer, self),
            init_object=self.told,
            server_id="master",
            insecure=True,
            retry=self.retry,
        )

    async def open_room(self, name: str) -> None:
        """Open a room; if nobody can be told, it is told again later."""
        self.rooms.add(name)
        if self.link.peer is not None:
            await self.link.peer.send_event(Room(name))

    async def close_room(self, name: str) -> None:
        """Close a room, likewise."""
        self.rooms.remove(name)
        if self.link.peer is not None:
            await self.link.peer.send_event(RoomGone(name))


@attrs.frozen
class Cluster:
    """A master, its game servers, and the network between them."""

    network: MemoryNetwork
    master: Master
    games: list[Game]
    nursery: trio.Nursery

    def cut(self) -> None:
        """Break every connection with the master, which can't be reached any more."""
        self.network.refuse("master")
        for game in self.games:
            self.network.reset(game.server_id, "master")
        self.master.counts.clear()

    def mend(self) -> None:
        """Let the master be reached again."""
        self.network.refuse("master", refuses=False)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """What has happened since the cut: begun, finished, aborted, offline."""
        names = "begun", "finished", "aborted", "offline"
        begun, finished, aborted, offline = (self.master.counts[name] for name in names)
        return begun, finished, aborted, offline


@asynccontextmanager
async def cluster(
    count: int, retry: Backoff | Fixed, *, seed: int = 1, misses: int = 3
) -> AsyncGenerator[Cluster]:
    """Run a master and game servers, which are connected for a while."""
    network, master = MemoryNetwork(seed=seed), Master(misses)
    games = [Game(f"gs-{number}", retry) for number in range(1, count + 1)]
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run, master)
        for game in games:
            await nursery.start(network.run, game)
            await master.peers.wait_for(game.server_id)
        await trio.sleep(60)
        yield Cluster(network, master, games, nursery)
        nursery.cancel_scope.cancel()
