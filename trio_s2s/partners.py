"""The servers that a named one knows: one connection with each, and who is remembered.

The hooks of one pair never overlap, whatever connection they belong to.
"""

import heapq
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from trio_s2s.codes import CloseCode, FailureReason
from trio_s2s.errors import ConnectionFailedError, ConnectionRejectedError
from trio_s2s.fields import Identity
from trio_s2s.pairing import Hold, refusal, rival, settle
from trio_s2s.runtime import now, timer

__all__ = ["Partners"]


class _Partner:
    """This server and another one, by its name: their connections, and what is known.

    That the other side is known outlasts a connection for a while. Should it come back
    meanwhile as the same instance, and know this one as well, it is *resumed*.
    """

    def __init__(self, server_id: str, lost: Callable[[str], Awaitable[None]]) -> None:
        self.server_id = server_id
        self.holds: list[Hold] = []
        self.turns: list[Hold] = []
        """Those of them whose hooks run, or are to run, in that order."""
        self.known: bytes = b""
        """The instance of the other server that was connected, until it is lost."""
        self.due: float = math.inf
        """When it is lost, unless it comes back; -inf: it can't any more."""
        self.pins: int = 0
        """Attempts to connect under way that said whom they remember."""
        self.listed: float = math.inf
        """Which `due` is on the list of those that somebody waits for."""
        self._lost = lost
        self._is_told = False
        self._told = trio.lowlevel.ParkingLot()

    @property
    def remembers(self) -> bytes:
        """Who will be known still when the connections that end now are over."""
        is_left = any(hold.is_left for hold in self.turns)
        return b"" if is_left or now() >= self.due else self.known

    @property
    def is_forgotten(self) -> bool:
        """Whether nothing is known, and nobody is here."""
        return not (self.known or self.holds or self.pins or self._is_told)

    @property
    def may_expire(self) -> bool:
        """Whether nobody was told that it is known still."""
        welcome = any(hold.resumed and not hold.is_gone for hold in self.holds)
        return not (self.pins or welcome or self.turns or self._is_told)

    def hold(
        self, other: Identity, address: str, *, resumed: bool, is_confirmed: bool
    ) -> Hold:
        """Make a place for one more connection."""
        hold = Hold(
            server_id=other.server_id,
            instance_id=other.instance_id,
            address=address,
            is_confirmed=is_confirmed,
            resumed=resumed,
            siblings=self.holds,
            turns=self.turns,
        )
        self.holds.append(hold)
        return hold

    async def begin(self, hold: Hold) -> None:
        """Let its hooks run: it is its turn. Who has called it must call `end`."""
        while self._is_told:
            await self._told.park()
        # It may have waited for the end of one after which nobody was known any more.
        is_known = self.known == hold.instance_id and self.due > -math.inf
        hold.resumed = hold.resumed and is_known
        if self.known and not hold.resumed:
            self.known, self.due = b"", math.inf
            await self._lost(self.server_id)
        self.known, self.due = hold.instance_id, math.inf

    def end(self, hold: Hold, ttl: float) -> None:
        """Let the next one begin; the other server is known for so many seconds."""
        self.due = now() + ttl if ttl > 0 else -math.inf
        hold.leave_turn()

    def release(self, hold: Hold) -> None:
        """Forget a connection, which may have had no turn."""
        self.holds.remove(hold)
        if hold in self.turns:
            hold.leave_turn()

    def expires(self) -> bool:
        """Whether it was away for too long; then `tell_lost` is due."""
        if not self.may_expire or now() < self.due:
            return False
        # At once: nobody may be told any more that it is remembered.
        self._is_told, self.known, self.due = True, b"", math.inf
        return True

    async def tell_lost(self) -> None:
        """Tell the application that it has expired."""
        try:
            await self._lost(self.server_id)
        finally:
            self._is_told = False
            self._told.unpark_all()


