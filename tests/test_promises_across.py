"""What is promised across servers, by number: cancellation, deadlines, bounds."""

from typing import Any, ClassVar

import attrs
import pytest
import trio
import trio.testing

from tests.hostile import shaken
from tests.peers import (
    Acceptor,
    Dialler,
    Echo,
    Note,
    Wait,
    Worker,
    linked,
    start_server,
)
from trio_s2s import (
    EventData,
    InboundPeer,
    Link,
    Operation,
    OperationError,
    OperationRequest,
    OperationResponse,
    OutboundPeer,
    PeerBusyError,
    PeerConfig,
    ReturnCode,
    SendParameters,
    handles,
)
from trio_s2s.codec import NOTHING, pack_request
from trio_s2s.codes import Kind
from trio_s2s.testing import MemoryNetwork, RecordingApplication

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


@attrs.frozen
class Relay(Operation[str], code=20):
    """Is handed on so many times, then takes its time."""

    hops: int
    seconds: float = 1e6


class Hop(RecordingApplication):
    """One server of a chain, with a link to the next."""

    next_link: Link[OutboundPeer] | None = None

    def __init__(self, name: str, after: str | None = None) -> None:
        super().__init__("Hop", server_id=name, port=4520)
        self.after = after
        self.record: list[str] = []

    async def setup(self) -> None:
        await super().setup()
        if self.after is not None:
            self.next_link = self.connect_tcp(
                self.after, 4520, OutboundPeer, insecure=True
            )

    def create_peer(self, init_request: Any) -> InboundPeer:
        return HopPeer(self)

    async def relay(self, operation: Relay) -> str:
        start = trio.current_time()
        try:
            if operation.hops and self.next_link is not None:
                onward = Relay(operation.hops - 1, operation.seconds)
                return f"{self.server_id} {await self.next_link.request(onward)}"
            await trio.sleep(operation.seconds)
            return self.server_id
        except trio.Cancelled:
            passed = trio.current_time() - start
            self.record.append(f"cut after {passed:.2f} s")
            raise


class HopPeer(InboundPeer):
    """What a server of the chain does for the one before it."""

    def __init__(self, server: Hop) -> None:
        self.server = server

    @handles(Relay)
    async def relay(self, operation: Relay) -> str:
        return await self.server.relay(operation)


@pytest.fixture
def network() -> MemoryNetwork:
    """A network without faults, but for those of the test."""
    return MemoryNetwork(seed=5)


async def start_chain(network: MemoryNetwork, nursery: trio.Nursery) -> list[Hop]:
    """Start four servers of which each has a link to the next."""
    hops = [Hop("a", "b"), Hop("b", "c"), Hop("c", "d"), Hop("d")]
    for hop in reversed(hops):
        await nursery.start(network.run, hop)
    for hop in hops[:3]:
        assert hop.next_link is not None
        await hop.next_link.connected()
    return hops


# -- 9: cancellation and deadlines travel --


async def test_promise_9_cancelling_the_first_cancels_the_last(
    autojump_clock: Clock, nursery: trio.Nursery, network: MemoryNetwork
) -> None:
    first, *others = await start_chain(network, nursery)
    with trio.CancelScope() as scope:
        nursery.start_soon(_cancel_after, scope, 3)
        await first.relay(Relay(3))
    await trio.sleep(1)
    assert [hop.record for hop in others] == [["cut after 3.00 s"]] * 3
    assert first.next_link is not None
    assert await first.next_link.request(Relay(2, 0.5)) == "b c d"
    nursery.cancel_scope.cancel()


async def _cancel_after(scope: trio.CancelScope, seconds: float) -> None:
    await trio.sleep(seconds)
    scope.cancel()


async def test_promise_9_a_deadline_reaches_the_last_server(
    autojump_clock: Clock, nursery: trio.Nursery, network: MemoryNetwork
) -> None:
    """Each has what is left of it; here no CANCEL gets through to tell them."""
    first, *others = await start_chain(network, nursery)
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(3):
            async with trio.open_nursery() as asking:
                asking.start_soon(first.relay, Relay(3))
                await trio.sleep(1)
                for source, target in ("ab", "bc", "cd"):
                    network.stall(source, target)
    await trio.sleep(1)
    assert [hop.record for hop in others] == [["cut after 3.00 s"]] * 3
    nursery.cancel_scope.cancel()


async def test_promise_9_time_that_is_over_is_answered_so(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Worker)
    async with shaken(server) as far:
        await far.send(
            [Kind.REQUEST, 1, 2, {0: 100.0}, {0: 500}],
            [Kind.REQUEST, 2, 2, {0: 0.25}, {0: 500}],
            [Kind.REQUEST, 3, 2, {0: 100.0}, {0: 300}],
        )
        answers = [await far.receive() for _ in range(3)]
    assert [answer[1:3] for answer in answers] == [[2, 0], [3, -6], [1, -6]]
    assert answers[1][4] == "the caller's time was over"
    assert trio.current_time() == 0.5
    nursery.cancel_scope.cancel()


