"""Which connection of two named servers stays: the rule, and what it looks at.

Both may dial at once, and one may come back while its old connection is half dead.
Each side decides alone, by what it sees, and both come to the same end: an acceptor by
`rival` when a HELLO comes, a dialler by `settle` when its WELCOME comes.
"""

import math
from collections.abc import Iterable
from typing import Final

import attrs

from trio_s2s.codes import CloseCode, DisconnectReason
from trio_s2s.connection import Connection
from trio_s2s.errors import ConnectionRejectedError
from trio_s2s.fields import Identity
from trio_s2s.runtime import now, timer

__all__ = ["Hold", "refusal", "rival", "settle"]

ANSWER: Final = 1.0
"""Seconds that a connection has to answer when another one wants its place."""


@attrs.define(eq=False, kw_only=True)
class Hold:
    """One connection of a pair, as one of its two servers sees it."""

    server_id: str = ""
    """Of the other server; empty if one of both is anonymous: any number will do."""
    instance_id: bytes = b""
    address: str = ""
    """Where the other server is, for people."""
    is_confirmed: bool = True
    """Whether the dialler uses it; only an acceptor has to find out."""
    siblings: list["Hold"] = attrs.field(factory=list)
    """The connections of the same pair, with this one."""
    turns: list["Hold"] = attrs.field(factory=list)
    """The confirmed ones whose hooks are not over, in the order of confirmation."""
    resumed: bool = False
    """Whether both sides remember each other."""
    _connection: Connection | None = None
    _answered_at: float = -math.inf
    _farewell: tuple[DisconnectReason, str, CloseCode] | None = None

    def __attrs_post_init__(self) -> None:
        if self.is_confirmed:
            self.turns.append(self)

    @property
    def is_gone(self) -> bool:
        """Whether its end has begun."""
        connection = self._connection
        is_over = connection is not None and connection.ending.reason is not None
        return is_over or self._farewell is not None

    @property
    def is_left(self) -> bool:
        """Whether it ends because one side has no need of the other any more."""
        connection = self._connection
        return connection is not None and connection.ending.is_for_good

    @property
    def is_lost(self) -> bool:
        """Whether it has ended otherwise than by a goodbye."""
        connection = self._connection
        return connection is not None and connection.is_lost

    @property
    def is_next(self) -> bool:
        """Whether no hooks have to run before its own."""
        return self.turns[:1] == [self]

    def attach(self, connection: Connection) -> None:
        """Give it its connection, which works."""
        self._connection = connection
        if not self.is_confirmed:
            connection.first_message = self.confirm
        if self._farewell is not None:
            connection.fail(*self._farewell)

    def moved(self) -> None:
        """Let it look again whether it is its turn."""
        if self._connection is not None:
            self._connection.moved()

    async def has_turn(self, patience: float) -> bool:
        """Wait until it is confirmed, and then for its turn; False if it comes to none.

        Who never confirms it has so many seconds. One that ends before its turn has
        none, but for a goodbye: what came before that is handled if it can be in time.
        """
        connection = self._connection
        assert connection is not None
        work = connection.work
        for _ in range(2):
            # If this whole process has stood still, it has not heard yet what came.
            with timer(patience / 2):
                await work.wait(lambda: not self.is_confirmed and not self.is_gone)
        if not self.is_confirmed:
            if not self.is_gone:
                text = f"nothing came behind WELCOME within {patience:g} s"
                reason = DisconnectReason.HEARTBEAT_TIMEOUT
                connection.fail(reason, text, CloseCode.HEARTBEAT)
            return False
        had_to_wait = not self.is_next
        await work.wait(lambda: not self.is_next and not self.is_gone)
        await work.wait_within_limit(lambda: not self.is_next and not self.is_lost)
        if self.is_next and not (had_to_wait and self.is_lost):
            return True
        self.leave_turn()
        return False

    def leave_turn(self) -> None:
        """Let the next one have its turn."""
        self.turns.remove(self)
        if self.turns:
            self.turns[0].moved()

    def confirm(self) -> None:
        """Take note that the dialler uses it, unless it comes second."""
        if (other := rival(self.siblings)) is not None:
            # Two servers of one name came at the same time.
            self.drop(f"{other} is connected already", CloseCode.DUPLICATE)
        self.is_confirmed = not self.is_gone
        if self.is_confirmed:
            self.turns.append(self)

    def drop(self, text: str, code: CloseCode) -> None:
        """End it in favour of another one."""
        if self.is_gone:
            return
        reason = DisconnectReason.REPLACED
        if code is CloseCode.PEER_RESTARTED:
            reason = DisconnectReason.PEER_RESTARTED
        self._farewell = reason, text, code
        if self._connection is not None:
            self._connection.fail(*self._farewell)

    async def answers(self) -> bool:
        """Ask the other side for a sign of life, and wait for it.

        Once a second at most: strangers who name this server must not make it a flood.
        """
        connection = self._connection
        if connection is None or now() - self._answered_at < ANSWER:
            return not self.is_gone
        heartbeat = connection.heartbeat
        if not heartbeat.is_asking:
            connection.ping()
        with timer(ANSWER):
            await heartbeat.answer(lambda: self.is_gone)
        if heartbeat.is_asking or self.is_gone:
            return False
        self._answered_at = now()
        return True

    def __str__(self) -> str:
        """Say where it leads, for people."""
        return f"the connection with {self.address or 'it'}"


def rival(holds: Iterable[Hold]) -> Hold | None:
    """Find whom an acceptor must ask before it lets another one in."""
    return next((one for one in holds if one.is_confirmed and not one.is_gone), None)


def settle(own_id: str, other_id: str, holds: Iterable[Hold]) -> list[Hold] | None:
    """Decide on a connection that this side has dialled and that is welcome now.

    Gives those that go in its favour, or None if it goes itself: where another one is
    in use, or where the other side dials as well, and has the higher id.
    """
    others = [one for one in holds if not one.is_gone]
    if any(one.is_confirmed for one in others):
        return None
    return None if others and own_id.encode() < other_id.encode() else others


def refusal(old: Hold, dialler: Identity, address: str) -> ConnectionRejectedError:
    """Say why a dialler is not let in, in whose place another connection answers."""
    name = dialler.server_id
    if old.instance_id == dialler.instance_id:
        text = f"there is a connection with server {name!r} already, at {old.address}"
        return ConnectionRejectedError(CloseCode.DUPLICATE, text)
    text = (
        f"another server, at {old.address}, is connected as {name!r};"
        f" this one is at {address}"
    )
    return ConnectionRejectedError(CloseCode.NAME_IN_USE, text)
