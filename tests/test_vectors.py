"""The test vectors of `docs/protocol.md`, in both directions."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from trio_s2s.codec import (
    pack,
    pack_event,
    pack_parameters,
    pack_request,
    pack_response,
    unpack_messages,
)
from trio_s2s.codes import Kind
from trio_s2s.config import PeerConfig
from trio_s2s.fields import Identity
from trio_s2s.framing import FrameDecoder, encode_frame
from trio_s2s.handshake import hello, reject, welcome

PAGE = Path(__file__).parent.parent / "docs" / "protocol.md"
ROWS = re.findall(
    r"^\| ([^|]+) \| `(\[.+\])` \| `([0-9a-f]+)` \|$",
    PAGE.read_text("utf-8"),
    re.MULTILINE,
)
NAMES = {"nil": "None", "true": "True", "false": "False"}


def read(words: str) -> list[Any]:
    """Read the messages of a row as Python."""
    text = re.sub(r"\b(nil|true|false)\b", lambda found: NAMES[found[0]], words)
    text = re.sub(r'h"([0-9a-f]*)"', lambda found: repr(bytes.fromhex(found[1])), text)
    return list(ast.literal_eval("[" + text.replace("] [", "], [") + "]"))


def make(message: list[Any]) -> bytes:
    """Make a message as the package itself does."""
    config = PeerConfig()
    match message:
        case [Kind.HELLO, _, _, fields]:
            identity = Identity(fields[1], fields[0], fields[3])
            return hello(identity, fields[2], fields[6], config)[4:]
        case [Kind.WELCOME, _, fields]:
            identity = Identity(fields[1], fields[0], fields[3])
            return welcome(identity, fields[6], config)[4:]
        case [Kind.REJECT, code, text, None]:
            return reject(code, text)[4:]
        case [Kind.REQUEST, number, code, table, *options]:
            packed = pack_parameters(table, 9)
            return pack_request(number, code, packed, options[0] if options else {})
        case [Kind.RESPONSE, number, code, table, text]:
            return pack_response(number, code, pack_parameters(table, 9), text)
        case [Kind.EVENT, code, table, *channel]:
            packed = pack_parameters(table, 9)
            return pack_event(code, packed, channel[0] if channel else 0)
    return pack(message)


@pytest.mark.parametrize(("name", "words", "frame"), ROWS, ids=[row[0] for row in ROWS])
def test_vector_holds_in_both_directions(name: str, words: str, frame: str) -> None:
    messages = read(words)
    data = bytes.fromhex(frame)
    decoder = FrameDecoder(4096)
    decoder.receive_data(data)
    body = decoder.next_frame()
    assert body is not None
    assert [message for message, _ in unpack_messages(body, 4096)] == messages
    assert encode_frame(map(make, messages)) == data


def test_vectors_are_there_for_every_kind() -> None:
    kinds = {message[0] for _, words, _ in ROWS for message in read(words)}
    assert kinds == set(Kind)
