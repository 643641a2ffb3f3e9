"""What is said at the wrong time on a connection that is up."""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.hostile import (
    Patient,
    Victim,
    bystander,
    frame,
    hit,
    served,
    settled,
    shaken,
)
from tests.peers import Acceptor, Dialler, Echo, Note, Wait, linked, start_server
from tests.streams import LIMITS
from tests.test_faults_handshake import SAMPLES, named
from trio_s2s import (
    DisconnectReason,
    OperationError,
    Outcome,
    PeerConfig,
    PeerDisconnectedError,
    handles,
    open_peer,
)
from trio_s2s.codes import Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.forms import Message
from trio_s2s.protocol import Phase, Protocol

Clock = trio.testing.MockClock

# -- every kind in every state --

ALWAYS = {"RESPONSE", "CANCEL", "CREDIT", "PING", "PONG", "GOODBYE"}
NEW_WORK = {"REQUEST", "EVENT", "CONTRACTS"}


def expected(kind: str, sent: Phase, received: Phase) -> str:
    """Say what becomes of a message, as the protocol's page has it."""
    if received is Phase.LAST:
        return "ignored"
    if sent is Phase.LAST:
        return "taken" if kind == "GOODBYE" else "ignored"
    if kind == "unknown":
        return "ignored"
    if kind in NEW_WORK and received is Phase.GOODBYE:
        return "error"
    if kind == "REQUEST" and sent is Phase.GOODBYE:
        return "ignored"
    return "taken" if kind in ALWAYS | NEW_WORK else "error"


def protocol_in(sent: Phase, received: Phase) -> Protocol:
    """Give a protocol with one request under way each way, and one event."""
    protocol = Protocol(LIMITS, LIMITS)
    protocol.request_queued(10)
    protocol.event_queued(0, 10)
    protocol.receive([Kind.REQUEST, 1, 1, {}], 10)
    for phase in (Phase.GOODBYE, Phase.LAST):
        if received.value >= phase.value:
            protocol.receive([Kind.GOODBYE, 0, "", 1, phase is Phase.LAST], 10)
        if sent.value >= phase.value:
            protocol.goodbye(0, "", last=phase is Phase.LAST)
    return protocol


def sample(kind: int) -> Message:
    """Give a message that is legal but for its time."""
    message = list(SAMPLES[kind])
    if kind == Kind.REQUEST:
        message[1] = 2
    return message


@pytest.mark.parametrize(
    "received", list(Phase), ids=lambda phase: f"they:{phase.name}"
)
@pytest.mark.parametrize("sent", list(Phase), ids=lambda phase: f"we:{phase.name}")
@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, id=f"{'C03' if k < 5 else 'C20'} {named(k)}") for k in SAMPLES],
)
def test_every_kind_in_every_state(kind: int, sent: Phase, received: Phase) -> None:
    protocol = protocol_in(sent, received)
    wanted = expected(named(kind), sent, received)
    if wanted == "error":
        with pytest.raises(RemoteProtocolError, match=f"{named(kind)} received in"):
            protocol.receive(sample(kind), 20)
    else:
        assert protocol.receive(sample(kind), 20) is (wanted == "taken")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Kind.HELLO, id="C03 second HELLO"),
        pytest.param(Kind.PROOF, id="C03 second PROOF"),
        pytest.param(Kind.WELCOME, id="C03 second WELCOME"),
        pytest.param(Kind.CHALLENGE, id="C04 CHALLENGE"),
        pytest.param(Kind.REJECT, id="C04 REJECT"),
    ],
)
async def test_words_of_the_handshake_end_a_connection(
    kind: int, autojump_clock: Clock
) -> None:
    done = await hit(frame(SAMPLES[kind]))
    assert done.victim.reason is DisconnectReason.PROTOCOL_ERROR
    assert done.sender.reason is DisconnectReason.REPORTED_BY_PEER
    assert f"{Kind(kind).name} received" in done.victim.detail
    assert len(done.waiting) == len(done.asking) == 2


# -- answers to nothing --


