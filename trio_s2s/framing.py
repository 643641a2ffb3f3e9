"""Length-prefixed frames to and from a byte stream, limits checked before buffering."""

from collections.abc import Iterable

from trio_s2s.codes import CloseCode
from trio_s2s.errors import RemoteProtocolError

__all__ = ["FrameDecoder", "encode_frame"]

PREFIX = 4


def encode_frame(payloads: Iterable[bytes]) -> bytes:
    """Make one frame of packed messages."""
    body = b"".join(payloads)
    return len(body).to_bytes(PREFIX) + body


class FrameDecoder:
    """Takes bytes as they come and gives the bodies of complete frames."""

    def __init__(self, max_frame: int) -> None:
        self.max_frame = max_frame
        """The limit in force for the frames not yet begun."""
        self._buffer = bytearray()
        self._start = 0

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take what the stream gave."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Give the next frame's body, None if it has not arrived in full.

        An illegal length is a `RemoteProtocolError` as soon as it is known.
        """
        body = self._start + PREFIX
        if len(self._buffer) < body:
            self._compact()
            return None
        size = self._announced()
        if size == 0:
            raise RemoteProtocolError("a frame of length 0")
        if size > self.max_frame:
            raise RemoteProtocolError(
                f"a frame of {size:,} bytes, more than the {self.max_frame:,} that"
                " this side takes now",
                CloseCode.FRAME_TOO_LARGE,
            )
        end = body + size
        if len(self._buffer) < end:
            self._compact()
            return None
        self._start = end
        with memoryview(self._buffer) as view:
            return bytes(view[body:end])

    def progress(self) -> str:
        """Say what of a frame has arrived, empty between two frames."""
        got = len(self._buffer) - self._start
        if got == 0:
            return ""
        if got < PREFIX:
            return f"{got} of {PREFIX} bytes of a frame's length"
        return f"{got - PREFIX:,} of {self._announced():,} bytes of a frame"

    def first_bytes(self) -> bytes:
        """Give the start of what is buffered, to guess who is talking."""
        return bytes(self._buffer[self._start : self._start + 16])

    def _announced(self) -> int:
        return int.from_bytes(self._buffer[self._start : self._start + PREFIX])

    def _compact(self) -> None:
        del self._buffer[: self._start]
        self._start = 0
