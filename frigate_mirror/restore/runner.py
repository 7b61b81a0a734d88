"""Runs the command line of one backfill in a process of its own, and reads what it prints."""

from __future__ import annotations

import json
import logging
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from frigate_mirror.frigate.ffmpeg import MORTAL, prefix
from frigate_mirror.untrusted import plain

NICE = ("nice", "-n", "5")
"""At the lowest priority a busy machine would take the CPU from it in the middle of a transaction,
and Frigate's own writes would wait for that."""
SILENT = 1_800.0  # seconds; it waits ten minutes for a database, but a dead disk keeps it for ever
LARGEST_SUMMARY = 16_000_000  # bytes
LONGEST_LINE = 64_000  # bytes of a line on stderr
LAST_WORDS = 5  # lines of its log that are kept
TO_DIE = 10.0  # seconds; a process that waits for a dead disk cannot even be killed
TICK = 0.5  # seconds between two looks at a process that prints nothing
# A line that the process has logged in Frigate's format gets its date and its place from our log.
LOGGED = re.compile(r"\[[^]]*\] \S+ +(DEBUG|INFO|WARNING|ERROR) *: (.*)")

log = logging.getLogger("frigate_s3.backfill")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended. `code` is its exit code, or the negative number of a signal. `summary`
    is the JSON object that it printed, or empty. `words` are the last lines of its log."""

    code: int
    summary: dict[str, Any] = field(default_factory=dict)
    words: str = ""


class Run:
    """One process. `on_progress` is called with each line of progress. The process ends with the
    thread that makes this object. Raises OSError if it cannot be started."""

    def __init__(
        self,
        words: Sequence[str],
        on_progress: Callable[[dict[str, Any]], None],
        environ: Mapping[str, str] = os.environ,
        silent: float = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_progress = on_progress
        self._silent = silent
        self._clock = clock
        self._last: list[str] = []
        self._process = subprocess.Popen(
            [*prefix(MORTAL, NICE), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd="/",
            start_new_session=True,  # so that what it starts is ended with it
            bufsize=0,
        )

    def stop(self) -> None:
        """Kills the process and all that it has started. Any thread may call this."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> Outcome:
        """Waits until the process has ended."""
        assert self._process.stdout and self._process.stderr
        summary = bytearray()
        log_lines = _Lines(self._tell)
        takers = {
            self._process.stdout: summary.extend,
            self._process.stderr: log_lines.take,
        }
        try:
            self._read(takers, lambda: len(summary) <= LARGEST_SUMMARY)
        finally:
            self.stop()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(TO_DIE)
            for pipe in takers:
                pipe.close()
        log_lines.end()
        code = self._process.returncode
        return Outcome(
            -signal.SIGKILL if code is None else code,
            _object(bytes(summary)),
            "; ".join(self._last),
        )

    def _read(
        self,
        takers: dict[IO[bytes], Callable[[bytes], None]],
        may_go_on: Callable[[], bool],
    ) -> None:
        """Passes on what the process prints until it has closed both pipes, or hangs."""
        heard = self._clock()
        with selectors.DefaultSelector() as selector:
            for pipe, take in takers.items():
                selector.register(pipe, selectors.EVENT_READ, take)
            while selector.get_map():
                for key, _ in selector.select(TICK):
                    piece = os.read(key.fd, 65_536)
                    if piece:
                        key.data(piece)
                        heard = self._clock()
                    else:
                        selector.unregister(key.fileobj)
                if self._clock() - heard > self._silent:
                    self._last.append(f"it told nothing for {self._silent:g} s and was ended")
                    return
                if not may_go_on():
                    self._last.append("it printed too much and was ended")
                    return

    def _tell(self, line: str) -> None:
        """Takes one line of stderr: progress, or a line for our log."""
        progress = _object(line.encode()) if line.startswith("{") else {}
        if progress:
            self._on_progress(progress)
        elif line:
            logged = LOGGED.fullmatch(line)
            level, words = logged.groups() if logged else ("INFO", line)
            self._last = [*self._last, words][-LAST_WORDS:]
            told = words if "backfill" in words else f"backfill: {words}"
            log.log(getattr(logging, level), "%s", told)


class _Lines:
    """Makes lines of pieces."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""

    def take(self, piece: bytes) -> None:
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest[:LONGEST_LINE]
        for line in lines:
            self._tell(plain(line.decode(errors="replace")).strip())

    def end(self) -> None:
        self.take(b"\n")


def _object(text: bytes) -> dict[str, Any]:
    """Returns the JSON object in `text`, or an empty one for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