@pytest.mark.parametrize(
    "request_id",
    [pytest.param(99, id="C05 never used"), pytest.param(1, id="C07 of their own")],
)
async def test_answer_to_nothing_is_counted(
    request_id: int, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        await far.send([Kind.REQUEST, 1, 2, {}])
        await far.send([Kind.RESPONSE, request_id, 0, {}, None])
        assert await served(far)
        assert server.peer.statistics().glitches == 1
        assert server.peer.statistics().requests_running == 1


async def test_c06_first_of_two_answers_counts(nursery: trio.Nursery) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await server.peer.request(Echo("?")))

        nursery.start_soon(ask)
        await settled()
        for text in ("first", "second"):
            await far.send([Kind.RESPONSE, 1, 0, {0: text}, None])
        assert await served(far)
        assert answers == ["first"]
        assert server.peer.statistics().glitches == 1


async def test_c08_c09_late_answers_are_dropped_and_counted(
    autojump_clock: Clock,
) -> None:
    async with linked(Stubborn) as (peer, _):
        with trio.move_on_after(1):
            await peer.request(Wait(5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.request, Wait(5))
            await settled()
            nursery.cancel_scope.cancel()
        assert peer.statistics().requests_outstanding == 2
        await trio.sleep(10)
        counted = peer.statistics()
        assert (counted.late_responses, counted.glitches) == (2, 0)
        assert counted.requests_outstanding == 0
        assert counted.requests.cancelled == 2
        assert await peer.request(Echo("x")) == "x"


class Stubborn(Victim):
    """Finishes what it was asked for, whoever is cancelled."""

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(operation.seconds)


# -- ids --


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        pytest.param((17, 17), "not above the last", id="C10 in flight"),
        pytest.param((17, 16), "not above the last", id="C11 lower than the last"),
        pytest.param((0,), "wrong id", id="C12 0"),
        pytest.param((-1,), "wrong id", id="C12 -1"),
        pytest.param((2**64 - 1,), "wrong id", id="C12 2**64-1"),
        pytest.param((1.0,), "wrong id", id="C12 float"),
        pytest.param(("1",), "wrong id", id="C12 str"),
        pytest.param((True,), "wrong id", id="C12 bool"),
    ],
)
async def test_wrong_id_ends_the_connection(
    ids: tuple[Any, ...], text: str, autojump_clock: Clock
) -> None:
    done = await hit(frame(*([Kind.REQUEST, one, 1, {0: "x"}] for one in ids)))
    assert done.victim.reason is DisconnectReason.PROTOCOL_ERROR
    assert text in done.victim.detail


# -- cancelling --


