"""What floods cost a server, and its other peers: `python -m tests.floods`.

The server, whoever floods it and the healthy peer are three processes with real
sockets. Printed are the server's resident memory before, at most and behind, beyond
what one healthy peer takes, and the round trips of the healthy peer meanwhile. The
exit status is 1 if it grew beyond `bound`, or if the healthy peer waited too long.
"""

import argparse
import contextlib
import itertools
import os
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import trio

from tests.peers import Echo, tls_contexts
from trio_s2s import (
    Application,
    EventData,
    InboundPeer,
    InitRequest,
    Operation,
    OutboundPeer,
    PeerConfig,
    SendParameters,
    handles,
    open_application,
    open_tcp_peer,
)
from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import hello

MIB = 1024 * 1024
CONFIG = PeerConfig()
MOST = 64 * MIB
"""No flood may cost more, of however many connections."""
LONGEST = 0.1
"""Seconds that 99 of 100 round trips of the healthy peer may take at most."""


def bound(config: PeerConfig) -> int:
    """Give the bytes that one peer may cost, as `docs/limits.md` has it."""
    received = 2 * config.max_frame + 128 * 1024
    held = 2 * config.max_request_weight + 16 * config.max_event_weight
    tasks = config.max_concurrent_requests * 8 * 1024
    sending = 2 * config.send_buffer + 2 * config.max_frame
    return received + held + tasks + sending


# -- the server --


@attrs.frozen
class Block(Operation[None], code=2):
    """Never ends."""

    load: bytes = b""


@attrs.frozen
class Fetch(Operation[bytes], code=3):
    """Answers as much as was asked for."""

    size: int


class Target(InboundPeer):
    """Has handlers of every sort."""

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        return operation.text

    @handles(Block)
    async def block(self, operation: Block) -> None:
        await trio.sleep_forever()

    @handles(Fetch)
    async def fetch(self, operation: Fetch) -> bytes:
        return bytes(operation.size)

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        # Channel 1 is for those that want to wait.
        await trio.sleep(send_parameters.channel)


class Host(Application):
    """Listens on a port for all, and on another with TLS."""

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return Target(init_request)


