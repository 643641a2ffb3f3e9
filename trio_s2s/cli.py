"""The command line, `trio-s2s`."""

import argparse
import json
import os
import ssl
import sys
from collections.abc import Sequence
from typing import Any

from trio_s2s import __version__
from trio_s2s.inspection import check
from trio_s2s.output import Status
from trio_s2s.process import serve
from trio_s2s.security import is_loopback
from trio_s2s.story import main as demo
from trio_s2s.visit import Door, Errand, call, parameters_of, ping, visit

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 only if all of it held.

    1: the operation was answered with an error, or an application raised one, 2: wrong
    usage, or settings that do not work, 3: no connection, 4: it took too long, or was
    told twice to stop, 5: the connection was lost.
    """
    parser = argparse.ArgumentParser(
        prog="trio-s2s", description="Server-to-server links for Trio."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "demo",
        help="a master and two game servers meet, talk, get lost, and come back",
    )
    _add_hosting(commands)
    _add_visits(commands)
    options = parser.parse_args(args)
    if options.command == "demo":
        return demo()
    if options.command in ("serve", "check"):
        return _host(parser, options)
    try:
        door = _door(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return visit(door, _errand(options), options.timeout, as_json=options.json)


# -- serve and check --


def _add_hosting(commands: Any) -> None:
    serving = commands.add_parser(
        "serve", help="run applications until SIGTERM or Ctrl-C"
    )
    serving.add_argument(
        "-c",
        "--config",
        default="",
        metavar="FILE",
        dest="file",
        help="settings, in TOML: applications, listeners, links",
    )
    checking = commands.add_parser(
        "check", help="say what a settings file would run, or all that is wrong with it"
    )
    checking.add_argument("file", metavar="FILE", help="settings, in TOML")
    for parser in (serving, checking):
        parser.add_argument(
            "target",
            nargs="?",
            default="",
            metavar="MODULE:CLASS",
            help="an Application, for those that have no class in the file",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")


def _host(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Status:
    if not (options.file or options.target):
        parser.error("serve wants MODULE:CLASS, or -c FILE, or both")
    # As `python -m` does: what is served is most often in the current folder.
    sys.path.insert(0, os.getcwd())
    run = serve if options.command == "serve" else check
    return run(options.file, options.target, as_json=options.json)


# -- ping and call --


def _add_visits(commands: Any) -> None:
    pinging = commands.add_parser(
        "ping", help="say who listens at an address, and measure round trips"
    )
    _add_door(pinging)
    pinging.add_argument(
        "-n", type=_count, default=3, help="round trips (3)", dest="count"
    )
    calling = commands.add_parser("call", help="send one operation, show its answer")
    _add_door(calling)
    calling.add_argument("code", type=_count, metavar="CODE", help="of the operation")
    calling.add_argument(
        "parameters",
        type=_parameters,
        metavar="JSON",
        nargs="?",
        default={},
        help="""an object, '{"0": "Ada"}'; keys of digits are parameter codes""",
    )


def _errand(options: argparse.Namespace) -> Errand:
    if options.command == "ping":
        return ping(options.count, as_json=options.json)
    return call(options.code, options.parameters, as_json=options.json)


def _add_door(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("address", type=_address, metavar="HOST:PORT")
    add("--tls", action="store_true", help="trust whom this system trusts")
    add("--ca", metavar="FILE", help="TLS, and trust only this authority")
    add("--insecure", action="store_true", help="plain text to another machine")
    add("--timeout", type=float, default=5.0, metavar="S", help="for all of it (5.0)")
    add("--json", action="store_true", help="print one JSON object")


def _door(options: argparse.Namespace) -> Door:
    host, port = options.address
    context = None
    if options.tls or options.ca:
        context = ssl.create_default_context(cafile=options.ca)
    elif not (options.insecure or is_loopback(host)):
        raise ValueError(
            f"{host} may be another machine: pass --tls, or --ca FILE, or --insecure"
            " for plain text"
        )
    return Door(host, port, context, options.insecure)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 2**16):
        raise argparse.ArgumentTypeError(f"an address is HOST:PORT, not {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _count(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"a whole number above 0, not {text!r}")
    return int(text)


def _parameters(text: str) -> dict[int | str, object]:
    try:
        return parameters_of(text)
    except (json.JSONDecodeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
