"""What is promised of events, broadcasts, links and servers."""

import contextlib
import logging

import pytest
import trio
import trio.testing

from tests.network import Caller, Server, memory, server_and_link
from tests.peers import Acceptor, Note, Wait, linked
from trio_s2s import (
    Application,
    DisconnectReason,
    Outcome,
    PeerConfig,
    PeerDisconnectedError,
    SendParameters,
    open_application,
)

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


# -- events --


async def test_promise_14_send_event_waits_for_the_window(
    autojump_clock: Clock,
) -> None:
    small = PeerConfig(max_event_weight=100)
    async with linked(Acceptor, server_config=small) as (peer, server):
        server.peer.on_event = _dawdle
        began = trio.current_time()
        await peer.send_event(Note(0))
        with pytest.raises(trio.WouldBlock):
            peer.send_event_nowait(Note(1))
        await peer.send_event(Note(2), SendParameters(unreliable=True))
        assert peer.statistics().events_dropped == 1
        assert trio.current_time() == began
        await peer.send_event(Note(3))
        assert trio.current_time() == began + 5


async def test_promise_15_a_slow_peer_does_not_hold_up_the_others(
    autojump_clock: Clock,
) -> None:
    slow = PeerConfig(max_event_weight=100)
    async with memory(), open_application(Server()) as server:
        links = []
        async with contextlib.AsyncExitStack() as stack:
            for name, config in ("quick", None), ("slow", slow):
                client = Application("Client", server_id=name, config=config)
                await stack.enter_async_context(open_application(client))
                links.append(client.connect_tcp("localhost", 4520, Caller))
                await server.peers.wait_for(name)
            await links[1].connected()
            far = server.made[1]._session.connection.protocol
            far.event_queued(0, 100)  # as if it had not read what came before
            missed = await server.broadcast(Note(1), server.peers, slow="skip")
            assert missed == [server.made[1]]
            await settled()
            assert links[0].peer is not None
            assert links[0].peer.record == ["connected", "note 1"]


async def test_promise_15_the_slow_do_not_wait_for_each_other(
    autojump_clock: Clock,
) -> None:
    slow = PeerConfig(max_event_weight=100)
    async with (
        memory(),
        open_application(Server()) as server,
        contextlib.AsyncExitStack() as stack,
    ):
        links = []
        for name in "first", "second":
            client = Application("Client", server_id=name, config=slow)
            await stack.enter_async_context(open_application(client))
            links.append(client.connect_tcp("localhost", 4520, Caller))
            await server.peers.wait_for(name)
            await links[-1].connected()
        connections = [peer._session.connection for peer in server.made]
        for connection in connections:
            connection.protocol.event_queued(0, 100)
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.broadcast, Note(1), server.peers)
                await settled()
                # The second has read now what came before, the first has not.
                connections[1].protocol.event_withdrawn(0, 100)
                connections[1].transport.wake_writer()
        assert scope.cancelled_caught
        records = [link.peer.record for link in links if link.peer is not None]
        assert records == [["connected"], ["connected", "note 1"]]


# -- links --


async def test_promise_18_a_link_is_tried_again_after_failure_and_loss_alike(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Application("Client")) as client:
        made: list[Caller] = []

        def make() -> Caller:
            made.append(Caller())
            return made[-1]

        link = client.connect_tcp("localhost", 4520, make)
        await trio.sleep(10)
        assert all(peer.record == ["failed REFUSED"] for peer in made)
        gaps = [b - a for a, b in zip(world.attempts, world.attempts[1:], strict=False)]
        assert len(gaps) >= 3
        assert max(gaps) <= 3
        for _ in range(2):
            async with open_application(Server()):
                peer = await link.connected()
                assert peer is made[-1]
            assert link.peer is None
            assert peer.record[1:] == ["disconnected SHUTDOWN"]


async def test_promise_18_a_link_ends_when_its_application_does(
    autojump_clock: Clock,
) -> None:
    async with memory() as world:
        async with open_application(Application("Client")) as client:
            client.connect_tcp("localhost", 4520, Caller)
            await trio.sleep(1)
            began = trio.current_time()
        assert trio.current_time() == began
        attempts = len(world.attempts)
        await trio.sleep(100)
        assert len(world.attempts) == attempts


async def test_promise_20_a_request_without_a_connection_fails_at_once(
    autojump_clock: Clock,
) -> None:
    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(1)
        began = trio.current_time()
        with pytest.raises(PeerDisconnectedError, match="connection refused") as caught:
            await link.request(Wait(1))
        assert caught.value.reason is DisconnectReason.NOT_CONNECTED
        assert caught.value.outcome is Outcome.NEVER_SENT
        assert trio.current_time() == began
        async with open_application(Server()):
            await link.request(Wait(1), wait_connected=True)
            assert trio.current_time() > began


# -- servers --


async def test_promise_21_stopping_lets_running_requests_finish(
    autojump_clock: Clock,
) -> None:
    async with server_and_link() as (server, link, _), trio.open_nursery() as nursery:
        nursery.start_soon(link.request, Wait(2))
        await settled()
        began = trio.current_time()
        report = await server.stop(grace=3)
        assert trio.current_time() == began + 2
        [peer] = report.peers
        assert (peer.peer, peer.finished, peer.cancelled) == ("client", 1, 0)


async def test_promise_21_the_other_side_knows_and_comes_back(
    autojump_clock: Clock,
) -> None:
    async with server_and_link() as (server, link, _):
        peer = await link.connected()
        await server.stop()
        assert peer.reason is DisconnectReason.SHUTDOWN
        async with open_application(Server()):
            assert await link.connected() is not peer


async def test_version_of_an_application_is_told(autojump_clock: Clock) -> None:
    async with (
        memory(),
        open_application(Server(version="7")) as server,
        open_application(Application("Client", version="1.2")) as client,
    ):
        link = client.connect_tcp("localhost", 4520, Caller)
        assert (await link.connected()).init_response.version == "7"
        assert server.made[0].init_request.version == "1.2"


async def test_statistics_of_an_application_add_up(autojump_clock: Clock) -> None:
    async with server_and_link() as (server, link, client):
        await link.request(Wait(0))
        ours, theirs = client.statistics(), server.statistics()
        assert ours.outbound.connected == theirs.inbound.connected == 1
        assert ours.total.requests.succeeded == 1
        assert ours.total.bytes_sent == theirs.total.bytes_received > 0
        await server.stop()
        after = client.statistics()
        assert dict(after.ends) == {DisconnectReason.SHUTDOWN: 1}
        assert after.total.requests.succeeded == 1
        assert after.total.bytes_sent > ours.total.bytes_sent


async def test_tear_down_comes_last_and_once(autojump_clock: Clock) -> None:
    async with server_and_link() as (server, _, _):
        pass
    assert server.log == ["setup", "tear_down after ['disconnected SHUTDOWN']"]


async def test_one_bad_peer_ends_alone(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with server_and_link() as (server, link, client):
        other = client.connect_tcp("localhost", 4520, Caller)
        good = await other.connected()
        bad = server.made[0]
        with caplog.at_level(logging.CRITICAL):
            bad.start_soon(_raise)
            await bad.ended.wait()
        assert bad.record[-1] == "disconnected INTERNAL_ERROR"
        assert other.peer is good
        await other.request(Wait(0))
        await link.connected()


async def _dawdle(*_: object) -> None:
    await trio.sleep(5)


async def _raise() -> None:
    await trio.lowlevel.checkpoint()
    raise RuntimeError("a bug")
