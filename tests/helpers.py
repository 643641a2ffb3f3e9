"""Two protocols and the wire between them, without I/O."""

from collections import deque
from typing import Any

from trio_s2s.codec import (
    pack,
    pack_event,
    pack_request,
    pack_response,
    unpack_messages,
)
from trio_s2s.codes import Kind
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.protocol import Phase, Protocol
from trio_s2s.windows import Limits

EMPTY = b"\x80"
LIMITS = Limits(4096, 3, 1000, 400)


class Side:
    """One of two protocols that obey the rules, and what it has taken."""

    def __init__(self, ours: Limits, theirs: Limits) -> None:
        self.protocol = Protocol(ours, theirs)
        self.decoder = FrameDecoder(4096)
        self.taken: list[list[Any]] = []
        self.events: list[tuple[int, int]] = []
        """Channel and size of the events that are not handled yet."""


class ProtocolPair:
    """Sends what one side makes through bytes to the other, at once or when told."""

    def __init__(
        self, a: Limits = LIMITS, b: Limits = LIMITS, *, delayed: bool = False
    ) -> None:
        self.sides = (Side(a, b), Side(b, a))
        self.wires: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        """Frames that each side has sent and the other has not received."""
        self.delayed = delayed

    def send(self, sender: int, payload: bytes) -> list[list[Any]]:
        """Send one packed message; give what the other side made of it."""
        self.wires[sender].append(encode_frame([payload]))
        return [] if self.delayed else self.deliver(sender)

    def deliver(self, sender: int, piece: int = 3) -> list[list[Any]]:
        """Carry the oldest frame in pieces; give what the other side made of it."""
        other = self.sides[1 - sender]
        frame = self.wires[sender].popleft()
        before = len(other.taken)
        for start in range(0, len(frame), piece):
            other.decoder.receive_data(frame[start : start + piece])
            while (body := other.decoder.next_frame()) is not None:
                for message, size in unpack_messages(body, 4096):
                    if other.protocol.receive(message, size):
                        self._take(other, message, size)
        return other.taken[before:]

    def _take(self, side: Side, message: list[Any], size: int) -> None:
        side.taken.append(message)
        if message[0] == Kind.EVENT:
            side.events.append((message[3] if len(message) > 3 else 0, size))

    # -- what a side that obeys may do --

    def request(self, sender: int, parameters: bytes = EMPTY) -> int:
        """Send a request, if the window has room; its id, or 0."""
        protocol = self.sides[sender].protocol
        payload = pack_request(protocol.next_id, 1, parameters, {})
        if protocol.sent is not Phase.OPEN or not protocol.may_request(len(payload)):
            return 0
        request_id = protocol.request_queued(len(payload))
        self.send(sender, payload)
        return request_id

    def respond(self, sender: int, request_id: int) -> None:
        """Answer a request."""
        protocol = self.sides[sender].protocol
        payload = pack_response(request_id, 0, EMPTY, None)
        protocol.response_leaves(protocol.response_queued(request_id))
        self.send(sender, payload)

    def event(self, sender: int, channel: int = 0, parameters: bytes = EMPTY) -> bool:
        """Send an event, if the window has room."""
        protocol = self.sides[sender].protocol
        payload = pack_event(1, parameters, channel)
        if protocol.sent is not Phase.OPEN:
            return False
        if not protocol.may_send_event(channel, len(payload)):
            return False
        protocol.event_queued(channel, len(payload))
        self.send(sender, payload)
        return True

    def handle_event(self, sender: int) -> None:
        """Be done with the oldest event, and give back what is due."""
        side = self.sides[sender]
        channel, size = side.events.pop(0)
        side.protocol.event_handled(channel, size)
        for credit in side.protocol.take_credits():
            self.send(sender, pack(credit))

    def goodbye(self, sender: int, *, last: bool, code: int = 0) -> None:
        """Say goodbye."""
        self.send(
            sender, pack(self.sides[sender].protocol.goodbye(code, "", last=last))
        )
