"""A short run of the fuzzer; `python -m tests.fuzz --minutes 10` is a long one."""

import logging

import pytest

from tests import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_but_messages_and_the_one_error(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    counts = fuzz.run(seed, iter(range(15)))
    ends = {end.partition(": ")[0] for end in counts}
    assert ends == set(fuzz.TARGETS)
    assert counts["server: lived"] == 15
    assert counts["stream: taken"] > 8 < counts["stream: DECODE"]


def test_one_input_can_be_tried_again() -> None:
    ends = {fuzz.try_one("stream", f"1.{number}.0") for number in range(20)}
    again = {fuzz.try_one("stream", f"1.{number}.0") for number in range(20)}
    assert ends == again


def test_failure_tells_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fall(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setitem(fuzz.TARGETS, "stream", (fall, lambda rng: b"\x00", 1))
    with pytest.raises(ZeroDivisionError):
        fuzz.try_one("stream", "1.2.3")
    out = capsys.readouterr().out
    assert "FAILED stream, input 00" in out
    assert "again: python -m tests.fuzz --only stream 1.2.3" in out
