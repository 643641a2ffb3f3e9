"""Streams in memory, which may be slow, break and be closed."""

import operator
from typing import Final

import attrs
import trio

from trio_s2s.testing.pipe import Pipe

__all__ = ["Address", "MemoryStream"]

MOST: Final = 64 * 1024


@attrs.frozen
class Address:
    """What a stream or a listener in memory has for a socket."""

    host: str
    port: int
    remote_host: str = ""
    remote_port: int = 0

    def getsockname(self) -> tuple[str, int]:
        """Give the address of this side."""
        return self.host, self.port

    def getpeername(self) -> tuple[str, int]:
        """Give the address of the other side."""
        return self.remote_host, self.remote_port


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory."""

    def __init__(self, outgoing: Pipe, incoming: Pipe, address: Address) -> None:
        self.outgoing = outgoing
        self.incoming = incoming
        self.socket = address
        self.is_closed: bool = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, in pieces, as the window of the other side allows."""
        await self.outgoing.turn()
        await self.outgoing.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the window of the other side has room."""
        await self.outgoing.turn()
        await self.outgoing.wait_for_room()

    async def send_eof(self) -> None:
        """Send the end of the stream, and go on to receive."""
        with self.outgoing.one("sending"):
            await trio.lowlevel.checkpoint()
            if self.is_closed:
                raise trio.ClosedResourceError("this end was closed")
            self.outgoing.close_sender()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what has arrived."""
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError(f"max_bytes is 1 or more, not {max_bytes!r}")
        await self.incoming.turn()
        return await self.incoming.receive(max_bytes or MOST)

    async def aclose(self) -> None:
        """Close both directions; it does not wait."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close both directions."""
        if not self.is_closed:
            self.is_closed = True
            self.outgoing.close_sender()
            self.incoming.close_receiver(self.outgoing.weather.latency)