async def test_c13_cancel_of_what_is_not_running_is_ignored(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        await far.send([Kind.REQUEST, 1, 1, {0: "x"}], [Kind.CANCEL, 5, 1])
        assert (await far.receive())[:3] == [Kind.RESPONSE, 1, 0]
        await far.send([Kind.CANCEL, 1, 1], [Kind.CANCEL, 1, 2])
        assert await served(far)
        assert server.peer.statistics().glitches == 0


async def test_c14_cancelled_handler_gives_one_answer_and_then_its_slot(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    config = PeerConfig(max_concurrent_requests=1)
    server = await start_server(nursery, Victim, config)
    async with shaken(server) as far:
        await far.send([Kind.REQUEST, 1, 2, {}])
        await settled()
        assert server.peer.statistics().requests_running == 1
        await far.send([Kind.CANCEL, 1, 1])
        assert (await far.receive())[:3] == [Kind.RESPONSE, 1, -5]
        assert server.peer.statistics().requests_running == 0
        assert await served(far)


async def test_c15_requests_cancelled_at_once_stay_within_the_window(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Whoever obeys the windows pays for a cancelled request as for any other."""
    most = 16
    config = PeerConfig(max_concurrent_requests=most)
    server = await start_server(nursery, Victim, config)
    running: list[int] = []
    async with bystander(server), shaken(server) as far:
        peer = server.peer
        for first in range(1, 10_000, most):
            ids = range(first, first + most)
            await far.send(
                *(
                    message
                    for one in ids
                    for message in ([Kind.REQUEST, one, 2, {}], [Kind.CANCEL, one, 1])
                )
            )
            running.append(peer.statistics().requests_running)
            answers = [await far.receive() for _ in ids]
            assert sorted(answer[1] for answer in answers) == list(ids)
            assert {answer[2] for answer in answers} == {-5}
        assert max(running) <= most
        assert peer.statistics().requests_running == 0


async def test_c15_overrun_of_the_window_is_an_error(autojump_clock: Clock) -> None:
    config = PeerConfig(max_concurrent_requests=4)
    many = [[Kind.REQUEST, number, 2, {}] for number in range(10, 16)]
    done = await hit(frame(*many), config=config)
    assert done.victim.reason is DisconnectReason.PROTOCOL_ERROR
    assert "overruns the window of 4 slots" in done.victim.detail


# -- signs of life --


async def test_c16_pong_to_nothing_is_counted(nursery: trio.Nursery) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        await far.send([Kind.PONG, 1], [Kind.PONG, 77])
        assert await served(far)
        assert server.peer.statistics().glitches == 2


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param([Kind.PING, 1], "1,001 PINGs", id="C17 PING"),
        pytest.param([Kind.CONTRACTS, []], "1,001 CONTRACTS", id="C31 CONTRACTS"),
        pytest.param([99], "10,001 messages that make no", id="C31 unknown kind"),
        pytest.param([Kind.PONG, 5], "10,001 messages that make no", id="C16 PONG"),
    ],
)
async def test_flood_of_what_is_cheap_ends_the_connection(
    message: Message, text: str, autojump_clock: Clock
) -> None:
    done = await hit(frame(message) * 10_001)
    assert done.victim.reason is DisconnectReason.FLOOD
    assert text in done.victim.detail
    assert done.sender.goodbye_code == -7


async def test_c17_one_pong_waits_however_many_pings_come(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        await far.send(*([Kind.PING, number] for number in range(900)))
        await settled()
        assert await served(far)
        pongs = [
            message
            for messages in far.frames
            for message in messages
            if message[0] == Kind.PONG
        ]
        assert len(pongs) < 10
        assert pongs[-1][1] == 899


async def test_c18_any_byte_is_a_sign_of_life(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        for number in range(20):
            await trio.sleep(5)
            await far.send([Kind.EVENT, 1, {0: number}])
        await settled()
        assert server.peer.record == ["connected"]
        await server.peer.ended.wait()
    assert server.peer.record[-1] == "disconnected HEARTBEAT_TIMEOUT"


async def test_c19_who_answers_only_pings_is_alive(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:

        async def answer() -> None:
            while True:
                message = await far.receive()
                if message[0] == Kind.PING:
                    await far.send([Kind.PONG, message[1]])

        nursery.start_soon(answer)
        for _ in range(3):
            with trio.move_on_after(20) as scope:
                await server.peer.request(Echo("?"))
            assert scope.cancelled_caught
        assert server.peer.record == ["connected"]
        assert server.peer.statistics().requests.cancelled == 3
        nursery.cancel_scope.cancel()


# -- goodbyes --


async def test_c20_request_after_our_goodbye_is_refused_without_an_answer(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        await far.send([Kind.REQUEST, 1, 2, {0: 3.0}])
        await settled()
        nursery.start_soon(server.peer.disconnect)
        await settled()
        await far.send([Kind.REQUEST, 2, 1, {0: "x"}])
        rest = await far.receive_rest()
    kinds = [message[:2] for message in rest if message[0] != Kind.PING]
    assert kinds[0] == [Kind.GOODBYE, 0]
    assert rest[0][3] == 1
    assert [Kind.RESPONSE, 1] in kinds
    assert [Kind.RESPONSE, 2] not in kinds


async def test_c20_sender_ends_what_was_refused(autojump_clock: Clock) -> None:
    async with linked(Victim) as (peer, server), trio.open_nursery() as nursery:
        errors: list[PeerDisconnectedError] = []

        async def ask() -> None:
            with pytest.raises(PeerDisconnectedError) as caught:
                await peer.request(Echo("x"))
            errors.append(caught.value)

        # It crosses the goodbye: sent, but read only behind it.
        nursery.start_soon(server.peer.disconnect)
        nursery.start_soon(ask)
    assert errors[0].outcome in (Outcome.REFUSED, Outcome.NEVER_SENT)


async def test_c21_goodbye_lets_two_hundred_requests_finish(
    autojump_clock: Clock,
) -> None:
    async with linked(Victim, Patient) as (peer, server):
        done: list[str] = []

        async def ask(side: Any, seconds: float) -> None:
            await side.request(Wait(seconds))
            done.append("answered")

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, peer, number / 50)
                nursery.start_soon(ask, server.peer, number / 50)
            await settled()
            await peer.disconnect("enough")
    assert done == ["answered"] * 200
    assert peer.reason is DisconnectReason.LOCAL_CLOSE
    assert server.peer.reason is DisconnectReason.REMOTE_CLOSE


@pytest.mark.parametrize(
    "close",
    [
        pytest.param(lambda one, _: [one.disconnect, one.disconnect], id="C22 twice"),
        pytest.param(lambda one, two: [one.disconnect, two.disconnect], id="C22 both"),
    ],
)
async def test_goodbyes_may_cross(
    close: Callable[[Any, Any], list[Callable[[], Awaitable[None]]]],
    autojump_clock: Clock,
) -> None:
    async with linked() as (peer, server):
        async with trio.open_nursery() as nursery:
            for goodbye in close(peer, server.peer):
                nursery.start_soon(goodbye)
        assert trio.current_time() == 0
    for one in (peer, server.peer):
        assert [line.split()[0] for line in one.record] == ["connected", "disconnected"]
        assert one.reason in (
            DisconnectReason.LOCAL_CLOSE,
            DisconnectReason.REMOTE_CLOSE,
        )


async def test_c23_long_reason_is_cut(autojump_clock: Clock) -> None:
    done = await hit(frame([Kind.GOODBYE, 0, "x" * 400_000, 0, True]))
    assert done.victim.reason is DisconnectReason.REMOTE_CLOSE
    assert len(done.victim.detail) <= 1024


async def test_c23_reason_of_a_megabyte_is_too_large(autojump_clock: Clock) -> None:
    done = await hit(frame([Kind.GOODBYE, 0, "x" * 1024**2, 0, True]))
    assert done.victim.reason is DisconnectReason.FRAME_TOO_LARGE


@attrs.frozen
class Said:
    code: int
    reason: DisconnectReason


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(said, id=f"{'C25' if said.code < 0 else 'C23'} {said.code}")
        for said in (
            Said(-99, DisconnectReason.REPORTED_BY_PEER),
            Said(-2, DisconnectReason.REPORTED_BY_PEER),
            Said(-(2**63), DisconnectReason.REPORTED_BY_PEER),
            Said(7, DisconnectReason.REMOTE_CLOSE),
            Said(2**63, DisconnectReason.REMOTE_CLOSE),
        )
    ],
)
async def test_code_of_a_goodbye_is_told(said: Said, autojump_clock: Clock) -> None:
    done = await hit(frame([Kind.GOODBYE, said.code, "\x1b[31mred", 0, True]))
    assert done.victim.reason is said.reason
    assert done.victim.goodbye_code == said.code
    is_error = said.reason is DisconnectReason.REPORTED_BY_PEER
    says = "the other side says: " if is_error else ""
    assert done.victim.detail == says + "\\x1b[31mred"
    assert done.waiting[0].code == said.code


# -- order --


async def test_c32_answers_may_overtake_each_other_and_events_not(
    autojump_clock: Clock,
) -> None:
    async with linked(Victim) as (peer, server):
        answered: list[float] = []

        async def ask(seconds: float) -> None:
            await peer.request(Wait(seconds))
            answered.append(seconds)

        async with trio.open_nursery() as nursery:
            for seconds in (3, 1, 2):
                nursery.start_soon(ask, seconds)
                await settled()
        assert answered == [1, 2, 3]
        for number in range(100):
            await peer.send_event(Note(number))
        await settled()
        assert server.peer.events == list(range(100))


async def test_unknown_operations_leave_a_connection_whole(
    autojump_clock: Clock,
) -> None:
    async with linked(Acceptor) as (peer, server):
        for _ in range(100):
            with pytest.raises(OperationError):
                await peer.request(Echo("x"))
        async with open_peer(server.listener.dial(), Dialler):
            assert server.peer.record == ["connected"]
