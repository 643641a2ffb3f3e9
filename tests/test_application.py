"""Twin of `application.py`."""

import logging
import math
import ssl
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.network import Caller, InMemory, Server, Worker, memory, server_and_link
from tests.peers import Dialler, Echo, Wait, tls_contexts
from trio_s2s import (
    Application,
    ConnectionRejectedError,
    DisconnectReason,
    FailureReason,
    InboundPeer,
    InitRequest,
    ListenError,
    LocalProtocolError,
    OperationError,
    PeerConfig,
    handles,
    open_application,
    open_peer,
)
from trio_s2s.statistics import ConnectionCounts
from trio_s2s.tasktree import task_tree

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
settled = trio.testing.wait_all_tasks_blocked


# -- who it is --


@pytest.mark.parametrize("name", ["a b", "x" * 65, "ä", "a\n"])
def test_server_id_must_be_one(name: str) -> None:
    with pytest.raises(ValueError, match="server_id is 1 to 64 of"):
        Application("Server", server_id=name)


def test_application_has_a_name() -> None:
    with pytest.raises(ValueError, match="an application has a name"):
        Application("")


async def test_repr_tells_who_and_whether_it_runs() -> None:
    master = Application("Master", server_id="m-1")
    assert repr(master) == "<Application Master m-1, not running yet>"
    async with open_application(master):
        assert repr(master) == "<Application Master m-1, running>"
        await master.stop()
        assert repr(master) == "<Application Master m-1, stopped>"


async def test_what_needs_a_running_application_says_so() -> None:
    application = Application("Server")
    with pytest.raises(LocalProtocolError, match="use open_application to run it"):
        application.connect_tcp("localhost", 4520)
    with pytest.raises(LocalProtocolError, match="use open_application"):
        await application.listen_tcp(0)
    with pytest.raises(LocalProtocolError, match="use open_application"):
        await application.stop()
    with pytest.raises(LocalProtocolError, match="use open_application"):
        application.statistics()
    with pytest.raises(LocalProtocolError, match="use open_application"):
        len(application.peers)


async def test_identity_is_told_to_both_sides(autojump_clock: Clock) -> None:
    server = Server(server_id="master-1", version="7")
    client = Application("Client", server_id="gs-1", version="1")
    async with memory(), open_application(server), open_application(client):
        peer = await client.connect_tcp("localhost", 4520, Caller).connected()
        assert peer.server_id == peer.init_response.server_id == "master-1"
        assert peer.init_response.version == "7"
        request = server.made[0].init_request
        assert (request.server_id, request.version) == ("gs-1", "1")
        assert not request.identity_verified
        assert server.made[0].server_id == "gs-1"


async def test_certificate_with_its_name_proves_who_dials(
    autojump_clock: Clock,
) -> None:
    context, shown = tls_contexts("localhost", ["gs-1"], ssl.CERT_REQUIRED)

    class Strict(Server):
        async def setup(self) -> None:
            await self.listen_tcp(4520, ssl_context=context)

    async with memory(), open_application(Strict()) as server:
        for name in "gs-1", "gs-2":
            async with open_application(Application("C", server_id=name)) as client:
                await client.connect_tcp(
                    "localhost", 4520, ssl_context=shown
                ).connected()
    requests = [peer.init_request for peer in server.made]
    assert [(each.server_id, each.identity_verified) for each in requests] == [
        ("gs-1", True),
        ("gs-2", False),
    ]


# -- who is let in --


async def test_nobody_is_let_in_where_nobody_said_so(autojump_clock: Clock) -> None:
    class Deaf(Application):
        async def setup(self) -> None:
            await self.listen_tcp(4520)

    async with memory() as world, open_application(Deaf("Deaf")):
        with pytest.raises(ConnectionRejectedError, match="no connections") as caught:
            async with open_peer(await world.open_tcp_stream("", 4520)):
                raise AssertionError("not reached")
        assert caught.value.code == -25


@pytest.mark.parametrize(("name", "fits"), [("Server", True), ("", True), ("X", False)])
async def test_dialler_may_name_the_application(
    name: str, fits: bool, autojump_clock: Clock
) -> None:
    async with memory() as world, open_application(Server()) as server:
        stream = await world.open_tcp_stream("", 4520)
        opened = open_peer(stream, application_name=name)
        if fits:
            async with opened:
                assert server.made[0].init_request.application_name == name
        else:
            with pytest.raises(ConnectionRejectedError, match="'X'"):
                await opened.__aenter__()
            assert server.made == []


