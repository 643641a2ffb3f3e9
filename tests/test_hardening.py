"""What once went wrong, each as it was found: a bad value, a bad moment, a bad peer."""

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
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
    start_server,
    tls_contexts,
)
from tests.test_promises import Worker
from trio_s2s import (
    ConnectionRejectedError,
    DisconnectReason,
    InboundPeer,
    InitRequest,
    Operation,
    OperationError,
    OperationRequest,
    OperationResponse,
    PeerConfig,
    PeerDisconnectedError,
    ReturnCode,
    SendParameters,
    handles,
    open_peer,
    open_tcp_peer,
    serve_peers,
    serve_tcp,
)
from trio_s2s.codec import pack
from trio_s2s.connection import TURN
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import welcome
from trio_s2s.windows import weigh

Clock = trio.testing.MockClock


# -- the handshake --


async def test_rejection_over_tls_arrives_with_its_code(nursery: trio.Nursery) -> None:
    def refuse(init_request: InitRequest) -> InboundPeer:
        raise ConnectionRejectedError(42, "not today")

    server_context, client_context = tls_contexts()

    async def serve(task_status: trio.TaskStatus[Any]) -> None:
        await serve_tcp(refuse, 0, ssl_context=server_context, task_status=task_status)

    [listener] = await nursery.start(serve)
    _, port = listener.socket.getsockname()
    with pytest.raises(ConnectionRejectedError, match="not today") as caught:
        async with open_tcp_peer("127.0.0.1", port, ssl_context=client_context):
            raise AssertionError("not reached")
    assert caught.value.code == 42


@pytest.mark.parametrize("ends", [True, False])
async def test_frames_that_come_with_welcome_are_read_at_once(
    ends: bool, autojump_clock: Clock
) -> None:
    near, far = trio.testing.memory_stream_pair()
    frame = welcome(Identity(bytes(16)), None, PeerConfig())
    goodbye = encode_frame([pack([12, 7, "full up", 0, True])])
    await far.send_all(frame + goodbye)
    if ends:
        await far.send_eof()
    peer = Dialler()
    with pytest.raises(PeerDisconnectedError, match="full up"):
        async with open_peer(near, lambda: peer):
            await peer.ended.wait()
            await peer.request(Echo("late"))
    assert peer.reason is DisconnectReason.REMOTE_CLOSE
    assert peer.goodbye_code == 7


# -- errors beside cancellations --


async def _clean_up_badly() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the clean-up")


