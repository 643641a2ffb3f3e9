"""The reader and the writer of a stream."""

import errno
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.streams import FickleStream, fickle_pair, reset_error, settled
from trio_s2s.codes import CloseCode, DisconnectReason
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.transport import (
    FAREWELL,
    Transport,
    addresses_of,
    discard_rest,
    receive_frame,
    send_frame,
    show_address,
)

Told = list[Callable[[], None]]


class Mover:
    """An owner: gives what it is told to give, and notes what it takes."""

    def __init__(self) -> None:
        self.hears = True
        self.speaks = True
        self.data = b""
        self.turns = 0
        self.ends = 0
        self.outgoing: list[tuple[bytes, Told]] = []
        self.failures: list[tuple[DisconnectReason, str, int | None]] = []
        self.error: Exception | None = None
        self.write_error: Exception | None = None
        self.on_fail: Callable[[], None] = lambda: None

    def take_data(self, data: bytes | bytearray) -> None:
        self.data += data

    def take_frames(self) -> bool:
        if self.error is not None:
            raise self.error
        if self.turns:
            self.turns -= 1
            return True
        return False

    def take_end(self) -> None:
        self.ends += 1

    def give_frame(self) -> tuple[bytes, Told]:
        if self.write_error is not None:
            raise self.write_error
        return self.outgoing.pop(0) if self.outgoing else (b"", [])

    def fail(
        self, reason: DisconnectReason, detail: str, code: int | None = None
    ) -> None:
        self.failures.append((reason, detail, code))
        self.on_fail()
        self.speaks = False


class Link:
    """A transport at work, its owner, its stream, and the other side."""

    def __init__(self) -> None:
        self.stream, self.far = fickle_pair()
        self.owner = Mover()
        self.transport = Transport(self.stream, self.owner, 10.0)

    async def send(self, data: bytes, *told: Callable[[], None]) -> None:
        self.owner.outgoing.append((data, list(told)))
        self.transport.wake_writer()
        await settled()

    @property
    def reasons(self) -> list[DisconnectReason]:
        return [reason for reason, _, _ in self.owner.failures]


@asynccontextmanager
async def at_work() -> AsyncGenerator[Link]:
    link = Link()
    async with trio.open_nursery() as nursery:
        link.transport.start(nursery)
        await settled()
        try:
            yield link
        finally:  # Nothing else ends the tasks.
            await link.transport.close(farewell=False)


# -- the reader --


async def test_reader_hands_on_what_arrives() -> None:
    async with at_work() as link:
        for data in (b"ab", b"c"):
            await link.far.stream.send_all(data)
            await settled()
        assert link.owner.data == b"abc"
        assert link.transport.bytes_received == 3
        await link.far.stream.send_eof()
        await settled()
        assert link.owner.ends == 1
        assert link.owner.failures == []


async def test_reader_gives_others_a_turn() -> None:
    order: list[str] = []

    async with at_work() as link:
        link.owner.turns = 3
        await link.far.stream.send_all(b"a")
        async with trio.open_nursery() as nursery:

            async def other() -> None:
                while link.owner.turns:
                    order.append(f"{link.owner.turns} turns left")
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(other)
    assert order


async def test_reader_ends_when_nothing_can_follow() -> None:
    async with at_work() as link:
        link.owner.hears = False
        await link.far.stream.send_all(b"a")
        await settled()
        await link.far.stream.send_all(b"b")
        await settled()
        assert link.owner.data == b"a"


async def test_rule_that_was_broken_ends_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        link.owner.error = RemoteProtocolError("no", CloseCode.DECODE)
        await link.far.stream.send_all(b"a")
        await settled()
        assert link.owner.failures == [
            (DisconnectReason.DECODE_ERROR, "no", CloseCode.DECODE)
        ]
        await link.far.stream.send_all(b"b")
        await settled()
        assert link.owner.data == b"a"


async def test_what_is_said_about_a_broken_rule_is_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """To half-close before the last GOODBYE was sent would lose it."""
    async with at_work() as link:
        owner = link.owner
        link.stream.block()

        def fail() -> None:
            owner.outgoing.append((b"goodbye", []))
            link.transport.wake_writer()

        owner.on_fail = fail
        owner.error = RemoteProtocolError("no")
        await link.far.stream.send_all(b"a")
        await settled()
        link.stream.may_send.set()
        await settled()
        assert await link.far.stream.receive_some() == b"goodbye"


