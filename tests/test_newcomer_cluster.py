"""A warehouse and two shops: a cluster, tested from `docs/testing.md` alone."""

import attrs
import trio
from trio.testing import MockClock

from trio_s2s import (
    DisconnectReason,
    Event,
    InboundPeer,
    InitRequest,
    Link,
    Operation,
    PeerDisconnectedError,
    handles,
)
from trio_s2s.testing import (
    Fault,
    MemoryNetwork,
    RecordingApplication,
    RecordingPeer,
)


@attrs.frozen
class Reserve(Operation[int], code=1):
    """Is answered with what is left."""

    article: str
    amount: int


@attrs.frozen
class StockChanged(Event, code=1):
    """So much is left of something."""

    article: str
    left: int


class Warehouse(RecordingApplication):
    """Knows the stock, and tells the shops."""

    def __init__(self) -> None:
        super().__init__("Warehouse", server_id="warehouse", port=4520)
        self.stock = {"tea": 10}

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return self.recorded(ShopsPeer(init_request, self))

    async def reserve(self, article: str, amount: int) -> int:
        await trio.sleep(1)
        self.stock[article] -= amount
        change = StockChanged(article, self.stock[article])
        await self.broadcast(change, self.peers, slow="skip")
        return self.stock[article]


class ShopsPeer(RecordingPeer):
    """What the warehouse does for a shop."""

    def __init__(self, init_request: InitRequest, warehouse: Warehouse) -> None:
        super().__init__(init_request)
        self.warehouse = warehouse

    @handles(Reserve)
    async def reserve(self, operation: Reserve) -> int:
        return await self.warehouse.reserve(operation.article, operation.amount)


class Shop(RecordingApplication):
    """Sells, and shows what is left."""

    link: Link["WarehousePeer"]

    def __init__(self, name: str, port: int) -> None:
        super().__init__("Shop", server_id=name, port=port)
        self.shown: dict[str, int] = {}

    async def setup(self) -> None:
        await super().setup()
        self.link = self.connect_tcp("localhost", 4520, self.make_peer)

    def make_peer(self) -> "WarehousePeer":
        peer = WarehousePeer(self)
        self.recorded(peer)
        return peer


class WarehousePeer(RecordingPeer):
    """What a shop does for the warehouse."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop = shop

    @handles(StockChanged)
    def stock_changed(self, event: StockChanged) -> None:
        self.shop.shown[event.article] = event.left


async def start(
    network: MemoryNetwork, nursery: trio.Nursery
) -> tuple[Warehouse, Shop, Shop]:
    """Start all three, and wait for the links."""
    warehouse, north, south = Warehouse(), Shop("north", 4521), Shop("south", 4522)
    for application in (warehouse, north, south):
        await nursery.start(network.run, application)
    for shop in (north, south):
        await shop.link.connected()
    return warehouse, north, south


async def test_both_shops_hear_of_a_sale(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    warehouse, north, south = await start(MemoryNetwork(seed=1), nursery)
    assert await north.link.request(Reserve("tea", 3)) == 7
    await trio.sleep(1)
    assert north.shown == south.shown == {"tea": 7}
    assert sorted(warehouse.connects) == ["north", "south"]


async def test_shop_that_is_cut_off_comes_back(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork(seed=2)
    warehouse, north, south = await start(network, nursery)
    plan = [
        Fault(5.0, "partition", ("north", "warehouse")),
        Fault(25.0, "heal", ("north", "warehouse")),
    ]
    nursery.start_soon(network.play, plan)
    await trio.sleep(20)
    assert await south.link.request(Reserve("tea", 1)) == 9
    assert north.shown == {}
    await north.link.connected()
    assert await north.link.request(Reserve("tea", 1)) == 8
    await trio.sleep(1)
    silent = DisconnectReason.HEARTBEAT_TIMEOUT
    assert warehouse.disconnects == [("north", silent)]
    assert north.disconnects == [("warehouse", silent)]
    assert north.shown == south.shown == {"tea": 8}


async def sell(network: MemoryNetwork, nursery: trio.Nursery) -> tuple[int, int, int]:
    """Sell ten times while the network is bad; give sold, refused, and what is left."""
    network.set_latency(0.05, 0.2)
    warehouse, north, south = await start(network, nursery)
    for at, name in ((1.5, "north"), (4.2, "south"), (6.9, "north")):
        nursery.start_soon(network.play, [Fault(at, "reset", (name, "warehouse"))])
    sold = lost = 0
    for shop in (north, south) * 5:
        try:
            await shop.link.request(Reserve("tea", 1), wait_connected=True)
            sold += 1
        except PeerDisconnectedError:
            lost += 1  # Maybe the warehouse has reserved it all the same.
    return sold, lost, warehouse.stock["tea"]


async def test_nothing_is_sold_twice_however_bad_the_network(
    autojump_clock: MockClock,
) -> None:
    for seed in range(10):
        async with trio.open_nursery() as nursery:
            sold, lost, left = await sell(MemoryNetwork(seed=seed), nursery)
            assert sold > 0
            assert sold + lost == 10
            assert 0 <= left <= 10 - sold
            nursery.cancel_scope.cancel()
