"""Twin of `hosting.py`."""

import logging
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.network import Caller, InMemory, Server, memory
from tests.peers import CancelAtStep, Dialler, Wait, cancel_at_every_step
from trio_s2s import (
    Application,
    ConnectionRejectedError,
    FailureReason,
    InboundPeer,
    InitRequest,
    LinkState,
    ListenerConfig,
    ListenError,
    LocalProtocolError,
    OperationRequest,
    PeerConfig,
    S2SError,
    open_application,
    open_peer,
    open_tcp_peer,
    run_application,
    serve_applications,
)
from trio_s2s.tasktree import task_tree

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
settled = trio.testing.wait_all_tasks_blocked


class Recording(Application):
    """Notes its hooks, and does in them what it is told to."""

    def __init__(self, **todo: Any) -> None:
        super().__init__("Recording", config=PeerConfig(hook_timeout=2))
        self.todo = todo
        self.record: list[str] = []

    async def setup(self) -> None:
        self.record.append("setup")
        await self.todo.get("setup", trio.lowlevel.checkpoint)()

    async def tear_down(self) -> None:
        self.record.append("tear_down")
        await self.todo.get("tear_down", trio.lowlevel.checkpoint)()
        self.record.append("torn down")


WHOLE = ["setup", "tear_down", "torn down"]


async def fail() -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("a bug")


# -- hooks, once each --


async def test_hooks_run_once_around_the_block(autojump_clock: Clock) -> None:
    application = Recording()
    async with open_application(application) as same:
        assert same is application
        assert application.record == ["setup"]
    assert application.record == WHOLE


async def test_error_of_setup_comes_out_and_tear_down_runs(
    autojump_clock: Clock,
) -> None:
    application = Recording(setup=fail)
    with pytest.raises(ValueError, match="a bug"):
        async with open_application(application):
            raise AssertionError("not reached")
    assert application.record == WHOLE


async def test_error_of_the_block_comes_out_as_it_is(autojump_clock: Clock) -> None:
    application = Recording()
    wanted = KeyError("x")
    with pytest.raises(KeyError) as caught:
        async with open_application(application):
            raise wanted
    assert caught.value is wanted
    assert application.record == WHOLE


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_interrupt_of_the_block_comes_out(
    kind: type[BaseException], autojump_clock: Clock
) -> None:
    application = Recording()
    with pytest.raises(kind):
        async with open_application(application):
            raise kind
    assert application.record == WHOLE


async def test_error_of_tear_down_comes_out(autojump_clock: Clock) -> None:
    application = Recording(tear_down=fail)
    with pytest.raises(ValueError, match="a bug"):
        async with open_application(application):
            await trio.sleep(1)
    assert application.record == WHOLE[:2]


async def test_error_of_the_block_is_worth_more_than_that_of_tear_down(
    autojump_clock: Clock, caplog: Log
) -> None:
    with pytest.raises(KeyError):
        async with open_application(Recording(tear_down=fail)):
            raise KeyError
    [record] = caplog.records
    assert "tear_down raised" in record.getMessage()
    assert record.exc_info is not None


async def test_tear_down_is_shielded_and_bounded(
    autojump_clock: Clock, caplog: Log
) -> None:
    application = Recording(tear_down=partial(trio.sleep, 1))
    hanging = Recording(tear_down=trio.sleep_forever)
    with trio.move_on_after(5):
        async with open_application(application), open_application(hanging):
            await trio.sleep_forever()
    assert application.record == WHOLE
    assert hanging.record == WHOLE[:2]
    assert trio.current_time() == 5 + 2 + 1
    assert "tear_down took more than 2 s (hook_timeout)" in caplog.text


async def test_nobody_is_accepted_before_setup_is_done(autojump_clock: Clock) -> None:
    class Slow(Server):
        async def setup(self) -> None:
            await super().setup()
            await trio.sleep(3)
            assert self.made == []

    async with memory() as world, trio.open_nursery() as nursery:
        server = Slow()
        nursery.start_soon(run_application, server)
        await trio.sleep(1)
        async with open_peer(await world.open_tcp_stream("", 4520)):
            assert trio.current_time() == 3
        nursery.cancel_scope.cancel()


# -- running --


async def test_application_runs_once_at_a_time(autojump_clock: Clock) -> None:
    application = Recording()
    async with open_application(application):
        first = application._running.node.identity.instance_id
        with pytest.raises(LocalProtocolError, match="running> runs already"):
            async with open_application(application):
                raise AssertionError("not reached")
        assert application.record == ["setup"]
    async with open_application(application):
        assert application._running.node.identity.instance_id != first
    assert application.record == WHOLE * 2


async def test_block_that_was_stopped_ends_its_own_run_only(
    autojump_clock: Clock,
) -> None:
    application = Recording()
    leave = trio.Event()

    async def first() -> None:
        async with open_application(application):
            await leave.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await settled()
        await application.stop()
        async with open_application(application):
            leave.set()
            await settled()
            assert application.record == ["setup", *WHOLE]
            assert repr(application).endswith("running>")


