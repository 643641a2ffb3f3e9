"""Twin of `testing/fixtures.py`, as a user's own tests would use it."""

import pytest

TESTS = """
import trio
import pytest
from trio_s2s import DisconnectReason, OperationRequest
from trio_s2s.testing import Fault

async def test_peers(s2s_peers, autojump_clock):
    inbound, outbound = s2s_peers
    answer = await outbound.request(OperationRequest(1, {0: "x"}))
    assert answer.parameters == {0: "x"}

async def test_partition(s2s_network, s2s_peers, autojump_clock):
    inbound, outbound = s2s_peers
    await s2s_network.play([Fault(1, "partition", ("inbound", "outbound"))])
    await trio.sleep(10)
    assert inbound.records[-1].about is DisconnectReason.%s

def test_seed(s2s_seed, s2s_network):
    assert s2s_network.seed == s2s_seed == %d
"""


@pytest.fixture
def users(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest('pytest_plugins = ["trio_s2s.testing.fixtures"]')
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    return pytester


def test_tests_of_a_user_pass(users: pytest.Pytester) -> None:
    users.makepyfile(TESTS % ("HEARTBEAT_TIMEOUT", 0))
    users.runpytest().assert_outcomes(passed=3)


def test_failure_is_explained_and_can_be_seen_again(
    users: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2S_SEED", "7")
    users.makepyfile(TESTS % ("LOCAL_CLOSE", 7))
    result = users.runpytest()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*MemoryNetwork*",
            "seed 7, trace *",
            "again: S2S_SEED=7 python -m pytest '*::test_partition'",
            "plan:",
            "  at 1 s: partition('inbound', 'outbound')",
            "faults that happened:",
            "*partition*fault*inbound outbound",
            "what happened last:",
            "*inbound * hook * on_disconnected HEARTBEAT_TIMEOUT",
            "  * inbound  * outbound",
            "*~~ partition inbound outbound ~~*",
            "*-- PING --*>",
            "*[*] on_disconnected HEARTBEAT_TIMEOUT*",
        ]
    )
    assert "test_peers" not in result.stdout.str().partition("FAILURES")[2]
