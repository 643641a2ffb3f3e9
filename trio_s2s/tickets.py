"""One message on its way out, and the task that waits for what becomes of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from trio_s2s.codec import pack, pack_request
from trio_s2s.codes import CancelReason, Kind, Outcome, ReturnCode
from trio_s2s.deadlines import time_left
from trio_s2s.errors import OperationError, PeerBusyError
from trio_s2s.forms import Message
from trio_s2s.outbox import Entry
from trio_s2s.protocol import Protocol
from trio_s2s.runtime import now

__all__ = ["POST_LANE", "Call", "Post", "Ticket"]

REQUEST_LANE = -1
POST_LANE = -2
"""For requests whose answers go to a hook: if it is slow, only they wait for it."""
LARGEST_HEAD = 20
"""Bytes of a REQUEST's head, with the largest id and code."""
LARGEST_TIME = 10
"""Bytes of the option that tells the time left, with its key."""


@attrs.define(eq=False)
class Ticket(ABC):
    """What a `Call` and a `Post` have in common: they wait in a lane, then leave."""

    what: str
    """Its name in error texts."""
    task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    """Who waits, while somebody does."""
    scope: trio.CancelScope | None = attrs.field(default=None, init=False)
    """Bounds the wait in a lane, where the caller is a handler."""
    entry: Entry | None = attrs.field(default=None, init=False)
    """Its place in the outbox, once it has one."""
    outcome: Outcome | None = attrs.field(default=None, init=False)
    """What became of it, if the connection ended first."""

    def wake(self) -> None:
        """Let the waiting task go on."""
        if self.task is not None:
            task, self.task = self.task, None
            trio.lowlevel.reschedule(task)

    @property
    @abstractmethod
    def lane(self) -> int:
        """The lane in which it keeps its order."""

    @property
    @abstractmethod
    def waits_for_answer(self) -> bool:
        """Whether its task goes on waiting once it was queued."""

    @abstractmethod
    def payload(self, protocol: Protocol) -> bytes:
        """Pack it as it would leave now."""

    @abstractmethod
    def size_at_most(self, protocol: Protocol) -> int:
        """Bytes that it may have when it leaves."""

    @abstractmethod
    def is_taken(self, protocol: Protocol) -> bool:
        """Whether the other side takes its kind at all."""

    @abstractmethod
    def fits(self, protocol: Protocol, size: int) -> bool:
        """Whether the other side's window has room for it."""

    @abstractmethod
    def queued(self, protocol: Protocol, size: int) -> None:
        """Account for its leaving."""

    @abstractmethod
    def withdrawn(self, protocol: Protocol) -> None:
        """Account for its never having left after all."""

    @abstractmethod
    def busy(self, text: str) -> Exception:
        """Make the error for a handler that waited too long."""


@attrs.define(eq=False, kw_only=True)
class Call(Ticket):
    """A request: it waits for a slot, then for its answer."""

    code: int
    parameters: bytes
    options: Mapping[int, Any] = attrs.field(factory=dict)
    deadline: float = math.inf
    """When its caller gives up."""
    on_end: "Callable[[Call], None] | None" = None
    """Called with the answer, or without one, where no task waits for it."""
    id: int = attrs.field(default=0, init=False)
    """0 until it was queued."""
    response: Message | None = attrs.field(default=None, init=False)

    @property
    def lane(self) -> int:
        return REQUEST_LANE if self.on_end is None else POST_LANE

    @property
    def waits_for_answer(self) -> bool:
        return self.on_end is None

    def payload(self, protocol: Protocol) -> bytes:
        options = self.options
        left = time_left(self.deadline) if self.deadline < math.inf else None
        if left is not None:
            options = {**options, 0: left}
        return pack_request(protocol.next_id, self.code, self.parameters, options)

    def size_at_most(self, protocol: Protocol) -> int:
        options = len(pack(self.options)) + LARGEST_TIME
        return len(self.parameters) + options + LARGEST_HEAD

    def is_taken(self, protocol: Protocol) -> bool:
        return protocol.takes_requests

    def fits(self, protocol: Protocol, size: int) -> bool:
        return protocol.may_request(size)

    def queued(self, protocol: Protocol, size: int) -> None:
        self.id = protocol.request_queued(size)

    def withdrawn(self, protocol: Protocol) -> None:
        protocol.request_withdrawn(self.id)

    def busy(self, text: str) -> Exception:
        return OperationError(ReturnCode.SERVER_BUSY, text)

    def end(self) -> None:
        """Tell whoever waits that there is an answer, or an outcome."""
        if self.on_end is not None:
            self.on_end(self)
        self.wake()

    def cancel_message(self) -> bytes:
        """Pack the CANCEL that tells the other side that nobody waits any more."""
        is_late = -math.inf < self.deadline <= now()
        reason = CancelReason.DEADLINE if is_late else CancelReason.CALLER
        return pack([Kind.CANCEL, self.id, reason])


@attrs.define(eq=False, kw_only=True)
class Post(Ticket):
    """An event: it waits for credit of its channel."""

    channel: int
    packed: bytes
    flush: bool = False
    """Whether its task waits until the transport has taken it."""

    @property
    def lane(self) -> int:
        return self.channel

    @property
    def waits_for_answer(self) -> bool:
        return self.flush

    def payload(self, protocol: Protocol) -> bytes:
        return self.packed

    def size_at_most(self, protocol: Protocol) -> int:
        return len(self.packed)

    def is_taken(self, protocol: Protocol) -> bool:
        return protocol.takes_events(self.channel)

    def fits(self, protocol: Protocol, size: int) -> bool:
        return protocol.may_send_event(self.channel, size)

    def queued(self, protocol: Protocol, size: int) -> None:
        protocol.event_queued(self.channel, size)

    def withdrawn(self, protocol: Protocol) -> None:
        protocol.event_withdrawn(self.channel, len(self.packed))

    def busy(self, text: str) -> Exception:
        return PeerBusyError(text)
