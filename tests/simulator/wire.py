"""What must hold of the bytes on each connection, judged by `docs/protocol.md` alone.

A sender may know less than this does, which sees all frames of both sides as they are
written, but never more: what it sends must be allowed here.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import msgpack

from trio_s2s.testing.trace import Entry

HELLO, WELCOME, REJECT, REQUEST, RESPONSE, EVENT, CANCEL, CREDIT, PING, PONG = (
    0, 3, 4, 5, 6, 7, 8, 9, 10, 11,
)  # fmt: skip
GOODBYE = 12
FIRST = ((HELLO,), (WELCOME, REJECT))
"""What the dialler, and what the acceptor begins with."""
LIMITS = 4
SLOTS, REQUEST_WEIGHT, EVENT_WEIGHT = 1, 2, 3
OVERHEAD = 64

TIME_LEFT = 0

Check = Callable[[str, bool, str], None]
Sent = Callable[[Any, int | None, float], None]


@attrs.define(eq=False)
class Side:
    """What one side of a connection has sent."""

    name: str
    kinds: Counter[int] = attrs.field(factory=Counter)
    limits: dict[int, int] = attrs.field(factory=dict)
    """What it takes."""
    last_id: int = 0
    open: dict[int, int] = attrs.field(factory=dict)
    """The weights of its requests that the other side has not answered."""
    cancelled: set[int] = attrs.field(factory=set)
    events: Counter[int] = attrs.field(factory=Counter)
    """The weight of its events, by channel, that was not given back."""
    said_goodbye: bool = False
    said_last: bool = False


class Wire:
    """All connections of a network."""

    def __init__(self, check: Check, sent: Sent) -> None:
        self.frames = 0
        self._check = check
        self._sent = sent
        """Is told of each request, and of the milliseconds that its caller has left."""
        self._connects: Counter[tuple[str, str]] = Counter()
        self._welcomes: Counter[frozenset[str]] = Counter()
        """How often two servers were welcomed by each other."""
        self._connections: dict[int, tuple[Side, Side]] = {}

    def watch(self, entry: Entry) -> None:
        """Judge what happens in the network."""
        match entry.kind:
            case "bytes":
                text = f"{entry.source} has sent what is no frame: {entry.data[:40]!r}"
                self._check("V21", False, text)
            case "frame":
                self._frame(entry)
            case "hook" if entry.text == "on_connected":
                self._connected(entry.source, entry.target)

    def _frame(self, entry: Entry) -> None:
        self.frames += 1
        number = entry.connection
        if number not in self._connections:  # Nobody but a dialler begins.
            self._connections[number] = Side(entry.source), Side(entry.target)
        sides = self._connections[number]
        is_dialler = entry.source == sides[0].name
        sender, other = sides if is_dialler else sides[::-1]
        for message, size in self._messages(entry.data):
            where = f"{sender.name} -> {other.name} ({number}), {message}"[:200]
            if not sender.kinds.total():
                began = message[0] in FIRST[0 if is_dialler else 1]
                self._check("V4", began, f"{where}: it begins with that")
            self._message(sender, other, message, size + OVERHEAD, where)
            if message[0] == REQUEST:
                options = message[4] if len(message) > 4 else {}
                self._sent(message[3].get(0), options.get(TIME_LEFT), entry.time)
            sender.kinds[message[0]] += 1
            if message[0] == WELCOME:
                self._welcomes[frozenset((sender.name, other.name))] += 1

    def _messages(self, body: bytes) -> Iterator[tuple[list[Any], int]]:
        unpacker = msgpack.Unpacker(strict_map_key=False, timestamp=3)
        unpacker.feed(body)
        begin = 0
        while begin < len(body):
            try:
                message = unpacker.unpack()
            except (ValueError, msgpack.UnpackException) as error:
                text = f"{error!r} in a frame of {len(body)} bytes: {body[:40]!r}"
                self._check("V21", False, text)
                return
            yield message, unpacker.tell() - begin
            begin = unpacker.tell()

    def _message(
        self, sender: Side, other: Side, message: list[Any], weight: int, where: str
    ) -> None:
        self._check("V21", not sender.said_last, f"{where}: after its last GOODBYE")
        self._check("V21", not sender.kinds[REJECT], f"{where}: after its REJECT")
        match message:
            case [kind, *_] if kind in (HELLO, WELCOME, REJECT):
                is_new = not sender.kinds.total()
                self._check("V4", is_new, f"{where}: not at the beginning")
                if kind != REJECT:
                    sender.limits = message[3 if kind == HELLO else 2][LIMITS]
            case [kind, int(number), *_] if kind == REQUEST:
                self._request(sender, other, number, weight, where)
            case [kind, int(number), *_] if kind == RESPONSE:
                known = other.open.pop(number, None) is not None
                self._check("V12", known, f"{where}: there is no such request")
            case [kind, int(number), *_] if kind == CANCEL:
                once = number <= sender.last_id and number not in sender.cancelled
                self._check("V17", once, f"{where}: it can't be cancelled (again)")
                sender.cancelled.add(number)
            case [kind, _, _, *channel] if kind == EVENT:
                self._event(sender, other, [*channel, 0][0], weight, where)
            case [kind, int(channel), int(back), *_] if kind == CREDIT:
                other.events[channel] -= back
                owed = other.events[channel] >= 0
                self._check("V19", owed, f"{where}: more than was sent")
            case [kind, _, _, _, bool(last)] if kind == GOODBYE:
                once = last or not sender.said_goodbye
                self._check("V21", once, f"{where}: said before")
                sender.said_goodbye, sender.said_last = True, last

    def _request(
        self, sender: Side, other: Side, number: int, weight: int, where: str
    ) -> None:
        self._check("V21", not sender.said_goodbye, f"{where}: after its GOODBYE")
        self._check("V15", number > sender.last_id, f"{where}: not ascending")
        limits, held = other.limits, sum(sender.open.values())
        fits = not held or held + weight <= limits[REQUEST_WEIGHT]
        fits = fits and len(sender.open) < limits[SLOTS]
        self._check("V27", fits, f"{where}: {len(sender.open)} open of {held} bytes")
        sender.last_id = number
        sender.open[number] = weight

    def _event(
        self, sender: Side, other: Side, channel: int, weight: int, where: str
    ) -> None:
        self._check("V21", not sender.said_goodbye, f"{where}: after its GOODBYE")
        held = sender.events[channel]
        fits = not held or held + weight <= other.limits[EVENT_WEIGHT]
        self._check("V27", fits, f"{where}: {held} bytes are unhandled")
        sender.events[channel] += weight

    def _connected(self, node: str, other: str) -> None:
        self._connects[node, other] += 1
        hooks = self._connects[node, other]
        welcomes = self._welcomes[frozenset((node, other))]
        text = f"{node} was connected to {other} {hooks} times, welcomed {welcomes}"
        self._check("V9", hooks <= welcomes, text)
