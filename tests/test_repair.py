"""A damaged ledger: put aside and made anew, from the state files and what Frigate knows."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.artifact import Artifact
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger import repair
from frigate_mirror.ledger.database import LedgerDamaged
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.repair import from_listing
from frigate_mirror.ledger.rows import Counts, Priority, Settled
from frigate_mirror.ledger.statefiles import StateFile
from frigate_mirror.sinks.sink import Stored

NOW = 1_705_330_000.0


def artifact(number: int) -> Artifact:
    event_id = f"17053290{number:02}.5-abc{number:03}"
    key = f"frigate/door/2024-01-15/{event_id}-20240115_143022.jpg"
    origin = f"/clips/door-{event_id}.jpg"
    return Artifact(f"snapshot:{event_id}", "door", 1705329000.5 + number, key, origin, 9 + number,
                    "image/jpeg", {"event-id": event_id, "label": "person"})  # fmt: skip


ALL = {one.id: one for one in map(artifact, range(40))}
UPLOADED, PENDING = list(ALL)[:15], list(ALL)[15:]


class House:
    """A ledger with its state files, and the artifacts that were sent from it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.uploaded = StateFile(folder / "uploaded", with_errors=False)
        self.failed = StateFile(folder / "failed", with_errors=True)
        self.sent: list[Artifact] = []

    def open(self) -> Ledger:
        return repair.open_ledger(self.path, self.uploaded, self.failed)

    def fill(self) -> None:
        with contextlib.closing(self.open()) as ledger:
            for one in ALL.values():
                ledger.add(one, Priority.LIVE, NOW)
            self.settle(ledger, UPLOADED)
            ledger.defer(PENDING[0], NOW + 5, "busy", charged=True)

    def settle(self, ledger: Ledger, ids: list[str]) -> None:
        done = [Settled(NOW, one, ALL[one].key) for one in ids]
        ledger.settle(done)
        self.uploaded.append(done)

    def live(self, known: dict[str, Artifact]) -> bool:
        """A mirror's life beside a Frigate that knows these; False if the ledger was damaged."""
        try:
            with contextlib.closing(self.open()) as ledger:
                ledger.mend_clock(NOW + 10, NOW + 610)
                for one in ledger.unknown(list(known)):
                    ledger.add(known[one], Priority.BACKLOG, NOW + 10)
                while entry := ledger.claim(NOW + 10):
                    self.sent.append(entry.artifact)
                    self.settle(ledger, [entry.artifact.id])
                ledger.counts()
                self.uploaded.replace(ledger.uploaded())
        except LedgerDamaged:
            with contextlib.suppress(FileNotFoundError):
                repair.put_aside(self.path)
            return False
        return True

    def put_aside(self) -> list[str]:
        return sorted(one.name for one in self.path.parent.glob("*.damaged-*"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    made.fill()
    return made


def zero_a_page(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) // 4096) * 4096
    data[at : at + 4096] = bytes(4096)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


@hypothesis.settings(deadline=None, max_examples=100, database=None)
@given(st.sampled_from([zero_a_page, cut]), st.integers(0, 2**32))
def test_a_page_damaged_in_a_crash_costs_no_picture(hurt: object, seed: int) -> None:
    with TemporaryDirectory() as folder:
        house = House(Path(folder))
        house.fill()
        crash(house.path)
        data = bytearray(house.path.read_bytes())
        hurt(data, random.Random(seed))  # type: ignore[operator]
        house.path.write_bytes(data)
        assert house.live(ALL) or house.live(ALL)
        assert {one.id for one in house.sent} >= set(PENDING)


def crash(path: Path) -> None:
    """Leaves the ledger as a process does that did not close it."""
    with contextlib.closing(sqlite3.connect(path)) as sql, sql:
        sql.execute("INSERT INTO note VALUES ('open', '')")


def test_after_the_loss_of_the_ledger_no_upload_is_repeated(house: House) -> None:
    assert house.live(ALL)
    house.sent.clear()
    house.path.write_bytes(b"no database at all, but long enough to look like one")
    assert house.live(ALL) and house.sent == []


def test_only_the_newest_damaged_ledgers_are_kept(house: House) -> None:
    kept = []
    for number in range(5):
        house.path.write_text(f"{number}")
        kept.append(repair.put_aside(house.path))
    assert house.put_aside() == sorted(one.name for one in kept[-3:])
    assert [(one / "ledger.db").read_text() for one in kept[-3:]] == ["2", "3", "4"]


def test_a_damaged_ledger_is_the_newest_even_if_the_clock_was_set_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in (5000.0, 4000.0, 3000.0, 2000.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        house.path.write_text(f"{now:g}")
        newest = repair.put_aside(house.path)
    assert newest.is_dir() and (newest / "ledger.db").read_text() == "2000"
    assert len(house.put_aside()) == 3


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
def test_a_folder_in_the_place_of_one_of_its_files_is_put_aside(house: House, ending: str) -> None:
    place = house.path.with_name(house.path.name + ending)
    place.unlink(missing_ok=True)
    place.mkdir()
    (place / "something").touch()
    assert house.live(ALL) or house.live(ALL)
    assert {one.id for one in house.sent} == set(PENDING)
    [aside] = house.put_aside()
    assert (house.path.parent / aside / f"folder{ending}" / "something").exists()


def test_a_ledger_that_is_put_aside_was_closed_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing it later would delete files of the new ledger, which have the same names."""
    closed: list[Ledger] = []
    real = Ledger.close

    def close(self: Ledger) -> None:
        closed.append(self)
        real(self)

    def counts(self: Ledger) -> Counts:
        raise LedgerDamaged("read ledger.db: nonsense")

    monkeypatch.setattr(Ledger, "close", close)
    monkeypatch.setattr(Ledger, "counts", counts)
    with pytest.raises(LedgerError):
        house.open()
    assert len(closed) == 2


def test_each_object_of_an_event_is_listed_as_the_kind_that_its_key_names() -> None:
    head = "p/door/2024-01-15/1705329022.5-abc-20240115_143022"
    endings = (".mp4", "-thumb.webp", "-thumb.jpg", ".json", "-part-0001.mp4", ".gif", ".webp")
    listing = [Stored(f"{head}{ending}", 9, NOW) for ending in endings]
    found = {row[2].removeprefix(head): row[0] for row in from_listing(listing, KeyCodec("p"))}
    assert found == {
        ".mp4": "clip:1705329022.5-abc",
        "-part-0001.mp4": "clip:1705329022.5-abc",
        "-thumb.webp": "thumbnail:1705329022.5-abc",
        "-thumb.jpg": "thumbnail:1705329022.5-abc",
        ".json": "metadata:1705329022.5-abc",
        ".webp": "snapshot:1705329022.5-abc",
    }
