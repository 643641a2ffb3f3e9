"""Calls after the end or from elsewhere, and what comes out of blocks and calls."""

import gc
import threading
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from contextvars import ContextVar
from functools import partial

import pytest
import trio
import trio.testing

from tests.hostile import frame
from tests.peers import Acceptor, Dialler, Echo, Note, Wait, linked, start_server
from tests.steps import Far, World, waiting
from tests.streams import FickleStream, reset_error
from tests.test_faults_cancel import Crowd
from trio_s2s import (
    Application,
    ConnectionFailedError,
    DisconnectReason,
    EventData,
    ListenError,
    OperationRequest,
    PeerClosedError,
    PeerDisconnectedError,
    S2SError,
    handles,
    open_application,
    open_peer,
    open_tcp_peer,
    serve_applications,
    serve_unix,
)
from trio_s2s.codes import Kind
from trio_s2s.runtime import current_runtime
from trio_s2s.testing import seeded

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


# -- after the end, and from elsewhere --


async def test_j14_peer_that_outlives_its_block_takes_no_calls(
    autojump_clock: Clock,
) -> None:
    async with linked(Far, Dialler) as (peer, _):
        await settled()
    with trio.fail_after(0.1):
        with pytest.raises(PeerClosedError, match="closed"):
            await peer.request(Echo("x"))
        with pytest.raises(PeerClosedError, match="closed"):
            await peer.send_event(Note(1))
        with pytest.raises(PeerClosedError, match="closed"):
            peer.send_event_nowait(Note(1))
        with pytest.raises(PeerClosedError, match="closed"):
            await peer.send_operation_request(OperationRequest(1))
        with pytest.raises(PeerClosedError, match="closed"):
            peer.start_soon(trio.sleep_forever)
        await peer.aclose()
        peer.abort()
    assert peer.record == ["connected", "disconnected LOCAL_CLOSE"]


def ask_elsewhere(peer: Dialler, raised: list[BaseException]) -> None:
    """Use a peer from a Trio run that is not its own, and without any."""
    try:
        trio.run(peer.request, Echo("x"))
    except BaseException as error:
        raised.append(error)
    for call in partial(peer.send_event_nowait, Note(1)), peer.abort:
        try:
            call()
        except BaseException as error:
            raised.append(error)


async def test_j15_call_from_another_run_or_thread_is_a_runtime_error() -> None:
    async with linked(Far, Dialler) as (peer, _):
        await settled()
        raised: list[BaseException] = []
        thread = threading.Thread(target=ask_elsewhere, args=(peer, raised))
        thread.start()
        thread.join()
        try:
            assert [type(error) for error in raised] == [RuntimeError] * 3
            assert "belongs to another run of Trio" in str(raised[0])
            with trio.fail_after(0.1):
                assert await peer.request(Echo("still here")) == "still here"
        finally:
            peer.abort()


class Late(Dialler):
    """Asks when it is over."""

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        await super().on_disconnected(reason, detail)
        began = trio.current_time()
        try:
            await self.request(Echo("x"))
        except S2SError as error:
            self.record.append(type(error).__name__)
        assert trio.current_time() == began


async def test_j16_request_in_on_disconnected_is_an_error_at_once(
    autojump_clock: Clock,
) -> None:
    async with linked(Far, Late) as (peer, _):
        await settled()
    assert peer.record[2:] == ["PeerClosedError"]
    async with linked(Far, Late) as (peer, server):
        await settled()
        server.peer.abort()
        await peer.ended.wait()
    assert peer.record[2:] == ["PeerDisconnectedError"]


