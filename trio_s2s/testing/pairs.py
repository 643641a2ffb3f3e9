"""Two peers that are connected, and nothing else."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar, overload

from trio_s2s.application import Application
from trio_s2s.config import PeerConfig
from trio_s2s.hosting import open_application
from trio_s2s.messages import InitRequest
from trio_s2s.outbound import open_tcp_peer
from trio_s2s.peer import InboundPeer, OutboundPeer
from trio_s2s.testing.network import MemoryNetwork
from trio_s2s.testing.recording import RecordingPeer

__all__ = ["memory_peers"]

Inbound = TypeVar("Inbound", bound=InboundPeer)
Outbound = TypeVar("Outbound", bound=OutboundPeer)

PORT: Final = 4520


@overload
def memory_peers(
    *, config: PeerConfig | None = None, network: MemoryNetwork | None = None
) -> AbstractAsyncContextManager[tuple[RecordingPeer, RecordingPeer]]: ...


@overload
def memory_peers(
    inbound: Callable[[InitRequest], Inbound],
    outbound: Callable[[], Outbound],
    *,
    config: PeerConfig | None = None,
    network: MemoryNetwork | None = None,
) -> AbstractAsyncContextManager[tuple[Inbound, Outbound]]: ...


@asynccontextmanager
async def memory_peers(
    inbound: Callable[[InitRequest], Any] = RecordingPeer,
    outbound: Callable[[], Any] = RecordingPeer,
    *,
    config: PeerConfig | None = None,
    network: MemoryNetwork | None = None,
) -> AsyncGenerator[tuple[Any, Any]]:
    """Give an inbound and an outbound peer, connected in memory, for a block.

    Args:
        inbound: Makes the accepting peer, for instance its class.
        outbound: Makes the dialling peer.
        config: Limits and timeouts of both.
        network: Where they meet, on its nodes `inbound` and `outbound`; by default one
            of their own, which loses nothing and takes no time.
    """
    network = network or MemoryNetwork()
    home = _Home(inbound, config)
    with network.at("inbound"):
        async with open_application(home):
            with network.at("outbound"):
                async with open_tcp_peer(
                    "localhost", PORT, outbound, config=config
                ) as peer:
                    while not len(home.peers):
                        await home.peers.change("the inbound peer")
                    [accepted] = home.peers
                    yield accepted, peer


class _Home(Application):
    def __init__(
        self, create_peer: Callable[[InitRequest], Any], config: PeerConfig | None
    ) -> None:
        super().__init__("inbound", config=config)
        self._create = create_peer

    async def setup(self) -> None:
        await self.listen_tcp(PORT)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        peer: InboundPeer = self._create(init_request)
        return peer