class Partners:
    """All servers that one server knows."""

    def __init__(
        self, identity: Identity, lost: Callable[[str], Awaitable[None]]
    ) -> None:
        self._own = identity
        self._lost = lost
        self._partners: dict[str, _Partner] = {}
        self._touched: dict[str, None] = {}
        """Of whom somebody may have to be told, or forgotten, since they were seen."""
        self._moved = trio.lowlevel.ParkingLot()

    # -- the rule --

    async def admit(self, dialler: Identity, address: str, known: bytes) -> Hold:
        """Find a place for a dialler that wants in, or raise ConnectionRejectedError.

        A connection that is there already keeps its place if it answers. `known` is the
        instance that the dialler remembers.
        """
        while (partner := self._of(dialler)) and (
            old := rival(partner.holds)
        ) is not None:
            if await old.answers():
                raise refusal(old, dialler, address)
            code = CloseCode.REPLACED
            if old.instance_id != dialler.instance_id:
                code = CloseCode.PEER_RESTARTED
            old.drop(f"a connection from {address or 'elsewhere'} took over", code)
        if partner is None:
            return Hold()
        is_known = partner.remembers == dialler.instance_id
        resumed = is_known and known == self._own.instance_id
        return partner.hold(dialler, address, resumed=resumed, is_confirmed=False)

    def settle(self, acceptor: Identity, address: str, *, resumed: bool) -> Hold:
        """Find a place for a connection that is welcome there.

        Raises ConnectionFailedError (DUPLICATE) if it is not needed.
        """
        partner = self._of(acceptor)
        if partner is None:
            return Hold()
        losers = settle(self._own.server_id, acceptor.server_id, partner.holds)
        if losers is None:
            text = f"server {acceptor.server_id!r} is connected to this one already"
            raise ConnectionFailedError(text, FailureReason.DUPLICATE)
        for loser in losers:
            loser.drop("the one that was dialled here stays", CloseCode.DUPLICATE)
        self.moved()
        return partner.hold(acceptor, address, resumed=resumed, is_confirmed=True)

    async def begin(self, hold: Hold) -> None:
        """Let the hooks of this connection run, whose turn it is; then `end` is due."""
        if hold.server_id:
            await self._partners[hold.server_id].begin(hold)

    def end(self, hold: Hold, ttl: float) -> None:
        """Take note that its hooks have run; the server stays known for a while."""
        if hold.server_id:
            self._partners[hold.server_id].end(hold, ttl)
            self.moved(hold.server_id)

    def release(self, hold: Hold) -> None:
        """Take note that a connection is over."""
        if hold.server_id:
            self._partners[hold.server_id].release(hold)
            self.moved(hold.server_id)

    def moved(self, server_id: str = "") -> None:
        """Let those look again who wait for something here, at one server or none."""
        if server_id:
            self._touched[server_id] = None
        self._moved.unpark_all()

    def is_free(self, server_id: str) -> bool:
        """Whether a server is not connected."""
        partner = self._partners.get(server_id)
        return partner is None or rival(partner.holds) is None

    async def until_free(self, server_id: str) -> None:
        """Wait until a server is not connected."""
        while not self.is_free(server_id):
            await self._moved.park()

    def _of(self, other: Identity) -> _Partner | None:
        if not (self._own.server_id and other.server_id):
            return None
        if other.server_id == self._own.server_id:
            text = f"both servers are named {other.server_id!r}"
            raise ConnectionRejectedError(CloseCode.NAME_IN_USE, text)
        if other.server_id not in self._partners:
            self._partners[other.server_id] = _Partner(other.server_id, self._lost)
        return self._partners[other.server_id]

    # -- who is known --

    @contextmanager
    def remembered(self, server_id: str) -> Iterator[bytes]:
        """Give the instance of a server that is known, and keep it so for a block."""
        partner = self._partners.get(server_id)
        if partner is None:
            yield b""
            return
        partner.pins += 1
        try:
            yield partner.remembers
        finally:
            partner.pins -= 1
            self.moved(server_id)

    async def forget_in_time(self) -> None:
        """Forget every server that has been away for too long, until cancelled."""
        dues: list[tuple[float, str]] = []
        async with trio.open_nursery() as nursery:
            while True:
                touched, self._touched = self._touched, {}
                for partner in filter(None, map(self._partners.get, touched)):
                    self._look_at(partner, dues)
                while dues and dues[0][0] <= now():
                    found = self._partners.get(heapq.heappop(dues)[1])
                    if found is None:
                        continue
                    found.listed = math.inf
                    if found.expires():
                        nursery.start_soon(self._tell_lost, found)
                with timer(dues[0][0] - now() if dues else math.inf):
                    await self._moved.park()

    def _look_at(self, partner: _Partner, dues: list[tuple[float, str]]) -> None:
        if partner.is_forgotten:
            del self._partners[partner.server_id]
        elif partner.may_expire and partner.due != partner.listed:
            partner.listed = partner.due
            heapq.heappush(dues, (partner.due, partner.server_id))

    async def _tell_lost(self, partner: _Partner) -> None:
        try:
            await partner.tell_lost()
        finally:
            self.moved(partner.server_id)
