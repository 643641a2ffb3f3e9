"""Twin of `running.py`."""

import contextvars
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from tests.network import Caller, InMemory, Server, Worker, memory
from tests.peers import Dialler, Echo, MemoryListener, Wait
from trio_s2s import (
    Application,
    InboundPeer,
    InitRequest,
    OperationError,
    PeerConfig,
    handles,
    open_application,
    open_peer,
    run_application,
)
from trio_s2s.listening import listener_name

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


def names(task: trio.lowlevel.Task) -> list[str]:
    return sorted(
        child.name for nursery in task.child_nurseries for child in nursery.child_tasks
    )


async def test_tasks_bear_the_names_of_what_they_do(nursery: trio.Nursery) -> None:
    async def run(task_status: trio.TaskStatus[Any]) -> None:
        async with open_application(Application("Server")) as server:
            task_status.started((server, trio.lowlevel.current_task()))
            await trio.sleep_forever()

    server, task = await nursery.start(run)
    [listener] = await server.listen_tcp(0)
    server.connect_tcp("127.0.0.1", 1, application_name="Billing")
    server.connect_tcp("127.0.0.1", 2)
    assert names(task) == [
        "link to 127.0.0.1:2",
        "link to Billing at 127.0.0.1:1",
        f"listener {listener_name(listener)}",
    ]
    nursery.cancel_scope.cancel()


async def test_listener_of_a_name_with_two_addresses_is_two_tasks(
    autojump_clock: Clock,
) -> None:
    class TwoAddresses(InMemory):
        async def open_tcp_listeners(
            self, port: int, host: str, backlog: Any
        ) -> Sequence[Any]:
            return [
                *await super().open_tcp_listeners(port, host, backlog),
                *await super().open_tcp_listeners(port + 1, host, backlog),
            ]

    async with memory(TwoAddresses()) as world, open_application(Server()) as server:
        for port in 4520, 4521:
            async with open_peer(await world.open_tcp_stream("", port)) as peer:
                assert peer.remote_address == ""
        assert len(server.made) == 2


async def test_stop_closes_listeners_before_it_returns(autojump_clock: Clock) -> None:
    async with memory() as world, open_application(Server()) as server:
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await world.open_tcp_stream("", 4520)
        async with (
            open_application(Server()) as another,
            open_peer(await world.open_tcp_stream("", 4520)),
        ):
            assert len(another.made) == 1


async def test_stop_in_setup_ends_it_before_it_began(autojump_clock: Clock) -> None:
    class Brief(Server):
        async def setup(self) -> None:
            await super().setup()
            self.connect_tcp("localhost", 4530, Caller)
            assert (await self.stop()).is_finished

    async with memory() as world:
        await run_application(Brief())
    assert world.attempts == []
    assert world.listeners[4520].taken == []


async def test_listener_that_breaks_ends_alone(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryListener):
        async def accept(self) -> trio.abc.Stream:
            stream = await super().accept()
            if len(self.taken) == 2:
                raise OSError(9, "it broke")
            return stream

    class Partly(InMemory):
        async def open_tcp_listeners(
            self, port: int, host: str, backlog: Any
        ) -> Sequence[Any]:
            await super().open_tcp_listeners(port, host, backlog)
            if port == 4521:
                self.listeners[port] = Broken()
            return [self.listeners[port]]

    async with memory(Partly()) as world, open_application(Server()) as server:
        await server.listen_tcp(4521)
        async with (
            open_peer(await world.open_tcp_stream("", 4520), Dialler) as good,
            open_peer(await world.open_tcp_stream("", 4521), Dialler) as bad,
        ):
            await world.open_tcp_stream("", 4521)
            await bad.ended.wait()
            assert bad.record == ["connected", "disconnected SHUTDOWN"]
            await settled()
            assert good.record == ["connected"]
    assert "Server: no connection can be accepted on Broken: it broke" in caplog.text


async def test_stop_shortens_a_drain_that_runs_already(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    async def ask() -> None:
        with pytest.raises(OperationError):
            await link.request(Wait(1000))

    config = PeerConfig(drain_timeout=60)
    async with (
        memory(),
        open_application(Server(config=config)) as server,
        open_application(Application("Client", config=config)) as client,
    ):
        link = client.connect_tcp("localhost", 4520, Caller)
        await link.connected()
        nursery.start_soon(ask)
        await settled()
        nursery.start_soon(server.made[0].disconnect)
        await trio.sleep(1)
        [report] = (await server.stop(grace=2)).peers
        assert trio.current_time() == 3
        assert report.cancelled == 1


user = contextvars.ContextVar("user", default="nobody")


async def test_what_is_opened_in_a_handler_inherits_nothing_of_its_request(
    autojump_clock: Clock,
) -> None:
    seen: list[str] = []

    class Looking(Caller):
        async def on_connected(self) -> None:
            seen.append(user.get())

    class Opening(Worker):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            user.set(operation.text)
            await server.listen_tcp(4521)
            await server.connect_tcp("localhost", 4530, Looking).connected()
            return ""

    class Asked(Server):
        def create_peer(self, init_request: InitRequest) -> InboundPeer:
            seen.append(user.get())
            return Opening(init_request)

    async with memory() as world, open_application(Asked()) as server:
        other = Application("Other")
        other.create_peer = Worker  # type: ignore[method-assign]  # it accepts
        async with open_application(other):
            await other.listen_tcp(4530)
            async with open_peer(await world.open_tcp_stream("", 4520)) as peer:
                await peer.request(Echo("alice"))
            async with open_peer(await world.open_tcp_stream("", 4521)):
                assert seen == ["nobody"] * 3
