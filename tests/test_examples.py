"""Every example runs without a warning, and prints what its docstring says."""

import ast
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

SERVER_OF = {"hello_outbound.py": "hello_inbound.py"}
"""The example that must run, without an end of its own, for another one to work."""
PORT_OF_SERVERS = "4520"

MAX_LINES = 60
MAX_SECONDS = 60.0

FILES = sorted(path.name for path in EXAMPLES.glob("*.py"))
PROGRAMS = [name for name in FILES if name not in SERVER_OF.values()]


def transcript_of(path: Path) -> list[str]:
    """Give the indented block below the line of the docstring that ends in prints::."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    _, found, rest = docstring.partition("prints::\n")
    assert found, f"the docstring of {path.name} does not say what it prints"
    block = re.match(r"(?:[ \t]*\n)*((?:(?: .*)?(?:\n|$))+)", rest)
    assert block is not None
    return [line.strip() for line in block.group(1).strip().splitlines()]


def start(path: Path) -> subprocess.Popen[str]:
    """Run a file, with the package of this tree and every warning an error."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", path.name],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@contextlib.contextmanager
def running(path: Path, port: int) -> Iterator[None]:
    """Run a server for a block, which is entered when it listens."""
    with start(path) as server:
        try:
            give_up = time.monotonic() + MAX_SECONDS
            while server.poll() is None and time.monotonic() < give_up:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                time.sleep(0.02)  # Only real time makes another process listen.
            assert server.poll() is None, server.communicate()[1]
            yield
        finally:
            server.kill()
            server.communicate()


def output_of(path: Path) -> list[str]:
    """Run a program to its end, and give the lines that it printed."""
    with start(path) as program:
        try:
            output, errors = program.communicate(timeout=MAX_SECONDS)
        except BaseException:
            program.kill()
            raise
    assert program.returncode == 0, errors
    return [line.strip() for line in output.strip().splitlines()]


def fits(line: str, pattern: str) -> bool:
    """Tell whether a line is as promised, where … may be anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), line) is not None


def copy_with_port(name: str, folder: Path, port: int) -> Path:
    copy = folder / name
    text = (EXAMPLES / name).read_text("utf-8")
    copy.write_text(text.replace(PORT_OF_SERVERS, str(port)), "utf-8")
    return copy


def test_examples_are_there() -> None:
    assert {*SERVER_OF, *SERVER_OF.values()} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", PROGRAMS)
def test_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    if name in SERVER_OF:
        # The port of the examples may be taken here, maybe by these very examples.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        server = copy_with_port(SERVER_OF[name], tmp_path, port)
        with running(server, port):
            printed = output_of(copy_with_port(name, tmp_path, port))
    else:
        printed = output_of(EXAMPLES / name)
    promised = transcript_of(EXAMPLES / name)
    same = len(printed) == len(promised) and all(map(fits, printed, promised))
    assert same or printed == promised  # The second half is what pytest explains.
