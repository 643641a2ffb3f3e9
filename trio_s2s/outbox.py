"""What waits to leave: bounded in bytes, control ahead, entries can be taken back."""

from collections import deque
from collections.abc import Callable, Iterable

from trio_s2s.framing import encode_frame
from trio_s2s.windows import weigh

__all__ = ["Entry", "Outbox"]

FEW = 64
"""Places that may stand empty in a queue before it is made anew."""
BATCH = 64 * 1024
"""A frame stops growing here: a longer one would only delay its first message."""


class Entry:
    """One packed message on its way; without its payload it is gone."""

    __slots__ = ("is_response", "on_sent", "on_taken", "payload")

    def __init__(self, payload: bytes, is_response: bool) -> None:
        self.payload: bytes | None = payload
        self.is_response: bool = is_response
        self.on_taken: Callable[[], None] | None = None
        """Called when the writer takes the message."""
        self.on_sent: Callable[[], None] | None = None
        """Called when the transport has taken the frame."""


class Outbox:
    """The messages of one connection that its writer has not taken yet."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._entries: deque[Entry] = deque()
        self._control: dict[tuple[int, int], bytes] = {}
        self.size: int = 0
        """Bytes of messages that wait, without control messages."""
        self._weight = 0
        self._taken_back = 0
        """Entries in the queue that are empty."""
        self.response_size: int = 0
        """Bytes of answers among them."""
        self.messages_taken: int = 0
        """Messages that have left so far, control messages included."""

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._entries or self._control)

    def has_room(self, size: int) -> bool:
        """Whether a message of this size may join; a larger one goes alone."""
        return self.size == 0 or self._weight + weigh(size) <= self._max_size

    def put(self, payload: bytes, *, is_response: bool = False) -> Entry:
        """Let a message join the queue; the caller has asked `has_room`."""
        entry = Entry(payload, is_response)
        self._entries.append(entry)
        self.size += len(payload)
        self._weight += weigh(len(payload))
        if is_response:
            self.response_size += len(payload)
        return entry

    def put_control(self, key: tuple[int, int], payload: bytes) -> None:
        """Put a message ahead of the queue; of each key only the newest waits."""
        self._control[key] = payload

    def take_back(self, entry: Entry) -> bool:
        """Withdraw a message; False if it has left already."""
        if entry.payload is None:
            return False
        self._release(entry)
        # It stays in the queue, empty: to search for each would cost more.
        self._taken_back += 1
        if self._taken_back > FEW and self._taken_back * 2 > len(self._entries):
            self._entries = deque(one for one in self._entries if one.payload)
            self._taken_back = 0
        return True

    def clear(self) -> None:
        """Drop all that waits."""
        while self._entries:
            entry = self._entries.popleft()
            if entry.payload is not None:
                self._release(entry)
        self._taken_back = 0
        self._control.clear()

    def count(self, kind: int) -> int:
        """Count the messages of a kind that wait."""
        # Every message begins with one byte for its length, then its kind.
        waiting = (entry.payload for entry in self._entries)
        return sum(payload is not None and payload[1] == kind for payload in waiting)

    def take_frame(
        self, max_frame: int, first: Iterable[bytes] = ()
    ) -> tuple[bytes, list[Callable[[], None]]]:
        """Take what fits into one frame, and whom to tell when it was sent.

        Small messages in `first` go ahead; the frame is empty if nothing waits.
        """
        payloads = list(first)
        told: list[Callable[[], None]] = []
        room = max_frame - sum(map(len, payloads))
        for key, payload in sorted(self._control.items()):
            if len(payload) > room:
                break
            del self._control[key]
            payloads.append(payload)
            room -= len(payload)
        while self._entries and max_frame - room < BATCH:
            entry = self._entries[0]
            if entry.payload is not None:
                if len(entry.payload) > room:
                    break
                payloads.append(entry.payload)
                room -= len(entry.payload)
                self._release(entry)
                if entry.on_taken is not None:
                    entry.on_taken()
                if entry.on_sent is not None:
                    told.append(entry.on_sent)
            else:
                self._taken_back -= 1
            self._entries.popleft()
        self.messages_taken += len(payloads)
        return (encode_frame(payloads) if payloads else b""), told

    def _release(self, entry: Entry) -> None:
        assert entry.payload is not None
        self.size -= len(entry.payload)
        self._weight -= weigh(len(entry.payload))
        if entry.is_response:
            self.response_size -= len(entry.payload)
        entry.payload = None
