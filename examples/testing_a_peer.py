"""Test a peer without sockets and without waiting: memory streams, virtual time.

It prints::

    Hello, Ada!
    HEARTBEAT_TIMEOUT after 7.5 s of silence
"""

import trio
import trio.testing
from hello_inbound import Greet, Greeter

from trio_s2s import DisconnectReason, OutboundPeer, open_peer, serve_peers


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts one end of every stream of which it is given the other."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[trio.abc.Stream](9)

    async def accept(self) -> trio.abc.Stream:
        return await self.receive.receive()

    async def aclose(self) -> None:
        await self.receive.aclose()


class Caller(OutboundPeer):
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.ended = trio.Event()

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        self.reasons.append(reason.name)
        self.ended.set()


# In a test file: `async def test_…(autojump_clock: trio.testing.MockClock)`.
async def test_greeter_is_lost_in_silence() -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_peers, Greeter, [listener])
        near, far = trio.testing.memory_stream_pair()
        await listener.send.send(far)
        async with open_peer(near, Caller) as peer:
            print((await peer.request(Greet("Ada"))).text)
            await trio.testing.wait_all_tasks_blocked()
            silence_begins = trio.current_time()
            far.send_stream.send_all_hook = None  # what it sends gets lost from now on
            await peer.ended.wait()
            silence = trio.current_time() - silence_begins
            print(f"{', '.join(peer.reasons)} after {silence} s of silence")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(test_greeter_is_lost_in_silence, clock=clock)
