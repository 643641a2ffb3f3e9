"""Cancellation, nurseries and interrupts; those at every step are elsewhere."""

from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import (
    Acceptor,
    Dialler,
    Recorder,
    Wait,
    linked,
    silence,
    start_server,
    tls_contexts,
)
from tests.steps import Far, Near, World, check_hooks, check_idle, waiting
from trio_s2s import (
    Application,
    DisconnectReason,
    InboundPeer,
    InitRequest,
    Operation,
    OperationError,
    OperationRequest,
    PeerDisconnectedError,
    handles,
    open_application,
    open_peer,
    open_tcp_peer,
)
from trio_s2s.runtime import current_runtime

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
settled = trio.testing.wait_all_tasks_blocked

LEAVING = 5 + 2 * 5 + 1
"""Seconds that leaving takes at most, with the defaults."""


# -- who is cancelled --


async def test_j05_cancelled_task_of_a_peer_is_a_local_close(
    autojump_clock: Clock,
) -> None:
    server_side: list[Any] = []
    async with trio.open_nursery() as outer, trio.open_nursery() as nursery:
        server = await start_server(nursery, Far)
        peer = Near()
        ended = trio.Event()

        async def dial() -> None:
            async with open_peer(server.listener.dial(), lambda: peer):
                await peer.ended.wait()
            ended.set()

        outer.start_soon(dial)
        await settled()
        server_side.append(server.peer)
        async with waiting(server.peer) as told:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await ended.wait()
    [other] = server_side
    assert other.record == ["connected", "disconnected LOCAL_CLOSE"]
    assert peer.record == ["connected", "disconnected REMOTE_CLOSE"]
    assert told == {}  # Its caller was cancelled as well.


class Crowd(Application):
    """Accepts everybody, and keeps them."""

    def __init__(self) -> None:
        super().__init__("Crowd", server_id="crowd")
        self.made: list[Far] = []

    async def setup(self) -> None:
        await self.listen_tcp(1)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        self.made.append(Far(init_request))
        return self.made[-1]


async def test_j06_cancelled_application_ends_100_peers_in_time(
    autojump_clock: Clock,
) -> None:
    world = World()
    current_runtime.set(world)
    ends: list[str] = []

    async def visit() -> None:
        async with open_tcp_peer("localhost", 1, Dialler) as peer:
            try:
                await peer.request(Wait())
            except PeerDisconnectedError as error:
                ends.append(error.reason.name)
            except OperationError as error:
                # Its handler was cancelled before the goodbye was said.
                ends.append(str(error.return_code))
            await peer.ended.wait()
            assert peer.record == ["connected", "disconnected SHUTDOWN"]

    async with trio.open_nursery() as nursery:
        crowd = Crowd()
        with trio.CancelScope() as scope:
            async with open_application(crowd):
                for _ in range(100):
                    nursery.start_soon(visit)
                await settled()
                assert len(crowd.peers) == 100
                began = trio.current_time()
                scope.cancel()
        assert trio.current_time() - began <= 1
    records = {tuple(peer.record) for peer in crowd.made}
    assert records == {("connected", "disconnected SHUTDOWN")}
    assert len(ends) == 100
    assert set(ends) <= {"SHUTDOWN", "-5"}


@pytest.mark.parametrize("moment", ["drain", "goodbye", "TLS"])
async def test_j07_cancel_of_an_end_is_a_forced_one(
    moment: str, autojump_clock: Clock
) -> None:
    tls_server, tls_dialler = tls_contexts()
    has_tls = moment == "TLS"
    async with trio.open_nursery() as nursery:
        context = tls_server if has_tls else None
        server = await start_server(nursery, Far, ssl_context=context)
        stream: Any = server.listener.dial()
        if has_tls:
            stream = trio.SSLStream(stream, tls_dialler, server_hostname="127.0.0.1")
        with trio.CancelScope() as scope:
            async with open_peer(stream, Dialler) as peer:
                await settled()
                if moment == "drain":
                    # The other side waits as long as this request takes.
                    await peer.send_operation_request(OperationRequest(2, {0: 1e6}))
                else:
                    silence(server.near)
                    silence(server.far)
                await settled()
                began = trio.current_time()
                scope.deadline = began + 0.5
        assert scope.cancelled_caught
        # A last goodbye that nobody answers costs a second.
        assert trio.current_time() - began <= 0.5 + 2
        assert peer.record == ["connected", "disconnected LOCAL_CLOSE"] or (
            peer.record == ["connected", "response -10", "disconnected LOCAL_CLOSE"]
        )
        await trio.sleep(LEAVING)
        check_hooks(server.peer)
        assert len(server.peer.record) == 2
        nursery.cancel_scope.cancel()


# -- cancelled hooks --


class Slow(Dialler):
    """Has hooks that take as long as the test says."""

    connecting = 0.0
    leaving = 0.0

    async def on_connected(self) -> None:
        await super().on_connected()
        try:
            await trio.sleep(self.connecting)
        except trio.Cancelled:
            self.record.append("cancelled")
            raise

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        await super().on_disconnected(reason, detail)
        await trio.sleep(self.leaving)
        self.record.append("finished")


async def test_j08_cancelled_on_connected_comes_before_on_disconnected(
    autojump_clock: Clock,
) -> None:
    peer = Slow()
    peer.connecting = 20
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        with trio.move_on_after(1):
            async with open_peer(server.listener.dial(), lambda: peer):
                raise AssertionError("not reached")
        nursery.cancel_scope.cancel()
    ends = ["cancelled", "disconnected LOCAL_CLOSE", "finished"]
    assert peer.record == ["connected", *ends]


@pytest.mark.parametrize(("seconds", "finishes"), [(4, True), (6, False)])
async def test_j09_on_disconnected_is_shielded_up_to_its_limit(
    seconds: float, finishes: bool, autojump_clock: Clock, caplog: Log
) -> None:
    peer = Slow()
    peer.leaving = seconds
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        with trio.CancelScope() as scope:
            async with open_peer(server.listener.dial(), lambda: peer):
                began = trio.current_time()
                scope.cancel()
        assert trio.current_time() - began == pytest.approx(min(seconds, 5), abs=0.1)
        nursery.cancel_scope.cancel()
    assert (peer.record[-1] == "finished") is finishes
    assert ("on_disconnected took more than 5 s" in caplog.text) is not finishes


# -- calls within calls --


@attrs.frozen
class Deeper(Operation[int], code=9):
    """Asks the other side the same, until it is deep enough; then it waits."""

    depth: int


cancelled: list[int] = []
"""At which depths handlers were."""


class Diver(Recorder):
    """Has the same handler on both sides."""

    @handles(Deeper)
    async def deeper(self, operation: Deeper) -> int:
        try:
            with trio.fail_after(1000 + operation.depth):
                if not operation.depth:
                    await trio.sleep_forever()
                return 1 + await self.request(Deeper(operation.depth - 1))
        except trio.Cancelled:
            cancelled.append(operation.depth)
            raise


class DiverHere(Diver, Dialler):
    """It begins."""


class DiverThere(Diver, Acceptor):
    """It is asked first."""


async def test_j10_timeout_around_nested_calls_is_that_of_the_outermost(
    autojump_clock: Clock,
) -> None:
    cancelled.clear()
    async with linked(DiverThere, DiverHere) as (peer, server):
        began = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(2):
                await peer.request(Deeper(3))
        assert trio.current_time() - began == pytest.approx(2)
        await trio.sleep(1)
        assert sorted(cancelled) == [0, 1, 2, 3]
        check_idle(peer)
        check_idle(server.peer)
