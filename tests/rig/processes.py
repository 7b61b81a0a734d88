"""Processes as /proc shows them: whose they are, what they run, whether they live."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

FRONT_DOOR = "s3_snapshot_mirror.py"


def parents() -> dict[int, int]:
    """The parent of every process that has not ended."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            found[int(name)] = int(fields[1])
    return found


def state(pid: int) -> str:
    """R, S, D, T (stopped), ...; empty for one that has ended."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def _stat(pid: int) -> list[str]:
    """From the state on; empty for one that has ended, reaped or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def runs(pid: int, what: str) -> bool:
    return what.encode() in _read(pid, "cmdline")


def is_mirror(pid: int) -> bool:
    return runs(pid, FRONT_DOOR)


def child_mirrors(host: int) -> list[int]:
    """The mirrors that a host has started: one, or none."""
    return [pid for pid, parent in parents().items() if parent == host and is_mirror(pid)]


def marked(mark: str) -> list[int]:
    """Every living process whose environment has this text."""
    return [pid for pid in parents() if mark.encode() in _read(pid, "environ")]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def waited(pid: int) -> float:
    """Seconds that the threads of a process were ready to run and no CPU was free, together."""
    try:
        numbers = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has ended
        return 0.0
    tasks = [_read(pid, f"task/{number}/schedstat") for number in numbers]
    return sum(int(fields[1]) for one in tasks if len(fields := one.split()) > 1) / 1e9


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
