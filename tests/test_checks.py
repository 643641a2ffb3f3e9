"""Twin of `checks.py`."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from trio_s2s.checks import filled, flag, text

Check = Callable[[object, "attrs.Attribute[Any]", object], None]


def says(check: Check, value: object) -> str:
    """Give what is wrong with a value, or nothing."""
    made = attrs.make_class("Made", {"it": attrs.field(validator=check)})
    try:
        made(value)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("check", "value", "error"),
    [
        (flag, True, ""),
        (flag, False, ""),
        (flag, 1, "it is True or False, not 1"),
        (flag, None, "it is True or False, not None"),
        (text, "", ""),
        (text, "a", ""),
        (text, b"a", "it is a text, not b'a'"),
        (filled, "a", ""),
        (filled, "", "it is a text that is not empty, not ''"),
        (filled, 5, "it is a text that is not empty, not 5"),
    ],
)
def test_check_names_the_field_and_what_it_is(
    check: Check, value: object, error: str
) -> None:
    assert says(check, value) == error
