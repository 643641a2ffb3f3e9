"""Twin of `inspection.py`: `trio-s2s check`, which runs nothing."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from trio_s2s import cli
from trio_s2s.output import Status

Out = pytest.CaptureFixture[str]

WHOLE = """
[application.Master]
class = "trio_s2s:Application"
server_id = "master-1"
version = "7"

[[application.Master.listener]]
port = {port}
tls = {{ certificate = "master.pem" }}

[[application.Master.listener]]
port = 0

[[application.Master.link]]
name = "billing"
host = "billing.internal"
port = 4520
application_name = "Billing"
tls = {{}}

[[application.Master.link]]
name = "lobby"
host = "localhost"
port = 4521

[application.Lobby]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    certificate = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
    certificate.write_to_path("master.pem")


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as it:
        yield it.getsockname()[1]


def check(source: str, *args: str) -> int:
    Path("s2s.toml").write_text(source)
    return cli.main(["check", "s2s.toml", *args])


def test_check_says_what_would_run(capsys: Out) -> None:
    assert check(WHOLE.format(port=0), "trio_s2s:Application") == Status.OK
    name = "trio_s2s.application:Application"
    assert capsys.readouterr().out.splitlines() == [
        f"application Master: {name}, server id master-1",
        "  listener on 127.0.0.1:0, TLS",
        "  listener on 127.0.0.1:0, plain TCP",
        "  link billing to Billing at billing.internal:4520, TLS",
        "  link lobby to localhost:4521, plain TCP",
        f"application Lobby: {name}",
    ]


def test_check_says_so_in_json(capsys: Out) -> None:
    source = WHOLE.format(port=0)
    assert check(source, "trio_s2s:Application", "--json") == Status.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["errors"]) == (True, [])
    master, lobby = told["applications"]
    assert master["links"][0] == {
        "name": "billing",
        "address": "billing.internal:4520",
        "peer": "trio_s2s.peer:OutboundPeer",
        "tls": True,
    }
    assert master["listeners"][1] == {"address": "127.0.0.1:0", "tls": False}
    assert (master["server_id"], master["version"]) == ("master-1", "7")
    assert lobby == {
        "name": "Lobby",
        "class": "trio_s2s.application:Application",
        "server_id": "",
        "version": "",
        "listeners": [],
        "links": [],
    }


def test_check_tells_all_that_is_wrong(capsys: Out) -> None:
    assert check("[application.A]\nx = 1") == Status.WRONG_USAGE
    assert capsys.readouterr().out.splitlines() == [
        "s2s.toml: application.A.x: unknown key",
        "s2s.toml: application.A.class: missing: module:Name, here or on the command"
        " line",
    ]
    assert check("[application.A]\nx = 1", "--json") == Status.WRONG_USAGE
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], len(told["errors"]), told["applications"]) == (False, 2, [])


def test_check_listens_on_every_port(capsys: Out, taken: int) -> None:
    source = WHOLE.format(port=taken)
    assert check(source, "trio_s2s:Application") == Status.WRONG_USAGE
    assert capsys.readouterr().out == (
        f"s2s.toml: application.Master.listener[0]: cannot listen on 127.0.0.1:{taken}:"
        " it is in use by another program, or by this one\n"
    )


def test_check_spells_a_key_as_the_file_does(capsys: Out, taken: int) -> None:
    source = f"[application.'a b']\n[[application.'a b'.listener]]\nport = {taken}"
    assert check(source, "trio_s2s:Application") == Status.WRONG_USAGE
    assert capsys.readouterr().out.startswith(
        's2s.toml: application."a b".listener[0]: cannot listen on'
    )


def test_check_notices_two_on_one_port_and_leaves_it_free(capsys: Out) -> None:
    with socket.create_server(("127.0.0.1", 0)) as it:
        port: Any = it.getsockname()[1]
    source = WHOLE.format(port=port).replace("port = 0", f"port = {port}")
    assert check(source, "trio_s2s:Application") == Status.WRONG_USAGE
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("s2s.toml: application.Master.listener[1]: cannot listen on")
    assert check(WHOLE.format(port=port), "trio_s2s:Application") == Status.OK
