"""A short run of the simulator; `python -m tests.simulator` is a long one."""

import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import msgpack
import pytest
import trio

from tests.simulator import __main__ as command
from tests.simulator.checker import Checker, Violation
from tests.simulator.options import draw
from tests.simulator.plan import VERBS, Trouble, draw_plan
from tests.simulator.reasons import EXPLAINS
from tests.simulator.same import compare
from tests.simulator.shrink import shrink
from tests.simulator.troubles import Troubles
from tests.simulator.wire import Wire
from tests.simulator.world import Result, run_world
from trio_s2s.testing.trace import Entry


def test_nothing_breaks_the_invariants() -> None:
    run = partial(command.run_seed, is_short=True)
    # Processes of their own are not slowed down by what measures coverage.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        results = list(pool.map(run, range(1, 201), chunksize=10))
    bad = {one.options.seed: one.violation for one in results if one.violation}
    assert not bad, "to see one again: python -m tests.simulator --short --only SEED"
    assert len(results) == 200


def test_v41_one_seed_does_the_same_in_any_process() -> None:
    assert compare(1, 6, processes=1) == []


def test_v31_world_that_is_too_busy_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulator.world.MOST_STEPS", 500)
    result = run_world(draw(1, is_short=True))
    assert result.violation.startswith("Violation: V31: ")