async def test_j17_on_failed_may_connect_elsewhere(autojump_clock: Clock) -> None:
    world = World()
    current_runtime.set(world)
    answers: list[str] = []

    class Other(Dialler):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            await super().on_failed(error)
            async with open_tcp_peer("localhost", 1, Dialler) as peer:
                answers.append(await peer.request(Echo("here instead")))

    peer = Other()
    async with open_application(Crowd()):
        with pytest.raises(ConnectionFailedError):
            async with open_tcp_peer("localhost", 9, lambda: peer):
                raise AssertionError("not reached")
    assert peer.record == ["failed REFUSED"]
    assert answers == ["here instead"]


async def test_j17_attempts_of_a_link_do_not_pile_up(autojump_clock: Clock) -> None:
    current_runtime.set(World())
    depths: list[int] = []

    class Deep(Dialler):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            depths.append(len(traceback.extract_stack()))
            with suppress(ConnectionFailedError):
                async with open_tcp_peer("localhost", 8):
                    raise AssertionError("not reached")

    async with open_application(Application("Client")) as client:
        client.connect_tcp("localhost", 9, Deep)
        await trio.sleep(100)
    assert len(depths) > 20
    assert len(set(depths)) == 1


# -- what is left open --


async def test_j18_block_that_is_never_entered_leaves_nothing(
    recwarn: pytest.WarningsRecorder,
) -> None:
    near, far = trio.testing.memory_stream_pair()
    open_peer(near, Dialler)
    open_tcp_peer("127.0.0.1", 4520)
    open_application(Application("Never"))
    gc.collect()
    assert list(recwarn) == []
    await near.send_all(b"x")  # The stream is its caller's still.
    assert await far.receive_some() == b"x"


async def test_j18_generator_that_holds_a_peer_closes_it(
    autojump_clock: Clock,
) -> None:
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, Far)
        peer = Dialler()

        async def answers() -> AsyncGenerator[str]:
            async with open_peer(server.listener.dial(), lambda: peer):
                while True:
                    yield await peer.request(Echo("x"))  # noqa: ASYNC119  it is closed

        async with aclosing(answers()) as gone_through:
            async for answer in gone_through:
                assert answer == "x"
                break
        gc.collect()
        assert peer.record == ["connected", "disconnected LOCAL_CLOSE"]
        nursery.cancel_scope.cancel()


class Suicidal(Far):
    """Closes itself wherever it is."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        await self.aclose()
        return operation.text


async def test_j19_closing_is_idempotent_from_everywhere(
    autojump_clock: Clock,
) -> None:
    async with linked(Suicidal, Dialler) as (peer, server):
        await settled()
        with trio.fail_after(1):
            assert await peer.request(Echo("the answer is sent")) == (
                "the answer is sent"
            )
            await peer.ended.wait()
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(peer.aclose)
                    nursery.start_soon(server.peer.aclose)
            await peer.aclose()
    assert peer.record == ["connected", "disconnected REMOTE_CLOSE"]
    assert server.peer.record == ["connected", "disconnected LOCAL_CLOSE"]


async def test_j19_two_tasks_close_one_peer(autojump_clock: Clock) -> None:
    async with linked(Far, Dialler) as (peer, server):
        await settled()
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.aclose)
                nursery.start_soon(peer.disconnect)
                nursery.start_soon(server.peer.aclose)
        assert len(peer.record) == len(server.peer.record) == 2


async def test_j20_listener_that_cannot_start_raises_to_its_starter() -> None:
    hooks: list[str] = []

    class Noted(Application):
        async def setup(self) -> None:
            hooks.append(f"setup {self.name}")

        async def tear_down(self) -> None:
            hooks.append(f"tear_down {self.name}")

    [other] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with other, trio.open_nursery() as nursery:
        port = other.socket.getsockname()[1]
        with pytest.raises(ListenError, match="it is in use"):
            await nursery.start(serve_applications, [Noted("A"), Noted("B")], port)
        with pytest.raises(ListenError, match="its folder does not exist"):
            await nursery.start(serve_unix, Acceptor, "/nowhere/at/all")
        assert not nursery.child_tasks
    assert hooks == ["setup A", "setup B", "tear_down B", "tear_down A"]


# -- what comes out --


async def test_j21_lone_errors_come_out_of_blocks_and_calls_as_they_are(
    autojump_clock: Clock,
) -> None:
    current_runtime.set(World())
    with pytest.raises(ConnectionFailedError) as failed:
        async with open_tcp_peer("localhost", 9):
            raise AssertionError("not reached")
    assert type(failed.value) is ConnectionFailedError
    async with linked(Far, Dialler) as (peer, server):
        await settled()
        async with waiting(peer) as told:
            server.peer.abort()
            await peer.ended.wait()
        assert type(told["error"]) is PeerDisconnectedError
        with pytest.raises(PeerDisconnectedError):
            await peer.request(Echo("x"))

    async def lose_in_a_block() -> None:
        async with open_peer(server.listener.dial(), Dialler) as peer:
            server.peer.abort()
            await peer.request(Wait())

    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, Far)
        with pytest.raises(PeerDisconnectedError) as out:
            await lose_in_a_block()
        assert type(out.value) is PeerDisconnectedError
        nursery.cancel_scope.cancel()


number: ContextVar[str] = ContextVar("number", default="none")


class Contextual(Acceptor):
    """Answers what the request before has left in its context."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        before = number.get()
        number.set(operation.text)
        await trio.lowlevel.checkpoint()
        return f"{before} {number.get()}"

    @handles(Note)
    async def note(self, event: Note) -> None:
        self.record.append(number.get())
        number.set("an event's")


