"""Streams that block, break or dawdle, and the other side of one, moved by hand."""

import errno
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from trio_s2s.calls import Calls
from trio_s2s.codec import (
    NOTHING,
    pack,
    pack_event,
    pack_parameters,
    unpack_messages,
)
from trio_s2s.codes import DisconnectReason, Kind
from trio_s2s.ending import Ending
from trio_s2s.forms import Message
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.outbox import Outbox
from trio_s2s.protocol import Protocol
from trio_s2s.tickets import Call, Post
from trio_s2s.windows import Limits

settled = trio.testing.wait_all_tasks_blocked

LIMITS = Limits(512 * 1024, 1024, 4 * 1024**2, 256 * 1024)
"""What a side announces by default."""


def reset_error() -> trio.BrokenResourceError:
    """Give the error of a stream that the other side's system aborted."""
    error = trio.BrokenResourceError("the stream broke")
    error.__cause__ = OSError(errno.ECONNRESET, "Connection reset by peer")
    return error


class FickleStream(trio.abc.HalfCloseableStream):
    """A stream over another that can be told to block, to break, and to dawdle."""

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self.inner = inner
        self.sent: list[bytes] = []
        """What was given to `send_all`, call by call."""
        self.may_send = trio.Event()
        self.may_send.set()
        self.piece = 64 * 1024
        """Bytes that are received at once, at most."""
        self.send_error: Exception | None = None
        self.receive_error: Exception | None = None
        self.is_closed = False
        self.has_sent_eof = False
        self._is_busy = False

    def block(self) -> None:
        """Let `send_all` wait, until `may_send` is set."""
        self.may_send = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))
        self._begin()
        try:
            await self.may_send.wait()
            if self.send_error is not None:
                raise self.send_error
            await self.inner.send_all(data)
        finally:
            self._is_busy = False

    async def wait_send_all_might_not_block(self) -> None:
        await self.may_send.wait()

    async def send_eof(self) -> None:
        # As a `SocketStream` does it: a checkpoint while it counts as busy.
        self._begin()
        try:
            await trio.lowlevel.checkpoint()
            self.has_sent_eof = True
            await self.inner.send_eof()
        finally:
            self._is_busy = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.receive_error is not None:
            await trio.lowlevel.checkpoint()
            raise self.receive_error
        return await self.inner.receive_some(self.piece)

    async def aclose(self) -> None:
        self.is_closed = True
        await self.inner.aclose()

    def _begin(self) -> None:
        if self._is_busy:
            raise trio.BusyResourceError("another task is sending")
        self._is_busy = True


class Far:
    """The other side of a connection, which says just what it is told to."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.frames: list[list[Message]] = []
        """The frames received so far, as messages."""
        self._decoder = FrameDecoder(2**24)
        self._messages: deque[Message] = deque()

    async def send(self, *messages: Message) -> None:
        """Send messages as one frame."""
        await self.stream.send_all(encode_frame(map(pack, messages)))

    async def receive(self) -> Message:
        """Give the next message; an end of the stream is an EOFError."""
        while not self._messages:
            while (body := self._decoder.next_frame()) is None:
                data = await self.stream.receive_some(2**20)
                if not data:
                    raise EOFError
                self._decoder.receive_data(data)
            self.frames.append([message for message, _ in unpack_messages(body, 4096)])
            self._messages.extend(self.frames[-1])
        return self._messages.popleft()

    async def receive_rest(self) -> list[Message]:
        """Give all messages up to the end of the stream."""
        rest = []
        try:
            while True:
                rest.append(await self.receive())
        except EOFError:
            return rest


def fickle_pair() -> tuple[FickleStream, Far]:
    """Give a fickle stream, and the other side of it."""
    near, far = trio.testing.memory_stream_pair()
    return FickleStream(near), Far(far)


# -- callers --


def limits(
    *, slots: int = 1024, requests: int = 4 * 1024**2, events: int = 256 * 1024
) -> Limits:
    return Limits(512 * 1024, slots, requests, events)


def call(size: int = 0, on_end: Callable[[Call], None] | None = None) -> Call:
    parameters = pack_parameters({0: bytes(size)}, 10) if size else NOTHING
    return Call("Echo", code=1, parameters=parameters, on_end=on_end)


def post(number: int, size: int = 0, channel: int = 0) -> Post:
    table = pack_parameters({0: bytes(size)}, 10) if size else NOTHING
    packed = pack_event(number, table, channel)
    return Post("Note", channel=channel, packed=packed)


class Side:
    """Calls without a connection: a test is the writer, the reader and the far side."""

    def __init__(self, theirs: Limits = LIMITS, buffer: int = 1024**2) -> None:
        self.protocol = Protocol(LIMITS, theirs)
        self.outbox = Outbox(buffer)
        self.ending = Ending()
        self.wakes = 0
        self.calls = Calls(
            self.protocol, self.outbox, self._wake, self.ending, handler_wait=10.0
        )
        self.ended: list[tuple[str, object]] = []

    def _wake(self) -> None:
        self.wakes += 1

    def take(self) -> list[Message]:
        """Take a frame as the writer does, and tell that it was sent."""
        self.calls.pump()
        frame, told = self.outbox.take_frame(self.protocol.max_frame)
        if not frame:
            return []
        self.calls.pump()
        for tell in told:
            tell()
        return [message for message, _ in unpack_messages(frame[4:], 4096)]

    def answer(self, request_id: int, code: int = 0) -> None:
        """Receive the answer to a request, as the reader does."""
        message: Message = [Kind.RESPONSE, request_id, code, {}, None]
        if self.protocol.receive(message, 10):
            self.calls.response_received(message)
        self.calls.pump()

    def credit(self, channel: int, weight: int) -> None:
        self.protocol.receive([Kind.CREDIT, channel, weight], 10)
        self.calls.pump()

    def end(self, reason: DisconnectReason = DisconnectReason.CONNECTION_LOST) -> None:
        """Begin the end, as a connection does."""
        self.ending.record(reason, "gone")
        self.calls.shut()

    async def run(self, name: str, function: Callable[[], Awaitable[Any]]) -> None:
        """Await a call and note how it ended."""
        try:
            result: object = await function()
        except trio.Cancelled:
            self.ended.append((name, "cancelled"))
            raise
        except Exception as error:
            result = error
        self.ended.append((name, result))

    async def start(
        self, nursery: trio.Nursery, name: str, function: Callable[[], Awaitable[Any]]
    ) -> None:
        nursery.start_soon(self.run, name, function)
        await settled()

    async def request(
        self, nursery: trio.Nursery, name: str, size: int = 0
    ) -> trio.CancelScope:
        """Start a request in a scope of its own."""
        scope = trio.CancelScope()

        async def ask() -> Message:
            with scope:
                return await self.calls.request(call(size))
            raise AssertionError("it was cancelled")

        await self.start(nursery, name, ask)
        return scope

    async def event(
        self, nursery: trio.Nursery, number: int, size: int = 0, channel: int = 0
    ) -> trio.CancelScope:
        """Start an event in a scope of its own."""
        scope = trio.CancelScope()

        async def send() -> None:
            with scope:
                await self.send(post(number, size, channel))

        await self.start(nursery, str(number), send)
        return scope

    async def send(
        self, one: Post, *, unreliable: bool = False, flush: bool = False
    ) -> None:
        await self.calls.send_event(one, unreliable=unreliable, flush=flush)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.ended]

    def error(self) -> Any:
        [(_, error)] = self.ended
        return error


def heads(messages: list[Message]) -> list[list[Any]]:
    """Give the kinds of messages, with their ids or event codes."""
    return [message[:2] for message in messages]
