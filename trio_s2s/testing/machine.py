"""A node of a network in memory: what a server that runs there takes for the world."""

import errno
import math
import random
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from trio_s2s.runtime import Runtime, now
from trio_s2s.testing.stream import Address, MemoryStream

__all__ = ["Machine", "MemoryListener"]

BACKLOG: Final = 100
FIRST_FREE_PORT: Final = 49152

Dial = Callable[["Machine", str, int], Awaitable[MemoryStream]]


class Machine(Runtime):
    """Where applications listen and dial, draw numbers, and wait."""

    def __init__(
        self, name: str, seed: int, dial: Dial, note: Callable[..., None]
    ) -> None:
        self.name = name
        self.is_dead: bool = False
        self.is_off: bool = False
        """Whether it does not even refuse connections."""
        self.is_paused: bool = False
        self.refuses: bool = False
        """Whether it refuses connections."""
        self.accept_delay: float = 0.0
        """Seconds that each connection waits until it is accepted."""
        self.listeners: dict[int, MemoryListener] = {}
        self.moved: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._dial = dial
        self._note = note
        self._seed = seed
        self._starts = 0
        self._random = random.Random()
        self._next_port = FIRST_FREE_PORT
        # The timers of the package, and when those are due that stand still.
        self._timers: weakref.WeakValueDictionary[int, trio.CancelScope] = (
            weakref.WeakValueDictionary()
        )
        self._due: dict[int, float] = {}
        self.start()

    def start(self) -> None:
        """Begin a new life, which draws other numbers."""
        self._starts += 1
        self._random.seed(f"{self._seed} {self.name} {self._starts}")
        self.is_dead = self.is_off = False

    def die(self, *, silently: bool) -> None:
        """Lose everything that listens."""
        self.is_dead, self.is_off = True, silently
        self.resume()  # What is dead does not stand still.
        for listener in list(self.listeners.values()):
            listener.close()

    # -- standing still --

    def pause(self) -> None:
        """Let no timer of the package run."""
        if self.is_paused:  # Else it would be forgotten when they are due.
            return
        self.is_paused = True
        for key, scope in list(self._timers.items()):
            self._due[key] = scope.deadline
            scope.deadline = math.inf

    def resume(self) -> None:
        """Let all timers run again; what was due meanwhile is due now."""
        self.is_paused = False
        due, self._due = self._due, {}
        for key, deadline in due.items():
            if (scope := self._timers.get(key)) is not None:
                scope.deadline = deadline
        self.moved.unpark_all()

    async def at_work(self) -> None:
        """Wait while it stands still."""
        await trio.lowlevel.checkpoint()
        while self.is_paused:
            await self.moved.park()

    # -- what a server takes from the world --

    def new_instance_id(self) -> bytes:
        """Make the 16 bytes that tell one start of a server from the next."""
        return self._random.randbytes(16)

    def uniform(self, most: float) -> float:
        """Draw a number between 0 and `most`."""
        return self._random.uniform(0, most)

    def hook_runs(self, server: str, other: str, hook: str, why: str) -> None:
        """Take note that a hook begins to run."""
        self._note("hook", self.name, other, f"{hook} {why}".rstrip())

    def timer(self, seconds: float, *, shield: bool = False) -> trio.CancelScope:
        """Make a timer that stands still when the node does."""
        scope = trio.CancelScope(shield=shield)
        self._timers[id(scope)] = scope
        self.restart(scope, seconds)
        return scope

    def restart(self, scope: trio.CancelScope, seconds: float) -> None:
        """Let a timer end so many seconds from now."""
        if self.is_paused:
            self._due[id(scope)] = now() + seconds
            scope.deadline = math.inf
        else:
            scope.deadline = now() + seconds

    async def open_tcp_stream(self, host: str, port: int) -> MemoryStream:
        """Connect to a port of a node."""
        return await self._dial(self, host, port)

    async def open_tcp_listeners(
        self, port: int, host: str, backlog: int | None
    ) -> list[Any]:
        """Listen on a port of this node."""
        await trio.lowlevel.checkpoint()
        if self.is_dead:
            raise OSError(errno.ENETDOWN, "Network is down")
        if port in self.listeners:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        if port == 0:
            port = self.free_port()
        limit = BACKLOG if backlog is None else backlog
        listener = MemoryListener(self, Address(host, port), limit)
        self.listeners[port] = listener
        return [listener]

    def free_port(self) -> int:
        """Give a port that nobody uses."""
        self._next_port += 1
        return self._next_port - 1

    async def open_unix_stream(self, path: str) -> MemoryStream:
        """Refuse: there are no files here."""
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOENT, "there are no Unix sockets in a MemoryNetwork")

    async def open_unix_listeners(self, path: str, backlog: int | None) -> list[Any]:
        """Refuse: there are no files here."""
        await trio.lowlevel.checkpoint()
        raise OSError(errno.EOPNOTSUPP, "there are no Unix sockets in a MemoryNetwork")


class MemoryListener(trio.abc.Listener[MemoryStream]):
    """Accepts the connections to one port of one node."""

    def __init__(self, machine: Machine, address: Address, backlog: int) -> None:
        self.socket = address
        self._machine = machine
        self._backlog = backlog
        self._is_closed = False
        self._waiting: deque[MemoryStream] = deque()
        self._lot = trio.lowlevel.ParkingLot()

    @property
    def is_full(self) -> bool:
        """Whether no more connections can wait to be accepted."""
        return len(self._waiting) >= self._backlog

    def offer(self, stream: MemoryStream) -> None:
        """Let a connection be accepted."""
        self._waiting.append(stream)
        self._lot.unpark()

    async def accept(self) -> MemoryStream:
        """Wait for a connection."""
        while True:
            await self._machine.at_work()
            if self._is_closed:
                raise trio.ClosedResourceError("the listener was closed")
            if self._waiting:
                break
            await self._lot.park()
        stream = self._waiting.popleft()
        try:
            await trio.sleep(self._machine.accept_delay)
        except trio.Cancelled:
            stream.close()
            raise
        return stream

    async def aclose(self) -> None:
        """Close it, and what it has not accepted."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close it, and what it has not accepted."""
        self._is_closed = True
        for stream in self._waiting:
            stream.close()
        self._waiting.clear()
        if self._machine.listeners.get(self.socket.port) is self:
            del self._machine.listeners[self.socket.port]
        self._lot.unpark_all()
