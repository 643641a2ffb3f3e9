"""From messages to handlers: who is called, in what order, and what becomes of it."""

import pytest
import trio
import trio.testing

from tests.peers import Acceptor, Dialler, Echo, Note, Worker, linked
from trio_s2s import (
    OperationRequest,
    OperationResponse,
    Outcome,
    PeerDisconnectedError,
    SendParameters,
    handles,
)
from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.framing import encode_frame

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture


# -- before on_connected has finished, and after the end --


async def test_messages_wait_for_on_connected(autojump_clock: Clock) -> None:
    class Slow(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(5)
            self.record.append("connected")

    async with linked(Slow) as (peer, server):
        await peer.send_event(Note(0))
        assert await peer.request(Echo("x")) == "x"
        assert trio.current_time() == 5
        assert server.peer.record[0] == "connected"


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


async def test_unknown_kind_of_message_reaches_no_handler() -> None:
    async with linked(Worker) as (peer, server):
        await trio.testing.wait_all_tasks_blocked()
        await server.near.send_all(encode_frame([pack([99, 1]), pack([Kind.PING, 1])]))
        assert await peer.request(Echo("alive")) == "alive"
        assert server.peer.statistics().glitches == 1


async def test_lane_that_a_held_request_begins_is_opened_once(
    autojump_clock: Clock,
) -> None:
    at_once: list[int] = []

    class Aborts(Acceptor):
        running = 0

        async def on_connected(self) -> None:
            for code in range(3):
                await self.send_operation_request(OperationRequest(code + 8))
            await trio.sleep(1)

        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            self.abort()
            return operation.text

        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            self.running += 1
            at_once.append(self.running)
            await trio.sleep(0.01)
            self.running -= 1

    class Waits(Dialler):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse | None:
            await trio.sleep_forever()
            raise AssertionError("not reached")

    async with linked(Aborts, Waits) as (peer, server):
        with pytest.raises(PeerDisconnectedError):
            await peer.request(Echo("x"))
        await server.peer.ended.wait()
    assert at_once == [1, 1, 1]
