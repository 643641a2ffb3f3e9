"""The demo: plays a master and two game servers as processes, and checks every step."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Final

import attrs
import trio

__all__ = ["Cast", "StepFailedError", "main", "play"]

LIMIT: Final = 10.0
"""Seconds that one step may take, which is for the slowest of machines."""
GONE: Final = -signal.SIGKILL
COMMAND: Final = (sys.executable, "-m", "trio_s2s.demo")


class StepFailedError(Exception):
    """A step did not go as told; the text says what was expected and what came."""


@attrs.define(eq=False)
class Actor:
    """One server process, and the lines that it has said but no step has taken."""

    name: str
    process: trio.Process
    lines: list[str] = attrs.field(factory=list)

    async def tell(self, command: str) -> None:
        """Give a command to its standard input."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{command}\n".encode())


class Cast:
    """The processes of the play."""

    def __init__(self, nursery: trio.Nursery, stack: contextlib.AsyncExitStack) -> None:
        self._nursery = nursery
        self._stack = stack
        self._moved = trio.lowlevel.ParkingLot()
        self.actors: dict[str, Actor] = {}

    async def enter(self, name: str, *args: str) -> Actor:
        """Start a server process."""
        process = await self._stack.enter_async_context(_process(*args))
        actor = self.actors[name] = Actor(name, process)
        self._nursery.start_soon(self._listen, actor)
        return actor

    async def _listen(self, actor: Actor) -> None:
        """Note and show what a process says, until it ends."""
        assert actor.process.stdout is not None
        rest = b""
        async for data in actor.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                print(f"  {actor.name:<7} {line.decode()}", flush=True)
                actor.lines.append(line.decode())
            self._moved.unpark_all()

    async def expect(
        self, title: str, said: Mapping[str, Sequence[str]]
    ) -> dict[str, list[str]]:
        """Wait until every process has said its lines, in any order, and no others."""
        with trio.move_on_after(LIMIT) as scope:
            while not self._is_settled(said):
                await self._moved.park()
        for actor in self.actors.values():
            expected = said.get(actor.name, ())
            if not _same(expected, actor.lines):
                late = " in time" if scope.cancelled_caught else ""
                raise StepFailedError(
                    f"{title}: {actor.name} was to say{late} {list(expected)},"
                    f" it said {actor.lines}"
                )
        taken = {actor.name: actor.lines.copy() for actor in self.actors.values()}
        for actor in self.actors.values():
            actor.lines.clear()
        return taken

    def _is_settled(self, said: Mapping[str, Sequence[str]]) -> bool:
        """Whether there is nothing to wait for: all is said, or it is wrong already."""
        return all(
            len(actor.lines) >= len(said.get(actor.name, ()))
            for actor in self.actors.values()
        )

    async def exit(self, actor: Actor, status: int) -> None:
        """Wait until a process has ended, as it should."""
        with trio.move_on_after(LIMIT):
            if await actor.process.wait() == status:
                del self.actors[actor.name]
                return
        found = actor.process.returncode
        raise StepFailedError(f"{actor.name} was to end with {status}, not {found}")


