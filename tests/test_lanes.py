"""Things that are done one at a time."""

from trio_s2s.lanes import Lane


class Record:
    """Starts jobs: those in capitals are at work until `finish`."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.lane = Lane(self.start, is_open=is_open)
        self.started: list[str] = []

    def start(self, lane: Lane[str], job: str) -> bool:
        assert lane is self.lane
        assert lane.is_busy
        assert lane.must_wait
        self.started.append(job)
        return job.islower()


def test_lane_does_at_once_what_is_done_at_once() -> None:
    record = Record()
    for job in "ab":
        assert not record.lane.must_wait
        record.lane.add(job)
        assert not record.lane.is_busy
    assert record.started == ["a", "b"]


def test_lane_has_one_job_at_work() -> None:
    record = Record()
    for job in "AbCd":
        record.lane.add(job)
    assert record.started == ["A"]
    record.lane.go_on()
    assert record.started == ["A", "b", "C"]
    assert record.lane.is_busy
    record.lane.go_on()
    assert record.started == ["A", "b", "C", "d"]
    assert not record.lane.is_busy


def test_lane_takes_a_job_that_a_job_adds() -> None:
    order: list[str] = []

    def start(lane: Lane[str], job: str) -> bool:
        order.append(job)
        if job == "a":
            lane.add("b")
        order.append(f"{job} is over")
        return True

    Lane(start).add("a")
    assert order == ["a", "a is over", "b", "b is over"]


def test_lane_that_is_shut_begins_when_it_is_opened() -> None:
    record = Record(is_open=False)
    assert (record.lane.must_wait, record.lane.is_busy) == (True, False)
    for job in "aBc":
        record.lane.add(job)
    assert (record.lane.must_wait, record.lane.is_busy) == (True, True)
    assert record.started == []
    record.lane.open()
    assert record.started == ["a", "B"]
    record.lane.go_on()
    assert record.started == ["a", "B", "c"]


def test_lane_forgets_what_waits() -> None:
    record = Record()
    record.lane.add("A")
    record.lane.add("B")
    record.lane.clear()
    record.lane.go_on()
    assert record.started == ["A"]
    assert not record.lane.is_busy