async def test_promise_9_what_comes_first_names_the_end(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """A handler that is slow to end was cut off by its deadline, or by a CANCEL."""

    class Slow(Acceptor):
        @handles(Wait)
        async def wait(self, operation: Wait) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)

    server = await start_server(nursery, Slow)
    async with shaken(server) as far:
        await far.send([Kind.REQUEST, 1, 2, {}, {0: 500}])
        await far.send([Kind.REQUEST, 2, 2, {}, {0: 900}])
        await trio.sleep(0.6)
        await far.send([Kind.CANCEL, 1, 1], [Kind.CANCEL, 2, 1])
        answers = [await far.receive() for _ in range(2)]
    assert [answer[1:3] for answer in answers] == [[1, -6], [2, -5]]
    nursery.cancel_scope.cancel()


async def test_promise_9_time_runs_while_on_connected_does(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    class Late(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(2)

    server = await start_server(nursery, Late)
    async with shaken(server) as far:
        await far.send([Kind.REQUEST, 1, 1, {0: "a"}, {0: 500}])
        await far.send([Kind.REQUEST, 2, 1, {0: "b"}], [Kind.CANCEL, 2, 1])
        await far.send([Kind.REQUEST, 3, 1, {0: "c"}, {0: 60_000}])
        answers = [await far.receive() for _ in range(3)]
    assert [answer[1:3] for answer in answers] == [[2, -5], [1, -6], [3, 0]]
    assert server.peer.record == ["echo c"]
    nursery.cancel_scope.cancel()


async def test_promise_9_many_deadlines_cost_one_task(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Worker)
    async with shaken(server) as far:
        await far.send(*([Kind.REQUEST, n, 2, {}, {0: 100 * n}] for n in range(1, 51)))
        await settled()
        names = [task.name for task in _tasks_below(trio.lowlevel.current_root_task())]
        assert names.count("deadlines") == 1
        for number in range(1, 51):
            while (message := await far.receive())[0] != Kind.RESPONSE:
                pass
            assert message[1:3] == [number, -6]
            assert trio.current_time() == pytest.approx(number / 10)
    nursery.cancel_scope.cancel()


def _tasks_below(task: trio.lowlevel.Task | None) -> list[trio.lowlevel.Task]:
    if task is None:
        return []
    below = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return [task, *(one for child in below for one in _tasks_below(child))]


async def test_promise_9_time_of_a_handler_is_not_that_of_a_task_or_a_hook(
    autojump_clock: Clock,
) -> None:
    ends: list[object] = []

    class Asks(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            self.start_soon(self.ask)
            await trio.sleep_forever()

        async def ask(self) -> None:
            await trio.sleep(3)
            ends.append(await self.request(OperationRequest(9)))

    async with linked(Asks) as (peer, _):
        with trio.move_on_after(1):
            await peer.request(Echo("x"))
        await trio.sleep(5)
    [response] = ends
    assert isinstance(response, OperationResponse)
    assert response.return_code == ReturnCode.UNKNOWN_OPERATION


# -- 12, 14: windows wait, and two that flood each other do not stand still --


class Floods:
    """A peer whose handlers send as much as they get, before they have ended."""

    busy: int = 0
    handled: int = 0
    codes: ClassVar[set[int]] = set()

    @handles(Note)
    async def note(self: Any, event: Note) -> None:
        try:
            for _ in range(3):
                await self.send_event(EventData(1, {0: event.number, 9: bytes(400)}))
        except PeerBusyError:
            type(self).busy += 1
        type(self).handled += 1

    @handles(Relay)
    async def relay(self: Any, operation: Relay) -> str:
        if operation.hops:
            try:
                return str(await self.request(Relay(operation.hops - 1)))
            except OperationError as error:
                type(self).codes.add(error.return_code)
        return "end"


class FloodingAcceptor(Floods, Acceptor):
    """The acceptor's side."""


class FloodingDialler(Floods, Dialler):
    """The dialler's side."""


async def test_promise_12_two_that_flood_each_other_with_events_go_on(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """From inside their handlers both wait for the other's credit, then are told."""
    Floods.busy = Floods.handled = 0
    config = PeerConfig(max_event_weight=4096, handler_wait=1)
    both = FloodingAcceptor, FloodingDialler
    async with linked(*both, config=config) as (peer, server):
        for side in peer, server.peer:
            for number in range(20):
                with trio.fail_after(1000):
                    await side.send_event(EventData(1, {0: number, 9: bytes(400)}))
        await trio.sleep(60)
        for kind in both:
            assert kind.busy > 0
            assert kind.handled > 20
        before = FloodingAcceptor.handled
        await trio.sleep(60)
        assert FloodingAcceptor.handled > before
        assert "waited 1 s (handler_wait) inside a handler for" in caplog.text
        peer.abort()


async def test_promise_12_requests_from_inside_requests_end(
    autojump_clock: Clock,
) -> None:
    """More hops than there are slots: the last are told that the other is busy."""
    Floods.codes.clear()
    config = PeerConfig(max_concurrent_requests=4, handler_wait=1)
    both = FloodingAcceptor, FloodingDialler
    async with linked(*both, config=config) as (peer, _):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(peer.request, Relay(30))
        assert Floods.codes == {ReturnCode.SERVER_BUSY}
        assert await peer.request(Relay(2)) == "end"


# -- 16: what waits is bounded, and kept packed --


async def test_promise_16_requests_and_events_wait_packed(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """Packed they take 1 byte a list, unpacked 56: what is held may not be that."""

    class Late(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(1)

        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse:
            return request.respond({0: len(request.parameters[0])})

        async def on_event(
            self, event: EventData, send_parameters: SendParameters
        ) -> None:
            self.record.append(f"{len(event.parameters[0])} lists")
            await trio.sleep(1)

    lists: list[Any] = [[] for _ in range(3000)]
    server = await start_server(nursery, Late)
    async with shaken(server) as far:
        await far.send(*([Kind.REQUEST, number, 70, {0: lists}] for number in (1, 2)))
        await far.send(*([Kind.EVENT, 70, {0: lists}] for _ in range(3)))
        await settled()
        dispatcher = server.peer._session.responded.__self__
        held = list(dispatcher.serving._held.values())
        packed = pack_request(1, 70, NOTHING, {})
        assert [type(one) for one in held] == [bytes, bytes]
        assert 3000 < len(held[0]) < 3100 + len(packed)
        waiting = dispatcher._channels[0]._waiting
        assert [type(event) for event in waiting] == [bytes] * 3
        answers = [await far.receive() for _ in range(2)]
        assert [answer[3] for answer in answers] == [{0: 3000}] * 2
        await trio.sleep(5)
        assert server.peer.record == ["3000 lists"] * 3
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_async", [True, False])
async def test_promise_16_answers_that_are_not_taken_are_few(
    is_async: bool, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    """A thousand small requests for large answers, of which none is read."""
    ran: list[str] = []

    class Large(Acceptor):
        if is_async:

            @handles(Echo)
            async def echo(self, operation: Echo) -> str:
                ran.append(operation.text)
                await trio.lowlevel.checkpoint()
                return "x" * 100_000

        else:

            @handles(Echo)
            def echo_now(self, operation: Echo) -> str:
                ran.append(operation.text)
                return "x" * 100_000

    config = PeerConfig(send_buffer=300_000)
    server = await start_server(nursery, Large, config)
    async with shaken(server) as far:
        numbers = range(1, 1001)
        await far.send(*([Kind.REQUEST, n, 1, {0: str(n)}] for n in numbers))
        await settled()
        # Those that were at work when the buffer was full have no room to wait in.
        most = 300_000 + (len(ran) + 1) * 100_100
        assert server.peer.statistics().bytes_waiting <= most
        answers = [await far.receive() for _ in numbers]
        assert sorted(answer[1] for answer in answers) == list(numbers)
        codes = [answer[2] for answer in answers]
        assert codes.count(0) == len(ran)
        assert codes.count(ReturnCode.SERVER_BUSY) == len(numbers) - len(ran)
        if not is_async:
            assert len(ran) <= 5
    nursery.cancel_scope.cancel()


async def test_promise_16_answers_wait_for_a_slow_hook_packed(
    autojump_clock: Clock,
) -> None:
    """And no more of them than the other side takes requests at once."""

    class Slow(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            self.record.append(f"begins at {trio.current_time():g}")
            await trio.sleep(1)

    config = PeerConfig(max_concurrent_requests=4)
    async with linked(Worker, Slow, config=config) as (peer, _):
        with trio.move_on_after(3.5):
            for number in range(1000):
                await peer.send_operation_request(OperationRequest(1, {0: str(number)}))
        assert number == 8
        lane = peer._session.responded.__self__._answers
        assert len(lane._waiting) == 4
        assert all(type(turn.message) is bytes for turn in lane._waiting)
        await trio.sleep(10)
    assert peer.record[1:-1] == [f"begins at {second}" for second in range(8)]


async def test_promise_16_answers_that_wait_for_a_slow_hook_are_bounded(
    autojump_clock: Clock,
) -> None:
    """400 small requests made whoever answered them hold 200 MiB here."""
    codes: list[int] = []

    class Slow(Dialler):
        async def on_operation_response(
            self, response: OperationResponse, send_parameters: SendParameters
        ) -> None:
            codes.append(response.return_code)
            text = response.debug_message or ""
            assert ("was dropped" in text) is (response.return_code != 0)
            await trio.sleep(1)

    class Large(Acceptor):
        async def on_operation_request(
            self, request: OperationRequest, send_parameters: SendParameters
        ) -> OperationResponse:
            return request.respond({0: bytes(100_000)})

    config = PeerConfig(max_request_weight=500_000, send_buffer=10**7)
    async with linked(Large, Slow, config=config) as (peer, _):
        for _ in range(40):
            await peer.send_operation_request(OperationRequest(1))
        await trio.sleep(0.5)
        dispatcher = peer._session.responded.__self__
        assert 300_000 < dispatcher._kept <= 500_000
        await trio.sleep(60)
        assert dispatcher._kept == 0
        # Each has its answer, in order; those that were too much are told so.
        assert codes == [0] * 5 + [-9] * 35
        await peer.send_operation_request(OperationRequest(1))
        await trio.sleep(1)
        assert codes[-1] == 0