async def test_handler_that_cleans_up_badly_ends_nobody(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Messy(Worker):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            await _clean_up_badly()

    async with linked(Messy) as (peer, server):
        with trio.move_on_after(1):
            await peer.request(Wait())
        assert await peer.request(Echo("alive")) == "alive"
        assert server.peer.reason is None
    assert "ValueError: in the clean-up" in caplog.text
    assert "unexpected error" not in caplog.text


async def test_task_that_cleans_up_badly_at_the_end_is_told(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(Worker) as (peer, server):
        server.peer.start_soon(_clean_up_badly)
        await trio.testing.wait_all_tasks_blocked()
        await peer.disconnect()
        await server.peer.ended.wait()
    assert "ValueError: in the clean-up" in caplog.text
    assert server.peer.record[-1] == "disconnected REMOTE_CLOSE"


async def test_exit_of_a_task_is_not_lost_in_a_cancellation() -> None:
    class Exits(Acceptor):
        async def on_connected(self) -> None:
            self.start_soon(self.leave)

        async def leave(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise SystemExit(3)

    with pytest.raises(BaseExceptionGroup) as caught:
        async with linked(Exits):
            await trio.testing.wait_all_tasks_blocked()
    assert caught.group_contains(SystemExit)


async def test_exit_in_the_last_hook_leaves_nobody_waiting(
    autojump_clock: Clock,
) -> None:
    class Exits(Dialler):
        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            raise SystemExit(3)

    finished: list[bool] = []

    async def close(peer: Dialler) -> None:
        with trio.CancelScope(shield=True):
            await peer.disconnect()
        finished.append(True)

    with pytest.raises(BaseExceptionGroup) as caught:
        async with linked(Worker, Exits) as (peer, _), trio.open_nursery() as nursery:
            nursery.start_soon(close, peer)
            await trio.sleep_forever()
    assert caught.group_contains(SystemExit)
    assert finished == [True]


# -- values of any kind --


@attrs.define(eq=True)
class UnhashableError(Exception):
    """As a dataclass exception is."""

    text: str = ""
    __hash__ = None  # type: ignore[assignment]  # on purpose


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (UnhashableError("x"), ReturnCode.INTERNAL_ERROR),
        (OperationError(5, 123), ReturnCode.RESPONSE_NOT_ENCODABLE),  # type: ignore[arg-type]  # on purpose
        (OperationError(2**70), ReturnCode.RESPONSE_NOT_ENCODABLE),
        (OperationError(True), ReturnCode.RESPONSE_NOT_ENCODABLE),
        (OperationError(5, "\udcff"), 5),
        (OperationError(5, "x", {1}), ReturnCode.RESPONSE_NOT_ENCODABLE),
        (NameError("x"), ReturnCode.INTERNAL_ERROR),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_a_handler_raises_is_an_answer(
    raised: Exception, code: int, is_async: bool
) -> None:
    class Raises(Acceptor):
        if is_async:

            @handles(Echo)
            async def echo(self, operation: Echo) -> str:
                raise raised
        else:

            @handles(Echo)
            def echo(self, operation: Echo) -> str:
                raise raised

    async with linked(Raises) as (peer, server):
        response = await peer.request(OperationRequest(1, {0: "x"}))
        assert response.return_code == code
        assert server.peer.reason is None


@pytest.mark.parametrize(
    "changes",
    [
        {"debug_message": 5},
        {"return_code": -10},
        {"parameters": {0: object()}},
        {"parameters": {None: 1}},
    ],
)
async def test_whatever_a_plain_handler_returns_is_an_answer(
    changes: dict[str, Any],
) -> None:
    class Odd(Acceptor):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse:
            return OperationResponse(request.operation_code, **changes)

    async with linked(Odd) as (peer, _):
        response = await peer.request(OperationRequest(9))
        assert response.return_code == ReturnCode.RESPONSE_NOT_ENCODABLE


@pytest.mark.parametrize("is_async", [True, False])
async def test_contract_that_breaks_while_it_is_read_is_an_answer(
    is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = attrs.evolve(Worker._handlers.operations[1], is_async=is_async)

    def fail(parameters: object) -> None:
        raise NameError("a type is not there")

    contract = attrs.evolve(handler.contract, from_parameters=fail)
    broken = attrs.evolve(handler, contract=contract)
    table = attrs.evolve(Worker._handlers, operations={1: broken})
    monkeypatch.setattr(Worker, "_handlers", table)
    async with linked(Worker) as (peer, _):
        response = await peer.request(OperationRequest(1, {0: "x"}))
        assert response.return_code == ReturnCode.INTERNAL_ERROR


async def test_texts_that_are_no_unicode_do_not_stop_a_goodbye(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        await server.peer.disconnect("bye \udcff")
        await peer.ended.wait()
        assert (peer.reason, peer.detail) == (DisconnectReason.REMOTE_CLOSE, "bye ?")
    assert trio.current_time() == 0


@pytest.mark.parametrize("code", [-1, 2**63, True, 1.5])
async def test_code_of_a_goodbye_is_checked_before_anything_happens(code: Any) -> None:
    async with linked(Worker) as (peer, _):
        with pytest.raises(ValueError, match="code is 0"):
            await peer.disconnect("bye", code=code)
        assert await peer.request(Echo("alive")) == "alive"
        assert peer.goodbye_code is None


@pytest.mark.parametrize("wrong", [True, -1, 2**64, "1"])
def test_codes_and_channels_are_checked_where_they_are_written(wrong: Any) -> None:
    with pytest.raises(ValueError, match="operation_code"):
        OperationRequest(wrong)
    with pytest.raises(ValueError, match="channel"):
        SendParameters(wrong)


async def test_kinds_are_not_mixed_up() -> None:
    async with linked(Worker) as (peer, _):
        with pytest.raises(TypeError, match="request takes an operation"):
            await peer.request(Note(1))
        with pytest.raises(TypeError, match="an event is sent, not Echo"):
            await peer.send_event(Echo("x"))


async def test_factories_are_checked_where_they_are_given(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery)
    with pytest.raises(TypeError, match="pass the class of the peer"):
        async with open_peer(server.listener.dial(), Dialler()):  # type: ignore[call-overload]  # on purpose
            raise AssertionError("not reached")
    with pytest.raises(TypeError, match="Dialler is no InboundPeer"):
        await serve_peers(Dialler, [server.listener])  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="at least one listener"):
        await serve_peers(Acceptor, [])


# -- the end --


async def test_repr_of_the_application_is_not_needed_to_end(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Shy(Acceptor):
        def __repr__(self) -> str:
            raise RuntimeError("not telling")

        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            await super().on_disconnected(reason, detail)
            raise ValueError("logged all the same")

    async with linked(Shy) as (peer, server):
        await peer.disconnect()
        await server.peer.ended.wait()
    assert "logged all the same" in caplog.text


async def test_answers_at_the_end_of_a_drain_are_told_before_on_disconnected(
    autojump_clock: Clock,
) -> None:
    class Photon(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            await trio.sleep(0.5)
            await super().on_operation_response(response, send_parameters)

    class Stuck(Acceptor):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(7)

    async with linked(Stuck, Photon) as (peer, _):
        await peer.send_operation_request(OperationRequest(2))
        await trio.testing.wait_all_tasks_blocked()
        await peer.disconnect()
        assert trio.current_time() < 7
    assert peer.record == [
        "connected",
        "response -10",
        "disconnected LOCAL_CLOSE",
    ]


async def test_what_comes_after_the_drain_is_not_handled(
    autojump_clock: Clock,
) -> None:
    class Slow(Worker):
        async def on_connected(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(2)
                self.record.append("connected ends")

    async with linked(Slow) as (peer, server):
        await peer.send_event(Note(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_code_of, lambda: peer.request(OperationRequest(1)))
            await trio.testing.wait_all_tasks_blocked()
            await server.peer.disconnect()
    assert server.peer.record == ["connected ends", "disconnected LOCAL_CLOSE"]


async def _code_of(call: Callable[[], Awaitable[OperationResponse]]) -> None:
    try:
        response = await call()
    except PeerDisconnectedError:
        return
    assert response.return_code == ReturnCode.SHUTTING_DOWN


async def test_one_frame_does_not_hold_up_the_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with linked(Worker) as (_, server):
        await trio.testing.wait_all_tasks_blocked()
        many = 5 * TURN // weigh(2)
        frame = encode_frame([pack([99])] * many)
        await server.near.send_stream.send_all(frame)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            while server.peer.statistics().glitches < many:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert turns >= 4


async def test_closed_dispatcher_drops_what_still_comes() -> None:
    async with linked(Worker) as (peer, server):
        dispatcher = server.peer._session.responded.__self__
        dispatcher.close()
        await peer.send_event(Note(1))
        response = await peer.request(OperationRequest(1, {0: "x"}))
        assert response.return_code == ReturnCode.SHUTTING_DOWN
        assert server.peer.record == ["connected"]


# -- what an attack has found --


async def test_validator_that_quotes_bytes_is_an_answer() -> None:
    def refuse(_: object, __: object, value: bytes) -> None:
        raise ValueError("no such file: " + os.fsdecode(value))

    @attrs.frozen
    class Open(Operation[None], code=5):
        path: bytes = attrs.field(validator=refuse)

    class Files(Acceptor):
        @handles(Open)
        async def open(self, operation: Open) -> None:
            raise AssertionError("not reached")

    async with linked(Files) as (peer, server):
        response = await peer.request(OperationRequest(5, {0: b"\xff"}))
        assert response.return_code == ReturnCode.OPERATION_INVALID
        assert "no such file: ?" in str(response.parameters)
        assert server.peer.reason is None


async def test_short_visit_is_handled_to_its_end(autojump_clock: Clock) -> None:
    class Slow(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(1)

    async with linked(Slow) as (peer, server):
        await peer.send_event(Note(1))
        await peer.disconnect()
        await server.peer.ended.wait()
        assert trio.current_time() == 1
    assert server.peer.record == ["note 1", "disconnected REMOTE_CLOSE"]


async def test_on_connected_that_raises_after_a_short_visit_runs_no_handlers(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The simulator found it with seed 1097: such a connection was over already."""

    class Raises(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(1)
            raise ValueError("too late")

    async with linked(Raises) as (peer, server):
        await peer.send_event(Note(1))
        await peer.disconnect()
        await server.peer.ended.wait()
    assert server.peer.record == ["disconnected REMOTE_CLOSE"]
    assert "on_connected raised" in caplog.text


async def test_goodbye_fits_into_the_smallest_frame(autojump_clock: Clock) -> None:
    small = PeerConfig(max_frame=1024)
    async with linked(Worker, server_config=small) as (peer, server):
        await peer.disconnect("x" * 1500)
        await server.peer.ended.wait()
    assert trio.current_time() == 0
    assert server.peer.detail == "x" * (960 - 3) + "…"


async def test_texts_of_the_other_side_cannot_forge_a_log() -> None:
    class Forges(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            raise OperationError(5, "no\nERROR forged\x1b[31m")

    async with linked(Forges) as (peer, server):
        with pytest.raises(OperationError) as caught:
            await peer.request(Echo("x"))
        assert str(caught.value).endswith(r"no\nERROR forged\x1b[31m")
        assert caught.value.debug_message == "no\nERROR forged\x1b[31m"
        await server.peer.disconnect("bye\nERROR forged")
        await peer.ended.wait()
        assert peer.detail == r"bye\nERROR forged"