async def test_reset_stream_is_told_from_a_lost_one() -> None:
    for error, reason, text in [
        (reset_error(), DisconnectReason.CONNECTION_RESET, "Connection reset by peer"),
        (trio.BrokenResourceError("x"), DisconnectReason.CONNECTION_LOST, "x"),
        (trio.BrokenResourceError(), DisconnectReason.CONNECTION_LOST, "broke"),
        (trio.ClosedResourceError(), DisconnectReason.CONNECTION_LOST, "broke"),
    ]:
        link = Link()
        link.stream.receive_error = error
        async with trio.open_nursery() as nursery:
            link.transport.start(nursery)
            await settled()
            assert link.reasons == [reason]
            assert text in link.owner.failures[0][1]
            assert link.owner.failures[0][2] is None
            await link.transport.close(farewell=False)


@pytest.mark.parametrize("place", ["error", "write_error"])
async def test_fault_of_our_own_is_told_and_comes_out(place: str) -> None:
    told: list[DisconnectReason] = []
    with pytest.RaisesGroup(MemoryError, flatten_subgroups=True):
        async with at_work() as link:
            setattr(link.owner, place, MemoryError())
            link.owner.on_fail = lambda: told.extend(link.reasons)
            link.transport.wake_writer()
            await link.far.stream.send_all(b"a")
            await settled()
    assert told == [DisconnectReason.INTERNAL_ERROR]


# -- the writer --


async def test_writer_sends_and_tells_then() -> None:
    told: list[str] = []
    async with at_work() as link:
        link.stream.block()
        await link.send(b"abc", lambda: told.append("a"), lambda: told.append("b"))
        assert told == []
        link.stream.may_send.set()
        await settled()
        assert told == ["a", "b"]
        assert await link.far.stream.receive_some() == b"abc"
        assert link.transport.bytes_sent == 3


async def test_writer_needs_no_second_wake() -> None:
    async with at_work() as link:
        link.stream.block()
        await link.send(b"a")
        await link.send(b"b")
        link.transport.wake_writer()
        link.stream.may_send.set()
        await settled()
        assert link.stream.sent == [b"a", b"b"]


async def test_writer_sends_a_large_frame_in_pieces() -> None:
    async with at_work() as link:
        await link.send(bytes(150_000))
        assert [len(piece) for piece in link.stream.sent] == [65536, 65536, 18928]
        assert link.transport.bytes_sent == 150_000


async def test_writer_ends_when_there_is_nothing_to_say_any_more() -> None:
    async with at_work() as link:
        link.owner.speaks = False
        await link.send(b"last")
        await link.send(b"too late")
        assert link.stream.sent == [b"last"]


async def test_other_side_that_takes_nothing_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        link.stream.block()
        await link.send(b"a")
        await trio.sleep(9.9)
        assert link.reasons == []
        await trio.sleep(0.2)
        assert link.reasons == [DisconnectReason.WRITE_TIMEOUT]
        assert "send_timeout" in link.owner.failures[0][1]


async def test_other_side_that_is_slow_is_not_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        for _ in range(2):
            link.stream.block()
            await link.send(bytes(65536))
            await trio.sleep(9)
            link.stream.may_send.set()
            await trio.sleep(9)
        assert link.reasons == []
        assert link.transport.bytes_sent == 2 * 65536


async def test_write_error_lets_the_reader_find_out_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        link.stream.send_error = reset_error()
        await link.send(b"a")
        assert link.reasons == []
        await link.far.stream.send_all(b"goodbye")
        await settled()
        assert link.owner.data == b"goodbye"
        link.owner.hears = False
        await link.far.stream.send_all(b"!")
        await settled()
        # Here an owner has its reason already.
        assert link.reasons == [DisconnectReason.CONNECTION_RESET]


async def test_write_error_is_the_reason_if_the_reader_finds_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        link.stream.send_error = reset_error()
        await link.send(b"a")
        await trio.sleep(FAREWELL - 0.1)
        assert link.reasons == []
        await trio.sleep(0.2)
        assert link.owner.failures == [
            (
                DisconnectReason.CONNECTION_RESET,
                str(OSError(104, "Connection reset by peer")),
                None,
            )
        ]


