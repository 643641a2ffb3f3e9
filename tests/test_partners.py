"""Twin of `partners.py`: one connection for each pair of servers, and who is known."""

import logging
import re
from typing import Any

import pytest
import trio
import trio.testing

from trio_s2s import (
    DisconnectReason,
    FailureReason,
    Fixed,
    Link,
    LinkState,
    OperationRequest,
    OutboundPeer,
    PeerConfig,
    open_application,
)
from trio_s2s.fields import Identity
from trio_s2s.handshake import hello
from trio_s2s.runtime import current_runtime
from trio_s2s.testing import MemoryNetwork, RecordingApplication, RecordingPeer

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
R = DisconnectReason
settled = trio.testing.wait_all_tasks_blocked


class Server(RecordingApplication):
    """Keeps links, and notes who is lost."""

    def __init__(self, server_id: str, config: PeerConfig | None = None) -> None:
        super().__init__("Server", server_id=server_id, config=config)
        self.resumed: list[bool] = []
        self.lost: list[tuple[float, str]] = []

    def recorded(self, peer: RecordingPeer) -> RecordingPeer:
        application = self

        class Telling(type(peer)):  # type: ignore[misc]  # a class made on the fly
            async def on_connected(self) -> None:
                application.resumed.append(self.resumed)
                await super().on_connected()

        peer.__class__ = Telling
        return super().recorded(peer)

    async def server_lost(self, server_id: str) -> None:
        self.lost.append((trio.current_time(), server_id))
        self.record("server_lost", server_id)

    def record(self, hook: str, about: Any) -> None:
        peer = RecordingPeer()
        self.recorded(peer).record(hook, about)

    def dial(self, other: str, **options: Any) -> Link[Any]:
        options = {"server_id": other, "insecure": True, **options}
        return self.connect_tcp(other, 4520, self.make, **options)

    def make(self) -> RecordingPeer:
        return self.recorded(RecordingPeer())

    @property
    def hooks(self) -> list[str]:
        return [record.hook for record in self.records]


async def start(nursery: trio.Nursery, *servers: Server) -> MemoryNetwork:
    network = MemoryNetwork(seed=1)
    for server in servers:
        await nursery.start(network.run, server)
    return network


# -- one connection --


