"""What all runs of a campaign share: a folder, the server, the certificates, the program."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from campaign import ROOT
from campaign.tls import Certificates
from servers import SeaweedFS


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
    _rooms: Iterator[int] = field(default_factory=itertools.count)

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
