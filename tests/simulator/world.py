"""One world: servers, work and troubles; then it heals, is probed, and stops."""

import gc
import random
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import attrs
import trio
import trio.testing

from tests.quiet import silent
from tests.simulator.checker import Checker, Violation
from tests.simulator.options import Options
from tests.simulator.plan import Trouble, draw_plan
from tests.simulator.reasons import SLOW
from tests.simulator.servers import Server, SimPeer
from tests.simulator.troubles import Troubles
from tests.simulator.wire import Wire
from trio_s2s.testing import MemoryNetwork, seeded
from trio_s2s.testing.trace import Entry

MOST_STEPS = 5_000_000
"""Steps of all tasks together; the longest world takes a tenth of it."""
MOST_WAITS = 1_000
"""Turns of Trio's loop in which no task takes a step; a jump of the clock takes two."""


@attrs.define
class Result:
    """What came of a world."""

    options: Options
    plan: list[Trouble]
    violation: str = ""
    counts: Counter[str] = attrs.field(factory=Counter)
    matrix: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    link_seconds: float = 0.0
    trace: str = ""
    last: list[str] = attrs.field(factory=list)


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks, and ends a world that would go on for ever."""

    def __init__(self, world: "World") -> None:
        self.count = 0
        self._idle = 0
        self._is_told = False
        self._world = world

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._idle = 0
        self.count += 1
        if self.count % MOST_STEPS == 0:
            self._end("V31", f"it is not over after {MOST_STEPS:,} steps")

    def before_io_wait(self, timeout: float) -> None:
        self._idle += 1
        if self._idle % MOST_WAITS == 0:
            self._end("V34", "all tasks wait, and nothing will ever happen again")

    def _end(self, number: str, text: str) -> None:
        if self._is_told:
            # Not even an interrupt has ended it: somebody waits behind a shield.
            signal.signal(signal.SIGALRM, _break_off)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            return
        self._is_told = True
        with suppress(Violation):
            self._world.checker.check(number, holds=False, text=text)
        signal.raise_signal(signal.SIGINT)


def _break_off(_: int, __: object) -> None:
    raise RuntimeError("the world can't be ended")


class World:
    """Runs what its options and its plan say."""

    def __init__(self, options: Options, plan: list[Trouble]) -> None:
        self.options = options
        self.plan = plan
        self.checker = Checker()
        self.wire = Wire(self._check_wire, self.checker.sent)
        self.network = MemoryNetwork(seed=options.seed)
        self.network.trace.watchers.append(self._watch)
        self.network.set_latency(options.latency, options.jitter)
        self.network.set_window(options.window)
        self.servers: dict[str, Server] = {}
        weather = options.latency, options.jitter, options.window
        self.troubles = Troubles(self.network, self.servers, self.checker, weather)
        self.result = Result(options, plan)
        if options.is_slow:
            self.checker.explained |= SLOW
        self.is_working = True
        self.is_stopping = False
        self._rng = random.Random(f"{options.seed} workload")
        self._news = 0

    async def run(self) -> None:
        """Live through all phases."""
        began, links = trio.current_time(), self.options.links()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as nursery:
            for name in self.options.names():
                self.network.node(name)
                await nursery.start(self._host, name)
            async with trio.open_nursery() as work:
                for name in self.options.names():
                    work.start_soon(self._work, name)
                await self.troubles.play(self.plan)
                left = began + self.options.duration - trio.current_time()
                await trio.sleep(max(0.0, left))
                self.is_working = False
                self.troubles.heal()
            self._check()
            await trio.sleep(self.options.all_well)
            await self._probe()
            self.checker.healed()
            for server in self.servers.values():
                server.pairs.over(trio.current_time(), self.options.config.resume_ttl)
            await self._stop()
            self._check()
            nursery.cancel_scope.cancel()
        self._over(tasks)
        self.result.link_seconds = (trio.current_time() - began) * len(links)

    async def _host(self, name: str, task_status: Any) -> None:
        while not self.is_stopping:
            make = partial(self._make, name)
            await self.network.run(make, task_status=task_status)
            task_status = trio.TASK_STATUS_IGNORED
            # If it was stopped in the middle of it all, another one takes its place.
            await trio.sleep(1)
            while self.network.node(name).is_dead:
                await self.network.trace.more()

    def _check(self) -> None:
        if self.checker.violation is not None:
            raise self.checker.violation

    def _make(self, name: str) -> Server:
        rng = random.Random(f"{self.options.seed} {name} {len(self.checker.lives)}")
        server = Server(name, self.options, self.checker, rng)
        self.servers[name] = server
        return server

    def _watch(self, entry: Entry) -> None:
        # Whoever has read wrong bytes may answer anything.
        if not self.checker.is_corrupted:
            try:
                self.wire.watch(entry)
            except (LookupError, TypeError) as error:
                # It must be seen here: where it happens it may be taken for theirs.
                text = f"{entry} can't be judged: {error!r}"
                self.checker.check("V21", holds=False, text=text)

    def _check_wire(self, number: str, holds: bool, text: str) -> None:
        self.checker.check(number, holds=holds, text=text)

    # -- work --

    async def _work(self, name: str) -> None:
        while self.is_working:
            async with trio.open_nursery() as nursery:
                # Each of them is cancelled once at most.
                self.troubles.calls[name] = nursery.cancel_scope
                await self._act(name, nursery)

    async def _act(self, name: str, nursery: trio.Nursery) -> None:
        while self.is_working:
            await trio.sleep(self._rng.expovariate(1 / self.options.pace))
            server = self.servers[name]
            peers: list[Any] = list(server.peers)
            if peers and not self.network.node(name).is_dead:
                peer = self._rng.choice(peers)
                nursery.start_soon(self._action(server, peer))

    def _action(self, server: Server, peer: SimPeer) -> Callable[[], Awaitable[None]]:
        rng = self._rng
        limit = rng.choice([0.01, 0.3, 3.0, 15.0])
        match rng.randrange(10):
            case 0 | 1 | 2 | 3:
                return partial(server.call, peer, rng.choice([0, 0, 1, 3]), limit)
            case 4:
                return partial(self._many_calls, server, peer, limit)
            case 5 | 6 | 7:
                channel, count = rng.randrange(4), rng.choice([1, 1, 4, 12])
                return partial(server.send, peer, channel, count, limit)
            case 8:
                self._news += 1
                slow = rng.choice(["wait", "skip", "disconnect"])
                if slow == "disconnect":
                    self.checker.happens("disconnect")
                return partial(server.tell_all, self._news, slow)
        return partial(server.ask_photons_way, peer)

    async def _many_calls(self, server: Server, peer: SimPeer, limit: float) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(self._rng.choice([2, 5, 12])):
                nursery.start_soon(server.call, peer, 0, limit)

    # -- the end --

    async def _probe(self) -> None:
        for source, target in self.options.links():
            link = self.servers[source].links[target]
            well = self.options.all_well
            text = f"{link!r} is not connected {well:g} s after all was well"
            self.checker.check("V32", holds=link.peer is not None, text=text)
            assert link.peer is not None
            far = self.servers[target].peers.get(source)
            text = f"{target} does not know {source}, which is connected to it"
            self.checker.check("V8", holds=far is not None, text=text)
            for one, other in (source, target), (target, source):
                same = [
                    each for each in self.servers[one].peers if each.server_id == other
                ]
                text = f"{one} has {len(same)} connections with {other}"
                self.checker.check("V23", holds=len(same) == 1, text=text)
            for server, peer in (source, link.peer), (target, far):
                await self._probe_one(self.servers[server], peer)

    async def _probe_one(self, server: Server, peer: Any) -> None:
        answered = self.checker.counts["calls: answered"]
        while self.checker.counts["calls: answered"] == answered:
            failed = self.checker.counts["calls: code -1"]
            await server.call(peer, 0, 10.0)
            if self.checker.counts["calls: code -1"] == failed:
                break
        is_more = self.checker.counts["calls: answered"] > answered
        text = f"a request by {peer!r} of {server!r} is not answered"
        self.checker.check("V33", holds=is_more, text=text)

    async def _stop(self) -> None:
        config = self.options.config
        limit = config.drain_timeout + 2 * config.hook_timeout + 5
        self.is_stopping = True
        for name, server in self.servers.items():
            with trio.move_on_after(limit) as scope:
                report = await server.stop()
            text = f"{name} has not stopped after {limit:g} s"
            holds = not scope.cancelled_caught and report.is_finished
            self.checker.check("V35", holds=holds, text=text)

    def _over(self, tasks: int) -> None:
        check = self.checker.check
        self.checker.over()
        left = [connection.near.socket for connection in self.network.connections]
        check("V26", holds=not left, text=f"streams are open: {left}")
        more = trio.lowlevel.current_statistics().tasks_living - tasks
        check("V25", holds=not more, text=f"{more} tasks more than at the start")
        threads = trio.to_thread.current_default_thread_limiter().borrowed_tokens
        check("V29", holds=not threads, text=f"{threads} threads are at work")


@contextmanager
def all_is_swept(checker: Checker) -> Iterator[None]:
    """Look for warnings, and for what went wrong where nobody could be told."""
    unraisable: list[str] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda it: unraisable.append(str(it))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            yield
            gc.collect()
        finally:
            sys.unraisablehook = hook
    found = unraisable + [str(one.message) for one in warned]
    checker.check("V30", holds=not found, text=f"{found[:5]}")


def run_world(options: Options, plan: list[Trouble] | None = None) -> Result:
    """Run a world; what does not hold is in the result."""
    plan = draw_plan(options) if plan is None else plan
    world = World(options, plan)
    steps = Steps(world)
    clock = trio.testing.MockClock(autojump_threshold=0)
    try:
        with silent(), seeded(options.seed), all_is_swept(world.checker):
            trio.run(world.run, clock=clock, instruments=[steps])
    except BaseException as error:
        if not isinstance(error, Exception) and not world.checker.violation:
            raise
        found = world.checker.violation or _first(error)
        world.result.violation = f"{type(found).__name__}: {found}"
    result = world.result
    result.counts = world.checker.counts
    result.counts["steps"] = steps.count
    result.matrix = world.troubles.matrix
    result.trace = world.network.trace.hash()
    result.last = world.network.trace.last(40) if result.violation else []
    return result


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
