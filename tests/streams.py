"""Streams that block, break or dawdle, and the other side of one, moved by hand."""

import errno
from collections import deque

import trio
import trio.testing

from trio_s2s.codec import pack, unpack_messages
from trio_s2s.forms import Message
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.windows import Limits

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