async def test_j22_each_handler_has_a_context_of_its_own(
    autojump_clock: Clock,
) -> None:
    number.set("the server's")
    answers: list[str] = []

    async def ask(text: str) -> None:
        answers.append(await peer.request(Echo(text)))

    async with linked(Contextual, Dialler) as (peer, server):
        number.set("the caller's")
        async with trio.open_nursery() as nursery:
            for text in "abc":
                nursery.start_soon(ask, text)
        await peer.send_event(Note(1))
        await peer.send_event(Note(2))
        await settled()
        assert sorted(answers) == [f"the server's {text}" for text in "abc"]
        assert server.peer.record[1:] == ["the server's"] * 2


async def test_j23_shielded_call_ends_with_its_link(autojump_clock: Clock) -> None:
    async with linked(Far, Dialler) as (peer, server):
        await settled()
        began = trio.current_time()

        async def lose() -> None:
            await trio.sleep(1)
            server.peer.abort()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            with (
                trio.move_on_after(0.5),
                trio.CancelScope(shield=True),
                pytest.raises(PeerDisconnectedError),
            ):
                await peer.request(Wait())
        assert trio.current_time() - began == pytest.approx(1)


@pytest.mark.parametrize("seed", range(8))
def test_j24_reader_and_writer_that_fail_together_have_one_reason(seed: int) -> None:
    async def fail_at_once() -> None:
        async with trio.open_nursery() as nursery:
            server = await start_server(nursery, Far)
            fickle = FickleStream(server.listener.dial())
            async with open_peer(fickle, Dialler) as peer, waiting(peer) as told:
                fickle.block()
                await peer.send_event(EventData(1))
                await settled()
                fickle.send_error = trio.BrokenResourceError("cannot write")
                fickle.receive_error = reset_error()
                # Both wake up in the same step; which comes first, is for the seed.
                fickle.may_send.set()
                nursery.start_soon(server.far.send_all, frame([Kind.PING, 1]))
                await peer.ended.wait()
            # What was read tells more than that nothing could be written.
            assert peer.reason is DisconnectReason.CONNECTION_RESET
            assert "cannot write" not in peer.detail
            assert told["error"].reason is peer.reason
            assert len(peer.record) == 2
            nursery.cancel_scope.cancel()

    with seeded(seed):
        trio.run(fail_at_once, clock=trio.testing.MockClock(autojump_threshold=0))
