"""Checks of single fields, whose errors name the field, what it is, and the value."""

from typing import Any

import attrs

__all__ = ["filled", "flag", "text"]


def flag(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Raise a ValueError for what is neither True nor False."""
    if type(value) is not bool:
        raise ValueError(f"{attribute.name} is True or False, not {value!r}")


def text(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Raise a ValueError for what is no text."""
    if not isinstance(value, str):
        raise ValueError(f"{attribute.name} is a text, not {value!r}")


def filled(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Raise a ValueError for what is no text, or an empty one."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{attribute.name} is a text that is not empty, not {value!r}")
