"""Twin of `table.py`."""

import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_s2s.checks import flag, text
from trio_s2s.security import check_port
from trio_s2s.table import Table, did_you_mean


def _port(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_port(value, lowest=1)


def _even(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value % 2:
        raise ValueError("only every other one will do")


@attrs.frozen
class Thing:
    port: int = attrs.field(validator=_port)
    title: str = attrs.field(default="", validator=text)
    is_open: bool = attrs.field(default=False, validator=flag)
    even: int = attrs.field(default=0, validator=_even)
    inside: Any = None


def inside(table: Table, key: str) -> Any:
    inner = table.inner(key)
    inner.refuse_others(["known"])
    return inner.values


def table_of(source: str) -> Table:
    return Table(tomllib.loads(source), Path())


def errors_of(source: str) -> list[str]:
    table = table_of(source)
    found = table.fields(Thing, {"inside": ("in", inside)})
    assert (found is None) == bool(table.errors)
    return table.errors


@pytest.mark.parametrize(
    ("source", "errors"),
    [
        ("port = 1", []),
        ("port = 1\ntitle = 'a'\nis_open = true\neven = 2\nin = {known = 1}", []),
        ("", ["port: missing"]),
        ("port = 0", ["port: must be a whole number, 1 to 65535, not 0"]),
        ("port = 1\neven = 3", ["even: only every other one will do"]),
        ("port = 1\ntitle = 1\nis_open = 1", [
            "title: must be a text, not 1",
            "is_open: must be True or False, not 1",
        ]),
        ("prot = 1", ["prot: unknown key; did you mean 'port'?", "port: missing"]),
        ("port = 1\nzzz = 1", ["zzz: unknown key"]),
        ("port = 1\ninside = {}", ["inside: unknown key"]),
        ("port = 1\nin = 5", ["in: must be a table, not 5"]),
        ("port = 1\nin = {know = 1}", ["in.know: unknown key; did you mean 'known'?"]),
        ("port = 1\n'a b' = 1", ['"a b": unknown key']),
    ],
)  # fmt: skip
def test_fields_are_read_or_all_that_is_wrong_is_told(
    source: str, errors: list[str]
) -> None:
    assert errors_of(source) == errors


def test_fields_are_given_by_their_own_names() -> None:
    found = table_of("port = 1\nin = {known = 2}").fields(
        Thing, {"inside": ("in", inside)}
    )
    assert found == {"port": 1, "inside": {"known": 2}}


def test_several_tables_know_where_they_are() -> None:
    table = table_of("[[a.'b c']]\nx = 1\n[[a.'b c']]").inner("a")
    first, second = table.inners("b c")
    first.tell("x", "wrong")
    second.tell("", "empty")
    assert table.errors == ['a."b c"[0].x: wrong', 'a."b c"[1]: empty']


@pytest.mark.parametrize("source", ["[a]", "a = 1", "a = [1]"])
def test_what_is_to_be_written_several_times_is_shown(source: str) -> None:
    with pytest.raises(ValueError, match=r"^must begin with \[\[a\]\], each time"):
        table_of(source).inners("a")


@pytest.mark.parametrize(
    ("word", "end"), [("prot", "; did you mean 'port'?"), ("x", "")]
)
def test_close_word_is_offered(word: str, end: str) -> None:
    assert did_you_mean(word, {"port": 1, "host": 2}) == end
