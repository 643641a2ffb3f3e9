"""Twin of `forms.py`; ids are rows of the catalogue of faults."""

from typing import Any

import pytest
from hypothesis import given

from tests import strategies
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.forms import check_form, clip, printable

GOOD: list[list[Any]] = [
    [0, "trio-s2s", [1, 1], {}],
    [1, {}],
    [2, {}],
    [3, 1, {}],
    [3, 1, {}, b"mac"],
    [4, -2, "text", None],
    [4, 7, "text", 100],
    [5, 1, 2, {}],
    [5, 2**63 - 1, 2, {"a": [1, {"b": None}]}, {0: 5, 1: 15, 2: {"trace": "x"}}],
    [6, 1, 0, {}, None],
    [6, 1, -9, {}, "text"],
    [6, 1, 2**63 - 1, {}, "text"],
    [7, 1, {}],
    [7, 1, {}, 15],
    [8, 1, 2],
    [9, 0, 1],
    [10, 0],
    [11, 2**64 - 1],
    [12, 0, "", 0, False],
    [13, []],
]


@pytest.mark.parametrize("message", GOOD, ids=str)
def test_right_form_is_taken(message: list[Any]) -> None:
    check_form(message)


@pytest.mark.parametrize("message", GOOD, ids=str)
def test_a27_elements_more_than_known_are_ignored(message: list[Any]) -> None:
    if len(message) > 4 or message[0] not in (3, 5, 7):
        check_form([*message, "from a later version"])


@pytest.mark.parametrize("kind", range(14))
def test_a27_too_short_is_refused(kind: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{Kind(kind).name} has 0 elements"):
        check_form([kind])


def test_a28_unknown_kind_has_any_form() -> None:
    check_form([14])
    check_form([2**60, object()])


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(5, id="A26-int"),
        pytest.param("x", id="A26-str"),
        pytest.param({}, id="A26-map"),
        pytest.param(None, id="A26-nil"),
        pytest.param([], id="A27-empty"),
        pytest.param([True, 1], id="A29-bool"),
        pytest.param([10.0, 1], id="A29-float"),
        pytest.param(["10", 1], id="A29-str"),
        pytest.param([-1, 1], id="A29-negative"),
        pytest.param([5, 0, 1, {}], id="C12-0"),
        pytest.param([5, -1, 1, {}], id="C12-negative"),
        pytest.param([5, 2**63, 1, {}], id="C12-too-large"),
        pytest.param([5, 1.0, 1, {}], id="C12-float"),
        pytest.param([5, "1", 1, {}], id="C12-str"),
        [5, True, 1, {}],
        [5, 1, -1, {}],
        [5, 1, 1, []],
        [5, 1, 1, {}, []],
        [5, 1, 1, {}, {0: -1}],
        [5, 1, 1, {}, {1: 16}],
        [5, 1, 1, {}, {2: []}],
        [6, 1, -10, {}, None],
        [6, 1, 2**63, {}, None],
        [6, 1, True, {}, None],
        [6, 1, 0, {}, 5],
        [7, 1, {}, 16],
        [7, 1, {}, None],
        [8, 1, 3],
        [8, 1, True],
        [9, 16, 1],
        [9, 0, 0],
        [9, 0, -5],
        [10, -1],
        [12, "0", "", 0, True],
        [12, 0, None, 0, True],
        [12, 0, "", -1, True],
        [12, 0, "", 0, 1],
        [13, {}],
        [0, b"trio-s2s", [1, 1], {}],
        [0, "trio-s2s", [1], {}],
        [0, "trio-s2s", [1, -1], {}],
        [3, 1, {}, "mac"],
        [4, 1, "", -1],
    ],
)
def test_wrong_form_is_a_protocol_error(message: Any) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_form(message)
    assert caught.value.code is CloseCode.PROTOCOL


def nested(depth: int) -> Any:
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {0: value}
    return value


def test_a21_parameters_may_be_nested_32_deep() -> None:
    check_form([7, 1, {0: nested(32)}])


@pytest.mark.parametrize(
    "message",
    [
        pytest.param([7, 1, {0: nested(33)}], id="A21"),
        pytest.param([5, 1, 1, {}, {2: {0: nested(32)}}], id="A21-options"),
        pytest.param([6, 1, 0, {None: 1}, None], id="B05-nil"),
        pytest.param([7, 1, {0: [{b"x": 1}]}], id="B05-bin"),
        pytest.param([7, 1, {float("nan"): 1}], id="B05-nan"),
        pytest.param([5, 1, 1, {}, {2: {1.0: 1}}], id="B05-options"),
        pytest.param([0, "trio-s2s", [1, 1], {6: nested(33)}], id="A21-handshake"),
    ],
)
def test_wrong_value_is_a_decode_error(message: Any) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_form(message)
    assert caught.value.code is CloseCode.DECODE


@given(strategies.messages)
def test_every_message_of_the_strategies_has_the_right_form(message: list[Any]) -> None:
    check_form([int(message[0]), *message[1:]])


@pytest.mark.parametrize(
    ("text", "clipped"),
    [
        ("short", "short"),
        ("x" * 30, "x" * 17 + "…"),
        ("ä" * 30, "ä" * 8 + "…"),
        ("a\udcff", "a?"),
    ],
)
def test_clip_keeps_whole_characters(text: str, clipped: str) -> None:
    assert clip(text, 20) == clipped
    assert len(clip(text, 20).encode()) <= 20


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 世界", "Grüße, 世界"),
        pytest.param("a\nERROR \x1b[31m\0", r"a\nERROR \x1b[31m\x00", id="B03"),
        pytest.param("gpj.exe\u202e", r"gpj.exe\u202e", id="B03-override"),
        ("\u2028 \ud800", r"\u2028 \ud800"),
    ],
)
def test_what_is_not_to_be_printed_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_wrong_container_is_told_by_its_size() -> None:
    with pytest.raises(RemoteProtocolError, match=r"wrong text: list of 4,000$"):
        check_form([12, 0, [0] * 4000, 0, True])
