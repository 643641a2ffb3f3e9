"""A master and game servers, as processes that do what their standard input says."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs
import trio

from trio_s2s.application import Application
from trio_s2s.codes import DisconnectReason
from trio_s2s.contracts import Event, Operation
from trio_s2s.handlers import handles
from trio_s2s.hosting import run_application
from trio_s2s.messages import InitRequest
from trio_s2s.peer import InboundPeer, OutboundPeer, Peer

__all__ = ["GameServer", "Master", "main"]

REQUESTS: Final = 1_000
LOADS: Final = {"gs-1": 12, "gs-2": 48}


# -- what they say to each other --


@attrs.frozen
class Registered:
    number: int


@attrs.frozen
class Register(Operation[Registered], code=1):
    max_players: int


@attrs.frozen
class HowBusy(Operation[int], code=2):
    pass


@attrs.frozen
class PlayMatch(Operation[str], code=3):
    seconds: float


@attrs.frozen
class Load(Event, code=1):
    percent: int


@attrs.frozen
class RoomClosed(Event, code=2):
    room: str


def say(text: str) -> None:
    """Tell the parent process what has happened."""
    print(text, flush=True)


# -- the master --


class GameServerPeer(InboundPeer):
    """The master's side of a connection."""

    def __init__(self, init_request: InitRequest, master: "Master") -> None:
        super().__init__(init_request)
        self.master = master

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        say(f"{self.server_id} disconnected: {reason.name}, {detail}")

    @handles(Register)
    def register(self, operation: Register) -> Registered:
        self.master.registered += 1
        say(f"{self.server_id} registers, for {operation.max_players} players")
        return Registered(self.master.registered)

    @handles(Load)
    def load(self, event: Load) -> None:
        say(f"{self.server_id} reports {event.percent} % load")


class Master(Application):
    """Game servers register here, report, are asked, and are told."""

    registered = 0

    async def setup(self) -> None:
        [listener] = await self.listen_tcp(0)
        say("listens on {}:{}".format(*listener.socket.getsockname()))

    def create_peer(self, init_request: InitRequest) -> GameServerPeer:
        return GameServerPeer(init_request, self)

    async def ask(self) -> None:
        """Ask all how busy they are, then tell all that a room is closed."""
        for peer in sorted(self.peers, key=lambda peer: peer.server_id):
            say(f"{peer.server_id} is {await peer.request(HowBusy())} % busy")
        missed = await self.broadcast(RoomClosed("arena"), self.peers)
        say(f"all but {len(missed)} know that the arena is closed")

    async def play(self, server_id: str) -> None:
        """Let a match be played to its end."""
        peer = await self.peers.wait_for(server_id)
        say(f"{server_id} says: {await peer.request(PlayMatch(0.5))}")

    async def measure(self, server_id: str) -> None:
        """Ask many times, one after the other."""
        peer = await self.peers.wait_for(server_id)
        times = sorted([await _time_of_one(peer) for _ in range(REQUESTS)])
        p50, p99 = (times[REQUESTS * percent // 100] * 1000 for percent in (50, 99))
        say(f"{REQUESTS:,} requests answered: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


async def _time_of_one(peer: Peer) -> float:
    began = trio.current_time()
    await peer.request(HowBusy())
    return trio.current_time() - began


# -- a game server --


class MasterPeer(OutboundPeer):
    """A game server's side of a connection."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.was_asked: bool = False

    async def on_connected(self) -> None:
        registered = await self.request(Register(max_players=100))
        say(f"registered as number {registered.number}")
        await self.send_event(Load(LOADS[self.name]))

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        say(f"master disconnected: {reason.name}, {detail}")

    @handles(HowBusy)
    def how_busy(self, operation: HowBusy) -> int:
        if not self.was_asked:
            say("the master asks how busy it is here")
        self.was_asked = True
        return LOADS[self.name]

    @handles(PlayMatch)
    async def play(self, operation: PlayMatch) -> str:
        say("a match begins")
        await trio.sleep(operation.seconds)
        return "the match is over"

    @handles(RoomClosed)
    def room_closed(self, event: RoomClosed) -> None:
        say(f"the master says that the {event.room} is closed")


class GameServer(Application):
    """Stays connected to its master."""

    def __init__(self, server_id: str, port: int) -> None:
        super().__init__("GameServer", server_id=server_id)
        self.port = port

    async def setup(self) -> None:
        create_peer = partial(MasterPeer, self.server_id)
        self.connect_tcp("127.0.0.1", self.port, create_peer, application_name="Master")


# -- as a process --


async def run(application: Application) -> None:
    """Run until SIGTERM, which lets work finish, or until the parent is gone."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_application, application)
            nursery.start_soon(obey, application, nursery.cancel_scope.cancel)
            await anext(signals)
            say("is told to stop")
            report = await application.stop(grace=5)
            finished = sum(peer.finished for peer in report.peers)
            say(f"stops, after finishing {finished} running requests")
            nursery.cancel_scope.cancel()


async def obey(application: Application, parent_gone: Callable[[], object]) -> None:
    """Do what each line of standard input says."""
    rest = b""
    async with trio.open_nursery() as nursery:
        async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
            async for data in stdin:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    command, *args = line.decode().split()
                    nursery.start_soon(getattr(application, command), *args)
        parent_gone()


def main(args: list[str]) -> int:
    """Be one of the servers; the exit status."""
    status = 0
    try:
        match args:
            case ["master"]:
                trio.run(run, Master("Master", server_id="master-1"))
            case ["game-server", server_id, port]:
                trio.run(run, GameServer(server_id, int(port)))
            case _:
                raise ValueError(f"there is no server {args}")
    except* KeyboardInterrupt:
        status = 130
    return status


if __name__ == "__main__":
    # A link that is lost at the end would tell so in the middle of the story.
    logging.basicConfig(level=logging.ERROR)
    sys.exit(main(sys.argv[1:]))
