"""Who can be dialled in a network in memory, and how it is to get there."""

import errno
import random
import socket
from typing import Final

import attrs
import trio

from trio_s2s.testing.machine import Machine, MemoryListener
from trio_s2s.testing.pipe import Pipe
from trio_s2s.testing.stream import Address, MemoryStream
from trio_s2s.testing.trace import Trace
from trio_s2s.testing.weather import Weather

__all__ = ["Connection", "Ways"]

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@attrs.frozen(eq=False)
class Connection:
    """Both ends of a connection that was dialled."""

    near: MemoryStream
    far: MemoryStream
    ghost: MemoryStream | None = None
    """What a connection that was doubled looks like to the acceptor."""

    @property
    def pipes(self) -> tuple[Pipe, Pipe]:
        """Both directions: that of the dialler, and that of the acceptor."""
        return self.near.outgoing, self.far.outgoing

    @property
    def is_over(self) -> bool:
        """Whether all ends are closed."""
        ends = self.near, self.far, self.ghost
        return all(end.is_closed for end in ends if end is not None)


class Ways:
    """All nodes, and how it is to send from one to another."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.trace: Trace = Trace()
        self.nodes: dict[str, Machine] = {}
        self.default: Weather = Weather()
        self.weather: dict[tuple[str, str], Weather] = {}
        self.doubled: set[str] = set()
        """Nodes whose next dial arrives twice."""
        self.unknown: set[str] = set()
        """Nodes whose name nobody finds."""
        self._connections: list[Connection] = []
        self._opened = 0
        self._rng = random.Random(f"{seed} network")
        self._moved = trio.lowlevel.ParkingLot()

    def node(self, name: str) -> Machine:
        """Give the node of this name; the first to ask makes it."""
        if name not in self.nodes:
            self.nodes[name] = Machine(name, self.seed, self._dial, self.trace.note)
        return self.nodes[name]

    def way(self, source: str, target: str) -> Weather:
        """Give the weather from one node to another."""
        key = source, target
        if key not in self.weather:
            self.weather[key] = attrs.evolve(self.default)
        return self.weather[key]

    @property
    def connections(self) -> list[Connection]:
        """Those with an end that is not closed."""
        self._connections = [one for one in self._connections if not one.is_over]
        return self._connections

    def moved(self) -> None:
        """Let everybody who waits look again."""
        self._moved.unpark_all()
        for connection in self.connections:
            for pipe in connection.pipes:
                pipe.moved()
            if connection.ghost is not None:
                connection.ghost.incoming.moved()

    # -- dialling --

    async def _dial(self, source: Machine, host: str, port: int) -> MemoryStream:
        await source.at_work()
        if source.is_dead:
            raise OSError(errno.ENETDOWN, "Network is down")
        target = self._find(source, host, port)
        self.trace.note("dial", source.name, target.name, f"port {port}")
        there, back = (
            self.way(source.name, target.name),
            self.way(target.name, source.name),
        )
        while there.is_cut or back.is_cut or target.is_off:
            await self._moved.park()
        await trio.sleep(there.latency + back.latency)
        await source.at_work()
        listener = target.listeners.get(port)
        if listener is None or target.refuses or listener.is_full:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return self._connect(source, target, listener)

    def _find(self, source: Machine, host: str, port: int) -> Machine:
        if host not in LOOPBACK:
            if host not in self.nodes or host in self.unknown:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return self.nodes[host]
        if port in source.listeners:
            return source
        found = [node for node in self.nodes.values() if port in node.listeners]
        if len(found) > 1:
            names = ", ".join(node.name for node in found)
            raise ValueError(
                f"several nodes listen on port {port}: dial one by its name ({names})"
            )
        return found[0] if found else source

    def _connect(
        self, source: Machine, target: Machine, listener: MemoryListener
    ) -> MemoryStream:
        ports = source.free_port(), listener.socket.port
        near, far = self._pair(source, target, ports)
        ghost = None
        if source.name in self.doubled:
            self.doubled.remove(source.name)
            lost, ghost = self._pair(source, target, ports)
            near.outgoing.mirror = lost.outgoing
            # What it is told nobody reads.
            lost.incoming.weather = Weather(window=2**62, is_stalled=True)
            listener.offer(ghost)
        self._connections.append(Connection(near, far, ghost))
        text, number = f"port {ports[1]}", near.outgoing.connection
        self.trace.note("open", source.name, target.name, text, b"", number)
        listener.offer(far)
        return near

    def _pair(
        self, source: Machine, target: Machine, ports: tuple[int, int]
    ) -> tuple[MemoryStream, MemoryStream]:
        self._opened += 1
        there, back = self._pipe(source, target), self._pipe(target, source)
        near, far = (source.name, ports[0]), (target.name, ports[1])
        return (
            MemoryStream(there, back, Address(*near, *far)),
            MemoryStream(back, there, Address(*far, *near)),
        )

    def _pipe(self, source: Machine, target: Machine) -> Pipe:
        way = self.way(source.name, target.name)
        return Pipe(way, self._rng, self.trace, source, target, self._opened)
