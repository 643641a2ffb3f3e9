"""The byte mover under a connection, over any `trio.abc.Stream`."""

import contextlib
import errno
import math
import os
from collections.abc import AsyncGenerator, Callable
from typing import Final, Protocol

import trio

from trio_s2s.codes import REASON_OF_ERROR, CloseCode, DisconnectReason
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.framing import FrameDecoder
from trio_s2s.runtime import current_runtime, now, timer

__all__ = [
    "Owner",
    "Transport",
    "addresses_of",
    "closing",
    "discard_rest",
    "receive_frame",
    "send_frame",
    "show_address",
]

RECEIVE_SIZE: Final = 64 * 1024
SEND_SIZE: Final = 64 * 1024
FAREWELL: Final = 1.0
"""Seconds that the end of a connection may take once the last GOODBYE is queued."""
_RESET = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}


# -- before there is a connection --


async def send_frame(stream: trio.abc.Stream, frame: bytes) -> None:
    """Send one frame of the handshake."""
    await stream.send_all(frame)


async def receive_frame(stream: trio.abc.Stream, decoder: FrameDecoder) -> bytes:
    """Receive one frame of the handshake; an end of the stream is an EOFError."""
    while (body := decoder.next_frame()) is None:
        data = await stream.receive_some(RECEIVE_SIZE)
        if not data:
            raise EOFError(decoder.progress())
        decoder.receive_data(data)
    return body


@contextlib.asynccontextmanager
async def closing(resource: trio.abc.AsyncResource) -> AsyncGenerator[None]:
    """Close by force at the end, without raising over what ended the block."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):  # It does not wait.
            await trio.aclose_forcefully(resource)


async def discard_rest(stream: trio.abc.Stream, *, half_close: bool = True) -> None:
    """Half-close, then read until the other side has closed too, for 1 s at most.

    To close on unread data would reset the connection, and with it what was sent last.
    """
    with timer(FAREWELL):
        try:
            if half_close and isinstance(stream, trio.abc.HalfCloseableStream):
                await stream.send_eof()
            while await stream.receive_some(RECEIVE_SIZE):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


def addresses_of(stream: trio.abc.Stream) -> tuple[str, str]:
    """Give the local and the remote address of a stream, empty where it has none."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    # Not only a `trio.SocketStream` has one: a network in memory has addresses too.
    socket = getattr(stream, "socket", None)
    if socket is None:
        return "", ""
    return _address(socket.getsockname), _address(socket.getpeername)


def _address(ask: Callable[[], object]) -> str:
    try:
        return show_address(ask())
    except OSError:  # It has gone already.
        return ""


def show_address(address: object) -> str:
    """Write a socket's address as `host:port`, `[host]:port`, or a path."""
    match address:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case bytes(name):
            return os.fsdecode(name)
    return str(address)


class Owner(Protocol):
    """For whom bytes are moved; none of it may wait."""

    @property
    def hears(self) -> bool:
        """Whether there may be something to receive still."""

    @property
    def speaks(self) -> bool:
        """Whether there may be something to send still."""

    def take_data(self, data: bytes | bytearray) -> None:
        """Take what arrived."""

    def take_frames(self) -> bool:
        """Handle the frames that are complete; True if others should have a turn."""

    def take_end(self) -> None:
        """Take note that the stream has ended."""

    def give_frame(self) -> tuple[bytes, list[Callable[[], None]]]:
        """Give what is to be sent now, maybe nothing, and whom to tell then."""

    def fail(
        self, reason: DisconnectReason, detail: str, code: int | None = None
    ) -> None:
        """Take note that it can't go on."""