async def serve() -> None:
    """Serve until the standard input ends, and print both ports first."""
    async with open_application(Host("Host")) as host:
        plain = await host.listen_tcp(0, host="127.0.0.1")
        secure = await host.listen_tcp(
            0, host="127.0.0.1", ssl_context=tls_contexts()[0]
        )
        ports = [one.socket.getsockname()[1] for one in (*plain, *secure)]
        print(*ports, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


# -- the floods --


def shake(port: int) -> socket.socket:
    """Connect by hand, up to WELCOME."""
    flooder = socket.create_connection(("127.0.0.1", port))
    flooder.sendall(hello(Identity(os.urandom(16)), "", None, CONFIG))
    flooder.recv(65536)
    return flooder


def frame(*messages: Any) -> bytes:
    """Make a frame of messages."""
    return encode_frame(map(pack, messages))


@contextlib.contextmanager
def gone() -> Iterator[None]:
    """Let it be that the server has closed."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        yield


def silent(port: int, _: int) -> None:
    """Connect, and say nothing."""
    kept: list[socket.socket] = []
    for _ in range(900):
        with gone():
            kept.append(socket.create_connection(("127.0.0.1", port)))
    time.sleep(0.5)
    for one in kept:
        one.close()


def begin_tls(_: int, port: int) -> None:
    """Begin a TLS handshake, and go."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    with gone(), socket.create_connection(("127.0.0.1", port)) as flooder:
        flooder.sendall(outgoing.read())
        flooder.recv(65536)


def events_beyond_credit(port: int, _: int) -> None:
    """Send events as fast as the socket takes them, whatever the credit."""
    batch = frame(*[[Kind.EVENT, 9, {0: bytes(20)}, 1]] * 1000)
    with gone(), shake(port) as flooder:
        while True:
            flooder.sendall(batch)


def events_within_credit(port: int, _: int, load: object = ([],) * 4000) -> None:
    """Send as many events as the server takes, on all channels, and stay."""
    with gone(), shake(port) as flooder:
        for channel in range(1, 16):
            event = [Kind.EVENT, 9, {0: load}, channel]
            weight = len(pack(event)) + 64
            for _ in range(CONFIG.max_event_weight // weight):
                flooder.sendall(frame(event))
        time.sleep(1)


def fast_events(port: int, _: int) -> None:
    """Send small events without a pause, as fast as credit comes back."""
    trio.run(_send_events, port)


async def _send_events(port: int) -> None:
    async with open_tcp_peer("127.0.0.1", port, OutboundPeer, insecure=True) as peer:
        event = EventData(9, {0: bytes(20)})
        with trio.move_on_after(2):
            while True:
                await peer.send_event(event)


def unread_answers(port: int, _: int) -> None:
    """Ask in as many requests as there are slots, and read nothing."""
    with gone(), shake(port) as flooder:
        for first in range(1, 10**9, 1000):
            ids = range(first, first + 1000)
            asked = (pack([Kind.REQUEST, one, 1, {0: "x" * 1000}]) for one in ids)
            flooder.settimeout(1)
            flooder.sendall(_cut(asked))


def _cut(messages: Iterator[bytes]) -> bytes:
    """Make as many frames as it takes."""
    frames = []
    while batch := list(itertools.islice(messages, 100)):
        frames.append(encode_frame(batch))
    return b"".join(frames)


def blocked_handlers(port: int, _: int) -> None:
    """Fill all slots, and the window, with handlers that never end."""
    load = bytes(CONFIG.max_request_weight // CONFIG.max_concurrent_requests - 100)
    with gone(), shake(port) as flooder:
        ids = range(1, CONFIG.max_concurrent_requests + 1)
        flooder.sendall(_cut(pack([Kind.REQUEST, one, 2, {0: load}]) for one in ids))
        time.sleep(1.5)


def large_answers(port: int, _: int) -> None:
    """Ask in few bytes for 500 KB a time, and read nothing."""
    with gone(), shake(port) as flooder:
        ids = range(1, 1001)
        asked = [pack([Kind.REQUEST, one, 3, {0: 500_000}]) for one in ids]
        flooder.sendall(encode_frame(asked))
        time.sleep(1.5)


def unknown_operations(port: int, _: int) -> None:
    """Ask for what there is not, and read all answers."""
    with gone(), shake(port) as flooder:
        for first in range(1, 20_000, 500):
            ids = range(first, first + 500)
            flooder.sendall(frame(*([Kind.REQUEST, one, 77, {}] for one in ids)))
            got = 0
            while got < 500 * 25:
                got += len(flooder.recv(65536))


def rapid_reset(port: int, _: int) -> None:
    """Ask and cancel, again and again."""
    with gone(), shake(port) as flooder:
        for first in range(1, 20_000, 500):
            ids = range(first, first + 500)
            both = (
                message
                for one in ids
                for message in ([Kind.REQUEST, one, 2, {}], [Kind.CANCEL, one, 1])
            )
            flooder.sendall(frame(*both))
            got = 0
            while got < 500 * 25:
                got += len(flooder.recv(65536))


def bad_frames(port: int, _: int) -> None:
    """Send nonsense, as a stranger and as a peer."""
    with gone(), socket.create_connection(("127.0.0.1", port)) as flooder:
        flooder.sendall(b"GET / HTTP/1.1\r\n\r\n")
        flooder.recv(65536)
    with gone(), shake(port) as flooder:
        flooder.sendall(frame() + b"\0\0\0\1\xc1")
        while flooder.recv(65536):
            pass


def come_and_go(port: int, _: int) -> None:
    """Connect, up to WELCOME, and go."""
    with gone(), shake(port):
        pass


def idle_peers(port: int, _: int) -> None:
    """Be 300 peers at once, of which each says no more than it must."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(shake(port)) for _ in range(300)]
        for peer in peers:
            peer.sendall(frame([Kind.PING, 1]))
        time.sleep(2)


def large_frames(port: int, _: int) -> None:
    """Send frames of 256 KiB back to back, each one event of many small values."""
    one = frame([Kind.EVENT, 9, {0: [[[1]] * 4000] * 30}])
    assert len(one) > 200 * 1024
    with gone(), shake(port) as flooder:
        for _ in range(20):
            flooder.sendall(one)
            while Kind.CREDIT not in flooder.recv(65536):
                pass


Flood = Callable[[int, int], None]
FLOODS: dict[str, Flood] = {
    "I01 silent connections": silent,
    "I02 TLS handshakes": begin_tls,
    "I03 events beyond credit": events_beyond_credit,
    "I03 events that wait": events_within_credit,
    "I03 tiny events that wait": partial(events_within_credit, load=None),
    "I03 events, as credit allows": fast_events,
    "I04 answers unread": unread_answers,
    "I05 blocked handlers": blocked_handlers,
    "I11 large answers unread": large_answers,
    "I12 unknown operations": unknown_operations,
    "I13 bad frames": bad_frames,
    "I14 300 idle peers": idle_peers,
    "I15 come and go": come_and_go,
    "I19 large frames": large_frames,
    "C15 ask and cancel": rapid_reset,
}
OF_MANY = {"I01", "I02", "I13", "I14", "I15"}
"""Those of many connections, which may cost `MOST` together."""


# -- measuring --


@attrs.define
class Measured:
    """What one flood did."""

    start: int = 0
    peak: int = 0
    after: int = 0
    trips: list[float] = attrs.field(factory=list)


def memory(pid: int) -> int:
    """Give the resident memory of a process, in bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def measure(name: str, seconds: float) -> Measured:
    """Flood a fresh server, and be its healthy peer."""
    done = Measured()
    command = [sys.executable, "-m", "tests.floods"]
    with subprocess.Popen(  # noqa: ASYNC220  nothing else goes on meanwhile
        [*command, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        ports = server.stdout.readline().split()
        async with open_tcp_peer("127.0.0.1", int(ports[0]), insecure=True) as peer:
            for _ in range(300):  # Until all that is made once is made.
                await peer.request(Echo("x"))
            done.start = done.peak = memory(server.pid)
            flood = [*command, "--flood", name, "--seconds", str(seconds), *ports]
            with subprocess.Popen(flood) as flooder:  # noqa: ASYNC220  nor here
                while flooder.poll() is None:
                    began = time.perf_counter()
                    await peer.request(Echo("x"))
                    done.trips.append(time.perf_counter() - began)
                    done.peak = max(done.peak, memory(server.pid))
                    await trio.sleep(0.002)
            await trio.sleep(1)
            done.after = memory(server.pid)
            assert await peer.request(Echo("still there")) == "still there"
        server.stdin.close()
    return done


def flood(name: str, seconds: float, ports: list[int]) -> None:
    """Flood a server for some time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        FLOODS[name](ports[0], ports[1])


def report(name: str, done: Measured) -> bool:
    """Print a line; whether all is as promised."""
    most = MOST if name[:3] in OF_MANY else bound(CONFIG)
    growth = done.peak - done.start
    p99 = statistics.quantiles(done.trips, n=100)[98]
    holds = growth <= most and p99 <= LONGEST
    print(
        f"{name:30} {done.start / MIB:6.1f} {done.peak / MIB:6.1f}"
        f" {done.after / MIB:6.1f} MiB  +{growth / MIB:5.1f} of {most / MIB:4.1f}"
        f"  p50 {statistics.median(done.trips) * 1000:5.1f} ms"
        f"  p99 {p99 * 1000:6.1f} ms  of {len(done.trips):5,}"
        f"{'' if holds else '  TOO MUCH'}",
        flush=True,
    )
    return holds


def main() -> int:
    """Run what the arguments say; all floods if they say nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="", help="the floods that begin so")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flood", help=argparse.SUPPRESS)
    parser.add_argument("ports", nargs="*", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve)
        return 0
    if options.flood:
        flood(options.flood, options.seconds, options.ports)
        return 0
    holds = True
    for name in FLOODS:
        if name.startswith(options.only):
            done = trio.run(partial(measure, name, options.seconds))
            holds &= report(name, done)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
