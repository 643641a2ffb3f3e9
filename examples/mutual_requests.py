"""A asks B, which asks A back, which asks B again: nobody waits for ever.

It prints::

    B is asked to count down from 3
    A is asked to count down from 2
    B is asked to count down from 1
    A is asked to count down from 0
    [3, 2, 1, 0]
"""

import attrs
import trio

from trio_s2s import (
    InboundPeer,
    Operation,
    OutboundPeer,
    Peer,
    handles,
    open_tcp_peer,
    serve_tcp,
)


@attrs.frozen
class CountDown(Operation[list[int]], code=1):
    start: int


async def count_down(name: str, peer: Peer, start: int) -> list[int]:
    print(f"{name} is asked to count down from {start}")
    if start == 0:
        return [0]
    return [start, *await peer.request(CountDown(start - 1))]


class PeerOfA(OutboundPeer):
    @handles(CountDown)
    async def count_down(self, operation: CountDown) -> list[int]:
        return await count_down("A", self, operation.start)


class PeerOfB(InboundPeer):
    @handles(CountDown)
    async def count_down(self, operation: CountDown) -> list[int]:
        return await count_down("B", self, operation.start)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_tcp, PeerOfB, 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_tcp_peer("127.0.0.1", port, PeerOfA) as peer:
            with trio.fail_after(5):
                print(await peer.request(CountDown(3)))
        nursery.cancel_scope.cancel()


trio.run(main)
