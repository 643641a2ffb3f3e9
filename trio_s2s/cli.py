"""The command line, `trio-s2s`."""

import argparse
import json
import ssl
import sys
from collections.abc import Sequence

from trio_s2s import __version__
from trio_s2s.security import is_loopback
from trio_s2s.story import main as demo
from trio_s2s.visit import Door, call, parameters_of, ping, visit

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 only if all of it held.

    1: the operation was answered with an error, 2: wrong usage, 3: no connection, 4: it
    took too long, 5: the connection was lost.
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
    pinging = commands.add_parser(
        "ping", help="say who listens at an address, and measure round trips"
    )
    _add_door(pinging)
    pinging.add_argument("-n", type=_count, default=3, help="round trips", dest="count")
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
    options = parser.parse_args(args)
    if options.command == "demo":
        return demo()
    try:
        door = _door(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if options.command == "ping":
        errand = ping(options.count, as_json=options.json)
    else:
        errand = call(options.code, options.parameters, as_json=options.json)
    return visit(door, errand, options.timeout)


def _add_door(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("address", type=_address, metavar="HOST:PORT")
    add("--tls", action="store_true", help="trust whom this system trusts")
    add("--ca", metavar="FILE", help="TLS, and trust only this authority")
    add("--insecure", action="store_true", help="plain text to another machine")
    add("--timeout", type=float, default=5.0, metavar="S", help="for all of it")
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
