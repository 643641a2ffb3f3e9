"""One transport and one protocol, against the other side moved by hand."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.streams import (
    LIMITS,
    Far,
    FickleStream,
    call,
    fickle_pair,
    heads,
    post,
    reset_error,
    settled,
)
from trio_s2s.answers import Answer
from trio_s2s.codec import pack, pack_parameters
from trio_s2s.codes import CloseCode, DisconnectReason, Kind, Outcome, ReturnCode
from trio_s2s.config import PeerConfig
from trio_s2s.connection import TURN, Connection
from trio_s2s.errors import MessageTooLargeError, PeerDisconnectedError
from trio_s2s.forms import Message
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.heartbeat import Heartbeat
from trio_s2s.protocol import Phase, Protocol
from trio_s2s.windows import Limits, weigh

OK = Answer(0)


@attrs.define
class Received:
    """A receiver that keeps all it is handed."""

    requests: list[Message] = attrs.field(factory=list)
    events: list[tuple[Message, int]] = attrs.field(factory=list)
    cancels: list[int] = attrs.field(factory=list)

    def request_received(self, message: Message) -> None:
        self.requests.append(message)

    def event_received(self, message: Message, size: int) -> None:
        self.events.append((message, size))

    def cancel_received(self, request_id: int) -> None:
        self.cancels.append(request_id)


class Near(Connection):
    """A connection with what a test looks at."""

    def __init__(
        self, stream: FickleStream, far: Far, config: PeerConfig, theirs: Limits
    ) -> None:
        super().__init__(
            stream,
            FrameDecoder(config.max_frame),
            Protocol(Limits.of(config), theirs),
            Heartbeat(config.heartbeat_interval, 0, config.heartbeat_misses),
            config,
        )
        self.stream = stream
        self.far = far
        self.received = Received()
        self.ended: list[Any] = []

    async def ask(self) -> None:
        """Send a request and note how it ended."""
        try:
            self.ended.append(await self.calls.request(call()))
        except PeerDisconnectedError as error:
            self.ended.append(error)

    @property
    def end(self) -> tuple[DisconnectReason | None, str]:
        return self.ending.reason, self.ending.detail


@asynccontextmanager
async def at_work(
    config: PeerConfig | None = None, theirs: Limits = LIMITS
) -> AsyncGenerator[Near]:
    stream, far = fickle_pair()
    near = Near(stream, far, config or PeerConfig(), theirs)
    async with trio.open_nursery() as nursery:
        near.start(nursery, near.received)
        await settled()
        try:
            yield near
        finally:  # Nothing else ends the tasks.
            await near.close()
    assert near.closed.is_set()
    assert stream.is_closed


# -- messages --


async def test_request_travels_and_its_answer_comes_back(
    nursery: trio.Nursery,
) -> None:
    async with at_work() as near:
        nursery.start_soon(near.ask)
        assert await near.far.receive() == [Kind.REQUEST, 1, 1, {}]
        await near.far.send([Kind.RESPONSE, 1, 0, {0: "x"}, None])
        await settled()
        assert near.ended == [[Kind.RESPONSE, 1, 0, {0: "x"}, None]]


async def test_many_messages_leave_in_one_frame() -> None:
    async with at_work() as near:
        for number in range(100):
            near.calls.send_event_nowait(post(number), unreliable=False)
        assert await near.far.receive() == [Kind.EVENT, 0, {}]
        assert len(near.far.frames[0]) == 100


async def test_receiver_is_handed_what_arrives() -> None:
    async with at_work() as near:
        await near.far.send([Kind.REQUEST, 1, 7, {}], [Kind.CANCEL, 1, 1])
        await near.far.send([Kind.EVENT, 9, {0: 1}, 3], [Kind.CANCEL, 5, 1])
        await settled()
        assert near.received.requests == [[Kind.REQUEST, 1, 7, {}]]
        assert [message for message, _ in near.received.events] == [
            [Kind.EVENT, 9, {0: 1}, 3]
        ]
        assert near.received.cancels == [1]


async def test_messages_may_arrive_byte_by_byte() -> None:
    async with at_work() as near:
        near.stream.piece = 1
        await near.far.send([Kind.EVENT, 9, {0: "some text"}])
        await settled()
        assert len(near.received.events) == 1


async def test_answer_leaves_and_frees_the_slot() -> None:
    async with at_work() as near:
        await near.far.send([Kind.REQUEST, 1, 7, {}])
        await settled()
        near.respond(1, Answer(5, pack_parameters({0: 1}, 10), "text"))
        assert near.protocol.is_idle
        assert await near.far.receive() == [Kind.RESPONSE, 1, 5, {0: 1}, "text"]


async def test_answer_that_is_too_large_is_refused() -> None:
    async with at_work(PeerConfig(max_frame=1024)) as near:
        await near.far.send([Kind.REQUEST, 1, 7, {}])
        await settled()
        large = Answer(0, pack_parameters({0: bytes(2000)}, 10))
        with pytest.raises(MessageTooLargeError, match="the answer to request 1"):
            near.respond(1, large)
        near.respond(1, OK)
        assert await near.far.receive() == [Kind.RESPONSE, 1, 0, {}, None]


async def test_requests_are_refused_while_answers_pile_up() -> None:
    async with at_work(PeerConfig(send_buffer=1000)) as near:
        near.stream.block()
        requests: list[Message] = [[Kind.REQUEST, n, 7, {}] for n in (1, 2, 3, 4)]
        await near.far.send(*requests[:3])
        await settled()
        near.ping()  # The writer takes it, and is blocked.
        await settled()
        large = Answer(0, pack_parameters({0: bytes(600)}, 10))
        near.respond(1, large)
        near.respond(2, large)
        await near.far.send(requests[3])
        await settled()
        assert len(near.received.requests) == 3
        near.stream.may_send.set()
        answers = [await near.far.receive() for _ in range(4)][1:]
        assert [answer[1:3] for answer in answers] == [
            [1, 0],
            [2, 0],
            [4, ReturnCode.SERVER_BUSY],
        ]


async def test_credit_is_given_back_when_half_is_handled() -> None:
    async with at_work() as near:
        await near.far.send(*[[Kind.EVENT, n, {}] for n in range(4)])
        await settled()
        for message, size in near.received.events[:2]:
            near.event_handled(0, size)
            assert message[0] == Kind.EVENT
        assert await near.far.receive() == [Kind.CREDIT, 0, 2 * (4 + 64)]


async def test_credit_lets_waiting_events_go(nursery: trio.Nursery) -> None:
    async with at_work(theirs=Limits(512 * 1024, 1, 1000, 100)) as near:

        async def send() -> None:
            for number in (1, 2):
                await near.calls.send_event(post(number), unreliable=False, flush=False)

        nursery.start_soon(send)
        await settled()
        assert heads([await near.far.receive()]) == [[Kind.EVENT, 1]]
        await near.far.send([Kind.CREDIT, 0, 68])
        assert heads([await near.far.receive()]) == [[Kind.EVENT, 2]]


async def test_ping_is_answered_with_its_token() -> None:
    async with at_work() as near:
        await near.far.send([Kind.PING, 5])
        assert await near.far.receive() == [Kind.PONG, 5]
        near.stream.block()
        await near.far.send([Kind.PING, 6])
        await settled()  # The writer has taken it, and is blocked.
        for token in (7, 8, 9):
            await near.far.send([Kind.PING, token])
        await settled()
        near.stream.may_send.set()
        assert await near.far.receive() == [Kind.PONG, 6]
        assert await near.far.receive() == [Kind.PONG, 9]


async def test_kinds_without_an_action_are_taken() -> None:
    async with at_work() as near:
        await near.far.send([Kind.CONTRACTS, []], [99, "unknown"], [Kind.PING, 1])
        assert await near.far.receive() == [Kind.PONG, 1]
        assert near.protocol.glitches == 1


async def test_pong_to_nothing_is_a_glitch() -> None:
    async with at_work() as near:
        near.ping()
        assert await near.far.receive() == [Kind.PING, 1]
        await near.far.send([Kind.PONG, 2], [Kind.PONG, 1])
        await settled()
        assert near.protocol.glitches == 1
        assert near.heartbeat.round_trip_time is not None


async def test_reader_gives_others_a_turn_after_many_messages_or_a_large_one() -> None:
    stream, far = fickle_pair()
    near = Near(stream, far, PeerConfig(), LIMITS)
    near._receiver = near.received
    small = pack([Kind.EVENT, 1, {}])
    many = -(-TURN // weigh(len(small)))
    near.take_data(encode_frame([small]) * (many + 5))
    assert near.take_frames()
    assert len(near.received.events) == many
    assert not near.take_frames()
    assert len(near.received.events) == many + 5
    large = pack([Kind.EVENT, 1, {0: bytes(TURN)}])
    near.take_data(encode_frame([large, large, small]))
    assert near.take_frames()
    assert len(near.received.events) == many + 6
    assert near.take_frames()
    assert not near.take_frames()
    assert len(near.received.events) == many + 8


async def test_connection_knows_whether_it_is_encrypted() -> None:
    stream, far = fickle_pair()
    assert not Near(stream, far, PeerConfig(), LIMITS).is_encrypted
    tls: Any = trio.SSLStream(stream, ssl.create_default_context())
    assert Near(tls, far, PeerConfig(), LIMITS).is_encrypted


# -- ending by an error or a loss --


async def test_failure_ends_callers_and_is_told(nursery: trio.Nursery) -> None:
    async with at_work() as near:
        nursery.start_soon(near.ask)
        await near.far.receive()
        near.fail(DisconnectReason.INTERNAL_ERROR, "oops", CloseCode.INTERNAL)
        near.fail(DisconnectReason.CONNECTION_LOST, "later")
        await settled()
        assert near.ended[0].reason is DisconnectReason.INTERNAL_ERROR
        assert near.ended[0].outcome is Outcome.UNKNOWN
        assert await near.far.receive() == [Kind.GOODBYE, -1, "oops", 0, True]
        await near.far.stream.send_eof()
        await settled()
        assert near.end == (DisconnectReason.INTERNAL_ERROR, "oops")


async def test_failure_drops_what_waits(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_work() as near:
        near.stream.block()
        near.ping()
        await settled()
        near.calls.send_event_nowait(post(1), unreliable=False)
        nursery.start_soon(near.ask)
        await settled()
        near.fail(DisconnectReason.LOCAL_CLOSE, "over", CloseCode.CLOSED)
        near.stream.may_send.set()
        assert await near.far.receive() == [Kind.PING, 1]
        assert await near.far.receive() == [Kind.GOODBYE, 0, "over", 0, True]
        assert near.ended[0].outcome is Outcome.NEVER_SENT


async def test_abort_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with at_work() as near:
        near.calls.send_event_nowait(post(1), unreliable=False)
        near.fail(DisconnectReason.LOCAL_CLOSE, "aborted")
        near.respond(1, OK)
        near.ping()
        await settled()
        start = trio.current_time()
    assert await near.far.receive_rest() == []
    assert trio.current_time() == start


async def test_text_of_a_goodbye_is_clipped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as near:
        near.fail(DisconnectReason.INTERNAL_ERROR, "é" * 2000, CloseCode.INTERNAL)
        assert len((await near.far.receive())[2].encode()) <= 1024


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"", "the stream ended without a goodbye"),
        (b"\0\0\0", "the stream ended without a goodbye, after 3 of 4 bytes of a"),
        (b"\0\0\0\x09abc", "the stream ended without a goodbye, after 3 of 9 bytes"),
    ],
)
async def test_end_of_the_stream_names_the_progress(sent: bytes, detail: str) -> None:
    async with at_work() as near:
        await near.far.stream.send_all(sent)
        await near.far.stream.send_eof()
        await settled()
        assert near.ending.reason is DisconnectReason.CONNECTION_LOST
        assert near.ending.detail.startswith(detail)


@pytest.mark.parametrize(
    ("sent", "reason", "code"),
    [
        (b"\0\0\0\0", DisconnectReason.PROTOCOL_ERROR, -2),
        (b"\0\0\0\1\xc1", DisconnectReason.DECODE_ERROR, -3),
        (b"\xff\xff\xff\xff", DisconnectReason.FRAME_TOO_LARGE, -4),
    ],
)
async def test_error_of_the_other_side_is_told_to_it(
    sent: bytes,
    reason: DisconnectReason,
    code: int,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as near:
        await near.far.stream.send_all(sent)
        message = await near.far.receive()
        assert message == [Kind.GOODBYE, code, near.ending.detail, 0, True]
        assert near.ending.reason is reason


async def test_flood_of_nonsense_ends_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as near:
        await near.far.send(*[[99]] * 10_001)
        assert (await near.far.receive())[1] == CloseCode.FLOOD
        assert near.ending.reason is DisconnectReason.FLOOD


async def test_silence_ends_the_connection(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_work() as near:
        nursery.start_soon(near.ask)
        await near.ending.has_begun.wait()
        assert trio.current_time() == 7.5
        assert near.ending.reason is DisconnectReason.HEARTBEAT_TIMEOUT
        kinds = heads([await near.far.receive() for _ in range(4)])
        assert kinds == [
            [Kind.REQUEST, 1],
            [Kind.PING, 1],
            [Kind.PING, 1],
            [Kind.GOODBYE, CloseCode.HEARTBEAT],
        ]


async def test_half_a_frame_is_a_sign_of_life(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as near:
        await trio.sleep(7)
        await near.far.stream.send_all(b"\0\0")
        await trio.sleep(7)
        assert near.ending.reason is None


async def test_write_error_gives_way_to_the_goodbye_that_explains_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as near:
        near.stream.send_error = reset_error()
        near.ping()
        await settled()
        await near.far.send([Kind.GOODBYE, -8, "stopping", 0, True])
        await settled()
        assert near.end == (DisconnectReason.SHUTDOWN, "stopping")


async def test_other_side_that_takes_nothing_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work(PeerConfig(heartbeat_interval=60)) as near:
        near.stream.block()
        near.ping()
        await near.ending.has_begun.wait()
        assert trio.current_time() == 10
        assert near.ending.reason is DisconnectReason.WRITE_TIMEOUT


# -- ending by a goodbye --


async def drain(near: Near) -> None:
    """End as the owner of a connection does."""
    await near.drain(lambda: False, lambda: False)
    near.finish()


async def test_own_goodbye_drains_both_sides(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_work() as near:
        near.calls.send_event_nowait(post(1), unreliable=False)
        nursery.start_soon(near.ask)
        await settled()
        await near.far.send([Kind.REQUEST, 1, 7, {}])
        await settled()
        near.say_goodbye(DisconnectReason.LOCAL_CLOSE, "bye", 3)
        near.say_goodbye(DisconnectReason.SHUTDOWN, "again", 4)
        nursery.start_soon(drain, near)
        got = [await near.far.receive() for _ in range(3)]
        assert [m[0] for m in got] == [Kind.EVENT, Kind.REQUEST, Kind.GOODBYE]
        assert got[2] == [Kind.GOODBYE, 3, "bye", 1, False]
        # A request that crossed the goodbye is refused by it.
        await near.far.send([Kind.REQUEST, 2, 7, {}])
        await near.far.send([Kind.GOODBYE, 0, "", 1, False])
        await settled()
        assert len(near.received.requests) == 1
        near.respond(1, OK)
        assert await near.far.receive() == [Kind.RESPONSE, 1, 0, {}, None]
        await settled()
        assert near.protocol.sent is Phase.GOODBYE
        await near.far.send([Kind.RESPONSE, 1, 0, {}, None])
        assert await near.far.receive() == [Kind.GOODBYE, 0, "", 1, True]
        assert near.ended == [[Kind.RESPONSE, 1, 0, {}, None]]
        await near.far.send([Kind.GOODBYE, 0, "", 1, True])
        await settled()
        assert near.end == (DisconnectReason.LOCAL_CLOSE, "bye")
    assert trio.current_time() == 0


async def test_goodbye_of_the_other_side_drains_too(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_work() as near:
        nursery.start_soon(near.ask)
        await near.far.receive()
        near.calls.send_event_nowait(post(1), unreliable=False)
        await near.far.send([Kind.GOODBYE, -8, "stopping", 0, False])
        assert heads([await near.far.receive()]) == [[Kind.EVENT, 1]]
        assert await near.far.receive() == [Kind.GOODBYE, 0, "", 0, False]
        await settled()
        assert near.ended[0].outcome is Outcome.REFUSED
        assert near.ended[0].code == -8
        assert near.end == (DisconnectReason.SHUTDOWN, "stopping")
        await drain(near)
        assert await near.far.receive() == [Kind.GOODBYE, 0, "", 0, True]


async def test_last_goodbye_is_answered_with_a_last_one() -> None:
    async with at_work() as near:
        await near.far.send([Kind.GOODBYE, 7, "", 0, True])
        assert await near.far.receive() == [Kind.GOODBYE, 0, "", 0, True]
        assert near.end == (DisconnectReason.REMOTE_CLOSE, "the other side closed")
        await drain(near)
        assert near.ending.goodbye_code == 7


async def test_first_goodbye_code_is_kept() -> None:
    async with at_work() as near:
        await near.far.send([Kind.GOODBYE, 7, "a", 0, False])
        await near.far.send([Kind.GOODBYE, -1, "b", 0, True])
        await settled()
        assert near.ending.goodbye_code == 7
        assert near.end == (DisconnectReason.REMOTE_CLOSE, "a")


async def test_end_of_the_stream_behind_the_last_goodbye_is_clean() -> None:
    async with at_work() as near:
        await near.far.send([Kind.GOODBYE, 0, "bye", 0, True])
        await near.far.stream.send_eof()
        await settled()
        assert near.end == (DisconnectReason.REMOTE_CLOSE, "bye")
        near.fail(DisconnectReason.INTERNAL_ERROR, "too late", CloseCode.INTERNAL)
        assert [m[0] for m in [await near.far.receive()]] == [Kind.GOODBYE]


async def test_drain_waits_for_work_and_then_for_answers(
    nursery: trio.Nursery,
) -> None:
    async with at_work() as near:
        work, answers, over = [1], [1], trio.Event()

        async def wait() -> None:
            await near.drain(lambda: bool(work), lambda: bool(answers))
            over.set()

        near.say_goodbye(DisconnectReason.LOCAL_CLOSE, "bye", 0)
        await near.far.send([Kind.GOODBYE, 0, "", 0, False])
        nursery.start_soon(wait)
        await settled()
        assert not over.is_set()
        near.fail(DisconnectReason.CONNECTION_LOST, "gone")
        await settled()
        assert not over.is_set()  # What ended is handed on still.
        answers.clear()
        near.moved()
        await settled()
        assert over.is_set()


async def test_goodbyes_that_cross_lose_no_event(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """What was accepted for sending leaves before the farewell and its 1 s."""
    async with at_work() as near:
        near.stream.block()
        near.ping()
        await settled()
        near.calls.send_event_nowait(post(1), unreliable=False)
        near.say_goodbye(DisconnectReason.LOCAL_CLOSE, "bye", 0)
        await near.far.send([Kind.GOODBYE, 0, "", 0, False])
        nursery.start_soon(drain, near)
        await settled()
        assert near.speaks
        near.stream.may_send.set()
        await settled()
        assert not near.speaks


async def test_close_waits_for_the_farewell_for_1_s(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as near:
        near.fail(DisconnectReason.INTERNAL_ERROR, "oops", CloseCode.INTERNAL)
    assert trio.current_time() == 1
