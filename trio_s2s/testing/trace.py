"""What has happened in a network: lines to read, and one hash of all of them."""

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import attrs
import trio

from trio_s2s.codec import unpack_messages
from trio_s2s.codes import Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.forms import Message, clip
from trio_s2s.framing import FrameDecoder
from trio_s2s.runtime import now

__all__ = ["Entry", "Frames", "Trace"]

KEPT: Final = 5_000
"""Entries that are kept to be read; the hash is over all."""
LONGEST: Final = 2**24
_NAMES: Final = {Kind.REQUEST: "op", Kind.EVENT: "code", Kind.CANCEL: "reason"}


@attrs.frozen
class Entry:
    """One thing that happened.

    Its kind is `open`, `accept`, `frame` (sent), `bytes` (sent, but no frame), `take`
    (received), `close`, `hook` or `fault`.
    """

    time: float
    kind: str
    source: str
    target: str = ""
    text: str = ""
    data: bytes = attrs.field(default=b"", repr=False)
    """The bytes that were sent."""
    connection: int = 0
    """Which connection it was, if it was one: they count from 1."""

    def __str__(self) -> str:
        """Write it as one line."""
        way = f"{self.source} -> {self.target}" if self.target else self.source
        way += f" ({self.connection})" if self.connection else ""
        return f"{self.time:12.6f}  {way:24} {self.kind:6} {self.told}".rstrip()

    @property
    def told(self) -> str:
        """What it says, with the messages of a frame."""
        said = describe_frame(self.data) if self.kind == "frame" else ""
        return f"{self.text} {said}".strip()


class Trace:
    """All entries of one network, in the order in which they happened."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=KEPT)
        self.count: int = 0
        self.watchers: list[Callable[[Entry], None]] = []
        """Are called with each entry, as it is made."""
        self._hash = hashlib.sha256()
        self._moved = trio.lowlevel.ParkingLot()

    def note(
        self,
        kind: str,
        source: str,
        target: str = "",
        text: str = "",
        data: bytes = b"",
        connection: int = 0,
    ) -> None:
        """Take note of something that happens now."""
        # A network may be given its weather before anything runs.
        time = now() if trio.lowlevel.in_trio_run() else 0.0
        entry = Entry(time, kind, source, target, text, data, connection)
        self.entries.append(entry)
        self.count += 1
        line = f"{time:.9f} {kind} {source} {target} {text} {connection}"
        self._hash.update(f"{line} {zlib.crc32(data)}\n".encode())
        for watch in self.watchers:
            watch(entry)
        self._moved.unpark_all()

    async def more(self) -> None:
        """Wait for the next entry."""
        await self._moved.park()

    def hash(self) -> str:
        """Give a hash: the same for two runs in which the same has happened."""
        return self._hash.hexdigest()[:16]

    def last(self, count: int) -> list[str]:
        """Give the last entries as lines."""
        return [str(entry) for entry in list(self.entries)[-count:]]


class Frames:
    """Cuts the bytes of one direction into frames, as long as they are frames."""

    def __init__(self) -> None:
        self._decoder: FrameDecoder | None = FrameDecoder(LONGEST)

    def cut(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Give the kind of entry, and the bytes, of all that is complete now."""
        if self._decoder is not None:
            try:
                self._decoder.receive_data(data)
                while (body := self._decoder.next_frame()) is not None:
                    yield "frame", bytes(body)
                return
            except RemoteProtocolError:
                self._decoder = None  # It is TLS, or nonsense.
        yield "bytes", data


def describe_frame(body: bytes) -> str:
    """Say which messages a frame has, for people."""
    try:
        found = [describe(message) for message, _ in unpack_messages(body, 2**16)]
    except RemoteProtocolError:
        return f"{len(body):,} bytes"
    return ", ".join(found)


def describe(message: Message) -> str:
    """Say what a message is, for people."""
    match message:
        case [Kind.HELLO, *_]:
            return "HELLO"
        case [Kind.REJECT, int(code), str(text), *_]:
            return f"REJECT {code} {clip(text)}"
        case [Kind.GOODBYE, int(code), str(text), _, bool(last), *_]:
            return f"GOODBYE {code}{' last' if last else ''} {clip(text)}".rstrip()
        case [Kind.EVENT, int(code), *_]:
            return f"EVENT {code}"
        case [Kind.REQUEST, int(number), int(code), *_]:
            return f"REQUEST #{number} op {code}"
        case [Kind.RESPONSE, int(number), int(code), *_]:
            return f"RESPONSE #{number}" + (f" code {code}" if code else "")
        case [Kind.CANCEL, int(number), *_]:
            return f"CANCEL #{number}"
        case [Kind.CREDIT, int(channel), int(weight), *_]:
            return f"CREDIT {weight} on {channel}"
        case [int(kind), *_] if kind in set(Kind):
            return Kind(kind).name
    return "?"