async def test_running_ends_when_it_is_stopped(autojump_clock: Clock) -> None:
    application = Recording()
    async with trio.open_nursery() as nursery:
        assert await nursery.start(run_application, application) is application
        await trio.sleep(1)
        assert application.record == ["setup"]
        await application.stop()
    assert application.record == WHOLE


@pytest.mark.parametrize("openings", [1, 2])
async def test_stop_while_its_listeners_open_is_no_error(
    openings: int, autojump_clock: Clock
) -> None:
    application = Recording()
    application._openings = [ListenerConfig(port) for port in range(1, openings + 1)]

    class Stopping(InMemory):
        async def open_tcp_listeners(self, *where: Any) -> Any:
            await application.stop()
            return await super().open_tcp_listeners(*where)

    async with memory(Stopping()) as world:
        await run_application(application)
        assert list(world.listeners) == [1]
    assert application.record == WHOLE


async def test_links_of_an_application_that_ends_by_an_error_have_stopped(
    autojump_clock: Clock,
) -> None:
    async with memory():
        with pytest.raises(ZeroDivisionError):
            async with open_application(Recording()) as application:
                link = application.connect_tcp("localhost", 1)
                await settled()
                raise ZeroDivisionError
        assert link.state is LinkState.STOPPED


async def test_running_ends_when_it_is_cancelled(autojump_clock: Clock) -> None:
    application = Recording()
    with trio.move_on_after(1):
        await run_application(application)
    assert application.record == WHOLE


async def test_leaving_the_block_lets_running_requests_finish(
    autojump_clock: Clock,
) -> None:
    async with (
        memory() as world,
        trio.open_nursery() as nursery,
        open_application(Server()),
    ):
        peer = Dialler()

        async def ask() -> None:
            stream = await world.open_tcp_stream("", 4520)
            async with open_peer(stream, lambda: peer):
                await peer.request(Wait(2))
                peer.record.append("answered")

        nursery.start_soon(ask)
        await trio.sleep(1)
    assert sorted(peer.record) == ["answered", "connected", "disconnected SHUTDOWN"]


