"""Two servers as two processes: they talk both ways, are cut off, and tell why."""

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

from trio_s2s.codes import DisconnectReason
from trio_s2s.contracts import Event, Operation
from trio_s2s.handlers import handles
from trio_s2s.inbound import serve_tcp
from trio_s2s.outbound import open_tcp_peer
from trio_s2s.peer import InboundPeer, OutboundPeer

__all__ = ["main", "run_demo"]

LIMIT: Final = 20.0
"""Seconds after which the demo gives up."""


# -- what the two servers say to each other --


@attrs.frozen
class Registered:
    number: int


@attrs.frozen
class Register(Operation[Registered], code=1):
    name: str


@attrs.frozen
class HowBusy(Operation[int], code=2):
    pass


@attrs.frozen
class Load(Event, code=1):
    percent: int


@attrs.frozen
class RoomClosed(Event, code=2):
    room: str


# -- the two servers --


def say(text: str) -> None:
    """Tell the parent process what has happened."""
    print(text, flush=True)


class GameServerPeer(InboundPeer):
    """The master's side."""

    ended: trio.Event

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        say(f"gs-1 disconnected: {reason.name}, {detail}")
        self.ended.set()

    @handles(Register)
    async def register(self, operation: Register) -> Registered:
        say(f"{operation.name} registers")
        return Registered(number=1)

    @handles(Load)
    async def load(self, event: Load) -> None:
        say(f"gs-1 reports {event.percent} % load")
        self.start_soon(self.ask_back)

    async def ask_back(self) -> None:
        say(f"gs-1 answers that it is {await self.request(HowBusy())} % busy")
        await self.send_event(RoomClosed("arena"))


class MasterPeer(OutboundPeer):
    """The game server's side."""

    ended: trio.Event

    async def on_connected(self) -> None:
        registered = await self.request(Register("gs-1"))
        say(f"registered as number {registered.number}")
        await self.send_event(Load(35))

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        say(f"master disconnected: {reason.name}, {detail}")
        self.ended.set()

    @handles(HowBusy)
    def how_busy(self, operation: HowBusy) -> int:
        say("the master asks how busy we are")
        return 35

    @handles(RoomClosed)
    def room_closed(self, event: RoomClosed) -> None:
        say(f"the master closed room {event.room}")


async def run_master() -> None:
    """Listen until the one game server has gone."""
    GameServerPeer.ended = trio.Event()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_tcp, GameServerPeer, 0)
        host, port = listeners[0].socket.getsockname()
        say(f"listens on {host}:{port}")
        await GameServerPeer.ended.wait()
        nursery.cancel_scope.cancel()


async def run_game_server(port: int) -> None:
    """Connect, and stay until the connection is gone."""
    MasterPeer.ended = trio.Event()
    async with open_tcp_peer("127.0.0.1", port, MasterPeer):
        await MasterPeer.ended.wait()


async def while_parent_lives(server: Callable[[], Awaitable[None]]) -> None:
    """Run a server, but not longer than the process that started it."""
    async with trio.open_nursery() as nursery:

        async def watch_parent() -> None:
            async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
                await stdin.receive_some()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch_parent)
        await server()
        nursery.cancel_scope.cancel()


# -- the parent: it starts both, cuts the cable between them, and checks --

LOST = "CONNECTION_"
"""LOST or RESET, depending on what was under way when the cable was cut."""
STORY: Final = {
    "master": [
        "gs-1 registers",
        "gs-1 reports 35 % load",
        "gs-1 answers that it is 35 % busy",
        f"gs-1 disconnected: {LOST}",
    ],
    "gs-1": [
        "registered as number 1",
        "the master asks how busy we are",
        "the master closed room arena",
        f"master disconnected: {LOST}",
    ],
}


class Cable:
    """A TCP connection with a place in the middle where it can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._scope = trio.CancelScope()

    def cut(self) -> None:
        """Close both ends, without a word to either."""
        self._scope.cancel()

    async def plug_in(self, stream: trio.SocketStream) -> None:
        """Carry the bytes of one connection to the master and back."""
        master = await trio.open_tcp_stream("127.0.0.1", self._port)
        with self._scope:
            async with master, stream, trio.open_nursery() as nursery:
                nursery.start_soon(_carry, stream, master)
                nursery.start_soon(_carry, master, stream)


async def _carry(source: trio.SocketStream, target: trio.SocketStream) -> None:
    async for data in source:
        await target.send_all(data)


@contextlib.asynccontextmanager
async def _process(role: str, *args: str) -> AsyncGenerator[trio.Process]:
    command = [sys.executable, "-m", "trio_s2s.demo", role, *args]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # A killed process ends at once.
            await process.wait()


class Story:
    """What both processes have said, line by line."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {"master": [], "gs-1": []}
        self._moved = trio.lowlevel.ParkingLot()

    async def listen(self, name: str, process: trio.Process) -> None:
        """Note and show what a process says, until it ends."""
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                print(f"  {name:<7} {line.decode()}", flush=True)
                self.lines[name].append(line.decode())
            self._moved.unpark_all()

    def holds(self) -> bool:
        """Whether both have said what they should, line by line."""
        return all(
            len(self.lines[name]) == len(expected)
            and all(map(str.startswith, self.lines[name], expected))
            for name, expected in STORY.items()
        )

    async def wait_for(self, name: str, count: int) -> list[str]:
        """Wait until a process has said this many lines."""
        while len(self.lines[name]) < count:
            await self._moved.park()
        return self.lines[name]


async def run_demo() -> bool:
    """Play the demo; whether all of it held."""
    story = Story()
    with trio.move_on_after(LIMIT) as scope:
        async with _process("master") as master, trio.open_nursery() as nursery:
            nursery.start_soon(story.listen, "master", master)
            first = (await story.wait_for("master", 1)).pop(0)
            cable = Cable(int(first.rpartition(":")[2]))
            [end] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            serve = partial(trio.serve_listeners, cable.plug_in, [end])
            nursery.start_soon(serve)
            port = str(end.socket.getsockname()[1])
            async with _process("game-server", port) as game_server:
                nursery.start_soon(story.listen, "gs-1", game_server)  # noqa: ASYNC111  it was killed
                await story.wait_for("gs-1", 3)
                await story.wait_for("master", 3)
                print("  (the connection is cut)", flush=True)
                cable.cut()
                ended = await game_server.wait(), await master.wait()
                await story.wait_for("gs-1", 4)
                await story.wait_for("master", 4)
            nursery.cancel_scope.cancel()
    held = not scope.cancelled_caught and story.holds() and ended == (0, 0)
    print("All of it held." if held else f"Not all of it held; expected {STORY}")
    return held


def main(args: list[str]) -> int:
    """Play the whole demo, or one of its two servers; the exit status."""
    status = 0
    try:
        match args:
            case ["master"]:
                trio.run(while_parent_lives, run_master)
            case ["game-server", port]:
                trio.run(while_parent_lives, partial(run_game_server, int(port)))
            case _:
                status = 0 if trio.run(run_demo) else 1
    except* KeyboardInterrupt:
        status = 130
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
