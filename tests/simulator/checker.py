"""What must hold, judged only by the calls, the hooks and the wire that can be seen.

It knows nothing of how the package keeps its state. V numbers name the invariants.
"""

import math
from collections import Counter
from typing import Any

import attrs

from tests.simulator.reasons import AT_THE_END, EXPLAINS
from trio_s2s import (
    ConnectionFailedError,
    DisconnectReason,
    OperationError,
    Outcome,
    PeerBusyError,
    PeerClosedError,
    PeerDisconnectedError,
    PeerStatistics,
    ReturnCode,
)

NEVER_RAN = (Outcome.NEVER_SENT, Outcome.REFUSED)
NOT_RUN = (ReturnCode.SERVER_BUSY, ReturnCode.SHUTTING_DOWN)


class Violation(AssertionError):
    """An invariant does not hold."""


@attrs.define(eq=False)
class Call:
    """One request, from the view of its caller and of its handler."""

    name: str
    began: float
    limit: float
    life: "Life"
    fails: bool = False
    ran: int = 0
    end: str = ""
    never_ran: bool = False
    parent: "Call | None" = None
    """The request whose handler made this one."""
    was_sent: bool = False
    left: float = math.inf
    """Seconds that it had left, as the other side was told."""
    due: float = math.inf
    """When its handler must have ended, at the latest."""

    @property
    def gives_up(self) -> float:
        """When its caller gives up, or whoever waits for that one, at the earliest."""
        above = math.inf if self.parent is None else self.parent.gives_up
        return min(self.limit, above)


@attrs.define(eq=False)
class Life:
    """What one peer has told."""

    name: str
    made: float
    state: str = "new"
    ended: float = math.inf
    """When `on_disconnected` began."""
    open: int = 0
    """Requests of this side that have not ended."""
    running: int = 0
    """Handlers that run now."""
    reasons: set[DisconnectReason] = attrs.field(factory=set)
    last_event: dict[int, int] = attrs.field(factory=dict)
    last_news: int = 0
    vague: int = 0
    """Requests of which nobody knows what became, and that the wire has not seen."""


