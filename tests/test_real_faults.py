"""Real faults of real networks, in real time: `pytest -m real_network`.

They need root, Linux and iproute2, and are skipped where one is missing, unless
`TRIO_S2S_REAL_NETWORK=1` says that they must run.
"""

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack

import attrs
import pytest
import trio
import trio.testing

from tests.namespaces import REQUIRED, Network, Program, why_refused
from tests.peers import Echo, Note
from tests.real_servers import (
    ABSENT,
    ASKS,
    CALM,
    CAP,
    FAST,
    HASTY,
    LOST,
    MASTER,
    PORT,
    SILENCE,
    TICK,
    A,
    B,
    Game,
    Master,
    Near,
    Steady,
    both_end,
    dialled,
    fail,
    linked,
    lose,
    server,
    start,
    within,
)
from trio_s2s import (
    ConnectionFailedError,
    DisconnectReason,
    FailureReason,
    Outcome,
    PeerDisconnectedError,
    open_peer,
)
from trio_s2s.codes import CloseCode
from trio_s2s.runtime import current_runtime

pytestmark = pytest.mark.real_network


@pytest.fixture
def built() -> Iterator[Network]:
    """The two machines and their router."""
    if reason := why_refused():
        if REQUIRED in os.environ:
            pytest.fail(f"{REQUIRED} is set, but {reason}", pytrace=False)
        pytest.skip(reason)
    with Network() as network:
        yield network


@pytest.fixture
async def network(built: Network) -> Network:
    """The machines, on which Trio makes its sockets from now on."""
    current_runtime.set(Steady())
    trio.socket.set_custom_socket_factory(built.sockets())
    return built


# -- no connection --


async def test_f01_nobody_listens(network: Network) -> None:
    async with within(0.2):
        assert await fail(network) is FailureReason.REFUSED


async def test_f02_first_packet_is_swallowed(network: Network) -> None:
    network.cut("b")
    async with within(HASTY.connect_timeout + 0.1):
        assert await fail(network) is FailureReason.CONNECT_TIMEOUT


@pytest.mark.parametrize(
    ("machine", "route", "reason"),
    [
        pytest.param("router", "prohibit", FailureReason.UNREACHABLE, id="F04"),
        pytest.param("router", "unreachable", FailureReason.UNREACHABLE, id="F05 far"),
        pytest.param("a", "unreachable", FailureReason.UNREACHABLE, id="F05 near"),
        pytest.param("a", "blackhole", FailureReason.UNREACHABLE, id="F06 blackhole"),
        pytest.param("a", "prohibit", FailureReason.DENIED, id="F06 prohibit"),
    ],
)
async def test_no_way(
    machine: str, route: str, reason: FailureReason, network: Network
) -> None:
    network.ip(machine, f"route add {route} {B}")
    async with within(0.2):
        assert await fail(network) is reason


async def test_f05_no_route_at_all(network: Network) -> None:
    network.ip("a", "route del default")
    assert await fail(network) is FailureReason.UNREACHABLE


async def test_f07_host_that_is_not_there(network: Network) -> None:
    # The usual three questions, a second apart, would outlast the test.
    network.set("a", "net/ipv4/neigh/eth0/mcast_solicit", "1")
    network.set("a", "net/ipv4/neigh/eth0/retrans_time_ms", "100")
    assert await fail(network, "10.66.1.77") is FailureReason.UNREACHABLE


async def test_f08_nobody_accepts_and_the_queue_is_full(network: Network) -> None:
    async with AsyncExitStack() as stack:
        with network.at("b"):
            [listener] = await trio.open_tcp_listeners(PORT, host=B, backlog=1)
        await stack.enter_async_context(listener)
        with network.at("a"):
            for _ in range(2):
                stream = await trio.open_tcp_stream(B, PORT)
                await stack.enter_async_context(stream)
        assert await fail(network) is FailureReason.CONNECT_TIMEOUT


async def test_f09_local_ports_are_used_up(network: Network) -> None:
    network.set("a", "net/ipv4/ip_local_port_range", "40000 40000")
    async with linked(network) as (near, _):
        assert near.local_address == f"{A}:40000"
        assert await fail(network) is FailureReason.LOCAL_RESOURCES


