"""Twin of `link.py`."""

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from tests.network import Caller, InMemory, Server, memory, server_and_link
from tests.peers import Wait, silence
from tests.streams import FickleStream
from trio_s2s import (
    Application,
    ConnectionFailedError,
    ConnectionRejectedError,
    DisconnectReason,
    EncodeError,
    InboundPeer,
    InitRequest,
    LocalProtocolError,
    OperationError,
    OperationRequest,
    OutboundPeer,
    PeerDisconnectedError,
    open_application,
)

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
settled = trio.testing.wait_all_tasks_blocked


class Refusing(Server):
    """Rejects everybody with a code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        raise ConnectionRejectedError(self.code, "no")


def gaps(times: list[float]) -> Iterator[float]:
    return (after - before for before, after in itertools.pairwise(times))


# -- what it is --


async def test_link_gives_its_peer_while_it_is_connected(
    autojump_clock: Clock,
) -> None:
    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, Caller)
        assert repr(link) == "<Link to localhost:4520, connecting>"
        async with open_application(Server()) as server:
            peer = await link.connected()
            assert link.peer is peer
            assert repr(link) == "<Link to localhost:4520, connected>"
            with trio.testing.assert_checkpoints():
                assert await link.connected() is peer
            await server.stop()
            assert repr(link).endswith("waiting>")


async def test_peer_is_there_from_on_connected_to_on_disconnected(
    autojump_clock: Clock,
) -> None:
    seen = []

    class Looking(Caller):
        async def on_connected(self) -> None:
            seen.append(link.peer)

        async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
            seen.append(link.peer)

    async with (
        memory(),
        open_application(Server()),
        open_application(Application("Client")) as client,
    ):
        link = client.connect_tcp("localhost", 4520, Looking)
        await link.connected()
    assert seen == [None, None]


async def test_link_without_a_class_of_its_own_has_a_plain_peer(
    autojump_clock: Clock,
) -> None:
    async with (
        memory(),
        open_application(Server()),
        open_application(Application("Client")) as client,
    ):
        link = client.connect_tcp("localhost", 4520)
        assert type(await link.connected()) is OutboundPeer


# -- requests --


async def test_requests_go_over_the_connection_that_there_is(
    autojump_clock: Clock,
) -> None:
    async with server_and_link() as (_, link, _):
        await link.request(Wait(0))
        response = await link.request(OperationRequest(99))
        assert response.return_code == -4
        with pytest.raises(OperationError):
            await link.request(Wait(-1e9), wait_connected=True)


async def test_first_attempt_under_way_is_said(autojump_clock: Clock) -> None:
    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, Caller)
        with pytest.raises(PeerDisconnectedError, match="first attempt is under way"):
            await link.request(Wait(1))


async def test_request_that_is_lost_is_not_sent_again(autojump_clock: Clock) -> None:
    async with server_and_link() as (server, link, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(PeerDisconnectedError, match="UNKNOWN"):
                await link.request(Wait(), wait_connected=True)

        nursery.start_soon(ask)
        await settled()
        server.made[0].abort()
        await settled()
        await link.connected()
        assert server.made[-1].statistics().requests_running == 0


async def test_reason_of_the_last_end_is_told(autojump_clock: Clock) -> None:
    async with server_and_link() as (server, link, _):
        server.made[0].abort()
        await settled()
        with pytest.raises(PeerDisconnectedError, match="CONNECTION_LOST"):
            await link.request(Wait(0))


async def test_peer_that_ends_is_not_the_peer_of_a_link_any_more(
    autojump_clock: Clock,
) -> None:
    async with server_and_link() as (server, link, client):
        async with trio.open_nursery() as nursery:
            first = link.peer
            nursery.start_soon(link.request, Wait(3))
            await settled()
            nursery.start_soon(server.made[0].disconnect)
            await settled()
            assert first in client.peers  # It drains.
            assert link.peer is None
            assert repr(link).endswith("waiting>")
            await link.request(Wait(0), wait_connected=True)
            assert trio.current_time() > 3
        assert link.peer is not first


# -- trying again --


async def test_delays_grow_and_are_drawn_anew(autojump_clock: Clock) -> None:
    async with memory() as world, open_application(Application("Client")) as client:
        client.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(200)
    delays = list(gaps(world.attempts))
    assert delays[0] <= 1
    assert delays[1] <= 2
    assert max(delays) <= 3
    assert max(delays) > 2.5
    assert min(delays) < 0.5


@pytest.mark.parametrize("code", [-20, -21, -22, -23, -25])
async def test_refusal_for_good_is_tried_at_the_cap_only(
    code: int, autojump_clock: Clock
) -> None:
    async with (
        memory() as world,
        open_application(Refusing(code)),
        open_application(Application("Client")) as client,
    ):
        client.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(20)
    assert set(gaps(world.attempts)) == {3}


async def test_refusal_that_may_pass_is_tried_sooner(autojump_clock: Clock) -> None:
    async with (
        memory() as world,
        open_application(Refusing(1)),
        open_application(Application("Client")) as client,
    ):
        client.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(20)
    assert min(gaps(world.attempts)) < 1.5


async def test_link_to_oneself_is_seen(autojump_clock: Clock) -> None:
    async with memory() as world, open_application(Server()) as server:
        server.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(7)
        failures = server.statistics().failures
    assert {reason.name for reason in failures} == {"SELF_CONNECTION"}
    assert set(gaps(world.attempts)) == {3}


async def test_link_to_another_than_wanted_is_seen(autojump_clock: Clock) -> None:
    async with (
        memory(),
        open_application(Server(server_id="gs-2")),
        open_application(Application("Client")) as client,
    ):
        link = client.connect_tcp("localhost", 4520, Caller, server_id="gs-1")
        await trio.sleep(1)
        assert link.peer is None
        failures = client.statistics().failures
    assert {reason.name for reason in failures} == {"IDENTITY_MISMATCH"}


async def test_short_success_counts_as_a_failure(autojump_clock: Clock) -> None:
    async with memory() as world, open_application(Server()) as server:

        class Brief(Caller):
            async def on_connected(self) -> None:
                self.start_soon(self.disconnect)

        async with open_application(Application("Client")) as client:
            client.connect_tcp("localhost", 4520, Brief)
            await trio.sleep(100)
    assert max(gaps(world.attempts)) > 2.5
    assert all(peer.record[0] == "connected" for peer in server.made)


async def test_long_success_counts(autojump_clock: Clock) -> None:
    async with memory() as world, open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(60)
        for _ in range(20):
            async with open_application(Server()) as server:
                await link.connected()
                await trio.sleep(10.5)
                server.made[0].abort()
                lost = trio.current_time()
                await settled()
                await link.connected()
                assert trio.current_time() - lost <= 1
                await server.stop()
    assert world.attempts


async def test_silence_is_a_loss_too(autojump_clock: Clock) -> None:
    async with (
        memory() as world,
        open_application(Server()) as server,
        open_application(Application("Client")) as client,
    ):
        link = client.connect_tcp("localhost", 4520, Caller)
        first = await link.connected()
        silence(world.listeners[4520].accepted[0])
        silence(world.listeners[4520].dialled[0])
        await first.ended.wait()
        assert first.reason is DisconnectReason.HEARTBEAT_TIMEOUT
        assert await link.connected() is not first
        await settled()
        assert len(server.peers) == 1


# -- what an application does wrong --


def once() -> Callable[[], Caller]:
    peer = Caller()
    return lambda: peer


def never() -> Caller:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("create", "text"), [(never, "a bug"), (once(), "used before")]
)
async def test_peer_that_cannot_be_made_is_told_and_tried_again(
    create: Callable[[], Caller], text: str, autojump_clock: Clock, caplog: Log
) -> None:
    async with server_and_link() as (_, good, client):
        bad = client.connect_tcp("localhost", 4520, create)
        await trio.sleep(1)
        if bad.peer is not None:
            bad.peer.abort()
        await trio.sleep(10)
        assert bad.peer is None
        with pytest.raises(PeerDisconnectedError, match="an attempt raised"):
            await bad.request(Wait(0))
        await good.request(Wait(0))
    [record, *_] = [record for record in caplog.records if record.exc_info]
    assert "an attempt raised" in record.getMessage()
    assert text in caplog.text


async def test_hook_that_raises_ends_its_peer_and_the_link_comes_back(
    autojump_clock: Clock, caplog: Log
) -> None:
    raised: list[Caller] = []

    class Faulty(Caller):
        async def on_connected(self) -> None:
            await super().on_connected()
            if not raised:
                raised.append(self)
                raise RuntimeError("a bug")

    async with server_and_link() as (_, good, client):
        link = client.connect_tcp("localhost", 4520, Faulty)
        assert await link.connected() is not raised[0]
        assert raised[0].record == ["connected", "disconnected INTERNAL_ERROR"]
        assert good.peer is not None
    assert "on_connected raised" in caplog.text


async def test_on_failed_that_raises_changes_nothing(
    autojump_clock: Clock, caplog: Log
) -> None:
    class Faulty(Caller):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            raise RuntimeError("a bug")

    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, Faulty)
        await trio.sleep(5)
        async with open_application(Server()):
            await link.connected()
    assert "on_failed raised" in caplog.text


async def test_init_object_that_cannot_travel_is_told_at_once(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Application("Client")) as client:
        with pytest.raises(EncodeError, match="init_object cannot travel: object"):
            client.connect_tcp("localhost", 4520, Caller, init_object=object())
        with pytest.raises(TypeError, match="pass the class of the peer"):
            client.connect_tcp("localhost", 4520, Caller())  # type: ignore[call-overload]  # on purpose
    assert world.attempts == []


class UnspeakableError(Exception):
    """Can't be shown."""

    def __str__(self) -> str:
        raise RuntimeError("a bug")

    __repr__ = __str__


