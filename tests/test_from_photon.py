"""The parity page has a row for each capability, and names only tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "from-photon.md").read_text("utf-8")
ROWS = re.findall(r"^\| (\d+) \| .+? \| (.+?) \| (.*?) ?\|$", PAGE, re.MULTILINE)


def names_in_the_suite() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        names |= set(re.findall(r"def (test_\w+)", path.read_text("utf-8")))
    return names


def test_page_has_a_row_for_each_capability() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 79))


def test_page_names_only_tests_that_exist() -> None:
    known = names_in_the_suite()
    for number, state, _ in ROWS:
        if state.startswith("works"):
            named = re.findall(r"`(test_\w+)`", state)
            assert named, f"row {number} names no test"
            assert set(named) <= known, f"row {number}: {set(named) - known}"


def test_page_gives_a_reason_for_what_is_dropped() -> None:
    for number, state, here in ROWS:
        assert re.match(r"works: `test_|dropped$|to come$", state), f"row {number}"
        assert here or state != "dropped", f"row {number} gives no reason"
