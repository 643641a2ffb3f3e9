"""What an application sees of a peer: its calls, what they refuse, and its end."""

import copy
import pickle
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import Acceptor, Dialler, Echo, Note, Wait, linked
from trio_s2s import (
    ContractError,
    DisconnectReason,
    EncodeError,
    Event,
    EventData,
    InboundPeer,
    InitRequest,
    InitResponse,
    LocalProtocolError,
    MessageTooLargeError,
    Operation,
    OperationError,
    OperationRequest,
    OperationResponse,
    OutboundPeer,
    Peer,
    PeerClosedError,
    PeerConfig,
    PeerDisconnectedError,
    SendParameters,
    handles,
)

Clock = trio.testing.MockClock
ENCRYPTED = SendParameters(encrypted=True)


class Worker(Acceptor):
    """Answers what the tests ask, with and without contracts."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        if operation.text == "no":
            raise OperationError(5, "denied", {0: "because"})
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)

    async def on_operation_request(
        self, request: OperationRequest, send_parameters: SendParameters
    ) -> OperationResponse | None:
        if request.operation_code == 7:
            return request.respond(
                {0: send_parameters.channel}, return_code=3, debug_message="seven"
            )
        return None

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        self.record.append(
            f"event {event.event_code} {event.parameters} {send_parameters.channel}"
        )


# -- what it is --


def test_new_peer_has_defaults_without_super() -> None:
    class Forgetful(InboundPeer):
        def __init__(self, init_request: InitRequest) -> None:
            pass

    peer = Forgetful(InitRequest())
    assert (peer.server_id, peer.local_address, peer.remote_address) == ("", "", "")
    assert (peer.resumed, peer.response_object) == (False, None)
    assert OutboundPeer().init_response == InitResponse()
    assert InboundPeer(InitRequest("rooms")).init_request.application_name == "rooms"
    assert isinstance(peer, trio.abc.AsyncResource)


async def test_peer_says_who_it_is(autojump_clock: Clock) -> None:
    peer = OutboundPeer()
    assert repr(peer) == "<OutboundPeer nobody yet, not connected>"
    peer.remote_address = "127.0.0.1:1"
    assert repr(peer) == "<OutboundPeer 127.0.0.1:1, not connected>"
    async with linked() as (peer, server):
        assert repr(peer) == "<Dialler nobody yet, connected>"
        peer.server_id = "gs-1"
        await server.far.aclose()
        await peer.ended.wait()
        assert repr(peer) == "<Dialler gs-1, CONNECTION_LOST>"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_peer_is_not_copied(copied: Any) -> None:
    with pytest.raises(TypeError, match="is a live connection and can't be copied"):
        copied(OutboundPeer())


def test_hook_must_be_async_def() -> None:
    with pytest.raises(TypeError, match="on_connected must be an `async def` method"):

        class Wrong(OutboundPeer):
            def on_connected(self) -> None:  # type: ignore[override]  # on purpose
                pass


def test_two_handlers_of_one_code_are_an_error_of_the_class() -> None:
    @attrs.frozen
    class Other(Operation[str], code=1):
        pass

    with pytest.raises(TypeError, match="echo handles Echo and other handles Other"):

        class Wrong(OutboundPeer):
            @handles(Echo)
            def echo(self, operation: Echo) -> str:
                raise NotImplementedError

            @handles(Other)
            def other(self, operation: Other) -> str:
                raise NotImplementedError


# -- before it is connected --


async def test_peer_that_is_not_connected_takes_no_calls() -> None:
    peer = OutboundPeer()
    with pytest.raises(LocalProtocolError, match="nobody yet, not connected> is not"):
        await peer.request(Echo("x"))
    with pytest.raises(LocalProtocolError, match="a request: <OutboundPeer"):
        await peer.send_operation_request(OperationRequest(1))
    with pytest.raises(LocalProtocolError, match="an event: "):
        await peer.send_event(Note(1))
    with pytest.raises(LocalProtocolError, match="an event: "):
        peer.send_event_nowait(Note(1))
    with pytest.raises(LocalProtocolError, match="start_soon: "):
        peer.start_soon(trio.sleep, 1)
    with pytest.raises(LocalProtocolError, match="has no statistics yet"):
        peer.statistics()
    peer.abort()
    await peer.disconnect()
    await peer.aclose()


# -- operations --


async def test_typed_request_gives_its_result_or_raises() -> None:
    async with linked(Worker) as (peer, _):
        assert await peer.request(Echo("hi")) == "hi"
        with pytest.raises(OperationError, match=r"Echo: .* 5: denied") as caught:
            await peer.request(Echo("no"))
    assert caught.value.return_code == 5
    assert caught.value.details == {0: "because"}


async def test_plain_request_gives_its_response_whatever_the_code() -> None:
    async with linked(Worker) as (peer, _):
        response = await peer.request(OperationRequest(7))
        assert response == OperationResponse(7, 3, {0: 0}, "seven")
        assert (await peer.request(OperationRequest(8))).return_code == -4


async def test_answer_that_does_not_fit_is_a_contract_error() -> None:
    @attrs.frozen
    class Seven(Operation[str], code=7):
        pass

    class Wrong(Acceptor):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse:
            return request.respond({0: 7})

    async with linked(Wrong) as (peer, _):
        with pytest.raises(ContractError, match="expected str, got"):
            await peer.request(Seven())


async def test_what_cannot_travel_is_refused_here() -> None:
    async with linked(Worker, config=PeerConfig(max_elements=20)) as (peer, server):
        with pytest.raises(EncodeError, match=r"parameters\[3\]"):
            await peer.request(OperationRequest(1, {3: object()}))
        with pytest.raises(EncodeError, match="21 elements, more than 20"):
            await peer.send_event(EventData(1, {0: list(range(21))}))
        with pytest.raises(MessageTooLargeError):
            await peer.request(Echo("x" * 600_000))
        with pytest.raises(TypeError):
            await peer.request("no operation")
        assert await peer.request(Echo("whole")) == "whole"
        assert server.peer.record == ["connected"]


async def test_photons_form_answers_by_a_hook(autojump_clock: Clock) -> None:
    class Asks(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            self.record.append(f"{response.parameters} {send_parameters.channel}")

    async with linked(Worker, Asks) as (peer, _):
        await peer.send_operation_request(OperationRequest(7))
        await peer.send_operation_request(OperationRequest(7), SendParameters(4))
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(peer.record[1:]) == ["{0: 0} 0", "{0: 4} 4"]
        with pytest.raises(LocalProtocolError, match="must travel encrypted"):
            await peer.send_operation_request(OperationRequest(7), ENCRYPTED)


async def test_acceptor_may_not_ask_in_on_connected() -> None:
    class Asks(Worker):
        async def on_connected(self) -> None:
            with pytest.raises(LocalProtocolError, match="ask from start_soon"):
                await self.request(Echo("x"))
            await self.send_event(Note(1))
            self.record.append("asked in vain")

    async with linked(Asks) as (peer, server):
        await peer.request(Echo("x"))
        assert server.peer.record == ["asked in vain"]


# -- events --


async def test_events_go_with_and_without_contracts() -> None:
    async with linked(Worker) as (peer, server):
        await peer.send_event(Note(1))
        await peer.send_event(EventData(9, {0: "x"}), SendParameters(5, flush=True))
        peer.send_event_nowait(Note(2), SendParameters(unreliable=True))
        peer.send_event_nowait(EventData(8))
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(server.peer.record[1:]) == [
            "event 1 {0: 1} 0",
            "event 1 {0: 2} 0",
            "event 8 {} 0",
            "event 9 {0: 'x'} 5",
        ]


async def test_event_is_never_half_encrypted() -> None:
    async with linked(Worker) as (peer, _):
        with pytest.raises(LocalProtocolError, match="this connection has no TLS"):
            await peer.send_event(Note(1), ENCRYPTED)
        with pytest.raises(LocalProtocolError, match="this connection has no TLS"):
            peer.send_event_nowait(Note(1), ENCRYPTED)


async def test_nowait_would_block_where_send_event_waits(
    autojump_clock: Clock,
) -> None:
    class Slow(Acceptor):
        async def on_event(
            self, event: EventData, send_parameters: SendParameters
        ) -> None:
            await trio.sleep(1)

    config = PeerConfig(max_event_weight=100)
    async with linked(Slow, server_config=config) as (peer, _):
        peer.send_event_nowait(Note(1))
        with pytest.raises(trio.WouldBlock):
            peer.send_event_nowait(Note(2))
        peer.send_event_nowait(Note(3), SendParameters(unreliable=True))
        await peer.send_event(Note(4), SendParameters(unreliable=True))
        assert peer.statistics().events_dropped == 2
        await peer.send_event(Note(5))
        assert trio.current_time() == 1


async def test_event_must_be_one() -> None:
    @attrs.frozen
    class Plain(Event, code=3):
        pass

    async with linked(Worker) as (peer, server):
        with pytest.raises(TypeError):
            await peer.send_event("no event")
        await peer.send_event(Plain())
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record[1:] == ["event 3 {} 0"]


# -- tasks --


async def test_task_lives_as_long_as_its_peer(autojump_clock: Clock) -> None:
    record: list[str] = []

    class Nameless:
        async def __call__(self, text: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                record.append(text)

    async with linked(Worker) as (peer, _):
        peer.start_soon(Nameless(), "ended")
        await trio.testing.wait_all_tasks_blocked()
    assert record == ["ended"]
    with pytest.raises(PeerClosedError, match="start_soon"):
        peer.start_soon(trio.sleep, 1)


async def test_task_that_raises_ends_its_peer(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("on purpose")

    async with linked(Worker) as (peer, server):
        server.peer.start_soon(fail)
        await peer.ended.wait()
    assert peer.reason is DisconnectReason.REPORTED_BY_PEER
    assert "fail raised" in caplog.text


# -- the end --


@pytest.mark.parametrize(
    ("detail", "code", "seen"),
    [("", 0, "closed by this side"), ("enough", 3, "enough")],
)
async def test_disconnect_tells_the_other_side(
    detail: str, code: int, seen: str, autojump_clock: Clock
) -> None:
    async with linked(Worker) as (peer, server):
        await server.peer.disconnect(detail, code=code)
        assert server.peer.record == ["connected", "disconnected LOCAL_CLOSE"]
        await peer.ended.wait()
        assert (peer.reason, peer.detail) == (DisconnectReason.REMOTE_CLOSE, seen)
        with pytest.raises(PeerDisconnectedError) as caught:
            await peer.request(Echo("late"))
        assert caught.value.code == code
        await server.peer.disconnect("again")


async def test_code_of_a_disconnect_is_the_applications_own() -> None:
    async with linked(Worker) as (peer, _):
        with pytest.raises(ValueError, match="code is 0, or the application's own"):
            await peer.disconnect(code=-1)
        assert await peer.request(Echo("alive")) == "alive"


@pytest.mark.parametrize("how", ["disconnect", "aclose"])
async def test_end_from_within_begins_and_returns(
    how: str, autojump_clock: Clock
) -> None:
    class Leaves(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            await getattr(self, how)()
            return operation.text

    async with linked(Leaves) as (peer, server):
        assert await peer.request(Echo("left")) == "left"
        await server.peer.ended.wait()
        assert trio.current_time() < 1


async def test_abort_says_no_goodbye(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, server):
        server.peer.abort()
        await peer.ended.wait()
        await server.peer.ended.wait()
    assert peer.reason is DisconnectReason.CONNECTION_LOST
    assert server.peer.detail == "aborted by this side"


async def test_aclose_that_is_cancelled_aborts(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, _):
        peer.start_soon(peer.request, Wait())
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await peer.aclose()
        assert scope.cancelled_caught
        await peer.ended.wait()
        assert trio.current_time() == 1


async def test_peer_is_an_async_resource(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, _):
        async with peer as same:
            assert isinstance(same, Peer)
        assert peer.record == ["connected", "disconnected LOCAL_CLOSE"]


async def test_calls_raise_a_new_error_each(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, server):
        await server.far.aclose()
        await peer.ended.wait()
        seen = []
        for _ in range(2):
            with pytest.raises(PeerDisconnectedError, match="an event") as caught:
                peer.send_event_nowait(Note(1))
            seen.append(caught.value)
    assert seen[0] is not seen[1]


async def test_statistics_count_what_has_happened() -> None:
    async with linked(Worker) as (peer, _):
        await peer.request(Echo("x"))
        statistics = peer.statistics()
    assert statistics.messages_sent >= 2
    assert statistics.bytes_received > 0
    assert statistics.requests_outstanding == 0
