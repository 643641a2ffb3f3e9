"""The command line, `trio-s2s`."""

import argparse
import sys
from collections.abc import Sequence

from trio_s2s import __version__
from trio_s2s.story import main as demo

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 only if all of it held."""
    parser = argparse.ArgumentParser(
        prog="trio-s2s", description="Server-to-server links for Trio."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "demo",
        help="a master and two game servers meet, talk, get lost, and come back",
    )
    parser.parse_args(args)
    return demo()


if __name__ == "__main__":
    sys.exit(main())
