"""Servers that dial each other at once: `python -m tests.races --seeds 10000`.

Two or three servers, each with links to others, sometimes two to the same one; every
message of every handshake is delayed by its own chance. Then each pair must have one
connection, each side must have been connected once, and both must mean the same one.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations
from typing import Any, Final

import attrs
import trio
import trio.testing

from tests.quiet import silent
from trio_s2s import FailureReason, Peer, PeerConfig
from trio_s2s.testing import (
    MemoryNetwork,
    RecordingApplication,
    RecordingPeer,
    seeded,
)

NAMES: Final = ("a", "b", "c")
LONGEST: Final = 0.25
"""Seconds that a message may take; well below what a connection has to answer."""
MOST_ATTEMPTS: Final = 3
"""Of one link, until it sees that it is not needed."""
CONFIG: Final = PeerConfig(heartbeat_interval=600)


class Racer(RecordingApplication):
    """Dials others at its own times."""

    def __init__(self, name: str) -> None:
        super().__init__("Racer", server_id=name, config=CONFIG)

    async def dial(self, other: str, delay: float) -> None:
        await trio.sleep(delay)
        self.connect_tcp(other, 4520, self.make_peer, server_id=other, insecure=True)

    def make_peer(self) -> RecordingPeer:
        return self.recorded(RecordingPeer())


@attrs.frozen
class Race:
    """What chance decides before it begins."""

    seed: int
    dials: tuple[tuple[str, str, float], ...]
    """Who dials whom, and when."""
    latency: float
    jitter: float


def draw(seed: int) -> Race:
    """Draw a race of two or three servers; each pair is dialled at least once."""
    rng = random.Random(f"{seed} race")
    names = NAMES[: rng.choice([2, 3])]
    spread = rng.choice([0.0, 0.01, 0.3])
    dials = [
        (one, other, rng.random() * spread)
        for one, other in permutations(names, 2)
        for _ in range(rng.choice([1, 1, 2]))
        if one < other or rng.random() < 0.9
    ]
    latency = rng.choice([0.0, 0.001, 0.05])
    return Race(seed, tuple(dials), latency, rng.choice([0.002, LONGEST - latency]))


async def run(race: Race) -> list[str]:
    """Run it; give all that does not hold."""
    network = MemoryNetwork(seed=race.seed)
    network.set_latency(race.latency, race.jitter)
    racers = {
        name: Racer(name) for one, other, _ in race.dials for name in (one, other)
    }
    async with trio.open_nursery() as nursery:
        for racer in racers.values():
            await nursery.start(network.run, racer)
        for one, other, delay in race.dials:
            nursery.start_soon(racers[one].dial, other, delay)
        await trio.sleep(30)
        wrong = [text for pair in pairs(race) for text in judge(racers, *pair)]
        wrong += [text for name in racers for text in judge_one(race, racers[name])]
        if len(network.connections) != len(pairs(race)):
            wrong.append(f"{len(network.connections)} connections")
        nursery.cancel_scope.cancel()
    return wrong


def pairs(race: Race) -> set[tuple[str, str]]:
    """Give the servers of which one dials the other."""
    return {(min(dial[:2]), max(dial[:2])) for dial in race.dials}


def judge(racers: dict[str, Racer], one: str, other: str) -> Iterator[str]:
    """Say what is wrong with a pair."""
    near, far = racers[one].peers.get(other), racers[other].peers.get(one)
    if near is None or far is None:
        yield f"{one} and {other} are not connected"
    elif addresses(near) != addresses(far)[::-1]:
        yield f"{one} and {other} mean two connections"
    for me, them in (one, other), (other, one):
        hooks = [each.hook for each in racers[me].records if each.server_id == them]
        if hooks != ["on_connected"]:
            yield f"hooks of {me} for {them}: {hooks}"


def judge_one(race: Race, racer: Racer) -> Iterator[str]:
    """Say what is wrong with a server's links."""
    name = racer.server_id
    links = [dial for dial in race.dials if dial[0] == name]
    if racer.failures:
        yield f"{name} has failed: {racer.failures}"
    attempts = racer.statistics().failures.get(FailureReason.DUPLICATE, 0)
    if attempts > MOST_ATTEMPTS * len(links):
        yield f"{name} has dialled {attempts} times in vain"


def addresses(peer: Peer) -> tuple[str, str]:
    """Give both ends of a connection."""
    return peer.local_address, peer.remote_address


def run_seed(seed: int) -> tuple[int, list[str]]:
    """Run the race of a seed in virtual time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    with seeded(seed), silent():
        return seed, trio.run(run, draw(seed), clock=clock)


def main() -> int:
    """Run races in processes; the exit status is 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--until-found", action="store_true", help="stop at the first")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.seeds)
    began = time.monotonic()
    bad = 0
    with ProcessPoolExecutor(2) as pool:
        results: Any = map(run_seed, seeds)
        if not options.until_found:
            results = pool.map(run_seed, seeds, chunksize=50)
        for seed, wrong in results:
            if wrong:
                bad += 1
                print(f"FOUND {wrong} (seed {seed})")
                if options.until_found:
                    return 1
    took = time.monotonic() - began
    print(f"{len(seeds):,} races, {bad} of them went wrong, in {took:,.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
