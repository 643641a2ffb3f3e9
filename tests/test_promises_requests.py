"""What is promised of requests and events, by number: promises 8 to 13."""

from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.peers import Acceptor, Dialler, Echo, Note, Wait, linked
from tests.test_promises import Worker
from trio_s2s import (
    EncodeError,
    EventData,
    MessageTooLargeError,
    Operation,
    OperationError,
    OperationRequest,
    OperationResponse,
    Outcome,
    PeerBusyError,
    PeerConfig,
    PeerDisconnectedError,
    ReturnCode,
    SendParameters,
    handles,
)

Clock = trio.testing.MockClock


# -- 8: every request ends exactly once, and its outcome is honest --


async def test_promise_8_a_sent_request_has_an_unknown_outcome(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        outcomes: list[Outcome] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_outcome, peer, Wait(), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            await server.far.aclose()
        assert outcomes == [Outcome.UNKNOWN]


async def test_promise_8_a_request_that_waits_for_a_slot_was_never_sent(
    autojump_clock: Clock,
) -> None:
    config = PeerConfig(max_concurrent_requests=1)
    async with linked(Worker, server_config=config) as (peer, server):
        outcomes: list[Outcome] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_outcome, peer, Wait(), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(_outcome, peer, Wait(), outcomes)
            nursery.start_soon(_outcome, peer, Wait(), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            assert server.peer.record.count("wait begins") == 1
            await server.far.aclose()
        assert sorted(outcomes) == [
            Outcome.NEVER_SENT,
            Outcome.NEVER_SENT,
            Outcome.UNKNOWN,
        ]


async def test_promise_8_a_request_in_the_buffer_was_never_sent(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        outcomes: list[Outcome] = []
        await trio.testing.wait_all_tasks_blocked()
        hold = trio.Event()
        server.near.send_stream.send_all_hook = hold.wait
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_outcome, peer, Echo("taken by the writer"), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(_outcome, peer, Echo("still here"), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            await server.far.aclose()
        hold.set()
        assert sorted(outcomes) == [Outcome.NEVER_SENT, Outcome.UNKNOWN]


async def test_promise_8_a_request_that_crossed_a_goodbye_was_refused(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        outcomes: list[Outcome] = []
        await trio.testing.wait_all_tasks_blocked()
        hold = trio.Event()
        server.near.send_stream.send_all_hook = hold.wait
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_outcome, peer, Echo("under way"), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(server.peer.disconnect, "enough")
            await trio.testing.wait_all_tasks_blocked()
            hold.set()
        assert outcomes == [Outcome.REFUSED]


async def test_promise_8_a_request_after_the_end_was_never_sent(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        await server.far.aclose()
        await peer.ended.wait()
        outcomes: list[Outcome] = []
        await _outcome(peer, Echo("x"), outcomes)
        assert outcomes == [Outcome.NEVER_SENT]


async def test_promise_8_a_goodbye_lets_running_requests_finish(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.request, Wait(2))
            await trio.testing.wait_all_tasks_blocked()
            await server.peer.disconnect("done soon")
        assert trio.current_time() == 2
        await peer.ended.wait()
    assert server.peer.record == [
        "connected",
        "wait begins",
        "wait ends",
        "disconnected LOCAL_CLOSE",
    ]


async def test_promise_8_what_outlives_the_drain_ends_with_an_answer(
    autojump_clock: Clock,
) -> None:
    patient = PeerConfig(drain_timeout=10)
    server_config = PeerConfig(drain_timeout=5)
    async with linked(Worker, config=patient, server_config=server_config) as (
        peer,
        server,
    ):
        codes: list[int] = []

        async def ask() -> None:
            with pytest.raises(OperationError) as caught:
                await peer.request(Wait())
            codes.append(caught.value.return_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await server.peer.disconnect()
        assert trio.current_time() == 5
        assert codes == [ReturnCode.CANCELLED]


# -- 9: cancellation travels --


async def test_promise_9_cancelling_the_caller_cancels_the_handler(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server):
        with trio.move_on_after(1) as scope:
            await peer.request(Wait())
        assert scope.cancelled_caught
        assert trio.current_time() == 1
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record[1:] == ["wait begins", "wait ends"]
        assert await peer.request(Echo("the link is whole")) == "the link is whole"
        assert peer.statistics().late_responses == 1
        assert peer.statistics().requests_outstanding == 0


async def test_promise_9_a_cancelled_request_that_waits_is_taken_back(
    autojump_clock: Clock,
) -> None:
    config = PeerConfig(max_concurrent_requests=1)
    async with linked(Worker, server_config=config) as (peer, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.request, Wait(3))
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1):
                await peer.request(Wait(100))
            assert await peer.request(Echo("next")) == "next"
        assert server.peer.record.count("wait begins") == 1
        assert peer.statistics().late_responses == 0


async def test_promise_9_a_cancelled_request_keeps_its_slot_until_it_is_answered(
    autojump_clock: Clock,
) -> None:
    class Stubborn(Worker):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(operation.seconds)

    config = PeerConfig(max_concurrent_requests=1)
    async with linked(Stubborn, server_config=config) as (peer, _):
        with trio.move_on_after(1):
            await peer.request(Wait(4))
        await peer.request(Echo("waits for the slot"))
        assert trio.current_time() == 4


# -- 10: any call may be cancelled anywhere --


async def test_promise_10_cancels_in_a_crowd_leave_the_link_whole(
    autojump_clock: Clock,
) -> None:
    async def ask(peer: Dialler, number: int) -> None:
        with trio.move_on_after(number % 7 / 10):
            await peer.request(Wait(number % 5 / 10))

    config = PeerConfig(max_concurrent_requests=3, send_buffer=64)
    async with linked(Worker, config=config) as (peer, server):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, peer, number)
        for _ in range(10):
            with trio.CancelScope() as scope:
                scope.cancel()  # It is queued, and taken back before it can leave.
                await peer.request(Echo("never leaves"))
        with trio.fail_after(1):
            assert await peer.request(Echo("whole")) == "whole"
        assert peer.statistics().requests_outstanding == 0
        assert server.peer.statistics().requests_running == 0
        assert server.peer.statistics().glitches == 0
        # Each has ended once.
        assert sum(attrs.astuple(peer.statistics().requests)) == 111


# -- 11: errors are answers --


async def test_promise_11_an_unknown_operation_is_answered() -> None:
    async with linked(Worker) as (peer, _):
        response = await peer.request(OperationRequest(99, {0: 1}))
        assert response.return_code == ReturnCode.UNKNOWN_OPERATION
        assert response.debug_message == "unknown operation 99"
        assert await peer.request(Echo("still there")) == "still there"


@pytest.mark.parametrize(
    ("parameters", "details"),
    [
        ({}, [["text (parameter 0)", "str", "nothing"]]),
        ({0: 5}, [["text (parameter 0)", "str", "int 5"]]),
        ({0: None}, [["text (parameter 0)", "str", "None"]]),
        ({0: "fits", 7: "unknown ones are ignored"}, None),
    ],
)
async def test_promise_11_wrong_parameters_are_all_listed(
    parameters: dict[int | str, Any], details: list[list[str]] | None
) -> None:
    async with linked(Worker) as (peer, _):
        response = await peer.request(OperationRequest(1, parameters))
        if details is None:
            assert response.return_code == ReturnCode.OK
        else:
            assert response.return_code == ReturnCode.OPERATION_INVALID
            assert response.parameters == {0: details}


async def test_promise_11_every_wrong_field_is_told() -> None:
    @attrs.frozen
    class Add(Operation[int], code=3):
        one: int
        other: int
        third: str = ""

    class Adder(Acceptor):
        @handles(Add)
        def add(self, operation: Add) -> int:
            return operation.one + operation.other

    async with linked(Adder) as (peer, _):
        response = await peer.request(OperationRequest(3, {0: "1", 2: 5}))
        assert response.return_code == ReturnCode.OPERATION_INVALID
        told = [field for field, _, _ in response.parameters[0]]
        assert told == [
            "one (parameter 0)",
            "other (parameter 1)",
            "third (parameter 2)",
        ]


async def test_promise_11_nothing_is_coerced() -> None:
    class Add(Operation[int], code=3):
        pass

    async with linked(Worker) as (peer, _):
        for wrong in ("5", True, b"x"):
            response = await peer.request(OperationRequest(2, {0: wrong}))
            assert response.return_code == ReturnCode.OPERATION_INVALID


async def test_promise_11_an_answer_that_does_not_fit_is_told_not_cut() -> None:
    class Large(Acceptor):
        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            return "x" * 600_000 if operation.text == "large" else object()  # type: ignore[return-value]  # on purpose

    async with linked(Large) as (peer, _):
        for text in ("large", "wrong"):
            with pytest.raises(OperationError) as caught:
                await peer.request(Echo(text))
            assert caught.value.return_code == ReturnCode.RESPONSE_NOT_ENCODABLE
        assert (await peer.request(OperationRequest(99))).return_code == -4


async def test_promise_11_what_cannot_travel_is_refused_here() -> None:
    async with linked(Worker) as (peer, server):
        with pytest.raises(EncodeError, match=r"parameters\[3\]\.when"):
            await peer.request(OperationRequest(1, {3: {"when": object()}}))
        with pytest.raises(MessageTooLargeError) as caught:
            await peer.request(Echo("x" * 600_000))
        assert caught.value.size > caught.value.max_size == 512 * 1024
        with pytest.raises(MessageTooLargeError):
            await peer.send_event(EventData(1, {0: b"x" * 600_000}))
        assert server.peer.statistics().bytes_received < 100


# -- 12: the forms of a request --


async def test_promise_12_a_typed_request_gives_its_result_or_raises() -> None:
    class Denies(Acceptor):
        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            raise OperationError(7, "no", {"why": "because"})

    async with linked(Denies) as (peer, _):
        with pytest.raises(OperationError) as caught:
            await peer.request(Echo("x"))
    assert caught.value.return_code == 7
    assert caught.value.debug_message == "no"
    assert caught.value.details == {"why": "because"}


async def test_promise_12_a_plain_request_gives_its_response_whatever_the_code() -> (
    None
):
    class Plain(Acceptor):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse | None:
            return request.respond({0: "no"}, return_code=9, debug_message="why")

    async with linked(Plain) as (peer, _):
        response = await peer.request(OperationRequest(5))
        assert response == OperationResponse(5, 9, {0: "no"}, "why")


async def test_promise_12_photons_form_answers_by_a_handler(
    autojump_clock: Clock,
) -> None:
    class Photon(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            await trio.lowlevel.checkpoint()
            self.record.append(f"{response.parameters} {send_parameters.channel}")

    async with linked(Worker, Photon) as (peer, _):
        for number in range(5):
            request = OperationRequest(1, {0: f"n{number}"})
            await peer.send_operation_request(request, SendParameters(3))
        await trio.testing.wait_all_tasks_blocked()
    assert sorted(peer.record[1:-1]) == [f"{{0: 'n{n}'}} 3" for n in range(5)]


async def test_promise_12_photons_form_is_told_of_a_loss(autojump_clock: Clock) -> None:
    class Photon(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            await trio.sleep(1)
            self.record.append(f"{response.return_code} {response.parameters}")

    async with linked(Worker, Photon) as (peer, server):
        await peer.send_operation_request(OperationRequest(2))
        await trio.testing.wait_all_tasks_blocked()
        await server.far.aclose()
        await peer.ended.wait()
    assert peer.record == [
        "connected",
        f"-10 {{0: {int(Outcome.UNKNOWN)}}}",
        "disconnected CONNECTION_LOST",
    ]


async def test_promise_12_a_handler_waits_no_longer_than_handler_wait(
    autojump_clock: Clock,
) -> None:
    """Two sides that flood each other from inside handlers do not stand still."""

    class Floods(Worker):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            await self.request(Wait(operation.seconds))

    class FloodsBack(Dialler):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            await self.request(Wait(operation.seconds))

    config = PeerConfig(max_concurrent_requests=2)
    async with linked(Floods, FloodsBack, config=config) as (peer, _):
        codes: list[int] = []

        async def ask() -> None:
            with pytest.raises(OperationError) as caught:
                await peer.request(Wait(0))
            codes.append(caught.value.return_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert codes == [ReturnCode.INTERNAL_ERROR] * 2
        assert trio.current_time() == 10


async def test_promise_12_a_handler_that_waits_for_credit_is_told_busy(
    autojump_clock: Clock,
) -> None:
    class Publishes(Acceptor):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            with pytest.raises(PeerBusyError, match="10 s"):
                for number in range(100):
                    await self.send_event(Note(number))
            self.record.append("was told")

    class Sleeps(Dialler):
        @handles(Note)
        async def note(self, event: Note) -> None:
            await trio.sleep(60)

    config = PeerConfig(max_event_weight=300)
    async with linked(Publishes, Sleeps, config=config) as (peer, server):
        await peer.request(Wait())
        assert server.peer.record == ["connected", "was told"]


async def test_promise_12_handlers_run_in_a_clean_context() -> None:
    leak: ContextVar[str] = ContextVar("leak", default="clean")

    class Leaks(Acceptor):
        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            found = leak.get()
            leak.set(operation.text)
            return found

        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            self.record.append(leak.get())
            leak.set("dirt")

        @handles(Note)
        async def note(self, event: Note) -> None:
            self.record.append(leak.get())
            leak.set("dirt")

    async with linked(Leaks) as (peer, server):
        for _ in range(3):
            assert await peer.request(Echo("dirt")) == "clean"
            await peer.request(Wait())
            await peer.send_event(Note(1))
        await trio.testing.wait_all_tasks_blocked()
    assert server.peer.record[1:-1] == ["clean"] * 6


# -- 13: events keep their order, channel by channel --


async def test_promise_13_events_of_one_channel_keep_their_order() -> None:
    async with linked(Worker) as (peer, server):
        for number in range(50):
            await peer.send_event(Note(number), SendParameters(2))
        await trio.testing.wait_all_tasks_blocked()
    expected = [f"note {number}" for number in range(50)]
    assert server.peer.record[1:-1] == expected


async def test_promise_13_channels_do_not_wait_for_each_other(
    autojump_clock: Clock,
) -> None:
    class Slow(Acceptor):
        async def on_event(
            self, event: EventData, send_parameters: SendParameters
        ) -> None:
            await trio.sleep(event.parameters[0])
            self.record.append(f"{send_parameters.channel} {trio.current_time():g}")

    async with linked(Slow) as (peer, server):
        for seconds, channel in [(3, 0), (1, 0), (1, 1), (0, 15)]:
            event = EventData(1, {0: seconds})
            await peer.send_event(event, SendParameters(channel))
        await trio.sleep(5)
    assert server.peer.record[1:-1] == ["15 0", "1 1", "0 3", "0 4"]


async def test_promise_13_what_a_handler_sent_arrives_before_its_answer() -> None:
    class Tells(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            for number in range(3):
                await self.send_event(Note(number))
            return "answer"

    class Hears(Dialler):
        @handles(Note)
        def note(self, event: Note) -> None:
            self.record.append(f"note {event.number}")

    async with linked(Tells, Hears) as (peer, _):
        peer.record.append(await peer.request(Echo("x")))
        assert peer.record == ["connected", "note 0", "note 1", "note 2", "answer"]


async def test_promise_13_an_event_that_fails_does_not_stop_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fails(Acceptor):
        @handles(Note)
        async def note(self, event: Note) -> None:
            if event.number == 1:
                raise ValueError("on purpose")
            self.record.append(f"note {event.number}")

    async with linked(Fails) as (peer, server):
        for number in range(3):
            await peer.send_event(Note(number))
        await peer.send_event(EventData(1, {0: "wrong"}))
        await peer.send_event(EventData(1, {0: 3}))
        await trio.testing.wait_all_tasks_blocked()
    assert server.peer.record[1:-1] == ["note 0", "note 2", "note 3"]
    assert "ValueError: on purpose" in caplog.text
    assert "Note.number (parameter 0): expected int, got str 'wrong'" in caplog.text


async def _outcome(
    peer: Any, operation: Operation[Any], outcomes: list[Outcome]
) -> None:
    with pytest.raises(PeerDisconnectedError) as caught:
        await peer.request(operation)
    outcomes.append(caught.value.outcome)
