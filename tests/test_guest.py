"""Twin of `guest.py`."""

import trio
import trio.testing

from trio_s2s import InitRequest, PeerConfig
from trio_s2s.fields import Identity
from trio_s2s.guest import Guest, init_request
from trio_s2s.handshake import hello, read_hello
from trio_s2s.transport import addresses_of

THEM = Identity(b"x" * 16, "gs-1", "2.0")


async def test_guest_is_named_by_its_addresses() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as far,
            await listener.accept() as near,
        ):
            guest = Guest.of(near)
            there, _ = addresses_of(far)
            assert str(guest) == f"{there} to 127.0.0.1:{port}"
            assert guest.host == "127.0.0.1"


async def test_guest_without_an_address_is_somebody() -> None:
    near, _ = trio.testing.memory_stream_pair()
    assert str(Guest.of(near)) == "somebody to a stream"
    assert Guest.of(near).host == ""


async def test_who_wants_in_is_told() -> None:
    near, _ = trio.testing.memory_stream_pair()
    frame = hello(THEM, "Master", {"a": 1}, PeerConfig())
    said = read_hello(frame[4:], PeerConfig())
    assert init_request(said, near) == InitRequest(
        "Master", "gs-1", b"x" * 16, "2.0", {"a": 1}
    )
