"""Twin of `linking.py`: what a named link may be, and when it is opened."""

import re
import ssl
from typing import Any

import pytest
import trio
import trio.testing

from tests.network import Caller, Server, memory
from tests.peers import Acceptor, Wait
from trio_s2s import (
    Application,
    ListenerConfig,
    ListenError,
    OutboundPeer,
    open_application,
)
from trio_s2s.linking import LinkConfig

Clock = trio.testing.MockClock


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": ""}, "name is a text that is not empty, not ''"),
        ({"host": 5}, "host is a text that is not empty, not 5"),
        ({"port": 0}, "port is a whole number, 1 to 65535, not 0"),
        ({"peer": Acceptor}, "peer is a class of OutboundPeers, not <class"),
        ({"peer": Caller()}, "peer is a class of OutboundPeers, not <"),
        ({"application_name": None}, "application_name is a text, not None"),
        ({"server_id": ""}, "server_id is 1 to 64 of A-Z a-z 0-9 . _ -, not ''"),
        ({"server_id": 5}, "server_id is 1 to 64 of A-Z a-z 0-9 . _ -, not 5"),
        ({"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "this ssl_context"),
        ({"insecure": "yes"}, "insecure is True or False, not 'yes'"),
        ({"retry": 15}, "retry is a Backoff or a Fixed, not 15"),
        ({"host": "10.0.0.5"}, "dialling 10.0.0.5 would send everything in plain"),
    ],
)
def test_link_refuses_what_makes_no_sense(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}"):
        LinkConfig(**{"name": "a", "host": "localhost", "port": 4520, **options})


def test_link_takes_what_makes_sense() -> None:
    link = LinkConfig(name="a", host="localhost", port=4520)
    assert (link.peer, link.server_id) == (OutboundPeer, None)
    context = ssl.create_default_context()
    LinkConfig(name="a", host="b", port=65535, ssl_context=context, server_id="b-1")


class Client(Application):
    """Notes what is there when its hooks run."""

    def __init__(self, *openings: Any) -> None:
        super().__init__("Client", server_id="client")
        self._openings = openings
        self.seen: list[list[str]] = []

    async def setup(self) -> None:
        self.seen.append(list(self.links))

    async def tear_down(self) -> None:
        self.seen.append(list(self.links))


LINK = LinkConfig(
    name="there", host="localhost", port=4520, peer=Caller, application_name="Server"
)


async def test_links_are_opened_after_setup_each_time(autojump_clock: Clock) -> None:
    client = Client(LINK)
    assert client.links == {}
    async with memory(), open_application(Server()):
        for _ in range(2):
            async with open_application(client):
                assert list(client.links) == ["there"]
                peer = await client.links["there"].connected()
                assert isinstance(peer, Caller)
                await peer.request(Wait(0.1))
    assert client.seen == [[], ["there"], ["there"], ["there"]]


async def test_links_can_only_be_read() -> None:
    client: Any = Client()
    with pytest.raises(TypeError, match="does not support item assignment"):
        client.links["a"] = None


async def test_listeners_are_opened_before_it_is_announced() -> None:
    async with memory() as world, open_application(Client(ListenerConfig(4520))):
        assert list(world.listeners) == [4520]


class Short(Client):
    """Is over before it has begun."""

    async def setup(self) -> None:
        await self.stop()


async def test_nothing_is_opened_after_a_stop() -> None:
    async with memory() as world, open_application(Short(ListenerConfig(4520), LINK)):
        assert not world.listeners


async def test_opening_that_fails_ends_the_application() -> None:
    async with open_application(Application("Other")) as other:
        [listener] = await other.listen(ListenerConfig(0))
        port = listener.socket.getsockname()[1]
        client = Client(LINK, ListenerConfig(port))
        with pytest.raises(ListenError, match="it is in use"):
            async with open_application(client):
                pytest.fail("it does not begin")
    assert client.seen == [[], []]
