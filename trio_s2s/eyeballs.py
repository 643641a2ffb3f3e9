"""Connects to whichever of several addresses answers first: RFC 8305."""

import socket
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Final

import trio

from trio_s2s.lookup import Address, Progress, look_up, progress

__all__ = ["open_first"]

STAGGER: Final = 0.25
"""Seconds that an address has for itself, until the next one is tried as well."""


async def open_first(host: str, port: int) -> trio.SocketStream:
    """Connect to whichever address of a host answers first.

    They are tried in the order of the look-up, by turns of IPv6 and IPv4, each 0.25 s
    after the one before, or as soon as that has failed.

    Raises OSError: That of the address, or one for all; then `__cause__` is a group of
    all of them.

    Cancellation: nothing is left open.
    """
    addresses = by_turns(await look_up(host, port))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "it has no address")
    errors: dict[Address, OSError] = {}
    won: list[trio.SocketStream] = []
    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                over = trio.Event()
                nursery.start_soon(
                    _try_one, address, over, won, errors, nursery.cancel_scope
                )
                with trio.move_on_after(STAGGER):
                    await over.wait()
    except BaseException:
        for stream in won:
            stream.socket.close()
        raise
    if won:
        return won[0]
    text = f"none of {len(addresses)} addresses of {host!r} could be reached"
    # In the order of the addresses, whichever has failed first.
    causes = [errors[address] for address in addresses if address in errors]
    raise OSError(text) from ExceptionGroup(text, causes)


def by_turns(addresses: Iterable[Address]) -> Sequence[Address]:
    """Give one of each family in turn; the first of all stays the first."""
    families: dict[socket.AddressFamily, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    turns = zip_longest(*families.values())
    return [address for address in chain(*turns) if address is not None]


async def _try_one(
    address: Address,
    over: trio.Event,
    won: list[trio.SocketStream],
    errors: dict[Address, OSError],
    all_of_them: trio.CancelScope,
) -> None:
    family, kind, protocol, _, target = address
    reached = progress.get(None) or Progress()
    reached.tried.append(f"{target[0]}:{target[1]}")
    try:
        attempt = trio.socket.socket(family, kind, protocol)
        try:
            await attempt.connect(target)
        except BaseException:
            attempt.close()
            raise
        if won:
            attempt.close()  # Another one has answered in the same moment.
        else:
            won.append(trio.SocketStream(attempt))
            all_of_them.cancel(reason="another address has answered")
    except OSError as error:
        errors[address] = error
        over.set()
