"""Twin of `protocol.py`; ids are rows of the catalogue of faults."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests import strategies
from tests.helpers import EMPTY, LIMITS, ProtocolPair
from trio_s2s.codec import pack, unpack_messages
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.protocol import MAY_SEND, Phase, Protocol
from trio_s2s.windows import Limits, Window

EXAMPLES: dict[Kind, list[Any]] = {
    Kind.HELLO: [0, "trio-s2s", [1, 1], {}],
    Kind.CHALLENGE: [1, {}],
    Kind.PROOF: [2, {}],
    Kind.WELCOME: [3, 1, {}],
    Kind.REJECT: [4, -2, "", None],
    Kind.REQUEST: [5, 1, 1, {}],
    Kind.RESPONSE: [6, 1, 0, {}, None],
    Kind.EVENT: [7, 1, {}],
    Kind.CANCEL: [8, 1, 1],
    Kind.CREDIT: [9, 0, 66],
    Kind.PING: [10, 1],
    Kind.PONG: [11, 1],
    Kind.GOODBYE: [12, 0, "", 0, True],
    Kind.CONTRACTS: [13, []],
}

LONGER: list[list[Any]] = [
    [5, 300, 7, {0: "Ada", "zone": [1.5, None, b"x"]}, {0: 1500, 1: 3, 2: {"a": 1}}],
    [6, 1, -2, {0: [["name", "str", "int 5"]]}, "wrong"],
    [7, 4, {"price": -1000, 1: {2: [True, False]}}, 3],
    [12, -8, "the server is being stopped", 70_000, False],
    [13, [[0, 7, 0, "Greet"], [1, 4, 1, "Price"]]],
]
"""Messages with more in them than they need."""


def protocol_in(phase: Phase) -> Protocol:
    """Make a protocol that has one request and one event under way."""
    protocol = Protocol(LIMITS, LIMITS)
    protocol.request_queued(4)
    protocol.event_queued(0, 2)
    if phase is not Phase.OPEN:
        last = phase is Phase.LAST
        assert protocol.receive([Kind.GOODBYE, 0, "", 1, last], 9)
    return protocol


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("phase", Phase)
def test_state_and_kind_decide(phase: Phase, kind: Kind) -> None:
    protocol = protocol_in(phase)
    if phase is Phase.LAST:
        assert not protocol.receive(EXAMPLES[kind], 10)  # A33
    elif kind in MAY_SEND[phase]:
        # Only a CANCEL of what is not running is nothing to act upon.
        assert protocol.receive(EXAMPLES[kind], 10) == (kind is not Kind.CANCEL)
    else:
        with pytest.raises(RemoteProtocolError, match=f"{kind.name} received in phase"):
            protocol.receive(EXAMPLES[kind], 10)


@pytest.mark.parametrize("kind", list(Kind)[:5], ids=lambda kind: f"C03-{kind.name}")
def test_handshake_is_over(kind: Kind) -> None:
    with pytest.raises(RemoteProtocolError):
        Protocol(LIMITS, LIMITS).receive(EXAMPLES[kind], 10)


# -- requests --


@pytest.mark.parametrize(
    "second", [pytest.param(5, id="C10"), pytest.param(4, id="C11")]
)
def test_request_ids_must_rise(second: int) -> None:
    protocol = Protocol(LIMITS, LIMITS)
    assert protocol.receive([5, 5, 1, {}], 10)
    with pytest.raises(RemoteProtocolError, match="not above the last, 5"):
        protocol.receive([5, second, 1, {}], 10)
    assert protocol.receive([5, 90, 1, {}], 10)  # gaps are fine


def test_requests_above_the_slots_are_an_overrun() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    for number in range(1, 4):
        assert protocol.receive([5, number, 1, {}], 10)
    with pytest.raises(RemoteProtocolError, match="overruns the window of 3 slots"):
        protocol.receive([5, 4, 1, {}], 10)


def test_slot_is_free_when_the_answer_leaves_not_before() -> None:
    protocol = Protocol(Limits(4096, 1, 1000, 400), LIMITS)
    protocol.receive([5, 1, 1, {}], 10)
    weight = protocol.response_queued(1)
    assert protocol.running == {}
    with pytest.raises(RemoteProtocolError, match="overruns"):
        protocol.receive([5, 2, 1, {}], 10)
    protocol.response_leaves(weight)
    assert protocol.receive([5, 3, 1, {}], 10)


def test_requests_above_the_weight_are_an_overrun_but_one_goes_alone() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    assert protocol.receive([5, 1, 1, {}], 3000)
    with pytest.raises(RemoteProtocolError, match="overruns"):
        protocol.receive([5, 2, 1, {}], 10)


@pytest.mark.parametrize(
    "response_id", [pytest.param(7, id="C05"), pytest.param(1, id="C07")]
)
def test_response_to_nothing_is_a_glitch(response_id: int) -> None:
    protocol = Protocol(LIMITS, LIMITS)
    protocol.receive([5, 1, 1, {}], 10)  # an id of the other direction
    assert not protocol.receive([6, response_id, 0, {}, None], 10)
    assert protocol.glitches == 1


def test_c06_second_response_is_a_glitch() -> None:
    protocol = protocol_in(Phase.OPEN)
    assert protocol.receive([6, 1, 0, {}, None], 10)
    assert not protocol.receive([6, 1, 0, {}, None], 10)
    assert protocol.glitches == 1


def test_c08_late_response_is_counted_and_frees_its_slot() -> None:
    protocol = Protocol(LIMITS, Limits(4096, 1, 1000, 400))
    request_id = protocol.request_queued(10)
    protocol.request_abandoned(request_id)
    assert not protocol.may_request(10)
    protocol.receive([6, request_id, -5, {}, None], 10)
    assert protocol.late_responses == 1
    assert protocol.may_request(10)
    assert protocol.is_idle


def test_withdrawn_request_leaves_a_gap() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    protocol.request_withdrawn(protocol.request_queued(10))
    assert protocol.is_idle
    assert protocol.next_id == 2


@pytest.mark.parametrize(("known", "acts"), [(True, True), (False, False)])
def test_c13_cancel_matters_only_to_what_is_running(known: bool, acts: bool) -> None:
    protocol = Protocol(LIMITS, LIMITS)
    if known:
        protocol.receive([5, 1, 1, {}], 10)
    assert protocol.receive([8, 1, 1], 5) is acts
    assert protocol.glitches == 0


def test_c20_request_that_crosses_our_goodbye_is_not_taken() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    protocol.receive([5, 3, 1, {}], 10)
    assert protocol.goodbye(0, "bye", last=False) == [12, 0, "bye", 3, False]
    assert not protocol.receive([5, 4, 1, {}], 10)
    assert list(protocol.running) == [3]


# -- events --


def test_events_above_the_weight_are_an_overrun() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    assert protocol.receive([7, 1, {}, 2], 200)
    assert protocol.receive([7, 1, {}, 3], 200)
    with pytest.raises(RemoteProtocolError, match="channel 2"):
        protocol.receive([7, 1, {}, 2], 200)


def test_credit_is_due_when_half_is_handled() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    for _ in range(3):
        protocol.receive([7, 1, {}], 36)  # 100 each
    protocol.event_handled(0, 36)
    assert protocol.take_credits() == []
    protocol.event_handled(0, 36)
    assert protocol.take_credits() == [[Kind.CREDIT, 0, 200]]
    assert protocol.take_credits() == []


def test_credit_is_not_given_after_the_last_goodbye() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    protocol.receive([7, 1, {}], 36)
    protocol.event_handled(0, 36)
    protocol.goodbye(0, "", last=True)
    assert protocol.take_credits() == []


def test_credit_of_more_than_is_under_way_is_refused() -> None:
    protocol = protocol_in(Phase.OPEN)
    with pytest.raises(RemoteProtocolError, match="only 66 is under way"):
        protocol.receive([9, 0, 67], 5)
    with pytest.raises(RemoteProtocolError, match="channel 1"):
        protocol.receive([9, 1, 1], 5)


def test_withdrawn_event_gives_its_weight_back() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    protocol.event_queued(4, 300)
    assert not protocol.may_send_event(4, 300)
    protocol.event_withdrawn(4, 300)
    assert protocol.may_send_event(4, 300)


def test_windows_of_0_take_nothing() -> None:
    protocol = Protocol(LIMITS, Limits(4096, 0, 1000, 0))
    assert not protocol.takes_requests
    assert not protocol.takes_events(0)
    assert not protocol.may_request(1)


# -- goodbyes and glitches --


def test_c22_second_first_goodbye_is_a_glitch() -> None:
    protocol = protocol_in(Phase.GOODBYE)
    assert not protocol.receive([12, 0, "", 0, False], 9)
    assert protocol.glitches == 1
    assert protocol.receive([12, 0, "", 0, True], 9)
    assert protocol.received is Phase.LAST


def test_after_our_last_only_a_goodbye_is_heard() -> None:
    protocol = protocol_in(Phase.OPEN)
    protocol.goodbye(-2, "", last=True)
    for kind, message in EXAMPLES.items():
        assert protocol.receive(message, 10) == (kind is Kind.GOODBYE)


def test_abandoned_protocol_says_and_hears_nothing() -> None:
    protocol = protocol_in(Phase.OPEN)
    protocol.abandon()
    assert protocol.sent is Phase.LAST
    assert not protocol.receive([5, 1, 1, {}], 10)


def test_done_is_when_they_said_goodbye_and_nothing_is_open() -> None:
    protocol = protocol_in(Phase.GOODBYE)
    assert not protocol.is_done
    protocol.receive([6, 1, 0, {}, None], 10)
    assert protocol.is_done


def test_a28_unknown_kinds_are_counted_and_too_many_are_a_flood() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    for _ in range(10_000):
        assert not protocol.receive([99], 2)
    with pytest.raises(RemoteProtocolError, match="make no sense") as caught:
        protocol.receive([99], 2)
    assert caught.value.code is CloseCode.FLOOD


def test_glitches_are_forgiven_with_time() -> None:
    protocol = Protocol(LIMITS, LIMITS)
    for _ in range(30):
        for _ in range(900):
            protocol.receive([99], 2)
        protocol.refill()
    assert protocol.glitches == 27_000


def test_max_frame_is_the_smaller_of_both() -> None:
    small = Limits(1024, 1, 1, 1)
    assert (
        Protocol(LIMITS, small).max_frame == Protocol(small, LIMITS).max_frame == 1024
    )


@pytest.mark.parametrize("last", [False, True])
def test_c20_cancelled_request_that_was_refused_is_not_waited_for(last: bool) -> None:
    protocol = Protocol(LIMITS, LIMITS)
    taken, refused = protocol.request_queued(10), protocol.request_queued(10)
    protocol.request_abandoned(taken)
    protocol.request_abandoned(refused)
    protocol.receive([12, 0, "", taken, last], 9)
    assert list(protocol.outstanding) == [taken]
    assert not protocol.is_done


# -- properties --


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.GOODBYE])
@pytest.mark.parametrize("message", [*EXAMPLES.values(), *LONGER], ids=str)
def test_a34_every_flipped_bit_is_a_decision_or_one_error(
    phase: Phase, message: list[Any]
) -> None:
    frame = encode_frame([pack(message)])
    for place in range(len(frame) * 8):
        flipped = bytearray(frame)
        flipped[place // 8] ^= 1 << place % 8
        receive_or_refuse(protocol_in(phase), [bytes(flipped)])


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.booleans())
def test_random_bytes_are_a_decision_or_one_error(
    pieces: list[bytes], framed: bool
) -> None:
    stream = [encode_frame([piece]) for piece in pieces] if framed else pieces
    receive_or_refuse(Protocol(LIMITS, LIMITS), stream)


def receive_or_refuse(protocol: Protocol, stream: list[bytes]) -> None:
    decoder = FrameDecoder(4096)
    try:
        for data in stream:
            decoder.receive_data(data)
            while (body := decoder.next_frame()) is not None:
                for message, size in unpack_messages(body, 4096):
                    assert protocol.receive(message, size) in (True, False)
    except RemoteProtocolError:
        return


@given(st.lists(strategies.messages, max_size=20), st.data())
def test_obedient_or_not_there_are_only_two_outcomes(
    messages: list[list[Any]], data: st.DataObject
) -> None:
    """Whatever comes is a decision, or a RemoteProtocolError, and nothing else."""
    stream = b"".join(encode_frame([pack(message)]) for message in messages)
    receive_or_refuse(Protocol(LIMITS, LIMITS), data.draw(strategies.chunks(stream)))


SIDES = st.integers(0, 1)


def weights(windows: list[Window]) -> list[tuple[int, int]]:
    """Give what is under way; CREDIT tells the sender of events no count."""
    return [(window.weight, window.max_weight) for window in windows]


class TwoSides(RuleBasedStateMachine):
    """Two sides that obey: neither ever has something to complain about."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = ProtocolPair()

    def side(self, number: int) -> Protocol:
        return self.pair.sides[number].protocol

    @rule(sender=st.integers(0, 1), size=st.integers(0, 300))
    def request(self, sender: int, size: int) -> None:
        self.pair.request(sender, pack({0: bytes(size)}))

    @rule(sender=st.integers(0, 1), data=st.data())
    def respond(self, sender: int, data: st.DataObject) -> None:
        running = list(self.side(sender).running)
        if running and self.side(sender).sent is not Phase.LAST:
            self.pair.respond(sender, data.draw(st.sampled_from(running)))

    @rule(sender=st.integers(0, 1), data=st.data())
    def cancel(self, sender: int, data: st.DataObject) -> None:
        protocol = self.side(sender)
        open_ids = list(protocol.outstanding)
        if open_ids and protocol.sent is not Phase.LAST:
            request_id = data.draw(st.sampled_from(open_ids))
            protocol.request_abandoned(request_id)
            self.pair.send(sender, pack([Kind.CANCEL, request_id, 1]))

    @rule(
        sender=st.integers(0, 1),
        channel=st.integers(0, 15),
        size=st.integers(0, 500),
    )
    def event(self, sender: int, channel: int, size: int) -> None:
        self.pair.event(sender, channel, pack({0: bytes(size)}))

    @rule(sender=st.integers(0, 1))
    def handle(self, sender: int) -> None:
        if self.pair.sides[sender].events:
            self.pair.handle_event(sender)

    @precondition(
        lambda self: any(s.protocol.sent is not Phase.LAST for s in self.pair.sides)
    )
    @rule(sender=st.integers(0, 1))
    def goodbye(self, sender: int) -> None:
        if self.side(sender).sent is not Phase.LAST:
            self.pair.goodbye(sender, last=self.side(sender).sent is Phase.GOODBYE)

    @invariant()
    def nobody_complains(self) -> None:
        for side in self.pair.sides:
            assert side.protocol.glitches == 0

    @invariant()
    def both_count_the_same_requests(self) -> None:
        for number in (0, 1):
            asked, running = self.side(number), self.side(1 - number)
            if Phase.OPEN is asked.received is running.received:
                assert set(running.running) == set(asked.outstanding)


