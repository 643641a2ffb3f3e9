"""Planted faults are found; `python -m tests.planted` tries all of them often."""

from pathlib import Path

import pytest

from tests.planted.__main__ import HERE, find, plant

PATCHES = sorted(HERE.glob("*.patch"))


def test_there_are_all_of_them() -> None:
    assert [path.name[:2] for path in PATCHES] == [f"{n:02}" for n in range(1, 16)]


@pytest.mark.parametrize("patch", PATCHES, ids=[path.stem for path in PATCHES])
def test_fault_can_be_planted(patch: Path, tmp_path: Path) -> None:
    plant(patch, tmp_path)


def test_planted_fault_is_found(tmp_path: Path) -> None:
    plant(PATCHES[3], tmp_path)  # Others take longer to be found.
    assert find(tmp_path, 20, 1).startswith("FOUND ")
