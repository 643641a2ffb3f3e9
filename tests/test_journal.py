"""Twin of `journal.py`."""

import logging

import pytest
import trio
import trio.testing

from trio_s2s.journal import MOST_HOSTS, Journal, log

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture


async def test_one_thing_of_a_host_is_told_once_in_ten_seconds(
    autojump_clock: Clock, caplog: Log
) -> None:
    journal = Journal()
    for _ in range(3):
        journal.tell(logging.WARNING, "busy", "10.0.0.5", "10.0.0.5:1 refused")
        await trio.sleep(3)
    await trio.sleep(1)
    journal.tell(logging.WARNING, "busy", "10.0.0.5", "10.0.0.5:2 refused")
    journal.tell(logging.WARNING, "busy", "10.0.0.5", "10.0.0.5:3 refused")
    assert caplog.messages == [
        "10.0.0.5:1 refused",
        "10.0.0.5:2 refused (and 2 more like it since the last such line)",
    ]


async def test_other_hosts_and_other_things_are_told(caplog: Log) -> None:
    journal = Journal()
    for kind, host in ("busy", "a"), ("busy", "b"), ("late", "a"), ("late", "a"):
        journal.tell(logging.WARNING, kind, host, f"{host} {kind}")
    assert caplog.messages == ["a busy", "b busy", "a late"]


async def test_line_goes_to_the_logger_of_the_package_with_its_error(
    caplog: Log,
) -> None:
    fault = ValueError("a bug")
    Journal().tell(logging.ERROR, "bug", "", "100 % wrong", fault)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("trio_s2s", "ERROR")
    assert record.getMessage() == "100 % wrong"
    assert record.exc_info is not None
    assert record.exc_info[1] is fault


async def test_what_is_not_logged_is_not_remembered(caplog: Log) -> None:
    caplog.set_level(logging.WARNING, "trio_s2s")
    journal = Journal()
    journal.tell(logging.INFO, "left", "a", "a left")
    assert journal._told == {}


async def test_crowd_of_hosts_shares_a_line(autojump_clock: Clock, caplog: Log) -> None:
    journal = Journal()
    for number in range(MOST_HOSTS + 50):
        journal.tell(logging.WARNING, "busy", f"host {number}", f"{number} refused")
    assert len(journal._told) == MOST_HOSTS + 1
    assert caplog.messages[-1] == f"{MOST_HOSTS} refused"
    await trio.sleep(10)
    journal.tell(logging.WARNING, "busy", "another", "another one refused")
    assert len(journal._told) == 1
    assert caplog.messages[-1] == "another one refused"


async def test_line_tells_who_logged_it(caplog: Log) -> None:
    log.error("from here")
    log.exception("from here")
    Journal().tell(logging.ERROR, "bug", "", "from here")
    assert {record.filename for record in caplog.records} == {"test_journal.py"}
    assert len(caplog.records) == 3
