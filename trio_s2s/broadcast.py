"""One event to many peers, packed once; a slow one does not hold up the others."""

from collections.abc import Iterable
from typing import Literal

import attrs
import trio

from trio_s2s.calls import Calls
from trio_s2s.codes import CloseCode, DisconnectReason
from trio_s2s.contracts import Event
from trio_s2s.errors import (
    LocalProtocolError,
    MessageTooLargeError,
    PeerBusyError,
    PeerClosedError,
    PeerDisconnectedError,
)
from trio_s2s.messages import EventData
from trio_s2s.peer import Peer
from trio_s2s.session import pack_post
from trio_s2s.tickets import Post

__all__ = ["Slow", "send_to_all"]

Slow = Literal["wait", "skip", "disconnect"]
"""What becomes of a peer that can't take an event now."""

_MISSED = (
    LocalProtocolError,  # It takes no events at all.
    MessageTooLargeError,
    PeerBusyError,
    PeerClosedError,
    PeerDisconnectedError,
)


async def send_to_all(
    event: Event | EventData, peers: Iterable[Peer], slow: Slow, max_elements: int
) -> list[Peer]:
    """Send an event to peers; give those that it did not reach."""
    if slow not in ("wait", "skip", "disconnect"):
        raise ValueError(f"slow is 'wait', 'skip' or 'disconnect', not {slow!r}")
    packed = pack_post(event, 0, max_elements)
    await trio.lowlevel.checkpoint()
    missed: list[Peer] = []
    waiting: list[Peer] = []
    for peer in list(peers):
        try:
            _calls(peer).send_event_nowait(_copy(packed), unreliable=False)
        except trio.WouldBlock:
            waiting.append(peer)
        except _MISSED:
            missed.append(peer)
    if slow == "wait":
        async with trio.open_nursery() as nursery:
            for peer in waiting:
                nursery.start_soon(_send, peer, packed, missed)
        return missed
    if slow == "disconnect":
        for peer in waiting:
            _end(peer)
    return missed + waiting


async def _send(peer: Peer, packed: Post, missed: list[Peer]) -> None:
    try:
        await _calls(peer).send_event(_copy(packed), unreliable=False, flush=False)
    except _MISSED:
        missed.append(peer)


def _calls(peer: Peer) -> Calls:
    return peer._usable("a broadcast").connection.calls


def _copy(packed: Post) -> Post:
    # Each has its own place in its peer's queue; all share the bytes.
    return attrs.evolve(packed)


def _end(peer: Peer) -> None:
    assert peer._session is not None
    text = "it was too slow for a broadcast"
    peer._session.connection.fail(DisconnectReason.LOCAL_CLOSE, text, CloseCode.CLOSED)
