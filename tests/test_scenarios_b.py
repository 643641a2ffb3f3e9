"""Scenario B of Photon's users: typed calls between game servers and a master, B1-B12.

Each ran into something with PhotonWire, which its test names; all in virtual time.
"""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trio_s2s import (
    Application,
    DisconnectReason,
    Event,
    InboundPeer,
    InitRequest,
    Link,
    Operation,
    OperationError,
    OperationRequest,
    OperationResponse,
    OutboundPeer,
    Outcome,
    Peer,
    PeerConfig,
    PeerDisconnectedError,
    ReturnCode,
    SendParameters,
    handles,
)
from trio_s2s.testing import MemoryNetwork, RecordingPeer

Clock = trio.testing.MockClock
PORT = 4520


@attrs.frozen
class Multiply(Operation[int], code=1):
    """The product of two numbers."""

    a: int
    b: int


@attrs.frozen
class Later(Operation[int], code=2):
    """Its number, after some seconds."""

    number: int
    seconds: float


@attrs.frozen
class Fail(Operation[None], code=3):
    """Fails in the way that is asked for."""

    code: int


@attrs.frozen
class Shout(Operation[str], code=4):
    """A text, in capitals."""

    text: str


@attrs.frozen
class Load(Operation[int], code=5):
    """How busy a game server is; it asks the master back before it answers."""


@attrs.frozen
class RoomClosed(Event, code=1):
    """A room is gone."""

    name: str


class Works:
    """What the servers of both sides do for each other."""

    notes: list[str]

    async def on_operation_request(
        self, request: OperationRequest, send_parameters: SendParameters
    ) -> OperationResponse | None:
        return None

    @handles(Multiply)
    async def multiply(self, operation: Multiply) -> int:
        return operation.a * operation.b

    @handles(Later)
    async def later(self, operation: Later) -> int:
        try:
            await trio.sleep(operation.seconds)
        except trio.Cancelled:
            self.notes.append(f"cancelled {operation.number}")
            raise
        self.notes.append(f"finished {operation.number}")
        return operation.number

    @handles(Fail)
    async def fail(self, operation: Fail) -> None:
        if operation.code:
            raise OperationError(operation.code, "the room is full")
        raise LookupError("a secret of the database")

    @handles(Shout)
    def shout(self, operation: Shout) -> str:
        return operation.text.upper()

    @handles(Load)
    async def load(self: Any, _: Load) -> int:
        product: int = await self.request(Multiply(2, 3))
        return product

    @handles(RoomClosed)
    async def room_closed(self: Any, event: RoomClosed) -> None:
        # It calls back into the one that tells it.
        self.notes.append(f"{event.name} {await self.request(Multiply(3, 7))}")


class MasterPeer(Works, RecordingPeer):
    """The master's side of one game server."""

    def __init__(self, init_request: InitRequest, notes: list[str]) -> None:
        super().__init__(init_request)
        self.notes = notes


