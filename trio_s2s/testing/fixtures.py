"""Fixtures for pytest: `pytest_plugins = ["trio_s2s.testing.fixtures"]`.

They go with pytest-trio, and with its fixture `autojump_clock`.
"""

import os
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Final

import pytest

from trio_s2s.testing.network import MemoryNetwork
from trio_s2s.testing.pairs import memory_peers
from trio_s2s.testing.recording import RecordingPeer
from trio_s2s.testing.report import failure_text
from trio_s2s.testing.scheduler import seeded

__all__ = ["pytest_runtest_makereport", "s2s_network", "s2s_peers", "s2s_seed"]

VARIABLE: Final = "S2S_SEED"


@pytest.fixture
def s2s_seed() -> Iterator[int]:
    """The seed of the test: that of the environment's S2S_SEED, or 0.

    It fixes the order in which Trio runs tasks, too.
    """
    seed = int(os.environ.get(VARIABLE, "0"))
    with seeded(seed):
        yield seed


@pytest.fixture
def s2s_network(s2s_seed: int, request: pytest.FixtureRequest) -> MemoryNetwork:
    """A `MemoryNetwork` of this test; if the test fails, it tells what happened."""
    network = MemoryNetwork(seed=s2s_seed)
    request.node.stash[_NETWORK] = network
    return network


@pytest.fixture
async def s2s_peers(
    s2s_network: MemoryNetwork,
) -> AsyncGenerator[tuple[RecordingPeer, RecordingPeer]]:
    """An inbound and an outbound `RecordingPeer`, which are connected."""
    async with memory_peers(network=s2s_network) as peers:
        yield peers


_NETWORK: Final = pytest.StashKey[MemoryNetwork]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what happened in the network to the report of a failed test."""
    report = yield
    network = item.stash.get(_NETWORK, None)
    if report.failed and network is not None:
        command = f"{VARIABLE}={network.seed} python -m pytest '{item.nodeid}'"
        report.sections.append(("MemoryNetwork", failure_text(network, command)))
    return report
