"""A slow handler slows down its sender, wherever that is: nothing piles up.

It prints::

    100 readings, never more than 14 on their way
    send_event_nowait: the other side takes no more now
    unreliable, so dropped: 5
"""

from functools import partial

import attrs
import trio

import trio_s2s
from trio_s2s import Event, InboundPeer, PeerConfig, handles

CONFIG = PeerConfig(max_event_weight=1000)  # bytes under way, each event + 64
UNRELIABLE = trio_s2s.SendParameters(unreliable=True)


@attrs.frozen
class Reading(Event, code=1):
    number: int


class Slow(InboundPeer):
    handled = 0

    @handles(Reading)
    async def reading(self, event: Reading) -> None:
        await trio.sleep(0.002)
        Slow.handled += 1


async def main() -> None:
    under_way: list[int] = []
    async with trio.open_nursery() as nursery:
        serve = partial(trio_s2s.serve_tcp, Slow, 0, config=CONFIG)
        [listener] = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        async with trio_s2s.open_tcp_peer("127.0.0.1", port) as peer:
            for number in range(100):
                await peer.send_event(Reading(number))  # It waits here.
                under_way.append(number + 1 - Slow.handled)
            print(f"100 readings, never more than {max(under_way)} on their way")
            try:
                while True:
                    peer.send_event_nowait(Reading(0))
            except trio.WouldBlock:
                print("send_event_nowait: the other side takes no more now")
            for number in range(5):
                await peer.send_event(Reading(number), UNRELIABLE)
            print("unreliable, so dropped:", peer.statistics().events_dropped)
        nursery.cancel_scope.cancel()


trio.run(main)