class Transport:
    """The reader and the writer of one stream.

    Both are shielded, and end when `close` says so: a frame that was begun is sent
    whole, whoever is cancelled.
    """

    def __init__(
        self, stream: trio.abc.Stream, owner: Owner, send_timeout: float
    ) -> None:
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self._stream = stream
        self._owner = owner
        self._send_timeout = send_timeout
        self._parked: trio.lowlevel.Task | None = None
        self._write_error: Exception | None = None
        self._runtime = current_runtime.get()
        self._reader_scope = timer(math.inf, shield=True)
        self._writer_scope = timer(math.inf, shield=True)
        self._reader_done = trio.Event()
        self._writer_done = trio.Event()

    def start(self, nursery: trio.Nursery) -> None:
        """Start both tasks."""
        nursery.start_soon(self._run_reader, name="reader")
        nursery.start_soon(self._run_writer, name="writer")

    def wake_writer(self) -> None:
        """Tell the writer that there is something to send."""
        if self._parked is not None:
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task)

    async def close(self, *, farewell: bool) -> None:
        """Close the stream; with a farewell, let both tasks finish first, for 1 s."""
        with trio.CancelScope(shield=True):  # It lasts for FAREWELL at most.
            if farewell:
                with timer(FAREWELL):
                    await self._writer_done.wait()
                    await self._reader_done.wait()
            self._reader_scope.cancel(reason="the connection is closed")
            self._writer_scope.cancel(reason="the connection is closed")
            await trio.aclose_forcefully(self._stream)

    # -- the reader --

    async def _run_reader(self) -> None:
        with self._reader_scope:
            try:
                await self._read()
            except RemoteProtocolError as error:
                self._owner.fail(REASON_OF_ERROR[error.code], str(error), error.code)
                # The writer has a GOODBYE to send still.
                await discard_rest(self._stream, half_close=False)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._lose(error)
            except Exception as error:
                self._break(error)
                raise
        if self._write_error is not None:
            self._lose(self._write_error)
        self._reader_done.set()

    async def _read(self) -> None:
        while True:
            # First of all, since frames may have come with the last of the handshake.
            others_wait = self._owner.take_frames()
            while others_wait:
                await trio.lowlevel.checkpoint()
                others_wait = self._owner.take_frames()
            if not self._owner.hears:
                return
            data = await self._stream.receive_some(RECEIVE_SIZE)
            if not data:
                # The system tells of a reset once: the writer may have been told.
                if _errno_of(self._write_error) != errno.ECONNRESET:
                    self._owner.take_end()
                return
            self.bytes_received += len(data)
            self._owner.take_data(data)

    # -- the writer --

    async def _run_writer(self) -> None:
        with self._writer_scope:
            try:
                await self._write()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                # What the other side said before it went is worth more than our error.
                self._write_error = error
                self._runtime.restart(self._reader_scope, FAREWELL)
            except Exception as error:
                self._break(error)
                raise
        scope = self._writer_scope
        if scope.cancelled_caught and now() >= scope.deadline:
            self._owner.fail(
                DisconnectReason.WRITE_TIMEOUT,
                f"the other side took nothing for {self._send_timeout:g} s"
                " (send_timeout)",
            )
        self._writer_done.set()

    async def _write(self) -> None:
        while True:
            frame, sent = self._owner.give_frame()
            if frame:
                await self._send(frame)
                for tell in sent:
                    tell()
            elif self._owner.speaks:
                self._parked = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._unpark)
            else:
                return

    async def _send(self, frame: bytes) -> None:
        view = memoryview(frame)
        for start in range(0, len(frame), SEND_SIZE):
            self._runtime.restart(self._writer_scope, self._send_timeout)
            await self._stream.send_all(view[start : start + SEND_SIZE])
            self.bytes_sent += len(view[start : start + SEND_SIZE])
        self._runtime.restart(self._writer_scope, math.inf)

    def _unpark(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    # -- losing it --

    def _break(self, error: Exception) -> None:
        # A fault of ours, or no memory: it costs this connection, and nothing else.
        self._owner.fail(
            DisconnectReason.INTERNAL_ERROR,
            f"{type(error).__name__} in the connection itself: {error}",
            CloseCode.INTERNAL,
        )

    def _lose(self, error: Exception) -> None:
        self._owner.fail(
            DisconnectReason.CONNECTION_RESET
            if _errno_of(error) in _RESET
            else DisconnectReason.CONNECTION_LOST,
            str(error.__cause__ or error) or "the stream broke",
        )


def _errno_of(error: Exception | None) -> int | None:
    cause = error.__cause__ if error is not None else None
    return cause.errno if isinstance(cause, OSError) else None
