"""Twin of `output.py`."""

import datetime
import json
from uuid import UUID

import pytest

from trio_s2s.output import Status, complain, say, show

Out = pytest.CaptureFixture[str]


def test_result_is_a_text_or_one_line_of_json(capsys: Out) -> None:
    long_ago = datetime.datetime(2000, 1, 2, tzinfo=datetime.UTC)
    fields = {"data": b"\x01\xff", "time": long_ago, "id": UUID(int=1), "n": 1}
    show(as_json=False, text="it is so", **fields)
    show(as_json=True, text="it is so", **fields)
    text, line = capsys.readouterr().out.splitlines()
    assert text == "it is so"
    assert json.loads(line) == {
        "data": "01ff",
        "time": "2000-01-02T00:00:00+00:00",
        "id": str(UUID(int=1)),
        "n": 1,
    }


def test_talk_is_no_result(capsys: Out) -> None:
    say("hello")
    assert complain("too late", Status.TOO_SLOW) is Status.TOO_SLOW
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "trio-s2s: hello\ntrio-s2s: too late\n"
