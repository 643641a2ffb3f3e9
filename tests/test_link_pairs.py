"""Links between servers that have names, and what they say; see also `test_link.py`."""

import logging
from typing import Any

import pytest
import trio
import trio.testing

from tests.test_partners import Server, start
from tests.test_turns import SlowServer
from trio_s2s import (
    DisconnectReason,
    FailureReason,
    Fixed,
    LinkState,
    OperationRequest,
    PeerDisconnectedError,
)
from trio_s2s.codes import CloseCode
from trio_s2s.testing import RecordingPeer

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
R = DisconnectReason
ASK = OperationRequest(1, {0: "x"})


# -- a link that may reach anybody --


async def test_link_without_a_name_follows_its_directory(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """It stayed tied to the first server that it had reached."""
    here = ["m1"]

    async def find_master() -> tuple[str, int]:
        await trio.lowlevel.checkpoint()
        return here[0], 4520

    m1, m2, gs = Server("m1"), Server("m2"), Server("gs")
    network = await start(nursery, m1, m2, gs)
    link = gs.connect_tcp(find_master, None, gs.make, insecure=True)
    assert (await link.connected()).server_id == "m1"
    here[0] = "m2"
    network.reset("gs", "m1")
    await trio.sleep(0.01)
    assert (await link.connected()).server_id == "m2"
    # It is resumed by the one that it has reached last.
    await trio.sleep(30)
    network.reset("gs", "m2")
    await trio.sleep(5)
    assert gs.resumed == [False, False, True]
    assert [who for _, who in gs.lost] == ["m1"]
    # That the first one dials by itself is not what it waits for.
    m1.dial("gs")
    await gs.peers.wait_for("m1")
    network.reset("gs", "m2")
    await trio.sleep(5)
    assert (await link.connected()).server_id == "m2"


async def test_link_without_a_name_is_told_what_it_lacks(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: Log
) -> None:
    a, b = Server("a"), Server("b")
    await start(nursery, a, b)
    await a.dial("b").connected()
    link = b.connect_tcp("a", 4520, insecure=True)
    await trio.sleep(1)
    assert link.state is LinkState.WAITING
    [record] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "there is a connection with server 'b' already, at" in record.getMessage()
    assert record.getMessage().endswith(
        "; a link with server_id= would use the one that there is"
    )


# -- a link whose other side has dialled --


async def test_link_tells_of_a_connection_that_was_dialled_there(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: Log
) -> None:
    """It was silent about it, and told what had happened hours ago."""
    caplog.set_level(logging.INFO)
    a, b = Server("a"), Server("b")
    network = await start(nursery, a)
    link = a.dial("b")
    await trio.sleep(2)
    assert "cannot connect to b at b:4520" in caplog.text
    await nursery.start(network.run, b)
    b.dial("a", retry=Fixed(1000))
    await link.connected()
    where = "b at b:4520, which has dialled"
    assert f"connected to {where}" in caplog.text
    await trio.sleep(3600)
    network.refuse("b")
    network.reset("a", "b")
    await trio.sleep(0.001)
    reason = "CONNECTION_RESET, [Errno 104] Connection reset by peer"
    assert f"disconnected from {where}: {reason}" in caplog.text
    with pytest.raises(PeerDisconnectedError) as caught:
        await link.request(ASK)
    assert f"there is no connection to b at b:4520: {reason}" in str(caught.value)


async def test_reason_is_told_while_the_connection_ends(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    b.dial("a", retry=Fixed(1000))
    link = a.dial("b")
    peer: Any = await link.connected()
    assert peer is not link._newest
    peer.start_soon(peer.disconnect, "enough")
    await trio.testing.wait_all_tasks_blocked()
    assert link._reason == "LOCAL_CLOSE, enough"
    assert len(network.connections) <= 1


async def test_link_that_comes_after_the_connection_says_so(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    await start(nursery, a, b)
    await b.dial("a").connected()
    link = a.dial("b")
    await trio.sleep(1)
    assert link.state is LinkState.WAITING
    with pytest.raises(PeerDisconnectedError, match="a peer that is not this link's"):
        await link.request(ASK)


# -- a link whose connection comes to nothing --


class Odd(RecordingPeer):
    """Can't take what it is told, once."""

    attempts: list[object] = []  # noqa: RUF012  shared on purpose

    @property
    def response_object(self) -> Any:
        return None

    @response_object.setter
    def response_object(self, value: object) -> None:
        self.attempts.append(value)
        if len(self.attempts) == 1:
            raise ZeroDivisionError


async def test_peer_that_cannot_take_its_welcome_leaves_no_place_taken(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a, b = Server("a"), Server("b")
    await start(nursery, a, b)
    Odd.attempts.clear()
    link = a.connect_tcp("b", 4520, Odd, server_id="b", insecure=True)
    await trio.sleep(1)
    assert link.state is LinkState.WAITING
    assert not a._running.node.partners._partners
    with trio.fail_after(10):
        await link.connected()


@pytest.mark.parametrize("code", [None, CloseCode.REPLACED, CloseCode.PEER_RESTARTED])
async def test_dialled_connection_that_ends_before_its_turn_has_failed(
    code: CloseCode | None, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Unless another one took over: that is no failure, and runs no hook."""

    class Dials(SlowServer):
        def dial_as(self, peers: list[RecordingPeer]) -> None:
            def make() -> RecordingPeer:
                peers.append(self.recorded(RecordingPeer()))
                return peers[-1]

            self.connect_tcp("b", 4520, make, server_id="b", insecure=True)

    a, b = Dials("a"), Server("b")
    network = await start(nursery, a, b)
    b.dial("a", retry=Fixed(1000))
    await a.peers.wait_for("b")
    made: list[RecordingPeer] = []
    network.reset("a", "b")  # The hook of this one takes its time.
    await trio.sleep(0.1)
    a.dial_as(made)
    await trio.sleep(0.1)
    [hold] = a._running.node.partners._partners["b"].turns[1:]
    if code is None:
        network.reset("a", "b")
    else:
        hold.drop("another one took over", code)
    await trio.sleep(0.1)
    assert a.failures == (
        [FailureReason.CLOSED_DURING_HANDSHAKE] if code is None else []
    )
    assert a.connects == ["b"]
    expected = FailureReason.CLOSED_DURING_HANDSHAKE if code is None else None
    assert a.statistics().failures == ({expected: 1} if expected else {})
