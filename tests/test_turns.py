"""Twin of `partners.py` as well: whose hooks run when, and who is known meanwhile."""

import contextlib
from typing import Any

import pytest
import trio
import trio.testing

from tests.streams import Far
from tests.test_partners import Server, start
from trio_s2s import DisconnectReason, FailureReason, InitRequest, PeerConfig
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.fields import Identity
from trio_s2s.handshake import hello
from trio_s2s.partners import Partners
from trio_s2s.runtime import current_runtime
from trio_s2s.testing import MemoryNetwork, RecordingPeer

Clock = trio.testing.MockClock
R = DisconnectReason
OTHER = Identity(b"b" * 16, "b")


class Slow(RecordingPeer):
    """Takes its time to say that it is over."""

    async def on_disconnected(self, reason: R, detail: str) -> None:
        await super().on_disconnected(reason, detail)
        await trio.sleep(4)


class SlowServer(Server):
    def create_peer(self, init_request: InitRequest) -> RecordingPeer:
        return self.recorded(Slow(init_request))


async def nobody_is_told(server_id: str) -> None:
    await trio.lowlevel.checkpoint()


async def welcomed(
    network: MemoryNetwork,
    name: str,
    config: PeerConfig | None = None,
    known: bytes = b"",
) -> Far:
    """Be let in by a server "a" as another one, and say nothing more."""
    with network.at("stranger"):
        stream: Any = await current_runtime.get().open_tcp_stream("a", 4520)
    far = Far(stream)
    identity = Identity(b"s" * 16, name)
    await far.stream.send_all(hello(identity, "", None, config or PeerConfig(), known))
    assert (await far.receive())[0] == Kind.WELCOME
    return far


# -- whose turn it is --


async def two(partners: Partners) -> list[Any]:
    """Have one that is confirmed and over at once, and one that is to stay."""
    holds = [await partners.admit(OTHER, "b:1", b"") for _ in range(2)]
    holds[0].confirm()
    holds[0].drop("another one took over", CloseCode.REPLACED)
    holds[1].confirm()
    return holds


async def test_turns_are_in_the_order_of_confirmation() -> None:
    """The simulator found it with seed 5009: the second came first, and stayed.

    Both were confirmed in one step, by two tasks that Trio then woke in any order.
    """
    partners = Partners(Identity(bytes(16), "a"), nobody_is_told)
    first, second = await two(partners)
    assert first.is_next
    assert not second.is_next
    await partners.begin(first)
    assert not second.is_next
    partners.end(first, 20)
    assert second.is_next


async def test_turn_of_a_connection_that_never_had_one_passes_on() -> None:
    partners = Partners(Identity(bytes(16), "a"), nobody_is_told)
    first, second = await two(partners)
    partners.release(first)
    assert second.is_next
    await partners.begin(second)
    partners.end(second, 20)
    partners.release(second)