@pytest.mark.parametrize("latency", [0.0, 0.05])
async def test_promise_17_l01_both_dial_and_one_connection_is_left(
    latency: float, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    network.set_latency(latency, 0.0)
    links = a.dial("b"), b.dial("a")
    await links[0].connected()
    await links[1].connected()
    await trio.sleep(60)
    assert a.hooks == b.hooks == ["on_connected"]
    assert (a.connects, b.connects) == (["b"], ["a"])
    assert len(a.peers) == len(b.peers) == len(network.connections) == 1
    for link in links:
        assert link.state is LinkState.CONNECTED
        answer = await link.request(OperationRequest(1, {0: "x"}))
        assert answer.parameters == {0: "x"}


async def test_l02_second_dial_ends_as_a_duplicate_and_waits(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: Log
) -> None:
    caplog.set_level(logging.INFO)
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    first = await a.dial("b").connected()
    second = a.dial("b")
    await trio.sleep(600)
    assert second.state is LinkState.WAITING
    assert second.peer is None
    assert a.hooks == b.hooks == ["on_connected"]
    assert len(network.connections) == 1
    assert a.statistics().failures == {}  # It did not even try.
    await first.disconnect()
    await trio.sleep(10)
    assert a.hooks.count("on_connected") == 2


async def test_dial_without_a_name_ends_as_a_duplicate_without_a_hook(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: Log
) -> None:
    caplog.set_level(logging.INFO)
    a, b = Server("a"), Server("b")
    await start(nursery, a, b)
    await a.dial("b", server_id=None).connected()
    second = a.dial("b", server_id=None)
    await trio.sleep(60)
    assert second.peer is None
    assert a.hooks == b.hooks == ["on_connected"]
    assert FailureReason.DUPLICATE in a.statistics().failures
    assert FailureReason.DUPLICATE in b.statistics().rejections
    assert "there is a connection with server 'a' already, at a:" in caplog.text
    # Once in 3 s, and no faster.
    assert 15 < a.statistics().failures[FailureReason.DUPLICATE] <= 21


async def test_l03_restarted_server_takes_over_from_its_old_connection(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    slow = PeerConfig(heartbeat_interval=60)
    a, b = Server("a", slow), Server("b", slow)
    network = MemoryNetwork(seed=1)
    await nursery.start(network.run, a)
    await nursery.start(network.run, b)
    b.dial("a")
    await a.peers.wait_for("b")
    network.kill("b", silently=True)
    network.restart("b")
    await trio.sleep(1)
    b.dial("a")
    await trio.sleep(10)
    assert a.disconnects == [("b", R.PEER_RESTARTED)]
    assert a.hooks == ["on_connected", "on_disconnected", "server_lost", "on_connected"]
    assert a.resumed == [False, False]


async def test_l04_connection_that_does_not_answer_is_replaced(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = Server("a", PeerConfig(heartbeat_misses=30))
    b = Server("b", PeerConfig(heartbeat_misses=2))
    network = await start(nursery, a, b)
    link = b.dial("a")
    await a.peers.wait_for("b")
    network.silence("a", "b")
    await trio.sleep(15)
    assert a.disconnects == [("b", R.REPLACED)]
    assert b.disconnects == [("a", R.HEARTBEAT_TIMEOUT)]
    assert link.state is LinkState.CONNECTED
    assert a.hooks == ["on_connected", "on_disconnected", "on_connected"]
    assert a.resumed == [False, True]
    assert b.resumed == [False, True]


async def test_l15_two_servers_of_one_name_are_told_from_each_other(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: Log
) -> None:
    a, b, impostor = Server("a"), Server("b"), Server("b")
    network = await start(nursery, a, b)
    b.dial("a")
    await a.peers.wait_for("b")
    with network.at("elsewhere"):
        impostor.port = 4521
        async with open_application(impostor):
            link = impostor.dial("a")
            await trio.sleep(10)
            assert link.peer is None
            assert set(impostor.failures) == {FailureReason.NAME_IN_USE}
    assert a.hooks == ["on_connected"]
    text = r"another server, at b:\d+, is connected as 'b'; this one is at elsewhere"
    [here, *_] = [m for m in caplog.messages if "connection from elsewhere" in m]
    [there, *_] = [m for m in caplog.messages if "cannot" in m or "rejected the" in m]
    assert re.search(text, here)
    assert re.search(text, there)


async def test_l16_server_that_dials_itself_is_told(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = Server("a")
    await start(nursery, a)
    a.dial("a", server_id=None)
    await trio.sleep(1)
    assert a.failures == [FailureReason.SELF_CONNECTION]


async def test_two_servers_of_one_name_do_not_talk_to_each_other(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = Server("a")
    network = await start(nursery, a)
    other = Server("a")
    other.port = 4521
    with network.at("elsewhere"):
        async with open_application(other):
            link = other.connect_tcp("a", 4520, OutboundPeer, insecure=True)
            await trio.sleep(1)
            assert link.peer is None
            assert "both servers are named 'a'" in link._why_not


async def test_anonymous_peers_connect_as_often_as_they_like(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, nobody = Server("a"), Server("")
    nobody.port = 4521
    await start(nursery, a, nobody)
    links = [nobody.dial("a") for _ in range(3)]
    for link in links:
        await link.connected()
    await settled()
    assert a.connects == ["", "", ""]


# -- one peer class for both sides --


async def test_promise_18_accepted_connection_is_made_by_the_link(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    network.refuse("b")
    link = a.dial("b")
    await trio.sleep(5)
    assert link.state in (LinkState.WAITING, LinkState.CONNECTING)
    b.dial("a")
    peer: Any = await link.connected()
    assert list(a.peers) == [peer]
    assert peer.init_request.server_id == "b"
    network.refuse("b", refuses=False)
    await trio.sleep(60)
    assert list(a.peers) == [peer]
    await peer.disconnect()
    assert await link.connected() is not peer


async def test_accepted_connection_of_a_link_that_cannot_accept_says_why(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    network.refuse("b")
    a.connect_tcp("b", 4520, OutboundPeer, server_id="b", insecure=True)
    link = b.dial("a")
    await trio.sleep(1)
    assert b.failures == [FailureReason.IDENTITY_MISMATCH]
    assert "derive OutboundPeer from InboundPeer as well" in link._why_not


# -- who is known --


async def test_promise_19_server_that_comes_back_in_time_is_resumed(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    link = b.dial("a")
    await a.peers.wait_for("b")
    for _ in range(3):
        network.reset("a", "b")
        await settled()
        await link.connected()
        await a.peers.wait_for("b")
    assert a.resumed == b.resumed == [False, True, True, True]
    assert (await link.connected()).init_response.resumed
    assert a.lost == b.lost == []


async def test_promise_19_server_that_stays_away_is_lost_in_time(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b", PeerConfig(resume_ttl=30))
    network = await start(nursery, a, b)
    link = b.dial("a", retry=Fixed(25))
    await a.peers.wait_for("b")
    await trio.sleep(10)
    network.reset("a", "b")
    began = trio.current_time()
    await trio.sleep(40)
    assert a.lost == [(began + 20, "b")]
    # To b it was known still; but one who does not know is enough.
    assert b.lost == [(began + 25, "a")]
    assert a.resumed == b.resumed == [False, False]
    assert link.state is LinkState.CONNECTED
    assert b.hooks == ["on_connected", "on_disconnected", "server_lost", "on_connected"]


async def test_server_that_says_goodbye_is_lost_at_once(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    await start(nursery, a, b)
    link = b.dial("a")
    await a.peers.wait_for("b")
    await (await link.connected()).disconnect()
    await settled()
    assert a.lost == [(0, "b")]
    assert b.lost == [(0, "a")]
    await link.connected()
    await a.peers.wait_for("b")
    assert a.resumed == b.resumed == [False, False]


async def test_server_that_stops_tells_the_others_and_hears_nothing(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    await start(nursery, a, b)
    b.dial("a")
    await a.peers.wait_for("b")
    await a.stop()
    await settled()
    assert b.lost == [(0, "a")]
    assert a.lost == []


async def test_server_is_not_lost_while_it_comes_back(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Who said whom it remembers must still do when the other side agrees."""
    a, b = Server("a", PeerConfig(resume_ttl=1000)), Server("b")
    network = await start(nursery, a, b)
    link = b.dial("a", retry=Fixed(19))
    await a.peers.wait_for("b")
    network.reset("a", "b")
    network.set_latency(0.4, 0.0)
    await trio.sleep(30)
    assert link.state is LinkState.CONNECTED
    assert a.resumed == b.resumed == [False, True]
    assert b.lost == []


async def test_promise_17_hooks_of_one_pair_never_overlap(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    class Slow(RecordingPeer):
        async def on_disconnected(self, reason: R, detail: str) -> None:
            self.record("on_disconnected", reason)
            await trio.sleep(3)
            self.record("end of on_disconnected")

    class Slowly(Server):
        def create_peer(self, init_request: Any) -> Any:
            return self.recorded(Slow(init_request))

        async def server_lost(self, server_id: str) -> None:
            await super().server_lost(server_id)
            await trio.sleep(3)
            self.record("end of server_lost", server_id)

    a, b = Slowly("a"), Server("b")
    network = await start(nursery, a, b)
    link = b.dial("a")
    await a.peers.wait_for("b")
    await (await link.connected()).disconnect()
    await trio.sleep(20)
    assert a.hooks == [
        "on_connected",
        "on_disconnected",
        "end of on_disconnected",
        "server_lost",
        "end of server_lost",
        "on_connected",
    ]
    assert len(network.connections) == 1


async def test_server_lost_that_raises_or_hangs_is_told(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: Log
) -> None:
    class Wrong(Server):
        async def server_lost(self, server_id: str) -> None:
            await super().server_lost(server_id)
            if len(self.lost) == 1:
                raise ValueError("a bug")
            await trio.sleep_forever()

    a, b = Wrong("a"), Server("b")
    await start(nursery, a, b)
    link = b.dial("a")
    for _ in range(2):
        await a.peers.wait_for("b")
        await (await link.connected()).disconnect()
        await settled()
    await trio.sleep(10)
    assert "Server: server_lost raised" in caplog.text
    assert "Server: server_lost took more than 5 s (hook_timeout)" in caplog.text
    await a.peers.wait_for("b")


async def test_strangers_leave_nothing_behind(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = Server("a")
    network = await start(nursery, a)
    for number in range(20):
        other = Server(f"b{number}")
        with network.at(f"b{number}"):
            async with open_application(other):
                await other.dial("a").connected()
    await trio.sleep(60)
    assert a._running.node.partners._partners == {}


async def test_strangers_cannot_end_a_connection_by_naming_its_server(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    b.dial("a")
    peer: Any = await a.peers.wait_for("b")
    before = peer.statistics().messages_sent
    with network.at("stranger"):
        for number in range(3000):
            stream = await current_runtime.get().open_tcp_stream("a", 4520)
            instance = number.to_bytes(16, "big")
            await stream.send_all(
                hello(Identity(instance, "b"), "", None, PeerConfig())
            )
            await trio.sleep(0.02)
            await trio.aclose_forcefully(stream)
    assert a.hooks == b.hooks == ["on_connected"]
    # One PING a second, at most.
    assert peer.statistics().messages_sent - before < 150


@pytest.mark.parametrize("seed", range(5))
async def test_two_of_one_name_that_come_at_once_leave_one(
    seed: int, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b, impostor = Server("a"), Server("b"), Server("b")
    impostor.port = 4521
    network = MemoryNetwork(seed=seed)
    network.set_latency(0.05, 0.0)
    await nursery.start(network.run, a)
    await nursery.start(network.run, b)
    with network.at("elsewhere"):
        async with open_application(impostor):
            b.dial("a", retry=Fixed(100))
            impostor.dial("a", retry=Fixed(100))
            await trio.sleep(10)
            assert a.hooks == ["on_connected"]
            assert len(a.peers) == 1
            # It was welcome for a moment, and is told why it is not any more.
            lost = [*b.disconnects, *impostor.disconnects]
            assert lost == [("a", R.REPLACED)]
