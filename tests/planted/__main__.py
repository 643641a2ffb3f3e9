"""Plants each fault, and counts in how many short runs it is found.

Those from 11 on are looked for by races, the others by the simulator.

`python -m tests.planted --bases 20` prints a line each; `--only 5` tries one of them.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOLDERS = "trio_s2s", "tests"
FIRST_FOR_RACES = "11"
WANTED = 0.9
"""Of all runs, in how many each fault is to be found."""


def plant(patch: Path, folder: Path) -> None:
    """Make a copy of this project that has a fault."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name)
    command = ["git", "apply", "--whitespace=nowarn", str(patch)]
    subprocess.run(command, cwd=folder, check=True)


def find(folder: Path, worlds: int, base: int, *, by_races: bool = False) -> str:
    """Run worlds, or races, until one shows a fault; give what it broke, or nothing."""
    command = [sys.executable, "-m", "tests.simulator", "--short", "--worlds"]
    if by_races:
        command = [sys.executable, "-m", "tests.races", "--seeds"]
    command += [str(worlds), "--seed", str(base * 10_000), "--until-found"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert found or done.returncode == 0, done.stderr
    return found[0] if found else ""


def try_out(patch: Path, bases: int, worlds: int) -> bool:
    """Plant one fault, look for it from many seeds, and print how that went."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        plant(patch, Path(name))
        with ThreadPoolExecutor(2) as pool:
            by_races = patch.name >= FIRST_FOR_RACES
            look = partial(find, Path(name), worlds, by_races=by_races)
            found = [text for text in pool.map(look, range(1, bases + 1)) if text]
    took = time.monotonic() - began
    print(f"{len(found):3} of {bases}  {patch.stem:40} {took:5.0f} s", flush=True)
    for text in sorted(set(found))[:3]:
        print(f"            {text}", flush=True)
    return len(found) >= WANTED * bases


def main() -> int:
    """Try all of them; the exit status is 1 if one is not found often enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", type=int, default=20)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    patches = sorted(HERE.glob("*.patch"))
    if options.only is not None:
        patches = patches[options.only - 1 : options.only]
    found = [try_out(patch, options.bases, options.worlds) for patch in patches]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
