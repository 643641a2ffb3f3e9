"""Rows I01 to I19 of the catalogue: floods, and what they can take from others.

What they cost in bytes and seconds is measured by `python -m tests.floods`.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.hostile import HELLO, Victim, bystander, frame, hit, shaken
from tests.peers import (
    Acceptor,
    Dialler,
    Echo,
    Note,
    Server,
    Wait,
    linked,
    start_server,
    tls_contexts,
)
from tests.streams import Far
from trio_s2s import (
    DisconnectReason,
    EventData,
    InboundPeer,
    InitRequest,
    OperationRequest,
    OperationResponse,
    PeerConfig,
    ReturnCode,
    SendParameters,
    handles,
    open_peer,
)
from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import hello
from trio_s2s.runtime import current_runtime
from trio_s2s.testing import MemoryNetwork, RecordingApplication

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


def messages(count: int, *message: Any) -> list[list[Any]]:
    """Give so many of one message; a None in it becomes its number, from 1."""
    return [
        [number if part is None else part for part in message]
        for number in range(1, count + 1)
    ]


class Host(RecordingApplication):
    """A server in a network whose connections hold only so many bytes."""

    def __init__(self, config: PeerConfig | None = None) -> None:
        super().__init__("Host", server_id="host", port=4520, config=config)
        self.made: list[Victim] = []

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        self.made.append(Victim(init_request))
        return self.made[-1]


async def dial(network: MemoryNetwork) -> Far:
    """Connect by hand, up to WELCOME."""
    with network.at("flooder"):
        stream = await current_runtime.get().open_tcp_stream("host", 4520)
    assert isinstance(stream, trio.abc.HalfCloseableStream)
    far = Far(stream)
    await stream.send_all(HELLO)
    await far.receive()
    return far


@asynccontextmanager
async def deaf(
    nursery: trio.Nursery, config: PeerConfig | None = None
) -> AsyncGenerator[tuple[Far, Host]]:
    """Give a far side that is welcome, reads nothing, and has room for 64 KiB."""
    network, host = MemoryNetwork(seed=1), Host(config)
    network.set_window(64 * 1024)
    await nursery.start(network.run, host)
    far = await dial(network)
    async with far.stream:
        yield far, host
    nursery.cancel_scope.cancel()


# -- connections --


@pytest.mark.parametrize("has_tls", [False, True], ids=["I01 silent", "I02 TLS"])
async def test_handshakes_under_way_are_few(
    has_tls: bool, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    config = PeerConfig(max_pending_handshakes=8)
    context = tls_contexts()[0] if has_tls else None
    server = await start_server(nursery, config=config, ssl_context=context)
    before = trio.lowlevel.current_statistics().tasks_living
    silent = [Far(server.listener.dial()) for _ in range(90)]
    await settled()
    # As many more are told that there are too many: at most three tasks for each.
    assert trio.lowlevel.current_statistics().tasks_living - before <= 3 * 16
    for far in silent:
        await far.receive_rest()
    assert trio.current_time() <= config.handshake_timeout + 1
    assert trio.lowlevel.current_statistics().tasks_living == before
    nursery.cancel_scope.cancel()


async def test_i13_bad_frames_of_one_host_are_told_once(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(nursery)
    for _ in range(50):
        far = Far(server.listener.dial())
        await far.stream.send_all(b"nonsense" * 8)
        await far.receive_rest()
    assert len([one for one in caplog.records if one.levelno >= logging.INFO]) == 1


async def test_i15_connections_that_come_and_go_leave_nothing(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery)
    before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(200):
        async with open_peer(server.listener.dial(), Dialler) as peer:
            assert isinstance(peer, Dialler)
    await settled()
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert all(peer.ended.is_set() for peer in server.peers)


async def test_i16_slow_last_hooks_run_side_by_side(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    class Slow(Acceptor):
        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            await trio.sleep(4)
            await super().on_disconnected(reason, detail)

    server = await start_server(nursery, Slow)
    for _ in range(50):
        async with shaken(server):
            pass
    assert trio.current_time() == 0
    for peer in server.peers:
        await peer.ended.wait()
    assert trio.current_time() == 4
    assert all(len(peer.record) == 2 for peer in server.peers)


# -- requests --


async def test_i03_events_beyond_the_window_end_the_connection() -> None:
    """Whoever obeys it waits: see promise 14."""
    done = await hit(frame(*messages(3000, Kind.EVENT, 99, {0: bytes(100)})))
    assert done.victim.reason is DisconnectReason.PROTOCOL_ERROR
    assert "overruns the window of 262,144 bytes of channel 0" in done.victim.detail


async def test_i04_answers_that_nobody_reads_are_bounded(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Slots bound how many; when the buffer is full no further handler runs."""
    config = PeerConfig(send_buffer=32 * 1024, send_timeout=3)
    async with deaf(nursery, config) as (far, host):
        requests = messages(1000, Kind.REQUEST, None, 1, {0: "x" * 1000})
        await far.send(*requests[:500])
        await far.send(*requests[500:])
        await trio.sleep(1)
        [victim] = host.made
        statistics = victim.statistics()
        assert statistics.bytes_waiting < 32 * 1024 + 1000 * 200
        assert statistics.requests_running == 0
        await victim.ended.wait()
        assert victim.reason is DisconnectReason.WRITE_TIMEOUT
        assert victim.statistics().bytes_waiting == 0


