"""Processes as /proc shows them: their parent, their command, their state, their costs."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

MIRROR = "s3_snapshot_mirror.py"


def parents() -> dict[int, int]:
    """The parent of every living process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            found[int(name)] = int(fields[1])
    return found


def state(pid: int) -> str:
    """R, S, D, T (stopped), ...; empty for a process that has ended."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none for a process that has ended, whether
    its parent has waited for it or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def runs(pid: int, what: str) -> bool:
    """Whether its command line has this text."""
    return what.encode() in _read(pid, "cmdline")


def is_mirror(pid: int) -> bool:
    return runs(pid, MIRROR)


def child_mirrors(host: int) -> list[int]:
    """The mirrors that a host process has started: one, or none."""
    return [pid for pid, parent in parents().items() if parent == host and is_mirror(pid)]


def marked(mark: str) -> list[int]:
    """Every living process whose environment has the text `mark`."""
    return [pid for pid in parents() if mark.encode() in _read(pid, "environ")]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_marked(mark: str) -> None:
    """Kills every process whose environment has the text `mark`, until no new one appears."""
    while left := marked(mark):  # one of them may just have forked
        for pid in left:
            kill(pid)
        time.sleep(0.01)


def waited(pid: int) -> float:
    """Seconds, added over its threads, in which a thread was ready to run and got no CPU."""
    try:
        numbers = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has ended
        return 0.0
    tasks = [_read(pid, f"task/{number}/schedstat") for number in numbers]
    return sum(int(fields[1]) for one in tasks if len(fields := one.split()) > 1) / 1e9


def cpu(pid: int) -> float:
    """Seconds of CPU that it has used, user and system. Raises OSError where it has ended."""
    if not (fields := _stat(pid)):
        raise ProcessLookupError(f"process {pid} has ended")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, name: str = "VmRSS") -> float:
    """Megabytes of memory: VmRSS is now, VmHWM is the peak. Raises OSError where it has ended."""
    found = re.search(rf"(?m)^{name}:\s*(\d+)", _read(pid, "status").decode())
    if not found:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(found[1]) / 1024


def threads_awake(pid: int) -> bool:
    """Whether any of its threads runs or is ready to run. Raises OSError where it has ended."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return any((task / "stat").read_text().rpartition(") ")[2][0] != "S" for task in tasks)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
