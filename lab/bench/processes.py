"""Measured processes: any command, and the mirror's child process. `launch.py` starts both and
reports the CPU time and the peak memory that the kernel counted (wait4)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.bench.house import House
from tests.rig import ROOT, processes
from tests.rig.servers import ACCESS, SECRET
from tests.rig.waiting import until

NICE = "10"  # the niceness of rivals; the mirror gives itself the same
LAUNCH = [sys.executable, "-I", "-S", str(ROOT / "lab" / "bench" / "launch.py")]
PLAIN = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent",
         "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET,
         "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip


class BenchError(Exception):
    """The thing to be measured did not happen."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`began` and `ended` are on CLOCK_MONOTONIC. `cpu` is in seconds, user and system, of the
    process and of the children that it waited for."""

    began: float
    ended: float
    cpu: float
    peak_mb: float
    code: int

    @property
    def took(self) -> float:
        return self.ended - self.began


def measured(
    command: list[str], folder: Path, environ: Mapping[str, str] | None = None, within: float = 600
) -> Cost:
    """Runs a command to its end. Raises BenchError where it fails."""
    result = folder / "result"
    result.unlink(missing_ok=True)
    with (folder / "output").open("wb") as output:
        launched = subprocess.Popen(
            [*LAUNCH, str(result), NICE, *command], env=PLAIN | dict(environ or {}),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # fmt: skip
        wait_for_end(launched, result, within)
    cost = Cost(**json.loads(result.read_text()))
    if cost.code:
        tail = (folder / "output").read_text(errors="replace")[-1000:]
        raise BenchError(f"{command[0]} ended with {cost.code}: {tail}")
    return cost


def wait_until(true: Callable[[], object], within: float, what: str, every: float = 0.02) -> None:
    """Asks `every` so many seconds. Raises BenchError after `within` seconds."""
    until(true, what, within=within, every=every, error=BenchError)


class Mirror:
    """The child process as Frigate's hook starts it, in `house`, with the settings in `place`."""

    def __init__(self, house: House, place: Mapping[str, str], **environ: str) -> None:
        self.house = house
        self._result = house.folder / "mirror"
        for left in (self._result, Path(f"{self._result}.pid")):
            left.unlink(missing_ok=True)
        self.log = house.folder / "log"
        words = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "run"]
        with self.log.open("wb") as log:
            self._launched = subprocess.Popen(
                [*LAUNCH, str(self._result), "0", *words], stdin=subprocess.PIPE, stdout=log,
                stderr=log, env=PLAIN | house.environ | dict(place) | environ)  # fmt: skip
        assert self._launched.stdin is not None
        self._pipe = self._launched.stdin
        pid = Path(f"{self._result}.pid")
        wait_until(lambda: pid.exists() and pid.read_text(), 10, "the mirror's start", 0.001)
        self.pid = int(pid.read_text())

    def offer(self, event_id: str) -> None:
        os.write(self._pipe.fileno(), f"{event_id}\n".encode())

    def status(self) -> dict[str, object]:
        """Its status file; empty while this process has not written one."""
        try:
            found: dict[str, object] = json.loads(
                (self.house.cache / ".s3_status.json").read_text()
            )
        except (OSError, ValueError):
            return {}
        return found if found.get("pid") == self.pid else {}

    def counts(self) -> dict[str, int]:
        found = self.status().get("counts", {})
        return found if isinstance(found, dict) else {}

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return processes.cpu(self.pid)

    def memory(self, name: str = "VmHWM") -> float:
        """Megabytes: the peak, or what it has now (VmRSS)."""
        return processes.memory(self.pid, name)

    def wait_for_lines(self, count: int, within: float = 300) -> float:
        """Waits until the state file says that so many artifacts are in the bucket. Returns when
        the file was written last, on CLOCK_MONOTONIC."""
        said = f"{count} uploaded: {self._tail()}"
        # It reads the file only ten times a second, because reading uses the CPU that it measures.
        wait_until(lambda: self.house.lines() >= count, within, said, 0.1)
        return time.monotonic() - (time.time() - self.house.uploaded.stat().st_mtime)

    def wait_for_quiet(self, within: float = 300) -> None:
        """Waits until it runs and all of its threads sleep in nearly all looks of two seconds.
        Unused CPU time would not show this: a process that gets no CPU uses none, either."""
        until = time.monotonic() + within
        awake = 40
        while awake > 4 or not self.status():
            if time.monotonic() > until:
                raise BenchError(f"the mirror did not come to rest within {within:g} s")
            awake = 0
            for _ in range(40):
                awake += processes.threads_awake(self.pid)
                time.sleep(0.05)

    def stop(self) -> Cost:
        """Closes its pipe, as the end of Frigate does, and waits for its end."""
        self._pipe.close()
        wait_for_end(self._launched, self._result, 60)
        return Cost(**json.loads(self._result.read_text()))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._launched.wait(10)

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        if self._launched.poll() is None:
            self.kill()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-500:]


def wait_for_end(launched: subprocess.Popen[bytes], result: Path, within: float) -> None:
    """Waits until a command that `launch.py` runs has ended. Kills it after `within` seconds, and
    raises BenchError."""
    try:
        launched.wait(within)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.kill(int(Path(f"{result}.pid").read_text()), signal.SIGKILL)
        launched.wait(10)
        raise BenchError(f"no end within {within:g} s: {launched.args!r}") from None
