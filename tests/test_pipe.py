"""Twin of `testing/pipe.py`."""

import random
from collections.abc import Callable

import attrs
import pytest
import trio
import trio.testing

from trio_s2s.framing import encode_frame
from trio_s2s.testing.pipe import Pipe
from trio_s2s.testing.trace import Trace
from trio_s2s.testing.weather import Weather

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


@attrs.define
class Place:
    name: str
    is_paused: bool = False


def new_pipe(weather: Weather | None = None, seed: int = 1) -> Pipe:
    rng = random.Random(seed)
    places = Place("a"), Place("b")
    return Pipe(weather or Weather(), rng, Trace(), *places, 1)


async def receive_all(pipe: Pipe) -> tuple[bytes, list[float]]:
    """Receive up to the end, and note when."""
    got, times = b"", []
    while data := await pipe.receive(1000):
        got += data
        times.append(trio.current_time())
    return got, times


DATA = bytes(range(256)) * 10


@pytest.mark.parametrize("seed", range(10))
async def test_bytes_arrive_in_order_whatever_the_jitter(
    seed: int, autojump_clock: Clock
) -> None:
    pipe = new_pipe(Weather(latency=0.5, jitter=2.0), seed)
    await pipe.send(DATA)
    pipe.close_sender()
    got, times = await receive_all(pipe)
    assert got == DATA
    assert times[0] >= 0.5
    assert times == sorted(times)


@pytest.mark.parametrize("seed", range(5))
async def test_writes_are_split_and_come_together(
    seed: int, autojump_clock: Clock
) -> None:
    pipe = new_pipe(Weather(jitter=1.0), seed)

    async def send() -> None:
        for _ in range(20):
            await pipe.send(bytes(100))
            await trio.sleep(0.2)
        pipe.close_sender()

    sizes = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while data := await pipe.receive(1000):
            sizes.append(len(data))
    assert sum(sizes) == 2000
    assert any(size % 100 for size in sizes), "no write was split"
    assert max(sizes) > 100, "no writes came together"


async def test_sender_waits_for_the_window(autojump_clock: Clock) -> None:
    pipe = new_pipe(Weather(window=100))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.send, DATA)
        await settled()
        assert len(pipe._buffer) == 100
        while len(pipe._buffer):
            await pipe.receive(50)
            await trio.lowlevel.checkpoint()
    await pipe.wait_for_room()


async def test_end_of_a_cut_arrives_after_so_many_bytes(autojump_clock: Clock) -> None:
    pipe = new_pipe()
    pipe.cut_after(10)
    await pipe.send(DATA)
    await pipe.send(DATA)  # Nobody has told the sender.
    got, _ = await receive_all(pipe)
    assert got == DATA[:10]


@pytest.mark.parametrize("cut", [lambda pipe: pipe.cut_after(0), Pipe.finish])
async def test_end_at_once(cut: Callable[[Pipe], None], autojump_clock: Clock) -> None:
    pipe = new_pipe(Weather(latency=3))
    cut(pipe)
    assert await pipe.receive(10) == b""
    assert trio.current_time() == 3


async def test_reset_breaks_both_ends(autojump_clock: Clock) -> None:
    pipe = new_pipe()
    await pipe.send(DATA)
    pipe.reset()
    pipe.reset()
    assert not pipe._arrivals
    with pytest.raises(trio.BrokenResourceError):
        await pipe.receive(10)
    with pytest.raises(trio.BrokenResourceError):
        await pipe.send(DATA)


async def test_sender_learns_later_that_nobody_reads(autojump_clock: Clock) -> None:
    pipe = new_pipe(Weather(window=10))
    pipe.close_receiver(2.0)
    pipe.close_receiver(9.0)
    await pipe.send(DATA)  # It is lost, and the sender does not know.
    await trio.sleep(2)
    with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
        await pipe.send(DATA)
    with pytest.raises(trio.ClosedResourceError):
        await pipe.receive(10)


@pytest.mark.parametrize("stop", ["is_cut", "is_stalled", "is_silent", "is_paused"])
async def test_nothing_arrives_while_it_stands_still(
    stop: str, autojump_clock: Clock
) -> None:
    pipe = new_pipe()
    owner = {"is_silent": pipe, "is_paused": pipe.target}.get(stop, pipe.weather)
    setattr(owner, stop, True)
    await pipe.send(DATA)
    with trio.move_on_after(60) as scope:
        await pipe.receive(10)
    assert scope.cancelled_caught
    setattr(owner, stop, False)
    pipe.thaw()
    assert await pipe.receive(5000)


