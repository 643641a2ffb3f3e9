"""Visits a server from the command line: knocks, measures or asks, and goes."""

import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs
import trio

from trio_s2s.codes import Outcome, ReturnCode
from trio_s2s.errors import (
    ConnectionFailedError,
    PeerDisconnectedError,
    S2SError,
)
from trio_s2s.messages import EventData, OperationRequest, SendParameters
from trio_s2s.outbound import open_tcp_peer
from trio_s2s.output import Status, complain, for_json, show
from trio_s2s.peer import OutboundPeer
from trio_s2s.runtime import now, timer

__all__ = ["Door", "Errand", "Status", "call", "parameters_of", "ping", "visit"]

MS: Final = 1000.0


@attrs.frozen
class Door:
    """Whom to visit, and how to get in."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    insecure: bool = False

    def __str__(self) -> str:
        """Write it as an address."""
        return f"{self.host}:{self.port}"


Errand = Callable[[OutboundPeer, Door, float], Awaitable[Status]]
"""What to do inside; it is told how long it took to get in, in seconds."""


class Visitor(OutboundPeer):
    """Has not come for the server's events."""

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        """Say nothing of it."""


def visit(door: Door, errand: Errand, limit: float, *, as_json: bool) -> Status:
    """Connect, do something, and go; what goes wrong is told in a line."""
    try:
        return trio.run(_visit, door, errand, limit)
    except KeyboardInterrupt:
        text, status = "interrupted", Status.TOO_SLOW
    except trio.TooSlowError:
        text, status = f"{door} did not answer within {limit:g} s", Status.TOO_SLOW
    except ConnectionFailedError as error:
        text, status = str(error), Status.NOT_CONNECTED
    except PeerDisconnectedError as error:
        text, status = str(error), Status.LOST
    except (S2SError, ValueError) as error:
        text, status = str(error), Status.WRONG_USAGE
    if as_json:
        show(as_json=True, text="", error=text, status=status)
        return status
    return complain(text, status)


async def _visit(door: Door, errand: Errand, limit: float) -> Status:
    with timer(limit) as scope:
        began = now()
        async with open_tcp_peer(
            door.host,
            door.port,
            Visitor,
            ssl_context=door.ssl_context,
            insecure=door.insecure,
        ) as peer:
            return await errand(peer, door, now() - began)
    assert scope.cancelled_caught
    raise trio.TooSlowError


# -- ping --


def ping(count: int, *, as_json: bool) -> Errand:
    """Say who is there, and measure so many round trips."""

    async def errand(peer: OutboundPeer, door: Door, took: float) -> Status:
        who = peer.server_id or "a server without a name"
        how = "TLS" if door.ssl_context else "plain TCP"
        version = peer.init_response.version
        about = f"protocol 1, {how}" + (f", version {version}" if version else "")
        if not as_json:
            print(f"connected to {who} at {door} in {took * MS:.1f} ms ({about})")
        trips = []
        for number in range(1, count + 1):
            trips.append(await _round_trip(peer) * MS)
            if not as_json:
                print(f"{number}: {trips[-1]:.2f} ms", flush=True)
        least, most, mean = min(trips), max(trips), sum(trips) / count
        show(
            as_json=as_json,
            text=f"min {least:.2f}, mean {mean:.2f}, max {most:.2f} ms",
            address=str(door),
            server_id=peer.server_id,
            version=version,
            tls=door.ssl_context is not None,
            connect_ms=took * MS,
            round_trips_ms=trips,
        )
        return Status.OK

    return errand


async def _round_trip(peer: OutboundPeer) -> float:
    assert peer._session is not None
    connection = peer._session.connection
    ending, heartbeat = connection.ending, connection.heartbeat
    connection.ping()
    await heartbeat.answer(lambda: ending.reason is not None)
    if ending.reason is not None:
        raise ending.error(Outcome.UNKNOWN, "a round trip")
    assert heartbeat.round_trip_time is not None
    return heartbeat.round_trip_time


# -- call --


def call(code: int, parameters: Mapping[int | str, Any], *, as_json: bool) -> Errand:
    """Send one operation, and show its answer."""
    request = OperationRequest(code, dict(parameters))

    async def errand(peer: OutboundPeer, door: Door, _: float) -> Status:
        began = now()
        answer = await peer.request(request)
        took = (now() - began) * MS
        about = answer.debug_message or ""
        name = _name_of(answer.return_code)
        rest = f"\n{json.dumps(answer.parameters, default=for_json)}"
        show(
            as_json=as_json,
            text=f"{answer.return_code} {name} in {took:.2f} ms"
            + (f": {about}" if about else "")
            + (rest if answer.parameters else ""),
            return_code=answer.return_code,
            parameters=answer.parameters,
            debug_message=answer.debug_message,
            ms=took,
        )
        is_ok = answer.return_code == ReturnCode.OK
        return Status.OK if is_ok else Status.ANSWERED_WITH_AN_ERROR

    return errand


def _name_of(code: int) -> str:
    try:
        return ReturnCode(code).name
    except ValueError:
        return "of the application"


def parameters_of(text: str) -> dict[int | str, Any]:
    """Read parameters from JSON, whose keys are texts: those of digits are numbers."""
    table = _with_numbers(json.loads(text))
    if not isinstance(table, dict):
        raise ValueError(f"parameters are a JSON object, not {text}")
    return table


def _with_numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        int(key) if key.isdecimal() else key: _with_numbers(item)
        for key, item in value.items()
    }
