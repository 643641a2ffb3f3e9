"""A deadline crosses three servers: who waits no longer stops all who work for it.

It prints::

    with 5 s to wait: 9.5
    with 0.3 s to wait: too slow
    stopped over there: Back, Middle
"""

import attrs
import trio

from trio_s2s import InboundPeer, Operation, Peer, handles, open_tcp_peer, serve_tcp

stopped: list[str] = []


@attrs.frozen
class Price(Operation[float], code=1):
    seconds: float


class Back(InboundPeer):
    behind: Peer | None = None

    @handles(Price)
    async def price(self, operation: Price) -> float:
        try:
            if self.behind is not None:  # It gets the time that is left.
                return await self.behind.request(operation)
            await trio.sleep(operation.seconds)
            return 9.5
        except trio.Cancelled:
            stopped.append(type(self).__name__)
            raise


class Middle(Back): ...


async def main() -> None:
    async with trio.open_nursery() as nursery:
        [back] = await nursery.start(serve_tcp, Back, 0)
        [middle] = await nursery.start(serve_tcp, Middle, 0)
        ports = [one.socket.getsockname()[1] for one in (back, middle)]
        async with (
            open_tcp_peer("127.0.0.1", ports[0]) as Middle.behind,
            open_tcp_peer("127.0.0.1", ports[1]) as peer,
        ):
            with trio.fail_after(5):
                print("with 5 s to wait:", await peer.request(Price(0.1)))
            with trio.move_on_after(0.3) as scope:
                await peer.request(Price(60))
            print("with 0.3 s to wait:", "too slow" if scope.cancelled_caught else "?")
        print("stopped over there:", ", ".join(sorted(stopped)))
        nursery.cancel_scope.cancel()


trio.run(main)