async def test_listeners_are_told_apart_by_their_port(autojump_clock: Clock) -> None:
    class Two(Server):
        async def setup(self) -> None:
            await self.listen_tcp(4520)
            await self.listen_tcp(4521)

        def create_peer(self, init_request: InitRequest) -> InboundPeer:
            if init_request.local_port == 4520:
                return super().create_peer(init_request)
            raise ConnectionRejectedError(3, "clients use another port")

    async with memory() as world, open_application(Two()) as server:
        async with open_peer(await world.open_tcp_stream("", 4520)):
            assert len(server.made) == 1
        with pytest.raises(ConnectionRejectedError, match="another port") as caught:
            async with open_peer(await world.open_tcp_stream("", 4521)):
                raise AssertionError("not reached")
        assert caught.value.code == 3
        assert server.statistics().rejections == {FailureReason.REJECTED: 1}


async def test_port_in_use_is_a_listen_error() -> None:
    async with open_application(Application("Server")) as server:
        [listener] = await server.listen_tcp(0)
        port = listener.socket.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"):
            await server.listen_tcp(port)


async def test_plain_text_stays_at_home() -> None:
    async with open_application(Application("Server")) as server:
        with pytest.raises(ValueError, match="insecure=True"):
            await server.listen_tcp(0, host="0.0.0.0")
        with pytest.raises(ValueError, match="insecure=True"):
            server.connect_tcp("192.0.2.1", 4520)
        with pytest.raises(ValueError, match="port is a whole number"):
            await server.listen_tcp(65536)


# -- the registry --