def cannot_be_made() -> Caller:
    raise UnspeakableError


class FailsUnspeakably(Caller):
    async def on_connected(self) -> None:
        raise UnspeakableError


@pytest.mark.parametrize("create", [cannot_be_made, FailsUnspeakably])
async def test_error_that_cannot_be_shown_leaves_the_others_alone(
    create: Callable[[], Caller], autojump_clock: Clock, caplog: Log
) -> None:
    async with server_and_link() as (_, good, client):
        bad = client.connect_tcp("localhost", 4520, create)
        await trio.sleep(10)
        assert bad.peer is None
        await good.request(Wait(0))
    assert "UnspeakableError" in caplog.text


class FaultyStream(FickleStream):
    """Can raise what no stream may."""

    close_error: Exception | None = None

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            if self.close_error is not None:
                raise self.close_error


class Faulty(InMemory):
    """Gives those who dial streams that can be broken."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[FaultyStream] = []

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.Stream:
        stream: Any = await super().open_tcp_stream(host, port)
        self.streams.append(FaultyStream(stream))
        return self.streams[-1]


@pytest.mark.parametrize("place", ["receive_error", "send_error", "close_error"])
async def test_fault_of_a_stream_costs_one_connection(
    place: str, autojump_clock: Clock, caplog: Log
) -> None:
    async with (
        memory(Faulty()) as world,
        open_application(Server()) as server,
        open_application(Application("Client")) as client,
    ):
        bad = client.connect_tcp("localhost", 4520, Caller)
        first = await bad.connected()
        good = await client.connect_tcp("localhost", 4520, Caller).connected()
        assert isinstance(world, Faulty)
        setattr(world.streams[0], place, MemoryError("no memory"))
        await server.made[0].disconnect()
        await first.ended.wait()
        assert await bad.connected() is not first
        assert good.record == ["connected"]
        assert (await good.request(OperationRequest(99))).return_code == -4
    assert "the connection ended with an unexpected error" in caplog.text
    assert "MemoryError: no memory" in caplog.text


# -- the end --


async def test_link_ends_at_once_wherever_it_is(autojump_clock: Clock) -> None:
    for moment in range(40):
        async with memory() as world:
            made: list[Caller] = []

            def make(made: list[Caller] = made) -> Caller:
                made.append(Caller())
                return made[-1]

            async with open_application(Application("Client")) as client:
                client.connect_tcp("localhost", 4520, make)
                await trio.sleep(moment / 7)
                began = trio.current_time()
                await client.stop()
            assert trio.current_time() == began
            assert all(len(peer.record) == 1 for peer in made[:-1])
        assert world.attempts or not moment


async def test_dial_that_is_given_up_runs_no_hook(autojump_clock: Clock) -> None:
    async with memory() as world:
        silent = await world.open_tcp_listeners(4520, "", None)
        made: list[Caller] = []

        def make() -> Caller:
            made.append(Caller())
            return made[-1]

        async with open_application(Application("Client")) as client:
            client.connect_tcp("localhost", 4520, make)
            await trio.sleep(1)
            counted = client.statistics().outbound
            assert counted.handshaking == 1
        assert made[0].record == []
        with pytest.raises(trio.ClosedResourceError):
            await silent[0].dialled[0].send_all(b"x")


async def test_on_failed_may_stop_the_application(autojump_clock: Clock) -> None:
    class GivesUp(Caller):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            await super().on_failed(error)
            assert (await client.stop()).is_finished

    made = GivesUp()
    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, lambda: made)
        with pytest.raises(PeerDisconnectedError, match="has stopped"):
            await link.connected()
    assert made.record == ["failed REFUSED"]


async def test_stopped_application_takes_no_more_links(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Application("Client")) as client:
        client.connect_tcp("localhost", 4520, Caller)
        await client.stop()
        with pytest.raises(LocalProtocolError, match="no more listeners and links"):
            client.connect_tcp("localhost", 4520, Caller)
    assert world.attempts == []


async def test_coming_and_going_is_told_now_and_then(
    autojump_clock: Clock, caplog: Log
) -> None:
    caplog.set_level(logging.INFO, "trio_s2s")
    async with server_and_link() as (server, link, _):
        peer = link.peer
        server.made[0].abort()
        await trio.sleep(5)
        assert link.peer is not peer
    told = [text for text in caplog.messages if "connected" in text]
    assert told[0] == "connected to localhost:4520"
    assert told[1].startswith("disconnected from localhost:4520: CONNECTION_LOST")
    assert "next attempt in 0." in told[1]
    assert len(told) == 2
