"""Visits from the command line: what is printed, and what the exit status says."""

import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from trio_s2s import (
    EventData,
    InboundPeer,
    InitRequest,
    OperationRequest,
    OperationResponse,
    OutboundPeer,
    PeerDisconnectedError,
    SendParameters,
    cli,
    serve_tcp,
)
from trio_s2s.testing import memory_peers
from trio_s2s.visit import Status, _round_trip, parameters_of

Log = pytest.LogCaptureFixture
Out = pytest.CaptureFixture[str]
LONG_AGO = datetime.datetime(2000, 1, 2, tzinfo=datetime.UTC)


class Host(InboundPeer):
    """Answers in each way that there is."""

    async def on_operation_request(
        self, request: OperationRequest, send_parameters: SendParameters
    ) -> OperationResponse | None:
        match request.operation_code:
            case 1:
                return request.respond(dict(request.parameters))
            case 2:
                return request.respond({0: b"\x01\xff", 1: LONG_AGO})
            case 3:
                return request.respond(return_code=7, debug_message="no room")
            case 4:
                self.abort()
            case 5:
                await trio.sleep_forever()
        return None


@contextmanager
def host(create_peer: Any = Host, authority: trustme.CA | None = None) -> Iterator[str]:
    """Serve in a thread of its own, and give the address."""
    began = threading.Event()
    told: dict[str, Any] = {}

    async def serve() -> None:
        context = None
        if authority is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert("127.0.0.1").configure_cert(context)
        async with trio.open_nursery() as nursery:
            told["token"] = trio.lowlevel.current_trio_token()
            told["scope"] = nursery.cancel_scope

            def start(task_status: Any) -> Any:
                return serve_tcp(
                    create_peer, 0, ssl_context=context, task_status=task_status
                )

            [listener] = await nursery.start(start)
            told["port"] = listener.socket.getsockname()[1]
            began.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    began.wait(10)
    try:
        yield f"127.0.0.1:{told['port']}"
    finally:
        told["token"].run_sync_soon(told["scope"].cancel)
        thread.join(10)


def test_ping_says_who_is_there_and_how_far(capsys: Out) -> None:
    with host() as address:
        assert cli.main(["ping", address, "-n", "2"]) == Status.OK
    first, *trips, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"connected to a server without a name at {address} in ")
    assert first.endswith("ms (protocol 1, plain TCP)")
    assert [line.partition(":")[0] for line in trips] == ["1", "2"]
    assert last.startswith("min ")


def test_ping_as_json_and_over_tls(capsys: Out, tmp_path: Path) -> None:
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    with host(authority=authority) as address:
        status = cli.main(["ping", address, "-n", "4", "--json", "--ca", str(file)])
        assert status == Status.OK
        assert cli.main(["ping", address, "--tls"]) == Status.NOT_CONNECTED
        assert cli.main(["ping", address]) == Status.NOT_CONNECTED
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["address"] == address
    assert told["tls"] is True
    assert len(told["round_trips_ms"]) == 4
    assert "certificate" in printed.err


class Shy(Host):
    """Goes as soon as it is asked for a sign of life."""

    async def on_connected(self) -> None:
        self.start_soon(self.go)

    async def go(self) -> None:
        await trio.sleep(0.2)
        self.abort()


def test_connection_that_is_lost_meanwhile_is_told(capsys: Out) -> None:
    with host(Shy) as address:
        assert cli.main(["ping", address, "-n", "1000000"]) == Status.LOST
        assert cli.main(["call", address, "4"]) == Status.LOST
    assert capsys.readouterr().err.count("trio-s2s: ") == 2


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (["1", '{"0": {"7": [1]}}'], Status.OK, '{"0": {"7": [1]}}'),
        (["1"], Status.OK, "0 OK in "),
        (["2"], Status.OK, '{"0": "01ff", "1": "2000-01-02T00:00:00+00:00"}'),
        (["3"], Status.ANSWERED_WITH_AN_ERROR, "7 of the application in "),
        (["3"], Status.ANSWERED_WITH_AN_ERROR, "ms: no room"),
        (["9"], Status.ANSWERED_WITH_AN_ERROR, "-4 UNKNOWN_OPERATION in "),
    ],
)
def test_call_shows_the_answer(
    args: list[str], status: Status, text: str, capsys: Out
) -> None:
    with host() as address:
        assert cli.main(["call", address, *args]) == status
    assert text in capsys.readouterr().out


def test_call_as_json(capsys: Out) -> None:
    with host() as address:
        status = cli.main(["call", address, "3", "--json"])
    assert status == Status.ANSWERED_WITH_AN_ERROR
    told = json.loads(capsys.readouterr().out)
    assert told["return_code"] == 7
    assert told["debug_message"] == "no room"


def test_what_takes_too_long_is_told(capsys: Out) -> None:
    with host() as address:
        status = cli.main(["call", address, "5", "--timeout", "0.3"])
    assert status == Status.TOO_SLOW
    assert f"{address} did not answer within 0.3 s" in capsys.readouterr().err


def test_nobody_there_is_told(capsys: Out) -> None:
    with host() as address:
        pass
    assert cli.main(["ping", address]) == Status.NOT_CONNECTED
    assert "connection refused (is the server running?)" in capsys.readouterr().err
    assert cli.main(["ping", address, "--json"]) == Status.NOT_CONNECTED
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["status"] == Status.NOT_CONNECTED
    assert "connection refused" in told["error"]
    assert printed.err == ""


class Loud(Host):
    """Greets everybody with an event."""

    async def on_connected(self) -> None:
        await self.send_event(EventData(1))


def test_events_of_the_server_are_no_news(capsys: Out, caplog: Log) -> None:
    with host(Loud) as address:
        assert cli.main(["call", address, "1"]) == Status.OK
    assert caplog.text == ""


async def test_round_trip_that_never_ends_is_a_loss(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was taken for as short as the last one, or waited for ever."""
    async with memory_peers(InboundPeer, OutboundPeer) as (near, far):
        assert await _round_trip(far) >= 0
        near.abort()
        for _ in range(2):
            with pytest.raises(PeerDisconnectedError, match="a round trip"):
                await _round_trip(far)


def test_interrupt_is_one_line(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trio, "run", interrupted)
    assert cli.main(["ping", "127.0.0.1:1"]) == Status.TOO_SLOW
    assert capsys.readouterr().err == "trio-s2s: interrupted\n"


def test_what_cannot_be_sent_is_wrong_usage(capsys: Out) -> None:
    with host() as address:
        status = cli.main(["call", address, "1", f'{{"0": {2**70}}}'])
    assert status == Status.WRONG_USAGE
    assert "parameters[0] cannot travel" in capsys.readouterr().err


def test_parameters_are_an_object() -> None:
    assert parameters_of('{"0": [{"1": 2, "a": 3}]}') == {0: [{1: 2, "a": 3}]}
    with pytest.raises(ValueError, match="are a JSON object, not 5"):
        parameters_of("5")


def test_request_knows_nothing_of_who_asks() -> None:
    """A visitor is anonymous, so that it stands in nobody's way."""
    seen: list[InitRequest] = []

    def create_peer(init_request: InitRequest) -> InboundPeer:
        seen.append(init_request)
        return Host(init_request)

    with host(create_peer) as address:
        assert cli.main(["call", address, "1"]) == Status.OK
    assert [one.server_id for one in seen] == [""]
