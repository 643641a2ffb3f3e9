"""Twin of `testing/stream.py`: its streams are streams by Trio's own measure."""

from typing import Any

import pytest
import trio
import trio.testing

from trio_s2s.testing import MemoryNetwork, seeded
from trio_s2s.testing.stream import MemoryStream

Pair = tuple[MemoryStream, MemoryStream]


async def connected() -> Pair:
    """Give both ends of a connection."""
    network = MemoryNetwork(seed=5)
    near, far = network.node("near"), network.node("far")
    [listener] = await far.open_tcp_listeners(1, "far", None)
    stream = await near.open_tcp_stream("far", 1)
    return stream, await listener.accept()


async def clogged() -> Pair:
    """Give both ends, neither of which can send any more."""
    pair = await connected()
    for stream in pair:
        with trio.move_on_after(1):
            while True:
                await stream.send_all(bytes(10_000))
    return pair


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make_clogged", [None, clogged])
def test_streams_pass_the_checks_of_trio(seed: int, make_clogged: Any) -> None:
    async def main() -> None:
        await trio.testing.check_two_way_stream(connected, make_clogged)
        await trio.testing.check_half_closeable_stream(connected, make_clogged)

    with seeded(seed):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_stream_has_the_addresses_of_both_sides() -> None:
    near, far = await connected()
    assert near.socket.getpeername() == far.socket.getsockname() == ("far", 1)
    assert far.socket.getpeername() == near.socket.getsockname()
    await near.aclose()
    near.close()  # Again is no error.
    with pytest.raises(trio.ClosedResourceError):
        await near.send_eof()
