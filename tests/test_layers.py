"""The rows of the package: what may import what, and who alone may do what."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "trio_s2s"

ROWS = (
    ("lookup",),
    ("checks", "codes", "eyeballs", "lanes", "service", "tasktree", "unix"),
    ("errors", "runtime", "statistics"),
    ("deadlines", "heartbeat", "journal", "settling"),
    ("backoff", "buckets", "messages", "config", "security", "ending"),
    ("failures", "foreign"),
    ("values", "forms", "framing", "windows", "hooks", "listener"),
    ("contracts", "codec", "outbox"),
    ("fields",),
    ("protocol", "handshake", "handlers", "answers", "transport", "inbox"),
    ("tickets", "listening", "guest"),
    ("calls",),
    ("connection", "tasks"),
    ("pairing",),
    ("partners",),
    ("session",),
    ("peer",),
    ("jobs", "bounded", "broadcast", "registry", "linking"),
    ("serving",),
    ("dispatch",),
    ("node",),
    ("lifecycle",),
    ("acceptor", "dialler"),
    ("inbound", "outbound", "link"),
    ("running",),
    ("application",),
    ("hosting",),
    # `trio_s2s.testing`, which the package itself does not know.
    ("testing.scheduler", "testing.trace", "testing.recording", "testing.weather"),
    ("testing.pipe", "testing.diagram", "testing.injector"),
    ("testing.stream",),
    ("testing.machine",),
    ("testing.ways",),
    ("testing.faults",),
    ("testing.network",),
    ("testing.pairs", "testing.report"),
    ("testing.__init__",),
    ("testing.fixtures",),
    ("__init__",),
    ("demo", "story", "output", "table"),
    ("visit", "certificates", "target"),
    ("settings",),
    ("inspection", "process"),
    ("cli",),
    ("__main__",),
)
"""A module imports only from rows above its own here, which are those below it."""

CORE = {
    "codes", "messages", "config", "values", "contracts", "codec", "forms", "framing",
    "windows", "inbox", "outbox", "protocol", "handshake", "buckets",
}  # fmt: skip
"""No Trio, no log, no clock: bytes in, bytes out."""

ONLY_IN: dict[str, set[str]] = {
    "msgpack": {"codec"},
    "time": {"runtime"},
    # Those of the tests are seeded.
    "random": {"runtime", "testing.pipe", "testing.machine", "testing.ways"},
    "secrets": {"runtime"},
    "uuid": {"runtime"},
}
"""Who may import it."""

EXCEPT = {("values", "uuid.UUID")}
"""What is a type, and makes nothing up."""

ONLY_CALLED_IN: dict[str, set[str]] = {
    # The demo tells its processes what to do.
    "send_all": {"transport", "story"},
    # Every timer is the runtime's, where a test may let it stand still.
    "move_on_after": {"runtime", "eyeballs", "story", "demo"},
    "move_on_at": {"runtime", "testing.pipe"},
    "fail_after": {"runtime", "story", "demo"},
    "sleep": {"runtime", "story", "demo", "testing.machine", "testing.ways"},
    "sleep_until": {"runtime", "testing.faults"},
    "receive_some": {"transport"},
    "now": {"runtime"},
    "utcnow": {"runtime"},
    "today": {"runtime"},
    "urandom": {"runtime"},
}
"""Who may call a method, or a function of a module, of this name."""

READER = "transport"
"""The module whose functions that start with `_read` are the reader of a connection."""

READER_AWAITS = {"receive_some", "checkpoint"}
"""What the reader may wait for: the other side, and its own turn; nobody else."""

MODULES = [module for row in ROWS for module in row]


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text("utf-8"))


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


def imports_of(module: str) -> Iterator[tuple[str, str]]:
    """Give everything that a module imports, anywhere in it, as module and name."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import, line {node.lineno}"
            yield from ((node.module or "", alias.name) for alias in node.names)


def own_imports_of(module: str) -> Iterator[str]:
    """Give the modules of this package that a module imports."""
    for name, attribute in imports_of(module):
        package, _, rest = name.partition(".")
        if package == "trio_s2s":
            if (PACKAGE / rest).is_dir():
                rest = f"{rest}.{attribute}".lstrip(".")
                is_module = path_of(rest).exists()
                rest = rest if is_module else rest.rpartition(".")[0]
            yield rest if path_of(rest).exists() else f"{rest}.__init__".lstrip(".")


def name_of(called: ast.expr) -> str:
    """Give `c` of `a.b.c(...)`."""
    function = called.func if isinstance(called, ast.Call) else called
    return function.attr if isinstance(function, ast.Attribute) else ""


def test_rows_hold_every_module_once() -> None:
    assert sorted(MODULES) == sorted(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.glob("**/*.py")
    )


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    rows = {name: number for number, row in enumerate(ROWS) for name in row}
    wrong = {other for other in own_imports_of(module) if rows[other] >= rows[module]}
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_left_to_those_in_charge(module: str) -> None:
    wrong = {
        f"{name}.{attribute}".rstrip(".")
        for name, attribute in imports_of(module)
        if module not in ONLY_IN.get(name.partition(".")[0], {module})
    }
    assert not {name for name in wrong if (module, name) not in EXCEPT}


@pytest.mark.parametrize("module", MODULES)
def test_calls_are_left_to_those_in_charge(module: str) -> None:
    calls = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]
    names = {name_of(call) for call in calls}
    assert not {
        name for name in names if module not in ONLY_CALLED_IN.get(name, {module})
    }


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_for_type_checkers_alone(module: str) -> None:
    assert "TYPE_CHECKING" not in ast.dump(tree_of(module))


@pytest.mark.parametrize("module", sorted(CORE))
def test_core_knows_neither_trio_nor_logs(module: str) -> None:
    packages = {name.partition(".")[0] for name, _ in imports_of(module)}
    assert packages.isdisjoint({"trio", "logging"})


def test_reader_waits_only_for_the_other_side() -> None:
    """Every deadlock between two peers begins with a reader that waits for more."""
    readers = [
        node
        for node in ast.walk(tree_of(READER))
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("_read")
    ]
    assert readers, "the reader has another name now"
    for node in (inner for reader in readers for inner in ast.walk(reader)):
        assert not isinstance(node, (ast.AsyncFor, ast.AsyncWith))
        if isinstance(node, ast.Await):
            assert name_of(node.value) in READER_AWAITS, f"line {node.lineno}"
