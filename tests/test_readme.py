"""The two console lines of the README, which the gate runs in fresh clones."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

LINES = [
    "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/trio-s2s demo",
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]'"
    " && .venv/bin/python -m pytest -q",
]


def test_readme_has_the_two_lines_for_a_fresh_machine() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.findall(r"python3 -m venv \.venv.*", text)
    assert found == LINES


def test_gate_runs_the_lines_of_the_readme() -> None:
    gate = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert [line for line in gate if line in LINES] == LINES


def test_readme_shows_the_hello_examples_as_they_are() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for name, block in zip(["hello_inbound", "hello_outbound"], blocks, strict=False):
        assert block == (ROOT / "examples" / f"{name}.py").read_text("utf-8")
