"""The rules of one connection with no I/O, no clock, no Trio.

Theory of operation. After WELCOME each direction is in one of three phases, OPEN,
GOODBYE and LAST, and moves through them in that order by sending a GOODBYE. The table
`MAY_SEND` says which kinds may travel in which phase; it is asked for what is received,
and what this side sends is built so that it holds. All else is bookkeeping that both
sides do alike: request ids rise; a request holds a slot and its weight until its
RESPONSE; an event holds its weight until CREDIT gives it back. The sender asks
`may_request` and `may_send_event` and waits where they say no; the receiver counts the
same windows, and an overrun is the other side's error.

Nothing is ever a surprise to a caller: a message that breaks a rule raises
`RemoteProtocolError`, one that needs no action returns False, all others True.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import ClassVar, Final

from trio_s2s.buckets import Bucket
from trio_s2s.codes import Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.forms import CHANNELS, MAX_TEXT, Message, clip
from trio_s2s.windows import Limits, Window, weigh

__all__ = ["Phase", "Protocol"]

MOST_OUTSTANDING: Final = 65_536
"""Requests that may wait for an answer, however many the other side would take."""


class Phase(Enum):
    """How far one direction has come."""

    OPEN = auto()
    GOODBYE = auto()
    LAST = auto()


_KINDS = frozenset(Kind)
_ALWAYS = frozenset({Kind.RESPONSE, Kind.CANCEL, Kind.CREDIT, Kind.PING, Kind.PONG})
MAY_SEND: dict[Phase, frozenset[Kind]] = {
    Phase.OPEN: _ALWAYS | {Kind.REQUEST, Kind.EVENT, Kind.GOODBYE, Kind.CONTRACTS},
    Phase.GOODBYE: _ALWAYS | {Kind.GOODBYE},
    Phase.LAST: frozenset(),
}
"""The kinds that a side may send; the five of the handshake are never among them."""

_Rule = Callable[["Protocol", Message, int], bool]


class Protocol:
    """What one side knows of one connection that is up."""

    def __init__(self, ours: Limits, theirs: Limits) -> None:
        self.max_frame: int = min(ours.max_frame, theirs.max_frame)
        """The largest frame to send."""
        self.sent: Phase = Phase.OPEN
        self.received: Phase = Phase.OPEN
        self.running: dict[int, int] = {}
        """The other side's requests that are not answered yet, and their weights."""
        self.outstanding: dict[int, int] = {}
        """Our requests that are not answered yet, and their weights."""
        self.late_responses: int = 0
        """Answers to requests whose callers had gone."""
        self.refused: int = 0
        """Requests of the other side that came after our goodbye, and did not run."""
        self._last_id = 0
        self._their_last_id = 0
        self._abandoned: set[int] = set()
        self.request_slots: int = min(theirs.request_slots, MOST_OUTSTANDING)
        """Our requests that may be under way at once."""
        self._requests_out = Window(theirs.request_weight, self.request_slots)
        self._requests_in = Window(ours.request_weight, ours.request_slots)
        self._events_out = [Window(theirs.event_weight) for _ in range(CHANNELS)]
        self._events_in = [Window(ours.event_weight) for _ in range(CHANNELS)]
        self._owed: dict[int, int] = {}
        # Who obeys sends one PING an interval, and each of its contracts once. CANCELs
        # need no bucket: what is cancelled keeps its slot until it was answered.
        self._glitches = Bucket(
            "messages that make no sense", burst=10_000, refill=1_000
        )
        self._costly = {
            Kind.PING: Bucket("PINGs", burst=1_000, refill=100),
            Kind.CONTRACTS: Bucket("CONTRACTS", burst=1_000, refill=100),
        }

    @property
    def is_idle(self) -> bool:
        """Whether every request of both sides has been answered."""
        return not self.running and not self.outstanding

    @property
    def is_done(self) -> bool:
        """Whether the other side has said goodbye, and nothing is to be answered."""
        return self.received is not Phase.OPEN and self.is_idle

    @property
    def takes_requests(self) -> bool:
        """Whether the other side takes requests at all."""
        return not self._requests_out.shut

    def takes_events(self, channel: int) -> bool:
        """Whether the other side takes events at all."""
        return not self._events_out[channel].shut

    @property
    def glitches(self) -> int:
        """Messages that made no sense but did no harm."""
        return self._glitches.taken

    # -- sending --

    @property
    def next_id(self) -> int:
        """The id that the next request gets."""
        return self._last_id + 1

    def may_request(self, size: int) -> bool:
        """Whether the other side has a slot, and room for a request of this size."""
        return self._requests_out.fits(weigh(size))

    def request_queued(self, size: int) -> int:
        """Account for a request that leaves next; give its id."""
        self._last_id += 1
        self.outstanding[self._last_id] = weigh(size)
        self._requests_out.add(weigh(size))
        return self._last_id

    def request_withdrawn(self, request_id: int) -> None:
        """Account for a request that never left; its id stays a gap."""
        self._requests_out.remove(self.outstanding.pop(request_id))

    def request_abandoned(self, request_id: int) -> None:
        """Note that nobody waits for this answer; the slot is taken until it comes."""
        self._abandoned.add(request_id)

    def may_send_event(self, channel: int, size: int) -> bool:
        """Whether the other side has room for an event of this size."""
        return self._events_out[channel].fits(weigh(size))

    def event_queued(self, channel: int, size: int) -> None:
        """Account for an event that leaves next."""
        self._events_out[channel].add(weigh(size))

    def event_withdrawn(self, channel: int, size: int) -> None:
        """Account for an event that never left."""
        self._events_out[channel].remove(weigh(size))

    def response_queued(self, request_id: int) -> int:
        """Account for an answer that waits to leave; give its request's weight."""
        return self.running.pop(request_id)

    def response_leaves(self, weight: int) -> None:
        """Account for an answer that leaves: only now its slot is free."""
        self._requests_in.remove(weight)

    def event_handled(self, channel: int, size: int) -> None:
        """Account for an event that is done with; `take_credits` gives it back."""
        self._owed[channel] = self._owed.get(channel, 0) + weigh(size)

    def take_credits(self) -> list[Message]:
        """Give the CREDITs to send now: at least half is handled, or all there was."""
        if self.sent is Phase.LAST:
            return []
        ready: list[Message] = []
        for channel, owed in list(self._owed.items()):
            if owed * 2 >= self._events_in[channel].weight:
                ready.append([Kind.CREDIT, channel, owed])
                self._events_in[channel].remove(owed)
                del self._owed[channel]
        return ready

    def goodbye(self, code: int, text: str, *, last: bool) -> Message:
        """Make the GOODBYE that moves our direction on."""
        self.sent = Phase.LAST if last else Phase.GOODBYE
        # It must fit into a frame, or nothing would ever leave again.
        text = clip(text, min(MAX_TEXT, self.max_frame - 64))
        return [Kind.GOODBYE, code, text, self._their_last_id, last]

    def abandon(self) -> None:
        """Say and hear nothing more, without a goodbye."""
        self.sent = Phase.LAST

    def forget(self) -> None:
        """Wait for no answer any more, and owe none."""
        for table in self.running, self.outstanding, self._abandoned:
            table.clear()

    def refill(self) -> None:
        """Forgive some floods; called once an interval, since there is no clock."""
        for bucket in self._glitches, *self._costly.values():
            bucket.refill()

    # -- receiving --

    def receive(self, message: Message, size: int) -> bool:
        """Check and account for a message; whether there is something to do about it.

        Raises RemoteProtocolError if the other side may not send it.
        """
        kind = message[0]
        if self.received is Phase.LAST or (
            self.sent is Phase.LAST and kind != Kind.GOODBYE
        ):
            return False
        if kind not in MAY_SEND[self.received]:
            if kind in _KINDS:
                raise RemoteProtocolError(
                    f"{Kind(kind).name} received in phase {self.received.name}"
                )
            return self.glitch()
        if kind in self._costly:
            self._costly[kind].take()
        rule = self._RULES.get(kind)
        return rule is None or rule(self, message, size)

    def _receive_request(self, message: Message, size: int) -> bool:
        request_id = message[1]
        if request_id <= self._their_last_id:
            raise RemoteProtocolError(
                f"request id {request_id} is not above the last, {self._their_last_id}"
            )
        if self.sent is not Phase.OPEN:
            # Our GOODBYE crossed it, and its sender ends it as refused.
            self.refused += 1
            return False
        if not self._requests_in.fits(weigh(size)):
            raise RemoteProtocolError(
                f"request {request_id} overruns the window of {self._requests_in.slots}"
                f" slots and {self._requests_in.max_weight:,} bytes"
            )
        self._their_last_id = request_id
        self.running[request_id] = weigh(size)
        self._requests_in.add(weigh(size))
        return True

    def _receive_response(self, message: Message, _size: int) -> bool:
        weight = self.outstanding.pop(message[1], None)
        if weight is None:
            return self.glitch()
        self._requests_out.remove(weight)
        if message[1] in self._abandoned:
            self._abandoned.remove(message[1])
            self.late_responses += 1
        return True

    def _receive_event(self, message: Message, size: int) -> bool:
        channel = message[3] if len(message) > 3 else 0
        window = self._events_in[channel]
        if not window.fits(weigh(size)):
            raise RemoteProtocolError(
                f"an event overruns the window of {window.max_weight:,} bytes of"
                f" channel {channel}"
            )
        window.add(weigh(size))
        return True

    def _receive_cancel(self, message: Message, _size: int) -> bool:
        # The answer may have crossed the CANCEL, so an unknown id is no glitch.
        return message[1] in self.running

    def _receive_credit(self, message: Message, _size: int) -> bool:
        _, channel, weight = message[:3]
        window = self._events_out[channel]
        if weight > window.weight:
            raise RemoteProtocolError(
                f"CREDIT of {weight:,} for channel {channel}, of which only"
                f" {window.weight:,} is under way"
            )
        window.remove(weight)
        return True

    def _receive_goodbye(self, message: Message, _size: int) -> bool:
        last = message[4]
        if not last and self.received is Phase.GOODBYE:
            return self.glitch()
        self.received = Phase.LAST if last else Phase.GOODBYE
        for request_id in {one for one in self._abandoned if one > message[3]}:
            # It was refused: no RESPONSE follows, and nobody waits to end it.
            self._abandoned.remove(request_id)
            self.request_withdrawn(request_id)
        return True

    _RULES: ClassVar[dict[int, _Rule]] = {
        Kind.REQUEST: _receive_request,
        Kind.RESPONSE: _receive_response,
        Kind.EVENT: _receive_event,
        Kind.CANCEL: _receive_cancel,
        Kind.CREDIT: _receive_credit,
        Kind.GOODBYE: _receive_goodbye,
    }

    def glitch(self) -> bool:
        """Count a message that makes no sense; too many are a flood."""
        self._glitches.take()
        return False
