"""The demo: two processes talk, are cut off, and tell why; nothing is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from trio_s2s import ConnectionFailedError, demo

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


def test_demo_holds_and_leaves_no_process() -> None:
    process = start()
    out, error = process.communicate(timeout=30)
    assert process.returncode == 0, out + error
    assert error == ""
    check_gone(process.pid)
    *story, last = out.splitlines()
    assert last == "All of it held."
    assert "  (the connection is cut)" in story
    for name in ("gs-1", "master"):
        [line] = [line for line in story if f"{name} disconnected" in line]
        assert "CONNECTION_LOST" in line or "CONNECTION_RESET" in line


def test_ctrl_c_ends_all_processes() -> None:
    process = start()
    assert process.stdout is not None
    assert "listens on" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    check_gone(process.pid)


# -- the parent, in this process --


def test_main_plays_the_whole_demo(capsys: Out) -> None:
    assert demo.main([]) == 0
    out = capsys.readouterr().out
    assert out.endswith("All of it held.\n")
    for lines in demo.STORY.values():
        assert all(line in out for line in lines)


def test_main_says_what_did_not_hold(monkeypatch: Patch, capsys: Out) -> None:
    async def silent() -> bool:
        await trio.lowlevel.checkpoint()
        return False

    monkeypatch.setattr(demo, "run_demo", silent)
    assert demo.main([]) == 1


async def test_demo_that_takes_too_long_did_not_hold(
    monkeypatch: Patch, capsys: Out
) -> None:
    monkeypatch.setattr(demo, "LIMIT", 0.05)
    assert not await demo.run_demo()
    assert "Not all of it held" in capsys.readouterr().out


async def test_story_that_differs_did_not_hold(monkeypatch: Patch, capsys: Out) -> None:
    story = demo.Story()
    assert not story.holds()
    for name, lines in demo.STORY.items():
        story.lines[name] = list(lines)
    assert story.holds()
    story.lines["master"][0] = "something else"
    assert not story.holds()


# -- the two servers, in this process --


async def test_servers_tell_their_story(capsys: Out) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(demo.run_master)
        said = ""
        while "listens on" not in said:
            await trio.sleep(0.01)
            said += capsys.readouterr().out
        port = int(said.split()[-1].rpartition(":")[2])
        async with trio.open_nursery() as inner:
            inner.start_soon(demo.run_game_server, port)
            while "closed room arena" not in said:
                await trio.sleep(0.01)
                said += capsys.readouterr().out
            inner.cancel_scope.cancel()
    said += capsys.readouterr().out
    assert "registered as number 1" in said
    assert "the master asks how busy we are" in said
    assert "gs-1 answers that it is 35 % busy" in said
    assert "gs-1 disconnected: REMOTE_CLOSE" in said
    assert "master disconnected: LOCAL_CLOSE" in said


# -- a server does not outlive its parent --


@pytest.fixture
def parent(monkeypatch: Patch) -> Iterator[int]:
    """Give the end of a pipe that the parent process would hold."""
    ours, parents = os.pipe()
    real = os.dup
    monkeypatch.setattr(os, "dup", lambda fd: real(ours if fd == 0 else fd))
    yield parents
    os.close(ours)
    os.close(parents)


@pytest.mark.parametrize("args", [["master"], ["game-server", "4520"]])
def test_main_runs_one_server(args: list[str], parent: int, monkeypatch: Patch) -> None:
    seen: list[Any] = []

    async def server(*args: int) -> None:
        await trio.lowlevel.checkpoint()
        seen.extend(args or ["no port"])

    monkeypatch.setattr(demo, "run_master", server)
    monkeypatch.setattr(demo, "run_game_server", server)
    assert demo.main(args) == 0
    assert seen == [4520 if len(args) == 2 else "no port"]


async def test_server_ends_when_its_parent_ends(parent: int) -> None:
    os.write(parent, b"a sign of the end")
    with trio.fail_after(5):
        await demo.while_parent_lives(trio.sleep_forever)


def test_interrupted_server_has_status_130(parent: int, monkeypatch: Patch) -> None:
    async def interrupted() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_master", interrupted)
    assert demo.main(["master"]) == 130


async def test_game_server_without_a_master_fails() -> None:
    with pytest.raises(ConnectionFailedError, match="connection refused"):
        await demo.run_game_server(1)
