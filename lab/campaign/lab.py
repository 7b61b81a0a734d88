"""What all runs of a campaign share: the folder, the server, the certificates, the program."""

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
    """The campaign ends at once. A run must only undo what it did."""


@dataclass
class Lab:
    """`root` is the folder of the program that is tested."""

    folder: Path
    server: SeaweedFS
    certificates: Certificates
    root: Path = ROOT
    share: float | None = None
    """The share of pictures that retention deletes, 0 to 1. Each run draws it where it is None."""
    patience: float | None = None
    """Seconds to wait for the bucket, instead of each fault's own bound."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the campaign must end at once."""
    _rooms: Iterator[int] = field(default_factory=itertools.count)

    def rest(self, seconds: float) -> None:
        """Sleeps. Raises Aborted when the campaign must end."""
        if self.over.wait(seconds):
            raise Aborted

    def room(self) -> Path:
        """A folder for one run."""
        room = self.folder / f"w{next(self._rooms)}"
        room.mkdir()
        return room


@contextmanager
def open_lab(server: SeaweedFS | None = None) -> Iterator[Lab]:
    """Opens a lab, with a server of its own unless one is given, and removes everything in the
    end."""
    # Not in pytest's folder, because the path of a Unix socket has at most 107 bytes.
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
    """Does all jobs, `at_once` at a time. If anything ends this early, such as Ctrl-C, the running
    jobs end too and remove what they made."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            return [future.result() for future in [pool.submit(job) for job in jobs]]
        except BaseException:
            lab.over.set()
            pool.shutdown(cancel_futures=True)
            raise
