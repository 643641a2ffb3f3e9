"""What has arrived: bytes go in, one message after the other comes out."""

from collections.abc import Iterator
from typing import Protocol

from trio_s2s.codec import unpack_messages
from trio_s2s.forms import Message
from trio_s2s.framing import FrameDecoder

__all__ = ["Inbox", "Receiver"]


class Receiver(Protocol):
    """Who is handed what arrives; none of it may wait."""

    def request_received(self, message: Message) -> None:
        """Take a REQUEST that was accounted for; it must be answered once."""

    def event_received(self, message: Message, size: int) -> None:
        """Take an EVENT that was accounted for; `event_handled` must be called."""

    def cancel_received(self, request_id: int) -> None:
        """Take note that nobody waits for this answer any more."""


class Inbox:
    """The messages of one connection that were not handed on yet, in their frames."""

    def __init__(self, decoder: FrameDecoder, max_elements: int) -> None:
        self.messages_taken: int = 0
        self._decoder = decoder
        self._max_elements = max_elements
        self._messages: Iterator[tuple[Message, int]] = iter(())
        self._body = b""
        self._start = 0
        self._end = 0

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take what the stream gave."""
        self._decoder.receive_data(data)

    def next_message(self) -> tuple[Message, int] | None:
        """Give the next message and its size, None if it has not arrived in full."""
        while (found := next(self._messages, None)) is None:
            body = self._decoder.next_frame()
            if body is None:
                # What was handed on must not live as long as the silence after it.
                self._body = b""
                return None
            self._messages = unpack_messages(body, self._max_elements)
            self._body, self._end = body, 0
        self.messages_taken += 1
        self._start, self._end = self._end, self._end + found[1]
        return found

    def packed(self) -> bytes:
        """Give the newest message as it came: packed it takes up the least room."""
        return self._body[self._start : self._end]

    def progress(self) -> str:
        """Say what of a frame has arrived, empty between two frames."""
        return self._decoder.progress()