async def test_f33_partition_during_the_handshake(network: Network) -> None:
    async with AsyncExitStack() as stack:
        master = await start(stack, network, "b", Master(HASTY))
        with network.at("a"):
            stream = await trio.open_tcp_stream(B, PORT)
        network.cut()
        peer = Near()
        async with within(HASTY.handshake_timeout + 0.1):
            with pytest.raises(ConnectionFailedError) as caught:
                async with open_peer(stream, lambda: peer, config=HASTY):
                    raise AssertionError("not reached")
            while not (rejections := master.statistics().rejections):  # noqa: ASYNC110  no event tells of them
                await trio.sleep(TICK)
        assert caught.value.reason is FailureReason.HANDSHAKE_TIMEOUT
        assert peer.record == ["failed HANDSHAKE_TIMEOUT"]
        assert rejections == {FailureReason.HANDSHAKE_TIMEOUT: 1}
        assert master.accepted == []


# -- a connection that is lost --


async def test_f11_black_hole_while_idle(network: Network) -> None:
    async with linked(network) as (near, far):
        async with within(SILENCE):
            network.cut()
            await both_end(near, far)
        assert near.reason is far.reason is DisconnectReason.HEARTBEAT_TIMEOUT


async def test_f12_black_hole_with_data_in_flight(network: Network) -> None:
    async with linked(network) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(lose, near)
        nursery.start_soon(lose, far)
        await trio.testing.wait_all_tasks_blocked()
        async with within(SILENCE):
            network.cut()
            nursery.start_soon(lose, near, "x" * 400_000)
            nursery.start_soon(lose, far, "x" * 400_000)
            await both_end(near, far)
        assert near.reason is far.reason is DisconnectReason.HEARTBEAT_TIMEOUT


async def test_f13_one_way_is_lost(network: Network) -> None:
    async with linked(network) as (near, far):
        async with within(SILENCE):
            network.cut("b")
            await far.ended.wait()
        assert far.reason is DisconnectReason.HEARTBEAT_TIMEOUT
        # TCP hands on little that is new as long as nothing is acknowledged: the
        # goodbye of the other side may get through, or not.
        async with within(SILENCE):
            await both_end(near, far)
        if near.goodbye_code is None:
            assert near.reason is DisconnectReason.HEARTBEAT_TIMEOUT
        else:
            assert near.goodbye_code == CloseCode.HEARTBEAT


async def test_f14_reset_by_the_other_side(network: Network) -> None:
    async with linked(network, CALM) as (near, far), within(0.3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, near)
            nursery.start_soon(lose, far)
            await trio.testing.wait_all_tasks_blocked()
            at_once = struct.pack("ii", 1, 0)
            dialled(near).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            near.abort()
            await both_end(near, far)
        assert near.reason is DisconnectReason.LOCAL_CLOSE
        assert far.reason is DisconnectReason.CONNECTION_RESET


async def test_f15_reset_by_somebody_on_the_way(network: Network) -> None:
    async with linked(network, CALM) as (near, far):
        # The router answers for `b`, as a firewall that has forgotten of it.
        network.ip("router", f"address add {B}/32 dev lo")
        async with within(0.3):
            await lose(near)
            await near.ended.wait()
        assert near.reason is DisconnectReason.CONNECTION_RESET
        assert far.record == ["connected"]


async def test_f16_other_side_says_no_more(network: Network) -> None:
    async with linked(network, CALM) as (near, far), within(0.3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, near)
            nursery.start_soon(lose, far)
            await trio.testing.wait_all_tasks_blocked()
            dialled(near).shutdown(socket.SHUT_WR)
            await both_end(near, far)
        assert near.reason is far.reason is DisconnectReason.CONNECTION_LOST


async def test_f18_cable_is_pulled(network: Network) -> None:
    async with linked(network) as (near, far):
        async with within(SILENCE):
            network.ip("b", "link set eth0 down")
            await both_end(near, far)
        assert near.reason is far.reason is DisconnectReason.HEARTBEAT_TIMEOUT


