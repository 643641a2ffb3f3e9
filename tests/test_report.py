"""Twin of `testing/report.py`."""

from trio_s2s.testing import Fault, MemoryNetwork, failure_text, memory_peers


async def test_failure_tells_all_that_is_needed_to_see_it_again() -> None:
    network = MemoryNetwork(seed=12)
    async with memory_peers(network=network):
        await network.play([Fault(0.0, "partition", ("inbound", "outbound"))])
        text = failure_text(network, "pytest that_one")
        network.heal()
    assert text.startswith("seed 12, trace ")
    assert "again: pytest that_one" in text
    assert "at 0 s: partition('inbound', 'outbound')" in text
    assert "partition                fault  inbound outbound" in text
    assert "HELLO" in text
    assert "~ partition inbound outbound ~" in text


def test_failure_without_faults_says_so() -> None:
    text = failure_text(MemoryNetwork(), "pytest")
    assert "(no plan)" in text
    assert "(none)" in text