async def test_peer_is_in_the_registry_between_its_hooks(
    autojump_clock: Clock,
) -> None:
    seen: list[tuple[str, bool]] = []

    class Looking(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(1)
            seen.append(("connected", self in server.peers))

        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            seen.append(("disconnected", self in server.peers))

        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            seen.append(("handler", self in server.peers))
            return operation.text

    class Here(Server):
        def create_peer(self, init_request: InitRequest) -> InboundPeer:
            return Looking(init_request)

    async with memory() as world, open_application(Here()) as server:
        async with open_peer(await world.open_tcp_stream("", 4520)) as peer:
            assert len(server.peers) == 0
            assert server.statistics().inbound == ConnectionCounts(connecting=1)
            await peer.request(Echo("x"))
            assert len(server.peers) == 1
            assert server.statistics().inbound == ConnectionCounts(connected=1)
        await trio.sleep(1)
        assert len(server.peers) == 0
        assert server.statistics().inbound == ConnectionCounts()
    assert seen == [("connected", False), ("handler", True), ("disconnected", False)]


async def test_peer_whose_on_connected_fails_is_never_in_the_registry(
    autojump_clock: Clock, caplog: Log
) -> None:
    class Faulty(Worker):
        async def on_connected(self) -> None:
            raise RuntimeError("a bug")

    class Here(Server):
        def create_peer(self, init_request: InitRequest) -> InboundPeer:
            return Faulty(init_request)

    async with memory() as world, open_application(Here()) as server:
        waiting = trio.CancelScope()
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with waiting:
                    await server.peers.change("anybody")
                    raise AssertionError("somebody came")

            nursery.start_soon(wait)
            peer = Dialler()
            async with open_peer(await world.open_tcp_stream("", 4520), lambda: peer):
                await peer.ended.wait()
            waiting.cancel()
        assert server.statistics().ends == {DisconnectReason.INTERNAL_ERROR: 1}


# -- its tasks --

TREE = """\
main
  link to localhost:4530
    keep-alive
    reader
    writer
  listener MemoryListener
    inbound peer
      keep-alive
      reader
      writer
  listener MemoryListener
    inbound peer
      keep-alive
      reader
      writer
    inbound peer
      keep-alive
      reader
      writer
  memory of servers that were lost"""


def names_of(tree: str) -> str:
    """Keep the names of a tree's tasks, and that of the first as `main`."""
    lines = [line.rpartition("  ")[0] or line for line in tree.splitlines()]
    return "\n".join(["main", *lines[1:]])


class Other(Server):
    """Listens where nobody else does."""

    async def setup(self) -> None:
        await self.listen_tcp(4530)


class Drawn(Server):
    """Has two listeners and one link."""

    async def setup(self) -> None:
        self.listeners = [*await self.listen_tcp(4520), *await self.listen_tcp(4521)]
        self.link = self.connect_tcp("localhost", 4530, Caller)


async def test_tasks_of_an_application_are_as_drawn(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: Log
) -> None:
    async def dial(port: int, ended: trio.Event) -> None:
        stream = await world.open_tcp_stream("", port)
        async with open_peer(stream, Dialler) as peer:
            await peer.ended.wait()
        ended.set()

    async def run(task_status: trio.TaskStatus[Any]) -> None:
        async with open_application(Drawn(server_id="drawn")) as server:
            task_status.started((server, trio.lowlevel.current_task()))
            await trio.sleep_forever()

    async with memory() as world, open_application(Other()):
        server, task = await nursery.start(run)
        ended = [trio.Event() for _ in range(3)]
        for port, event in zip((4520, 4520, 4521), ended, strict=True):
            nursery.start_soon(dial, port, event)
        await settled()
        assert names_of(task_tree(task)) == TREE
        assert len(server.peers) == 4
        await server.listeners[0].aclose()
        await ended[0].wait()
        await ended[1].wait()
        await settled()
        assert not ended[2].is_set()
        assert len(server.peers) == 2
        reasons = [peer.record[-1] for peer in server.made]
        assert sorted(reasons) == ["connected"] + ["disconnected SHUTDOWN"] * 2
        assert names_of(task_tree(task)).count("listener") == 1
        nursery.cancel_scope.cancel()
    assert "Server: the listener on MemoryListener was closed" in caplog.text


async def test_cancelled_listener_ends_only_its_peers(autojump_clock: Clock) -> None:
    async with (
        memory() as world,
        open_application(Other()),
        open_application(Drawn()) as server,
        open_peer(await world.open_tcp_stream("", 4520), Dialler) as one,
        open_peer(await world.open_tcp_stream("", 4521), Dialler) as two,
    ):
        await server.link.connected()
        assert server._run is not None
        tasks = server._run._nursery.child_tasks
        listener, *_ = [task for task in tasks if "listener" in task.name]
        listener.child_nurseries[0].cancel_scope.cancel()
        await settled()
        ended, alive = sorted(
            [one, two], key=lambda peer: len(peer.record), reverse=True
        )
        assert ended.record == ["connected", "disconnected SHUTDOWN"]
        assert alive.record == ["connected"]
        assert server.link.peer is not None
        assert len(server.peers) == 2


# -- stopping --


async def test_stop_reports_what_became_of_the_work(autojump_clock: Clock) -> None:
    async with server_and_link() as (server, link, _), trio.open_nursery() as nursery:

        async def ask(seconds: float) -> None:
            try:
                await link.request(Wait(seconds))
            except OperationError as error:
                ended.append(error.return_code)
            else:
                ended.append(0)

        ended: list[int] = []
        for seconds in 1, 2, 1000:
            nursery.start_soon(ask, seconds)
        await settled()
        began = trio.current_time()
        report = await server.stop(grace=3)
        assert trio.current_time() == began + 3
        [peer] = report.peers
        assert report.is_finished
        assert (peer.finished, peer.cancelled, peer.refused) == (2, 1, 0)
        assert peer.events_unsent == 0
        await settled()
        assert ended == [0, 0, -5]


async def test_stop_without_a_grace_takes_drain_timeout(autojump_clock: Clock) -> None:
    config = PeerConfig(drain_timeout=2)
    async with (
        memory(),
        open_application(Server(config=config)) as server,
        open_application(Application("Client")) as client,
    ):
        link = client.connect_tcp("localhost", 4520, Caller)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(OperationError):
                    await link.request(Wait(1000), wait_connected=True)

            nursery.start_soon(ask)
            await settled()
            began = trio.current_time()
            assert (await server.stop()).peers[0].cancelled == 1
            assert trio.current_time() == began + 2


async def test_second_stop_waits_as_well(autojump_clock: Clock) -> None:
    async with server_and_link() as (server, link, _), trio.open_nursery() as nursery:
        nursery.start_soon(link.request, Wait(2))
        await settled()
        began = trio.current_time()
        nursery.start_soon(server.stop, 10)
        await settled()
        report = await server.stop(grace=0)
        assert trio.current_time() == began + 2
        assert report.peers[0].finished == 1


@pytest.mark.parametrize("grace", [-1, math.nan, "soon"])
async def test_grace_is_a_number_of_seconds(grace: Any) -> None:
    async with open_application(Application("Server")) as server:
        with pytest.raises((ValueError, TypeError)):
            await server.stop(grace=grace)
        assert repr(server).endswith("running>")


@pytest.mark.parametrize("place", ["handler", "task", "on_connected"])
async def test_stop_from_within_a_peer_starts_the_end_and_returns(
    place: str, autojump_clock: Clock
) -> None:
    finished: list[bool] = []

    class Stopping(Worker):
        async def stop(self) -> None:
            finished.append((await server.stop()).is_finished)

        async def on_connected(self) -> None:
            await super().on_connected()
            if place == "task":
                self.start_soon(self.stop)
            elif place == "on_connected":
                await self.stop()

        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            await self.stop()
            return operation.text

    class Here(Server):
        def create_peer(self, init_request: InitRequest) -> InboundPeer:
            self.made.append(Stopping(init_request))
            return self.made[-1]  # type: ignore[no-any-return]  # a Stopping

    async with memory() as world, open_application(Here()) as server:
        stream = await world.open_tcp_stream("", 4520)
        async with open_peer(stream, Dialler) as peer:
            if place == "handler":
                assert await peer.request(Echo("x")) == "x"
            await peer.ended.wait()
            assert peer.reason is DisconnectReason.SHUTDOWN
    assert finished == [False]
    assert server.made[0].record == ["connected", "disconnected SHUTDOWN"]


async def test_cancelled_stop_goes_on(autojump_clock: Clock) -> None:
    async with server_and_link() as (server, link, _), trio.open_nursery() as nursery:
        nursery.start_soon(link.request, Wait(2))
        await settled()
        with trio.move_on_after(1) as scope:
            await server.stop()
        assert scope.cancelled_caught
        assert repr(server).endswith("stopped>")
        await trio.sleep(1.5)
        assert server.made[0].record[-1] == "disconnected SHUTDOWN"


async def test_handshake_under_way_is_told_that_the_server_stops(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Server()) as server:
        slow = await world.open_tcp_stream("", 4520)
        await settled()
        assert server.statistics().inbound == ConnectionCounts(handshaking=1)
        async with open_peer(await world.open_tcp_stream("", 4520), Dialler) as peer:
            began = trio.current_time()
            peer.start_soon(server.stop)
            await peer.ended.wait()
            with pytest.raises(ConnectionRejectedError, match="stopping") as caught:
                async with open_peer(slow):
                    raise AssertionError("not reached")
            assert caught.value.code == -8
            assert trio.current_time() == began


async def test_nobody_can_connect_to_a_stopped_server(autojump_clock: Clock) -> None:
    async with memory() as world, open_application(Server()) as server:
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await world.open_tcp_stream("", 4520)
        with pytest.raises(LocalProtocolError, match="no more listeners and links"):
            await server.listen_tcp(4521)


class SlowToListen(InMemory):
    """Takes a second to find out where every port but the first one is."""

    async def open_tcp_listeners(self, port: int, host: str, backlog: Any) -> Any:
        listeners = await super().open_tcp_listeners(port, host, backlog)
        if port != 4520:
            await trio.sleep(1)
        return listeners


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("is_left", [False, True])
async def test_listener_that_comes_too_late_is_closed(
    is_left: bool, again: bool, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    told = trio.Event()

    async def listen() -> None:
        with pytest.raises(LocalProtocolError, match="no more listeners and links"):
            await server.listen_tcp(4521)
        told.set()

    async with memory(SlowToListen()) as world, AsyncExitStack() as stack:
        server = await stack.enter_async_context(open_application(Server()))
        nursery.start_soon(listen)
        await settled()
        await (stack.aclose() if is_left else server.stop())
        if again:
            await stack.enter_async_context(open_application(server))
        await told.wait()
        with pytest.raises(ConnectionRefusedError):
            await world.open_tcp_stream("", 4521)


# -- what others can do to it --


async def test_thousand_visits_leave_nothing(autojump_clock: Clock) -> None:
    async with memory() as world, open_application(Server()) as server:
        await settled()
        before = task_tree(trio.lowlevel.current_task())
        async with open_peer(await world.open_tcp_stream("", 4520), Dialler) as healthy:
            for number in range(1000):
                async with open_peer(await world.open_tcp_stream("", 4520)) as peer:
                    if number % 2:
                        peer.abort()
            await settled()
            assert healthy.record == ["connected"]
            assert len(server._running.node.living) == len(server.peers) == 1
            assert server._running.node.reports == []
        await settled()
        assert task_tree(trio.lowlevel.current_task()) == before
        ended = server.statistics()
        assert sum(ended.ends.values()) == 1001
        assert ended.inbound == ConnectionCounts()


async def test_hundred_handlers_and_hooks_that_raise_harm_nobody(
    autojump_clock: Clock, caplog: Log
) -> None:
    caplog.set_level(logging.CRITICAL, "trio_s2s")

    class Faulty(Worker):
        async def on_connected(self) -> None:
            await super().on_connected()
            if self.init_request.init_object == "hook":
                raise RuntimeError("a bug")

        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            await super().on_disconnected(reason, detail)
            if self.init_request.init_object == "last hook":
                raise RuntimeError("a bug")

        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            raise RuntimeError("a bug")

    class Here(Server):
        def create_peer(self, init_request: InitRequest) -> InboundPeer:
            return Faulty(init_request)

    async with (
        memory() as world,
        open_application(Here()) as server,
        open_peer(await world.open_tcp_stream("", 4520), Dialler) as healthy,
    ):
        for fault in ["hook", "last hook"] * 50:
            stream = await world.open_tcp_stream("", 4520)
            async with open_peer(stream, Dialler, init_object=fault):
                await settled()
        for _ in range(100):
            with pytest.raises(OperationError) as caught:
                await healthy.request(Echo("x"))
            assert caught.value.return_code == -1
        assert healthy.record == ["connected"]
        assert len(server.peers) == 1
        assert server.statistics().total.requests_running == 0