class Checker:
    """Takes note of everything, and raises as soon as something can't be."""

    def __init__(self) -> None:
        self.violation: Violation | None = None
        self.calls: dict[str, Call] = {}
        self.opened = 0
        self.lives: list[Life] = []
        self.counts: Counter[str] = Counter()
        self.explained = set(AT_THE_END)
        """Reasons that the faults of this world explain, so far."""
        self.slots = 0
        """How many requests each side takes."""
        self.buffer = 0
        """How many bytes may wait to leave one side."""
        self.is_corrupted = False
        """Whether wires carry wrong bytes, which may ask for anything."""
        self.is_timely = True
        """Whether all clocks have always run."""
        self.pauses: list[tuple[float, float]] = []
        """When servers stood still: until when, and for how long."""
        self.first_hook = 0.0
        """Seconds from the begin of an attempt to `on_connected`, at most."""

    def check(self, number: str, *, holds: bool, text: str) -> None:
        """Raise unless it holds; the first that does not is kept, whoever is told."""
        if not holds:
            violation = Violation(f"{number}: {text}")
            self.violation = self.violation or violation
            raise violation

    def check_plainly(self, number: str, holds: bool, text: str) -> None:
        """Do the same for those who know no names; wrong bytes may say anything."""
        self.check(number, holds=holds or self.is_corrupted, text=text)

    def happens(self, verb: str) -> None:
        """A fault comes, and explains what it may lead to."""
        self.explained |= EXPLAINS[verb]
        self.is_corrupted |= verb == "corrupt"

    def stands_still(self, until: float, seconds: float) -> None:
        """A server is paused: it does not see that a time is over."""
        self.is_timely = False
        self.pauses.append((until, seconds))

    # -- lives --

    def life(self, name: str, now: float) -> Life:
        """Take note of a peer that was made."""
        self.lives.append(Life(name, now))
        return self.lives[-1]

    def hook(self, life: Life, old: str, new: str, number: str) -> None:
        """Take note of a hook; it may only follow some others."""
        text = f"{life.name} is {new} after {life.state}"
        self.check(number, holds=life.state in old.split(), text=text)
        life.state = new

    def connecting(self, life: Life, now: float) -> None:
        """`on_connected` begins."""
        self.hook(life, "new", "connecting", "V1")
        paused = sum(length for end, length in self.pauses if end >= life.made)
        late = now - life.made - paused - self.first_hook
        text = f"on_connected of {life.name} comes {late:g} s too late"
        self.check("P17", holds=late <= 1e-6, text=text)
        self.counts["connects"] += 1

    def connected(self, life: Life) -> None:
        """`on_connected` has ended in peace."""
        self.hook(life, "connecting", "connected", "V6")

    def failed(self, life: Life, error: ConnectionFailedError) -> None:
        """`on_failed` runs."""
        self.hook(life, "new", "failed", "V1")
        self.counts["failures"] += 1

    def disconnected(
        self, life: Life, reason: DisconnectReason, now: float, requests: int
    ) -> None:
        """`on_disconnected` begins, and this side has so many requests open."""
        text = f"{requests} requests of {life.name} wait in on_disconnected"
        self.check("V16", holds=requests == 0, text=text)
        life.ended = now
        self.hook(life, "connecting connected", "disconnected", "V2")
        text = f"{life.running} handlers of {life.name} run in on_disconnected"
        self.check("V5", holds=life.running == 0, text=text)
        self.told(life, reason)
        self.counts[f"ended: {reason.name}"] += 1

    def told(self, life: Life, reason: DisconnectReason) -> None:
        """Somebody was told why it ended; all are told the same, and it is no bug."""
        life.reasons.add(reason)
        text = f"{life.name} ended by {', '.join(one.name for one in life.reasons)}"
        self.check("V7", holds=len(life.reasons) == 1, text=text)
        text += ", which no fault explains"
        self.check("V7", holds=reason in self.explained, text=text)

    # -- handlers --

    def handler_begins(self, life: Life, counts: PeerStatistics) -> None:
        """Any handler begins to run; this is what its peer counts."""
        requests, waiting = counts.requests_running, counts.bytes_waiting
        text = f"{requests} requests run in {life.name}, more than {self.slots}"
        self.check("V27", holds=requests <= self.slots, text=text)
        text = f"{waiting} bytes wait to leave {life.name}, more than {self.buffer}"
        self.check("V28", holds=waiting <= self.buffer, text=text)
        text = f"a handler of {life.name} runs while it is {life.state}"
        self.check("V4", holds=life.state == "connected", text=text)
        life.running += 1

    def handler_ends(self, life: Life) -> None:
        """Any handler has ended."""
        life.running -= 1
        text = f"a handler of {life.name} ends when it is {life.state}"
        self.check("V3", holds=life.state == "connected", text=text)

    def ran(self, name: str, now: float) -> Call | None:
        """The handler of a request begins to run."""
        call = self.calls.get(name)
        if call is None:
            self.check("V11", holds=self.is_corrupted, text=f"nobody has asked {name}")
            return None
        if self.is_corrupted:  # Another name may have become this one.
            call.ran = 1
            return call
        call.ran += 1
        call.due = now + call.left
        self.check("V12", holds=call.ran == 1, text=f"{name} runs again")
        text = f"{name} runs, whose caller was told that it never would ({call.end})"
        self.check("V13", holds=not call.never_ran, text=text)
        return call

    def has_run(self, call: Call | None, now: float) -> None:
        """The handler of a request has ended: not later than its caller's time."""
        if call is not None and self.is_timely and not self.is_corrupted:
            late = now - call.due
            text = f"the handler of {call.name} ran {late:g} s too long"
            self.check("P9", holds=late <= 1e-6, text=text)

    # -- calls --

    def new_name(self) -> str:
        """Name the next request."""
        self.opened += 1
        return f"r{self.opened}"

    def asked(
        self,
        name: str,
        life: Life,
        now: float,
        limit: float,
        *,
        fails: bool = False,
        parent: Call | None = None,
    ) -> Call:
        """A request is made, whose caller waits so many seconds."""
        call = Call(name, now, now + limit, life, fails, parent=parent)
        self.calls[name] = call
        life.open += 1
        self.counts["requests"] += 1
        return call

    def sent(self, name: Any, left: int | None, now: float) -> None:
        """A request leaves, and tells how many milliseconds its caller has left."""
        call = self.calls.get(name)
        if call is None:
            self.check("V11", holds=False, text=f"nobody has asked {name}")
            return
        call.was_sent = True
        text = f"{call.name}, which ends at {call.gives_up:g} s, has {left} ms left"
        if left is None:
            self.check("P9", holds=call.gives_up == math.inf, text=text)
            return
        call.left = left / 1000
        # It was told when its slot was granted, which was between these two moments.
        least, most = call.gives_up - now, call.limit - call.began
        if call.parent is not None:
            most = min(most, call.parent.due - call.began)
        holds = least - 1e-6 <= call.left <= most + 0.001 + 1e-6 or left == 1
        self.check("P9", holds=holds, text=f"{text}, not {least:g} to {most:g} s")

    def answered(self, call: Call, answer: Any, now: float) -> None:
        """A request was answered."""
        self._ended(call, "answered", now)
        if not self.is_corrupted:
            text = f"{call.name} was answered with {answer!r}"
            self.check("V11", holds=answer == call.name, text=text)
            self.check("V12", holds=call.ran == 1, text=f"{text}, ran {call.ran} times")

    def cancelled(self, call: Call, now: float) -> None:
        """The caller gave up."""
        self._ended(call, "cancelled", now)
        waited = now - call.life.ended
        text = f"{call.name} was not told for {waited:g} s that its peer has ended"
        self.check("V14", holds=waited < 1, text=text)

    def lost(self, call: Call, now: float) -> None:
        """Nobody can say what became of the request."""
        self._ended(call, "lost", now)

    def refused(self, call: Call, error: Exception, now: float) -> None:
        """A request came to nothing."""
        match error:
            case PeerDisconnectedError(outcome=outcome):
                never = outcome in NEVER_RAN
                self._ended(call, outcome.name, now, never=never)
                self.told(call.life, error.reason)
                self._known(call, outcome)
            case PeerClosedError():
                self._ended(call, "closed", now, never=True)
            case PeerBusyError():
                self._ended(call, "busy here", now, never=True)
            case OperationError(return_code=code):
                never = code in NOT_RUN and call.ran == 0
                self._ended(call, f"code {code}", now, never=never)
                text = f"{call.name} failed with {code}"
                wanted = call.fails or code < -1 or self.is_corrupted
                self.check("V10", holds=wanted, text=text)
            case _ if self.is_corrupted:
                self._ended(call, "senseless", now)
            case _:
                self.check("V10", holds=False, text=f"{call.name}: {error!r}")

    def _known(self, call: Call, outcome: Outcome) -> None:
        """An outcome is only unknown if some of the request may have left."""
        if outcome is Outcome.UNKNOWN and not call.was_sent and not self.is_corrupted:
            # It was in the frame that was being sent, of which there is one.
            call.life.vague += 1
            text = f"{call.name} has not left, and its caller is told {outcome.name}"
            self.check("P8", holds=call.life.vague <= self.slots, text=text)
        if outcome is Outcome.NEVER_SENT and not self.is_corrupted:
            text = f"{call.name} has left, and its caller is told {outcome.name}"
            self.check("P8", holds=not call.was_sent, text=text)

    def _ended(self, call: Call, how: str, now: float, *, never: bool = False) -> None:
        self.check("V10", holds=not call.end, text=f"{call.name} ended twice")
        call.end, call.never_ran = how, never
        call.life.open -= 1
        self.counts[f"calls: {how}"] += 1
        if never and not self.is_corrupted:
            text = f"{call.name} has run, and its caller is told {how}"
            self.check("V13", holds=call.ran == 0, text=text)
        late = now - call.limit
        self.check("V14", holds=late <= 1e-6, text=f"{call.name} ended {late:g} s late")

    # -- events --

    def event(self, life: Life, channel: int, number: int) -> None:
        """An event arrived: each channel has them in order, without a gap."""
        expected = life.last_event.get(channel, 0) + 1
        text = f"{life.name} got event {number} of channel {channel}, not {expected}"
        which = "V19" if number < expected else "V18"
        self.check(which, holds=number == expected or self.is_corrupted, text=text)
        life.last_event[channel] = number
        self.counts["events"] += 1

    def news(self, life: Life, number: int) -> None:
        """A broadcast arrived: in order, but for those that were missed."""
        text = f"{life.name} got news {number} after {life.last_news}"
        is_next = number > life.last_news or self.is_corrupted
        self.check("V19", holds=is_next, text=text)
        life.last_news = number
        self.counts["events"] += 1

    # -- the end --

    def healed(self) -> None:
        """All is well for long: nobody waits any more."""
        waiting = [call.name for call in self.calls.values() if not call.end]
        self.check("V34", holds=not waiting, text=f"still open: {waiting[:5]}")

    def over(self) -> None:
        """All servers have stopped."""
        states = {life.name: life.state for life in self.lives}
        over = ("new", "failed", "disconnected")
        left = [f"{name} is {at}" for name, at in states.items() if at not in over]
        self.check("V2", holds=not left, text=f"no on_disconnected: {left[:5]}")