def test_v34_world_in_which_all_wait_for_ever_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run(_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("tests.simulator.world.World.run", run)
    result = run_world(draw(1, is_short=True))
    assert result.violation.startswith("Violation: V34: ")


def test_v34_world_that_waits_behind_a_shield_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run(_: object) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    monkeypatch.setattr("tests.simulator.world.World.run", run)
    result = run_world(draw(1, is_short=True))
    assert result.violation.startswith("Violation: V34: ")


def test_v30_world_that_leaves_dirt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dirt:
        def __del__(self) -> None:
            raise ValueError("dirt")

    async def run(_: object) -> None:
        Dirt()
        warnings.warn("more dirt", ResourceWarning, stacklevel=1)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("tests.simulator.world.World.run", run)
    result = run_world(draw(1, is_short=True))
    assert result.violation.startswith("Violation: V30: ")
    assert "more dirt" in result.violation


HELLO = [0, "trio-s2s", [1, 1], {4: {0: 4096, 1: 1, 2: 200, 3: 100}}]
WELCOME = [3, 1, {4: {0: 4096, 1: 1, 2: 200, 3: 100}}]
ASK = [5, 7, 1, {}]
SHAKEN = ((1, HELLO), (2, WELCOME))


@pytest.mark.parametrize(
    ("number", "frames"),
    [
        ("V4", [(1, ASK)]),
        ("V4", [(1, HELLO), (2, ASK)]),
        ("V4", [*SHAKEN, (1, HELLO)]),
        ("V9", [(1, HELLO), (0, "on_connected")]),
        ("V12", [*SHAKEN, (1, [6, 7, 0, {}, None])]),
        ("V12", [*SHAKEN, (1, ASK), *[(2, [6, 7, 0, {}, None])] * 2]),
        ("V15", [*SHAKEN, (1, ASK), (2, [6, 7, 0, {}, None]), (1, ASK)]),
        ("V17", [*SHAKEN, (1, [8, 7, 1])]),
        ("V17", [*SHAKEN, (1, ASK), *[(1, [8, 7, 1])] * 2]),
        ("V19", [*SHAKEN, (1, [7, 1, {}]), (2, [9, 0, 69])]),
        ("V21", [*SHAKEN, (1, b"\x95")]),
        ("V21", [*SHAKEN, (1, b"\xc1")]),
        ("V21", [(1, HELLO), (2, [4, -1, "", None]), (2, WELCOME)]),
        ("V21", [*SHAKEN, (1, [12, 0, "", 0, True]), (1, [10, 1])]),
        ("V21", [*SHAKEN, (1, [12, 0, "", 0, False]), (1, ASK)]),
        ("V21", [*SHAKEN, (1, [12, 0, "", 0, False]), (1, [7, 1, {}])]),
        ("V21", [*SHAKEN, *[(1, [12, 0, "", 0, False])] * 2]),
        ("V27", [*SHAKEN, (1, ASK), (1, [5, 8, 1, {}])]),
        ("V27", [*SHAKEN, *[(1, [7, 1, {}, 3])] * 2]),
    ],
)
def test_wire_that_breaks_the_protocol_is_told(
    number: str, frames: list[tuple[int, Any]]
) -> None:
    checker = Checker()

    def check(which: str, holds: bool, text: str) -> None:
        checker.check(which, holds=holds, text=text)

    wire = Wire(check, lambda *_: None)
    for side, message in frames[:-1]:
        wire.watch(entry_of(side, message))
    with pytest.raises(Violation, match=rf"\A{number}: "):
        wire.watch(entry_of(*frames[-1]))


def test_bytes_that_are_no_frame_are_told() -> None:
    def check(which: str, holds: bool, text: str) -> None:
        Checker().check(which, holds=holds, text=text)

    with pytest.raises(Violation, match="V21: a has sent what is no frame"):
        Wire(check, lambda *_: None).watch(
            Entry(0.0, "bytes", "a", "b", "", b"nonsense")
        )


def entry_of(side: int, message: Any) -> Entry:
    """Make what a trace has of a frame, of the dialler (1) or of the acceptor."""
    if side == 0:
        return Entry(0.0, "hook", "a", "b", message)
    body = message if isinstance(message, bytes) else msgpack.packb(message)
    ways = ("a", "b") if side == 1 else ("b", "a")
    return Entry(0.0, "frame", *ways, "", body, 1)


def test_every_fault_has_its_reasons() -> None:
    assert set(EXPLAINS) == set(VERBS)


def test_every_fault_of_a_plan_can_be_done() -> None:
    assert len(VERBS) >= 20
    assert all(callable(getattr(Troubles, verb)) for verb in VERBS)
    plan = draw_plan(draw(3))
    assert plan == draw_plan(draw(3)) != draw_plan(draw(4))
    assert plan == sorted(plan, key=lambda trouble: trouble.at)
    line = str(Trouble(1.5, "kill", ("s1", "s2"), "busy", 2.0, 0.5))
    assert line == "    1.50 kill s1->s2 when busy for 2.00 s (0.500)"


def test_first_violation_is_kept_whoever_swallows_it() -> None:
    checker = Checker()
    for text in "first", "second":
        with pytest.raises(Violation):
            checker.check("V1", holds=False, text=text)
    assert str(checker.violation) == "V1: first"


def test_plan_is_shrunk_to_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    options = draw(1, is_short=True)
    plan = [Trouble(float(at), "kill", ("s1", "s2")) for at in range(20)]

    def run(_: object, shorter: list[Trouble]) -> Result:
        is_bad = {plan[3], plan[17]}.issubset(shorter)
        return Result(options, shorter, "Violation: V9: it is so" if is_bad else "")

    monkeypatch.setattr("tests.simulator.shrink.run_world", run)
    assert shrink(run(None, plan)) == [plan[3], plan[17]]


def test_violation_is_told_with_what_is_needed_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble = Trouble(1.0, "kill", ("s1", "s2"))
    bad = Result(draw(7), [trouble], "Violation: V9: it is so", last=["the end"])
    monkeypatch.setattr(command, "shrink", lambda result: result.plan)
    monkeypatch.setattr(command, "run_seed", lambda seed, is_short: bad)
    command.tell(bad, "--short ")
    assert command.until_found(range(3), is_short=True) == 1
    total = command.Sum()
    total.add(bad)
    command.report(total, 3.0)
    out = capsys.readouterr().out
    assert "VIOLATION in the world of seed 7: Violation: V9: it is so" in out
    assert "    1.00 kill s1->s2 (0.000)" in out
    assert "again: python -m tests.simulator --short --only 7" in out
    assert "FOUND Violation: V9: it is so (seed 0)" in out
    assert "1 worlds" in out
    assert "1 violations" in out
