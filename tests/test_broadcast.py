"""Twin of `broadcast.py`."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.network import Caller, Server, memory
from tests.peers import Acceptor, Note
from trio_s2s import (
    Application,
    EncodeError,
    Event,
    EventData,
    InitRequest,
    Operation,
    PeerConfig,
    codec,
    handles,
    open_application,
)

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked

SMALL = PeerConfig(max_event_weight=100)
"""Room for one note, not for two."""


@attrs.frozen
class Tell(Operation[int], code=3):
    """Ask the server to broadcast a note, and how many it missed."""

    number: int


class Teller(Acceptor):
    """Broadcasts from inside a handler, to the first that was connected."""

    def __init__(self, init_request: InitRequest, server: Server) -> None:
        super().__init__(init_request)
        self.server = server

    @handles(Tell)
    async def tell(self, operation: Tell) -> int:
        first = self.server.made[:1]
        return len(await self.server.broadcast(Note(operation.number), first))


class Telling(Server):
    """A server whose peers can be asked to broadcast."""

    def create_peer(self, init_request: InitRequest) -> Teller:
        self.made.append(Teller(init_request, self))
        return self.made[-1]  # type: ignore[no-any-return]  # a Teller


class Reader(Caller):
    """Reads a note only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = trio.Event()
        self.reads.set()

    @handles(Note)
    async def note(self, event: Note) -> None:
        await self.reads.wait()
        self.record.append(f"note {event.number}")


@contextlib.asynccontextmanager
async def readers(
    *configs: PeerConfig | None,
) -> AsyncGenerator[tuple[Server, list[Reader]]]:
    """Give a server, and readers that are connected to it as `0`, `1`…"""
    made: list[Reader] = []
    async with (
        memory(),
        open_application(Telling()) as server,
        contextlib.AsyncExitStack() as stack,
    ):
        for number, config in enumerate(configs):
            client = Application("C", server_id=str(number), config=config)
            await stack.enter_async_context(open_application(client))
            link = client.connect_tcp("localhost", 4520, Reader)
            made.append(await link.connected())
            await server.peers.wait_for(str(number))
        yield server, made


def names(peers: list[Any]) -> list[str]:
    return sorted(peer.server_id for peer in peers)


