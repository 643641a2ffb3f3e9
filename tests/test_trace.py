"""Twin of `testing/trace.py`."""

import trio

from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.framing import encode_frame
from trio_s2s.testing.trace import Frames, Trace, describe, describe_frame


async def test_entries_are_lines_and_a_hash() -> None:
    trace = Trace()
    trace.note("frame", "a", "b", "5 bytes", pack([Kind.PING, 7]))
    trace.note("fault", "kill", "", "gs-1")
    assert [line.split()[1:] for line in trace.last(2)] == [
        ["a", "->", "b", "frame", "5", "bytes", "PING"],
        ["kill", "fault", "gs-1"],
    ]
    assert trace.count == 2
    before = trace.hash()
    trace.note("fault", "kill", "", "gs-2")
    assert trace.hash() != before


def test_entry_before_a_run_is_at_the_beginning() -> None:
    trace = Trace()
    trace.note("fault", "set_window", "", "1")
    assert trace.entries[0].time == 0


async def test_more_waits_for_the_next_entry(nursery: trio.Nursery) -> None:
    trace, came = Trace(), trio.Event()

    async def wait() -> None:
        await trace.more()
        came.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert not came.is_set()
    trace.note("hook", "a")
    await came.wait()


def test_bytes_are_cut_into_frames_as_long_as_they_are_some() -> None:
    frames = Frames()
    data = encode_frame([b"ab"]) + encode_frame([b"c"])
    assert list(frames.cut(data[:5])) == []
    assert list(frames.cut(data[5:])) == [("frame", b"ab"), ("frame", b"c")]
    assert list(frames.cut(b"\xff" * 5)) == [("bytes", b"\xff" * 5)]
    assert list(frames.cut(b"x")) == [("bytes", b"x")]


def test_messages_are_described() -> None:
    told: dict[str, list[object]] = {
        "HELLO": [Kind.HELLO, "trio-s2s"],
        "REJECT 5 full": [Kind.REJECT, 5, "full"],
        "GOODBYE 0 last bye": [Kind.GOODBYE, 0, "bye", 3, True],
        "GOODBYE -8": [Kind.GOODBYE, -8, "", 3, False],
        "EVENT 9": [Kind.EVENT, 9, {}],
        "REQUEST #4 op 2": [Kind.REQUEST, 4, 2, {}],
        "RESPONSE #4": [Kind.RESPONSE, 4, 0, {}, None],
        "RESPONSE #4 code -1": [Kind.RESPONSE, 4, -1, {}, None],
        "CANCEL #4": [Kind.CANCEL, 4, 1],
        "CREDIT 80 on 1": [Kind.CREDIT, 1, 80],
        "PONG": [Kind.PONG, 4],
        "?": [99],
    }
    assert {describe(message): message for message in told.values()} == told
    assert describe_frame(b"\xc1\xc1") == "2 bytes"
    assert describe_frame(pack([Kind.PING, 1]) + pack([Kind.PONG, 1])) == "PING, PONG"
