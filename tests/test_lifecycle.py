"""The life of one peer: connected, at work, disconnected, whatever goes wrong."""

import re
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import (
    Acceptor,
    CancelAtStep,
    Dialler,
    Echo,
    Note,
    Wait,
    cancel_at_every_step,
    linked,
    start_server,
)
from trio_s2s import (
    DisconnectReason,
    Event,
    InboundPeer,
    Operation,
    OutboundPeer,
    PeerClosedError,
    PeerConfig,
    PeerDisconnectedError,
    S2SError,
    handles,
    open_peer,
    serve_peers,
)
from trio_s2s.bounded import run_last_hook
from trio_s2s.tasktree import task_tree

Clock = trio.testing.MockClock


class Worker(Acceptor):
    """Answers what the tests ask."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        await trio.lowlevel.checkpoint()
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)

    @handles(Note)
    async def note(self, event: Note) -> None:
        await trio.lowlevel.checkpoint()
        self.record.append(f"note {event.number}")


# -- the tasks --


def shape_of(tree: str) -> list[str]:
    """Give the tasks of a drawing without the places where they wait."""
    return [re.split(r"(?<=\S)  ", line)[0] for line in tree.splitlines()]


PEER = ["  inbound peer", "    keep-alive", "    reader", "    writer"]


async def test_tasks_of_a_server_are_as_drawn(autojump_clock: Clock) -> None:
    """serve_peers, its listener, one task a peer, and three below each of them."""
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, Worker)
        async with (
            open_peer(server.listener.dial(), Dialler) as one,
            open_peer(server.listener.dial(), Dialler) as two,
            open_peer(server.listener.dial(), Dialler) as three,
        ):
            [serve] = nursery.child_tasks
            await trio.testing.wait_all_tasks_blocked()
            name, listener, *below = shape_of(task_tree(serve))
            assert name.endswith("serve")
            assert listener == "  listener MemoryListener"
            assert below == [f"  {line}" for line in PEER] * 3

            server.peers[1].abort()
            await two.ended.wait()
            await server.peers[1].ended.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert shape_of(task_tree(serve))[2:] == [f"  {line}" for line in PEER] * 2
            assert await one.request(Echo("a")) == await three.request(Echo("a"))
        nursery.cancel_scope.cancel()
    assert [len(peer.record) for peer in server.peers] == [2, 2, 2]


async def test_cancelling_one_peers_task_ends_that_peer_alone(
    autojump_clock: Clock,
) -> None:
    """Each handler nursery, and its scope, has one of the two peers."""
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, Worker)
        async with open_peer(server.listener.dial(), Dialler) as good:
            async with trio.open_nursery() as inner:
                other = await start_server(inner, Worker)

                async def dial() -> None:
                    async with open_peer(other.listener.dial(), Dialler) as peer:
                        ended.append(peer)
                        await peer.ended.wait()

                ended: list[Dialler] = []
                nursery.start_soon(dial)
                await trio.testing.wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
            assert other.peer.record == ["connected", "disconnected LOCAL_CLOSE"]
            await ended[0].ended.wait()
            assert ended[0].record == ["connected", "disconnected REMOTE_CLOSE"]
            assert await good.request(Echo("alive")) == "alive"
        nursery.cancel_scope.cancel()


# -- cancellation at every step --


def check_hooks(record: list[str]) -> None:
    """See that `connected` is followed by exactly one `disconnected`."""
    hooks = [line.split()[0] for line in record if not line.startswith("note")]
    if hooks[:1] == ["failed"]:
        assert hooks == ["failed"]
    else:
        assert hooks in ([], ["connected", "disconnected"]), record


class Talker(Dialler):
    """Asks in `on_connected`, and says when that was cut off."""

    async def on_connected(self) -> None:
        self.record.append("connected")
        await self.request(Echo("hello"))


async def talk(peer: Talker) -> None:
    await peer.request(Echo("hi"))
    await peer.send_event(Note(1))


def test_cancel_at_every_step_of_a_life_leaves_nothing() -> None:
    async def scenario(cancel: CancelAtStep) -> None:
        peer = Talker()
        async with trio.open_nursery() as nursery:
            server = await start_server(nursery, Worker)
            await trio.testing.wait_all_tasks_blocked()
            before = task_tree(trio.lowlevel.current_task())
            with cancel.block():
                async with open_peer(server.listener.dial(), lambda: peer):
                    await talk(peer)
            await trio.sleep(60)
            assert task_tree(trio.lowlevel.current_task()) == before
            async with open_peer(server.listener.dial()) as next_one:
                assert await next_one.request(Echo("alive")) == "alive"
            nursery.cancel_scope.cancel()
        for each in (peer, *server.peers):
            check_hooks(each.record)

    steps = cancel_at_every_step(scenario)
    print(f"{steps} steps")
    assert steps > 10


def test_cancel_of_a_server_at_every_step_of_a_life_leaves_nothing() -> None:
    async def scenario(cancel: CancelAtStep) -> None:
        peer = Talker()
        async with trio.open_nursery() as nursery:
            server = await start_server(nursery, Worker)
            [serving] = nursery.child_tasks
            cancel.scope = nursery.cancel_scope
            with trio.CancelScope(shield=True):
                with suppress(S2SError):  # Not connected, lost, or cancelled.
                    async with open_peer(server.listener.dial(), lambda: peer):
                        await talk(peer)
                cancel.scope = None
                await trio.sleep(60)
            if cancel.steps >= cancel.step:
                assert serving not in nursery.child_tasks
            nursery.cancel_scope.cancel()
        for each in (peer, *server.peers):
            check_hooks(each.record)

    steps = cancel_at_every_step(scenario)
    print(f"{steps} steps")
    assert steps > 10


# -- what on_connected does --


async def test_on_connected_that_is_too_slow_comes_out_of_the_block(
    autojump_clock: Clock,
) -> None:
    class Slow(Dialler):
        async def on_connected(self) -> None:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        config = PeerConfig(connected_timeout=2)
        with pytest.raises(PeerDisconnectedError, match="at 'await trio") as caught:
            async with open_peer(server.listener.dial(), Slow, config=config):
                raise AssertionError("not reached")
        assert "2 s (connected_timeout), waiting at" in str(caught.value)
        assert caught.value.reason is DisconnectReason.INTERNAL_ERROR
        assert trio.current_time() == 2
        nursery.cancel_scope.cancel()


class Raises(Dialler):
    async def on_connected(self) -> None:
        raise ValueError("password=hunter2")


class Hangs(Dialler):
    async def on_connected(self) -> None:
        await trio.sleep_forever()


class Unspeakable(Dialler):
    async def on_connected(self) -> None:
        raise UnspeakableError


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("create", "told", "known"),
    [
        (Raises, "on_connected raised", "on_connected raised ValueError: password="),
        (Hangs, "on_connected took more than 30 s (connected_timeout)", "waiting at"),
        (Unspeakable, "on_connected raised", "on_connected raised UnspeakableError"),
    ],
)
async def test_other_side_is_told_which_hook_failed_but_not_why(
    create: type[Dialler], told: str, known: str, autojump_clock: Clock
) -> None:
    peer = create()
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        with pytest.raises((ValueError, UnspeakableError, PeerDisconnectedError)):
            async with open_peer(server.listener.dial(), lambda: peer):
                raise AssertionError("not reached")
        await server.peer.ended.wait()
        nursery.cancel_scope.cancel()
    assert server.peer.detail == f"the other side says: {told}"
    assert known in peer.detail


async def test_link_lost_in_on_connected_does_not_enter_the_block(
    autojump_clock: Clock,
) -> None:
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)

        class Late(Dialler):
            async def on_connected(self) -> None:
                await super().on_connected()
                await server.far.aclose()
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)

        with pytest.raises(PeerDisconnectedError) as caught:
            async with open_peer(server.listener.dial(), Late):
                raise AssertionError("not reached")
        assert caught.value.reason is DisconnectReason.CONNECTION_LOST
        nursery.cancel_scope.cancel()


async def test_on_connected_that_fails_by_the_loss_itself_tells_the_loss(
    autojump_clock: Clock,
) -> None:
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, Worker)

        class Asks(Dialler):
            async def on_connected(self) -> None:
                self.record.append("connected")
                self.start_soon(server.far.aclose)
                await self.request(Wait())

        peer = Asks()
        with pytest.raises(PeerDisconnectedError):
            async with open_peer(server.listener.dial(), lambda: peer):
                raise AssertionError("not reached")
        assert peer.record == ["connected", "disconnected CONNECTION_LOST"]
        nursery.cancel_scope.cancel()


async def test_peer_may_live_but_once(autojump_clock: Clock) -> None:
    peer = Dialler()
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        async with open_peer(server.listener.dial(), lambda: peer):
            pass
        with pytest.raises(TypeError, match="was used before: make a new peer"):
            async with open_peer(server.listener.dial(), lambda: peer):
                raise AssertionError("not reached")
        with pytest.raises(trio.ClosedResourceError):
            await server.near.send_all(b"x")
        nursery.cancel_scope.cancel()


# -- what raises --


async def fail(number: int) -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError(number)


async def test_tasks_that_raise_together_come_out_together(
    autojump_clock: Clock,
) -> None:
    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("second")

    expected = pytest.RaisesGroup(ValueError, KeyError, match="several tasks of one")
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        with expected:
            async with open_peer(server.listener.dial(), Dialler) as peer:
                peer.start_soon(stubborn)
                await trio.testing.wait_all_tasks_blocked()
                peer.start_soon(fail, 1)
                await peer.ended.wait()
        nursery.cancel_scope.cancel()
    assert peer.reason is DisconnectReason.INTERNAL_ERROR
    assert peer.detail.endswith("raised ValueError: 1")


async def test_task_that_raises_at_a_server_is_logged(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(Worker) as (peer, server):
        server.peer.start_soon(fail, 7)
        await peer.ended.wait()
    assert peer.reason is DisconnectReason.REPORTED_BY_PEER
    assert server.peer.reason is DisconnectReason.INTERNAL_ERROR
    assert "fail raised" in caplog.text
    assert "ValueError: 7" in caplog.text


async def test_on_disconnected_that_raises_comes_out_of_the_block(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Dialler):
        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            raise ValueError("in on_disconnected")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="in on_disconn")):
        async with linked(Worker, Fails):
            pass
    assert "on_disconnected raised" not in caplog.text


async def test_last_hook_is_shielded_and_bounded(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await run_last_hook(trio.sleep_forever, "<Dialler>", "on_failed", 3)
    assert trio.current_time() == 3
    assert "on_failed took more than 3 s (hook_timeout)" in caplog.text


# -- the end --


async def test_leaving_drains_for_drain_timeout_at_most(autojump_clock: Clock) -> None:
    async with linked(Worker, config=PeerConfig(drain_timeout=2)) as (peer, _):
        peer.start_soon(peer.request, Wait())
        await trio.testing.wait_all_tasks_blocked()
    assert 2 <= trio.current_time() <= 3
    assert peer.record == ["connected", "disconnected LOCAL_CLOSE"]


async def test_task_that_stays_is_logged_with_its_tree(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def stay() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    async with linked(Worker) as (peer, server):
        peer.start_soon(stay)
        await trio.testing.wait_all_tasks_blocked()
        await server.far.aclose()
        await peer.ended.wait()
        assert trio.current_time() == 5
    assert trio.current_time() == 60
    assert "1 tasks have not ended 5 s after their cancellation" in caplog.text
    assert "stay  test_lifecycle.py:" in caplog.text


async def test_events_before_a_goodbye_are_handled(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    class Slow(Worker):
        @handles(Note)
        async def note(self, event: Note) -> None:
            await trio.sleep(0.1)
            self.record.append(f"note {event.number}")

    server = await start_server(nursery, Slow)
    async with open_peer(server.listener.dial()) as peer:
        for number in range(10):
            await peer.send_event(Note(number))
    await server.peer.ended.wait()
    assert server.peer.record == [
        "connected",
        *(f"note {number}" for number in range(10)),
        "disconnected REMOTE_CLOSE",
    ]


async def test_calls_after_the_block_are_refused(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, _):
        pass
    with pytest.raises(PeerClosedError):
        await peer.request(Echo("late"))


# -- with nothing but trio.testing --


@attrs.frozen
class Add(Operation[int], code=1):
    left: int
    right: int


@attrs.frozen
class Told(Event, code=1):
    text: str


class OneStream(trio.abc.Listener[trio.abc.Stream]):
    """Accepts one stream, then nothing more."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.streams = [stream]

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not self.streams:
            await trio.sleep_forever()
        return self.streams.pop()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_life_of_both_peers_with_trio_testing_only(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    said: list[str] = []

    class Adder(InboundPeer):
        async def on_connected(self) -> None:
            said.append("adder: connected")

        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            said.append(f"adder: {reason.name}")

        @handles(Add)
        async def add(self, operation: Add) -> int:
            await self.send_event(Told("busy"))
            return operation.left + operation.right

    class Asker(OutboundPeer):
        async def on_connected(self) -> None:
            said.append(f"asker: connected, {await self.request(Add(1, 2))}")

        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            said.append(f"asker: {reason.name}")

        @handles(Told)
        def told(self, event: Told) -> None:
            said.append(f"asker: {event.text}")

    near, far = trio.testing.memory_stream_pair()

    async def serve(task_status: trio.TaskStatus[Any]) -> None:
        await serve_peers(Adder, [OneStream(far)], task_status=task_status)

    await nursery.start(serve)
    async with open_peer(near, Asker) as peer:
        assert await peer.request(Add(3, 4)) == 7
        await trio.testing.wait_all_tasks_blocked()
        near.send_stream.send_all_hook = None
        far.send_stream.send_all_hook = None
        with pytest.raises(PeerDisconnectedError) as caught:
            await peer.request(Add(5, 6))
        assert caught.value.reason is DisconnectReason.HEARTBEAT_TIMEOUT
        assert trio.current_time() == pytest.approx(7.5, abs=2.5)
    await trio.sleep(10)
    assert sorted(said) == [
        "adder: HEARTBEAT_TIMEOUT",
        "adder: connected",
        "asker: HEARTBEAT_TIMEOUT",
        "asker: busy",
        "asker: busy",
        "asker: connected, 3",
    ]
    assert said[0] == "adder: connected"


async def test_process_that_stands_still_at_the_end_skips_nothing(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Every limit is over at once, and each step is done all the same."""

    class Slow(Acceptor):
        async def on_connected(self) -> None:
            await super().on_connected()
            self.start_soon(self.stand_still)
            self.start_soon(self.clean_up)

        async def stand_still(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                mock_clock.jump(100)

        async def clean_up(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()

    async with linked(Slow) as (_, server):
        await trio.testing.wait_all_tasks_blocked()
        server.peer.abort()
        await server.peer._session.finished.wait()
        assert server.peer.record == ["connected", "disconnected LOCAL_CLOSE"]
        assert server.peer._session.connection.closed.is_set()
