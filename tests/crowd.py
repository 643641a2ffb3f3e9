"""1,000 links that lose one server for 30 s: `python -m tests.crowd`.

It prints how many of them dial within 100 ms, at most: in the first second after the
loss, and from the moment on when the server is back; and when the last of them is.
"""

import argparse
import sys
from collections import Counter
from typing import Final

import attrs
import trio
import trio.testing

from tests.quiet import silent
from trio_s2s import (
    Application,
    Backoff,
    InboundPeer,
    InitRequest,
    Link,
    OutboundPeer,
    PeerConfig,
)
from trio_s2s.testing import MemoryNetwork, seeded
from trio_s2s.testing.trace import Entry

AWAY: Final = 30.0
"""Seconds."""
SLOT: Final = 0.1
CONFIG: Final = PeerConfig(
    heartbeat_interval=600,
    max_pending_handshakes=10_000,
    max_pending_handshakes_per_address=10_000,
)


class Hub(Application):
    """Lets everybody in."""

    async def setup(self) -> None:
        await self.listen_tcp(4520)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return InboundPeer(init_request)


@attrs.frozen
class Crowd:
    """What came of it."""

    links: int
    cap: float
    peak_after_loss: int
    """Most attempts within 100 ms, in the first second after the loss."""
    peak_after_recovery: int
    """The same, from the moment on when the server is back."""
    last: float
    """Seconds from then on until the last link was back."""

    def __str__(self) -> str:
        """Write it as one line."""
        loss, back = self.peak_after_loss, self.peak_after_recovery
        return (
            f"{self.links:,} links, cap {self.cap:g} s: at most"
            f" {100 * loss / self.links:.1f} % in 100 ms after the loss,"
            f" {100 * back / self.links:.1f} % after the recovery;"
            f" the last is back after {self.last:.2f} s"
        )


async def run(links: int, cap: float, seed: int) -> Crowd:
    """Let links lose their server, and come back."""
    network = MemoryNetwork(seed=seed)
    network.set_latency(0.001, 0.002)
    hub = Hub("Hub", server_id="hub", config=CONFIG)
    dials: list[float] = []

    def watch(entry: Entry) -> None:
        if entry.kind == "dial":
            dials.append(entry.time)

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run, hub)
        crowd: list[Link[OutboundPeer]] = []
        for number in range(links):
            server = Application("S", server_id=f"s{number}", config=CONFIG)
            await nursery.start(network.run, server)
            crowd.append(
                server.connect_tcp("hub", 4520, insecure=True, retry=Backoff(1.0, cap))
            )
        for link in crowd:
            await link.connected()
        await trio.sleep(60)
        network.trace.watchers.append(watch)
        lost = trio.current_time()
        network.kill("hub")
        await trio.sleep(AWAY)
        network.restart("hub")
        back = trio.current_time()
        for link in crowd:
            await link.connected()
        last = trio.current_time() - back
        nursery.cancel_scope.cancel()
    early = [time for time in dials if time < lost + 1]
    late = [time for time in dials if time >= back]
    return Crowd(links, cap, peak(early, lost), peak(late, back), last)


def peak(times: list[float], began: float) -> int:
    """Give the most that happened within 100 ms."""
    counts = Counter(int((time - began) / SLOT) for time in times)
    return max(counts.values(), default=0)


def run_seed(links: int, cap: float, seed: int) -> Crowd:
    """Run it in virtual time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    with seeded(seed), silent():
        return trio.run(run, links, cap, seed, clock=clock)


def main() -> int:
    """Print what comes of both caps, for some seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for cap in 3.0, 30.0:
        for seed in range(1, options.seeds + 1):
            print(run_seed(options.links, cap, seed), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
