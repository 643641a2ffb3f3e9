"""Three servers as processes of their own, of which one is stopped and comes back."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMES = ("one", "two", "three")
PATIENCE = 20.0
"""Seconds until a line that must come is missed."""

CLUSTER = '''
"""Each server asks the others, one request after the other, for as long as they run."""

import attrs
import trio

from trio_s2s import Application, DisconnectReason, InboundPeer, OutboundPeer
from trio_s2s import Operation, S2SError, handles


def tell(text):
    print(text, flush=True)


@attrs.frozen
class Ask(Operation[int], code=1):
    number: int


class Neighbour(InboundPeer, OutboundPeer):
    def __init__(self):
        pass

    async def on_connected(self):
        tell(f"connected {self.server_id}")
        self.start_soon(self.ask)

    async def ask(self):
        number = 0
        while True:
            number += 1
            try:
                await self.request(Ask(number))
            except S2SError as error:
                tell(f"refused {self.server_id} {number} {error.outcome.name}")
                await trio.sleep_forever()
            tell(f"answered {self.server_id} {number}")

    @handles(Ask)
    async def answer(self, operation: Ask) -> int:
        tell(f"begun {self.server_id} {operation.number}")
        await trio.sleep(0.02)
        tell(f"done {self.server_id} {operation.number}")
        return operation.number

    async def on_disconnected(self, reason, detail):
        tell(f"disconnected {self.server_id} {DisconnectReason(reason).name}")


class Node(Application):
    pass
'''


class Process:
    """One server, and what it has told."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        command = [sys.executable, "-m", "trio_s2s", "serve", "-c", f"{name}.toml"]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line.strip())
        self._queue.put("")

    def wait_for(self, wanted: str, first: int = 0) -> None:
        """Wait for a line, which may be among those since the one of this number."""
        while wanted not in self.lines[first:]:
            line = self._queue.get(timeout=PATIENCE)
            assert line, f"{self.name} has ended without {wanted}: {self.lines[-5:]}"
            self.lines.append(line)

    def end(self, number: int) -> int:
        """Send a signal, and give the exit status when all was told."""
        self._process.send_signal(number)
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        while line := self._queue.get(timeout=PATIENCE):
            self.lines.append(line)
        return status

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, Process]]:
    """Run three servers, each of which dials both others."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in NAMES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    (folder / "cluster.py").write_text(CLUSTER)
    for name, port in zip(NAMES, ports, strict=True):
        text = (
            f'[application.Node]\nclass = "cluster:Node"\nserver_id = "{name}"\n'
            f"[[application.Node.listener]]\nport = {port}\n"
        )
        for other, there in zip(NAMES, ports, strict=True):
            if other != name:
                text += (
                    f'[[application.Node.link]]\nname = "{other}"\n'
                    f'host = "127.0.0.1"\nport = {there}\n'
                    f'peer = "cluster:Neighbour"\nserver_id = "{other}"\n'
                )
        (folder / f"{name}.toml").write_text(text)
    processes = {name: Process(name, folder) for name in NAMES}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.close()


def test_one_of_three_that_is_stopped_drains_and_is_found_again(tmp_path: Path) -> None:
    with cluster(tmp_path) as servers:
        for name, other in permutations(NAMES, 2):
            servers[name].wait_for(f"answered {other} 3")
        one = servers.pop("one")
        assert one.end(signal.SIGTERM) == 0
        one.close()
        told = one.lines
        for name, server in servers.items():
            server.wait_for("disconnected one SHUTDOWN")
            begun = {line for line in told if line.startswith(f"begun {name} ")}
            done = {line for line in told if line.startswith(f"done {name} ")}
            assert {line.replace("begun", "done") for line in begun} == done
            # What was done there was answered here, and what was not was refused.
            seen = [line for line in server.lines if line.split()[1] == "one"]
            answered = {int(line.split()[2]) for line in seen if line[:8] == "answered"}
            assert answered == {int(line.split()[2]) for line in done}
            [refused] = [line for line in seen if line[:7] == "refused"] or [""]
            assert "UNKNOWN" not in refused
        servers["one"] = Process("one", tmp_path)
        for name in "two", "three":
            first = servers[name].lines.index("disconnected one SHUTDOWN")
            servers[name].wait_for("connected one", first)
            servers[name].wait_for("answered one 3", first)
        assert [servers[name].end(signal.SIGTERM) for name in NAMES] == [0, 0, 0]