async def test_f20_system_destroys_the_socket(network: Network) -> None:
    async with linked(network, CALM) as (near, far), within(0.3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, near)
            nursery.start_soon(lose, far)
            await trio.testing.wait_all_tasks_blocked()
            if B not in network.run("b", "ss", "-Kt", "state", "established"):
                pytest.skip("this kernel destroys no socket (INET_DIAG_DESTROY)")
            await both_end(near, far)
        assert near.reason is far.reason is DisconnectReason.CONNECTION_RESET


# -- a connection that lives --


@pytest.mark.parametrize(
    ("setting", "route"),
    [
        pytest.param("4096 4096 4096", "", id="F25 small send buffers"),
        pytest.param("4096 16384 4194304", "advmss 100", id="F26 tiny segments"),
    ],
)
async def test_large_frames_arrive_whole(
    setting: str, route: str, network: Network
) -> None:
    for machine, gate in Network.gate.items():
        network.set(machine, "net/ipv4/tcp_wmem", setting)
        network.ip(machine, f"route replace default via {gate} {route}")
    async with linked(network) as (near, far):
        text = "".join(map(str, range(70_000)))
        for peer in near, far:
            assert await peer.request(Echo(text)) == text


async def test_f19_link_that_flaps(network: Network) -> None:
    patient = attrs.evolve(FAST, heartbeat_misses=15)
    async with linked(network, patient) as (near, far):
        for number in range(5):
            network.ip("router", "link set to-b down")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.request, Echo(str(number)))
                await trio.sleep(0.05)
                network.ip("router", "link set to-b up")
        for peer in near, far:
            assert await peer.request(Echo("still here")) == "still here"
            assert peer.record == ["connected"]


async def test_f29_slow_way_is_no_silence(network: Network) -> None:
    try:
        network.shape("b", "2mbit")
    except OSError as error:
        pytest.skip(f"this kernel slows nothing down: {error}")
    async with linked(network) as (near, far):
        text = "x" * 400_000
        began = trio.current_time()
        assert await near.request(Echo(text)) == text
        # Longer than the silence that ends a connection, with every PING behind it.
        assert trio.current_time() - began > 2 * SILENCE
        for peer in near, far:
            assert peer.record == ["connected"]


async def test_f32_short_partition_is_borne(network: Network) -> None:
    patient = attrs.evolve(FAST, heartbeat_misses=15)
    async with linked(network, patient) as (near, far):
        network.cut()
        async with trio.open_nursery() as nursery:
            for peer in near, far:
                nursery.start_soon(peer.request, Echo("sent into the dark"))
            await trio.sleep(0.5)
            network.heal()
        for peer in near, far:
            await peer.request(Echo("still here"))
            assert peer.record == ["connected"]


# -- a link that comes back --


async def test_f32_long_partition_ends_a_link_once(network: Network) -> None:
    async with AsyncExitStack() as stack:
        master = await start(stack, network, "b", Master())
        game = await start(stack, network, "a", Game())
        first = await game.link.connected()
        network.cut()
        await first.ended.wait()
        with pytest.raises(PeerDisconnectedError) as caught:
            await game.link.request(Echo("x"))
        assert caught.value.outcome is Outcome.NEVER_SENT
        await trio.sleep(0.3)
        network.heal()
        async with within(CAP):
            second = await game.link.connected()
        assert await second.request(Echo("again")) == "again"
        assert game.ends == [DisconnectReason.HEARTBEAT_TIMEOUT]
        assert [far.reason for far in master.accepted] == [*game.ends, None]


async def test_f35_power_fails_and_nobody_says_so(network: Network) -> None:
    async with AsyncExitStack() as stack:
        game = await start(stack, network, "a", Game())
        async with Program.running(network, "b", MASTER) as program:
            assert await program.line() == "listens"
            first = await game.link.connected()
            async with within(SILENCE), trio.open_nursery() as nursery:
                nursery.start_soon(lose, first)
                network.power_off("b")
                program.process.kill()
                await first.ended.wait()
            assert first.reason is DisconnectReason.HEARTBEAT_TIMEOUT
        network.power_on("b")
        await come_back(network, game, first)


