"""Twin of `races.py`."""

import pytest

from tests.races import draw, pairs, run_seed


@pytest.mark.parametrize("first", range(1, 201, 50))
def test_races_end_with_one_connection_for_each_pair(first: int) -> None:
    results = map(run_seed, range(first, first + 50))
    wrong = {seed: texts for seed, texts in results if texts}
    assert not wrong, "to see one again: python -m tests.races --seeds 1 --seed SEED"


def test_races_are_of_many_kinds() -> None:
    drawn = [draw(seed) for seed in range(200)]
    assert {len(pairs(race)) for race in drawn} == {1, 3}
    assert any(
        len(set(race.dials)) > len({dial[:2] for dial in race.dials}) for race in drawn
    )
    assert draw(7) == draw(7)