TwoSides.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestTwoSides = TwoSides.TestCase


class CrossingSides(RuleBasedStateMachine):
    """Two sides that obey while what they send is under way for as long as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = ProtocolPair(delayed=True)

    def side(self, number: int) -> Protocol:
        return self.pair.sides[number].protocol

    @rule(sender=SIDES, size=st.integers(0, 300))
    def request(self, sender: int, size: int) -> None:
        if self.side(sender).received is Phase.OPEN:
            self.pair.request(sender, pack({0: bytes(size)}))

    @rule(sender=SIDES, data=st.data())
    def respond(self, sender: int, data: st.DataObject) -> None:
        running = list(self.side(sender).running)
        if running and self.side(sender).sent is not Phase.LAST:
            self.pair.respond(sender, data.draw(st.sampled_from(running)))

    @rule(sender=SIDES, data=st.data())
    def cancel(self, sender: int, data: st.DataObject) -> None:
        protocol = self.side(sender)
        if protocol.outstanding and protocol.sent is not Phase.LAST:
            request_id = data.draw(st.sampled_from(list(protocol.outstanding)))
            protocol.request_abandoned(request_id)
            self.pair.send(sender, pack([Kind.CANCEL, request_id, 1]))

    @rule(sender=SIDES, channel=st.sampled_from([0, 15]), size=st.integers(0, 500))
    def event(self, sender: int, channel: int, size: int) -> None:
        self.pair.event(sender, channel, pack({0: bytes(size)}))

    @rule(sender=SIDES)
    def handle(self, sender: int) -> None:
        if self.pair.sides[sender].events:
            self.pair.handle_event(sender)

    @rule(sender=SIDES)
    def first_goodbye(self, sender: int) -> None:
        if self.side(sender).sent is Phase.OPEN:
            self.pair.goodbye(sender, last=False)

    @rule(sender=SIDES)
    def last_goodbye(self, sender: int) -> None:
        if self.side(sender).is_done and self.side(sender).sent is Phase.GOODBYE:
            self.pair.goodbye(sender, last=True)

    @rule(sender=SIDES, count=st.integers(1, 5))
    def deliver(self, sender: int, count: int) -> None:
        for _ in range(min(count, len(self.pair.wires[sender]))):
            for message in self.pair.deliver(sender):
                if message[0] == Kind.GOODBYE:
                    self.take_goodbye(1 - sender, highest=message[3])

    def take_goodbye(self, taker: int, highest: int) -> None:
        protocol = self.side(taker)
        for request_id in [one for one in protocol.outstanding if one > highest]:
            protocol.request_withdrawn(request_id)
        self.first_goodbye(taker)

    @invariant()
    def nobody_complains(self) -> None:
        assert [self.side(number).glitches for number in (0, 1)] == [0, 0]

    @invariant()
    def windows_agree_when_nothing_is_under_way(self) -> None:
        if any(self.pair.wires):
            return
        for sender, receiver in ((0, 1), (1, 0)):
            out, into = self.side(sender), self.side(receiver)
            assert out.outstanding == into.running
            assert weights([out._requests_out]) == weights([into._requests_in])
            # Nobody gives credit after the last word.
            if Phase.LAST not in (into.sent, out.sent):
                assert weights(out._events_out) == weights(into._events_in)

    def teardown(self) -> None:
        """Both ends come to rest, whatever was under way."""
        for number in (0, 1):
            self.first_goodbye(number)
        while any(self.pair.wires) or any(self.side(each).running for each in (0, 1)):
            for number in (0, 1):
                self.deliver(number, 99)
                while self.side(number).running:
                    self.pair.respond(number, next(iter(self.side(number).running)))
        assert self.side(0).is_done
        assert self.side(1).is_done


CrossingSides.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestCrossingSides = CrossingSides.TestCase


def test_pair_of_protocols_carries_a_request_and_its_answer() -> None:
    pair = ProtocolPair()
    request_id = pair.request(0, EMPTY)
    pair.respond(1, request_id)
    assert pair.sides[1].taken == [[5, 1, 1, {}]]
    assert pair.sides[0].taken == [[6, 1, 0, {}, None]]
