"""Scenario A of Photon's users: how game servers come back to their master.

Times are virtual, and count from the break. The others of A1 to A15 are in
`test_scenarios_a.py`.
"""

import pytest
import trio
import trio.testing

from tests.masters import PORT, Cluster, Game, cluster
from trio_s2s import (
    Backoff,
    DisconnectReason,
    FailureReason,
    Fixed,
    LinkState,
    OperationRequest,
    PeerConfig,
    PeerDisconnectedError,
)
from trio_s2s.codec import pack, pack_event
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import hello
from trio_s2s.runtime import current_runtime

Clock = trio.testing.MockClock
R = DisconnectReason
DEFAULT = Backoff()
settled = trio.testing.wait_all_tasks_blocked


async def break_for(cluster: Cluster, seconds: float, then: float) -> None:
    """Break all links for a while; return when so many seconds have passed."""
    cluster.cut()
    await trio.sleep(seconds)
    cluster.mend()
    await trio.sleep(then - seconds)


async def test_a1_registration_without_a_server_id_is_refused_by_field(
    autojump_clock: Clock,
) -> None:
    async with cluster(1, DEFAULT) as world:
        bad = Game("gs-9", Fixed(15), told={1: 5055})
        await world.nursery.start(world.network.run, bad)
        await settled()
        assert bad.notes == [FailureReason.REJECTED.name]
        with pytest.raises(PeerDisconnectedError) as caught:
            await bad.link.request(OperationRequest(1))
        assert "code 1: missing: server id (3), address (4)" in str(caught.value)
        assert list(world.master.contexts) == ["gs-1"]


async def test_a2_event_before_the_registration_is_counted_and_changes_nothing(
    autojump_clock: Clock,
) -> None:
    async with cluster(1, DEFAULT) as world:
        first = hello(Identity(bytes(16), "gs-9"), "", {3: "gs-9"}, PeerConfig())
        load = encode_frame([pack_event(1, pack({0: 99}), 0)])
        with world.network.at("gs-9"):
            stream = await current_runtime.get().open_tcp_stream("master", PORT)
        await stream.send_all(first + load)
        await trio.sleep(10)
        assert FailureReason.PROTOCOL_ERROR in world.master.statistics().rejections
        assert list(world.master.contexts) == ["gs-1"]
        assert world.master.contexts["gs-1"].load == 1
        await trio.aclose_forcefully(stream)


async def test_a3_break_of_5_s_is_bridged_with_photons_fixed_15_s(
    autojump_clock: Clock,
) -> None:
    async with cluster(2, Fixed(15)) as world:
        await break_for(world, 5, then=17)
        assert world.counts == (2, 2, 0, 0)


async def test_a4_break_of_16_s_is_the_cliff_of_photons_fixed_15_s(
    autojump_clock: Clock,
) -> None:
    async with cluster(2, Fixed(15)) as world:
        await break_for(world, 16, then=21)
        assert world.counts == (0, 0, 0, 2)


@pytest.mark.parametrize("seed", range(20))
async def test_a5_break_of_16_s_is_bridged_by_the_default(
    seed: int, autojump_clock: Clock
) -> None:
    async with cluster(2, DEFAULT, seed=seed) as world:
        await break_for(world, 16, then=20)
        assert world.counts == (2, 2, 0, 0)
        assert set(world.master.contexts) == {"gs-1", "gs-2"}


@pytest.mark.parametrize("retry", [Fixed(15), DEFAULT])
async def test_a6_room_is_found_during_a_break_and_after_it(
    retry: Backoff | Fixed, autojump_clock: Clock
) -> None:
    async with cluster(2, retry) as world:
        await world.games[0].open_room("r")
        await settled()
        world.cut()
        for second in range(18):
            if second == 1:
                world.mend()
            assert world.master.find_room("r") == "gs-1"
            await trio.sleep(1)
        assert world.counts == (2, 2, 0, 0)


