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


TEXT = """
                            a                                 b
     0.000                    --------- dial port 1 --------->
     0.000            * dial port 2
     0.100                    ------------- PING ------------>
     0.200                    <------ REQUEST #7 op 1 --------
     0.300                    ----------- 90 bytes ---------->
     1.500  ~~~~~~~~~~~~~~~~~~~~~~~~~~ partition a b ~~~~~~~~~~~~~~~~~~~~~~~~~~~
     2.000  * on_disconnected CONNECTION_LOST (b)
     2.000                                           * on_failed REFUSED
"""
"""What was taken is not drawn."""


def test_text_has_a_column_for_each_node() -> None:
    assert as_text(ENTRIES) == TEXT.strip("\n")


def test_long_text_is_cut_to_the_length_of_its_arrow() -> None:
    entry = Entry(0.0, "bytes", "b", "a", "very " * 9)
    assert as_text([entry], ["a", "b"]).splitlines()[1] == (
        "     0.000                    <- very very very very very ve--"
    )


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


def test_nodes_that_were_not_given_come_after_those_that_were() -> None:
    assert as_mermaid(ENTRIES[:1], ["b"]).splitlines()[1:3] == [
        "    participant b as b",
        "    participant a as a",
    ]


def test_faults_alone_are_those_of_the_network() -> None:
    assert as_mermaid([ENTRIES[6]]).splitlines()[1:] == [
        "    participant network as network",
        "    Note over network: partition a b",
    ]
