"""Finds the least of a plan that still shows a violation."""

from tests.simulator.plan import Trouble
from tests.simulator.world import Result, run_world


def shrink(result: Result) -> list[Trouble]:
    """Leave out whatever can be left out, in halves first, then one by one."""
    plan = result.plan
    kind = _kind(result)
    size = len(plan)
    while size:
        start = 0
        while start < len(plan):
            shorter = plan[:start] + plan[start + size :]
            if _kind(run_world(result.options, shorter)) == kind:
                plan = shorter
            else:
                start += size
        size //= 2
    return plan


def _kind(result: Result) -> str:
    # The same invariant, whoever breaks it.
    return result.violation.partition(": ")[2].partition(":")[0]
