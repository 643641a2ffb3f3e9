"""Signs of life, and their absence."""

from itertools import pairwise

import trio
import trio.testing

from tests.streams import settled
from trio_s2s.heartbeat import Heartbeat
from trio_s2s.runtime import now


class Watch:
    """A heartbeat that is watched itself; times count from its start."""

    def __init__(self, ours: float = 2.5, theirs: float = 2.5, misses: int = 3) -> None:
        self.heartbeat = Heartbeat(ours, theirs, misses)
        self.asked: list[float] = []
        self.tokens: list[int] = []
        self.ticks = 0
        self.silent: list[tuple[float, str]] = []
        self._start = now()

    def start(self, nursery: trio.Nursery) -> None:
        self.heartbeat.start(nursery, self._ask, self._tick, self._silent)

    def receive(self) -> None:
        self.heartbeat.last_received = now()

    @property
    def time(self) -> float:
        return now() - self._start

    def _ask(self, token: int) -> None:
        self.asked.append(self.time)
        self.tokens.append(token)

    def _tick(self) -> None:
        self.ticks += 1

    def _silent(self, text: str) -> None:
        self.silent.append((self.time, text))


async def test_interval_is_the_larger_of_both_within_bounds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert Heartbeat(1.0, 4.0, 3).interval == 4.0
    assert Heartbeat(4.0, 1.0, 3).interval == 4.0
    assert Heartbeat(0.01, 0.0, 3).interval == 0.1
    assert Heartbeat(1.0, 1e9, 3).interval == 600.0


async def test_silence_is_noticed_after_7_5_s(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    watch = Watch()
    watch.start(nursery)
    await trio.sleep(100)
    assert watch.silent == [(7.5, "nothing was received for 7.5 s (limit 7.5 s)")]
    assert watch.asked == [2.5, 5.0]
    assert watch.tokens == [1, 1]  # It asks for the same answer still.
    assert watch.ticks == 3


async def test_any_byte_is_a_sign_of_life(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    watch = Watch()
    watch.start(nursery)
    await trio.sleep(7)
    watch.receive()
    await trio.sleep(7)
    watch.receive()
    await trio.sleep(7.4)
    assert watch.silent == []
    await trio.sleep(0.2)
    assert [time for time, _ in watch.silent] == [21.5]


async def test_busy_connection_is_asked_every_30_s_only(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    watch = Watch()
    watch.start(nursery)
    for _ in range(100):
        await trio.sleep(1)
        watch.receive()
        watch.heartbeat.last_sent = now()
    assert watch.silent == []
    assert len(watch.asked) == 3
    assert 30 <= watch.asked[0] <= 34


async def test_one_miss_may_be_enough(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    watch = Watch(misses=1)
    watch.start(nursery)
    await trio.sleep(100)
    assert [time for time, _ in watch.silent] == [2.5]
    assert watch.asked == []


async def test_late_wake_up_is_one_miss_only(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    """A process that was suspended heard nothing, which is not the other's fault."""
    watch = Watch()
    watch.start(nursery)
    await settled()
    mock_clock.jump(3600)
    await settled()
    assert watch.silent == []
    assert watch.asked == [3600]
    mock_clock.jump(2.5)
    await settled()
    assert watch.silent == []
    mock_clock.jump(2.5)
    await settled()
    assert [time for time, _ in watch.silent] == [3605]


async def test_late_wake_up_is_forgotten_after_a_sign_of_life(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    watch = Watch()
    watch.start(nursery)
    await settled()
    mock_clock.jump(100)
    await settled()
    watch.receive()
    for _ in range(4):
        mock_clock.jump(2.5)
        await settled()
    assert [time for time, _ in watch.silent] == [107.5]


async def test_every_late_wake_up_is_a_miss(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    watch = Watch()
    watch.start(nursery)
    await settled()
    for _ in range(3):
        assert watch.silent == []
        mock_clock.jump(100)
        await settled()
    assert [time for time, _ in watch.silent] == [300]


async def test_stop_ends_the_task_and_nothing_else_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watch = Watch()
    async with trio.open_nursery() as nursery:
        watch.start(nursery)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(2.6)
        assert watch.asked == [2.5]
        watch.heartbeat.stop()
    assert watch.silent == []


async def test_stop_before_the_task_runs_ends_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watch = Watch()
    watch.heartbeat.stop()
    async with trio.open_nursery() as nursery:
        watch.start(nursery)
    assert watch.time == 0
    assert watch.silent == []


async def test_answer_gives_the_round_trip_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watch = Watch()
    heartbeat = watch.heartbeat
    heartbeat.ask(watch._ask)
    assert heartbeat.round_trip_time is None
    await trio.sleep(0.25)
    assert heartbeat.answered(1)
    assert heartbeat.round_trip_time == 0.25


async def test_answer_that_takes_longer_than_an_interval_is_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each PING took the place of the one before, and none was ever answered."""
    watch = Watch()
    heartbeat = watch.heartbeat
    for number in range(4):
        heartbeat.ask(watch._ask)
        await trio.sleep(0.25)
        # The second PING has gone out before the first was answered, and so on.
        heartbeat.ask(watch._ask)
        await trio.sleep(0.25)
        assert heartbeat.answered(number + 1)
        assert heartbeat.round_trip_time == 0.5
        assert heartbeat.answered(number + 1)  # That was for the second one.
        assert heartbeat.round_trip_time == 0.5


async def test_answer_to_nothing_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watch = Watch()
    assert not watch.heartbeat.answered(1)
    assert not watch.heartbeat.answered(0)
    watch.heartbeat.ask(watch._ask)
    assert not watch.heartbeat.answered(0)
    assert not watch.heartbeat.answered(2)
    assert watch.heartbeat.round_trip_time is None


async def test_who_only_receives_gives_signs_of_life(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    watch = Watch(misses=2)
    watch.start(nursery)
    for _ in range(40):
        await trio.sleep(0.3)
        watch.receive()
    times = [0.0, *watch.asked, watch.time]
    assert max(b - a for a, b in pairwise(times)) < 2 * 2.5


async def test_who_sends_anyway_gives_no_more_signs_of_life(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    watch = Watch()
    watch.start(nursery)
    for _ in range(60):
        await trio.sleep(0.3)
        watch.receive()
        watch.heartbeat.last_sent = now()
    assert watch.asked == []
