"""Twin of `node.py`."""

from typing import Any

import pytest
import trio
import trio.testing

from tests.hostile import HELLO
from tests.network import Caller, Server, memory, server_and_link
from tests.peers import Acceptor, Dialler, linked
from tests.streams import fickle_pair
from trio_s2s import (
    DisconnectReason,
    FailureReason,
    InitRequest,
    OperationRequest,
    PeerConfig,
    open_application,
    open_peer,
)
from trio_s2s.node import Node
from trio_s2s.statistics import ConnectionCounts

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


def test_node_is_someone() -> None:
    one = Node(config=PeerConfig(), server_id="gs-1", version="7")
    other = Node(config=PeerConfig())
    assert one.identity.server_id == "gs-1"
    assert one.identity.version == "7"
    assert one.identity.instance_id != other.identity.instance_id


def test_who_only_dials_makes_no_peers() -> None:
    with pytest.raises(AssertionError, match="only dials"):
        Node(config=PeerConfig()).create_peer(InitRequest())


def test_what_came_to_nothing_is_counted_by_cause() -> None:
    node = Node(config=PeerConfig())
    for _ in range(2):
        node.rejected(FailureReason.REJECTED_BUSY)
    node.failed(FailureReason.REFUSED)
    counted = node.statistics()
    assert counted.rejections == {FailureReason.REJECTED_BUSY: 2}
    assert counted.failures == {FailureReason.REFUSED: 1}
    assert counted.ends == {}
    with pytest.raises(TypeError):
        counted.ends[DisconnectReason.SHUTDOWN] = 1  # type: ignore[index]  # on purpose


async def test_peer_that_begins_while_all_stop_is_told_so(
    autojump_clock: Clock,
) -> None:
    """Its WELCOME was under way when the stop began."""
    async with memory() as world, open_application(Server()) as server:
        made = server.create_peer

        def stopping(init_request: InitRequest) -> Acceptor:
            nursery.start_soon(server.stop)
            return made(init_request)  # type: ignore[return-value]  # an Acceptor

        server._running.node.create_peer = stopping
        async with trio.open_nursery() as nursery:
            stream = await world.open_tcp_stream("", 4520)
            async with open_peer(stream, Dialler) as peer:
                await peer.ended.wait()
                assert peer.reason is DisconnectReason.SHUTDOWN
    assert server.made[0].record == ["connected", "disconnected SHUTDOWN"]


async def test_stop_waits_for_who_is_being_welcomed(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    peer = Dialler()

    async def dial(stream: trio.abc.Stream) -> None:
        async with open_peer(stream, lambda: peer):
            await peer.ended.wait()

    async def take_welcome() -> None:
        await trio.sleep(2)
        stream.may_send.set()

    stream, far = fickle_pair()
    stream.block()
    async with memory() as world, open_application(Server()) as server:
        world.listeners[4520].offer(stream)
        nursery.start_soon(dial, far.stream)
        nursery.start_soon(take_welcome)
        await settled()
        assert (await server.stop()).is_finished
        assert trio.current_time() == 2
        assert server.made[0].record == ["connected", "disconnected SHUTDOWN"]
    await settled()
    assert peer.record == ["connected", "disconnected SHUTDOWN"]


async def test_stop_does_not_wait_for_a_welcome_that_came_to_nothing(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Server()) as server:
        stream, far = fickle_pair()
        stream.block()
        world.listeners[4520].offer(stream)
        await far.stream.send_all(HELLO)
        await settled()
        assert (await server.stop()).is_finished
        assert trio.current_time() == server.config.handshake_timeout
        assert server.made[0].record == []


class Player(Acceptor):
    """Has statistics of its own."""

    def statistics(self) -> Any:
        return {"players": 3}


async def test_statistics_that_a_peer_overrides_are_its_own(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Server()) as server:
        server._running.node.create_peer = Player
        async with open_peer(await world.open_tcp_stream("", 4520)) as peer:
            await peer.request(OperationRequest(1))
            [player] = server.peers
            assert server.statistics().total.messages_received > 0
        await player.disconnect()
        assert server.statistics().ends == {DisconnectReason.REMOTE_CLOSE: 1}
        assert server.statistics().inbound == ConnectionCounts()


async def test_connections_are_counted_by_side_and_state(
    autojump_clock: Clock,
) -> None:
    class Slow(Caller):
        async def on_connected(self) -> None:
            await trio.sleep(1)

        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            await trio.sleep(1)

    async with server_and_link() as (server, _, client):
        assert client.statistics().outbound == ConnectionCounts(connected=1)
        link = client.connect_tcp("localhost", 4520, Slow)
        await trio.sleep(0.5)
        counted = client.statistics().outbound
        assert counted == ConnectionCounts(connected=1, connecting=1)
        peer = await link.connected()
        peer.abort()
        await settled()
        counted = client.statistics().outbound
        assert counted == ConnectionCounts(connected=1, ending=1)
        assert client.statistics().inbound == ConnectionCounts()
        assert server.statistics().outbound == ConnectionCounts()


async def test_lone_peers_end_with_their_own_reason(autojump_clock: Clock) -> None:
    """Without an application there is no shutdown: the owner closed."""
    with trio.move_on_after(1):
        async with linked() as (peer, _):
            await trio.sleep_forever()
    assert peer.reason is DisconnectReason.LOCAL_CLOSE
