"""A break of 16 s: 15 s between attempts, as Photon has it, and the default.

At 60 s it begins; the master remembers the game server for 20 s. It prints::

    Fixed(cap=15)                        Backoff(first=1.0, cap=3.0)
     0 s gs-1: connected, fresh           0 s gs-1: connected, fresh
    80 s master: gs-1 is lost            … s gs-1: connected, resumed
    90 s gs-1: connected, fresh
"""

from functools import partial
from itertools import zip_longest

import trio
from trio.testing import MockClock

from trio_s2s import Application, Backoff, Fixed, OutboundPeer
from trio_s2s.testing import MemoryNetwork, RecordingApplication


class Master(RecordingApplication):
    story: list[str]

    def tell(self, text: str) -> None:
        self.story.append(f"{trio.current_time():2.0f} s {text}")

    async def server_lost(self, server_id: str) -> None:
        self.tell(f"master: {server_id} is lost")


class ToMaster(OutboundPeer):
    def __init__(self, master: Master) -> None:
        self.tell = master.tell

    async def on_connected(self) -> None:
        self.tell(f"gs-1: connected, {'resumed' if self.resumed else 'fresh'}")


async def live(retry: Backoff | Fixed) -> list[str]:
    network, master = MemoryNetwork(seed=1), Master("Master", server_id="master")
    master.story = [f"{retry}"]
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run, master)
        game = await nursery.start(network.run, Application("Game", server_id="gs-1"))
        game.connect_tcp("localhost", 4520, partial(ToMaster, master), retry=retry)
        await trio.sleep(60)
        network.refuse("master")
        network.reset("gs-1", "master")
        await trio.sleep(16)
        network.refuse("master", refuses=False)
        await trio.sleep(20)
        story = master.story.copy()
        nursery.cancel_scope.cancel()
    return story


clock = partial(MockClock, autojump_threshold=0)
lives = [trio.run(live, policy, clock=clock()) for policy in (Fixed(15), Backoff())]
for left, right in zip_longest(*lives, fillvalue=""):
    print(f"{left:36} {right}".rstrip())
