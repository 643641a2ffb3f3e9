"""A warehouse and two shops, tested as a whole cluster in virtual time."""

import random

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_s2s import (
    DisconnectReason,
    Event,
    InboundPeer,
    InitRequest,
    Operation,
    Outcome,
    PeerDisconnectedError,
    handles,
)
from trio_s2s.testing import (
    Fault,
    MemoryNetwork,
    RecordingApplication,
    RecordingPeer,
    seeded,
)

SHOPS = ("shop-north", "shop-south")


@attrs.frozen
class Reserved:
    granted: int
    left: int


@attrs.frozen
class Reserve(Operation[Reserved], code=1):
    sku: str
    amount: int = 1


@attrs.frozen
class StockChanged(Event, code=2):
    sku: str
    left: int


@attrs.define
class Database:
    """What a crash of the warehouse does not take."""

    stock: dict[str, int]
    sold: int = 0


class ShopAtWarehouse(RecordingPeer):
    """The warehouse's side of a connection to a shop."""

    def __init__(self, init_request: InitRequest, warehouse: "Warehouse") -> None:
        super().__init__(init_request)
        self.warehouse = warehouse

    @handles(Reserve)
    async def reserve(self, operation: Reserve) -> Reserved:
        self.record("reserve", operation)
        database = self.warehouse.database
        granted = min(operation.amount, database.stock[operation.sku])
        database.stock[operation.sku] -= granted
        database.sold += granted
        left = database.stock[operation.sku]
        await trio.sleep(self.warehouse.packing_time)
        await self.warehouse.broadcast(
            StockChanged(operation.sku, left), self.warehouse.peers, slow="skip"
        )
        return Reserved(granted, left)


class Warehouse(RecordingApplication):
    def __init__(self, database: Database, packing_time: float = 0.0) -> None:
        super().__init__("Warehouse", server_id="warehouse", port=4520)
        self.database = database
        self.packing_time = packing_time

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return self.recorded(ShopAtWarehouse(init_request, self))


class WarehouseAtShop(RecordingPeer):
    """A shop's side of its link to the warehouse."""

    def __init__(self, shop: "Shop") -> None:
        super().__init__()
        self.shop = shop

    @handles(StockChanged)
    def stock_changed(self, event: StockChanged) -> None:
        self.record("stock_changed", event)
        self.shop.shelf[event.sku] = event.left


class Shop(RecordingApplication):
    def __init__(self, server_id: str, port: int) -> None:
        super().__init__("Shop", server_id=server_id, port=port)
        self.shelf: dict[str, int] = {}

    async def setup(self) -> None:
        await super().setup()
        self.warehouse = self.connect_tcp(
            "warehouse",
            4520,
            lambda: self.recorded(WarehouseAtShop(self)),
            insecure=True,
        )


async def open_shops(network: MemoryNetwork, nursery: trio.Nursery) -> list[Shop]:
    shops = [Shop(name, 4521 + number) for number, name in enumerate(SHOPS)]
    for shop in shops:
        await nursery.start(network.run, shop)
    for shop in shops:
        await shop.warehouse.connected()
    return shops


