"""Twin of `runtime.py`."""

import trio
import trio.testing

from trio_s2s import runtime


async def test_now_is_trios_clock(autojump_clock: trio.testing.MockClock) -> None:
    before = runtime.now()
    await trio.sleep(5)
    assert runtime.now() - before == 5


def test_instance_ids_have_16_bytes_and_differ() -> None:
    ids = {runtime.new_instance_id() for _ in range(10)}
    assert len(ids) == 10
    assert {len(one) for one in ids} == {16}


async def test_streams_and_listeners_meet_on_loopback() -> None:
    [listener] = await runtime.open_listeners(0, "127.0.0.1", 5)
    assert isinstance(listener, trio.SocketListener)
    async with listener:
        port = listener.socket.getsockname()[1]
        async with await runtime.open_stream("127.0.0.1", port) as near:
            far = await listener.accept()
            await near.send_all(b"x")
            assert await far.receive_some() == b"x"
            await far.aclose()