async def test_f35_power_comes_back_before_anybody_noticed(network: Network) -> None:
    async with AsyncExitStack() as stack:
        game = await start(stack, network, "a", Game(CALM))
        async with Program.running(network, "b", MASTER) as program:
            assert await program.line() == "listens"
            first = await game.link.connected()
            network.power_off("b")
        # The new machine knows of no connection, and says so when it is asked.
        network.power_on("b")
        await lose(first)
        await first.ended.wait()
        assert first.reason is DisconnectReason.CONNECTION_RESET
        await come_back(network, game, first)


async def test_f36_process_is_stopped_and_goes_on(network: Network) -> None:
    async with AsyncExitStack() as stack:
        game = await start(stack, network, "a", Game())
        program = await stack.enter_async_context(Program.running(network, "b", MASTER))
        assert await program.line() == "listens"
        first = await game.link.connected()
        assert await program.line() == "connected"
        async with within(SILENCE):
            program.process.send_signal(signal.SIGSTOP)
            await first.ended.wait()
        assert first.reason is DisconnectReason.HEARTBEAT_TIMEOUT
        program.process.send_signal(signal.SIGCONT)
        assert await program.line() == "disconnected REPORTED_BY_PEER"
        async with within(CAP):
            second = await game.link.connected()
        assert second.init_response.instance_id == first.init_response.instance_id


async def test_f37_process_is_killed_in_the_middle_of_a_frame(
    network: Network,
) -> None:
    async with AsyncExitStack() as stack:
        game = await start(stack, network, "a", Game())
        async with Program.running(network, "b", MASTER) as program:
            assert await program.line() == "listens"
            first = await game.link.connected()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lose, first)
                await first.send_event(Note(0))
                while first.statistics().bytes_received < 2**21:  # noqa: ASYNC110  no event tells of them
                    await trio.sleep(TICK)
                async with within(0.5):
                    program.process.kill()
                    await first.ended.wait()
        assert first.reason in LOST
        await come_back(network, game, first)


async def come_back(network: Network, game: Game, first: Near) -> None:
    """Start the server of `b` anew; the link reaches it, and nothing else ended."""
    assert game.link.peer is None
    async with Program.running(network, "b", MASTER) as program:
        assert await program.line() == "listens"
        async with within(CAP):
            second = await game.link.connected()
        assert await second.request(Echo("again")) == "again"
    assert second.init_response.instance_id != first.init_response.instance_id
    assert [peer.reason for peer in game.made if "connected" in peer.record] == [
        first.reason,
        second.reason,
    ]


# -- names --


async def test_f10_first_addresses_of_a_name_are_dead(network: Network) -> None:
    addresses = ABSENT, "10.66.2.54", B
    lines = "".join(f"{address} master.test\n" for address in addresses)
    network.etc("a", "hosts", lines)
    network.ip("router", f"route add prohibit {ABSENT}")
    network.ip("router", f"route add unreachable {addresses[1]}")
    async with Program.running(network, "a", ASKS) as program:
        line = await program.line()
        assert line.startswith("REFUSED")
        assert all(address in line for address in addresses)
    # The first one hangs, so that the others are tried without its answer.
    network.ip("router", f"route replace blackhole {ABSENT}")
    async with server(network), Program.running(network, "a", ASKS) as program:
        assert await program.line() == "CONNECTED"


async def test_g03_name_server_does_not_answer(network: Network) -> None:
    network.etc("a", "resolv.conf", f"nameserver {ABSENT}\n")
    network.ip("router", f"route add blackhole {ABSENT}")
    async with Program.running(network, "a", ASKS) as program:
        line = await program.line()
        reason, waited, text = line.split(maxsplit=2)
        assert reason == "DNS_TIMEOUT", line
        assert "master.test:4520" in text
        # A busy machine may let this process wait, which it can't tell from its limit.
        assert 1.0 <= float(waited) < 3.0
        # What still waits for an answer must not hold up the end of a program.
        assert await program.process.wait() == 0