async def test_a7_room_opened_during_a_break_of_10_s_is_there_after_it(
    autojump_clock: Clock,
) -> None:
    async with cluster(1, DEFAULT) as world:
        world.cut()
        await trio.sleep(5)
        await world.games[0].open_room("r")
        assert world.master.find_room("r") is None
        await trio.sleep(5)
        world.mend()
        await trio.sleep(6)
        assert world.master.find_room("r") == "gs-1"


async def test_a8_room_closed_during_a_break_of_14_s_is_gone_after_it(
    autojump_clock: Clock,
) -> None:
    async with cluster(1, DEFAULT) as world:
        await world.games[0].open_room("r")
        await settled()
        world.cut()
        await trio.sleep(7)
        await world.games[0].close_room("r")
        assert world.master.find_room("r") == "gs-1"  # Not known yet.
        await trio.sleep(7)
        world.mend()
        await trio.sleep(6)
        assert world.master.find_room("r") is None
        assert world.counts == (1, 1, 0, 0)


async def test_a9_server_that_stops_is_offline_at_once(autojump_clock: Clock) -> None:
    """(In Photon the sender always waits the full second.)"""
    async with cluster(2, DEFAULT) as world:
        world.master.counts.clear()
        began = trio.current_time()
        await world.games[0].stop()
        assert trio.current_time() - began < 0.1
        await trio.sleep(1)
        assert world.counts == (0, 0, 0, 1)
        assert list(world.master.contexts) == ["gs-2"]


async def test_a10_restarted_server_closes_its_old_context_first(
    autojump_clock: Clock,
) -> None:
    async with cluster(1, DEFAULT) as world:
        world.games[0].rooms.add("old")
        old = world.master.contexts["gs-1"]
        world.master.counts.clear()
        world.network.kill("gs-1", silently=True)
        await settled()
        world.network.restart("gs-1")
        await trio.sleep(5)
        # `MasterPeer.on_connected` checks that the old context is not there any more.
        assert world.counts == (1, 1, 0, 1)
        assert world.master.contexts["gs-1"] is not old
        assert len(world.master.peers) == 1
        ends = world.master.statistics().ends
        assert ends == {R.PEER_RESTARTED: 1}


async def test_a11_second_dial_of_a_server_ends_and_does_not_loop(
    autojump_clock: Clock,
) -> None:
    async with cluster(1, DEFAULT) as world:
        [game] = world.games
        context, first = world.master.contexts["gs-1"], game.link.peer
        second = game.dial()
        await trio.sleep(60)
        assert second.state is LinkState.WAITING
        assert game.notes == ["connected"]
        assert game.link.peer is first
        assert game.statistics().failures == {}
        assert world.master.contexts["gs-1"] is context


async def test_a11_first_that_does_not_answer_is_replaced(
    autojump_clock: Clock,
) -> None:
    async with cluster(1, DEFAULT, misses=30) as world:
        [game] = world.games
        context = world.master.contexts["gs-1"]
        world.master.counts.clear()
        world.network.silence("gs-1", "master")
        # The game server notices it; the master is more patient.
        await trio.sleep(15)
        assert world.master.statistics().ends == {R.REPLACED: 1}
        assert world.counts == (1, 1, 0, 0)
        assert world.master.contexts["gs-1"] is context
        assert game.notes[-1] == "connected"


async def test_one_of_three_stops_and_the_others_come_back_to_the_next(
    autojump_clock: Clock,
) -> None:
    async with cluster(2, DEFAULT) as world:
        await world.master.stop(grace=5)
        await settled()
        for game in world.games:
            assert game.notes == ["connected", R.SHUTDOWN.name]
        await trio.sleep(5)
        world.master.contexts.clear()
        await world.nursery.start(world.network.run, world.master)
        with trio.fail_after(4):
            for game in world.games:
                await game.link.connected()
        await settled()
        assert set(world.master.contexts) == {"gs-1", "gs-2"}
        assert world.master.find_room("gs-1 lobby") == "gs-1"
