"""Twin of `settings.py`: what a file may say, and everything that is told of it."""

import inspect
import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from trio.testing import MockClock

from tests.network import memory
from trio_s2s import (
    Application,
    Backoff,
    Fixed,
    ListenerConfig,
    OutboundPeer,
    PeerConfig,
    open_application,
)
from trio_s2s.linking import LinkConfig
from trio_s2s.settings import (
    _APPLICATION,
    _LINK,
    _LISTENER,
    ApplicationTable,
    SettingsError,
    read_settings,
)

ROOT = Path(__file__).parent.parent

GAME = """
from trio_s2s import Application, InboundPeer, OutboundPeer

class Master(Application):
    pass

class Till(Application):
    def create_peer(self, init_request):
        return InboundPeer(init_request)

class BillingPeer(OutboundPeer):
    pass

class Needy(OutboundPeer):
    def __init__(self, app):
        self.app = app

class Odd(Application):
    def __init__(self, name):
        super().__init__("Odd")

lobby = Application("Lobby")
"""
WHOLE = """
[application.Master]
class = "settings_game:Master"
server_id = "master-1"
version = "1.2"
limits = { max_frame = 65536, heartbeat_interval = 1, send_timeout = inf }

[[application.Master.listener]]
host = "0.0.0.0"
port = 4520
backlog = 100
tls = { certificate = "master.pem", client_ca = "ca.pem" }
limits = { max_frame = 2048 }

[[application.Master.listener]]
host = "::"
port = 4521
insecure = true

[[application.Master.link]]
name = "billing"
host = "billing.internal"
port = 4520
peer = "settings_game:BillingPeer"
application_name = "Billing"
server_id = "billing-1"
tls = { ca = "ca.pem", certificate = "master.pem" }
retry = { cap = 30 }

[[application.Master.link]]
name = "lobby"
host = "localhost"
port = 4522
retry = 15

[application.Lobby]
class = "settings_game:lobby"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder that is the current one, with a module and certificates."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost").private_key_and_cert_chain_pem
    certificate.write_to_path(str(tmp_path / "master.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "settings_game.py").write_text(GAME)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("settings_game", None)


def read(source: str, target: str = "") -> list[Application]:
    Path("s2s.toml").write_text(source)
    return read_settings("s2s.toml", target)


def errors_of(source: str, target: str = "") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(source, target)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


# -- what works --


def test_file_is_read_into_applications() -> None:
    master, lobby = read(WHOLE)
    assert type(master).__name__ == "Master"
    assert (master.name, master.server_id, master.version) == (
        "Master",
        "master-1",
        "1.2",
    )
    assert master.config == PeerConfig(
        max_frame=65536, heartbeat_interval=1, send_timeout=float("inf")
    )
    assert lobby.name == "Lobby"
    assert lobby._openings == ()
    assert master.links == {}


def test_file_says_what_is_opened() -> None:
    master: Any = read(WHOLE)[0]
    strict, plain, billing, lobby = master._openings
    assert strict.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert billing.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert attrs.evolve(strict, ssl_context=None, insecure=True) == ListenerConfig(
        4520,
        host="0.0.0.0",
        backlog=100,
        insecure=True,
        config=PeerConfig(max_frame=2048),
    )
    assert plain == ListenerConfig(4521, host="::", insecure=True)
    assert attrs.evolve(billing, ssl_context=None, insecure=True) == LinkConfig(
        name="billing",
        host="billing.internal",
        port=4520,
        peer=sys.modules["settings_game"].BillingPeer,
        application_name="Billing",
        server_id="billing-1",
        insecure=True,
        retry=Backoff(cap=30),
    )
    assert lobby == LinkConfig(
        name="lobby", host="localhost", port=4522, retry=Fixed(15)
    )
    assert lobby.peer is OutboundPeer


def test_paths_begin_at_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("s2s.toml").write_text(WHOLE)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert len(read_settings("../s2s.toml")) == 2


def test_class_may_be_named_elsewhere() -> None:
    source = "[application.A]\n[application.B]\nclass = 'settings_game:Master'"
    first, second = read(source, "settings_game:Master")
    assert type(first) is type(second)
    assert (first.name, second.name) == ("A", "B")


def test_keys_are_those_of_an_application() -> None:
    """One that is added to the class must be added here."""
    parameters = inspect.signature(Application).parameters.values()
    own = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    fields = {field.name for field in attrs.fields(ApplicationTable)}
    assert fields - {"found", "listeners", "links"} == own
    assert set(ApplicationTable(server_id="a", version="1").options()) == {
        "server_id",
        "version",
    }


def test_every_key_of_the_file_is_checked_by_its_field() -> None:
    for cls in (PeerConfig, ListenerConfig, LinkConfig, Backoff):
        assert all(field.validator is not None for field in attrs.fields(cls))


def test_every_key_of_the_file_is_in_its_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")}
    for title, cls, readers in (
        ("An application", ApplicationTable, _APPLICATION),
        ("A listener", ListenerConfig, _LISTENER),
        ("A link", LinkConfig, _LINK),
        ("Limits", PeerConfig, {}),
    ):
        for field in attrs.fields(cls):
            key, _ = readers.get(field.name, (field.name, None))
            assert f"\n| `{key}` | " in sections[title], f"{title}: {key}"


CLUSTER = """
[application.Billing]
class = "settings_game:Till"
server_id = "billing-1"
[[application.Billing.listener]]
port = 4520
tls = { certificate = "master.pem", client_ca = "ca.pem" }
limits = { max_frame = 2048 }

