"""What all runs of a campaign share: a folder, the server, the certificates, the program."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.rig import ROOT
from tests.rig.certificates import Certificates
from tests.rig.servers import SeaweedFS

Result = TypeVar("Result")


class Aborted(Exception):
    """The campaign is to end at once; a run has nothing more to do than to undo what it did."""


@dataclass
class Lab:
    """`root` is where the program lies that is put to the test."""

    folder: Path
    server: SeaweedFS
    certificates: Certificates
    root: Path = ROOT
    share: float | None = None
    """How many pictures the retention takes, 0 to 1; drawn for each run unless given."""
    patience: float | None = None
    """Seconds to wait for the bucket, in place of each fault's own."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set once the campaign is to end at once."""
    _rooms: Iterator[int] = field(default_factory=itertools.count)

    def rest(self, seconds: float) -> None:
        """Sleep. Raises Aborted."""
        if self.over.wait(seconds):
            raise Aborted

    def room(self) -> Path:
        """A folder for one run."""
        room = self.folder / f"w{next(self._rooms)}"
        room.mkdir()
        return room


@contextmanager
def open_lab(server: SeaweedFS | None = None) -> Iterator[Lab]:
    """A lab with a server of its own, unless one is given. Leaves nothing behind."""
    # Not pytest's folder: a Unix socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    own = None
    try:
        if server is None:
            own = server = SeaweedFS()
        yield Lab(folder, server, Certificates(folder))
    finally:
        if own is not None:
            own.stop()
        shutil.rmtree(folder, ignore_errors=True)


def side_by_side(lab: Lab, at_once: int, jobs: Iterable[Callable[[], Result]]) -> list[Result]:
    """Do all jobs, `at_once` at a time. Whatever ends this early, Ctrl-C too, ends the runs that
    are under way, and they leave nothing behind."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            return [future.result() for future in [pool.submit(job) for job in jobs]]
        except BaseException:
            lab.over.set()
            pool.shutdown(cancel_futures=True)
            raise
