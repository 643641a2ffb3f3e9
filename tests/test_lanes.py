"""Jobs that are done one at a time."""

from trio_s2s.lanes import Job, Lane


class Record:
    """Starts jobs: those that are async are at work until `finish`."""

    def __init__(self) -> None:
        self.lane = Lane(self.start)
        self.started: list[str] = []

    def add(self, name: str, *, is_async: bool) -> None:
        self.lane.add(Job(name, is_async, print, tuple))

    def start(self, lane: Lane, job: Job) -> bool:
        assert lane is self.lane
        assert lane.is_busy
        self.started.append(job.name)
        job.done()
        return not job.is_async


def test_lane_does_plain_jobs_at_once() -> None:
    record = Record()
    record.add("a", is_async=False)
    assert not record.lane.is_busy
    record.add("b", is_async=False)
    assert record.started == ["a", "b"]
    assert not record.lane.is_busy


def test_lane_has_one_job_at_work() -> None:
    record = Record()
    record.add("a", is_async=True)
    record.add("b", is_async=False)
    record.add("c", is_async=True)
    record.add("d", is_async=False)
    assert record.started == ["a"]
    record.lane.go_on()
    assert record.started == ["a", "b", "c"]
    assert record.lane.is_busy
    record.lane.go_on()
    assert record.started == ["a", "b", "c", "d"]
    assert not record.lane.is_busy


def test_lane_takes_a_job_that_a_job_adds() -> None:
    order: list[str] = []

    def start(lane: Lane, job: Job) -> bool:
        order.append(job.name)
        if job.name == "a":
            lane.add(Job("b", False, print, tuple))
        order.append(f"{job.name} is over")
        return True

    Lane(start).add(Job("a", False, print, tuple))
    assert order == ["a", "a is over", "b", "b is over"]


def test_lane_forgets_what_waits() -> None:
    record = Record()
    record.add("a", is_async=True)
    record.add("b", is_async=True)
    record.lane.clear()
    record.lane.go_on()
    assert record.started == ["a"]
    assert not record.lane.is_busy
