"""One run of the campaign's Frigate: a process that takes orders, and what it says."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.rig import processes

DRIVER = Path(__file__).resolve().parent / "hostside" / "host_process.py"


class Tail:
    """The lines of a growing file that have not been read yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._rest = b""

    def lines(self) -> list[str]:
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        self._at += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]


class Host:
    """`out` is its stdout; its stderr, which the mirror shares, is appended to `log`."""

    def __init__(self, folder: Path, name: str, log: Path, environ: Mapping[str, str]) -> None:
        out = folder / f"{name}.out"
        with out.open("wb") as stdout, log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(DRIVER)],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                env=dict(environ),
                cwd="/",
                start_new_session=True,
            )
        self._told = Tail(out)
        self.ready = False
        self.deaf = False
        """Whether its event thread has been made to crash: it handles nothing that it is sent."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def order(self, what: str, **values: Any) -> None:
        """Nothing comes of it where the host is dead, as nothing happens in a dead Frigate."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what} | values).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def handled(self) -> list[tuple[str, str]]:
        """(message, event id) of every handler that has returned since the last call."""
        found = []
        for line in self._told.lines():
            if not line.startswith("{"):  # Frigate's own words
                continue
            said = json.loads(line)
            self.ready = self.ready or "ready" in said
            if "returned" in said:
                found.append((said["handled"], said["event"]))
        return found

    def mirror(self) -> int:
        """Its mirror's process id, 0 while there is none."""
        return next(iter(processes.child_mirrors(self.pid)), 0)

    def stop(self, within: float = 10.0) -> int | None:
        """As docker stops it; its exit code, None if it had to be killed after `within`."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._tell_where_it_hangs()
            self.kill()
            return None
        finally:
            self._close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def _tell_where_it_hangs(self) -> None:
        """Into its log: the stacks of the main process and of its forks."""
        family = [pid for pid, parent in processes.parents().items() if parent == self.pid]
        for pid in [self.pid, *(pid for pid in family if processes.runs(pid, DRIVER.name))]:
            processes.kill(pid, signal.SIGUSR1)
            time.sleep(0.2)

    def _close(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
