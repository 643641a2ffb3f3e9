"""Everything that can go wrong in a network in memory, by hand or at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
import trio

from trio_s2s.runtime import now
from trio_s2s.testing.pipe import Pipe
from trio_s2s.testing.ways import Ways

__all__ = ["Fault", "Faults", "Held"]

VERBS: Final = (
    "corrupt", "cut_after", "double_dial", "end", "forget_name", "heal", "hold", "kill",
    "partition", "pause", "refuse", "reset", "restart", "resume", "set_latency",
    "set_window", "silence", "slow_accept", "stall",
)  # fmt: skip
"""The methods of a network that a plan may name."""


@attrs.frozen
class Fault:
    """One fault of a plan: `Fault(30.0, "partition", ("gs-1", "master-1"))`."""

    at: float
    """Seconds from the start of the plan."""
    verb: str
    """The name of a method of the network."""
    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    """What is given by keyword, for instance `{"one_way": True}`."""

    def __attrs_post_init__(self) -> None:
        """Refuse a verb that there is not, where it is written."""
        if self.verb not in VERBS:
            raise ValueError(f"there is no fault {self.verb!r}; there are: {VERBS}")

    def __str__(self) -> str:
        """Write it as the call that it is."""
        given = [repr(arg) for arg in self.args]
        given += [f"{name}={value!r}" for name, value in self.options.items()]
        return f"at {self.at:g} s: {self.verb}({', '.join(given)})"


class Held:
    """What is held back from one node to another, see `MemoryNetwork.hold`."""

    def __init__(
        self, pipes: Callable[[], Iterator[Pipe]], let_go: Callable[[], None]
    ) -> None:
        self._pipes = pipes
        self._let_go = let_go

    def release(self, count: int = 1) -> None:
        """Let so many frames arrive, also if they are still to be sent."""
        for pipe in self._pipes():
            pipe.release(count)

    def release_all(self) -> None:
        """Hold nothing any more."""
        self._let_go()
        for pipe in self._pipes():
            pipe.release_all()


class Faults(Ways):
    """The verbs. Where two nodes are named, it is the way from the first to the second.

    All act at once, and on connections that there are and will be, unless they say
    otherwise.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.plan: list[Fault] = []
        """All faults that `play` was given."""

    # -- the way from one node to another --

    def set_latency(self, seconds: float, jitter: float = 0.0, *way: str) -> None:
        """Let everything take so many seconds, and a random part of `jitter` more.

        Without the names of two nodes it is meant for all.
        """
        for weather in self._ways(*way):
            weather.latency, weather.jitter = seconds, jitter
        if not way:
            self.default.latency, self.default.jitter = seconds, jitter
        self._note("set_latency", seconds, jitter, *way)

    def set_window(self, size: int, *way: str) -> None:
        """Let so many bytes be under way or unread before a sender has to wait."""
        for weather in self._ways(*way):
            weather.window = size
        if not way:
            self.default.window = size
        self._note("set_window", size, *way)

    def partition(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Let nothing arrive, until `heal`: what is sent waits, and fills windows.

        One way: only what `a` sends.
        """
        self._know(a, b)
        for source, target in ((a, b),) if one_way else ((a, b), (b, a)):
            self.way(source, target).is_cut = True
        self._note("partition", a, b, *["one way"] * one_way)

    def stall(self, a: str, b: str) -> None:
        """Let `b` read nothing of what `a` sends, until `heal`."""
        self._know(a, b)
        self.way(a, b).is_stalled = True
        self._note("stall", a, b)

    def heal(self, *nodes: str) -> None:
        """End partitions, stalls, cuts to come: of all, of a node, or between two."""
        self._know(*nodes)
        wanted = set(nodes)
        for way, weather in self.weather.items():
            if wanted.issubset(way):
                weather.is_cut = weather.is_stalled = False
        for pipe in self._pipes():
            if wanted.issubset((pipe.source.name, pipe.target.name)):
                pipe.thaw()
        self._note("heal", *nodes)

    def corrupt(self, a: str, b: str, writes: int = 1) -> None:
        """Turn over a bit in each of the next writes."""
        self._know(a, b)
        self.way(a, b).corrupts += writes
        self._note("corrupt", a, b, writes)

    def hold(self, a: str, b: str) -> Held:
        """Hold back what is sent, to be released frame by frame.

        A frame has all messages that left together.
        """
        self._know(a, b)
        weather = self.way(a, b)
        weather.is_held = True
        for pipe in self._pipes(a, b):
            pipe.hold()
        self._note("hold", a, b)

        def let_go() -> None:
            weather.is_held = False

        return Held(lambda: self._pipes(a, b), let_go)

    # -- the connections that there are --

    def reset(self, a: str, b: str) -> None:
        """Break the connections between two nodes, as if a firewall had had enough."""
        self._know(a, b)
        self._note("reset", a, b)
        for pipe in [*self._pipes(a, b), *self._pipes(b, a)]:
            pipe.reset()

    def end(self, a: str, b: str) -> None:
        """Let what `a` sends end here, as if it had closed."""
        self.cut_after(a, b, 0)

    def cut_after(self, a: str, b: str, count: int, *, resets: bool = False) -> None:
        """Let only so many bytes more pass, then end the stream, or break it."""
        self._know(a, b)
        self._note("cut_after", a, b, count)
        for connection in self.connections:
            for pipe, other in (connection.pipes, connection.pipes[::-1]):
                if (pipe.source.name, pipe.target.name) == (a, b):

                    def break_both(pipe: Pipe = pipe, other: Pipe = other) -> None:
                        pipe.reset()
                        other.reset()

                    pipe.cut_after(count, break_both if resets else None)

    def silence(self, a: str, b: str) -> None:
        """Let the connections die without a word: neither side is told, ever."""
        self._know(a, b)
        self._note("silence", a, b)
        for pipe in [*self._pipes(a, b), *self._pipes(b, a)]:
            pipe.is_silent = True

    # -- dialling --

    def refuse(self, name: str, *, refuses: bool = True) -> None:
        """Let a node refuse connections."""
        self.node(name).refuses = refuses
        self._note("refuse", name, *["no more"] * (not refuses))

    def forget_name(self, name: str, *, forgets: bool = True) -> None:
        """Let nobody find a node by its name."""
        (self.unknown.add if forgets else self.unknown.discard)(name)
        self._note("forget_name", name, *["no more"] * (not forgets))

    def slow_accept(self, name: str, seconds: float) -> None:
        """Let each connection to a node wait so long until it is accepted."""
        self.node(name).accept_delay = seconds
        self._note("slow_accept", name, seconds)

    def double_dial(self, name: str) -> None:
        """Let the next connection that a node makes arrive twice."""
        self.doubled.add(name)
        self._note("double_dial", name)

    # -- nodes --

    def pause(self, name: str) -> None:
        """Let a node stand still: its streams, its listeners, the package's timers.

        What sleeps in the application's own code goes on.
        """
        self._know(name)
        self._note("pause", name)
        self.node(name).pause()
        self.moved()

    def resume(self, name: str) -> None:
        """Let a node go on."""
        self._know(name)
        self._note("resume", name)
        self.node(name).resume()
        self.moved()

    # -- plans --

    async def play(self, plan: Iterable[Fault]) -> None:
        """Do what a plan says, each at its time."""
        began = now()
        faults = sorted(plan, key=lambda fault: fault.at)
        self.plan += faults
        for fault in faults:
            await trio.sleep_until(began + fault.at)
            getattr(self, fault.verb)(*fault.args, **fault.options)

    # -- within --

    def _ways(self, *way: str) -> list[Any]:
        return [self.way(*way)] if way else list(self.weather.values())

    def _pipes(self, *way: str) -> Iterator[Pipe]:
        for connection in self.connections:
            for pipe in connection.pipes:
                if not way or (pipe.source.name, pipe.target.name) == way:
                    yield pipe

    def _know(self, *names: str) -> None:
        """Refuse a name that no node has: a fault without effect hides a mistake."""
        for name in names:
            if name not in self.nodes:
                there = ", ".join(map(repr, self.nodes)) or "none yet"
                raise ValueError(f"there is no node {name!r}; the nodes are: {there}")

    def _note(self, verb: str, *args: object) -> None:
        self.trace.note("fault", verb, "", " ".join(map(str, args)))
        self.moved()
