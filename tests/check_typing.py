"""Ask both type checkers about the snippets in `typing`: a script of the gate."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SNIPPETS = [ROOT / "tests" / "typing" / f"{name}.py" for name in ("accept", "refuse")]

Errors = dict[int, str]


def output_of(*command: str) -> str:
    """Run a tool of this environment; errors in the snippets are no failure of it."""
    run = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if run.returncode not in (0, 1):
        sys.exit(f"{command[0]} failed:\n{run.stdout}")
    return run.stdout


def errors_of_mypy(path: Path) -> Errors:
    """Give what mypy refuses, by line."""
    output = output_of(
        "mypy", "--strict", "--no-pretty", "--no-error-summary", str(path)
    )
    found = re.findall(rf"^\S*{path.name}:(\d+): error: (.*)$", output, re.MULTILINE)
    return {int(line): text for line, text in found}


def errors_of_pyright(path: Path) -> Errors:
    """Give what pyright refuses, by line."""
    python = ("--pythonpath", sys.executable)
    report = json.loads(output_of("pyright", "--outputjson", *python, str(path)))
    assert report["summary"]["filesAnalyzed"] == 1
    return {
        each["range"]["start"]["line"] + 1: each["message"]
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }


def differences(path: Path, checker: str, errors: Errors) -> list[str]:
    """Compare a checker's errors with the lines that are marked."""
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    marked = {number for number, line in lines if line.endswith("# error")}
    where = f"{checker}, {path.name}"
    return [
        *(f"{where}:{line}: is accepted" for line in sorted(marked - errors.keys())),
        *(f"{where}:{line}: {errors[line]}" for line in sorted(errors.keys() - marked)),
    ]


def main() -> None:
    """Compare, and leave with an error if anything differs."""
    wrong: list[str] = []
    for path in SNIPPETS:
        wrong += differences(path, "mypy", errors_of_mypy(path))
        wrong += differences(path, "pyright", errors_of_pyright(path))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(f"{len(SNIPPETS)} files, 2 type checkers, {len(wrong)} differences")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
