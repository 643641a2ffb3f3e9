"""Breaks the demo's servers, one line at a time, and sees which step notices.

`python tests/break_demo.py` tries all; each must end the demo with status 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "trio_s2s"

BREAKS: dict[str, tuple[str, str, str]] = {
    "the master listens": (
        "demo.py",
        'say("listens on {}:{}"',
        'say("is at {}:{}"',
    ),
    "gs-1 registers and reports": (
        "demo.py",
        "await self.send_event(Load(LOADS[self.name]))",
        "pass",
    ),
    "the master asks both, and broadcasts": (
        "demo.py",
        "missed = await self.broadcast(RoomClosed(",
        'missed = [] if "arena" else (RoomClosed(',
    ),
    "the master tells why": (
        "lifecycle.py",
        "await run_last_hook(\n            self._on_disconnected,",
        "await run_last_hook(\n            trio.lowlevel.checkpoint,",
    ),
    "gs-2 registers and reports": (
        "demo.py",
        "self.master.registered += 1",
        "self.master.registered = 1",
    ),
    "a match is played": (
        "demo.py",
        'say("a match begins")',
        "await trio.sleep(0)",
    ),
    "the match is finished before gs-1 goes": (
        "demo.py",
        "application.stop(grace=5)",
        "application.stop(grace=0)",
    ),
    "1,000 requests": (
        "demo.py",
        'say(f"{REQUESTS:,} requests answered',
        'say(f"{REQUESTS:,} requests asked',
    ),
    "gs-2 is told that the master stops": (
        "demo.py",
        'say("is told to stop")',
        'say("is told to stop" if application.name != "Master" else "never")',
    ),
    "gs-2 has nothing left to do": (
        "demo.py",
        'say(f"stops, after',
        'application.server_id == "gs-2" or say(f"stops, after',
    ),
}
"""The step that notices, and the file, the line and what it becomes."""


def broken_run(step: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with a copy of the package in which one line is broken."""
    name, line, broken = BREAKS[step]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "trio_s2s"
        shutil.copytree(PACKAGE, copy)
        source = (copy / name).read_text("utf-8")
        assert line in source, f"{name} has no {line!r} any more"
        (copy / name).write_text(source.replace(line, broken), "utf-8")
        story = (copy / "story.py").read_text("utf-8")
        quick = story.replace("LIMIT: Final = 10.0", "LIMIT: Final = 3.0")
        (copy / "story.py").write_text(quick, "utf-8")
        return subprocess.run(
            [sys.executable, "-m", "trio_s2s", "demo"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def main() -> int:
    """Try every break; the exit status is 0 if every one was noticed by its step."""
    failures = 0
    for step in BREAKS:
        run = broken_run(step)
        last = run.stdout.strip().splitlines()[-1]
        noticed = run.returncode == 1 and last.startswith(f"{step}: ")
        failures += not noticed
        print(f"{'noticed' if noticed else 'MISSED'}: {last[:150]}")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
