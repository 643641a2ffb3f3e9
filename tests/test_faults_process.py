"""What a process of its own has to bear: no descriptors, a broken log, odd flags."""

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.peers import Dialler, Echo, Note, linked
from tests.steps import Far
from trio_s2s import handles

Clock = trio.testing.MockClock

ROOT = Path(__file__).parent.parent
OWN_LIMIT = 20.0
"""Seconds that a program of a test may take, on a machine that is very busy."""


def run_program(text: str, *flags: str, **environment: str) -> str:
    """Run a program of its own; give what it has printed, or fail with its errors."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=OWN_LIMIT,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


NO_DESCRIPTORS = """
    import logging, os, resource, socket, trio
    from contextlib import suppress
    from tests.peers import Acceptor, Dialler, Echo
    from trio_s2s import *

    class Lines(logging.Handler):
        lines = []
        def emit(self, record):
            self.lines.append(record.getMessage())

    class Server(Acceptor):
        @handles(Echo)
        async def echo(self, operation):
            return operation.text

    def take_all():
        taken = []
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        return taken

    async def main():
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(serve_tcp, Server, 0)
            address = listener.socket.getsockname()
            async with open_tcp_peer(*address) as friend:
                caller = trio.socket.socket()
                taken = take_all()
                # G14: there is none to connect with.
                peer = Dialler()
                try:
                    async with open_tcp_peer(*address, lambda: peer):
                        pass
                except ConnectionFailedError as error:
                    says_why = "too many files" in str(error)
                    print(error.reason.name, peer.record, says_why)
                # G13: there is none to accept with.
                await caller.connect(address)
                while not Lines.lines:
                    await trio.sleep(0.01)
                print(await friend.request(Echo("still here")))
                await trio.sleep(0.35)
                print(Lines.lines)
                for descriptor in taken:
                    os.close(descriptor)
                stream = trio.SocketStream(caller)
                with trio.fail_after(1):
                    async with open_peer(stream) as late:
                        print(await late.request(Echo("accepted")))
            nursery.cancel_scope.cancel()

    logging.getLogger("trio_s2s").addHandler(Lines())
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    trio.run(main)
"""


def test_g13_g14_descriptors_run_out_and_come_back() -> None:
    connecting, friend, lines, late = run_program(NO_DESCRIPTORS).splitlines()
    assert connecting == "LOCAL_RESOURCES ['failed LOCAL_RESOURCES'] True"
    assert friend == "still here"
    # One line, though it was tried again and again.
    assert lines.count("no connection can be accepted on") == 1
    assert "too many open files" in lines
    assert late == "accepted"


# -- a broken log --


class Broken(logging.Handler):
    """Raises instead of writing, as no handler should."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        raise RuntimeError("the log is broken")


@pytest.fixture
def broken_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broken]:
    logger = logging.getLogger("trio_s2s")
    handler = Broken()
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "propagate", False)
    yield handler
    logger.removeHandler(handler)


async def test_g21_k19_log_that_raises_harms_no_link(
    broken_log: Broken, autojump_clock: Clock
) -> None:
    class Raising(Far):
        @handles(Note)
        async def note(self, event: Note) -> None:
            raise ValueError("this is logged")

    async with linked(Raising, Dialler) as (peer, server):
        await peer.send_event(Note(1))
        assert await peer.request(Echo("x")) == "x"
        await trio.sleep(1)
        assert server.peer.record == ["connected"]
        assert len(broken_log.lines) == 1


CLOSED_STDERR = """
    import logging, os, sys, trio
    from tests.peers import Acceptor, Echo, linked
    from trio_s2s import *

    class Server(Acceptor):
        @handles(Echo)
        async def echo(self, operation):
            if operation.text == "raise":
                raise ValueError(operation.text)
            return operation.text

    async def main():
        async with linked(Server) as (peer, server):
            await peer.send_event(EventData(77))
            try:
                await peer.request(Echo("raise"))
            except OperationError as error:
                print(error.return_code)
            print(await peer.request(Echo("still here")))

    logging.basicConfig()
    sys.stderr.close()
    os.close(2)
    trio.run(main)
"""


def test_g21_closed_stderr_harms_no_link() -> None:
    assert run_program(CLOSED_STDERR).split("\n") == ["-1", "still here", ""]


# -- an odd interpreter --

ALL_IN_ONE = """
    import logging, trio
    from tests.hostile import frame, shaken
    from tests.peers import Acceptor, Dialler, Echo, Note, linked
    from trio_s2s import *

    class Server(Acceptor):
        @handles(Echo)
        async def echo(self, operation):
            return operation.text

    async def main():
        async with linked(Server) as (peer, server):
            print(ascii(await peer.request(Echo("gr\\xfc\\xdfe \\u4f60"))))
            for wrong in OperationRequest(1, {0: 5}), OperationRequest(9):
                answer = await peer.request(wrong)
                print(answer.return_code, answer.debug_message)
            for broken in frame([1, 1, 1]), frame([7, 3.5]), b"\\xff" * 9, frame([3]):
                async with shaken(server) as far:
                    await far.stream.send_all(broken)
                    await server.peer.ended.wait()
                    print(server.peer.reason.name, server.peer.detail)
            await peer.disconnect("done", code=3)
            print(peer.record, peer.reason.name, server.peers[0].goodbye_code)
        print(repr(peer))
        try:
            peer.send_event_nowait(Note(1))
        except PeerClosedError as error:
            print(error)

    logging.getLogger("trio_s2s").setLevel(logging.CRITICAL)
    trio.run(main)
"""
ODD = [
    ("optimised", ("-O",), {}),
    ("without docstrings", ("-OO",), {}),
    ("development mode", ("-X", "dev", "-W", "error"), {}),
    ("no locale", ("-X", "utf8=0"), {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}),
    ("ascii", (), {"PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX"}),
    ("warnings of bytes", ("-bb",), {"PYTHONUTF8": "1"}),
]


@pytest.fixture(scope="module")
def usual() -> str:
    """What the program prints in a usual interpreter."""
    return run_program(ALL_IN_ONE)


@pytest.mark.parametrize(
    ("flags", "environment"),
    [pytest.param(flags, around, id=f"G23 {name}") for name, flags, around in ODD],
)
def test_odd_interpreter_changes_nothing(
    flags: tuple[str, ...], environment: dict[str, str], usual: str
) -> None:
    assert usual.count("PROTOCOL_ERROR") + usual.count("DECODE_ERROR") == 3
    assert usual.count("FRAME_TOO_LARGE") == 1
    assert run_program(ALL_IN_ONE, *flags, **environment) == usual
