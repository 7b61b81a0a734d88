"""What becomes of an event's files when something fails between two steps of the mirror."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from frigate_mirror.artifact import Artifact
from frigate_mirror.frigate import kinds as registry
from frigate_mirror.ledger.folders import open_alone
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.mirror import Mirror
from tests.rig import ffmpeg
from tests.rig.waiting import until
from tests.rig.worlds import World
from tests.test_kinds import ENDED, Recorder, no_network
from tests.test_toy_mirror import Labels, Shelf, Shop, Toy

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")


@pytest.fixture(autouse=True)
def its_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: ffmpeg.ffmpeg())


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    found = Recorder(tmp_path / "world")
    yield found
    found.mirror.ledger.close()
    found.sql.close()


def in_ledger(recorder: Recorder, statement: str) -> None:
    with closing(sqlite3.connect(recorder.mirror.ledger.path)) as ledger, ledger:
        ledger.execute(statement)


def test_a_clip_of_which_the_ledger_took_only_some_parts_is_queued_again_whole(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: "")
    recorder.record()
    recorder.offer(recorder.event())
    in_ledger(
        recorder,
        """CREATE TRIGGER full BEFORE INSERT ON artifact WHEN NEW.id LIKE 'clip:%:2'
           BEGIN SELECT RAISE(ABORT, 'the disk is full'); END""",
    )
    with pytest.raises(LedgerError):
        recorder.mirror.intake.make_next()
    recorder.work()
    in_ledger(recorder, "DROP TRIGGER full")
    recorder.work()
    assert recorder.objects().keys() >= {"-part-0001.mp4", "-part-0002.mp4"}
    assert recorder.document()["complete"] is True


def test_a_document_is_completed_although_the_database_was_away_when_its_turn_came(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.offer(recorder.event())
    recorder.mirror.sweep.follow()
    recorder.mirror.sweep.make()
    while recorder.mirror.uploader.step() or recorder.mirror.uploader.step(bulk=True):
        pass
    away = recorder.world.database.with_name("away")
    recorder.world.database.rename(away)
    recorder.mirror.sweep.follow()
    away.rename(recorder.world.database)
    recorder.work()
    assert recorder.document()["complete"] is True


def test_a_clip_that_was_held_and_not_queued_survives_the_end_of_its_recording(
    recorder: Recorder,
) -> None:
    files = recorder.record()
    recorder.offer(recorder.event())
    in_ledger(
        recorder,
        """CREATE TRIGGER full BEFORE INSERT ON artifact WHEN NEW.id LIKE 'clip:%'
           BEGIN SELECT RAISE(ABORT, 'the disk is full'); END""",
    )
    with pytest.raises(LedgerError):
        recorder.mirror.intake.make_next()
    in_ledger(recorder, "DROP TRIGGER full")
    recorder.mirror.ledger.close()  # the process ends here
    for path in files:
        path.unlink()
    recorder.sql.execute("DELETE FROM recordings")
    recorder.open()
    recorder.clock.now = ENDED + 500
    recorder.work()
    assert ".mp4" in recorder.objects()
    assert recorder.document()["complete"] is True and recorder.document()["missing"] == []


@needs_root
def test_on_a_full_disk_clips_make_room_for_pictures_and_are_made_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "world")
    recorder.world.cache.mkdir(exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(recorder.world.cache)]
    if subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("mounting a disk is not permitted here")
    try:
        recorder.mirror.ledger.close()
        recorder.open()
        recorder.record()
        recorder.sink.fault = no_network
        recorder.offer(recorder.event())
        recorder.work()
        with closing((recorder.world.cache / "ballast").open("wb", buffering=0)) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                pass
        later = recorder.event(started=ENDED - 4)
        recorder.offer(later)
        assert recorder.mirror.spool.holds(f"snapshot:{later}")
        (recorder.world.cache / "ballast").unlink()
        recorder.sink.fault = lambda key: None
        recorder.clock.now += 3600.0
        recorder.work()
        assert recorder.counts()["clip"] == {"uploaded": 2}
        assert recorder.mirror.ledger.counts().lost == 0
    finally:
        recorder.mirror.ledger.close()
        recorder.sql.close()
        subprocess.run(["umount", "-l", str(recorder.world.cache)], check=True)


def test_an_event_is_read_whole_or_not_at_all_while_frigate_deletes_its_row(
    recorder: Recorder,
) -> None:
    event_id = recorder.event()
    [row] = recorder.sql.execute("SELECT * FROM event").fetchall()
    marks = ", ".join("?" * len(row))
    over = threading.Event()

    def come_and_go() -> None:
        with closing(sqlite3.connect(recorder.world.database, isolation_level=None)) as frigate:
            while not over.is_set():
                frigate.execute("DELETE FROM event")
                frigate.execute(f"INSERT INTO event VALUES ({marks})", row)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        pages = [recorder.mirror.catalog.subjects([event_id]) for _ in range(1000)]
    finally:
        over.set()
        thread.join()
    found = [event for page in pages for event in page]
    assert found and all(event.row["id"] == event_id for event in found)


class Texts(Labels):
    """Describes toys. A slow thread writes an older text than any other."""

    follows = True

    def __init__(self) -> None:
        self.looks = 0
        self.may_go_on, self.older_is_held = threading.Event(), threading.Event()

    def find(self, toy: Toy, held: str) -> Artifact:
        version = "older" if threading.current_thread().name == "slow" else "newer"
        found = super().find(toy, held)
        assert found is not None
        return replace(found, version=version, origin=version, size=len(version), opener=self.open)

    def open(self, artifact: Artifact) -> BinaryIO:
        if artifact.version == "older":
            self.looks += 1
            if self.looks == 1:  # for flaws
                self.may_go_on.wait()
            else:  # for the spool
                self.older_is_held.set()
        return super().open(artifact)


def test_an_older_text_waits_until_the_ledger_has_taken_the_newer_one(tmp_path: Path) -> None:
    settings, kind = World(tmp_path).settings(), Texts()
    state = open_alone(settings.state)
    mirror = Mirror(settings, Shelf(), state, Shop(), [kind])
    fast, slow = (
        threading.Thread(target=mirror.intake.look_for_files, args=[["label:robot"]], name=name)
        for name in ("fast", "slow")
    )
    slow.start()
    until(lambda: kind.looks)
    with closing(sqlite3.connect(state.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the ledger takes nothing until this ends
        fast.start()
        until(lambda: mirror.spool.holds("label:robot"))
        kind.may_go_on.set()
        replaced = kind.older_is_held.wait(0.3)
        other.execute("COMMIT")
    fast.join()
    slow.join()
    state.ledger.close()
    assert not replaced, "the older text replaced the newer one"
