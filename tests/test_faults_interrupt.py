"""Interrupts and exits: raised at every step, and by whatever an application has."""

import inspect
import itertools
import signal
from contextlib import suppress
from typing import Any

import attrs
import outcome
import pytest
import trio
import trio.testing

from tests.peers import Dialler, Echo, Note, start_server
from tests.steps import Far, World, check_hooks
from trio_s2s import (
    Application,
    DisconnectReason,
    InboundPeer,
    InitRequest,
    Operation,
    OperationRequest,
    S2SError,
    handles,
    open_application,
    open_peer,
    open_tcp_peer,
)
from trio_s2s.codec import unpack_messages
from trio_s2s.runtime import current_runtime
from trio_s2s.testing import Injector, seeded

Exits = KeyboardInterrupt, SystemExit, GeneratorExit


# -- at every step --


class Signal(Injector):
    """Is Control-C: Trio raises it in the main task."""

    def fire(self, task: trio.lowlevel.Task) -> None:
        signal.raise_signal(signal.SIGINT)


class Thrown(Injector):
    """Raises in the very task whose step it is, be it the package's own."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_ours(task) and not self._is_protected(task):
            super().before_task_step(task)

    def fire(self, task: trio.lowlevel.Task) -> None:
        inner: Any = task
        inner._next_send = outcome.Error(KeyboardInterrupt())

    def _is_protected(self, task: trio.lowlevel.Task) -> bool:
        # No interrupt comes to a task that has not begun, or at the end of a nursery.
        places = {frame.f_code.co_name for frame, _ in task.iter_await_frames()}
        has_begun = inspect.getcoroutinestate(task.coro) != inspect.CORO_CREATED
        return not has_begun or "_nested_child_finished" in places

    def _is_ours(self, task: trio.lowlevel.Task) -> bool:
        # A task of Trio's own is not to be hit.
        while task is not self._task and task.parent_nursery is not None:
            task = task.parent_nursery.parent_task
        return task is self._task


class Place(Application):
    """Is somewhere, and accepts everybody."""

    def __init__(self, world: World, port: int) -> None:
        super().__init__(f"Place {port}", server_id=f"place-{port}")
        self.world = world
        self.port = port
        self.hooks: list[str] = []

    async def setup(self) -> None:
        self.hooks.append("setup")
        await self.listen_tcp(self.port)

    async def tear_down(self) -> None:
        self.hooks.append("tear_down")

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return self.world.far(init_request)


async def program(world: World, strike: Injector) -> None:
    """Run two applications, a link between them, and a peer, for a moment."""
    current_runtime.set(world)
    strike.aim(trio.CancelScope())
    async with (
        open_application(Place(world, 1)),
        open_application(Place(world, 2)) as hub,
    ):
        link = hub.connect_tcp("localhost", 1, world.near)
        await link.request(Echo("a"), wait_connected=True)
        async with open_tcp_peer("localhost", 2, world.near) as peer:
            await peer.request(Echo("b"))
            await peer.send_event(Note(1))
    strike.rest()


def check_came_out(kind: type[BaseException], error: BaseException | None) -> None:
    """See that an exit came out, and beside it only what connections told of it."""
    assert error is not None, "it was swallowed"
    if isinstance(error, BaseExceptionGroup):
        found, others = error.split(kind)
        assert found is not None
        assert others is None or others.split(S2SError)[1] is None
    else:
        assert type(error) is kind


def interrupt(step: int, kind: type[Injector]) -> tuple[World, Injector, Any]:
    """Run the program, interrupted at a step; give what came out of it."""
    world, strike = World(), kind(step, own=False)
    world.aborts = True
    clock = trio.testing.MockClock(autojump_threshold=0)
    error: BaseException | None = None
    try:
        with seeded(step):
            trio.run(program, world, strike, clock=clock, instruments=[strike])
    except BaseException as caught:
        error = caught
    return world, strike, error


@pytest.mark.parametrize(
    ("kind", "stride"),
    [pytest.param(Signal, 3, id="signal"), pytest.param(Thrown, 3, id="thrown")],
)
def test_j11_interrupt_at_any_step_ends_the_process(
    kind: type[Injector], stride: int
) -> None:
    interrupted = 0
    for step in itertools.count(1, stride):
        world, strike, error = interrupt(step, kind)
        if not strike.has_fired:
            break
        interrupted += 1
        try:
            check_came_out(KeyboardInterrupt, error)
            if kind is Signal:
                assert type(error) is KeyboardInterrupt  # No group around it.
                world.check()
            for peer in world.peers:
                check_hooks(peer)
        except AssertionError as wrong:
            wrong.add_note(f"at step {step}")
            raise
    assert error is None
    assert interrupted > 50


# -- in what an application has --


HOOKS = ["connected", "disconnected"]


@attrs.frozen
class Quick(Operation[None], code=4):
    """Is handled by a plain method."""


class Exiter(Dialler):
    """Raises wherever the test wants it."""

    where = ""
    kind: type[BaseException] = KeyboardInterrupt

    def exit(self, where: str) -> None:
        if self.where == where:
            raise self.kind(where)

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        self.exit("handler")
        return operation.text

    @handles(Quick)
    def quick(self, operation: Quick) -> None:
        self.exit("plain handler")

    @handles(Note)
    async def note(self, event: Note) -> None:
        self.exit("event handler")

    async def on_operation_response(self, *args: object) -> None:
        self.exit("on_operation_response")

    async def on_connected(self) -> None:
        await super().on_connected()
        self.start_soon(self.work)
        self.exit("on_connected")

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        await super().on_disconnected(reason, detail)
        self.exit("on_disconnected")

    async def work(self) -> None:
        self.exit("task")
        await self.send_operation_request(OperationRequest(1, {0: "x"}))


class Provoker(Far):
    """Sends one of each."""

    async def ask(self) -> None:
        for operation in Echo("x"), Quick():
            with suppress(S2SError):
                await self.request(operation)
        with suppress(S2SError):
            await self.send_event(Note(1))


WHERE = [
    "handler",
    "plain handler",
    "event handler",
    "on_operation_response",
    "on_connected",
    "on_disconnected",
    "task",
    "decoder",
]


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        pytest.param(where, kind, id=f"{row} {kind.__name__} in {where}")
        for row, kinds in (("J12", Exits[:1]), ("J13", Exits[1:]))
        for kind in kinds
        for where in WHERE
    ],
)
def test_exit_from_within_ends_the_process(
    where: str, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Exiter()
    peer.where, peer.kind = where, kind
    far: list[Provoker] = []

    def decode(body: bytes, max_elements: int) -> Any:
        if peer.where == "decoder" and peer.record:
            peer.where = ""
            raise kind
        return unpack_messages(body, max_elements)

    def accept(init_request: InitRequest) -> InboundPeer:
        far.append(Provoker(init_request))
        return far[0]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server = await start_server(nursery, accept)
            async with open_peer(server.listener.dial(), lambda: peer):
                await trio.sleep(1)

    monkeypatch.setattr("trio_s2s.inbox.unpack_messages", decode)
    clock = trio.testing.MockClock(autojump_threshold=0)
    with pytest.raises(BaseException) as caught:
        trio.run(main, clock=clock)
    check_came_out(kind, caught.value)
    for each in peer, *far:
        hooks = [line.split()[0] for line in each.record]
        assert [one for one in hooks if one in HOOKS] == HOOKS
