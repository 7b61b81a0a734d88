"""What all rows share: the folder, the amount to measure, the servers, and houses that are costly
to build. It removes everything in the end."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.bench.house import House, past, pictures, recent
from lab.bench.processes import Mirror, wait_until
from lab.bench.servers import NullSink, Weed

NOWHERE = {"S3_BUCKET": "nowhere", "S3_ENDPOINT_URL": "http://127.0.0.1:9", "S3_ACCESS_KEY": "none",
           "S3_SECRET_KEY": "none", "MIRROR_DRAIN_SECONDS": "0",
           "MIRROR_BATCH_SIZE": "1000"}  # fmt: skip
QUICK, USUAL, FULL = "quick", "usual", "full"


@dataclass
class Lab:
    """`effort` is quick (does it run at all?), usual (minutes) or full (1,000 events)."""

    folder: Path
    effort: str = USUAL
    began: float = field(default_factory=time.time)
    _sink: NullSink | None = None
    _weed: Weed | None = None
    _pictures: dict[str, list[Path]] = field(default_factory=dict)
    _ledgers: dict[int, House] = field(default_factory=dict)
    _houses: int = 0

    def size(self, quick: int, usual: int, full: int | None = None) -> int:
        return {QUICK: quick, USUAL: usual, FULL: full or usual}[self.effort]

    @property
    def rounds(self) -> int:
        return self.size(1, 5)

    @property
    def sink(self) -> NullSink:
        self._sink = self._sink or NullSink()
        return self._sink

    @property
    def weed(self) -> Weed:
        self._weed = self._weed or Weed()
        return self._weed

    def room(self, name: str) -> Path:
        self._houses += 1
        room = self.folder / f"{name}{self._houses}"
        room.mkdir()
        return room

    def pictures(self, count: int) -> list[Path]:
        """Snapshots of 30 to 300 KB."""
        return self._some("small", count, 30_000, 300_000)

    def clips(self, count: int) -> list[Path]:
        """Files of 20 to 200 MB."""
        return self._some("large", count, 20_000_000, 200_000_000)

    def _some(self, name: str, count: int, least: int, most: int) -> list[Path]:
        have = self._pictures.get(name, [])
        if len(have) < count:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            have = self._pictures[name] = pictures(self.folder / name, count, least, most)
        return have[:count]

    def drop_pictures(self) -> None:
        for name in self._pictures:
            shutil.rmtree(self.folder / name)
        self._pictures.clear()

    def bare(self, files: list[Path]) -> Path:
        """A folder with nothing but these files, for the rivals."""
        folder = self.room("bare")
        for path in files:
            (folder / path.name).hardlink_to(path)
        return folder

    def house(self, files: list[Path], known: int = 0, window: int = 0) -> House:
        """Makes and saves a house. These pictures are pending in its ledger and spool. Its ledger
        also has `known` uploaded artifacts, and Frigate's database has the first `window` of them.

        The program itself fills the ledger: it runs once while no bucket can be reached."""
        house, now = House(self.room("house")), time.time()
        if known:
            shutil.rmtree(house.state)
            shutil.copytree(self._ledger(known).state, house.state)
            house.rows(past(window, self.began) if window == known else [])
        events = list(recent(len(files), now, known))
        for event, path in zip(events, files, strict=True):
            house.picture(event, path)
        house.rows(events)
        if files:
            with Mirror(house, NOWHERE) as mirror:
                wait_until(
                    lambda: mirror.counts().get("pending", 0) >= len(files), 300, "pending", 0.1
                )
                mirror.stop()
        house.save()
        return house

    def _ledger(self, known: int) -> House:
        """A house whose ledger has read so many uploaded artifacts from the state file."""
        if known not in self._ledgers:
            house = House(self.room("known"))
            house.known(past(known, self.began))
            with Mirror(house, NOWHERE) as mirror:
                wait_until(
                    lambda: mirror.counts().get("uploaded", 0) >= known, 300, "known rows", 0.1
                )
                mirror.stop()
            self._ledgers[known] = house
        return self._ledgers[known]

    def close(self) -> None:
        for server in (self._sink, self._weed):
            if server is not None:
                server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def open_lab(effort: str = USUAL) -> Iterator[Lab]:
    lab = Lab(Path(tempfile.mkdtemp(prefix="bench-")), effort)
    try:
        yield lab
    finally:
        lab.close()