async def test_promise_17_connections_that_ended_before_their_turn_run_no_hook(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = SlowServer("a")
    network = await start(nursery, a)
    for _ in range(30):
        far = await welcomed(network, "b")
        await far.send([Kind.PING, 1])
        await trio.sleep(0.1)
        await far.stream.aclose()
        await trio.sleep(0.03)
    assert a.hooks == ["on_connected", "on_disconnected"]
    assert a.statistics().rejections == {FailureReason.CLOSED_DURING_HANDSHAKE: 29}
    assert not network.connections
    # Whoever stays has its turn next.
    far = await welcomed(network, "b")
    await far.send([Kind.PING, 1])
    with trio.fail_after(4):
        await a.peers.wait_for("b")
    assert a.hooks[2:] == ["server_lost", "on_connected"]


async def test_what_came_before_a_goodbye_is_handled_in_its_turn(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = SlowServer("a")
    network = await start(nursery, a)
    for number in range(2):
        far = await welcomed(network, "b")
        await far.send([Kind.EVENT, 7, {0: number}], [Kind.GOODBYE, 0, "", 0, True])
        await trio.sleep(1)
    await trio.sleep(10)
    assert [event.parameters for _, event in a.events] == [{0: 0}, {0: 1}]
    assert a.hooks.count("on_connected") == 2


async def test_goodbye_does_not_wait_for_its_turn_for_ever(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = SlowServer("a", PeerConfig(drain_timeout=1))
    network = await start(nursery, a)
    for _ in range(2):
        far = await welcomed(network, "b")
        await far.send([Kind.PING, 1], [Kind.GOODBYE, 0, "", 0, True])
    await trio.sleep(20)
    assert a.hooks[:2] == ["on_connected", "on_disconnected"]
    assert a.hooks.count("on_connected") == 1


async def test_stop_waits_for_no_turns(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = SlowServer("a")
    network = await start(nursery, a)
    far = await welcomed(network, "b")
    await far.send([Kind.PING, 1])
    await trio.sleep(0.1)
    await far.stream.aclose()
    await trio.sleep(0.1)
    far = await welcomed(network, "b")
    await far.send([Kind.PING, 1])
    began = trio.current_time()
    await a.stop(grace=0)
    assert trio.current_time() - began < 4
    assert a.hooks == ["on_connected", "on_disconnected"]


@pytest.mark.parametrize("drips", [False, True])
async def test_promise_17_who_never_confirms_is_in_nobody_s_way(
    drips: bool, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Such a one kept a server from being told lost, and its link from coming back."""
    a, b = Server("a"), Server("b")
    network = await start(nursery, a, b)
    link = a.dial("b")
    await link.connected()
    network.reset("a", "b")
    network.partition("a", "b")
    far = await welcomed(network, "b", PeerConfig(heartbeat_interval=600))
    began = trio.current_time()
    with contextlib.suppress(trio.BrokenResourceError):
        for byte in bytes(10) if drips else b"":
            await trio.sleep(2)
            await far.stream.send_all(bytes([byte]))
    await trio.sleep(21)
    assert a.disconnects == [("b", R.CONNECTION_RESET)]
    [(when, who)] = a.lost
    assert who == "b"
    assert when - began == pytest.approx(20, abs=0.1)
    [goodbye] = [one for one in await far.receive_rest() if one[0] == Kind.GOODBYE]
    assert goodbye[1:3] == [
        CloseCode.HEARTBEAT,
        "nothing came behind WELCOME within 5 s",
    ]
    network.heal()
    with trio.fail_after(10):
        await link.connected()


# -- who is known --


async def test_promise_19_nobody_is_resumed_by_who_has_forgotten_it() -> None:
    partners = Partners(Identity(bytes(16), "a"), nobody_is_told)
    first = await partners.admit(OTHER, "b:1", b"")
    first.confirm()
    await partners.begin(first)
    # This one is welcome as long as the first one is known...
    first.drop("another one took over", CloseCode.REPLACED)
    late = await partners.admit(OTHER, "b:1", bytes(16))
    assert late.resumed
    # ...and has its turn when nobody is.
    partners.end(first, 0)
    late.confirm()
    await partners.begin(late)
    assert not late.resumed


async def test_interrupt_of_server_lost_lets_the_next_one_begin() -> None:
    async def interrupted(server_id: str) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    partners = Partners(Identity(bytes(16), "a"), interrupted)
    other = Identity(b"b" * 16, "b")
    first = await partners.admit(other, "b:1", b"")
    first.confirm()
    await partners.begin(first)
    partners.end(first, 20)
    partners.release(first)
    for _ in range(2):
        again = await partners.admit(other, "b:1", b"")
        again.confirm()
        with contextlib.suppress(KeyboardInterrupt):
            await partners.begin(again)
            partners.end(again, 20)
        partners.release(again)
    with partners.remembered("b") as known:
        assert known == other.instance_id


async def test_who_is_about_to_be_lost_is_not_remembered_any_more(
    autojump_clock: Clock,
) -> None:
    """The simulator found it with seed 431: the task that tells had not run yet."""
    lost: list[str] = []

    async def note(server_id: str) -> None:
        lost.append(server_id)
        await trio.lowlevel.checkpoint()

    for steps in range(8):
        partners = Partners(Identity(bytes(16), "a"), note)
        hold = await partners.admit(Identity(b"b" * 16, "b"), "b:1", b"")
        hold.confirm()
        await partners.begin(hold)
        partners.end(hold, 20)
        partners.release(hold)
        lost.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partners.forget_in_time)
            await trio.sleep(20)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            with partners.remembered("b") as known:
                await trio.sleep(1)
                assert not (lost and known)
            await trio.sleep(1)
            assert lost == ["b"]
            nursery.cancel_scope.cancel()


async def test_link_that_is_cancelled_before_its_turn_has_run_no_hook(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    class Slow(RecordingPeer):
        async def on_disconnected(self, reason: R, detail: str) -> None:
            await super().on_disconnected(reason, detail)
            await trio.sleep(4)

    class Slowly(Server):
        def dial_slowly(self) -> None:
            def make() -> RecordingPeer:
                return self.recorded(Slow())

            self.connect_tcp("a", 4520, make, server_id="a", insecure=True)

    a, b = Server("a"), Slowly("b")
    network = await start(nursery, a)
    async with trio.open_nursery() as inner:
        await inner.start(network.run, b)
        for _ in range(2):
            b.dial_slowly()
        await a.peers.wait_for("b")
        await trio.sleep(5)  # By then the other link has learnt that it is not needed.
        network.reset("a", "b")
        await trio.sleep(2)
        # The other link is welcome by now, and waits for the hook of the first.
        assert b.statistics().outbound.connecting == 1
        inner.cancel_scope.cancel()
    assert b.hooks == ["on_connected", "on_disconnected"]
    assert b.statistics().ends == {R.CONNECTION_RESET: 1}


async def test_who_has_confirmed_is_heard_by_a_server_that_stood_still(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    a = Server("a")
    network = await start(nursery, a)
    for _ in range(20):
        far = await welcomed(network, "b")
        network.pause("a")
        await far.send([Kind.PING, 1])
        await trio.sleep(60)
        network.resume("a")
        await trio.sleep(0.1)
        assert "b" in a.peers
        await far.stream.aclose()
        await trio.sleep(0.1)
