"""Who handles what arrives, and what is told of it."""

import logging

import pytest
import trio
import trio.testing

from tests.peers import Acceptor, Dialler, Echo, Note, Wait, Worker, linked
from trio_s2s import (
    EventData,
    InboundPeer,
    OperationRequest,
    OperationResponse,
    PeerDisconnectedError,
    ReturnCode,
    SendParameters,
    handles,
)

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture


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


async def test_event_that_does_not_fit_is_one_log_line(caplog: Log) -> None:
    async with linked(Worker) as (peer, server):
        await peer.send_event(EventData(1, {0: "three"}))
        await peer.send_event(Note(0))
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record[1] == "note 0 begins"
    [record] = caplog.records
    assert "note: Note.number" in record.getMessage()
    assert record.exc_info is None


async def test_what_others_can_repeat_fills_no_disk(
    caplog: Log, autojump_clock: Clock
) -> None:
    class Unspeakable(Worker):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse | None:
            return request.respond({0: object()})

    async with linked(Unspeakable) as (peer, _):
        for _ in range(200):
            await peer.send_event(EventData(1, {0: "three"}))
            await peer.request(OperationRequest(9))
        assert len(caplog.records) == 2
        await trio.sleep(10)
        await peer.send_event(EventData(1, {0: "three"}))
        await peer.request(OperationRequest(9))
    told = [record.getMessage() for record in caplog.records[2:]]
    assert len(told) == 2
    for line in told:
        assert line.endswith("(and 199 more like it since the last such line)")


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


@pytest.mark.parametrize("seconds", [0.4, 2])
async def test_k14_plain_function_that_holds_up_all_others_is_told(
    seconds: float, mock_clock: trio.testing.MockClock, caplog: Log
) -> None:
    class Busy(Acceptor):
        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            mock_clock.jump(seconds)
            return operation.text

        @handles(Note)
        def note(self, event: Note) -> None:
            mock_clock.jump(seconds)

    async with linked(Busy) as (peer, _):
        assert await peer.request(Echo("x")) == "x"
        await peer.send_event(Note(1))
        assert await peer.request(OperationRequest(9))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (2 if seconds > 1 else 0)
    for text, name in zip(told, ("echo", "note"), strict=False):
        assert f"{name} is no async function, and held up all others for 2.0 s" in text
