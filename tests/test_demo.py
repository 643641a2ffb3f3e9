"""The servers of the demo, within this process."""

import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Iterator

import pytest
import trio

from trio_s2s import Application, demo, open_application

Out = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@contextlib.asynccontextmanager
async def servers(
    capsys: Out,
) -> AsyncGenerator[tuple[demo.Master, demo.GameServer]]:
    """Run a master and a game server that is registered."""
    async with open_application(demo.Master("Master", server_id="m")) as master:
        port = int((await said_by(capsys, "listens")).rpartition(":")[2])
        async with open_application(demo.GameServer("gs-1", port)) as server:
            await master.peers.wait_for("gs-1")
            print(await said_by(capsys, "load"))
            yield master, server


async def test_servers_tell_their_story(capsys: Out) -> None:
    async with servers(capsys) as (master, server):
        await master.ask()
        await master.play("gs-1")
        await master.measure("gs-1")
        await server.stop()
    said = capsys.readouterr().out.splitlines()
    assert {
        "gs-1 reports 12 % load",
        "gs-1 is 12 % busy",
        "all but 0 know that the arena is closed",
        "a match begins",
        "gs-1 says: the match is over",
        "master disconnected: SHUTDOWN, gs-1 stops",
        "gs-1 disconnected: SHUTDOWN, gs-1 stops",
    } <= set(said)


async def test_match_is_finished_before_its_server_goes(capsys: Out) -> None:
    async with servers(capsys) as (master, server), trio.open_nursery() as nursery:
        nursery.start_soon(master.play, "gs-1")
        await said_by(capsys, "a match begins")
        [report] = (await server.stop()).peers
        assert (report.finished, report.cancelled) == (1, 0)


# -- as a process --


async def said_by(capsys: Out, text: str) -> str:
    """Wait until something is said."""
    said = ""
    while text not in said:
        await trio.sleep(0.01)
        said += capsys.readouterr().out
    return said


@pytest.fixture
def parent(monkeypatch: Patch) -> Iterator[int]:
    """Give the end of a pipe that the parent process would hold."""
    ours, parents = os.pipe()
    real = os.dup
    monkeypatch.setattr(os, "dup", lambda fd: real(ours if fd == 0 else fd))
    yield parents
    os.close(ours)
    with contextlib.suppress(OSError):
        os.close(parents)


async def test_server_obeys_and_is_told_to_stop(parent: int, capsys: Out) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(demo.run, demo.Master("Master"))
        await said_by(capsys, "listens on")
        os.write(parent, b"as")
        os.write(parent, b"k\n")
        await said_by(capsys, "all but 0 know")
        os.kill(os.getpid(), signal.SIGTERM)
    assert "stops, after finishing 0 running requests" in capsys.readouterr().out


async def test_server_ends_when_its_parent_is_gone(parent: int, capsys: Out) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(demo.run, demo.Master("Master"))
        await said_by(capsys, "listens on")
        os.close(parent)


@pytest.mark.parametrize("args", [["master"], ["game-server", "gs-1", "4520"]])
def test_main_runs_one_server(args: list[str], monkeypatch: Patch) -> None:
    seen: list[str] = []

    async def run(application: Application) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(repr(application))

    monkeypatch.setattr(demo, "run", run)
    assert demo.main(args) == 0
    name = "Master master-1" if args == ["master"] else "GameServer gs-1"
    assert name in seen[0]


def test_main_knows_no_other_server() -> None:
    with pytest.raises(ValueError, match="there is no server"):
        demo.main(["casino"])


def test_interrupted_server_has_status_130(monkeypatch: Patch) -> None:
    async def run(application: Application) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", run)
    assert demo.main(["master"]) == 130


async def test_game_server_keeps_trying_without_a_master(capsys: Out) -> None:
    async with open_application(demo.GameServer("gs-1", 1)) as server:
        await trio.sleep(0.05)
        assert not list(server.peers)
        assert capsys.readouterr().out == ""
