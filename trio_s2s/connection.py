"""One transport and one protocol: messages in and out, waiting callers, keep-alive.

Theory of operation. Three tasks work on a connection. The transport's *reader* hands on
every complete message without waiting for anybody. Its *writer* sends what waits, all
of it in one frame, and alone, so that no cancelled caller can tear a frame. The
*keep-alive* asks for a sign of life. All three are shielded until `close`.

An end begins with a reason: the first one wins, and no new calls are taken. After
`say_goodbye` both sides answer what they took on, then say their last GOODBYE. `fail`
is for errors and losses: every caller ends at once, and a last GOODBYE says why.
"""

from collections.abc import Callable
from functools import partial

import trio

from trio_s2s.answers import BUSY, Answer
from trio_s2s.calls import Calls
from trio_s2s.codec import pack, pack_response
from trio_s2s.codes import CloseCode, DisconnectReason, Kind, reason_of_goodbye
from trio_s2s.config import PeerConfig
from trio_s2s.ending import Ending
from trio_s2s.errors import MessageTooLargeError
from trio_s2s.forms import Message, clip, printable
from trio_s2s.framing import FrameDecoder
from trio_s2s.heartbeat import Heartbeat
from trio_s2s.inbox import Inbox, Receiver
from trio_s2s.outbox import Outbox
from trio_s2s.protocol import Phase, Protocol
from trio_s2s.runtime import now
from trio_s2s.settling import Settling
from trio_s2s.transport import Transport
from trio_s2s.windows import weigh

__all__ = ["Connection"]

TURN = 32 * 1024
"""Weight of the messages that the reader handles before other tasks get a turn."""


