"""One event for all, packed once; who is too slow for it holds up nobody else.

It prints::

    news 1 missed 1 of 2
    news 2 missed 1 of 2
    read []: REMOTE_CLOSE, it was too slow for a broadcast
    read [0, 1, 2]: LOCAL_CLOSE, the block of the peer was left
"""

import attrs
import trio

import trio_s2s as s2s


@attrs.frozen
class News(s2s.Event, code=1):
    number: int


class Paper(s2s.Application):
    def create_peer(self, init_request: s2s.InitRequest) -> s2s.InboundPeer:
        return s2s.InboundPeer(init_request)


class Reader(s2s.OutboundPeer):
    def __init__(self) -> None:
        self.read: list[int] = []
        self.reads, self.ended = trio.Event(), trio.Event()

    async def on_connected(self) -> None:  # an answer means: we are in paper.peers
        await self.request(s2s.OperationRequest(1))

    @s2s.handles(News)
    async def news(self, event: News) -> None:
        await self.reads.wait()
        self.read.append(event.number)

    async def on_disconnected(self, reason: s2s.DisconnectReason, detail: str) -> None:
        print(f"read {self.read}: {reason.name}, {detail}")
        self.ended.set()


async def main() -> None:
    one = s2s.PeerConfig(max_event_weight=100)  # room for one event, not for two
    async with s2s.open_application(Paper("Paper")) as paper:
        host, port = (await paper.listen_tcp(0))[0].socket.getsockname()
        async with s2s.open_tcp_peer(host, port, Reader) as quick:
            quick.reads.set()
            async with s2s.open_tcp_peer(host, port, Reader, config=one) as slow:
                await paper.broadcast(News(0), paper.peers)  # both have room for it
                missed = await paper.broadcast(News(1), paper.peers, slow="skip")
                print(f"news 1 missed {len(missed)} of 2")
                missed = await paper.broadcast(News(2), paper.peers, slow="disconnect")
                print(f"news 2 missed {len(missed)} of 2")
                await slow.ended.wait()


trio.run(main)
