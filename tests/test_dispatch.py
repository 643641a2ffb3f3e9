"""From messages to handlers: who is called, in what order, and what becomes of it."""

import logging
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import Acceptor, Dialler, Echo, Note, Wait, linked
from trio_s2s import (
    EventData,
    InboundPeer,
    Operation,
    OperationError,
    OperationRequest,
    OperationResponse,
    Outcome,
    PeerConfig,
    PeerDisconnectedError,
    ReturnCode,
    SendParameters,
    handles,
)
from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.framing import encode_frame

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture

place: ContextVar[str] = ContextVar("place", default="clean")


@attrs.frozen
class Twice(Operation[int], code=3):
    """Has no attributes."""


class Worker(Acceptor):
    """Handlers of every sort."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        self.record.append(f"echo {operation.text}")
        await trio.lowlevel.checkpoint()
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        try:
            await trio.sleep(operation.seconds)
        finally:
            self.record.append("wait ends")

    @handles(Twice)
    def twice(self, operation: Twice) -> int:
        seen, _ = place.get(), place.set("used")
        self.record.append(seen)
        return 2

    @handles(Note)
    async def note(self, event: Note) -> None:
        self.record.append(f"note {event.number} begins")
        await trio.sleep(event.number / 10)
        self.record.append(f"note {event.number} ends")


async def code_of(peer: Any, operation: Operation[Any]) -> int:
    """Give the return code of an answer that is an error."""
    with pytest.raises(OperationError) as caught:
        await peer.request(operation)
    return caught.value.return_code


# -- requests --


async def test_requests_run_side_by_side(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, _):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(peer.request, Wait(1))
        assert trio.current_time() == 1


async def test_plain_def_handler_runs_in_a_clean_context() -> None:
    async with linked(Worker) as (peer, server):
        assert [await peer.request(Twice()) for _ in range(2)] == [2, 2]
        assert server.peer.record[1:] == ["clean", "clean"]


async def test_operation_without_a_handler_goes_to_on_operation_request() -> None:
    class Plain(Acceptor):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse | None:
            self.record.append(f"{request} on {send_parameters.channel}")
            return request.respond({0: 1}) if request.operation_code == 9 else None

    async with linked(Plain) as (peer, server):
        assert (await peer.request(OperationRequest(9))).parameters == {0: 1}
        response = await peer.request(OperationRequest(10))
        assert response.return_code == ReturnCode.UNKNOWN_OPERATION
        assert response.debug_message == "unknown operation 10"
        await peer.send_operation_request(OperationRequest(9), SendParameters(3))
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record[-1].endswith("on 3")


@pytest.mark.parametrize(
    ("code", "path"), [(1, "text (parameter 0)"), (2, "seconds (parameter 0)")]
)
async def test_parameters_that_do_not_fit_are_answered(code: int, path: str) -> None:
    """Whether the handler is `async def` or not."""

    class Strict(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            raise NotImplementedError

        @handles(Wait)
        def wait(self, operation: Wait) -> None:
            raise NotImplementedError

    async with linked(Strict) as (peer, server):
        response = await peer.request(OperationRequest(code, {0: b"wrong"}))
        assert response.return_code == ReturnCode.OPERATION_INVALID
        [[wrong, *_]] = response.parameters[0]
        assert wrong == path
        assert server.peer.record == ["connected"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_handler_that_raises_is_answered_and_logged(
    is_async: bool, caplog: Log
) -> None:
    class Fails(Acceptor):
        if is_async:

            @handles(Echo)
            async def echo(self, operation: Echo) -> str:
                raise self.error(operation)

        else:

            @handles(Echo)
            def echo_now(self, operation: Echo) -> str:
                raise self.error(operation)

        def error(self, operation: Echo) -> Exception:
            if operation.text == "denied":
                return OperationError(5, "no")
            return ValueError("secret")

    async with linked(Fails) as (peer, _):
        assert await code_of(peer, Echo("denied")) == 5
        assert caplog.text == ""
        assert await code_of(peer, Echo("x")) == ReturnCode.INTERNAL_ERROR
        assert "ValueError: secret" in caplog.text
        [record] = caplog.records
        assert f"{'echo' if is_async else 'echo_now'} raised" in record.getMessage()


async def test_answer_that_is_too_large_is_told(caplog: Log) -> None:
    class Large(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            return "x" * 2000

    async with linked(Large, config=PeerConfig(max_frame=1024)) as (peer, _):
        assert await code_of(peer, Echo("x")) == ReturnCode.RESPONSE_NOT_ENCODABLE
        [record] = caplog.records
        assert "the answer to request 1 has" in record.getMessage()


async def test_cancelled_caller_cancels_its_handler(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, server):
        with trio.move_on_after(1):
            await peer.request(Wait())
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record == ["connected", "wait ends"]
        assert peer.statistics().late_responses == 1


async def test_cancel_reaches_a_request_that_has_not_begun(
    autojump_clock: Clock,
) -> None:
    class Slow(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(5)

    async with linked(Slow) as (peer, server):
        with trio.move_on_after(1):
            await peer.request(Wait(1))
        await trio.sleep(10)
        assert server.peer.record == []
        assert server.peer.statistics().requests_running == 0


# -- before on_connected has finished, and after the end --


async def test_messages_wait_for_on_connected(autojump_clock: Clock) -> None:
    class Slow(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(5)
            self.record.append("connected")

    async with linked(Slow) as (peer, server):
        await peer.send_event(Note(0))
        assert await peer.request(Twice()) == 2
        assert trio.current_time() == 5
        assert server.peer.record[0] == "connected"


async def test_request_that_never_ran_is_answered(autojump_clock: Clock) -> None:
    """Its server's `on_connected` was still at work when the drain was over."""

    class Stuck(Worker):
        async def on_connected(self) -> None:
            await trio.sleep_forever()

    config = PeerConfig(drain_timeout=1)
    patient = PeerConfig(drain_timeout=60)
    async with linked(Stuck, config=patient, server_config=config) as (peer, server):
        async with trio.open_nursery() as nursery:
            codes: list[int] = []

            async def ask() -> None:
                codes.append(await code_of(peer, Echo("x")))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await server.peer.disconnect()
        assert codes == [ReturnCode.SHUTTING_DOWN]
        assert server.peer.record == ["disconnected LOCAL_CLOSE"]


