"""The tests that docs/testing.md shows are run as they stand there."""

import re
import textwrap
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
HEAD = """
import random

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_s2s import *
from trio_s2s.testing import *
"""


def test_tests_of_the_page_pass(pytester: pytest.Pytester) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    pytester.makepyfile(HEAD + "\n\n".join(map(textwrap.dedent, blocks)))
    pytester.runpytest().assert_outcomes(passed=len(blocks))
    assert len(blocks) == 7