class Connection:
    """A connection that is up, from behind WELCOME until its stream is closed."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        decoder: FrameDecoder,
        protocol: Protocol,
        heartbeat: Heartbeat,
        config: PeerConfig,
    ) -> None:
        self.config = config
        self.protocol = protocol
        self.ending: Ending = Ending()
        self.closed: trio.Event = trio.Event()
        self.is_encrypted: bool = isinstance(stream, trio.SSLStream)
        self.heartbeat = heartbeat
        self.outbox: Outbox = Outbox(config.send_buffer)
        self.transport: Transport = Transport(stream, self, config.send_timeout)
        self.work: Settling = Settling(config.drain_timeout)
        self.events_unsent: int = 0
        """Events that were accepted for sending, until the end cut them off."""
        self.inbox: Inbox = Inbox(decoder, config.max_elements)
        self._receiver: Receiver | None = None
        wake = self.transport.wake_writer
        self.calls: Calls = Calls(
            protocol, self.outbox, wake, self.ending, config.handler_wait
        )
        self._is_over = False
        self.is_lost: bool = False
        self.first_message: Callable[[], None] | None = None
        """Called once, at the first message that is no GOODBYE."""
        self._has_farewell = False

    def start(self, nursery: trio.Nursery, receiver: Receiver) -> None:
        """Start the three tasks; `close` ends them."""
        self._receiver = receiver
        self.transport.start(nursery)
        too_long = DisconnectReason.HEARTBEAT_TIMEOUT
        silent = partial(self.fail, too_long, code=CloseCode.HEARTBEAT)
        self.heartbeat.start(nursery, self._send_ping, self.protocol.refill, silent)

    # -- what the peer's side asks for --

    def respond(self, request_id: int, answer: Answer) -> None:
        """Queue the answer to a request, or raise MessageTooLargeError."""
        if not self.speaks:
            return
        payload = pack_response(
            request_id, answer.return_code, answer.parameters, answer.debug_message
        )
        if len(payload) > self.protocol.max_frame:
            what = f"the answer to request {request_id}"
            raise MessageTooLargeError(what, len(payload), self.protocol.max_frame)
        weight = self.protocol.response_queued(request_id)
        entry = self.outbox.put(payload, is_response=True)
        entry.on_taken = partial(self.protocol.response_leaves, weight)
        self.transport.wake_writer()
        self.moved()

    @property
    def is_full_of_answers(self) -> bool:
        """Whether so many wait to leave that no further handler may run."""
        return self.outbox.response_size > self.config.send_buffer

    def event_handled(self, channel: int, size: int) -> None:
        """Give back the weight of an event."""
        self.protocol.event_handled(channel, size)
        self.transport.wake_writer()
        self.moved()

    def ping(self) -> None:
        """Ask for a sign of life now."""
        self.heartbeat.ask(self._send_ping)

    def moved(self) -> None:
        """Let who waits for the end of all work look again."""
        self.work.moved()

    # -- ending --

    def say_goodbye(self, reason: DisconnectReason, detail: str, code: int) -> None:
        """Begin to drain: no new work, what was accepted is finished first."""
        if self._record(reason, detail, code):
            self._send_goodbye(code, detail, last=False)

    def fail(
        self,
        reason: DisconnectReason,
        detail: str,
        code: int | None = None,
        told: str | None = None,
    ) -> None:
        """End at once: every caller learns why; a code is told to the other side.

        So is the detail, or else what is `told`.
        """
        self._record(reason, detail, code)
        if self._is_over:
            return
        self.is_lost = True
        self.calls.end_all()
        self._drop_unsent()
        if code is None:
            self.protocol.abandon()
        self.finish(code or CloseCode.CLOSED, detail if told is None else told)

    async def drain(
        self, has_work: Callable[[], bool], has_answers: Callable[[], bool]
    ) -> None:
        """Wait until all that was taken on is finished; after a loss, the answers."""

        def is_busy() -> bool:
            if self.is_lost:
                return has_answers()
            is_done = self.protocol.is_done and not self.outbox
            return has_work() or not (is_done or self._is_over)

        await self.work.wait_within_limit(is_busy)

    def finish(self, code: int = CloseCode.CLOSED, detail: str = "") -> None:
        """Say the last GOODBYE, unless it was said; there are no answers any more."""
        if self.speaks:
            self._send_goodbye(code, detail, last=True)
        self.calls.end_all()
        self._is_over = True
        self.moved()

    async def close(self) -> None:
        """Let the last GOODBYEs pass, for at most 1 s, then close the stream."""
        try:
            await self.transport.close(farewell=self._has_farewell)
        finally:
            self._drop_unsent()
            self.heartbeat.stop()
            self.closed.set()

    def _drop_unsent(self) -> None:
        self.events_unsent += self.outbox.count(Kind.EVENT)
        self.outbox.clear()

    def _record(self, reason: DisconnectReason, detail: str, code: int | None) -> bool:
        if not self.ending.record(reason, detail, code):
            return False
        self.calls.shut()
        self.heartbeat.moved.unpark_all()
        self.moved()
        return True

    def _send_goodbye(self, code: int, text: str, *, last: bool) -> None:
        self.outbox.put(pack(self.protocol.goodbye(code, text, last=last)))
        self._has_farewell = last
        self.transport.wake_writer()

    # -- what the transport asks for --

    @property
    def hears(self) -> bool:
        """Whether the other side may say something still."""
        return self.protocol.received is not Phase.LAST

    @property
    def speaks(self) -> bool:
        """Whether this side may say something still."""
        return self.protocol.sent is not Phase.LAST

    def take_data(self, data: bytes | bytearray) -> None:
        """Take what arrived: any byte is a sign of life."""
        self.heartbeat.last_received = now()
        self.inbox.receive_data(data)

    def take_frames(self) -> bool:
        """Hand on the frames that are complete; True if the turn was over first."""
        handled = 0 if self.first_message is None else self._take_first()
        while handled < TURN and (found := self.inbox.next_message()) is not None:
            if self.protocol.receive(*found):
                self._take_message(*found)
            handled += weigh(found[1])
        self.calls.pump()
        self.moved()
        return handled >= TURN

    def take_end(self) -> None:
        """Take note that the stream ended; a `last` GOODBYE would have come first."""
        detail = "the stream ended without a goodbye"
        if progress := self.inbox.progress():
            detail = f"{detail}, after {progress}"
        self.fail(DisconnectReason.CONNECTION_LOST, detail)

    def give_frame(self) -> tuple[bytes, list[Callable[[], None]]]:
        """Give all that may leave now, as one frame."""
        self.calls.pump()
        frame, sent = self.outbox.take_frame(
            self.protocol.max_frame, map(pack, self.protocol.take_credits())
        )
        if frame:
            self.heartbeat.last_sent = now()
            self.calls.pump()
        self.moved()
        return frame, sent

    # -- messages --

    def _take_first(self) -> int:
        """Hand on the first message, and give its weight."""
        found = self.inbox.next_message()
        if found is None:
            return 0
        first, self.first_message = self.first_message, None
        if first is not None and found[0][0] != Kind.GOODBYE:
            first()
        if self.protocol.receive(*found):
            self._take_message(*found)
        return weigh(found[1])

    def _take_message(self, message: Message, size: int) -> None:
        assert self._receiver is not None
        match message[0]:
            case Kind.REQUEST:
                if self.is_full_of_answers:
                    self.respond(message[1], BUSY)
                else:
                    self._receiver.request_received(message)
            case Kind.RESPONSE:
                self.calls.response_received(message)
            case Kind.EVENT:
                self._receiver.event_received(message, size)
            case Kind.CANCEL:
                self._receiver.cancel_received(message[1])
            case Kind.PING:
                self._send_control([Kind.PONG, message[1]])
            case Kind.PONG if not self.heartbeat.answered(message[1]):
                self.protocol.glitch()
            case Kind.GOODBYE:
                self._take_goodbye(*message[1:5])

    def _take_goodbye(self, code: int, text: str, highest: int, last: bool) -> None:
        if self.ending.goodbye_code is None:
            self.ending.goodbye_code = code
        detail = printable(clip(text)) or "the other side closed"
        reason = reason_of_goodbye(code)
        if reason is DisconnectReason.REPORTED_BY_PEER:
            detail = f"the other side says: {detail}"
        self._record(reason, detail, code)
        self.calls.end_unsent(highest)
        if last:
            self.finish()
        elif self.protocol.sent is Phase.OPEN:
            self._send_goodbye(CloseCode.CLOSED, "", last=False)

    def _send_control(self, message: Message) -> None:
        if self.speaks:
            self.outbox.put_control((message[0], 0), pack(message))
            self.transport.wake_writer()

    def _send_ping(self, token: int) -> None:
        self._send_control([Kind.PING, token])
