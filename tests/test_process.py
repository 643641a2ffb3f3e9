"""Twin of `process.py`: `trio-s2s serve`, until a signal."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.network import Caller, Server, memory
from tests.peers import Wait
from trio_s2s import (
    Application,
    OperationRequest,
    cli,
    open_application,
    open_tcp_peer,
)
from trio_s2s.output import Status
from trio_s2s.process import Process

ROOT = Path(__file__).parent.parent
Out = pytest.CaptureFixture[str]

GAME = '''
import signal

import attrs
import trio

from trio_s2s import Application, InboundPeer, Operation, handles


@attrs.frozen
class Match(Operation[str], code=1):
    pass


class Player(InboundPeer):
    def __init__(self, init_request, master):
        super().__init__(init_request)
        self.master = master

    @handles(Match)
    async def match(self, operation: Match) -> str:
        print("a match begins", flush=True)
        await self.master._run.stopped.wait()
        return "over"


class Master(Application):
    def create_peer(self, init_request):
        return Player(init_request, self)


class Raises(Application):
    """Sends itself a signal when it runs."""

    async def setup(self):
        trio.lowlevel.spawn_system_task(self.send)

    async def send(self):
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGTERM)


class Waits(Application):
    """Sends itself a signal from its setup, which goes on for ever."""

    async def setup(self):
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()

    async def tear_down(self):
        print(f"{self.name} is torn down")


class Twice(Waits):
    async def setup(self):
        try:
            await super().setup()
        finally:
            with trio.CancelScope(shield=True):
                signal.raise_signal(signal.SIGINT)
                await trio.testing.wait_all_tasks_blocked()


class Short(Application):
    async def setup(self):
        await self.stop()


class Broken(Application):
    async def setup(self):
        raise RuntimeError("no power")
'''


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be in a folder with a module of applications."""
    (tmp_path / "process_game.py").write_text(GAME + "\n\nimport trio.testing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("process_game", None)


def serve(*args: str) -> int:
    return cli.main(["serve", *args])


# -- in this process --


def test_signal_stops_it(capsys: Out) -> None:
    assert serve("process_game:Raises") == Status.OK
    printed = capsys.readouterr()
    assert printed.out == "Raises listens nowhere\nRaises has stopped\n"
    assert printed.err == (
        "trio-s2s: SIGTERM: running requests may finish; a second signal ends it at"
        " once\n"
    )


def test_second_signal_ends_it_at_once(capsys: Out) -> None:
    assert serve("process_game:Twice") == Status.TOO_SLOW
    assert capsys.readouterr().out == "Twice is torn down\n"


def test_signal_ends_a_setup_and_begins_no_other(capsys: Out) -> None:
    Path("s2s.toml").write_text("[application.A]\n[application.B]\n")
    assert serve("process_game:Waits", "-c", "s2s.toml") == Status.OK
    assert capsys.readouterr().out == "A is torn down\n"


def test_third_signal_does_not_wait(
    capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object) -> None:
        async with trio.open_nursery():
            raise KeyboardInterrupt

    monkeypatch.setattr(Process, "run", interrupted)
    assert serve("process_game:Master") == Status.TOO_SLOW
    assert capsys.readouterr().err == "trio-s2s: interrupted\n"


def test_it_ends_when_all_applications_have(capsys: Out) -> None:
    Path("s2s.toml").write_text(
        "[application.A]\nclass = 'process_game:Short'\n[application.B]"
    )
    assert serve("process_game:Short", "-c", "s2s.toml", "--json") == Status.OK
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for name in "AB":
        assert [one for one in told if one["application"] == name] == [
            {"event": "listens", "application": name, "address": None},
            {"event": "stopped", "application": name},
        ]


def test_wrong_settings_are_told(capsys: Out) -> None:
    Path("s2s.toml").write_text("[application.A]\nx = 1")
    assert serve("-c", "s2s.toml") == Status.WRONG_USAGE
    assert serve("process_game:Nobody") == Status.WRONG_USAGE
    assert capsys.readouterr().err.splitlines() == [
        "trio-s2s: s2s.toml: application.A.x: unknown key",
        "trio-s2s: s2s.toml: application.A.class: missing: module:Name, here or on the"
        " command line",
        "trio-s2s: process_game:Nobody: process_game has no 'Nobody'",
    ]


def test_port_in_use_is_told_and_ends_all(capsys: Out) -> None:
    with socket.create_server(("127.0.0.1", 0)) as it:
        port = it.getsockname()[1]
        Path("s2s.toml").write_text(
            "[application.A]\n[application.B]\n"
            f"[[application.B.listener]]\nport = {port}\n"
        )
        status = serve("process_game:Master", "-c", "s2s.toml")
    assert status == Status.WRONG_USAGE
    printed = capsys.readouterr()
    assert printed.out == "A listens nowhere\n"
    assert printed.err == (
        f"trio-s2s: B: cannot listen on 127.0.0.1:{port}: it is in use by another"
        " program, or by this one\n"
    )


def test_what_an_application_raises_comes_out() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        serve("process_game:Broken")
    assert caught.group_contains(RuntimeError, match="no power")


@pytest.mark.parametrize("as_json", [False, True])
async def test_what_became_of_each_peers_work_is_told(
    as_json: bool, autojump_clock: MockClock, capsys: Out
) -> None:
    """In memory, where a listener has no address."""
    client = Application("Client", server_id="gs-1")
    statuses = []

    async def serves() -> None:
        statuses.append(await Process(as_json).run([Server(server_id="s-1")]))

    async with memory(), trio.open_nursery() as nursery:
        nursery.start_soon(serves)
        async with open_application(client):
            peer = await client.connect_tcp("localhost", 4520, Caller).connected()
            nursery.start_soon(peer.request, Wait(1))
            await trio.testing.wait_all_tasks_blocked()
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep(2)
    assert statuses == [Status.OK]
    counts = {"finished": 1, "refused": 0, "cancelled": 0, "events_unsent": 0}
    lines = capsys.readouterr().out.splitlines()
    if as_json:
        name = {"application": "Server"}
        assert list(map(json.loads, lines)) == [
            {"event": "listens", **name, "address": "MemoryListener"},
            {"event": "peer", **name, "peer": "gs-1", **counts},
            {"event": "stopped", **name},
        ]
    else:
        assert lines == [
            "Server listens on MemoryListener",
            "Server stopped gs-1: 1 finished, 0 refused, 0 cancelled, 0 events unsent",
            "Server has stopped",
        ]


# -- as a process --


@contextmanager
def running(*args: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[], Any]]]:
    """Start the command; gives it, and what reads its next line."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "trio_s2s", "serve", "--json", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    with process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline
        finally:
            timer.cancel()
            process.kill()


def test_process_drains_when_it_is_told_to_stop() -> None:
    Path("s2s.toml").write_text(
        "[application.Master]\nclass = 'process_game:Master'\n"
        "[[application.Master.listener]]\nport = 0\n"
    )
    with running("-c", "s2s.toml") as (process, line):
        told = json.loads(line())
        assert (told["event"], told["application"]) == ("listens", "Master")
        port = int(told["address"].rpartition(":")[2])
        answers: list[Any] = []

        async def play() -> None:
            async def ask() -> None:
                answer = await peer.request(OperationRequest(1))
                answers.append(answer.parameters)

            open_nursery = trio.open_nursery
            async with open_tcp_peer("127.0.0.1", port) as peer, open_nursery() as both:
                both.start_soon(ask)
                assert await trio.to_thread.run_sync(line) == "a match begins\n"
                process.send_signal(signal.SIGTERM)

        trio.run(play)
        assert process.wait() == Status.OK
        peer, stopped = map(json.loads, (line(), line()))
        assert process.stderr is not None
        assert "SIGTERM: running requests may finish" in process.stderr.read()
    assert answers == [{0: "over"}]
    assert (peer["event"], peer["finished"], peer["cancelled"]) == ("peer", 1, 0)
    assert stopped == {"event": "stopped", "application": "Master"}
