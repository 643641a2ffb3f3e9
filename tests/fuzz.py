"""Throws bytes at everything that reads the wire, for as long as it is told to.

`python -m tests.fuzz --minutes 10 --seed 1` tries all targets in turn. What comes out
is a message, or the one error that is allowed, and nothing else. A failure prints the
input and the line that tries just that one again.
"""

import argparse
import collections
import contextlib
import logging
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import attrs
import trio
import trio.testing

from tests.hostile import HELLO, Victim
from tests.peers import Echo, start_server
from tests.streams import LIMITS
from trio_s2s import (
    ConnectionFailedError,
    ContractError,
    Event,
    PeerConfig,
    open_peer,
    parameter,
)
from trio_s2s.codec import pack, unpack_messages
from trio_s2s.codes import Kind
from trio_s2s.contracts import contract_of
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.fields import Identity
from trio_s2s.forms import Message
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.handshake import read_answer, read_hello, welcome
from trio_s2s.protocol import Protocol

CONFIG = PeerConfig()
MAX_FRAME = 64 * 1024
WELCOME = welcome(Identity(bytes(16), "gs-1", "7"), {"a": [1]}, CONFIG)

# -- what is thrown --

BOMBS = [
    bytes.fromhex(text)
    for text in (
        "c1", "c9ffffffff01", "ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff",
        "93" * 40, "81a0" * 40, "d6ff00000000", "c70cff000000", "c40100", "a3eda080",
        "cb7ff8000000000001", "cfffffffffffffffff", "d38000000000000000", "8190c0",
    )
]  # fmt: skip
"""Bytes that once did harm to some decoder."""


def value(rng: random.Random, depth: int = 0) -> Any:
    """Make a value that can travel."""
    simple: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice([0, 1, -1, 127, 128, 2**31, 2**63 - 1, -(2**63), 2**64 - 1]),
        rng.random,
        lambda: "x" * rng.choice([0, 1, 31, 32, 255, 256]),
        lambda: bytes(rng.choice([0, 1, 16, 32, 255])),
    ]
    if depth > 3 or rng.random() < 0.6:
        return rng.choice(simple)()
    count = rng.choice([0, 1, 2, 15, 16])
    if rng.random() < 0.5:
        return [value(rng, depth + 1) for _ in range(count)]
    keys = [rng.choice([n, str(n)]) for n in range(count)]
    return {key: value(rng, depth + 1) for key in keys}


def message(rng: random.Random) -> Message:
    """Make a message that has nearly the right form."""
    number = rng.choice([0, 1, 2, 3, 70, 2**32, 2**63])
    table = {n: value(rng) for n in range(rng.randrange(3))}
    made: Message = rng.choice(
        [
            [Kind.REQUEST, number, rng.randrange(4), table],
            [Kind.REQUEST, number, 1, table, {0: 5, 1: rng.randrange(20)}],
            [Kind.RESPONSE, number, rng.choice([0, -5, 7]), table, None],
            [Kind.EVENT, rng.randrange(4), table, rng.randrange(20)],
            [Kind.CANCEL, number, rng.randrange(4)],
            [Kind.CREDIT, rng.randrange(20), number],
            [Kind.PING, number],
            [Kind.PONG, number],
            [Kind.GOODBYE, rng.randrange(-30, 5), "bye", number, rng.random() < 0.5],
            [Kind.CONTRACTS, []],
            [rng.randrange(200), value(rng)],
        ]
    )
    if rng.random() < 0.2:
        made[rng.randrange(len(made))] = value(rng)
    return made


def frames(rng: random.Random) -> bytes:
    """Make some frames of some messages each."""
    batches = (
        [pack(message(rng)) for _ in range(rng.randrange(1, 5))]
        for _ in range(rng.randrange(1, 6))
    )
    return b"".join(map(encode_frame, batches))


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Turn bits over, cut, double, and plant bombs."""
    changed = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                del changed[place:]
            case 2:
                changed[place:place] = rng.choice(BOMBS)
            case 3:
                end = rng.randrange(place, len(changed) + 1)
                changed[place:place] = changed[place:end]
            case 4:
                del changed[place : place + rng.randrange(9)]
            case _:
                changed[place : place + 4] = rng.randbytes(4)
    return bytes(changed)


def pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """Cut bytes anywhere."""
    start = 0
    while start < len(data):
        size = rng.choice([1, 2, 7, 64, 1500])
        yield data[start : start + size]
        start += size


def something(rng: random.Random, valid: bytes) -> bytes:
    """Make an input out of a valid one, or out of nothing."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(200))
    return mutated(rng, valid)


# -- who has to bear it --


def bear_stream(rng: random.Random, data: bytes) -> str:
    """Read frames and messages, and let the rules of a connection look at them."""
    decoder, protocol = FrameDecoder(MAX_FRAME), Protocol(LIMITS, LIMITS)
    protocol.request_queued(10)
    protocol.event_queued(0, 10)
    try:
        for piece in pieces(rng, data):
            decoder.receive_data(piece)
            while (body := decoder.next_frame()) is not None:
                for one, size in unpack_messages(body, CONFIG.max_elements):
                    protocol.receive(one, size)
                    check(protocol)
            assert len(decoder._buffer) <= MAX_FRAME + 4
    except RemoteProtocolError as error:
        return error.code.name
    return "taken"