[application.Master]
class = "settings_game:Master"
server_id = "master-1"
[[application.Master.link]]
name = "billing"
host = "localhost"
port = 4520
peer = "settings_game:BillingPeer"
application_name = "Billing"
server_id = "billing-1"
tls = { ca = "ca.pem", certificate = "master.pem" }
"""


async def test_file_links_servers_that_show_each_other_certificates(
    autojump_clock: MockClock,
) -> None:
    billing, master = read(CLUSTER)
    async with memory(), open_application(billing), open_application(master):
        peer: Any = await master.links["billing"].connected()
        assert type(peer).__name__ == "BillingPeer"
        assert peer.server_id == "billing-1"
        assert peer._session.connection.is_encrypted
        assert peer._session.connection.protocol.max_frame == 2048
        assert (await billing.peers.wait_for("master-1")).server_id == "master-1"


# -- what is told --

A = "[application.A]\nclass = 'settings_game:Master'\n"
LISTENER = f"{A}[[application.A.listener]]\n"
LINK = f"{A}[[application.A.link]]\nname = 'b'\nhost = 'localhost'\nport = 1\n"


@pytest.mark.parametrize(
    ("source", "errors"),
    [
        ("", ["application: missing: begin with [application.NAME]"]),
        ("[aplication.A]", [
            "aplication: unknown key; did you mean 'application'?",
            "application: missing: begin with [application.NAME]",
        ]),
        ("application = 5", ["application: must be a table, not 5"]),
        ("[application]\nA = 5", ["application.A: must be a table, not 5"]),
        ("[application.A]", [
            "application.A.class: missing: module:Name, here or on the command line",
        ]),
        ("[application.A]\nclass = 'settings_game:Mastr'", [
            "application.A.class: settings_game has no 'Mastr'; did you mean 'Master'?",
        ]),
        ("[application.A]\nclass = 'settings_game:BillingPeer'", [
            "application.A.class: must be an Application, not"
            " <class 'settings_game.BillingPeer'>",
        ]),
        ("[application.'a b']\nclass = 'settings_game:lobby'", [
            "application.\"a b\".class: is made already, with the name 'Lobby'",
        ]),
        ("[application.Odd]\nclass = 'settings_game:Odd'\nversion = '1'", [
            "application.Odd.class: cannot be made: TypeError: Odd.__init__() got an"
            " unexpected keyword argument 'version'; an application that its module"
            " makes may be named instead",
        ]),
        (f"{A}server_id = 'a b'\nversion = 1\nlimits = 5\nlistner = 1", [
            "application.A.listner: unknown key; did you mean 'listener'?",
            "application.A.server_id: must be 1 to 64 of A-Z a-z 0-9 . _ -, or empty,"
            " not 'a b'",
            "application.A.version: must be a text, not 1",
            "application.A.limits: must be a table, not 5",
        ]),
        (f"{A}limits = {{ max_frame = 5, send_timeout = 0, max_fram = 1 }}", [
            "application.A.limits.max_fram: unknown key; did you mean 'max_frame'?",
            "application.A.limits.max_frame: must be a whole number from 1,024 to"
            " 4,294,967,295, not 5",
            "application.A.limits.send_timeout: must be a number of seconds above 0"
            " (infinity switches it off), not 0",
        ]),
        (f"{A}[application.A.listener]\nport = 1", [
            "application.A.listener: must begin with [[application.A.listener]], each"
            " time that there is one",
        ]),
        (f"{LISTENER}prot = 1", [
            "application.A.listener[0].prot: unknown key; did you mean 'port'?",
            "application.A.listener[0].port: missing",
        ]),
        (f"{LISTENER}port = 70000\nbacklog = 0\ninsecure = 1\nlimits = {{x = 1}}", [
            "application.A.listener[0].port: must be a whole number, 0 to 65535, not"
            " 70000",
            "application.A.listener[0].backlog: must be a whole number from 1 to"
            " 65,535, not 0",
            "application.A.listener[0].insecure: must be True or False, not 1",
            "application.A.listener[0].limits.x: unknown key",
        ]),
        (f"{LISTENER}port = 1\nhost = '0.0.0.0'", [
            "application.A.listener[0].host: 0.0.0.0 may be reached from other"
            " machines: add tls = { … }, or insecure = true where something else"
            " protects the plain text",
        ]),
        (f"{LISTENER}port = 1\nhost = 5", [
            "application.A.listener[0].host: must be a text that is not empty, not 5",
        ]),
        (f"{LISTENER}port = 1\nhost = ''", [
            "application.A.listener[0].host: must be a text that is not empty, not ''",
        ]),
        (f"{LISTENER}port = 1\ntls = {{ certificate = 'gone.pem' }}", [
            "application.A.listener[0].tls.certificate: cannot read gone.pem: No such"
            " file or directory",
        ]),
        (f"{A}[[application.A.link]]\nhost = 'billing'", [
            "application.A.link[0].name: missing",
            "application.A.link[0].port: missing",
            "application.A.link[0].host: billing may be reached from other"
            " machines: add tls = { … }, or insecure = true where something else"
            " protects the plain text",
        ]),
        (f"{LINK}peer = 'settings_game:Master'\nserver_id = ''\ntls = 1", [
            "application.A.link[0].peer: must be a class of OutboundPeers, not"
            " <class 'settings_game.Master'>",
            "application.A.link[0].server_id: must be 1 to 64 of A-Z a-z 0-9 . _ -,"
            " not ''",
            "application.A.link[0].tls: must be a table, not 1",
        ]),
        (f"{LINK}peer = 'settings_game:lobby'", [
            "application.A.link[0].peer: must be a class of OutboundPeers, not"
            " <Application Lobby, not running yet>",
        ]),
        (f"{LINK}peer = 'settings_game:Needy'\nretry = 'never'", [
            "application.A.link[0].peer: Needy can't be made from a file: missing a"
            " required argument: 'app'; a link of connect_tcp() can give it what it"
            " needs",
            "application.A.link[0].retry: must be seconds above 0, or { first = …, cap"
            " = … }, not 'never'",
        ]),
        (f"{LINK}retry = {{ first = 0, caps = 1 }}", [
            "application.A.link[0].retry.caps: unknown key; did you mean 'cap'?",
            "application.A.link[0].retry.first: must be a number of seconds above 0,"
            " not 0",
        ]),
        (LINK.replace("\n[[", "\nserver_id = 'me'\n[[") + "server_id = 'me'", [
            "application.A.link[0].server_id: is that of this application, which can't"
            " be linked to itself",
        ]),
        (LINK + LINK.removeprefix(A), [
            "application.A.link[1].name: 'b' is the name of application.A.link[0]"
            " already",
        ]),
        ("[application.A]\nx = 1\n[application.B]\ny = 1", [
            "application.A.x: unknown key",
            "application.A.class: missing: module:Name, here or on the command line",
            "application.B.y: unknown key",
            "application.B.class: missing: module:Name, here or on the command line",
        ]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_told(source: str, errors: list[str]) -> None:
    assert errors_of(source) == [f"s2s.toml: {error}" for error in errors]


def test_class_that_nobody_needs_is_told() -> None:
    assert errors_of(A, "settings_game:Master") == [
        "s2s.toml: application: each has its class here, that given beside is left"
    ]


def test_class_that_is_not_there_is_told() -> None:
    [error] = errors_of("[application.A]", "settings_gone:Master")
    assert error.startswith("settings_gone:Master: cannot import settings_gone: ")


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("[application.A]\nclass: 5", "(at line 2, column 6)"),
        ("[application.A]\nclass = [5", "(at line 2, column 11)"),
        ("a = 1\na = 1", "(at line 2, column 6)"),
    ],
)
def test_broken_file_is_told_with_line_and_column(source: str, place: str) -> None:
    [error] = errors_of(source)
    assert error.startswith("s2s.toml: this is no TOML: ")
    assert error.endswith(place)


def test_file_that_cannot_be_read_is_told() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings("gone.toml")
    assert caught.value.errors == [
        "gone.toml: cannot be read: No such file or directory"
    ]
    Path("s2s.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="this is no TOML: 'utf-8' codec"):
        read_settings("s2s.toml")


def test_readme_shows_a_file_that_works(folder: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    [source] = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    (folder / "ca.pem").rename("cluster-ca.pem")
    [master] = read(source.replace("game.master", "settings_game"))
    assert len(master._openings) == 2