@contextlib.asynccontextmanager
async def _process(*args: str) -> AsyncGenerator[trio.Process]:
    process = await trio.lowlevel.open_process(
        [*COMMAND, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # A killed process ends at once.
            await process.wait()


def _same(expected: Sequence[str], lines: Sequence[str]) -> bool:
    """Whether lines are as expected, where … may be anything."""
    left = list(lines)
    for pattern in expected:
        found = next((line for line in left if _fits(pattern, line)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _fits(expected: str, line: str) -> bool:
    begin, _, end = expected.partition("…")
    return line == expected or (
        "…" in expected and line.startswith(begin) and line.endswith(end)
    )


# -- the play --


async def play(cast: Cast, narrate: Callable[[str], None]) -> None:
    """Let the servers meet, talk, be killed, come back, and leave."""
    master = await cast.enter("master", "master")
    said = await cast.expect(
        "the master listens", {"master": ["listens on 127.0.0.1:…"]}
    )
    port = said["master"][0].rpartition(":")[2]
    for number, (name, load) in enumerate((("gs-1", 12), ("gs-2", 48)), 1):
        await cast.enter(name, "game-server", name, port)
        await _registers(cast, name, number, load)
    await master.tell("ask")
    asked = ["the master asks…", "the master says that the arena is closed"]
    await cast.expect(
        "the master asks both, and broadcasts",
        {
            "master": [
                "gs-1 is 12 % busy",
                "gs-2 is 48 % busy",
                "all but 0 know that the arena is closed",
            ],
            "gs-1": asked,
            "gs-2": asked,
        },
    )
    await _killed_and_back(cast, narrate, port)
    await _drained(cast, narrate, master)
    await master.tell("measure gs-2")
    await cast.expect(
        "1,000 requests",
        {"master": ["1,000 requests answered: p50 … ms"], "gs-2": ["the master asks…"]},
    )
    await _stopped(cast, narrate, master)


async def _registers(cast: Cast, name: str, number: int, load: int) -> None:
    await cast.expect(
        f"{name} registers and reports",
        {
            "master": [
                f"{name} registers, for 100 players",
                f"{name} reports {load} % load",
            ],
            name: [f"registered as number {number}"],
        },
    )


async def _killed_and_back(
    cast: Cast, narrate: Callable[[str], None], port: str
) -> None:
    narrate("gs-2 is killed")
    killed = cast.actors["gs-2"]
    killed.process.kill()
    await cast.exit(killed, GONE)
    lost = {"master": ["gs-2 disconnected: CONNECTION_…"]}
    await cast.expect("the master tells why", lost)
    narrate("gs-2 comes back")
    await cast.enter("gs-2", "game-server", "gs-2", port)
    await _registers(cast, "gs-2", 3, 48)


async def _drained(cast: Cast, narrate: Callable[[str], None], master: Actor) -> None:
    await master.tell("play gs-1")
    await cast.expect("a match is played", {"gs-1": ["a match begins"]})
    narrate("gs-1 gets SIGTERM in the middle of it")
    leaving = cast.actors["gs-1"]
    leaving.process.send_signal(signal.SIGTERM)
    await cast.expect(
        "the match is finished before gs-1 goes",
        {
            "master": [
                "gs-1 says: the match is over",
                "gs-1 disconnected: SHUTDOWN, gs-1 stops",
            ],
            "gs-1": [
                "is told to stop",
                "master disconnected: SHUTDOWN, gs-1 stops",
                "stops, after finishing 1 running requests",
            ],
        },
    )
    await cast.exit(leaving, 0)


async def _stopped(cast: Cast, narrate: Callable[[str], None], master: Actor) -> None:
    narrate("the master gets SIGTERM")
    master.process.send_signal(signal.SIGTERM)
    await cast.expect(
        "gs-2 is told that the master stops",
        {
            "master": [
                "is told to stop",
                "gs-2 disconnected: SHUTDOWN, master-1 stops",
                "stops, after finishing 0 running requests",
            ],
            "gs-2": ["master disconnected: SHUTDOWN, master-1 stops"],
        },
    )
    await cast.exit(master, 0)
    last = cast.actors["gs-2"]
    last.process.send_signal(signal.SIGTERM)
    await cast.expect(
        "gs-2 has nothing left to do",
        {"gs-2": ["is told to stop", "stops, after finishing 0 running requests"]},
    )
    await cast.exit(last, 0)


async def run() -> bool:
    """Play; whether all of it held."""

    def narrate(text: str) -> None:
        print(f"  ({text})", flush=True)

    failed: list[str] = []
    try:
        async with contextlib.AsyncExitStack() as stack, trio.open_nursery() as nursery:
            await play(Cast(nursery, stack), narrate)
    except* StepFailedError as group:
        failed += map(str, group.exceptions)
    print("\n".join(failed) or "All of it held.")
    return not failed


def main() -> int:
    """Play the demo; the exit status is 0 only if all of it held."""
    status = 1
    try:
        status = 0 if trio.run(run) else 1
    except* KeyboardInterrupt:
        status = 130
    return status