async def test_cancelled_block_says_goodbye_without_waiting(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, trio.open_nursery() as nursery:
        peer = Dialler()

        async def stay() -> None:
            stream = await world.open_tcp_stream("", 4520)
            async with open_peer(stream, lambda: peer):
                await peer.ended.wait()

        with trio.move_on_after(1):
            async with open_application(Server()) as server:
                nursery.start_soon(stay)
                await trio.sleep_forever()
        assert trio.current_time() == 1
        assert server.log[-1] == "tear_down after ['disconnected SHUTDOWN']"
    assert peer.record == ["connected", "disconnected SHUTDOWN"]


# -- cancelled at every step --


class Steps:
    """A server with a listener, a link and a peer, to be cancelled anywhere."""

    def __init__(self, world: InMemory) -> None:
        self.world = world
        self.server = Recorded()
        self.visitor = Dialler()

    async def visit(self) -> None:
        stream = await self.world.open_tcp_stream("", 4520)
        async with open_peer(stream, lambda: self.visitor) as peer:
            with trio.move_on_after(5):
                await peer.request(Wait(1))
            await peer.ended.wait()

    def check(self) -> None:
        """See that every hook that began has its end, and every stream is closed."""
        assert self.server.log.count("tear down") == self.server.log.count("setup") <= 1
        for peer in [*self.server.made, *self.server.linked, self.visitor]:
            begun = [line.split()[0] for line in peer.record]
            assert begun in ([], ["connected", "disconnected"], ["failed"]), begun
        for listener in self.world.listeners.values():
            for stream in (*listener.dialled, *listener.taken):
                assert is_closed(stream)


def is_closed(stream: Any) -> bool:
    return bool(stream.send_stream._outgoing._closed)


class Recorded(Server):
    """Notes its hooks, and keeps the peers of its link."""

    def __init__(self) -> None:
        super().__init__()
        self.linked: list[Caller] = []

    async def setup(self) -> None:
        await super().setup()
        self.connect_tcp("localhost", 4530, self.make)

    def make(self) -> Caller:
        self.linked.append(Caller())
        return self.linked[-1]

    async def tear_down(self) -> None:
        self.log.append("tear down")


def test_cancel_at_every_step_leaves_nothing() -> None:
    async def scenario(cancel: CancelAtStep) -> None:
        async with memory() as world, open_application(Other()):
            await settled()
            before = task_tree(trio.lowlevel.current_task())
            steps = Steps(world)
            async with trio.open_nursery() as nursery:
                with cancel.block():
                    async with open_application(steps.server) as server:
                        nursery.start_soon(visit, steps)
                        while len(server.peers) < 2:
                            await server.peers.change("both peers")
                        await server.stop(grace=1)
                await trio.sleep(60)
                nursery.cancel_scope.cancel()
            steps.check()
            assert task_tree(trio.lowlevel.current_task()) == before

    assert cancel_at_every_step(scenario) > 50


async def visit(steps: Steps) -> None:
    try:
        await steps.visit()
    except (OSError, S2SError):
        return  # Whatever became of it, its hooks tell.


class Other(Server):
    """Is linked to."""

    async def setup(self) -> None:
        await self.listen_tcp(4530)


# -- several behind one port --


class Hall(Application):
    """Notes who comes."""

    def __init__(self, name: str) -> None:
        super().__init__(name, server_id=name.lower())
        self.record: list[str] = []

    async def setup(self) -> None:
        self.record.append("setup")

    async def tear_down(self) -> None:
        self.record.append("tear_down")

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        self.record.append(f"visited as {init_request.application_name!r}")
        return InboundPeer(init_request)


async def test_dialler_chooses_among_applications(autojump_clock: Clock) -> None:
    lobby, chat = Hall("Lobby"), Hall("Chat")
    async with memory() as world, trio.open_nursery() as nursery:
        await nursery.start(serve_applications, [lobby, chat], 4520)
        for name, server_id in ("Lobby", "lobby"), ("Chat", "chat"), ("", "lobby"):
            stream = await world.open_tcp_stream("", 4520)
            async with open_peer(stream, application_name=name) as peer:
                assert peer.server_id == server_id
        with pytest.raises(ConnectionRejectedError, match="'Casino'") as caught:
            stream = await world.open_tcp_stream("", 4520)
            async with open_peer(stream, application_name="Casino"):
                raise AssertionError("not reached")
        assert caught.value.code == -25
        nursery.cancel_scope.cancel()
    assert lobby.record == ["setup", "visited as 'Lobby'", "visited as ''", "tear_down"]
    assert chat.record == ["setup", "visited as 'Chat'", "tear_down"]


async def test_one_of_them_may_dial_another(autojump_clock: Clock) -> None:
    """Both have one port, but each its own instance: it is no connection to itself."""
    lobby, chat = Hall("Lobby"), Hall("Chat")
    async with memory(), trio.open_nursery() as nursery:
        await nursery.start(serve_applications, [lobby, chat], 4520)
        link = lobby.connect_tcp("localhost", 4520, application_name="Chat")
        assert (await link.connected()).server_id == "chat"
        lobby.connect_tcp("localhost", 4520, application_name="Lobby")
        await settled()
        failures = lobby.statistics().failures
        assert failures == {FailureReason.SELF_CONNECTION: 1}
        nursery.cancel_scope.cancel()


async def test_one_of_them_may_stop_alone(autojump_clock: Clock) -> None:
    lobby, chat = Hall("Lobby"), Hall("Chat")
    async with memory() as world, trio.open_nursery() as nursery:
        await nursery.start(serve_applications, [lobby, chat], 4520)
        one, two = Dialler(), Dialler()
        first = await world.open_tcp_stream("", 4520)
        second = await world.open_tcp_stream("", 4520)
        async with (
            open_peer(first, lambda: one, application_name="Lobby"),
            open_peer(second, lambda: two, application_name="Chat"),
        ):
            assert (await lobby.stop()).is_finished
            assert one.record == ["connected", "disconnected SHUTDOWN"]
            assert two.record == ["connected"]
            assert (await two.request(OperationRequest(1))).return_code == -4
            with pytest.raises(ConnectionRejectedError, match="is stopping"):
                stream = await world.open_tcp_stream("", 4520)
                async with open_peer(stream, application_name="Lobby"):
                    raise AssertionError("not reached")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("names", [[], ["Lobby", "Lobby"]])
async def test_applications_need_different_names(names: list[str]) -> None:
    with pytest.raises(ValueError, match="applications need different names"):
        await serve_applications([Hall(name) for name in names], 0)


async def test_port_in_use_ends_them_all() -> None:
    halls = [Hall("Lobby"), Hall("Chat")]
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(serve_applications, [Hall("First")], 0)
        port = listener.socket.getsockname()[1]
        with pytest.raises(ListenError, match="in use"):
            await serve_applications(halls, port)
        async with open_tcp_peer("127.0.0.1", port) as peer:
            assert peer.server_id == "first"
        nursery.cancel_scope.cancel()
    assert all(hall.record == ["setup", "tear_down"] for hall in halls)


async def test_several_applications_stay_at_home_too() -> None:
    with pytest.raises(ValueError, match="insecure=True"):
        await serve_applications([Hall("Lobby")], 0, host="0.0.0.0")
    with pytest.raises(ValueError, match="port is a whole number"):
        await serve_applications([Hall("Lobby")], -1)


async def test_logs_of_an_application_name_it(
    autojump_clock: Clock, caplog: Log
) -> None:
    caplog.set_level(logging.WARNING, "trio_s2s")
    async with memory() as world, open_application(Server()):
        stream = await world.open_tcp_stream("", 4520)
        with pytest.raises(ConnectionRejectedError):
            async with open_peer(stream, application_name="Other"):
                raise AssertionError("not reached")
    assert "there is no application 'Other' here" in caplog.text
