"""Whether one seed does the same in any process: `python -m tests.simulator.same`.

Each world runs in two processes for each of three hash seeds; the hashes of what
happened must be equal.
"""

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from tests.simulator.options import draw
from tests.simulator.world import run_world

HASH_SEEDS = ("0", "1", "4242")
PROCESSES = 2
"""For each hash seed."""


def traces(first: int, count: int) -> list[str]:
    """Give what happened in some worlds, each as one hash."""
    seeds = range(first, first + count)
    return [run_world(draw(seed, is_short=True)).trace for seed in seeds]


def traces_elsewhere(hash_seed: str, first: int, count: int) -> list[str]:
    """Give the same, found out by a process of its own."""
    command = [sys.executable, "-m", "tests.simulator.same", "--print"]
    command += ["--seed", str(first), "--seeds", str(count)]
    around = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        command, env=around, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def compare(first: int, count: int, processes: int = PROCESSES) -> list[int]:
    """Give the seeds whose worlds were not the same everywhere."""
    runs = [hash_seed for hash_seed in HASH_SEEDS for _ in range(processes)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: traces_elsewhere(one, first, count), runs))
    seen: dict[int, set[str]] = defaultdict(set)
    for hashes in found:
        for seed, trace in zip(range(first, first + count), hashes, strict=True):
            seen[seed].add(trace)
    return [seed for seed, hashes in seen.items() if len(hashes) > 1]


def main() -> int:
    """Compare; the exit status is 1 if any world differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--print", action="store_true", help="hashes of this process")
    options = parser.parse_args()
    if options.print:
        print("\n".join(traces(options.seed, options.seeds)))
        return 0
    differ = compare(options.seed, options.seeds)
    print(
        f"{options.seeds:,} seeds x {PROCESSES} processes x {len(HASH_SEEDS)} hash"
        f" seeds: {len(differ)} differ {differ[:10] or ''}"
    )
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
