"""Twin of `node.py`."""

import pytest
import trio
import trio.testing

from tests.network import Caller, Server, memory, server_and_link
from tests.peers import Acceptor, Dialler, linked
from trio_s2s import (
    DisconnectReason,
    FailureReason,
    InitRequest,
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
