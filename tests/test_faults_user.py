"""What the code of an application may do, and what it costs: one call, or one peer."""

import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.network import InMemory
from tests.peers import Acceptor, Dialler, Echo, Wait, linked
from tests.steps import check_idle
from trio_s2s import (
    Application,
    ConnectionFailedError,
    DisconnectReason,
    Event,
    InboundPeer,
    InitRequest,
    Operation,
    OperationError,
    OutboundPeer,
    Outcome,
    Peer,
    PeerConfig,
    PeerDisconnectedError,
    ReturnCode,
    handles,
    open_application,
    open_peer,
    open_tcp_peer,
)
from trio_s2s.runtime import current_runtime

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
LOCAL_CLOSE, REMOTE_CLOSE = DisconnectReason.LOCAL_CLOSE, DisconnectReason.REMOTE_CLOSE
settled = trio.testing.wait_all_tasks_blocked


@attrs.frozen
class Do(Operation[Any], code=5):
    """Makes the other side do something."""

    what: str


@attrs.frozen
class Happened(Event, code=5):
    """Makes the other side do something."""

    what: str


class Clumsy(Acceptor):
    """Does what it is told, most of it wrong."""

    async def do(self, what: str) -> Any:
        match what:
            case "ValueError":
                raise ValueError("the secret reason")
            case "declared":
                raise OperationError(7, "no such room")
            case "group":
                raise ExceptionGroup("two", [ValueError("a"), TypeError("b")])
            case "nested":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.do, "ValueError")
            case "unencodable":
                return object()
            case "too large":
                return bytes(2**20)
        return what

    @handles(Do)
    async def handle(self, operation: Do) -> Any:
        return await self.do(operation.what)

    @handles(Happened)
    async def happened(self, event: Happened) -> None:
        self.record.append(event.what)
        await self.do(event.what)


@pytest.fixture(autouse=True)
def _log_everything(caplog: Log) -> None:
    caplog.set_level("INFO", "trio_s2s")


# -- handlers that raise, or return what is none --


@pytest.mark.parametrize(
    ("what", "code", "text", "logged"),
    [
        pytest.param("ValueError", -1, "", "the secret reason", id="K01"),
        pytest.param("declared", 7, "no such room", "", id="K02"),
        pytest.param("group", -1, "", "ExceptionGroup", id="K03"),
        pytest.param("nested", -1, "", "the secret reason", id="K03 of a nursery"),
        pytest.param("unencodable", -9, "", "can't travel", id="K04 unencodable"),
        pytest.param("too large", -9, "", "1,048,", id="K04 too large"),
    ],
)
async def test_handler_that_fails_is_an_answer(
    what: str, code: int, text: str, logged: str, caplog: Log
) -> None:
    async with linked(Clumsy) as (peer, server):
        with pytest.raises(OperationError) as caught:
            await peer.request(Do(what))
        assert caught.value.return_code == code
        assert text in caught.value.debug_message
        assert "secret" not in str(caught.value)
        assert await peer.request(Do("still here")) == "still here"
        await settled()
        check_idle(server.peer)
        assert server.peer.record == ["connected"]
    assert logged in caplog.text
    assert bool(logged) is bool(caplog.text)


@attrs.frozen
class Count(Operation[int], code=6):
    """Is answered with a number, it says."""


class Miscounter(Acceptor):
    @handles(Count)
    async def count(self, operation: Count) -> int:
        wrong: Any = "many"
        return wrong  # type: ignore[no-any-return]  # it is the fault


async def test_k04_result_of_a_wrong_type_is_an_answer(caplog: Log) -> None:
    async with linked(Miscounter) as (peer, server):
        with pytest.raises(OperationError) as caught:
            await peer.request(Count())
        assert caught.value.return_code == ReturnCode.RESPONSE_NOT_ENCODABLE
        assert server.peer.record == ["connected"]
    assert "count" in caplog.text


async def test_k09_event_handler_that_raises_is_logged_and_the_next_one_runs(
    caplog: Log,
) -> None:
    async with linked(Clumsy) as (peer, server):
        for what in "ValueError", "group", "fine":
            await peer.send_event(Happened(what))
        assert await peer.request(Do("still here")) == "still here"
        await settled()
        check_idle(server.peer)
        assert server.peer.record == ["connected", "ValueError", "group", "fine"]
    assert caplog.text.count("happened raised") == 2


# -- handlers that go their own ways --


