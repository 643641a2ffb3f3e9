"""What the simulator has found: each a world with the plan that showed it."""

import attrs
import pytest

from tests.simulator.options import Options
from tests.simulator.world import run_world
from trio_s2s import Backoff, PeerConfig

SLOW_LINE = Options(
    seed=73,
    servers=3,
    duration=15.0,
    pace=1.875,
    faults=2,
    latency=0.001,
    jitter=0.002,
    window=1,
    hook_delay=0.3,
    both_dial=False,
    config=PeerConfig(
        max_frame=4096,
        heartbeat_interval=1.0,
        heartbeat_misses=2,
        send_timeout=3.0,
        hook_timeout=2.0,
        connected_timeout=5.0,
        handler_wait=3.0,
        drain_timeout=0.5,
    ),
    retry=Backoff(),
)


@pytest.mark.parametrize("seed", [2, 3])
def test_who_sends_for_long_is_not_taken_for_dead_itself(seed: int) -> None:
    # Of a long frame on a slow line something arrives all the time, so its receiver
    # asked for nothing; and the sender's own PING waited behind the frame. Found as
    # V7 (HEARTBEAT_TIMEOUT), with seed 73, and then without any fault.
    result = run_world(attrs.evolve(SLOW_LINE, seed=seed), [])
    assert result.violation == ""


@pytest.mark.parametrize("seed", [5])
def test_nothing_is_outstanding_when_a_connection_has_ended(seed: int) -> None:
    # Requests that were given up, and not answered before the end, were counted as
    # outstanding for ever. Found as V16, with seed 8.
    result = run_world(attrs.evolve(SLOW_LINE, seed=seed), [])
    assert result.violation == ""