async def test_hundred_peers_get_what_was_packed_once(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = []
    pack = codec.pack_event

    def counting(*args: Any) -> bytes:
        packed.append(pack(*args))
        return packed[-1]

    async with readers(*[None] * 100) as (server, made):
        monkeypatch.setattr("trio_s2s.session.pack_event", counting)
        with trio.testing.assert_checkpoints():
            assert await server.broadcast(Note(7), server.peers) == []
        await settled()
        assert all(reader.record == ["connected", "note 7"] for reader in made)
    assert len(packed) == 1


async def test_one_slow_reader_among_a_hundred_delays_nobody(
    autojump_clock: Clock,
) -> None:
    async with readers(SMALL, *[None] * 99) as (server, made):
        slow, *quick = made
        slow.reads = trio.Event()
        await server.broadcast(Note(0), server.peers)
        async with trio.open_nursery() as nursery:
            for number in range(1, 4):
                nursery.start_soon(server.broadcast, Note(number), server.peers)
                await settled()
            for reader in quick:
                assert reader.record[1:] == [f"note {n}" for n in range(4)]
            assert slow.record == ["connected"]
            slow.reads.set()
        await settled()
        assert slow.record[1:] == [f"note {n}" for n in range(4)]


async def test_slow_readers_do_not_wait_for_each_other(autojump_clock: Clock) -> None:
    async with readers(SMALL, SMALL) as (server, [one, two]):
        one.reads, two.reads = trio.Event(), trio.Event()
        await server.broadcast(Note(0), server.peers)
        for first, second in ((one, two), (two, one)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.broadcast, Note(1), server.peers)
                await settled()
                first.reads.set()
                await settled()
                assert first.record[-1] == "note 1"
                assert second.record[-1] != "note 1"
                second.reads.set()
            await settled()
            for reader in one, two:
                assert reader.record[-1] == "note 1"
                reader.record[-1] = "read"
                reader.reads = trio.Event()
            await server.broadcast(Note(0), server.peers)


async def test_slow_reader_is_skipped(autojump_clock: Clock) -> None:
    async with readers(None, SMALL) as (server, [quick, slow]):
        slow.reads = trio.Event()
        assert await server.broadcast(Note(0), server.peers, slow="skip") == []
        missed = await server.broadcast(Note(1), server.peers, slow="skip")
        assert names(missed) == ["1"]
        slow.reads.set()
        await settled()
        assert slow.record == ["connected", "note 0"]
        assert quick.record == ["connected", "note 0", "note 1"]


async def test_slow_reader_is_disconnected(autojump_clock: Clock) -> None:
    async with readers(None, SMALL) as (server, [_, slow]):
        slow.reads = trio.Event()
        await server.broadcast(Note(0), server.peers)
        missed = await server.broadcast(Note(1), server.peers, slow="disconnect")
        assert names(missed) == ["1"]
        await slow.ended.wait()
        assert slow.detail == "it was too slow for a broadcast"
        await server.made[1].ended.wait()
        assert server.made[1].record[-1] == "disconnected LOCAL_CLOSE"


async def test_who_ends_meanwhile_is_missed(autojump_clock: Clock) -> None:
    async with readers(SMALL, None) as (server, [slow, _]):
        slow.reads = trio.Event()
        await server.broadcast(Note(0), server.peers)
        missed: list[Any] = []

        async def broadcast() -> None:
            missed.extend(await server.broadcast(Note(1), server.made))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(broadcast)
            await settled()
            server.made[0].abort()
        assert names(missed) == ["0"]
        assert names(await server.broadcast(Note(2), server.made[:2])) == ["0"]


async def test_event_too_large_for_one_reaches_the_others(
    autojump_clock: Clock,
) -> None:
    tiny = PeerConfig(max_frame=1024)
    event = EventData(5, {0: bytes(2000)})
    async with readers(tiny, None) as (server, [small, large]):
        assert names(await server.broadcast(event, server.peers)) == ["0"]
        await settled()
        assert (small.record, large.record[1:]) == (["connected"], ["event 5"])


async def test_who_takes_no_events_is_missed_and_nobody_else(
    autojump_clock: Clock,
) -> None:
    deaf = PeerConfig(max_event_weight=0)
    async with readers(None, deaf, None) as (server, [one, _, other]):
        missed = await server.broadcast(Note(1), server.peers)
        assert len(missed) == 1
        await settled()
        assert one.record == other.record == ["connected", "note 1"]


async def test_handler_waits_no_longer_than_handler_wait(
    autojump_clock: Clock,
) -> None:
    async with readers(SMALL) as (_, [slow]):
        slow.reads = trio.Event()
        async with open_application(Application("Client")) as client:
            link = client.connect_tcp("localhost", 4520)
            assert await link.request(Tell(0), wait_connected=True) == 0
            began = trio.current_time()
            assert await link.request(Tell(1)) == 1
            assert trio.current_time() == began + 10


async def test_cancelled_broadcast_is_not_sent_to_those_that_waited(
    autojump_clock: Clock,
) -> None:
    async with readers(SMALL, None) as (server, [slow, quick]):
        slow.reads = trio.Event()
        await server.broadcast(Note(0), server.peers)
        with trio.move_on_after(1) as scope:
            await server.broadcast(Note(1), server.peers)
        assert scope.cancelled_caught
        slow.reads.set()
        await settled()
        assert slow.record == ["connected", "note 0"]
        assert quick.record == ["connected", "note 0", "note 1"]


async def test_what_cannot_be_sent_at_all_is_an_error(autojump_clock: Clock) -> None:
    async with readers(None) as (server, [reader]):
        with pytest.raises(EncodeError, match="cannot travel"):
            await server.broadcast(EventData(1, {0: object()}), server.peers)
        with pytest.raises(TypeError, match="an event is sent, not"):
            await server.broadcast("hello", server.peers)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(ValueError, match="slow is 'wait', 'skip' or"):
            await server.broadcast(Note(1), [], slow="never")  # type: ignore[arg-type]  # on purpose
        nobody = Caller()
        assert await server.broadcast(Note(1), [nobody]) == [nobody]
        await settled()
        assert reader.record == ["connected"]
    assert issubclass(Note, Event)
