"""Draws what has happened as a sequence diagram: as text, or in Mermaid's language."""

from collections.abc import Iterable, Sequence
from typing import Final

from trio_s2s.testing.trace import Entry, describe_frame

__all__ = ["as_mermaid", "as_text"]

SHOWN: Final = ("dial", "open", "frame", "bytes", "hook", "fault")
COLUMN: Final = 34


def as_text(entries: Iterable[Entry], nodes: Sequence[str] = ()) -> str:
    """Draw a column for each node, and an arrow for each frame."""
    shown = [entry for entry in entries if entry.kind in SHOWN]
    names = _names(shown, nodes)
    lines = [" " * 12 + "".join(name.center(COLUMN) for name in names).rstrip()]
    lines += [f"{entry.time:10.3f}  {_row(entry, names)}".rstrip() for entry in shown]
    return "\n".join(lines)


def as_mermaid(entries: Iterable[Entry], nodes: Sequence[str] = ()) -> str:
    """Write it in Mermaid's language, which GitHub and many others draw."""
    shown = [entry for entry in entries if entry.kind in SHOWN]
    names = _names(shown, nodes)
    lines = ["sequenceDiagram"]
    lines += [f"    participant {_id(name)} as {name}" for name in names]
    lines += [f"    {_mermaid(entry, names)}" for entry in shown]
    return "\n".join(lines)


def _names(entries: Iterable[Entry], nodes: Sequence[str]) -> list[str]:
    found: dict[str, None] = dict.fromkeys(nodes)
    for entry in entries:
        if entry.kind != "fault":
            found[entry.source] = None
            if entry.target and entry.kind != "hook":
                found[entry.target] = None
    return list(found) or ["network"]


def _said(entry: Entry) -> str:
    match entry.kind:
        case "frame":
            return describe_frame(entry.data)
        case "hook":
            about = f" ({entry.target})" if entry.target else ""
            return f"{entry.text}{about}"
        case "fault":
            return f"{entry.source} {entry.text}".rstrip()
        case "dial" | "open":
            return f"{entry.kind} {entry.text}"
    return entry.text


def _row(entry: Entry, names: Sequence[str]) -> str:
    said = _said(entry)
    if entry.kind == "fault":
        return f" {said} ".center(COLUMN * len(names), "~")
    here = names.index(entry.source)
    if entry.kind == "hook" or entry.target in ("", entry.source):
        return _columns(here, f"* {said}", len(names))
    there = names.index(entry.target)
    first, last = sorted((here, there))
    width = (last - first) * COLUMN - 2
    text = f" {said} "[: width - 4]
    arrow = text.center(width, "-")
    arrow = f"{arrow[:-1]}>" if here < there else f"<{arrow[1:]}"
    return " " * (first * COLUMN + COLUMN // 2 + 1) + arrow


def _columns(column: int, text: str, count: int) -> str:
    marks = [" " * COLUMN] * count
    marks[column] = text.center(COLUMN)
    return "".join(marks)


def _mermaid(entry: Entry, names: Sequence[str]) -> str:
    said = _said(entry).replace("#", "no. ").replace(";", ",")
    if entry.kind == "fault":
        over = _id(names[0]) if len(names) == 1 else f"{_id(names[0])},{_id(names[-1])}"
        return f"Note over {over}: {said}"
    if entry.kind == "hook" or not entry.target:
        return f"Note over {_id(entry.source)}: {said}"
    arrow = "-->>" if entry.kind in ("dial", "open") else "->>"
    return f"{_id(entry.source)}{arrow}{_id(entry.target)}: {said}"


def _id(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
