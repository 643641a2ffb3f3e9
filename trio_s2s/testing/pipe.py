"""One direction of a connection in memory: bytes that take their time to arrive."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from trio_s2s.runtime import now
from trio_s2s.testing.trace import Frames, Trace
from trio_s2s.testing.weather import Node, Weather, closed_error, end_error, reset_error

__all__ = ["Pipe"]

PIECES: Final = (1, 1, 1, 1, 2, 4)
"""Into how many pieces a write falls."""
TURNS: Final = (1, 1, 1, 1, 1, 1, 2, 3)
"""How many turns a call takes."""
FEWER: Final = 0.2
"""How often less is received than has arrived."""
PREFIX: Final = 4


class Pipe:
    """Bytes from one end to the other, in order, bounded in what is under way."""

    def __init__(
        self,
        weather: Weather,
        rng: random.Random,
        trace: Trace,
        source: Node,
        target: Node,
        connection: int,
    ) -> None:
        self.weather = weather
        self.source = source
        self.target = target
        self.connection = connection
        self.mirror: Pipe | None = None
        """Another one that gets the same bytes, up to the first frame."""
        self.is_silent: bool = False
        """Whether it delivers nothing any more, and nobody is told."""
        self.is_ended: bool = False
        """Whether its end was sent, or it broke."""
        self._cut_at = math.inf
        self._cut: Callable[[], None] = self.finish
        self._rng = rng
        self._trace = trace
        self._frames = Frames()
        self._sent = self._framed = self._read = 0
        self._frame_ends: deque[int] = deque()
        self._barrier: float = 0 if weather.is_held else math.inf
        self._released = 0
        self._buffer = bytearray()
        self._arrivals: deque[tuple[float, int]] = deque()
        self._arrived = 0
        self._last_arrival = 0.0
        self._end_at = math.inf
        self._deaf_at = math.inf
        self._send_error: Exception | None = None
        self._receive_error: Exception | None = None
        self._busy: set[str] = set()
        self._lot = trio.lowlevel.ParkingLot()

    def moved(self) -> None:
        """Let those that wait look again."""
        self._lot.unpark_all()

    async def turn(self) -> None:
        """Let others run, as often as chance wants it."""
        for _ in range(self._rng.choice(TURNS)):
            await trio.lowlevel.checkpoint()

    @contextmanager
    def one(self, what: str) -> Iterator[None]:
        """Let one task at a time do it."""
        if what in self._busy:
            raise trio.BusyResourceError(f"another task is {what}")
        self._busy.add(what)
        try:
            yield
        finally:
            self._busy.remove(what)

    # -- the end that sends --

    async def send(self, data: bytes) -> None:
        """Send bytes, in pieces, each as soon as there is room for some of it."""
        with self.one("sending"):
            self._check_sender()
            for piece in self._pieces(data):
                start = 0
                while start < len(piece):
                    room = await self._room()
                    self._put(piece[start : start + room])
                    start += room

    async def wait_for_room(self) -> None:
        """Wait until `send` need not wait."""
        with self.one("sending"):
            await self._room()

    async def _room(self) -> int:
        while True:
            self._check_sender()
            room = self.weather.window - len(self._buffer)
            if room > 0 and not self.source.is_paused:
                return room
            with trio.move_on_at(self._deaf_at):
                await self._lot.park()

    def finish(self) -> None:
        """Send the end; nothing can follow."""
        if not self.is_ended:
            self.is_ended = True
            self._end_at = self._arrival()
            if self.mirror is not None:
                self.mirror.finish()
        self.moved()

    def close_sender(self) -> None:
        """Send the end, and let the sender know that it has closed."""
        self.finish()
        self._send_error = self._send_error or closed_error()
        self.moved()

    def _check_sender(self) -> None:
        if self._send_error is not None:
            raise self._send_error
        if now() >= self._deaf_at:
            raise end_error()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        count = min(self._rng.choice(PIECES), len(data))
        cuts = sorted(int(self._rng.random() * len(data)) for _ in range(count - 1))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            yield data[start:end]

    def _put(self, data: bytes) -> None:
        if self.mirror is not None:
            self.mirror._put(data)
        left = self._cut_at - self._sent
        self._sent += len(data)
        for kind, body in self._frames.cut(data):
            self._note_frame(kind, body)
            self.mirror = None
        is_read = self._receive_error is None and not self.is_ended
        if is_read and (piece := data[: int(min(left, len(data)))]):
            self._buffer += self._corrupted(piece)
            self._arrivals.append((self._arrival(), len(piece)))
        if is_read and left <= len(data):
            self._cut()
        self.moved()

    def _note_frame(self, kind: str, body: bytes) -> None:
        way = self.source.name, self.target.name
        self._trace.note(kind, *way, f"{len(body)} bytes", body, self.connection)
        self._framed += len(body) + PREFIX
        end = self._framed if kind == "frame" else self._sent
        if self._released > 0:
            self._released -= 1
            self._barrier = end
        else:
            self._frame_ends.append(end)

    def _corrupted(self, data: bytes) -> bytes:
        if self.weather.corrupts == 0:
            return data
        self.weather.corrupts -= 1
        changed = bytearray(data)
        bit = int(self._rng.random() * len(data) * 8)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def _arrival(self) -> float:
        delay = self.weather.latency
        if self.weather.jitter:
            delay += self._rng.random() * self.weather.jitter
        # They arrive in order, whatever the weather.
        self._last_arrival = max(self._last_arrival, now() + delay)
        return self._last_arrival

    # -- the end that receives --

    async def receive(self, most: int) -> bytes:
        """Receive what has arrived; nothing is the end."""
        with self.one("receiving"):
            while (data := self._take(most)) is None:
                with trio.move_on_at(self._next_arrival()):
                    await self._lot.park()
            return data

    def close_receiver(self, told_in: float) -> None:
        """Take nothing more; the sender learns it so many seconds later."""
        if self._receive_error is None:
            self._receive_error = closed_error()
            self._deaf_at = min(self._deaf_at, now() + told_in)
            self._buffer.clear()
        self.moved()

    @property
    def _is_still(self) -> bool:
        weather = self.weather
        is_cut = weather.is_cut or weather.is_stalled or self.is_silent
        return is_cut or self.target.is_paused

    def _take(self, most: int) -> bytes | None:
        if self._receive_error is not None:
            raise self._receive_error
        if self._is_still:
            return None
        while self._arrivals and self._arrivals[0][0] <= now():
            self._arrived += self._arrivals.popleft()[1]
        size = int(min(most, self._arrived, self._barrier - self._read))
        if size > 0:
            return self._taken(size)
        return b"" if now() >= self._end_at and not self._buffer else None

    def _taken(self, size: int) -> bytes:
        if self._rng.random() < FEWER:
            size = int(self._rng.random() * size) + 1
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._arrived -= size
        self._read += size
        while self._frame_ends and self._frame_ends[0] <= self._read:
            self._frame_ends.popleft()
        taken = self.target.name, "", f"{size} bytes", data
        self._trace.note("take", *taken, self.connection)
        self.moved()
        return data

    def _next_arrival(self) -> float:
        if self._is_still or (self._buffer and not self._arrivals):
            return math.inf
        return self._arrivals[0][0] if self._arrivals else self._end_at

    # -- faults --

    def reset(self) -> None:
        """Break it for both ends, at once; what was under way is lost."""
        self.is_ended = True
        self._buffer.clear()
        self._arrivals.clear()
        self._arrived = 0
        self._send_error = self._send_error or reset_error()
        self._receive_error = self._receive_error or reset_error()
        self.moved()

    def die(self, name: str, *, silently: bool) -> None:
        """Break it for the end that is on a node; the other one is told, or not."""
        if not silently:
            self.reset()
            return
        error = reset_error("the node was killed")
        if self.source.name == name:
            self._send_error = self._send_error or error
        else:
            self._receive_error = self._receive_error or error
            self._buffer.clear()
        self.is_silent = True
        self.moved()

    def cut_after(self, count: int, cut: Callable[[], None] | None = None) -> None:
        """Let only so many bytes more pass, then end it, or do something else."""
        self._cut_at = self._sent + count
        self._cut = cut or self.finish
        if count == 0:
            self._cut()

    def hold(self) -> None:
        """Let no byte more arrive than has been read."""
        self._barrier, self._released = self._read, 0

    def release(self, count: int) -> None:
        """Let so many frames more arrive, also if they are still to be sent."""
        for end in list(self._frame_ends):
            if count and end > self._barrier:
                self._barrier = end
                count -= 1
        self._released += count
        self.moved()

    def release_all(self) -> None:
        """Hold nothing any more."""
        self._barrier, self._released = math.inf, 0
        self.moved()

    def thaw(self) -> None:
        """Let what was kept back arrive as if sent again now, and cut nothing."""
        self._cut_at = math.inf
        self._last_arrival = 0.0
        self._arrivals = deque((self._arrival(), size) for _, size in self._arrivals)
        if self._end_at < math.inf:
            self._end_at = self._arrival()
        self.moved()
