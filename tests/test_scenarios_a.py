"""Scenario A of Photon's users: game servers register, are lost, and come back.

Those of A1 to A15 that need no resumption; all in virtual time.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trio_s2s import (
    Application,
    ConnectionFailedError,
    DisconnectReason,
    FailureReason,
    InboundPeer,
    InitRequest,
    Link,
    Operation,
    OperationError,
    OperationRequest,
    OutboundPeer,
    ReturnCode,
    handles,
)
from trio_s2s.testing import MemoryNetwork

Clock = trio.testing.MockClock
PORT = 4520
ALREADY = 1
"""The application's own code: it is registered."""


@attrs.frozen
class Register(Operation[int], code=1):
    """A game server tells who it is, and is told how many there are."""

    server_id: str
    port: int


class MasterPeer(InboundPeer):
    """The master's side of one game server."""

    def __init__(self, init_request: InitRequest, contexts: dict[str, int]) -> None:
        super().__init__(init_request)
        self.contexts = contexts
        self.registered = ""

    @handles(Register)
    async def register(self, operation: Register) -> int:
        if self.registered:
            raise OperationError(ALREADY, f"{self.registered} is already registered")
        self.registered = operation.server_id
        self.contexts[operation.server_id] = operation.port
        return len(self.contexts)

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        self.contexts.pop(self.registered, None)


class Master(Application):
    """Keeps a context for each game server that has registered."""

    def __init__(self) -> None:
        super().__init__("Master", server_id="master")
        self.contexts: dict[str, int] = {}

    async def setup(self) -> None:
        await self.listen_tcp(PORT)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return MasterPeer(init_request, self.contexts)


class GamePeer(OutboundPeer):
    """A game server's side of its link: it registers before it counts as connected."""

    def __init__(self, game: "Game") -> None:
        self.game = game

    async def on_connected(self) -> None:
        await self.request(Register(self.game.server_id, 5055))
        self.game.notes.append("registered")

    async def on_failed(self, error: ConnectionFailedError) -> None:
        self.game.notes.append(error.reason.name)

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        self.game.notes.append(reason.name)


class Game(Application):
    """A game server."""

    link: Link[GamePeer]

    def __init__(self, name: str) -> None:
        super().__init__("Game", server_id=name)
        self.notes: list[str] = []

    async def setup(self) -> None:
        def make() -> GamePeer:
            return GamePeer(self)

        self.link = self.connect_tcp("master", PORT, make, insecure=True)


@asynccontextmanager
async def cluster(
    *names: str,
) -> AsyncGenerator[tuple[MemoryNetwork, list[Master], list[Game], trio.Nursery]]:
    """Run a master, and game servers that have registered."""
    network, games = MemoryNetwork(seed=1), [Game(name) for name in names]
    masters: list[Master] = []

    def make() -> Master:
        masters.append(Master())
        return masters[-1]

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run, make)
        for game in games:
            await nursery.start(network.run, game)
            await game.link.connected()
        yield network, masters, games, nursery
        nursery.cancel_scope.cancel()


async def test_a1_registration_without_a_server_id_is_told_by_field(
    autojump_clock: Clock,
) -> None:
    """(Photon refuses without a word.)"""
    async with cluster("gs-1") as (_, [master], [game], _nursery):
        tables: list[dict[int | str, Any]] = [{}, {1: 5055}, {0: 7, 1: 5055}]
        for table in tables:
            answer = await game.link.request(OperationRequest(1, table))
            assert answer.return_code == ReturnCode.OPERATION_INVALID
            wrong: Any = answer.parameters[0]
            assert wrong[0][0] == "server_id (parameter 0)"
        assert master.contexts == {"gs-1": 5055}


async def test_a12_second_registration_is_an_error_and_the_link_stays(
    autojump_clock: Clock,
) -> None:
    async with cluster("gs-1") as (_, [master], [game], _nursery):
        with pytest.raises(OperationError, match="already registered") as caught:
            await game.link.request(Register("gs-1", 5055))
        assert caught.value.return_code == ALREADY
        await trio.sleep(60)
        assert game.notes == ["registered"]
        assert master.contexts == {"gs-1": 5055}


async def test_a13_game_servers_register_with_the_next_master(
    autojump_clock: Clock,
) -> None:
    async with cluster("gs-1", "gs-2") as (network, masters, games, nursery):
        await masters[0].stop(grace=1)
        await trio.sleep(5)
        await nursery.start(network.run, second := Master())
        with trio.fail_after(5):
            for game in games:
                await game.link.connected()
        assert second.contexts == {"gs-1": 5055, "gs-2": 5055}
        for game in games:
            assert game.notes[:2] == ["registered", DisconnectReason.SHUTDOWN.name]
            assert set(game.notes[2:-1]) == {FailureReason.REFUSED.name}
            assert game.notes[-1] == "registered"


async def test_a14_name_that_is_not_found_at_first_is_looked_up_again(
    autojump_clock: Clock,
) -> None:
    """(Photon throws in `Setup`.)"""
    network, master, game = MemoryNetwork(seed=2), Master(), Game("gs-1")
    network.node("master")
    network.forget_name("master")
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run, master)
        await nursery.start(network.run, game)
        await trio.sleep(10)
        assert set(game.notes) == {FailureReason.DNS_ERROR.name}
        network.forget_name("master", forgets=False)
        with trio.fail_after(5):
            await game.link.connected()
        assert game.notes[-1] == "registered"
        nursery.cancel_scope.cancel()


async def test_a15_unknown_code_is_answered_and_the_link_stays(
    autojump_clock: Clock,
) -> None:
    async with cluster("gs-1") as (_, [master], [game], _nursery):
        peer = await master.peers.wait_for("gs-1")
        answer = await peer.request(OperationRequest(77))
        assert answer.return_code == ReturnCode.UNKNOWN_OPERATION
        await trio.sleep(60)
        assert game.notes == ["registered"]
