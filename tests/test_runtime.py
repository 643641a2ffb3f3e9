"""Twin of `runtime.py`."""

from pathlib import Path

import pytest
import trio
import trio.testing

from trio_s2s import runtime
from trio_s2s.runtime import Runtime, current_runtime


async def test_now_is_trios_clock(autojump_clock: trio.testing.MockClock) -> None:
    before = runtime.now()
    await trio.sleep(5)
    assert runtime.now() - before == 5


def test_instance_ids_have_16_bytes_and_differ() -> None:
    ids = {Runtime().new_instance_id() for _ in range(10)}
    assert len(ids) == 10
    assert {len(one) for one in ids} == {16}


def test_numbers_are_drawn_between_zero_and_the_most() -> None:
    drawn = [Runtime().uniform(3) for _ in range(100)]
    assert len(set(drawn)) > 90
    assert all(0 <= number <= 3 for number in drawn)


def test_real_world_is_what_there_is_unless_a_test_says_otherwise() -> None:
    assert type(current_runtime.get()) is Runtime


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_streams_and_listeners_meet(kind: str, tmp_path: Path) -> None:
    world = Runtime()
    path = str(tmp_path / "socket")
    listeners: runtime.Listeners
    if kind == "tcp":
        listeners = tcp = await world.open_tcp_listeners(0, "127.0.0.1", 5)
        _, port = tcp[0].socket.getsockname()
        near = await world.open_tcp_stream("127.0.0.1", port)
    else:
        listeners = await world.open_unix_listeners(path, 5)
        near = await world.open_unix_stream(path)
    async with listeners[0], near:
        far = await listeners[0].accept()
        await near.send_all(b"x")
        assert await far.receive_some() == b"x"
        await far.aclose()
