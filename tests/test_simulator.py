"""A short run of the simulator; `python -m tests.simulator` is a long one."""

import pytest

from tests.simulator.checker import Checker, Violation
from tests.simulator.options import draw
from tests.simulator.plan import VERBS, Trouble, draw_plan
from tests.simulator.shrink import shrink
from tests.simulator.world import run_world
from tests.test_planted import planted

CHUNK = 25


@pytest.mark.parametrize("first", range(1, 201, CHUNK))
def test_nothing_breaks_the_invariants(first: int) -> None:
    for seed in range(first, first + CHUNK):
        result = run_world(draw(seed, is_short=True))
        again = f"python -m tests.simulator --short --only {seed}"
        assert not result.violation, f"{result.violation}; again: {again}"
