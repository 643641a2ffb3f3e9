"""Runs that are struck at one step after another, on wires that keep a record."""

import itertools
import os
import traceback
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    suppress,
)
from typing import Any

import attrs
import trio
import trio.testing

from tests.peers import (
    Acceptor,
    Dialler,
    Echo,
    MemoryListener,
    MemoryStream,
    Note,
    Recorder,
    Wait,
)
from trio_s2s import (
    InitRequest,
    Operation,
    OperationError,
    PeerConfig,
    S2SError,
    handles,
    open_peer,
    open_tcp_peer,
    serve_peers,
)
from trio_s2s.codec import unpack_messages
from trio_s2s.framing import FrameDecoder
from trio_s2s.runtime import Runtime
from trio_s2s.tasktree import task_tree
from trio_s2s.testing import Injector, seeded

PIECE = 24
"""Bytes that a `Tape` sends at once: most frames have more, and could be torn."""
LONG = 30.0
"""Seconds in which everything has ended, whatever was cancelled."""
MOST_VIRTUAL_SECONDS = 3600


# -- peers that have much to do --


@attrs.frozen
class Back(Operation[str], code=3):
    """Asks the caller back before it answers."""

    text: str


class Busy(Recorder):
    """Has handlers that wait, ask back and send events; both sides have all of them."""

    strike: Injector | None = None
    """Whose steps are counted: those of the handler of `Back`."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        await trio.lowlevel.checkpoint()
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)

    @handles(Back)
    async def back(self, operation: Back) -> str:
        if self.strike is not None:
            self.strike.aim_from_here()
        await self.send_event(Note(1))
        answer = await self.request(Echo(operation.text))
        await trio.sleep(0.01)
        return answer

    @handles(Note)
    async def note(self, event: Note) -> None:
        await trio.sleep(0.01)
        self.record.append(f"note {event.number}")


class Near(Busy, Dialler):
    """The dialling side of it, which asks while it connects."""

    async def on_connected(self) -> None:
        await super().on_connected()
        with suppress(OperationError):  # CANCELLED, where the other side ends.
            await self.request(Echo("hello"))


class Far(Busy, Acceptor):
    """The accepting side of it, which has a task of its own."""

    connects_in = 0.0
    """Seconds that its `on_connected` takes."""

    async def on_connected(self) -> None:
        await super().on_connected()
        if self.connects_in:
            await trio.sleep(self.connects_in)
        self.start_soon(self.ask)
        await trio.lowlevel.checkpoint()

    async def ask(self) -> None:
        with suppress(S2SError):  # The other side may be about to leave.
            await self.request(Echo("and you?"))


# -- wires --


class Tape(trio.abc.HalfCloseableStream):
    """A stream over another that sends in small pieces, and keeps what it has sent."""

    def __init__(self, inner: MemoryStream) -> None:
        self.inner = inner
        self.sent = bytearray()
        self.is_closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for start in range(0, len(data), PIECE):
            piece = bytes(data[start : start + PIECE])
            await self.inner.send_all(piece)
            self.sent += piece

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        # A stapled stream's own `aclose` may lose what is raised in it.
        self.is_closed = True
        self.inner.send_stream.close()
        self.inner.receive_stream.close()
        await trio.lowlevel.checkpoint()

    def rest(self) -> str:
        """Check that whole frames were sent; tell what is behind the last one."""
        decoder = FrameDecoder(2**20)
        decoder.receive_data(self.sent)
        is_handshake = True
        while (body := decoder.next_frame()) is not None:
            if not is_handshake:
                assert [message for message, _ in unpack_messages(body, 4096)]
            is_handshake = False
        return decoder.progress()


class World(Runtime):
    """All wires, peers and listeners of one run."""

    def __init__(self) -> None:
        # Without a sign of life now and then there are fewer steps to look at.
        self.config = PeerConfig(heartbeat_interval=LONG)
        self.tapes: list[tuple[Tape, Tape]] = []
        self.peers: list[Busy] = []
        self.strike: Injector | None = None
        """For the peers of the accepting side."""
        self.connects_in = 0.0
        """Seconds that `on_connected` of the accepting side takes."""
        self.has_frames = True
        """Whether what the wires carry can be read."""
        self.aborts = False
        """Whether a peer is aborted, which may happen in the middle of a frame."""
        self._listeners: dict[int, MemoryListener] = {}

    # -- what a program asks for --

    def near(self) -> Near:
        peer = Near()
        self.peers.append(peer)
        return peer

    def far(self, init_request: InitRequest) -> Far:
        peer = Far(init_request)
        peer.strike = self.strike
        peer.connects_in = self.connects_in
        self.peers.append(peer)
        return peer

    def open(self) -> AbstractAsyncContextManager[Near]:
        """Connect to the server of this world."""
        return open_peer(self.dial(), self.near, config=self.config)

    def open_tcp(self, port: int) -> AbstractAsyncContextManager[Near]:
        """Connect to an application of this world, where it is the runtime."""
        return open_tcp_peer("localhost", port, self.near, config=self.config)

    def dial(self, port: int = 0) -> Tape:
        near, far = map(Tape, trio.testing.memory_stream_pair())
        try:
            self._listeners[port].offer(far)
        except (KeyError, trio.ClosedResourceError):
            raise ConnectionRefusedError(111, "Connection refused") from None
        self.tapes.append((near, far))
        return near

    def listen(self, port: int = 0) -> MemoryListener:
        listener = self._listeners[port] = MemoryListener()
        return listener

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return self.dial(port)

    async def open_tcp_listeners(self, port: int, host: str, backlog: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return [self.listen(port)]

    # -- checking --

    def check(self) -> None:
        """Check what must hold when all is over."""
        for peer in self.peers:
            check_hooks(peer)
            check_nothing_left(peer)
        for near, far in self.tapes:
            # A connection that nobody has accepted belongs to the listener's queue.
            assert near.is_closed, "a stream was left open"
            assert far.is_closed or not far.sent, "a stream was left open"
            if self.has_frames:
                self._check_frames(near, far)

    def _check_frames(self, near: Tape, far: Tape) -> None:
        was_welcome = bool(far.sent) and not far.rest()
        for tape in near, far:
            torn = tape.rest()
            # Only who gives up in the middle of the handshake may leave half a frame.
            assert not torn or not was_welcome or self.aborts, f"a torn frame: {torn}"


def check_hooks(peer: Recorder) -> None:
    """Check that every `on_connected` has had its one `on_disconnected`."""
    lines = (line.split()[0] for line in peer.record)
    hooks = [line for line in lines if line not in ("note", "response")]
    assert hooks in ([], ["failed"], ["connected", "disconnected"]), peer.record


def check_nothing_left(peer: Recorder) -> None:
    """Check that a peer that is over holds no caller, no message and no task."""
    session = peer._session
    if session is None:
        return
    connection = session.connection
    calls = connection.calls
    dispatcher: Any = session.responded.__self__  # type: ignore[attr-defined]  # bound
    assert session.finished.is_set()
    assert connection.closed.is_set()
    assert not any([calls._calls, calls._lanes, calls._flushing]), "a seat is left"
    assert not connection.outbox, "a buffer is left"
    assert connection.outbox.size == 0, "a buffer is left"
    assert session.tasks.running == 0, "a task is left"
    assert not dispatcher.serving._requests, "a request is left"
    assert not dispatcher.serving._held, "a request is left"


def check_idle(peer: Recorder) -> None:
    """Check that a peer that lives, and has nothing to do, has all its slots free."""
    assert peer._session is not None
    connection = peer._session.connection
    calls, protocol = connection.calls, connection.protocol
    assert connection.ending.reason is None
    assert not any([calls._calls, calls._lanes, calls._flushing]), "a seat is left"
    assert connection.outbox.size == 0, "a buffer is left"
    assert protocol.is_idle, "a request is not answered"
    assert not protocol._abandoned, "an answer is waited for"
    for window in protocol._requests_out, protocol._requests_in:
        assert (window.count, window.weight) == (0, 0), "a slot is left"
    for events in protocol._events_in:
        # Credit goes back in lumps, each of at least half of what was under way.
        assert 0 <= events.weight <= events.max_weight, "credit is left"


@asynccontextmanager
async def served(world: World) -> AsyncGenerator[Near]:
    """Run a server with one quiet peer, which must not notice anything.

    At the end no other task is left.
    """
    async with trio.open_nursery() as nursery:
        await start_serving(nursery, world)
        async with world.open() as quiet:
            await trio.testing.wait_all_tasks_blocked()
            before = tasks()
            yield quiet
            await trio.sleep(LONG)
            assert tasks() == before, task_tree()
            assert "disconnected" not in " ".join(quiet.record)
            assert await quiet.request(Echo("alive")) == "alive"
        nursery.cancel_scope.cancel()


async def start_serving(nursery: trio.Nursery, world: World) -> None:
    """Serve the peers of a world, as a task of a nursery."""

    async def serve(task_status: trio.TaskStatus[Any]) -> None:
        await serve_peers(
            world.far, [world.listen()], config=world.config, task_status=task_status
        )

    await nursery.start(serve)


@asynccontextmanager
async def waiting(peer: Recorder) -> AsyncGenerator[dict[str, Any]]:
    """Have a request under way, and give how it ends."""
    told: dict[str, Any] = {}

    async def ask() -> None:
        try:
            told["answer"] = await peer.request(Wait())
        except S2SError as error:
            told["error"] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        yield told


def tasks() -> list[str]:
    """Give the names of all tasks, in the order in which they are drawn."""
    return [line.strip().split("  ")[0] for line in task_tree().splitlines()]


# -- exploring --

Run = Callable[[World, Injector], Awaitable[None]]


@attrs.define
class Count:
    """What came of one scenario."""

    name: str
    own_steps: int = 0
    """Of the task that is cancelled, in the longest run."""
    steps: int = 0
    """Of all tasks, in the longest run."""
    cancels: int = 0
    seeds: int = 0
    violations: list[str] = attrs.field(factory=list)

    def note(self, strike: Injector) -> None:
        """Take note of a run to its very end."""
        if strike.own:
            self.own_steps = max(self.own_steps, strike.steps)
        else:
            self.steps = max(self.steps, strike.steps)

    def add(self, other: "Count") -> None:
        """Add up, for a total."""
        self.own_steps += other.own_steps
        self.steps += other.steps
        self.cancels += other.cancels
        self.seeds = max(self.seeds, other.seeds)
        self.violations += other.violations

    def line(self) -> str:
        """Say it in one line."""
        return (
            f"{self.name:38} {self.own_steps:5} {self.steps:6} {self.cancels:8}"
            f" {self.seeds:5} {len(self.violations):10}"
        )


HEADING = (
    f"{'scenario':38} {'own':>5} {'all':>6} {'cancels':>8} {'seeds':>5}"
    f" {'violations':>10}"
)


def run_struck(run: Run, strike: Injector, *, real_clock: bool = False) -> None:
    """Run a scenario once, and check what it has left."""
    world = World()

    async def main() -> None:
        with trio.fail_after(MOST_VIRTUAL_SECONDS):  # The clock jumps: a hang ends.
            await run(world, strike)

    clock = None if real_clock else trio.testing.MockClock(autojump_threshold=0)
    trio.run(main, clock=clock, instruments=[strike])
    world.check()


def explore(
    name: str, run: Run, seeds: Iterable[int], stride: int = 1, **options: bool
) -> Count:
    """Run a scenario again and again, struck at each step of its own, then of any.

    Of the steps of any task only every `stride`-th is struck.
    """
    count = Count(name)
    for seed in seeds:
        count.seeds += 1
        for own in True, False:
            # Not the same steps for each seed.
            first = 1 if own else 1 + seed % stride
            for step in itertools.count(first, 1 if own else stride):
                strike = Injector(step, own=own)
                try:
                    with seeded(seed):
                        run_struck(run, strike, **options)
                except BaseException as error:
                    kind = "own" if own else "any"
                    where = f"{name}: seed {seed}, {kind} step {step}"
                    count.violations.append(f"{where}: {told(error)}")
                    if isinstance(error, KeyboardInterrupt):
                        raise
                if not strike.has_fired:
                    count.note(strike)
                    break
                count.cancels += 1
    return count


def told(error: BaseException) -> str:
    """Say what went wrong first, and where."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r} ({os.path.basename(place.filename)}:{place.lineno})"


def traces(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """Give the order in which tasks that all are ready run, for each seed."""

    async def main() -> tuple[int, ...]:
        order: list[int] = []

        async def note(number: int) -> None:
            for _ in range(3):
                order.append(number)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(note, number)
        return tuple(order)

    found = []
    for seed in seeds:
        with seeded(seed):
            found.append(trio.run(main))
    return found
