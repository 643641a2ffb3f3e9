"""What docs and docstrings promise, by number: each is seen to hold from outside."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import (
    Acceptor,
    Dialler,
    Echo,
    Note,
    Wait,
    linked,
    silence,
    start_server,
)
from trio_s2s import (
    ConnectionFailedError,
    ConnectionRejectedError,
    DisconnectReason,
    FailureReason,
    InitRequest,
    LocalProtocolError,
    OperationError,
    OperationRequest,
    PeerClosedError,
    PeerConfig,
    PeerDisconnectedError,
    ReturnCode,
    handles,
    open_peer,
)

Clock = trio.testing.MockClock


class Worker(Acceptor):
    """Answers what the tests ask."""

    def __init__(self, init_request: InitRequest) -> None:
        super().__init__(init_request)
        self.cancelled = trio.Event()

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        self.record.append(f"echo {operation.text}")
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        self.record.append("wait begins")
        try:
            await trio.sleep(operation.seconds)
        finally:
            self.record.append("wait ends")

    @handles(Note)
    async def note(self, event: Note) -> None:
        await trio.lowlevel.checkpoint()
        self.record.append(f"note {event.number}")


# -- 1: either failed, or connected and disconnected --


async def test_promise_1_connected_then_disconnected_once_each(
    autojump_clock: Clock,
) -> None:
    async with linked() as (peer, server):
        pass
    await server.peer.ended.wait()
    assert peer.record == ["connected", "disconnected LOCAL_CLOSE"]
    assert server.peer.record == ["connected", "disconnected REMOTE_CLOSE"]


async def test_promise_1_failed_once_and_nothing_else(nursery: trio.Nursery) -> None:
    def refuse(init_request: InitRequest) -> Acceptor:
        raise ConnectionRejectedError(7, "full")

    server = await start_server(nursery, refuse)
    peer = Dialler()
    with pytest.raises(ConnectionRejectedError, match="full") as caught:
        async with open_peer(server.listener.dial(), lambda: peer):
            raise AssertionError("not reached")
    assert caught.value.code == 7
    assert caught.value.reason is FailureReason.REJECTED
    assert peer.record == ["failed REJECTED"]


@pytest.mark.parametrize("how", ["raises", "is cancelled", "loses its link"])
async def test_promise_1_disconnected_runs_also_if_connected_did_not_finish(
    how: str, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery)

    class Fails(Dialler):
        async def on_connected(self) -> None:
            self.record.append("connected")
            if how == "raises":
                raise KeyError("on purpose")
            if how == "loses its link":
                await server.far.aclose()
            await trio.sleep_forever()

    peer = Fails()
    with pytest.raises((KeyError, PeerDisconnectedError, trio.TooSlowError)) as caught:
        with trio.fail_after(3):
            async with open_peer(server.listener.dial(), lambda: peer):
                raise AssertionError("not reached")
    reason, error = {
        "raises": ("INTERNAL_ERROR", KeyError),
        "is cancelled": ("LOCAL_CLOSE", trio.TooSlowError),
        "loses its link": ("CONNECTION_LOST", PeerDisconnectedError),
    }[how]
    assert caught.type is error
    assert peer.record == ["connected", f"disconnected {reason}"]


async def test_promise_1_a_cancelled_connect_runs_no_hook(
    autojump_clock: Clock,
) -> None:
    near, far = trio.testing.memory_stream_pair()
    peer = Dialler()
    with trio.move_on_after(1):
        async with open_peer(near, lambda: peer):
            raise AssertionError("not reached")
    assert peer.record == []
    assert (await far.receive_some())[:4] != b""
    assert await far.receive_some() == b""


# -- 2: on_connected comes before all handlers --


async def test_promise_2_handlers_wait_for_on_connected(autojump_clock: Clock) -> None:
    class Slow(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(5)
            await super().on_connected()

    async with linked(Slow) as (peer, server):
        await peer.send_event(Note(1))
        assert await peer.request(Echo("hi")) == "hi"
        assert trio.current_time() == 5
        await trio.testing.wait_all_tasks_blocked()
    assert server.peer.record[0] == "connected"
    assert sorted(server.peer.record[1:3]) == ["echo hi", "note 1"]


async def test_promise_2_the_dialler_may_ask_in_on_connected() -> None:
    class Asks(Dialler):
        async def on_connected(self) -> None:
            self.record.append(await self.request(Echo("asked")))

    async with linked(Worker, Asks) as (peer, _):
        assert peer.record == ["asked"]


async def test_promise_2_the_acceptor_may_not_ask_in_on_connected() -> None:
    class Asks(Acceptor):
        async def on_connected(self) -> None:
            with pytest.raises(LocalProtocolError, match="ask from start_soon"):
                await self.request(Echo("x"))
            self.start_soon(self.ask)

        async def ask(self) -> None:
            self.record.append(await self.request(Echo("later")))

    class Answers(Dialler):
        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            return operation.text

    async with linked(Asks, Answers) as (_, server):
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record == ["later"]


async def test_promise_2_on_connected_has_connected_timeout(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Acceptor):
        async def on_connected(self) -> None:
            await trio.sleep_forever()  # the culprit

    async with linked(Stuck) as (peer, server):
        await peer.ended.wait()
        assert trio.current_time() == 30
        assert peer.reason is DisconnectReason.REPORTED_BY_PEER
        await server.peer.ended.wait()
    assert server.peer.reason is DisconnectReason.INTERNAL_ERROR
    assert "the culprit" in server.peer.detail
    assert "30 s (connected_timeout)" in caplog.text


# -- 3: hooks do not overlap, and may ask --


async def test_promise_3_hooks_of_one_peer_never_overlap(autojump_clock: Clock) -> None:
    class Slow(Dialler):
        async def on_connected(self) -> None:
            self.record.append("connected begins")
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(2)
                self.record.append("connected ends")

    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        peer = Slow()
        with trio.move_on_after(0.5):
            async with open_peer(server.listener.dial(), lambda: peer):
                raise AssertionError("not reached")
        nursery.cancel_scope.cancel()
    assert peer.record == [
        "connected begins",
        "connected ends",
        "disconnected LOCAL_CLOSE",
    ]


async def test_promise_3_on_disconnected_cannot_ask() -> None:
    class Asks(Dialler):
        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            with pytest.raises(PeerClosedError):
                await self.request(Echo("x"))
            with pytest.raises(PeerClosedError):
                await self.send_event(Note(1))
            with pytest.raises(PeerClosedError):
                self.start_soon(trio.sleep, 1)
            self.record.append("all refused")

    async with linked(Worker, Asks) as (peer, _):
        pass
    assert peer.record == ["connected", "all refused"]


# -- 4: at the end --


async def test_promise_4_handlers_and_tasks_are_cancelled_before_on_disconnected(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        peer.start_soon(_note_end, peer.record)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_lost, lambda: peer.request(Wait()))
            await trio.testing.wait_all_tasks_blocked()
            server.peer.start_soon(_note_end, server.peer.record)
            await trio.testing.wait_all_tasks_blocked()
            await server.far.aclose()
        await peer.ended.wait()
        await server.peer.ended.wait()
    assert peer.record == ["connected", "task ends", "disconnected CONNECTION_LOST"]
    assert sorted(server.peer.record[2:4]) == ["task ends", "wait ends"]
    assert server.peer.record[4] == "disconnected CONNECTION_LOST"


async def test_promise_4_events_not_begun_are_dropped_after_a_loss(
    autojump_clock: Clock,
) -> None:
    class Slow(Worker):
        @handles(Note)
        async def note(self, event: Note) -> None:
            self.record.append(f"note {event.number}")
            await trio.sleep(10)

    async with linked(Slow) as (peer, server):
        for number in range(3):
            await peer.send_event(Note(number))
        await trio.testing.wait_all_tasks_blocked()
        peer.abort()
        await server.peer.ended.wait()
    assert server.peer.record == [
        "connected",
        "note 0",
        "disconnected CONNECTION_LOST",
    ]


@pytest.mark.parametrize("leave", ["the block", "by cancellation", "after a loss"])
async def test_promise_4_on_disconnected_is_shielded_and_bounded(
    leave: str, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Dialler):
        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            self.record.append("begins")
            try:
                await trio.sleep_forever()
            finally:
                self.record.append(f"cut at {trio.current_time():g}")

    with trio.move_on_after(1):
        async with linked(Acceptor, Stuck) as (peer, server):
            if leave == "by cancellation":
                await trio.sleep_forever()
            await trio.sleep(1 - 1e-9)
            if leave == "after a loss":
                await server.far.aclose()
                await trio.testing.wait_all_tasks_blocked()
    assert peer.record == ["connected", "begins", "cut at 6"]
    assert "on_disconnected took more than 5 s (hook_timeout)" in caplog.text


async def test_promise_4_on_failed_is_shielded_and_bounded(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Dialler):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            self.record.append("begins")
            try:
                await trio.sleep_forever()
            finally:
                self.record.append(f"cut at {trio.current_time():g}")

    near, far = trio.testing.memory_stream_pair()
    await far.aclose()
    peer = Stuck()
    with trio.move_on_after(1), pytest.raises(ConnectionFailedError) as caught:
        async with open_peer(near, lambda: peer):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.CLOSED_DURING_HANDSHAKE
    assert peer.record == ["begins", "cut at 5"]
    assert "on_failed took more than 5 s (hook_timeout)" in caplog.text


async def test_promise_4_a_task_that_stays_is_logged_and_waits_for_no_hook(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def stays() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    async with linked() as (peer, server):
        server.peer.start_soon(stays)
        await trio.testing.wait_all_tasks_blocked()
        await peer.disconnect()
        await server.peer.ended.wait()
        assert trio.current_time() == 5
        assert "1 tasks have not ended 5 s after" in caplog.text
        assert "stays" in caplog.text
    assert trio.current_time() == 20


async def test_promise_4_leaving_takes_no_longer_than_it_says(
    autojump_clock: Clock,
) -> None:
    class Slow(Dialler):
        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            await trio.sleep_forever()

        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(9.5)

    async with linked(Worker, Slow) as (_, server):
        server.peer.start_soon(_expect_lost, lambda: server.peer.request(Wait()))
        await trio.testing.wait_all_tasks_blocked()
        silence(server.far)
        peer_left = trio.current_time()
    assert trio.current_time() - peer_left <= 5 + 2 * 5 + 1


# -- 5: the first reason wins --


async def test_promise_5_everybody_sees_the_first_reason(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, server):
        errors: list[PeerDisconnectedError] = []

        async def ask() -> None:
            with pytest.raises(PeerDisconnectedError) as caught:
                await peer.request(Wait())
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await server.far.aclose()
        peer.abort()
        await peer.disconnect("a later reason")
        await ask_late(peer, errors)
    seen = {(error.reason, error.detail) for error in errors}
    assert seen == {(peer.reason, peer.detail)}
    assert peer.reason is DisconnectReason.CONNECTION_LOST
    assert len(errors) == 4


async def ask_late(peer: Dialler, errors: list[PeerDisconnectedError]) -> None:
    with pytest.raises(PeerDisconnectedError) as caught:
        await peer.request(Echo("late"))
    errors.append(caught.value)


# -- 6: what raises --


async def test_promise_6_a_hook_that_raises_ends_that_one_peer_only(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    class Moody(Worker):
        async def on_connected(self) -> None:
            if self.init_request.init_object == "bad":
                raise ValueError("moody")

    server = await start_server(nursery, Moody)
    async with open_peer(server.listener.dial()) as good:
        dialled = server.listener.dial()
        async with open_peer(dialled, Dialler, init_object="bad") as bad:
            await bad.ended.wait()
            assert bad.reason is DisconnectReason.REPORTED_BY_PEER
            assert bad.detail.endswith("says: on_connected raised")  # But not what.
        assert await good.request(Echo("alive")) == "alive"
    assert server.peers[1].reason is DisconnectReason.INTERNAL_ERROR
    assert "ValueError: moody" in caplog.text


async def test_promise_6_a_task_that_raises_in_a_block_comes_out_of_the_block(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    async def fails() -> None:
        raise ValueError("on purpose")

    server = await start_server(nursery, Worker)
    peer = Dialler()
    with pytest.raises(ValueError, match="on purpose"):
        async with open_peer(server.listener.dial(), lambda: peer):
            peer.start_soon(fails)
            await trio.sleep_forever()
    assert peer.reason is DisconnectReason.INTERNAL_ERROR
    assert (await _reason(server.peer)) is DisconnectReason.REPORTED_BY_PEER


async def _reason(peer: Acceptor) -> DisconnectReason | None:
    await peer.ended.wait()
    return peer.reason


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ValueError("secret"), -1),
        (ExceptionGroup("several", [ValueError("secret")]), -1),
        (OperationError(5, "no"), 5),
        (OperationError(-2, "no"), -2),
        (OperationError(-3, "no"), -3),
        (OperationError(-4, "no"), -1),
        (OperationError(-7, "no"), -1),
    ],
)
async def test_promise_6_a_handler_that_raises_answers_its_caller(
    raised: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            raise raised

    async with linked(Fails) as (peer, _):
        with pytest.raises(OperationError) as caught:
            await peer.request(Echo("x"))
        assert caught.value.return_code == code
        assert "secret" not in str(caught.value)
        assert ("raised" in caplog.text) == (code == -1)
        await peer.request(OperationRequest(9))


async def test_promise_6_an_error_from_elsewhere_is_not_passed_on() -> None:
    class Asks(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            return await self.request(Echo(operation.text))

    class Denies(Dialler):
        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            raise OperationError(5, "denied")

    async with linked(Asks, Denies) as (peer, _):
        with pytest.raises(OperationError) as caught:
            await peer.request(Echo("x"))
    assert caught.value.return_code == ReturnCode.INTERNAL_ERROR


async def test_promise_6_the_text_is_exposed_where_asked_for() -> None:
    class Fails(Acceptor):
        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            raise ValueError("open secret")

    config = PeerConfig(expose_errors=True)
    async with linked(Fails, server_config=config) as (peer, _):
        with pytest.raises(OperationError, match="ValueError: open secret"):
            await peer.request(Echo("x"))


async def test_promise_6_the_end_itself_is_no_error_of_a_task(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "trio_s2s")

    async def asks(peer: Any) -> None:
        await peer.request(Wait())

    async def asks_in_a_nursery(peer: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.request, Wait())
            nursery.start_soon(peer.request, Wait())

    async with linked(Worker) as (peer, server):
        peer.start_soon(asks, peer)
        peer.start_soon(asks_in_a_nursery, peer)
        await trio.testing.wait_all_tasks_blocked()
        await server.far.aclose()
        await peer.ended.wait()
    assert peer.reason is DisconnectReason.CONNECTION_LOST
    assert caplog.text == ""


@pytest.mark.parametrize("where", ["handler", "event", "task"])
async def test_promise_6_disconnect_from_within_starts_the_end_and_returns(
    where: str, autojump_clock: Clock
) -> None:
    class Leaves(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            await self.leave()
            return "left"

        @handles(Note)
        async def note(self, event: Note) -> None:
            await self.leave()

        async def leave(self) -> None:
            await self.disconnect("enough", code=3)
            await self.disconnect("again")
            self.record.append("returned")

    async with linked(Leaves) as (peer, server):
        if where == "handler":
            assert await peer.request(Echo("x")) == "left"
        elif where == "event":
            await peer.send_event(Note(1))
        else:
            server.peer.start_soon(server.peer.leave)
        await peer.ended.wait()
        await server.peer.ended.wait()
        with pytest.raises(PeerDisconnectedError) as caught:
            await peer.request(Echo("late"))
    assert caught.value.code == 3
    assert (peer.reason, peer.detail) == (DisconnectReason.REMOTE_CLOSE, "enough")
    assert server.peer.record[1:] == ["returned", "disconnected LOCAL_CLOSE"]


# -- 7: connected means that WELCOME has arrived --


async def test_promise_7_not_connected_before_welcome(autojump_clock: Clock) -> None:
    near, far = trio.testing.memory_stream_pair()
    peer = Dialler()
    with pytest.raises(
        ConnectionFailedError, match="no S2S welcome within 5 s"
    ) as caught:
        async with open_peer(near, lambda: peer):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.HANDSHAKE_TIMEOUT
    assert peer.record == ["failed HANDSHAKE_TIMEOUT"]
    await far.aclose()


# -- helpers --


async def _note_end(record: list[str]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        record.append("task ends")


async def _expect_lost(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(PeerDisconnectedError):
        await call()