def check(protocol: Protocol) -> None:
    """See that what is counted can be true."""
    requests = [protocol._requests_in, protocol._requests_out]
    events = [*protocol._events_in, *protocol._events_out]
    assert all(window.weight >= 0 for window in requests + events)
    assert all(0 <= window.count <= window.slots for window in requests)
    assert protocol._requests_in.weight == sum(protocol.running.values())
    assert protocol._requests_out.weight == sum(protocol.outstanding.values())


def bear_hello(rng: random.Random, data: bytes) -> str:
    """Read the dialler's first frame."""
    try:
        read_hello(data[4:], CONFIG)
    except ConnectionFailedError as error:
        return error.reason.name
    return "taken"


def bear_answer(rng: random.Random, data: bytes) -> str:
    """Read the acceptor's answer."""
    try:
        read_answer(data[4:], [b"x" * 16], CONFIG)
    except ConnectionFailedError as error:
        return error.reason.name
    return "taken"


@attrs.frozen
class Item:
    name: str
    count: int = 0


@attrs.frozen
class Odd(Event, code=77):
    """One field of every sort."""

    name: str
    ratio: float
    items: list[Item]
    by_name: dict[str, bytes]
    pair: tuple[int, bool]
    extra: Annotated[Item | None, parameter(9)] = None


def bear_contract(rng: random.Random, data: bytes) -> str:
    """Turn a parameter table into an attrs object."""
    table: dict[int | str, Any] = {
        0: "x",
        1: 1,
        2: [{0: "y"}],
        3: {"a": b""},
        4: [1, True],
    }
    for key in rng.sample(list(table), rng.randrange(3)):
        table[key] = value(rng)
    try:
        contract_of(Odd).from_parameters(table)
    except ContractError:
        return "refused"
    return "taken"


def bear_server(rng: random.Random, data: bytes) -> str:
    """Be a whole server, which goes on whatever one connection says."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(_serve, rng, data, clock=clock)


async def _serve(rng: random.Random, data: bytes) -> str:
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, Victim)
        stream = server.listener.dial()
        hello = HELLO if rng.random() < 0.8 else mutated(rng, HELLO)
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                for piece in pieces(rng, hello):
                    await stream.send_all(piece)
            if hello == HELLO:
                # Nothing may follow before WELCOME has come.
                await stream.receive_some()
            with contextlib.suppress(trio.BrokenResourceError):
                # The server hangs up at the first wrong byte.
                for piece in pieces(rng, data):
                    await stream.send_all(piece)
            with trio.move_on_after(rng.choice([0, 1, 30])):
                await trio.sleep_forever()
        await trio.sleep(60)
        for made in server.peers:
            hooks = [line.split()[0] for line in made.record if "connected" in line]
            assert hooks in ([], ["connected", "disconnected"]), made.record
        async with open_peer(server.listener.dial()) as peer:
            assert await peer.request(Echo("still there")) == "still there"
        nursery.cancel_scope.cancel()
    return "lived"


Target = Callable[[random.Random, bytes], str]
Maker = Callable[[random.Random], bytes]

TARGETS: dict[str, tuple[Target, Maker, int]] = {
    "stream": (bear_stream, lambda rng: something(rng, frames(rng)), 40),
    "hello": (bear_hello, lambda rng: something(rng, HELLO), 20),
    "answer": (bear_answer, lambda rng: something(rng, WELCOME), 20),
    "contract": (bear_contract, lambda rng: b"", 20),
    "server": (bear_server, lambda rng: something(rng, frames(rng)), 1),
}
"""Who bears what, and how often in one round."""


def try_one(target: str, seed: str) -> str:
    """Try one input; give what became of it."""
    bear, make, _ = TARGETS[target]
    rng = random.Random(f"{target} {seed}")
    data = make(rng)
    try:
        return bear(rng, data)
    except BaseException:
        traceback.print_exc()
        print(f"FAILED {target}, input {data[:200].hex() or 'none'}")
        print(f"again: python -m tests.fuzz --only {target} {seed}")
        raise


def run(seed: int, rounds: Iterator[int]) -> collections.Counter[str]:
    """Try all targets in turn, round by round."""
    counts: collections.Counter[str] = collections.Counter()
    for number in rounds:
        for target, (_, _, often) in TARGETS.items():
            for index in range(often):
                end = try_one(target, f"{seed}.{number}.{index}")
                counts[f"{target}: {end}"] += 1
    return counts


def until(deadline: float) -> Iterator[int]:
    """Count rounds until the time is over."""
    number = 0
    while time.monotonic() < deadline:
        yield number
        number += 1


def main() -> int:
    """Fuzz for some minutes, or try one input again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", nargs=2, metavar=("TARGET", "INPUT"))
    options = parser.parse_args()
    logging.disable()
    if options.only:
        print(try_one(*options.only))
        return 0
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    began = time.monotonic()
    counts = run(options.seed, until(began + options.minutes * 60))
    for end, count in sorted(counts.items()):
        print(f"{count:>9,}  {end}")
    took = time.monotonic() - began
    print(f"{counts.total():>9,}  inputs, {counts.total() / took:,.0f} a second: clean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