async def test_i05_blocked_handlers_do_not_block_the_connection(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    config = PeerConfig(max_concurrent_requests=8)
    server = await start_server(nursery, Victim, config)
    async with bystander(server), shaken(server) as far:
        await far.send(*messages(8, Kind.REQUEST, None, 2, {}))
        await trio.sleep(1)
        assert server.peer.statistics().requests_running == 8
        await far.send([Kind.PING, 7])
        assert await far.receive() == [Kind.PONG, 7]
        await far.send([Kind.REQUEST, 9, 2, {}])
        goodbye = (await far.receive_rest())[-1]
        assert goodbye[:2] == [Kind.GOODBYE, -2]
        assert "overruns the window of 8 slots" in goodbye[2]
    nursery.cancel_scope.cancel()


async def test_i06_requests_beyond_the_slots_wait_with_their_callers(
    autojump_clock: Clock,
) -> None:
    async with linked(Victim) as (peer, server):
        async with trio.open_nursery() as nursery:
            for _ in range(5000):
                nursery.start_soon(peer.request, Wait())
            await trio.sleep(1)
            assert peer.statistics().requests_outstanding == 1024
            assert server.peer.statistics().requests_running == 1024
            assert peer.statistics().bytes_waiting == 0
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        assert peer.statistics().requests_outstanding == 0
        assert server.peer.statistics().requests_running == 0


async def test_i07_requests_without_answers_are_bounded_by_the_slots(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """A peer that never answers keeps its slots, and nobody gets more of them."""
    config = PeerConfig(max_concurrent_requests=4)
    server = await start_server(nursery, Victim)
    streams = trio.testing.memory_stream_pair()
    server.listener.offer(streams[1])
    far = Far(streams[0])
    await far.stream.send_all(hello(Identity(b"7" * 16), "", None, config))
    await far.receive()
    await far.send([Kind.PING, 1])
    await settled()
    for _ in range(20):
        with trio.move_on_after(0.1):
            await server.peer.request(Echo("x"))
        assert server.peer.statistics().requests_outstanding <= 4
    assert server.peer.statistics().requests.cancelled == 20
    await far.stream.aclose()
    await server.peer.ended.wait()
    assert server.peer.statistics().requests_outstanding == 0
    nursery.cancel_scope.cancel()


async def test_i08_ids_that_were_used_are_not_remembered() -> None:
    async with linked(Victim) as (peer, server):
        for number in range(2000):
            assert await peer.request(Echo(str(number))) == str(number)
        for side in peer, server.peer:
            protocol = side._session.connection.protocol
            tables = protocol.running, protocol.outstanding, protocol._abandoned
            assert not any(map(len, tables))


async def test_i12_unknown_operations_are_answered_within_the_slots(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery, Victim)
    async with bystander(server), shaken(server) as far:
        for first in range(0, 10_000, 1000):
            ids = range(first + 1, first + 1001)
            await far.send(*([Kind.REQUEST, number, 77, {}] for number in ids))
            answers = [await far.receive() for _ in ids]
            assert {answer[2] for answer in answers} == {ReturnCode.UNKNOWN_OPERATION}
        assert server.peer.statistics().requests_running == 0
    nursery.cancel_scope.cancel()


# -- events --


class Slow(Acceptor):
    """Takes a second for each event."""

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        await trio.sleep(1)
        self.record.append(f"event {event.event_code}")


async def test_i03_events_wait_with_their_sender(autojump_clock: Clock) -> None:
    config = PeerConfig(max_event_weight=2000)
    async with linked(Slow, config=config) as (peer, server):
        sent = 0
        with trio.move_on_after(10):
            while True:
                await peer.send_event(EventData(1, {0: bytes(400)}))
                sent += 1
        assert sent < 20
        lane = server.peer._session.responded.__self__._lanes[0]
        assert len(lane._waiting) <= 4
        peer.abort()


async def test_i09_full_buffers_on_both_sides_do_not_stop_the_readers(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Each sends more than the other takes, until its credit is used up, and reads."""
    sent: dict[str, int] = {}
    network = MemoryNetwork(seed=3)
    network.set_window(4096)

    async def pour(name: str, peer: Any) -> None:
        for number in range(400):
            await peer.send_event(EventData(1, {0: bytes(1000)}))
            sent[name] = number + 1

    host = Host()
    await nursery.start(network.run, host)
    with network.at("near"):
        stream = await current_runtime.get().open_tcp_stream("host", 4520)
        async with open_peer(stream, Dialler) as peer:
            with trio.fail_after(60):
                async with trio.open_nursery() as pouring:
                    pouring.start_soon(pour, "near", peer)
                    pouring.start_soon(pour, "far", host.made[0])
            assert sent == {"near": 400, "far": 400}
            assert await peer.request(Echo("whole")) == "whole"
    nursery.cancel_scope.cancel()


async def test_i17_one_slow_subscriber_delays_nobody(
    autojump_clock: Clock,
) -> None:
    """With `wait` the broadcast itself waits, and all others have theirs already."""
    host = RecordingApplication("Host", server_id="host", port=4520)
    network = MemoryNetwork(seed=2)
    network.set_window(1000)
    times: list[float] = []

    class Subscriber(Dialler):
        async def on_event(
            self, event: EventData, send_parameters: SendParameters
        ) -> None:
            times.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run, host)
        async with trio.open_nursery() as subscribers:
            for number in range(20):
                with network.at(f"s{number}"):
                    stream = await current_runtime.get().open_tcp_stream("host", 4520)
                await subscribers.start(_subscribe, stream, Subscriber)
            network.stall("host", "s7")
            start = trio.current_time()
            slow: Any = "skip"
            for _ in range(3):
                event = EventData(1, {0: bytes(300_000)})
                missed = await host.broadcast(event, host.peers, slow=slow)
                await trio.sleep(1)
            assert [peer.remote_address.split(":")[0] for peer in missed] == ["s7"]
            assert len(times) == 3 * 19
            assert max(times) - start < 3
            subscribers.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def _subscribe(
    stream: trio.abc.Stream,
    subscriber: type[Dialler],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with open_peer(stream, subscriber):
        task_status.started()
        await trio.sleep_forever()


# -- both --


@pytest.mark.parametrize("is_async", [True, False])
async def test_i11_large_answers_to_small_requests_are_bounded(
    is_async: bool, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """A thousand of which none is read: when the buffer is full no handler runs."""
    ran: list[str] = []

    class Large(Acceptor):
        if is_async:

            @handles(Echo)
            async def echo(self, operation: Echo) -> str:
                ran.append(operation.text)
                return "x" * 100_000

        else:

            @handles(Echo)
            def echo_now(self, operation: Echo) -> str:
                ran.append(operation.text)
                return "x" * 100_000

    config = PeerConfig(send_buffer=300_000)
    server = await start_server(nursery, Large, config)
    async with bystander_of(server), shaken(server) as far:
        ids = range(1, 1001)
        await far.send(*([Kind.REQUEST, number, 1, {0: "x"}] for number in ids))
        await settled()
        assert len(ran) - 1 <= 5
        answers = [await far.receive() for _ in ids]
        codes = [answer[2] for answer in answers]
        assert codes.count(0) == len(ran) - 1
        assert codes.count(ReturnCode.SERVER_BUSY) == 1001 - len(ran)
    nursery.cancel_scope.cancel()


@asynccontextmanager
async def bystander_of(server: Server) -> AsyncGenerator[None]:
    """See that a second peer of a server is served before and behind."""
    async with open_peer(server.listener.dial(), Dialler) as peer:
        assert len(await peer.request(Echo("before"))) > 0
        yield
        assert len(await peer.request(Echo("behind"))) > 0


async def test_i18_ping_goes_before_what_waits(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """At the border of a frame; the one that is being sent is finished first."""

    class Large(Victim):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse:
            return request.respond({0: bytes(200_000)})

    class LargeHost(Host):
        def create_peer(self, init_request: InitRequest) -> InboundPeer:
            return Large(init_request)

    network = MemoryNetwork(seed=4)
    network.set_window(1000)
    await nursery.start(network.run, LargeHost())
    far = await dial(network)
    await far.send(*messages(4, Kind.REQUEST, None, 77, {}))
    await settled()
    await far.send([Kind.PING, 5])
    await settled()
    kinds = [(await far.receive())[0] for _ in range(5)]
    assert kinds.index(Kind.PONG) == 1
    await far.stream.aclose()
    nursery.cancel_scope.cancel()


async def test_i19_others_are_served_between_the_frames_of_a_flood(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery, Victim)
    async with (
        open_peer(server.listener.dial(), Dialler) as other,
        shaken(server) as far,
    ):
        victim = server.peer
        note = pack([Kind.EVENT, 1, {0: 1}])
        for _ in range(10):
            await far.stream.send_all(encode_frame([note] * 3000))
        seen: list[int] = []
        while len(victim.events) < 30_000:
            await other.request(Echo("between"))
            seen.append(len(victim.events))
        # It was served several times before the flood was over.
        assert len({count for count in seen if 0 < count < 30_000}) >= 3
    nursery.cancel_scope.cancel()


async def test_i14_idle_peers_do_nothing(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Between two signs of life not one of their tasks makes a step."""
    server = await start_server(nursery)
    for _ in range(20):
        stream = server.listener.dial()
        await nursery.start(_subscribe, stream, Dialler)
    await settled()

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    await trio.sleep(2.4)
    quiet = steps.count
    await trio.sleep(25)
    trio.lowlevel.remove_instrument(steps)
    assert quiet <= 5
    # A PING, a PONG and three timers: 20 steps for each side and interval.
    assert steps.count < 20 * 2 * 10 * 20
    nursery.cancel_scope.cancel()


async def test_i10_notes_from_inside_handlers_have_credit_of_their_own(
    autojump_clock: Clock,
) -> None:
    """The answer of a request is not held up by events that have no credit."""

    class Chatty(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            self.start_soon(self.chat)
            return operation.text

        async def chat(self) -> None:
            for number in range(100):
                await self.send_event(Note(number))

    class Deaf(Dialler):
        async def on_event(
            self, event: EventData, send_parameters: SendParameters
        ) -> None:
            await trio.sleep_forever()

    async with linked(Chatty, Deaf, config=PeerConfig(max_event_weight=100)) as (
        peer,
        _,
    ):
        for number in range(20):
            with trio.fail_after(1):
                assert await peer.request(Echo(str(number))) == str(number)
        peer.abort()