async def test_what_thaws_takes_the_time_that_it_takes_now(
    autojump_clock: Clock,
) -> None:
    pipe = new_pipe(Weather(latency=100, is_cut=True))
    await pipe.send(DATA)
    pipe.weather.latency, pipe.weather.is_cut = 1, False
    pipe.thaw()
    assert await pipe.receive(10)
    assert trio.current_time() == 1


async def test_less_may_be_received_than_has_arrived(autojump_clock: Clock) -> None:
    pipe = new_pipe()
    await pipe.send(DATA)
    sizes = [len(await pipe.receive(10)) for _ in range(100)]
    assert min(sizes) < max(sizes) == 10


async def test_paused_sender_waits(autojump_clock: Clock) -> None:
    pipe = new_pipe()
    pipe.source.is_paused = True
    with trio.move_on_after(60) as scope:
        await pipe.send(DATA)
    assert scope.cancelled_caught


async def test_end_that_was_kept_back_arrives_when_it_thaws(
    autojump_clock: Clock,
) -> None:
    pipe = new_pipe(Weather(latency=1, is_cut=True))
    pipe.close_sender()
    await trio.sleep(50)
    pipe.weather.is_cut = False
    pipe.thaw()
    assert await pipe.receive(10) == b""
    assert trio.current_time() == 51


async def test_wrong_bit_is_one_bit(autojump_clock: Clock) -> None:
    pipe = new_pipe(Weather(corrupts=1))
    await pipe.send(DATA)
    await pipe.send(DATA)
    pipe.close_sender()
    got, _ = await receive_all(pipe)
    wrong = [a ^ b for a, b in zip(got, DATA * 2, strict=True) if a != b]
    assert [one.bit_count() for one in wrong] == [1]


def frames(count: int) -> bytes:
    return b"".join(encode_frame([bytes([number])]) for number in range(count))


async def test_frames_are_held_and_released(autojump_clock: Clock) -> None:
    pipe = new_pipe(Weather(is_held=True))
    await pipe.send(frames(3))
    await settled()
    pipe.release(1)
    assert await receive_some_of(pipe) == frames(1)
    pipe.release(3)  # Two are there, one is still to come.
    await pipe.send(frames(2))
    assert await receive_some_of(pipe) == frames(3)[5:] + frames(1)
    pipe.release_all()
    assert await receive_some_of(pipe) == frames(2)[5:]


async def test_what_is_no_frame_is_held_write_by_write(autojump_clock: Clock) -> None:
    pipe = new_pipe(Weather(is_held=True))
    await pipe.send(b"\xff" * 5)
    pipe.release(1)
    assert await receive_some_of(pipe) == b"\xff" * 5
    await pipe.send(b"x")
    assert await receive_some_of(pipe) == b""


async def receive_some_of(pipe: Pipe) -> bytes:
    got = b""
    with trio.move_on_after(1):
        while True:
            got += await pipe.receive(1000)
    return got


async def test_hold_keeps_back_what_was_not_read(autojump_clock: Clock) -> None:
    pipe = new_pipe()
    await pipe.send(frames(2))
    pipe.hold()
    assert await receive_some_of(pipe) == b""
    pipe.release(2)
    assert await receive_some_of(pipe) == frames(2)


async def test_mirror_gets_the_first_frame_alone(autojump_clock: Clock) -> None:
    pipe, mirror = new_pipe(), new_pipe()
    pipe.mirror = mirror
    await pipe.send(frames(1))
    await pipe.send(frames(3))
    assert await receive_some_of(mirror) == frames(1)
    pipe.mirror = other = new_pipe()
    pipe.finish()
    assert await other.receive(1) == b""


async def test_end_that_dies_silently_tells_nobody(autojump_clock: Clock) -> None:
    for name, fails in (("a", Pipe.send), ("b", Pipe.receive)):
        pipe = new_pipe()
        pipe.die(name, silently=True)
        argument = DATA if name == "a" else 10
        with pytest.raises(trio.BrokenResourceError, match="killed"):
            await fails(pipe, argument)  # type: ignore[arg-type]  # each has its own
    pipe = new_pipe()
    pipe.die("a", silently=False)
    with pytest.raises(trio.BrokenResourceError):
        await pipe.receive(1)
