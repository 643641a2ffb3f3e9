"""What has arrived, message by message."""

import pytest

from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.inbox import Inbox

MESSAGES = [pack([Kind.PING, 7]), pack([Kind.EVENT, 1, {0: "a" * 50}]), pack([99])]


def inbox(*frames: bytes) -> Inbox:
    made = Inbox(FrameDecoder(1024), 4096)
    for frame in frames:
        made.receive_data(frame)
    return made


@pytest.mark.parametrize(
    "frames",
    [[encode_frame(MESSAGES)], [encode_frame([one]) for one in MESSAGES]],
    ids=["one frame", "a frame each"],
)
def test_messages_come_in_their_order_with_their_bytes(frames: list[bytes]) -> None:
    ours = inbox(*frames)
    for count, packed in enumerate(MESSAGES, 1):
        found = ours.next_message()
        assert found is not None
        assert pack(found[0]) == packed
        assert found[1] == len(packed)
        assert ours.packed() == packed
        assert ours.messages_taken == count
    assert ours.next_message() is None
    assert ours.messages_taken == len(MESSAGES)


def test_message_that_is_not_whole_has_to_wait() -> None:
    [frame] = [encode_frame(MESSAGES[:1])]
    ours = inbox(frame[:-1])
    assert ours.next_message() is None
    assert ours.progress() == "2 of 3 bytes of a frame"
    ours.receive_data(frame[-1:])
    assert ours.next_message() == ([Kind.PING, 7], 3)
    assert ours.progress() == ""


def test_frame_is_let_go_once_it_is_handed_on() -> None:
    """An idle connection holds none of what it has received last."""
    ours = inbox(encode_frame([pack([Kind.EVENT, 1, {0: "a" * 900}])]))
    assert ours.next_message() is not None
    assert ours.next_message() is None
    assert ours.packed() == b""


def test_nonsense_is_an_error_of_the_other_side() -> None:
    ours = inbox(encode_frame([b"\xc1"]))
    with pytest.raises(RemoteProtocolError):
        ours.next_message()
