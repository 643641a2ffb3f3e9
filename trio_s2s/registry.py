"""The peers of one server that are connected, by the name of the other side."""

from collections.abc import Iterator

import trio

from trio_s2s.codes import DisconnectReason
from trio_s2s.errors import PeerDisconnectedError
from trio_s2s.peer import Peer

__all__ = ["Peers"]


class Peers:
    """Who is connected, from the end of `on_connected` to the begin of the end.

    To iterate gives the peers as they are at that moment, so that a loop may wait.
    """

    def __init__(self) -> None:
        # By `id`: an application's class may compare by value, or have no hash.
        self._peers: dict[int, Peer] = {}
        self._by_id: dict[str, Peer] = {}
        self._moved = trio.lowlevel.ParkingLot()
        self.is_closed: bool = False

    def __iter__(self) -> Iterator[Peer]:
        """Go through those that are connected now."""
        return iter(list(self._peers.values()))

    def __len__(self) -> int:
        """Count those that are connected now."""
        return len(self._peers)

    def __contains__(self, who: object) -> bool:
        """Whether a peer, or a server of this id, is connected."""
        return who in self._by_id if isinstance(who, str) else id(who) in self._peers

    def __repr__(self) -> str:
        """Say who is connected, for a log."""
        return f"<Peers {[peer.server_id or repr(peer) for peer in self]}>"

    def get(self, server_id: str) -> Peer | None:
        """Give the peer of the server with this id, None if it is not connected."""
        return self._by_id.get(server_id)

    def group(self, name: str) -> list[Peer]:
        """Give those of a group that are connected now, see `Peer.groups`."""
        return [peer for peer in self if name in peer.groups]

    async def wait_for(self, server_id: str = "", *, group: str = "") -> Peer:
        """Wait until the server with this id is connected, and give its peer.

        Or until one of a group is, which may be there already.
        Raises PeerDisconnectedError (NOT_CONNECTED) when this server stops.
        """
        if bool(server_id) == bool(group):
            raise TypeError("wait_for takes the id of a server, or group=")
        await trio.lowlevel.checkpoint()
        while not (found := self._find(server_id, group)):
            await self.change(f"group {group!r}" if group else f"server {server_id!r}")
        return found[0]

    def _find(self, server_id: str, group: str) -> list[Peer]:
        peer = self.get(server_id)
        return [peer] if peer is not None else self.group(group) if group else []

    # -- for the package --

    async def change(self, awaited: str) -> None:
        """Wait until somebody comes or goes; an error once nobody will."""
        if not self.is_closed:
            await self._moved.park()
        if self.is_closed:
            reason = DisconnectReason.NOT_CONNECTED
            raise PeerDisconnectedError(reason, f"{awaited}: this server has stopped")

    def add(self, peer: Peer) -> None:
        self._peers[id(peer)] = peer
        if peer.server_id:
            self._by_id[peer.server_id] = peer
        self._moved.unpark_all()

    def remove(self, peer: Peer) -> None:
        """Take a peer out, if it was in."""
        if self._peers.pop(id(peer), None) is None:
            return
        if self._by_id.get(peer.server_id) is peer:
            del self._by_id[peer.server_id]
            for other in self._peers.values():
                if other.server_id == peer.server_id:
                    self._by_id[peer.server_id] = other
        self._moved.unpark_all()

    def close(self) -> None:
        """Tell those who wait that nobody will come any more."""
        self.is_closed = True
        self._moved.unpark_all()