async def test_a_reservation_is_told_to_both_shops(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork(seed=1)
    warehouse = Warehouse(Database({"tea": 10}))
    await nursery.start(network.run, warehouse)
    north, south = await open_shops(network, nursery)
    for name in SHOPS:
        await warehouse.peers.wait_for(name)

    assert await north.warehouse.request(Reserve("tea", 3)) == Reserved(3, 7)
    assert await south.warehouse.request(Reserve("tea", 9)) == Reserved(7, 0)
    await trio.sleep(1)

    assert north.shelf == south.shelf == {"tea": 0}
    assert warehouse.database.sold == 10
    assert sorted(warehouse.connects) == list(SHOPS)
    assert warehouse.disconnects == []


async def test_one_shop_is_partitioned_and_comes_back(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork(seed=2)
    warehouse = Warehouse(Database({"tea": 10}))
    await nursery.start(network.run, warehouse)
    north, south = await open_shops(network, nursery)
    for name in SHOPS:
        await warehouse.peers.wait_for(name)

    network.partition("shop-north", "warehouse")
    await trio.sleep(10)
    lost = ("shop-north", DisconnectReason.HEARTBEAT_TIMEOUT)
    assert warehouse.disconnects == [lost]
    assert north.disconnects == [("warehouse", DisconnectReason.HEARTBEAT_TIMEOUT)]
    assert south.disconnects == []
    assert north.warehouse.peer is None

    with pytest.raises(PeerDisconnectedError) as caught:
        await north.warehouse.request(Reserve("tea"))
    assert caught.value.outcome is Outcome.NEVER_SENT
    assert await south.warehouse.request(Reserve("tea")) == Reserved(1, 9)
    await trio.sleep(1)
    assert north.shelf == {}
    assert south.shelf == {"tea": 9}

    network.heal()
    answer = await north.warehouse.request(Reserve("tea"), wait_connected=True)
    assert answer == Reserved(1, 8)
    await trio.sleep(1)
    assert north.shelf == south.shelf == {"tea": 8}
    assert warehouse.connects[2:] == ["shop-north"]
    assert warehouse.disconnects == [lost]


async def test_warehouse_is_killed_while_it_packs(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork(seed=3)
    database = Database({"tea": 10})
    await nursery.start(network.run, lambda: Warehouse(database, packing_time=5.0))
    north, south = await open_shops(network, nursery)
    plan = [Fault(2.0, "kill", ("warehouse",)), Fault(4.0, "restart", ("warehouse",))]
    nursery.start_soon(network.play, plan)

    with pytest.raises(PeerDisconnectedError) as caught:
        await north.warehouse.request(Reserve("tea"))
    assert caught.value.outcome is Outcome.UNKNOWN
    assert database.sold == 1

    answer = await north.warehouse.request(Reserve("tea"), wait_connected=True)
    assert answer == Reserved(1, 8)
    await south.warehouse.connected()
    for shop in (north, south):
        assert shop.connects == ["warehouse", "warehouse"]
        assert shop.disconnects == [("warehouse", DisconnectReason.CONNECTION_RESET)]


@attrs.define
class Tally:
    confirmed: int = 0
    unknown: int = 0
    retried: int = 0


async def shopping(shop: Shop, tally: Tally, dice: random.Random) -> None:
    for _ in range(40):
        await trio.sleep(dice.uniform(0.5, 2.5))
        try:
            answer = await shop.warehouse.request(Reserve("tea"), wait_connected=True)
        except PeerDisconnectedError as error:
            if error.outcome is Outcome.UNKNOWN:
                tally.unknown += 1
            else:
                tally.retried += 1
        else:
            tally.confirmed += answer.granted


def faults(dice: random.Random) -> list[Fault]:
    plan = []
    for number in range(6):
        began = 5.0 + 10.0 * number
        shop = dice.choice(SHOPS)
        kind = dice.choice(("partition", "one_way", "reset", "end", "kill"))
        if kind == "partition":
            plan += [
                Fault(began, "partition", (shop, "warehouse")),
                Fault(began + 6.0, "heal"),
            ]
        elif kind == "one_way":
            plan += [
                Fault(began, "partition", ("warehouse", shop), {"one_way": True}),
                Fault(began + 6.0, "heal"),
            ]
        elif kind == "kill":
            plan += [
                Fault(began, "kill", ("warehouse",)),
                Fault(began + 3.0, "restart", ("warehouse",)),
            ]
        else:
            plan.append(Fault(began, kind, (shop, "warehouse")))
    return plan


async def shopping_day(seed: int) -> tuple[str, Tally, Database]:
    dice = random.Random(seed)
    network = MemoryNetwork(seed=seed)
    network.set_latency(0.05, 0.02)
    database = Database({"tea": 1000})
    tally = Tally()
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run, lambda: Warehouse(database, packing_time=0.3))
        shops = await open_shops(network, nursery)
        async with trio.open_nursery() as day:
            day.start_soon(network.play, faults(dice))
            for shop in shops:
                day.start_soon(shopping, shop, tally, random.Random(dice.random()))
        with trio.fail_after(30):
            for shop in shops:
                await shop.warehouse.connected()
                answer = await shop.warehouse.request(Reserve("tea"))
                tally.confirmed += answer.granted
        await trio.sleep(1)
        left = {"tea": database.stock["tea"]}
        assert [shop.shelf for shop in shops] == [left, left]
        nursery.cancel_scope.cancel()
    return network.trace.hash(), tally, database


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_nothing_is_sold_twice_whatever_breaks(seed: int) -> None:
    runs = []
    for _ in range(2):
        with seeded(seed):
            clock = MockClock(autojump_threshold=0)
            runs.append(trio.run(shopping_day, seed, clock=clock))
    assert runs[0] == runs[1]
    _, tally, database = runs[0]
    assert tally.confirmed <= database.sold <= tally.confirmed + tally.unknown
    assert database.sold + database.stock["tea"] == 1000
