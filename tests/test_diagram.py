"""Twin of `testing/diagram.py`."""

from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.testing import as_mermaid, as_text
from trio_s2s.testing.trace import Entry

ENTRIES = [
    Entry(0.0, "dial", "a", "b", "port 1"),
    Entry(0.0, "dial", "a", "a", "port 2"),
    Entry(0.1, "frame", "a", "b", "3 bytes", pack([Kind.PING, 7])),
    Entry(0.2, "take", "b", "", "3 bytes"),
    Entry(0.2, "frame", "b", "a", "3 bytes", pack([Kind.REQUEST, 7, 1, {}])),
    Entry(0.3, "bytes", "a", "b", "90 bytes"),
    Entry(1.5, "fault", "partition", "", "a b"),
    Entry(2.0, "hook", "a", "b", "on_disconnected CONNECTION_LOST"),
    Entry(2.0, "hook", "b", "", "on_failed REFUSED"),
]


def test_text_has_a_column_for_each_node() -> None:
    lines = as_text(ENTRIES).splitlines()
    assert lines[0].split() == ["a", "b"]
    assert len(lines) == len(ENTRIES)  # What was taken is not drawn.
    column = lines[0].index("a")
    assert lines[3].split() == ["0.100", "-" * 13, "PING", "-" * 12 + ">"]
    assert abs(lines[3].index("-") - column) < 3
    assert "<" in lines[4]
    assert "REQUEST #7 op 1" in lines[4]
    assert "~ partition a b ~" in lines[6]
    assert "* on_disconnected CONNECTION_LOST (b)" in lines[7]


def test_mermaid_is_its_language() -> None:
    assert as_mermaid(ENTRIES).splitlines() == [
        "sequenceDiagram",
        "    participant a as a",
        "    participant b as b",
        "    a-->>b: dial port 1",
        "    a-->>a: dial port 2",
        "    a->>b: PING",
        "    b->>a: REQUEST no. 7 op 1",
        "    a->>b: 90 bytes",
        "    Note over a,b: partition a b",
        "    Note over a: on_disconnected CONNECTION_LOST (b)",
        "    Note over b: on_failed REFUSED",
    ]


def test_nodes_may_be_given() -> None:
    assert as_mermaid([ENTRIES[6]], ["gs-1"]).splitlines() == [
        "sequenceDiagram",
        "    participant gs_1 as gs-1",
        "    Note over gs_1: partition a b",
    ]
