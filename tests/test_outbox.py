"""Twin of `outbox.py`."""

from trio_s2s.framing import encode_frame
from trio_s2s.outbox import BATCH, Outbox


def test_all_that_waits_leaves_in_one_frame_in_order() -> None:
    outbox = Outbox(100)
    for payload in (b"a", b"b", b"c"):
        outbox.put(payload)
    assert outbox.take_frame(100) == (encode_frame([b"abc"]), [])
    assert outbox.take_frame(100) == (b"", [])
    assert outbox.messages_taken == 3


def test_control_goes_ahead_and_of_each_key_only_the_newest() -> None:
    outbox = Outbox(100)
    outbox.put(b"data")
    outbox.put_control((11, 0), b"p1")
    outbox.put_control((11, 0), b"p2")
    outbox.put_control((8, 1), b"c")
    assert outbox.take_frame(100, [b"first"])[0] == encode_frame([b"firstcp2data"])


def test_frames_are_cut_below_the_limit() -> None:
    outbox = Outbox(1000)
    for _ in range(3):
        outbox.put(bytes(40))
    outbox.put_control((1, 0), bytes(30))
    outbox.put_control((2, 0), bytes(80))
    assert len(outbox.take_frame(100)[0]) == 4 + 30 + 40
    assert len(outbox.take_frame(100)[0]) == 4 + 80
    assert len(outbox.take_frame(100)[0]) == 4 + 80
    assert not outbox


def test_a_frame_stops_growing_at_64_kib() -> None:
    outbox = Outbox(10 * BATCH)
    for _ in range(8):
        outbox.put(bytes(BATCH // 2))
    assert len(outbox.take_frame(10 * BATCH)[0]) == 4 + BATCH


def test_room_is_bounded_but_one_large_message_goes_alone() -> None:
    """Each weighs 64 bytes more than it has: what is tiny must not be free."""
    outbox = Outbox(300)
    assert outbox.has_room(5000)
    outbox.put(bytes(60))
    assert outbox.has_room(112)
    assert not outbox.has_room(113)
    outbox.take_frame(1000)
    assert outbox.size == 0
    assert outbox.has_room(5000)


def test_what_was_taken_back_is_forgotten() -> None:
    """A writer that is blocked left the empty places of all who gave up meanwhile."""
    outbox = Outbox(10**6)
    kept = [outbox.put(b"kept") for _ in range(2)]
    for _ in range(10_000):
        outbox.take_back(outbox.put(b"withdrawn"))
    assert len(outbox._entries) < 100
    assert outbox.take_back(kept[0])
    assert outbox.take_frame(100)[0] == encode_frame([b"kept"])
    assert not outbox
    # Those that the writer has passed do not count any more.
    for _ in range(500):
        outbox.take_back(outbox.put(b"withdrawn"))
        outbox.put(b"x")
        outbox.take_frame(100)
    assert outbox._taken_back == 0


def test_entry_can_be_taken_back_until_it_was_taken() -> None:
    outbox = Outbox(100)
    kept, withdrawn = outbox.put(b"kept"), outbox.put(b"withdrawn", is_response=True)
    assert outbox.take_back(withdrawn)
    assert (outbox.size, outbox.response_size) == (4, 0)
    assert not outbox.take_back(withdrawn)
    assert outbox.take_frame(100)[0] == encode_frame([b"kept"])
    assert not outbox.take_back(kept)


def test_only_withdrawn_entries_make_no_frame() -> None:
    outbox = Outbox(100)
    outbox.take_back(outbox.put(b"x"))
    assert outbox
    assert outbox.take_frame(100) == (b"", [])
    assert not outbox


def test_responses_are_counted() -> None:
    outbox = Outbox(100)
    outbox.put(b"abc", is_response=True)
    outbox.put(b"de")
    assert (outbox.size, outbox.response_size) == (5, 3)
    outbox.take_frame(100)
    assert (outbox.size, outbox.response_size) == (0, 0)


def test_who_waits_for_an_entry_is_told_with_its_frame() -> None:
    outbox = Outbox(100)
    told: list[str] = []
    outbox.put(b"a").on_sent = lambda: told.append("a")
    _, sent = outbox.take_frame(100)
    assert told == []
    for tell in sent:
        tell()
    assert told == ["a"]


def test_who_asked_is_told_when_a_message_is_taken() -> None:
    outbox = Outbox(100)
    taken: list[str] = []
    outbox.put(b"a" * 60).on_taken = lambda: taken.append("a")
    outbox.put(b"b" * 60).on_taken = lambda: taken.append("b")
    outbox.take_frame(100)
    assert taken == ["a"]
    outbox.take_frame(100)
    assert taken == ["a", "b"]


def test_clear_drops_all() -> None:
    outbox = Outbox(100)
    entry = outbox.put(b"a", is_response=True)
    outbox.take_back(outbox.put(b"b"))
    outbox.put_control((1, 0), b"c")
    outbox.clear()
    assert not outbox
    assert (outbox.size, outbox.response_size) == (0, 0)
    assert not outbox.take_back(entry)
