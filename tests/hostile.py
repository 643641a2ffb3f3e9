"""Wrong bytes for the engine, cut anywhere, and for one of the peers of a server."""

import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import (
    Acceptor,
    Dialler,
    Echo,
    Note,
    Server,
    Wait,
    linked,
)
from tests.streams import LIMITS, Far
from trio_s2s import (
    DisconnectReason,
    InitRequest,
    PeerConfig,
    PeerDisconnectedError,
    handles,
    open_peer,
)
from trio_s2s.codec import pack, unpack_messages
from trio_s2s.codes import REASON_OF_ERROR, Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.fields import Identity
from trio_s2s.forms import Message
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.handshake import hello
from trio_s2s.protocol import Protocol

SECRET = "hunter2"
"""What no log may show."""
EVENT = b"\x93\x07\x09"
"""An event of code 9, which has no contract, up to its parameters."""
HELLO = hello(Identity(bytes(16)), "", None, PeerConfig())
MAX_FRAME = PeerConfig().max_frame
SPLITS: list[int | str] = [1, 2, "random"]

settled = trio.testing.wait_all_tasks_blocked


def frame(*messages: Message) -> bytes:
    """Make a frame of messages."""
    return encode_frame(map(pack, messages))


def event(value: bytes) -> bytes:
    """Make a frame of an event whose parameter 0 is given packed."""
    return encode_frame([EVENT, b"\x81\x00", value])


def pieces(data: bytes, split: int | str) -> Iterator[bytes]:
    """Cut bytes into pieces of one size, or of any."""
    sizes = random.Random(len(data))
    start = 0
    while start < len(data):
        size = split if isinstance(split, int) else sizes.randint(1, 9)
        yield data[start : start + size]
        start += size


def flips(data: bytes) -> Iterator[bytes]:
    """Give the bytes again and again, each time with another bit turned over."""
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


# -- the engine --


class Engine:
    """What a connection does with bytes, without I/O."""

    def __init__(self, max_frame: int = MAX_FRAME, max_elements: int = 4096) -> None:
        self.decoder = FrameDecoder(max_frame)
        self.protocol = Protocol(LIMITS, LIMITS)
        self.taken: list[Message] = []
        self._max_elements = max_elements

    def feed(self, data: bytes, split: int | str) -> None:
        for piece in pieces(data, split):
            self.decoder.receive_data(piece)
            while (body := self.decoder.next_frame()) is not None:
                for message, size in unpack_messages(body, self._max_elements):
                    if self.protocol.receive(message, size):
                        self.taken.append(message)


def engine_end(data: bytes, split: int | str) -> tuple[DisconnectReason, str]:
    """Give the reason and the words with which wrong bytes end the engine."""
    engine = Engine()
    with pytest.raises(RemoteProtocolError) as caught:
        engine.feed(data, split)
    return REASON_OF_ERROR[caught.value.code], str(caught.value)


# -- a whole peer --


class Victim(Acceptor):
    """Answers, waits, and takes note."""

    def __init__(self, init_request: InitRequest) -> None:
        super().__init__(init_request)
        self.events: list[Any] = []

    @handles(Echo)
    async def echo(self, operation: Echo) -> str:
        return operation.text

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)

    @handles(Note)
    def note(self, event: Note) -> None:
        self.events.append(event.number)


class Patient(Dialler):
    """Lets the other side wait."""

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)


@attrs.frozen
class Damage:
    """What wrong bytes did to the peer that received them, and to its other side."""

    victim: Victim
    sender: Patient
    waiting: list[PeerDisconnectedError]
    """How the victim's own requests ended."""
    asking: list[PeerDisconnectedError]
    """How the sender's requests to the victim ended."""


async def _ask(peer: Any, errors: list[PeerDisconnectedError]) -> None:
    with pytest.raises(PeerDisconnectedError) as caught:
        await peer.request(Wait())
    errors.append(caught.value)


@asynccontextmanager
async def bystander(server: Server) -> AsyncGenerator[Dialler]:
    """Give a second peer of a server; see that it is served before and behind."""
    async with open_peer(server.listener.dial(), Dialler) as peer:
        assert await peer.request(Echo("before")) == "before"
        yield peer
        assert await peer.request(Echo("still there")) == "still there"
        assert peer.record == ["connected"]


async def hit(
    data: bytes, *, ends: bool = False, config: PeerConfig | None = None
) -> Damage:
    """Send wrong bytes to a peer that is waited for, and that waits itself.

    All others are served before and behind, and the listener goes on.
    """
    waiting: list[PeerDisconnectedError] = []
    asking: list[PeerDisconnectedError] = []
    async with linked(Victim, Patient, config=config) as (sender, server):
        victim, near = server.peer, server.near
        async with bystander(server), trio.open_nursery() as nursery:
            for peer, errors in [(victim, waiting), (sender, asking)] * 2:
                nursery.start_soon(_ask, peer, errors)
            await settled()
            await near.send_stream.send_all(data)
            if ends:
                near.send_stream.close()
            await victim.ended.wait()
            await sender.ended.wait()
        async with bystander(server):
            await trio.lowlevel.checkpoint()
    return Damage(victim, sender, waiting, asking)


@asynccontextmanager
async def shaken(server: Server, stream: Any = None) -> AsyncGenerator[Far]:
    """Give a far side, moved by hand, to which the server has said WELCOME."""
    far = Far(stream or server.listener.dial())
    await far.stream.send_all(HELLO)
    await far.receive()
    async with far.stream:
        yield far


async def served(far: Far) -> bool:
    """Whether the connection of a far side still answers."""
    await far.send([Kind.REQUEST, 99, 1, {0: "still there"}])
    while (message := await far.receive())[:2] != [Kind.RESPONSE, 99]:
        pass
    return bool(message[2:4] == [0, {0: "still there"}])


def check_log(caplog: pytest.LogCaptureFixture) -> None:
    """See that nothing in the log is a surprise, or a secret, or forged."""
    for record in caplog.get_records("call"):
        assert record.exc_info is None, record.getMessage()
        assert record.getMessage().isprintable()
        assert SECRET not in record.getMessage()
