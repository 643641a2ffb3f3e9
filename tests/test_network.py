"""Twin of `testing/network.py`: whole clusters, killed, paused and started again."""

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
    OutboundPeer,
    PeerDisconnectedError,
    handles,
    open_tcp_peer,
)
from trio_s2s.testing import (
    MemoryNetwork,
    RecordingApplication,
    RecordingPeer,
    as_text,
    seeded,
)

Clock = trio.testing.MockClock


@attrs.frozen
class Sleep(Operation[str], code=1):
    seconds: float


class Sleeper(InboundPeer):
    @handles(Sleep)
    async def sleep(self, operation: Sleep) -> str:
        await trio.sleep(operation.seconds)
        return f"at {trio.current_time():g}"


class Master(Application):
    """Is told apart by how often it was made."""

    made: list["Master"]

    async def setup(self) -> None:
        await self.listen_tcp(4520)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return Sleeper(init_request)


class Game(RecordingApplication):
    """Keeps a link to the master."""

    link: Link[RecordingPeer]

    async def setup(self) -> None:
        self.link = self.connect_tcp("localhost", 4520, self.make)

    def make(self) -> RecordingPeer:
        return self.recorded(RecordingPeer())


def new_master() -> Master:
    return Master("Master", server_id="master")


async def start(nursery: trio.Nursery, seed: int = 1) -> tuple[MemoryNetwork, Game]:
    """Run a master and a game server that is connected to it."""
    network = MemoryNetwork(seed=seed)
    await nursery.start(network.run, new_master)
    game = Game("Game", server_id="game")
    await nursery.start(network.run, game)
    await game.link.connected()
    return network, game


async def test_cluster_runs_without_sockets(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    _, game = await start(nursery)
    assert await game.link.request(Sleep(3600)) == "at 3600"


async def test_one_application_alone_may_be_run(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, _ = await start(nursery)
    with network.at("somebody"):
        async with open_tcp_peer("localhost", 4520, OutboundPeer) as peer:
            assert peer.local_address.startswith("somebody:")
            assert await peer.request(Sleep(1)) == "at 1"


async def test_application_that_stops_ends_its_node(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network = MemoryNetwork()
    ended = trio.Event()
    alone = RecordingApplication("Alone")

    async def run(task_status: trio.TaskStatus[Application]) -> None:
        await network.run(alone, task_status=task_status)
        ended.set()

    await nursery.start(run)
    await alone.stop()
    await ended.wait()
    # It may be killed all the same, come back, and run another one.
    network.kill("Alone")
    network.restart("Alone")
    again = RecordingApplication("Alone")
    await nursery.start(network.run, again)
    await again.stop()


async def test_killed_node_comes_back_as_a_new_instance(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)
    before = (await game.link.connected()).init_response
    nursery.start_soon(kill_soon, network, "master")
    with pytest.raises(PeerDisconnectedError):
        await game.link.request(Sleep(10))
    await trio.sleep(0.1)
    assert game.disconnects == [("master", DisconnectReason.CONNECTION_RESET)]
    await trio.sleep(30)
    assert game.link.peer is None
    with pytest.raises(ValueError, match="not dead"):
        network.restart("game")
    network.restart("master")
    assert await game.link.request(Sleep(0), wait_connected=True)
    after = (await game.link.connected()).init_response
    assert (after.server_id, before.server_id) == ("master", "master")
    assert after.instance_id != before.instance_id


async def kill_soon(network: MemoryNetwork, name: str) -> None:
    await trio.sleep(1)
    network.kill(name)


async def test_hooks_of_a_killed_node_run_still(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)
    network.kill("game")
    await trio.sleep(1)
    assert [name for name, _ in game.disconnects] == ["master"]
    network.restart("game")
    await trio.sleep(5)
    assert game.link.peer is not None


async def test_node_without_an_application_may_be_killed(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)
    network.node("bare")
    network.kill("bare")
    assert await game.link.request(Sleep(1)) == "at 1"
    network.restart("bare")
    with network.at("bare"):
        async with open_tcp_peer("localhost", 4520, OutboundPeer) as peer:
            assert await peer.request(Sleep(1)) == "at 2"


async def test_node_that_stands_still_may_be_killed(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)
    network.pause("master")
    network.kill("master")
    await trio.sleep(1)
    network.restart("master")
    assert await game.link.request(Sleep(0), wait_connected=True)


async def test_silent_death_is_noticed_by_the_heartbeat(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)
    network.kill("master", silently=True)
    await trio.sleep(1)
    assert game.disconnects == []
    await trio.sleep(10)
    assert game.disconnects == [("master", DisconnectReason.HEARTBEAT_TIMEOUT)]


async def test_who_is_not_accepted_yet_is_not_told_of_a_silent_death(
    autojump_clock: Clock,
) -> None:
    network = MemoryNetwork()
    await network.node("b").open_tcp_listeners(1, "b", None)
    stream = await network.node("a").open_tcp_stream("b", 1)
    network.kill("b", silently=True)
    await trio.sleep(1)
    await stream.send_all(b"x")
    with trio.move_on_after(60) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught


async def test_who_dials_what_has_lost_its_power_waits_in_vain(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)
    network.kill("master", silently=True)
    with pytest.raises(ConnectionFailedError) as caught, network.at("client"):
        async with open_tcp_peer("master", 4520, OutboundPeer, insecure=True):
            raise AssertionError
    assert caught.value.reason is FailureReason.CONNECT_TIMEOUT
    assert trio.current_time() == 10
    network.restart("master")
    await game.link.connected()


async def test_users_own_sleeps_go_on_while_a_node_is_paused(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)

    async def pause() -> None:
        await trio.sleep(1)
        network.pause("master")
        await trio.sleep(3)
        network.resume("master")

    nursery.start_soon(pause)
    # The handler was done at 2, but its answer was not sent before 4.
    assert await game.link.request(Sleep(2)) == "at 2"
    assert trio.current_time() == 4


async def test_paused_node_stands_still(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network, game = await start(nursery)
    network.pause("master")
    with trio.move_on_after(7) as scope:
        await game.link.request(Sleep(0))
    assert scope.cancelled_caught
    assert game.disconnects == []
    network.resume("master")
    assert await game.link.request(Sleep(1)) == "at 8"
    network.pause("game")
    await trio.sleep(100)
    assert game.disconnects == []  # Its own timers did not run.
    network.resume("game")
    await trio.sleep(20)
    # The master did notice, and it was not long until the link was back.
    assert game.disconnects[0][1] is DisconnectReason.REPORTED_BY_PEER
    assert game.link.peer is not None


def traced(seed: int) -> tuple[str, str]:
    """Run a cluster with faults; give the hash, and a drawing, of what happened."""

    async def main() -> MemoryNetwork:
        async with trio.open_nursery() as nursery:
            network, game = await start(nursery, seed)
            network.set_latency(0.01, 0.1)
            network.partition("game", "master")
            await trio.sleep(30)
            network.heal()
            await game.link.request(Sleep(1), wait_connected=True)
            nursery.cancel_scope.cancel()
        return network

    with seeded(seed):
        network = trio.run(main, clock=Clock(autojump_threshold=0))
    return network.trace.hash(), as_text(network.trace.entries)


def test_same_seed_does_the_same_again() -> None:
    assert traced(5) == traced(5)
    assert traced(5)[0] != traced(6)[0]