class GamePeer(Works, RecordingPeer):
    """A game server's side of its link."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes


class Master(Application):
    """Accepts game servers."""

    def __init__(self, name: str = "master", config: PeerConfig | None = None) -> None:
        super().__init__("Master", server_id=name, config=config)
        self.notes: list[str] = []

    async def setup(self) -> None:
        await self.listen_tcp(PORT)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return MasterPeer(init_request, self.notes)


class Game(Application):
    """Has a link to each of its masters."""

    def __init__(self, name: str, *masters: str) -> None:
        super().__init__("Game", server_id=name)
        self.masters = masters or ("master",)
        self.notes: list[str] = []
        self.links: list[Link[OutboundPeer]] = []  # type: ignore[assignment]  # its own

    async def setup(self) -> None:
        for master in self.masters:
            self.links.append(
                self.connect_tcp(
                    master, PORT, lambda: GamePeer(self.notes), insecure=True
                )
            )

    async def request(self, operation: Any) -> Any:
        return await self.links[0].request(operation, wait_connected=True)


@asynccontextmanager
async def cluster(
    *games: str, config: PeerConfig | None = None
) -> AsyncGenerator[tuple[MemoryNetwork, Master, list[Game]]]:
    """Run a master and game servers, all connected."""
    network, master = MemoryNetwork(seed=1), Master(config=config)
    made = [Game(name) for name in games or ("gs-1",)]
    async with trio.open_nursery() as nursery:
        for application in (master, *made):
            await nursery.start(network.run, application)
        for game in made:
            await game.links[0].connected()
            await master.peers.wait_for(game.server_id)
        yield network, master, made
        nursery.cancel_scope.cancel()


async def test_b1_typed_call_gives_its_typed_result(autojump_clock: Clock) -> None:
    async with cluster() as (_, master, [game]):
        assert await game.request(Multiply(3, 7)) == 21
        peer = master.peers.get("gs-1")
        assert peer is not None
        assert await peer.request(Multiply(4, 5)) == 20


async def test_b2_thousand_calls_get_each_its_own_result(
    autojump_clock: Clock,
) -> None:
    """They finish in any order, and leave nothing (there: the wrong key removed)."""
    chance = random.Random(2)
    results: dict[int, int] = {}

    async with cluster() as (_, _master, [game]):

        async def ask(number: int) -> None:
            results[number] = await game.request(Later(number, chance.random()))

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(ask, number)
        assert results == {number: number for number in range(1000)}
        peer = game.links[0].peer
        assert peer is not None
        assert peer.statistics().requests_outstanding == 0


async def test_b3_error_of_the_application_arrives_with_code_and_text(
    autojump_clock: Clock,
) -> None:
    async with cluster() as (_, _master, [game]):
        with pytest.raises(OperationError) as caught:
            await game.request(Fail(100))
        assert caught.value.return_code == 100
        assert caught.value.debug_message == "the room is full"


@pytest.mark.parametrize("exposes", [False, True])
async def test_b4_unexpected_error_is_told_without_its_text(
    exposes: bool, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(config=PeerConfig(expose_errors=exposes)) as (_, _m, [game]):
        with pytest.raises(OperationError) as caught:
            await game.request(Fail(0))
        assert caught.value.return_code == ReturnCode.INTERNAL_ERROR
        assert ("a secret" in caught.value.debug_message) is exposes
        assert "a secret" in caplog.text


@pytest.mark.parametrize("parameters", [{}, {0: "a"}, {"hub": 1, "message": None}])
async def test_b5_unknown_operation_is_answered(
    parameters: Any, autojump_clock: Clock
) -> None:
    """Whatever it carries (there: no answer at all to what lacks an id)."""
    async with cluster() as (_, _master, [game]):
        peer = await game.links[0].connected()
        answer = await peer.request(OperationRequest(99, parameters))
        assert answer.return_code == ReturnCode.UNKNOWN_OPERATION
        answer = await peer.request(OperationRequest(1, parameters))
        assert answer.return_code == ReturnCode.OPERATION_INVALID


async def test_b6_call_that_waits_is_told_of_the_loss_at_once(
    autojump_clock: Clock,
) -> None:
    """(There it waits for ever.)"""
    async with cluster() as (network, _master, [game]):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cut, network)
            with pytest.raises(PeerDisconnectedError) as caught:
                await game.request(Later(1, 60))
            assert trio.current_time() == pytest.approx(2, abs=0.1)
        assert caught.value.reason is DisconnectReason.CONNECTION_RESET
        assert caught.value.outcome is Outcome.UNKNOWN


async def _cut(network: MemoryNetwork) -> None:
    await trio.sleep(2)
    network.reset("gs-1", "master")


async def test_b7_cancelled_caller_stops_the_work_over_there(
    autojump_clock: Clock,
) -> None:
    async with cluster() as (_, master, [game]):
        with trio.move_on_after(1):
            await game.request(Later(1, 60))
        assert await game.request(Later(2, 0.5)) == 2
        assert master.notes == ["cancelled 1", "finished 2"]


async def test_b8_dead_server_does_not_hold_up_what_is_asked_of_all(
    autojump_clock: Clock,
) -> None:
    results: dict[str, object] = {}

    async with cluster("gs-1", "gs-2", "gs-3") as (network, master, _games):
        network.silence("gs-2", "master")

        async def ask(peer: Peer) -> None:
            try:
                with trio.fail_after(3):
                    results[peer.server_id] = await peer.request(Load())
            except trio.TooSlowError as error:
                results[peer.server_id] = type(error)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for peer in master.peers:
                nursery.start_soon(ask, peer)
        assert trio.current_time() - began == pytest.approx(3, abs=0.1)
    assert results == {"gs-1": 6, "gs-2": trio.TooSlowError, "gs-3": 6}


async def test_b9_handler_of_a_broadcast_may_call_back(autojump_clock: Clock) -> None:
    """(There: one fiber for each peer, which waits for itself.)"""
    async with cluster("gs-1", "gs-2") as (_, master, games):
        assert await master.broadcast(RoomClosed("arena"), master.peers) == []
        await trio.sleep(1)
        assert [game.notes for game in games] == [["arena 21"]] * 2


async def test_b10_two_lost_servers_come_back_each_by_itself(
    autojump_clock: Clock,
) -> None:
    """(There: one timer for both, of which one is overwritten.)"""
    network = MemoryNetwork(seed=3)
    game = Game("gs-1", "east", "west")
    async with trio.open_nursery() as nursery:
        for name in ("east", "west"):
            await nursery.start(network.run, lambda name=name: Master(name))
        await nursery.start(network.run, game)
        for link in game.links:
            await link.connected()
        for name in ("east", "west"):
            network.kill(name)
        await trio.sleep(7)
        assert [link.peer for link in game.links] == [None, None]
        for name in ("east", "west"):
            network.restart(name)
        with trio.fail_after(5):
            for link in game.links:
                assert await link.request(Multiply(2, 2), wait_connected=True) == 4
        nursery.cancel_scope.cancel()


async def test_b11_server_that_appears_later_is_found(autojump_clock: Clock) -> None:
    network, game = MemoryNetwork(seed=4), Game("gs-1")
    async with trio.open_nursery() as nursery:
        network.node("master")
        await nursery.start(network.run, game)
        await trio.sleep(5)
        assert game.links[0].peer is None
        master = await nursery.start(network.run, Master())
        with trio.fail_after(5):
            peer = await game.links[0].connected()
        await trio.sleep(10)
        assert isinstance(peer, GamePeer)
        hooks = [record.hook for record in peer.records]
        assert hooks == ["on_connected"]
        assert len(master.peers) == 1
        nursery.cancel_scope.cancel()


async def test_b12_long_text_travels(autojump_clock: Clock) -> None:
    """(There a text has 32,767 bytes at most.)"""
    async with cluster() as (_, _master, [game]):
        assert await game.request(Shout("a" * 100_000)) == "A" * 100_000
