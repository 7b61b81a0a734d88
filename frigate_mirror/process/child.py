"""The child process that the hook starts inside Frigate: its ids come through a pipe.

It mirrors, or it only answers the API of the recording backfill, or both.
"""

from __future__ import annotations

import os
import sys

from frigate_mirror.ledger.folders import State
from frigate_mirror.mirror import Mirror, of_frigate
from frigate_mirror.process.life import Stop, catch_signals, live
from frigate_mirror.process.system import has_died
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Sink
from frigate_mirror.sources.pipe import Pipe


class Frigate:
    """The process `pid` that started this one, and the pipe from its hook. See `life.Host`."""

    def __init__(
        self, pipe: Pipe, pid: int, settings: Settings, sink: Sink, versions: dict[str, str]
    ) -> None:
        self.stop = Stop()
        self._pipe = pipe
        self._pid = pid
        self._settings = settings
        self._sink = sink
        self._versions = versions
        self.ids = pipe.ids
        self.settle = pipe.settle

    def mirror(self, state: State) -> Mirror:
        return of_frigate(self._settings, self._sink, state, versions=self._versions)

    @property
    def leaves(self) -> bool:
        return self.is_gone or self._pipe.hung_up or self._pipe.ended

    @property
    def is_gone(self) -> bool:
        return self.stop.wanted or has_died(self._pid)

    @property
    def over(self) -> bool:
        return self._pipe.ended or self.is_gone


def serve(settings: Settings, sink: Sink, versions: dict[str, str]) -> int:
    """Mirrors until Frigate closes our stdin, dies, or sends a signal; returns the exit code."""
    return live(settings, Frigate(_pipe(), _frigate(), settings, sink, versions))


def attend() -> int:
    """Does nothing until Frigate closes our stdin, dies, or sends a signal; returns the exit code.
    Other threads work meanwhile."""
    stop, pipe, pid = Stop(), _pipe(), _frigate()
    catch_signals(stop)
    while not (stop.wanted or pipe.ended or has_died(pid)):
        pipe.ids(timeout=0.5)  # nobody mirrors these events
    return stop.status


def _pipe() -> Pipe:
    return Pipe(sys.stdin.fileno())


def _frigate() -> int:
    """Returns the process id of Frigate."""
    return int(os.environ.get("S3_MIRROR_PARENT", os.getppid()))