class Stubborn(Acceptor):
    """Waits, and tells how that ended."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        is_shielded = operation.seconds < 100
        try:
            with trio.CancelScope(shield=is_shielded):
                await trio.sleep(operation.seconds)
        finally:
            self.record.append(f"waited {trio.current_time():g}")


ONE_AT_A_TIME = PeerConfig(max_concurrent_requests=1)


async def test_k05_handler_that_never_returns_ends_with_its_caller(
    autojump_clock: Clock,
) -> None:
    async with linked(Stubborn, server_config=ONE_AT_A_TIME) as (peer, server):
        with trio.move_on_after(3):
            await peer.request(Wait())
        assert await peer.request(Echo("its slot is free")) == "its slot is free"
        assert server.peer.record == ["connected", "waited 3"]


async def test_k06_handler_that_ignores_its_cancellation_keeps_its_slot(
    autojump_clock: Clock,
) -> None:
    async with linked(Stubborn, server_config=ONE_AT_A_TIME) as (peer, server):
        with trio.move_on_after(3):
            await peer.request(Wait(50))
        with trio.move_on_after(3) as scope:
            await peer.request(Echo("too early"))
        assert scope.cancelled_caught
        assert await peer.request(Echo("at last")) == "at last"
        assert trio.current_time() == 50
        assert server.peer.record == ["connected", "waited 50"]


@attrs.frozen
class Down(Operation[int], code=8):
    """Goes back and forth this many times."""

    depth: int


class Diver(Peer):
    @handles(Down)
    async def down(self, operation: Down) -> int:
        if operation.depth == 0:
            return 0
        return 1 + await self.request(Down(operation.depth - 1))


class InboundDiver(Diver, InboundPeer):
    pass


class OutboundDiver(Diver, OutboundPeer):
    pass


async def test_k07_handlers_call_back_ten_deep() -> None:
    async with linked(InboundDiver, OutboundDiver) as (peer, _):
        assert await peer.request(Down(10)) == 10


class Leaver(Acceptor):
    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        await self.disconnect(operation.text, code=3)
        return "goodbye"

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        self.abort()


async def test_k08_handler_that_closes_its_own_peer_is_still_answered(
    autojump_clock: Clock,
) -> None:
    async with linked(Leaver) as (peer, server):
        assert await peer.request(Echo("enough")) == "goodbye"
        await peer.ended.wait()
        assert (peer.reason, peer.detail) == (REMOTE_CLOSE, "enough")
        assert peer.goodbye_code == 3
        await server.peer.ended.wait()
        assert server.peer.reason is LOCAL_CLOSE


async def test_k08_handler_that_aborts_its_own_peer_costs_its_answer(
    autojump_clock: Clock,
) -> None:
    async with linked(Leaver) as (peer, server):
        with pytest.raises(PeerDisconnectedError) as caught:
            await peer.request(Wait(1))
        assert caught.value.outcome is Outcome.UNKNOWN
        await server.peer.ended.wait()
        assert server.peer.reason is LOCAL_CLOSE


# -- hooks --


class Faulty(Dialler):
    """Has one hook that does wrong, the first time."""

    def __init__(self, hook: str, does: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._hook, self._does = hook, does

    async def on_connected(self) -> None:
        await super().on_connected()
        await self._do("on_connected")

    async def on_failed(self, error: ConnectionFailedError) -> None:
        await super().on_failed(error)
        await self._do("on_failed")

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        await super().on_disconnected(reason, detail)
        await self._do("on_disconnected")

    async def _do(self, hook: str) -> None:
        if hook == self._hook:
            self.record.append("does")
            await self._does()


async def fail() -> None:
    raise ValueError("in a hook")


class House(Application):
    """Accepts everybody."""

    async def setup(self) -> None:
        await self.listen_tcp(1, host="localhost")

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return Stubborn(init_request)


@pytest.mark.parametrize(
    ("hook", "does", "said"),
    [
        pytest.param("on_connected", fail, "on_connected raised", id="K10"),
        pytest.param("on_failed", fail, "on_failed raised", id="K11"),
        pytest.param("on_disconnected", fail, "on_disconnected raised", id="K12"),
        pytest.param(
            "on_connected", trio.sleep_forever, "more than 30 s", id="K13 on_connected"
        ),
        pytest.param(
            "on_failed", trio.sleep_forever, "more than 5 s", id="K13 on_failed"
        ),
        pytest.param(
            "on_disconnected",
            trio.sleep_forever,
            "more than 5 s",
            id="K13 on_disconnected",
        ),
    ],
)
async def test_link_outlives_a_hook_that_does_wrong(
    hook: str,
    does: Callable[[], Awaitable[None]],
    said: str,
    autojump_clock: Clock,
    caplog: Log,
) -> None:
    """And so does everybody else; the link comes back with a new peer."""
    peers: list[Faulty] = []

    def make() -> Faulty:
        peers.append(Faulty("" if peers else hook, does))
        return peers[-1]

    current_runtime.set(InMemory())
    async with open_application(Application("Caller")) as caller:
        port = 2 if hook == "on_failed" else 1
        async with open_application(House("House", server_id="house")) as house:
            link = caller.connect_tcp("localhost", port, make)
            if port == 2:
                await trio.sleep(6)
                await house.listen_tcp(2, host="localhost")
            elif hook == "on_disconnected":
                (await link.connected()).abort()
                await peers[0].ended.wait()
            await trio.sleep(60)
            peer = await link.connected()
            assert peer is not peers[0]
            assert await peer.request(Echo("alive")) == "alive"
            assert [p.server_id for p in caller.peers] == ["house"]
    assert "does" in peers[0].record
    assert said in caplog.text
    for each in peers:
        lines = [line.split()[0] for line in each.record if line != "does"]
        assert lines in (["connected", "disconnected"], ["failed"])


async def test_k10_hook_that_raises_is_reported_to_the_other_side(
    autojump_clock: Clock,
) -> None:
    peer = Faulty("on_connected", fail)
    async with linked(Stubborn) as (friend, server):
        with pytest.raises(ValueError, match="in a hook"):
            async with open_peer(server.listener.dial(), lambda: peer):
                pytest.fail("it is not connected")
        await server.peer.ended.wait()
        assert server.peer.reason is DisconnectReason.REPORTED_BY_PEER
        assert peer.reason is DisconnectReason.INTERNAL_ERROR
        assert await friend.request(Echo("alive")) == "alive"


async def test_k11_hook_that_raises_does_not_hide_why_there_is_no_connection(
    caplog: Log,
) -> None:
    current_runtime.set(InMemory())
    with pytest.raises(ConnectionFailedError, match="refused"):
        async with open_tcp_peer("localhost", 1, lambda: Faulty("on_failed", fail)):
            pytest.fail("there is nobody")
    assert "on_failed raised" in caplog.text


@pytest.mark.parametrize("wrong", [None, lambda self: None, 5], ids=repr)
def test_k15_hook_that_is_not_async_is_refused_where_it_is_written(wrong: Any) -> None:
    with pytest.raises(TypeError, match="must be an `async def` method"):
        type("Mine", (InboundPeer,), {"on_connected": wrong})


async def test_k16_tasks_of_a_hooks_own_nursery_are_inside_the_hook(
    autojump_clock: Clock,
) -> None:
    async def leave_tasks() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 2)
            nursery.start_soon(trio.sleep, 4)

    async with linked(Stubborn, lambda: Faulty("on_connected", leave_tasks)):
        assert trio.current_time() == 4
    peer = Faulty("on_disconnected", leave_tasks)
    async with linked(Stubborn, lambda: peer):
        began = trio.current_time()
    assert trio.current_time() == began + 4


class Asker(Dialler):
    async def on_connected(self) -> None:
        await super().on_connected()
        self.record.append(await self.request(Echo("here already")))


async def test_k17_request_in_on_connected_is_answered() -> None:
    async with linked(Stubborn, Asker) as (peer, _):
        assert peer.record == ["connected", "here already"]


class Slow(Stubborn):
    async def on_connected(self) -> None:
        await trio.sleep(3)
        self.record.append("connected")

    @handles(Happened)
    async def happened(self, event: Happened) -> None:
        self.record.append(event.what)


async def test_k18_what_comes_before_on_connected_has_ended_waits_for_it(
    autojump_clock: Clock,
) -> None:
    async with linked(Slow) as (peer, server):
        await peer.send_event(Happened("first"))
        assert await peer.request(Echo("a")) == "a"
        assert trio.current_time() == 3
        assert server.peer.record == ["connected", "first"]


# -- subclasses that are unusual --


@attrs.define(eq=False)
class Slotted(InboundPeer):
    """An attrs class with slots, which calls no `super().__init__`."""

    init_request: InitRequest
    rooms: list[str] = attrs.field(factory=list)

    @handles(Echo)
    def echo(self, operation: Echo) -> str:
        self.rooms.append(operation.text)
        return f"{len(self.rooms)} rooms"


@attrs.define(slots=False)
class Equal(InboundPeer):
    """An attrs class that compares by value, and so has no hash."""

    init_request: InitRequest

    @handles(Echo)
    def echo(self, operation: Echo) -> str:
        return operation.text


class Hostile(Stubborn):
    """Overrides what it should leave alone."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        raise ValueError("no name")


@pytest.mark.parametrize("kind", [Slotted, Equal, Hostile])
async def test_k20_unusual_subclass_is_a_peer(
    kind: type[Any], autojump_clock: Clock, caplog: Log
) -> None:
    made: list[Any] = []

    def create_peer(init_request: InitRequest) -> InboundPeer:
        peer: InboundPeer = kind(init_request)
        made.append(peer)
        return peer

    async with linked(create_peer) as (peer, server):
        async with open_peer(server.listener.dial()) as other:
            assert await other.request(Echo("x"))
            assert await peer.request(Echo("y"))
        assert await peer.request(Echo("z"))
    await settled()
    assert weakref.ref(made[0])() is made[0]
    assert not caplog.records
