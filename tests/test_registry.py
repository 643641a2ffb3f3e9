"""Twin of `registry.py`."""

from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import Acceptor
from trio_s2s import DisconnectReason, Peer, PeerDisconnectedError
from trio_s2s.registry import Peers

settled = trio.testing.wait_all_tasks_blocked


def peer(server_id: str) -> Peer:
    made = Acceptor()
    made.server_id = server_id
    return made


async def test_peers_are_found_by_id_and_by_themselves() -> None:
    peers = Peers()
    one, two, nameless = peer("gs-1"), peer("gs-2"), peer("")
    for each in one, two, nameless:
        peers.add(each)
    assert list(peers) == [one, two, nameless]
    assert len(peers) == 3
    assert "gs-1" in peers
    assert two in peers
    assert peers.get("gs-2") is two
    assert peers.get("") is None
    assert None not in peers
    assert repr(peers).startswith("<Peers ['gs-1', 'gs-2', '<Acceptor")
    peers.remove(one)
    assert "gs-1" not in peers
    assert peers.get("gs-1") is None
    assert list(peers) == [two, nameless]


async def test_peers_are_found_by_their_groups() -> None:
    peers = Peers()
    one, two, three = peer("gs-1"), peer("gs-2"), peer("chat-1")
    one.groups = two.groups = {"game", "eu"}
    three.groups = ("chat",)
    for each in one, two, three:
        peers.add(each)
    assert peers.group("game") == [one, two]
    assert peers.group("chat") == [three]
    assert peers.group("none") == []


async def test_one_of_a_group_is_waited_for() -> None:
    peers = Peers()
    found = []

    async def wait() -> None:
        found.append(await peers.wait_for(group="chat"))

    chat = peer("chat-1")
    chat.groups = ["chat"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await settled()
        peers.add(peer("gs-1"))
        await settled()
        assert not found
        peers.add(chat)
    assert found == [chat]
    with trio.testing.assert_checkpoints():
        assert await peers.wait_for(group="chat") is chat
    for wrong in {}, {"server_id": "a", "group": "b"}:
        with pytest.raises(TypeError, match="the id of a server, or group="):
            await peers.wait_for(**wrong)


async def test_who_was_never_in_leaves_without_a_word() -> None:
    peers = Peers()
    peers.add(peer("gs-1"))
    peers.remove(peer("gs-1"))
    assert "gs-1" in peers


async def test_newest_of_two_with_one_id_is_found_until_it_leaves() -> None:
    peers = Peers()
    old, new, other = peer("gs-1"), peer("gs-1"), peer("gs-2")
    for each in old, new, other:
        peers.add(each)
    assert peers.get("gs-1") is new
    peers.remove(old)
    assert peers.get("gs-1") is new
    peers.add(old)
    peers.remove(old)
    assert peers.get("gs-1") is new


async def test_loop_over_peers_may_wait_while_they_change() -> None:
    peers = Peers()
    one, two = peer("gs-1"), peer("gs-2")
    peers.add(one)
    peers.add(two)
    seen = []
    for each in peers:
        await trio.lowlevel.checkpoint()
        peers.remove(two)
        peers.add(peer("gs-3"))
        seen.append(each)
    assert seen == [one, two]


async def test_waiting_ends_with_the_peer(nursery: trio.Nursery) -> None:
    peers, found = Peers(), []

    async def wait() -> None:
        found.append(await peers.wait_for("gs-1"))

    nursery.start_soon(wait)
    await settled()
    peers.add(peer("gs-2"))
    await settled()
    assert found == []
    here = peer("gs-1")
    peers.add(here)
    await settled()
    assert found == [here]
    with trio.testing.assert_checkpoints():
        assert await peers.wait_for("gs-1") is here


@pytest.mark.parametrize("closed_before", [False, True])
async def test_nobody_waits_for_ever(closed_before: bool) -> None:
    peers = Peers()
    failed: list[Any] = []

    async def wait() -> None:
        with pytest.raises(
            PeerDisconnectedError, match=r"'gs-1'.* has stopped"
        ) as error:
            await peers.wait_for("gs-1")
        failed.append(error.value.reason)

    async with trio.open_nursery() as nursery:
        if closed_before:
            peers.close()
        nursery.start_soon(wait)
        await settled()
        peers.close()
    assert failed == [DisconnectReason.NOT_CONNECTED]
