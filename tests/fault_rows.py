"""Which rows of the catalogue of faults have a test: `python tests/fault_rows.py A B`.

A test covers a row by its id: in lower case in the name of its function, in upper case
in the id of a parameter. The exit status is 1 if a row has neither a test nor a reason.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

ROWS = {
    "A": 35,
    "B": 34,
    "C": 32,
    "D": 24,
    "E": 29,
    "F": 39,
    "G": 23,
    "H": 10,
    "I": 19,
    "J": 24,
    "K": 20,
    "L": 16,
}
"""How many rows each letter has."""
LEFT_OUT: dict[str, str] = {
    "C24": "a stream that has ended gives no more bytes, so nothing can come behind it",
    "G20": "a fork within a run breaks Trio, whose epoll both would share, before us",
}
"""The rows that have no test on purpose, and why."""

_IN_NAME = re.compile(r"(?<=_)([a-l]\d\d)(?![^_])")
_IN_PARAMETER = re.compile(r"(?<![0-9A-Za-z])([A-L]\d\d)(?![0-9A-Za-z])")


def rows_of(test: str) -> Iterator[str]:
    """Give the rows that the id of a test names."""
    name, _, parameters = test.partition("::")[2].partition("[")
    yield from (found.upper() for found in _IN_NAME.findall(name))
    yield from _IN_PARAMETER.findall(parameters)


def collect() -> list[str]:
    """Give the ids of all tests, of those as well that a plain run leaves out."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return [line for line in done.stdout.splitlines() if "::" in line]


def report(letters: Iterable[str], covered: set[str]) -> bool:
    """Print what is covered, and what is not; whether no row was forgotten."""
    forgotten = False
    for letter in letters:
        rows = [f"{letter}{number:02}" for number in range(1, ROWS[letter] + 1)]
        print(f"{letter}: {len(covered.intersection(rows))} of {len(rows)} rows")
        for row in rows:
            if row not in covered:
                print(f"  {row}  {LEFT_OUT.get(row, 'has no test')}")
                forgotten = forgotten or row not in LEFT_OUT
    return not forgotten


def main(letters: list[str]) -> int:
    """Check the rows of some letters, or of all."""
    if unknown := [letter for letter in letters if letter not in ROWS]:
        sys.exit(f"no such letter: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    covered = {row for test in collect() for row in rows_of(test)}
    return 0 if report(letters or ROWS, covered) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
