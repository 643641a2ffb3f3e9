"""Twin of `testing/scheduler.py`; it tells when Trio has changed private names."""

import trio
from trio._core import _run

from trio_s2s.testing import seeded

CHANGED = "Trio has changed what trio_s2s/testing/scheduler.py relies on"


def order_of_tasks() -> tuple[int, ...]:
    """Give the order in which tasks that all are ready run."""
    order: list[int] = []

    async def note(number: int) -> None:
        for _ in range(3):
            order.append(number)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(note, number)

    trio.run(main)
    return tuple(order)


def order_with(seed: int) -> tuple[int, ...]:
    with seeded(seed):
        return order_of_tasks()


def test_names_are_there() -> None:
    assert hasattr(_run, "_r"), CHANGED
    assert hasattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING"), CHANGED


def test_one_seed_makes_one_order() -> None:
    assert len({order_with(7) for _ in range(10)}) == 1, CHANGED


def test_other_seeds_make_other_orders() -> None:
    assert len({order_with(seed) for seed in range(10)}) > 5, CHANGED


def test_what_was_before_is_put_back() -> None:
    scheduler = vars(_run)
    before = scheduler["_r"].getstate(), scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"]
    with seeded(1):
        order_of_tasks()
    after = scheduler["_r"].getstate(), scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"]
    assert before == after
