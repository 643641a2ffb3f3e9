"""The command line: what it takes, and what its exit status says."""

import runpy
import subprocess
import sys

import pytest

import trio_s2s
from trio_s2s import cli


@pytest.mark.parametrize("status", [0, 1, 130])
def test_demo_gives_its_status(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "demo", lambda: status)
    assert cli.main(["demo"]) == status


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == trio_s2s.__version__


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["nonsense"],
        ["demo", "more"],
        ["ping"],
        ["ping", "nonsense"],
        ["ping", "host:0"],
        ["ping", "127.0.0.1:1", "-n", "0"],
        ["ping", "10.0.0.1:4520"],
        ["ping", "127.0.0.1:1", "--ca", "/nowhere"],
        ["call", "127.0.0.1:1", "x"],
        ["call", "127.0.0.1:1", "1", "{"],
        ["call", "127.0.0.1:1", "1", "5"],
        ["serve"],
        ["serve", "-c"],
        ["check"],
    ],
)
def test_wrong_command_is_an_error_with_usage(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == 2
    assert "usage: trio-s2s" in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(
        command in printed for command in ("demo", "ping", "call", "serve", "check")
    )


def test_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trio_s2s", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == trio_s2s.__version__


def test_module_is_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trio-s2s", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("trio_s2s", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == trio_s2s.__version__