async def test_reset_that_only_the_writer_was_told_of_is_no_plain_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The system tells of a reset once; who asks next hears of an end."""
    async with at_work() as link:
        link.stream.send_error = reset_error()
        await link.send(b"a")
        await link.far.stream.send_eof()
        await settled()
        assert link.owner.ends == 0
        assert link.reasons == [DisconnectReason.CONNECTION_RESET]


# -- closing --


async def test_tasks_end_by_close_only(autojump_clock: trio.testing.MockClock) -> None:
    link = Link()
    async with trio.open_nursery() as nursery:
        link.transport.start(nursery)
        await settled()
        link.stream.block()
        await link.send(b"half a frame")
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await settled()
            link.stream.may_send.set()
            await settled()
            assert await link.far.stream.receive_some() == b"half a frame"
        await link.transport.close(farewell=False)
    assert link.stream.is_closed
    assert link.owner.failures == []


async def test_close_lets_the_farewell_pass(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        link.owner.speaks = link.owner.hears = False
        link.stream.block()
        await link.send(b"goodbye")
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                await link.transport.close(farewell=True)

            nursery.start_soon(close)
            await trio.sleep(0.5)
            assert b"goodbye too" not in link.owner.data
            link.stream.may_send.set()
            await link.far.stream.send_all(b"goodbye too")
        assert link.owner.data == b"goodbye too"
        assert link.stream.is_closed
        assert trio.current_time() == 0.5


async def test_close_waits_for_1_s_at_most(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        link.stream.block()
        await link.send(b"goodbye")
        await link.transport.close(farewell=True)
        assert link.stream.is_closed
        assert trio.current_time() == FAREWELL


async def test_close_is_for_1_s_at_most_also_when_it_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_work() as link:
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.transport.close(farewell=True)
        assert link.stream.is_closed
        assert trio.current_time() == FAREWELL


# -- before there is a connection --


async def test_frame_is_received_whatever_its_pieces(nursery: trio.Nursery) -> None:
    stream, far = fickle_pair()
    stream.piece = 1
    nursery.start_soon(send_frame, far.stream, encode_frame([b"abc"]))
    assert await receive_frame(stream, FrameDecoder(1000)) == b"abc"


@pytest.mark.parametrize(
    ("sent", "progress"),
    [
        (b"", ""),
        (b"\0\0", "2 of 4 bytes of a frame's length"),
        (encode_frame([b"abc"])[:-1], "2 of 3 bytes of a frame"),
    ],
)
async def test_end_of_the_stream_in_a_frame_names_the_progress(
    sent: bytes, progress: str
) -> None:
    stream, far = fickle_pair()
    await far.stream.send_all(sent)
    await far.stream.send_eof()
    with pytest.raises(EOFError) as caught:
        await receive_frame(stream, FrameDecoder(1000))
    assert str(caught.value) == progress


async def test_rest_is_discarded_until_the_other_side_closes(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    stream, far = fickle_pair()
    await far.stream.send_all(bytes(1000))

    async def close() -> None:
        assert await far.stream.receive_some() == b""
        await trio.sleep(0.5)
        await far.stream.send_eof()

    nursery.start_soon(close)
    await discard_rest(stream)
    assert stream.has_sent_eof
    assert trio.current_time() == 0.5


async def test_rest_is_discarded_for_1_s_at_most(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, _ = fickle_pair()
    await discard_rest(stream)
    assert trio.current_time() == FAREWELL


class FullDuplex(trio.abc.Stream):
    """A stream without half-close, as a TLS stream is."""

    def __init__(self, inner: FickleStream) -> None:
        self.inner = inner

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_rest_is_discarded_without_half_close(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, far = fickle_pair()
    await far.stream.send_all(bytes(1000))
    await far.stream.send_eof()
    await discard_rest(FullDuplex(stream))
    assert not stream.has_sent_eof
    assert trio.current_time() == 0


async def test_rest_of_a_broken_stream_is_nothing() -> None:
    stream, _ = fickle_pair()
    stream.receive_error = reset_error()
    await discard_rest(stream)


# -- addresses --


def test_address_is_shown_as_people_write_it() -> None:
    assert show_address(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert show_address(("::1", 80, 0, 0)) == "[::1]:80"
    assert show_address(b"\0abstract") == "\0abstract"
    assert show_address("/run/a.sock") == "/run/a.sock"
    assert show_address("") == ""


async def test_memory_stream_has_no_address() -> None:
    stream, _ = fickle_pair()
    assert addresses_of(stream) == ("", "")
    context = ssl.create_default_context()
    assert addresses_of(trio.SSLStream(stream, context)) == ("", "")


async def test_socket_stream_has_two_addresses() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        near = await trio.open_tcp_stream("127.0.0.1", port)
        far = await listener.accept()
        async with near, far:
            local, remote = addresses_of(near)
            assert remote == f"127.0.0.1:{port}"
            assert addresses_of(far) == (remote, local)
            context = ssl.create_default_context()
            assert addresses_of(trio.SSLStream(near, context)) == (local, remote)


async def test_socket_stream_whose_other_side_has_gone_has_one_address() -> None:
    unconnected = socket.socket()
    unconnected.bind(("127.0.0.1", 0))
    left, right = trio.socket.socketpair()
    async with trio.SocketStream(left) as stream:
        stream.socket = trio.socket.from_stdlib_socket(unconnected)
        local, remote = addresses_of(stream)
        stream.socket.close()
        stream.socket = left
    right.close()
    assert local.startswith("127.0.0.1:")
    assert remote == ""


async def test_stream_that_was_reset_may_have_no_address() -> None:
    class Gone:
        def getsockname(self) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        getpeername = getsockname

    stream, _ = fickle_pair()
    vars(stream)["socket"] = Gone()
    assert addresses_of(stream) == ("", "")
