"""Links and pairs that go wrong: rows L01 to L16 that are not in `test_partners.py`."""

from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from tests.network import Caller, Server, memory, server_and_link
from tests.peers import Note, Wait
from tests.races import draw, run_seed
from trio_s2s import (
    Application,
    ConnectionRejectedError,
    DisconnectReason,
    FailureReason,
    Fixed,
    InboundPeer,
    InitRequest,
    LinkState,
    Outcome,
    PeerDisconnectedError,
    open_application,
)
from trio_s2s.codec import pack
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.framing import encode_frame
from trio_s2s.testing import MemoryNetwork, RecordingApplication, RecordingPeer

Clock = trio.testing.MockClock
R = DisconnectReason
settled = trio.testing.wait_all_tasks_blocked


async def test_l05_what_a_replaced_peer_still_sends_is_dropped(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork(seed=1)
    a = RecordingApplication("A", server_id="a")
    b = RecordingApplication("B", server_id="b")
    await nursery.start(network.run, a)
    await nursery.start(network.run, b)
    link = b.connect_tcp("a", 4520, RecordingPeer, insecure=True)
    old: Any = await a.peers.wait_for("b")
    peer = await link.connected()
    held = network.hold("b", "a")
    await peer.send_event(Note(1))
    await settled()
    old._session.connection.fail(R.REPLACED, "a new one took over", CloseCode.REPLACED)
    held.release_all()
    await trio.sleep(5)
    assert a.events == []
    assert a.disconnects == [("b", R.REPLACED)]


@pytest.mark.parametrize("first", [1001, 1051])
def test_l06_races_of_three_end_with_one_connection_for_each_pair(first: int) -> None:
    seeds = [seed for seed in range(first, first + 50) if len(draw(seed).dials) > 4]
    assert len(seeds) > 10
    assert not {seed: wrong for seed in seeds if (wrong := run_seed(seed)[1])}


async def test_l07_server_that_restarts_100_times_is_found_again_each_time(
    autojump_clock: Clock,
) -> None:
    async with memory() as world:
        async with open_application(Application("C", server_id="c")) as client:
            link = client.connect_tcp("localhost", 4520, Caller)
            for _ in range(100):
                async with open_application(Server(server_id="s")) as server:
                    await link.connected()
                    await server.peers.wait_for("c")
                    await trio.sleep(11)
                assert link.state is not LinkState.CONNECTED
            await settled()
            assert client.statistics().ends == {R.SHUTDOWN: 100}
        # Each of them was up at once, and found by the first attempts after its loss.
        assert len(world.attempts) < 300


async def test_l08_server_that_accepts_and_closes_is_no_success(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Application("Client")) as client:
        [listener] = await world.open_tcp_listeners(4520, "", None)
        client.connect_tcp("localhost", 4520, Caller, retry=Fixed(1))
        for _ in range(1000):
            await trio.aclose_forcefully(await listener.accept())
        failures = client.statistics().failures
    assert set(failures) == {FailureReason.CLOSED_DURING_HANDSHAKE}
    assert failures[FailureReason.CLOSED_DURING_HANDSHAKE] >= 999


class Refusing(Server):
    """Rejects everybody."""

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        raise ConnectionRejectedError(CloseCode.AUTHENTICATION, "no")


async def test_l09_refusal_for_good_slows_down_and_says_so(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        memory() as world,
        open_application(Refusing()),
        open_application(Application("Client")) as client,
    ):
        client.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(2999)
    assert len(world.attempts) == 1000
    assert "next attempt in 3.0 s (attempt 1), as this will not pass by" in caplog.text


async def test_l11_wish_to_be_left_alone_is_respected(autojump_clock: Clock) -> None:
    refusal = encode_frame([pack([Kind.REJECT, CloseCode.BUSY, "full", 10_000])])
    async with memory() as world, open_application(Application("Client")) as client:
        [listener] = await world.open_tcp_listeners(4520, "", None)
        client.connect_tcp("localhost", 4520, Caller)
        for _ in range(5):
            stream = await listener.accept()
            await stream.send_all(refusal)
            await stream.send_stream.aclose()
    delays = [after - before for before, after in pairwise(world.attempts)]
    assert all(10 <= delay <= 13 for delay in delays)
    assert len(set(delays)) == len(delays)


async def test_l12_end_while_it_waits_is_at_once_and_runs_no_hook(
    autojump_clock: Clock,
) -> None:
    made: list[Caller] = []

    def make() -> Caller:
        made.append(Caller())
        return made[-1]

    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, make, retry=Fixed(1000))
        await settled()
        assert link.state is LinkState.WAITING
        began = trio.current_time()
        await client.stop()
    assert trio.current_time() == began
    assert [peer.record for peer in made] == [["failed REFUSED"]]


async def test_l13_request_without_a_connection_fails_at_once_or_waits(
    autojump_clock: Clock,
) -> None:
    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, Caller)
        with pytest.raises(PeerDisconnectedError) as caught:
            await link.request(Wait(0))
        assert caught.value.reason is R.NOT_CONNECTED
        assert caught.value.outcome is Outcome.NEVER_SENT
        with trio.move_on_after(5) as scope:
            await link.request(Wait(0), wait_connected=True)
        assert scope.cancelled_caught
        async with open_application(Server()):
            await link.request(Wait(0), wait_connected=True)


async def test_l14_request_under_way_is_told_and_never_sent_again(
    autojump_clock: Clock,
) -> None:
    async with server_and_link() as (server, link, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(PeerDisconnectedError) as caught:
                await link.request(Wait())
            assert caught.value.outcome is Outcome.UNKNOWN

        nursery.start_soon(ask)
        await settled()
        server.made[0].abort()
        await settled()
        await link.connected()
        await trio.sleep(5)
        assert server.made[-1].statistics().requests_running == 0
