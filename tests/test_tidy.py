"""The house style, as far as a machine can see it."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import trio_s2s

ROOT = Path(__file__).parent.parent
TEXT = {".cfg", ".ini", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yml", ""}

PACKAGE = sorted((ROOT / "trio_s2s").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))

PACKAGE_LINES = 300
TEST_LINES = 600
BODY_LINES = 40

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
ONE_MACHINE = re.compile(
    r"(?<![\w.])/(root|home|tmp|work|Users)/"
    r"|pypi\.org|pythonhosted|npmjs|find-links|index-url"
)
PRAGMA = re.compile(
    r"pragma: no \w+"
    r"|noqa(: [A-Z]+\d+(, ?[A-Z]+\d+)*)?"
    r"|(type|pyright): ignore(\[[^]]*\])?"
)
REASON = re.compile(r"(  +| +-+ | +# ?)\w")


def tracked_text() -> Iterator[Path]:
    """Give the files that a clone would have, without asking git."""
    yield ROOT / ".ci" / "run"
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") or part == "dist" for part in inside[:-1])
        hidden = hidden or path.name.startswith(".coverage")
        if not hidden and path.suffix in TEXT and path.is_file():
            yield path


def comments_of(path: Path) -> Iterator[tuple[int, str]]:
    source = io.StringIO(path.read_text("utf-8"))
    for token in tokenize.generate_tokens(source.readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def show(path: object) -> str:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else ""


def every(*paths: Path) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=show)


@every(*(path for path in PACKAGE if not path.stem.startswith("__")))
def test_module_has_a_twin_among_the_tests(path: Path) -> None:
    assert (ROOT / "tests" / f"test_{path.stem}.py").exists()


@every(*PACKAGE, *TESTS)
def test_file_is_short(path: Path) -> None:
    limit = TEST_LINES if path in TESTS else PACKAGE_LINES
    assert len(path.read_text("utf-8").splitlines()) <= limit


@every(*PACKAGE)
def test_function_bodies_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[ast.get_docstring(node) is not None :]
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= BODY_LINES, f"{node.name}, line {node.lineno}"


@every(*PACKAGE, *TESTS, *EXAMPLES)
def test_module_begins_with_one_sentence(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert text is not None
    assert re.fullmatch(r"(?!.*[.!?] [A-Z]).*\.", text.splitlines()[0])


@every(*PACKAGE, *TESTS, *EXAMPLES)
def test_exceptions_to_a_rule_have_a_reason(path: Path) -> None:
    for line, comment in comments_of(path):
        for pragma in PRAGMA.finditer(comment):
            assert REASON.match(comment, pragma.end()), f"line {line}: {comment}"


@every(*(path for path in tracked_text() if path != Path(__file__)))
def test_file_is_finished_and_belongs_to_no_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    found = [UNFINISHED.search(text), ONE_MACHINE.search(text)]
    assert not [match.group() for match in found if match is not None]


def test_changelog_has_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert {trio_s2s.__version__, "Unreleased"} & set(headings)
