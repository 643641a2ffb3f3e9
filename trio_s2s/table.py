"""Tables of a settings file, read into attrs classes; all that is wrong is told."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Reader", "Table", "as_written", "did_you_mean"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give the end of a sentence that names the closest known word, if one is close."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def as_written(key: str) -> str:
    """Give a key as the file has to spell it."""
    is_bare = re.fullmatch(r"[A-Za-z0-9_-]*", key)
    return key if is_bare else json.dumps(key, ensure_ascii=False)


@attrs.frozen
class Table:
    """One table: what is in it, where it is, and what is wrong with the file so far."""

    values: Mapping[str, Any]
    folder: Path
    """Where the file is; its relative paths begin there."""
    path: str = ""
    """The keys that lead here, empty at the top of the file."""
    errors: list[str] = attrs.field(factory=list)

    def tell(self, key: str, text: str) -> None:
        """Note what is wrong with a key, or with the table itself if that is empty."""
        self.errors.append(f"{self._at(key)}: {text}")

    def refuse_others(self, known: Iterable[str]) -> None:
        """Tell of every key that is not among these."""
        known = list(known)
        for key in self.values:
            if key not in known:
                self.tell(key, f"unknown key{did_you_mean(key, known)}")

    def inner(self, key: str) -> "Table":
        """Give the table at a key; a ValueError if it is none."""
        value = self.values[key]
        if not isinstance(value, dict):
            raise ValueError(f"must be a table, not {value!r}")
        return attrs.evolve(self, values=value, path=self._at(key))

    def inners(self, key: str) -> list["Table"]:
        """Give the tables at a key; a ValueError if they are none."""
        values, path = self.values[key], self._at(key)
        if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
            raise ValueError(f"must begin with [[{path}]], each time that there is one")
        return [
            attrs.evolve(self, values=value, path=f"{path}[{number}]")
            for number, value in enumerate(values)
        ]

    def fields(
        self, cls: type[Any], readers: "Mapping[str, tuple[str, Reader]]"
    ) -> dict[str, Any] | None:
        """Read the fields of an attrs class; None if anything is wrong, which is told.

        A key has the name of its field, unless `readers` has another one for it, with
        what reads it; the others are checked by the fields' own validators.
        """
        before = len(self.errors)
        keys = {field.name: field.name for field in attrs.fields(cls)}
        keys |= {name: key for name, (key, _) in readers.items()}
        self.refuse_others(keys.values())
        found = {}
        for field in attrs.fields(cls):
            key, read = readers.get(field.name, (field.name, _checked(field)))
            if key in self.values:
                try:
                    found[field.name] = read(self, key)
                except ValueError as error:
                    self.tell(key, str(error))
            elif field.default is attrs.NOTHING:
                self.tell(key, "missing")
        return found if len(self.errors) == before else None

    def _at(self, key: str) -> str:
        return ".".join(filter(None, (self.path, as_written(key))))


Reader = Callable[[Table, str], Any]
"""Gives the value of a key, or raises a ValueError in words that follow the key."""


def _checked(field: "attrs.Attribute[Any]") -> Reader:
    def read(table: Table, key: str) -> Any:
        value = table.values[key]
        assert field.validator is not None, field
        try:
            field.validator(None, field, value)
        except ValueError as error:
            # The key is in front of it already.
            about, _, rest = str(error).partition(f"{field.name} is ")
            raise ValueError(about or f"must be {rest}") from error
        return value

    return read
