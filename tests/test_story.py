"""The demo: its story holds, is checked step by step, and leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator

import pytest
import trio

from trio_s2s import story

Out = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def start() -> subprocess.Popen[str]:
    """Start the demo with a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "trio_s2s", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def check_gone(group: int) -> None:
    """See that no process of a group is left."""
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


# -- all of it, as a user sees it --


def test_story_holds_and_leaves_no_process() -> None:
    process = start()
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, out + error
    assert error == ""
    check_gone(process.pid)
    *told, last = out.splitlines()
    assert last == "All of it held."
    assert "  (gs-2 is killed)" in told
    [lost] = [line for line in told if "gs-2 disconnected: CONNECTION_" in line]
    assert lost.startswith("  master ")
    assert any("1,000 requests answered: p50" in line for line in told)


def test_ctrl_c_ends_all_processes() -> None:
    process = start()
    assert process.stdout is not None
    assert "listens on" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    check_gone(process.pid)


def test_main_plays_the_whole_story(capsys: Out) -> None:
    assert story.main() == 0
    assert capsys.readouterr().out.endswith("All of it held.\n")


def test_main_says_what_did_not_hold(monkeypatch: Patch, capsys: Out) -> None:
    monkeypatch.setattr(story, "LIMIT", 0.01)
    assert story.main() == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("the master listens: master was to say in time ['listens on")


def test_main_ends_with_130_when_interrupted(monkeypatch: Patch) -> None:
    async def interrupted() -> bool:
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "run", interrupted)
    assert story.main() == 130


# -- a step --


@contextlib.asynccontextmanager
async def cast_of(script: str, monkeypatch: Patch) -> AsyncGenerator[story.Cast]:
    """Give a cast of one process, `ada`, that runs a script."""
    monkeypatch.setattr(story, "COMMAND", (sys.executable, "-c"))
    async with contextlib.AsyncExitStack() as stack, trio.open_nursery() as nursery:
        cast = story.Cast(nursery, stack)
        await cast.enter("ada", script)
        yield cast
        nursery.cancel_scope.cancel()


HELLO = "print('hello', flush=True)\nprint('bye', flush=True)\ninput()"


async def test_step_takes_lines_in_any_order(monkeypatch: Patch) -> None:
    async with cast_of(HELLO, monkeypatch) as cast:
        taken = await cast.expect("greets", {"ada": ["b…", "hello"]})
        assert taken == {"ada": ["hello", "bye"]}
        await cast.expect("is silent then", {})


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (["hello", "good…"], r"greets: ada was to say \['hello', 'good…'\], it said"),
        (["hello"], r"it said \['hello', 'bye'\]"),
        (["hello", "bye", "more"], r"ada was to say in time .*, 'more'\], it said"),
    ],
)
async def test_step_fails_for_other_lines(
    expected: list[str], text: str, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(story, "LIMIT", 0.5)
    async with cast_of(HELLO, monkeypatch) as cast:
        while len(cast.actors["ada"].lines) < 2:
            await cast._moved.park()
        with pytest.raises(story.StepFailedError, match=text):
            await cast.expect("greets", {"ada": expected})


async def test_commands_reach_a_process_and_its_status_is_checked(
    monkeypatch: Patch,
) -> None:
    script = "import sys\nprint(input(), flush=True)\nsys.exit(3)"
    async with cast_of(script, monkeypatch) as cast:
        ada = cast.actors["ada"]
        await ada.tell("sing")
        await cast.expect("obeys", {"ada": ["sing"]})
        with pytest.raises(story.StepFailedError, match="to end with 0, not 3"):
            await cast.exit(ada, 0)
        await cast.exit(ada, 3)
        assert cast.actors == {}


async def test_process_that_does_not_end_fails_its_step(monkeypatch: Patch) -> None:
    monkeypatch.setattr(story, "LIMIT", 0.1)
    async with cast_of("input()", monkeypatch) as cast:
        with pytest.raises(story.StepFailedError, match="to end with 0, not None"):
            await cast.exit(cast.actors["ada"], 0)
