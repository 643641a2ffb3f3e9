"""Runs worlds: `python -m tests.simulator --worlds 200 --seed 1`."""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import attrs

from tests.simulator.options import draw
from tests.simulator.plan import STATES, VERBS
from tests.simulator.shrink import shrink
from tests.simulator.world import Result, run_world

ENOUGH = 20
"""How often each fault is to meet each state, in a long run."""


@attrs.define
class Sum:
    """What came of all worlds together."""

    worlds: int = 0
    link_hours: float = 0.0
    counts: Counter[str] = attrs.field(factory=Counter)
    matrix: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    bad: list[Result] = attrs.field(factory=list)

    def add(self, result: Result) -> None:
        """Add one."""
        self.worlds += 1
        self.link_hours += result.link_seconds / 3600
        self.counts += result.counts
        self.matrix += result.matrix
        if result.violation:
            self.bad.append(result)


def run_seed(seed: int, *, is_short: bool = False) -> Result:
    """Run the world of a seed."""
    return run_world(draw(seed, is_short=is_short))


def report(total: Sum, took: float) -> None:
    """Print all that was counted."""
    for name, count in sorted(total.counts.items()):
        print(f"{count:>14,}  {name}")
    print(f"{'':20}" + "".join(f"{state:>11}" for state in STATES))
    for verb in VERBS:
        cells = [total.matrix[verb, state] for state in STATES]
        print(f"{verb:20}" + "".join(f"{cell:>11,}" for cell in cells))
    faults = total.matrix.total()
    kinds = len({verb for verb, _ in total.matrix})
    few = [cell for cell in ((v, s) for v in VERBS for s in STATES)
           if total.matrix[cell] < ENOUGH]  # fmt: skip
    print(
        f"{total.worlds:,} worlds, {total.link_hours:,.1f} link-hours,"
        f" {total.counts['requests']:,} requests, {total.counts['events']:,} events,"
        f" {faults:,} faults of {kinds} kinds, {len(few)} cells met less than {ENOUGH}"
        f" times, {len(total.bad)} violations, in {took:,.0f} s"
    )


def tell(result: Result, again: str) -> None:
    """Print what is wrong with a world, with the least that shows it."""
    print(f"VIOLATION in the world of seed {result.options.seed}: {result.violation}")
    print(f"  {result.options}")
    print("  the least of its plan that shows it:")
    for trouble in shrink(result):
        print(f"    {trouble}")
    print("  what happened last:")
    for line in result.last:
        print(f"    {line}")
    print(f"  again: python -m tests.simulator {again}--only {result.options.seed}")


def until_found(seeds: range, *, is_short: bool) -> int:
    """Run worlds until one shows a violation."""
    for seed in seeds:
        result = run_seed(seed, is_short=is_short)
        if result.violation:
            print(f"FOUND {result.violation} (seed {seed})")
            return 1
    return 0


def main() -> int:
    """Run worlds in processes; the exit status is 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first world")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="worlds of a minute")
    parser.add_argument("--until-found", action="store_true", help="stop at the first")
    parser.add_argument("--only", type=int, help="run the world of this seed alone")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.worlds)
    if options.only is not None:
        seeds = range(options.only, options.only + 1)
    if options.until_found:
        return until_found(seeds, is_short=options.short)
    total = Sum()
    began = time.monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        for result in pool.map(
            partial(run_seed, is_short=options.short), seeds, chunksize=4
        ):
            total.add(result)
            if result.violation and len(total.bad) <= 5:
                tell(result, "--short " if options.short else "")
    report(total, time.monotonic() - began)
    return 1 if total.bad else 0


if __name__ == "__main__":
    sys.exit(main())