async def test_events_not_begun_are_dropped_after_a_loss(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, server):
        for number in (1, 2, 3):
            await peer.send_event(Note(number))
        await trio.testing.wait_all_tasks_blocked()
        await server.near.aclose()
        await server.peer.ended.wait()
    assert server.peer.record == [
        "connected",
        "note 1 begins",
        "disconnected CONNECTION_LOST",
    ]


# -- events --


async def test_events_of_a_channel_are_handled_one_at_a_time(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        await peer.send_event(Note(3))
        await peer.send_event(Note(1))
        await peer.send_event(Note(2), SendParameters(7))
        await trio.sleep(1)
        record = server.peer.record
        assert [line for line in record if " 2 " not in line] == [
            "connected",
            "note 3 begins",
            "note 3 ends",
            "note 1 begins",
            "note 1 ends",
        ]
        assert record.index("note 2 ends") < record.index("note 3 ends")


@pytest.mark.parametrize("is_async", [True, False])
async def test_event_handler_that_raises_does_not_stop_the_next(
    is_async: bool, caplog: Log
) -> None:
    class Fails(Acceptor):
        if is_async:

            @handles(Note)
            async def note(self, event: Note) -> None:
                self.take(event)

        else:

            @handles(Note)
            def note_now(self, event: Note) -> None:
                self.take(event)

        def take(self, event: Note) -> None:
            self.record.append(f"note {event.number}")
            if event.number == 1:
                raise ValueError("on purpose")

    async with linked(Fails) as (peer, server):
        await peer.send_event(Note(1))
        await peer.send_event(Note(2))
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record[1:] == ["note 1", "note 2"]
    assert "ValueError: on purpose" in caplog.text


async def test_event_that_does_not_fit_is_one_log_line(caplog: Log) -> None:
    async with linked(Worker) as (peer, server):
        await peer.send_event(EventData(1, {0: "three"}))
        await peer.send_event(Note(0))
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record[1] == "note 0 begins"
    [record] = caplog.records
    assert "note: Note.number" in record.getMessage()
    assert record.exc_info is None


async def test_events_that_nobody_handles_are_told_once(caplog: Log) -> None:
    async with linked(InboundPeer) as (peer, _):
        for code in (8, 9, 8):
            await peer.send_event(EventData(code))
        await trio.testing.wait_all_tasks_blocked()
        await peer.request(OperationRequest(1))
    [record] = caplog.records
    assert "nobody handles event 8: it is dropped" in record.getMessage()


async def test_event_without_a_handler_goes_to_on_event(caplog: Log) -> None:
    async with linked() as (peer, server):
        await peer.send_event(EventData(8), SendParameters(2))
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record == ["connected", "event 8"]
    assert caplog.text == ""


# -- on_operation_response --


async def test_answers_come_one_at_a_time(autojump_clock: Clock) -> None:
    class Slow(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            self.record.append("begins")
            await trio.sleep(1)
            self.record.append("ends")

    async with linked(Worker, Slow) as (peer, _):
        for text in ("a", "b"):
            await peer.send_operation_request(OperationRequest(1, {0: text}))
    assert peer.record == [
        "connected",
        "begins",
        "ends",
        "begins",
        "ends",
        "disconnected LOCAL_CLOSE",
    ]


async def test_loss_is_told_as_an_answer_with_its_outcome(
    autojump_clock: Clock,
) -> None:
    class Notes(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            self.record.append(f"{response.return_code} {response.parameters}")
            self.record.append(str(response.debug_message))

    async with linked(Worker, Notes) as (peer, server):
        await peer.send_operation_request(OperationRequest(2, {0: 100.0}))
        await trio.testing.wait_all_tasks_blocked()
        await server.far.aclose()
        await peer.ended.wait()
    assert peer.record == [
        "connected",
        f"-10 {{0: {Outcome.UNKNOWN:d}}}",
        "the peer was disconnected (outcome UNKNOWN)",
        "disconnected CONNECTION_LOST",
    ]


async def test_end_itself_is_no_error_of_a_handler(
    autojump_clock: Clock, caplog: Log
) -> None:
    caplog.set_level(logging.DEBUG, "trio_s2s")

    class Asks(Worker):
        @handles(Note)
        async def note(self, event: Note) -> None:
            await self.request(Wait())

    class Waits(Dialler):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            await trio.sleep_forever()

    async with linked(Asks, Waits) as (peer, server):
        await peer.send_event(Note(1))
        await trio.testing.wait_all_tasks_blocked()
        await server.near.aclose()
        await server.peer.ended.wait()
        with pytest.raises(PeerDisconnectedError):
            await server.peer.request(Wait())
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "note ended with its connection" in caplog.text


async def test_unknown_kind_of_message_reaches_no_handler() -> None:
    async with linked(Worker) as (peer, server):
        await trio.testing.wait_all_tasks_blocked()
        await server.near.send_all(encode_frame([pack([99, 1]), pack([Kind.PING, 1])]))
        assert await peer.request(Echo("alive")) == "alive"
        assert server.peer.statistics().glitches == 1
