"""Intake: every file of every event gets into the queue, whoever finds the event."""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from frigate_mirror.artifact import Artifact, subject_of
from frigate_mirror.catalog import CatalogError, Kind
from frigate_mirror.faults import Troubles
from frigate_mirror.frigate.database import Database, FrigateDatabase
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.snapshots import Snapshots
from frigate_mirror.intake import intake as intake_module
from frigate_mirror.intake.intake import FILES_AT_ONCE, Intake
from frigate_mirror.intake.selection import Filters, Selection
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Counts, Entry, Priority, Settled
from frigate_mirror.settings.parse import Names
from frigate_mirror.spool import Spool
from tests.rig.worlds import DAY, NOW, Clock, World


class Bench:
    def __init__(
        self,
        folder: Path,
        batch: int = 50,
        world: World | None = None,
        more_kinds: Sequence[Kind[Event]] = (),
        filters: Filters | None = None,
    ) -> None:
        self.folder = folder
        self.world = world or World(folder)
        self.clock = Clock()
        self.ledger = Ledger(folder / ("second.db" if world else "ledger.db"))
        self.spool = Spool(folder / "spool", 10**9)
        self.troubles = Troubles()
        self.woken = 0
        self.intake = Intake(
            FrigateDatabase(self.world.database, batch, reviews=True),
            [Snapshots(self.world.clips, KeyCodec("frigate")), *more_kinds],
            self.ledger,
            self.spool,
            troubles=self.troubles,
            wake=self.wake,
            why_not=Selection(filters or Filters()).why_not,
            clock=self.clock,
        )

    def again(self) -> Bench:
        """Returns a later life in the same world, whose ledger is lost."""
        return Bench(self.folder, world=self.world)

    def wake(self) -> None:
        self.woken += 1

    @property
    def held(self) -> int:
        """How many files the spool holds."""
        files: int = self.spool.status()["spool_files"]
        return files

    def sweep(self, days: float = 7.0) -> int:
        return self.intake.sweep(self.clock() - days * DAY)

    def priorities(self) -> dict[str, Priority]:
        entries = iter(lambda: self.ledger.claim(self.clock()), None)
        return {entry.artifact.id.partition(":")[2]: entry.priority for entry in entries}

    def tend_for(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += 1.0
            self.intake.look_for_waiting()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


def test_an_offered_event_is_queued_live_held_and_announced(bench: Bench) -> None:
    event_id = bench.world.event("front_door", NOW - 10)
    assert bench.intake.offer(event_id)
    entry = bench.ledger.claim(NOW)
    assert entry is not None and entry.priority is Priority.LIVE
    assert entry.artifact.key == f"frigate/front_door/2024-01-15/{event_id}-20240115_143012.jpg"
    assert Path(entry.artifact.origin).read_bytes() == bench.world.pictures[event_id]
    assert (bench.held, bench.woken) == (1, 1)


def test_events_that_come_together_are_read_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Database] = []
    connect = Database._connect

    def counting(self: Database) -> Any:
        reads.append(self)
        return connect(self)

    monkeypatch.setattr(Database, "_connect", counting)
    ids = [bench.world.event(started=NOW - n) for n in range(40)]
    assert bench.intake.offer(*ids[:20], "no id", "1.5-unknown", *ids[20:], ids[0])
    assert bench.priorities() == dict.fromkeys(ids, Priority.LIVE)
    assert len(reads) == 1


def test_an_event_offered_again_is_queued_once(bench: Bench) -> None:
    event_id = bench.world.event()
    for _ in range(3):
        assert bench.intake.offer(event_id)
    assert bench.ledger.counts() == Counts(pending=1)


@pytest.mark.parametrize("words", ["", "../../etc/passwd", "a b", "x" * 200, "1\x1b[31m", "é"])
def test_a_text_that_is_not_an_event_id_is_logged_and_ignored(
    bench: Bench, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.intake.offer(words)
    assert bench.ledger.counts() == Counts()
    assert "is not an event id and is ignored" in caplog.text and "\x1b" not in caplog.text


def test_an_event_is_queued_only_after_its_end(bench: Bench) -> None:
    running = bench.world.event(lasted=None)
    assert bench.intake.offer(running) and bench.sweep() == 0
    assert bench.ledger.counts() == Counts()


def test_a_manual_event_without_an_end_is_queued(bench: Bench) -> None:
    bench.intake.offer(bench.world.event(lasted=None, kind="api"))
    assert bench.ledger.counts() == Counts(pending=1)


def test_a_sweep_finds_events_that_no_hook_offered_and_queues_recent_ones_live(
    bench: Bench,
) -> None:
    new = bench.world.event(started=NOW - 100)
    old = bench.world.event(started=NOW - 3 * DAY)
    assert bench.sweep() == 2
    assert bench.priorities() == {new: Priority.LIVE, old: Priority.BACKLOG}
    assert bench.sweep() == 0


def test_an_event_from_a_clock_that_ran_ahead_does_not_go_before_the_live_ones(
    bench: Bench,
) -> None:
    event_id = bench.world.event(started=NOW + DAY)
    assert bench.sweep() == 1
    assert bench.priorities() == {event_id: Priority.BACKLOG}


def test_events_older_than_the_window_are_left_alone(bench: Bench) -> None:
    bench.world.event(started=NOW - 7 * DAY - 1)
    inside = bench.world.event(started=NOW - 7 * DAY + 1)
    assert bench.sweep() == 1
    assert list(bench.priorities()) == [inside]


@pytest.mark.parametrize("batch", [1, 2, 7, 50])
def test_the_batch_size_limits_a_read_but_not_what_is_mirrored(tmp_path: Path, batch: int) -> None:
    bench = Bench(tmp_path / "bench", batch)
    # Many at the very same moment, as when cameras see a thing together.
    wanted = {bench.world.event(f"cam{n}", NOW - 50 + n // 10) for n in range(30)}
    assert bench.sweep() == 30
    assert bench.priorities().keys() == wanted


def test_an_event_that_ends_in_the_past_of_a_sweep_is_found_by_the_next(bench: Bench) -> None:
    bench.world.event(started=NOW - 50)
    bench.sweep()
    backdated = bench.world.event(started=NOW - 2 * DAY)
    assert bench.sweep() == 1
    assert backdated in bench.priorities()


def test_a_picture_that_is_written_late_is_looked_for_and_found(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 10, picture=False)
    bench.intake.offer(event_id)
    bench.tend_for(20.0)
    assert bench.ledger.counts() == Counts(waiting=1)
    bench.world.write_picture(event_id)
    bench.tend_for(40.0)
    assert bench.priorities() == {event_id: Priority.LIVE}


def test_after_a_quarter_of_an_hour_a_missing_picture_is_given_up(bench: Bench) -> None:
    bench.intake.offer(bench.world.event(started=NOW - 10, picture=False))
    bench.tend_for(600.0)
    assert bench.ledger.counts() == Counts(waiting=1)
    bench.tend_for(300.0)
    assert bench.ledger.counts() == Counts(gone=1)
    assert bench.sweep() == 0


def test_the_picture_of_an_old_event_is_looked_for_only_once_more(bench: Bench) -> None:
    bench.world.event(started=NOW - DAY, picture=False)
    bench.sweep()
    bench.tend_for(3.0)
    assert bench.ledger.counts() == Counts(gone=1)


def test_pictures_on_a_disk_that_was_away_are_mirrored_when_it_is_back(bench: Bench) -> None:
    away = bench.world.clips.rename(bench.world.clips.with_name("away"))
    wanted = {bench.world.event(started=NOW - n * 3600, picture=False) for n in range(5)}
    bench.sweep()
    bench.tend_for(1000.0)
    assert bench.ledger.counts() == Counts(lost=5), "nobody can tell that they have no pictures"
    away.rename(bench.world.clips)
    for event_id in wanted:
        bench.world.write_picture(event_id)
    bench.intake.look_for_gone(NOW - 7 * DAY)
    assert bench.priorities().keys() == wanted


def test_many_waiting_pictures_do_not_hold_up_a_live_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "LOOKS_AT_ONCE", 10)
    for n in range(40):
        bench.world.event(started=NOW - DAY - n, picture=False)
    bench.sweep()
    live = bench.world.event(started=NOW - 10, picture=False)
    bench.intake.offer(live)
    bench.world.write_picture(live)
    bench.tend_for(10.0)
    assert bench.priorities() == {live: Priority.LIVE}


@pytest.mark.parametrize("camera", ["../evil", "a/b", "..", "", "é" * 400])
def test_a_camera_that_can_name_no_file_does_not_disturb_another(bench: Bench, camera: str) -> None:
    bench.world.event(camera, NOW - 60, picture=False)
    good = bench.world.event("front_door", NOW - 50)
    bench.sweep()
    bench.tend_for(2.0)
    assert good in bench.priorities()


def test_an_unreadable_database_is_logged_once_and_the_offer_says_that_it_failed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.world.database.rename(bench.world.database.with_name("away.db"))
    assert not bench.intake.offer("1.5-abcdef")
    assert not bench.intake.offer("2.5-abcdef")
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    assert bench.troubles.all()


def test_an_event_that_the_ledger_could_not_take_is_found_by_a_later_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = bench.world.event()

    def full(*_: object) -> bool:
        raise LedgerError("write ledger.db: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "add", full)
        assert not bench.intake.offer(event_id)
    assert bench.sweep() == 1 and event_id in bench.priorities()


def test_a_picture_that_the_ledger_could_not_take_survives_frigates_deletion(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = bench.world.event()
    bench.intake.hold()

    def full(*_: object) -> bool:
        raise LedgerError("write ledger.db: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "add", full)
        assert not bench.intake.offer(event_id)
    bench.world.forget(event_id)
    bench.world.without_snapshot(event_id)
    bench.intake.hold()
    assert event_id in bench.priorities()


def test_pictures_that_only_the_spool_still_has_survive_the_loss_of_the_ledger(
    bench: Bench,
) -> None:
    ids = [bench.world.event(started=NOW - 60 - n) for n in range(5)]
    for event_id in ids:
        bench.intake.offer(event_id)
    before = [bench.ledger.claim(NOW) for _ in ids]
    for event_id in ids:
        bench.world.forget(event_id)
    bench.world.without_snapshot(ids[0])  # as Frigate's own retention says it in the row
    again = bench.again()
    again.intake.hold()
    after = [again.ledger.claim(NOW) for _ in ids]
    assert None not in after
    assert sorted(e.artifact.key for e in after if e) == sorted(e.artifact.key for e in before if e)
    for entry in after:
        assert entry is not None
        with again.spool.open(entry.artifact) as file:
            assert file.read() == bench.world.pictures[subject_of(entry.artifact.id)]


def test_the_spool_is_adopted_as_soon_as_the_database_can_be_read(bench: Bench) -> None:
    event_id = bench.world.event()
    bench.intake.offer(event_id)
    bench.world.forget(event_id)
    again = bench.again()
    for one in bench.folder.glob("spool/*~.json"):
        one.unlink()  # an earlier edition held pictures without descriptions
    away = bench.world.database.rename(bench.world.database.with_name("away.db"))
    with pytest.raises(CatalogError):
        again.intake.hold()
    away.rename(bench.world.database)
    again.intake.hold()
    assert event_id in again.priorities()


def test_a_picture_that_could_not_be_held_is_held_by_a_later_sweep(bench: Bench) -> None:
    in_the_way = bench.folder / "spool"
    in_the_way.write_text("no folder")
    event_id = bench.world.event()
    bench.intake.offer(event_id)
    assert bench.held == 0
    bench.intake.hold()
    in_the_way.unlink()
    bench.intake.hold()
    bench.world.forget(event_id)
    entry = bench.ledger.claim(NOW)
    assert entry is not None
    with bench.spool.open(entry.artifact) as file:
        assert file.read() == bench.world.pictures[event_id]


def test_a_picture_that_is_uploaded_while_it_is_held_again_leaves_the_spool(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = bench.world.event()
    bench.intake.offer(event_id)
    bench.spool.release(f"snapshot:{event_id}")
    hold = bench.spool.hold

    def and_meanwhile_it_is_uploaded(artifact: Artifact) -> None:
        bench.ledger.settle([Settled(NOW, artifact.id, artifact.key, version=artifact.version)])
        hold(artifact)

    monkeypatch.setattr(bench.spool, "hold", and_meanwhile_it_is_uploaded)
    bench.intake.hold()
    assert (bench.held, bench.ledger.counts()) == (0, Counts(uploaded=1))


def test_the_spooled_picture_of_a_dead_letter_survives_a_second_offer(bench: Bench) -> None:
    event_id = bench.world.event()
    bench.intake.offer(event_id)
    bench.ledger.bury(f"snapshot:{event_id}", "too large", NOW)
    bench.intake.offer(event_id)
    assert bench.held == 1


# -- pictures that are incomplete, or change


def half(bench: Bench, event_id: str) -> None:
    path = bench.world.clips / f"front_door-{event_id}.jpg"
    path.write_bytes(bench.world.pictures[event_id][:600])


def upload(bench: Bench) -> None:
    while entry := bench.ledger.claim(bench.clock.now):
        one = entry.artifact
        bench.ledger.settle([Settled(bench.clock.now, one.id, one.key, version=one.version)])
        bench.spool.release(one.id)


def test_an_incomplete_picture_waits_until_it_is_complete(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 10)
    half(bench, event_id)
    bench.intake.offer(event_id)
    assert bench.ledger.counts() == Counts(waiting=1)
    bench.world.write_picture(event_id)
    bench.tend_for(2.0)
    entry = bench.ledger.claim(bench.clock.now)
    assert entry is not None and entry.artifact.flaw == "" and entry.priority is Priority.LIVE
    assert entry.artifact.size == len(bench.world.pictures[event_id])


def test_a_picture_that_stays_incomplete_is_uploaded_with_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    event_id = bench.world.event(started=NOW - 10)
    half(bench, event_id)
    bench.intake.offer(event_id)
    bench.tend_for(120.0)
    assert bench.ledger.counts() == Counts(waiting=1)
    bench.tend_for(900.0)
    upload(bench)
    assert bench.ledger.counts() == Counts(uploaded=1, flawed=1)
    assert caplog.text.count("is uploaded incomplete: the picture breaks off after 600 bytes") == 1


def test_an_incomplete_picture_that_frigate_deletes_meanwhile_is_uploaded_from_the_spool(
    bench: Bench,
) -> None:
    event_id = bench.world.event(started=NOW - 10)
    half(bench, event_id)
    bench.intake.offer(event_id)
    bench.world.forget(event_id, row=True)
    bench.tend_for(3.0)
    entry = bench.ledger.claim(bench.clock.now)
    assert entry is not None and "breaks off" in entry.artifact.flaw
    with bench.spool.open(entry.artifact) as file:
        assert len(file.read()) == 600


def test_a_held_picture_that_became_complete_meanwhile_has_no_flaw(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 10)
    half(bench, event_id)
    bench.intake.offer(event_id)
    bench.world.write_picture(event_id)
    bench.world.forget(event_id, row=True)
    bench.tend_for(3.0)
    entry = bench.ledger.claim(bench.clock.now)
    assert entry is not None and entry.artifact.flaw == ""
    with bench.spool.open(entry.artifact) as file:
        assert file.read() == bench.world.pictures[event_id]


def test_a_held_picture_that_became_complete_has_no_flaw_after_the_ledger_is_lost(
    bench: Bench,
) -> None:
    event_id = bench.world.event(started=NOW - 10)
    half(bench, event_id)
    bench.intake.offer(event_id)
    bench.world.write_picture(event_id)
    bench.world.forget(event_id, row=True)
    later = bench.again()
    later.intake.hold()
    entry = later.ledger.claim(later.clock.now)
    assert entry is not None and entry.artifact.flaw == ""


def test_an_empty_picture_is_incomplete(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 10)
    (bench.world.clips / f"front_door-{event_id}.jpg").write_bytes(b"")
    bench.intake.offer(event_id)
    assert bench.ledger.counts() == Counts(waiting=1)


def test_a_picture_that_changed_after_its_upload_goes_up_again_and_once_only(bench: Bench) -> None:
    ids = [bench.world.event(started=NOW - 10 - n) for n in range(3)]
    bench.intake.offer(*ids)
    upload(bench)
    path = bench.world.clips / f"front_door-{ids[1]}.jpg"
    bench.world.pictures[ids[1]] += b"more"
    bench.world.write_picture(ids[1])
    assert bench.intake.look_for_changes(ids) == 1
    assert list(bench.priorities()) == [ids[1]]
    upload(bench)
    bench.ledger.unclaim(f"snapshot:{ids[1]}")
    upload(bench)
    assert bench.intake.look_for_changes(ids) == 0
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert bench.intake.look_for_changes(ids) == 1, "the same size at another time"


def test_an_incomplete_picture_never_replaces_a_complete_one(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 10)
    bench.intake.offer(event_id)
    upload(bench)
    half(bench, event_id)
    assert bench.intake.look_for_changes([event_id]) == 0
    bench.world.write_picture(event_id)
    assert bench.intake.look_for_changes([event_id]) == 1
    assert bench.held == 1


def test_a_manual_event_goes_up_again_with_its_end(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 10, lasted=None, kind="manual")
    bench.intake.offer(event_id)
    entry = bench.ledger.claim(NOW)
    assert entry is not None and "end-time" not in entry.artifact.metadata
    bench.ledger.unclaim(entry.artifact.id)
    upload(bench)
    bench.world.end(event_id, NOW)
    bench.intake.offer(event_id)
    entry = bench.ledger.claim(NOW)
    assert entry is not None and entry.artifact.metadata["end-time"] == repr(NOW)


def test_a_picture_that_is_replaced_before_its_upload_is_uploaded_as_it_is_then(
    bench: Bench,
) -> None:
    event_id = bench.world.event(started=NOW - 10)
    bench.intake.offer(event_id)
    path = bench.world.clips / f"front_door-{event_id}.jpg"
    path.unlink()
    bench.world.pictures[event_id] += b"more"
    bench.world.write_picture(event_id)
    bench.intake.offer(event_id)
    entry = bench.ledger.claim(NOW)
    assert entry is not None
    with bench.spool.open(entry.artifact) as file:
        assert file.read() == bench.world.pictures[event_id]


# -- what cannot be mirrored, and what only the spool knows


def test_an_event_that_can_have_no_key_is_a_dead_letter_and_nothing_stays_behind(
    bench: Bench,
) -> None:
    event_id = bench.world.event("front_door", NOW - 10)
    bench.world.rename_camera(event_id, "a/b")
    for _ in range(3):
        bench.intake.offer(event_id)
        bench.sweep()
    assert bench.ledger.counts() == Counts(failed=1)
    [letter] = bench.ledger.dead_letters()
    assert "names no file" in letter.error
    assert bench.troubles.all() == []


def test_a_picture_that_only_the_spool_knows_is_uploaded_as_it_was_queued(bench: Bench) -> None:
    ids = [bench.world.event("garage", NOW - 10 - n) for n in range(3)]
    bench.intake.offer(*ids)
    before = {entry.artifact.id: entry.artifact for entry in claims(bench)}
    for one in ids:
        bench.world.forget(one, "garage", row=True)
    again = bench.again()
    again.intake.hold()
    after = {entry.artifact.id: entry.artifact for entry in claims(again)}
    assert after == {name: replace(one, origin="") for name, one in before.items()}


def claims(bench: Bench) -> list[Entry]:
    return list(iter(lambda: bench.ledger.claim(bench.clock.now), None))


def test_every_picture_is_held_even_while_the_ledger_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = [bench.world.event(started=NOW - 60 - n) for n in range(5)]
    others = [bench.world.event(started=NOW - 160 - n) for n in range(5)]
    bench.intake.hold()

    def full(*_: object) -> bool:
        raise LedgerError("write ledger.db: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "add", full)
        assert not bench.intake.offer(*offered)
        with pytest.raises(LedgerError):
            bench.sweep()
    assert bench.held == 10
    for event_id in offered + others:
        bench.world.forget(event_id, row=True)
    bench.intake.hold()
    assert bench.priorities().keys() == {*offered, *others}


def test_a_description_can_lead_to_no_other_file_than_the_held_one(
    bench: Bench, tmp_path: Path
) -> None:
    event_id = bench.world.event(started=NOW - 60)
    bench.intake.offer(event_id)
    bench.world.forget(event_id, row=True)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    description = Path(f"{bench.spool.path(f'snapshot:{event_id}')}~.json")
    fields = json.loads(description.read_text()) | {"origin": str(secret), "source": str(secret)}
    description.write_text(json.dumps(fields))
    later = bench.again()
    later.intake.hold()
    entry = later.ledger.claim(NOW)
    assert entry is not None and entry.artifact.origin == ""
    with later.spool.open(entry.artifact) as file:
        assert file.read() == bench.world.pictures[event_id]
    later.spool.release(entry.artifact.id)
    with pytest.raises(FileNotFoundError):
        later.spool.open(entry.artifact)


def test_a_held_version_that_the_ledger_does_not_know_is_uploaded_though_an_earlier_one_was(
    bench: Bench,
) -> None:
    event_id = bench.world.event(started=NOW - 60)
    bench.intake.offer(event_id)
    held = bench.ledger.claim(NOW)
    assert held is not None
    later = bench.again()  # its ledger is older than the spool
    later.ledger.add(replace(held.artifact, version="earlier"), Priority.LIVE, NOW)
    later.ledger.settle([Settled(NOW, held.artifact.id, held.artifact.key, version="earlier")])
    bench.world.forget(event_id, row=True)
    later.intake.hold()
    entry = later.ledger.claim(NOW)
    assert entry is not None and entry.artifact.version == held.artifact.version


def test_uploads_of_an_earlier_edition_are_recognised_and_not_uploaded_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bench.world.event(started=NOW - 60 - n) for n in range(3)]
    bench.ledger.add_settled(
        (f"snapshot:{one}", "front_door", f"k/{one}", NOW - 60, NOW, "uploaded", 0, "")
        for one in ids
    )
    monkeypatch.setattr(bench.spool, "hold", pytest.fail)
    assert bench.intake.look_for_changes(ids) == 0
    known = bench.ledger.versions([f"snapshot:{one}" for one in ids])
    assert all(known.values())
    monkeypatch.undo()
    bench.world.pictures[ids[0]] += b"more"
    bench.world.write_picture(ids[0])
    assert bench.intake.look_for_changes(ids) == 1


# -- two kinds


class Counting(Kind[Event]):
    """Has no files, and notes how many more events than before are in memory at the same time."""

    name = "thumbnail"

    def __init__(self) -> None:
        gc.collect()
        self.before = self.events()
        self.most = 0

    @staticmethod
    def events() -> int:
        return sum(isinstance(one, Event) for one in gc.get_objects())

    def find(self, event: Event, held: str) -> Artifact | None:
        self.most = max(self.most, self.events() - self.before)
        return None


@pytest.mark.parametrize("way", ["sweep", "changes", "files", "waiting"])
def test_of_many_events_few_are_in_memory_at_the_same_time(tmp_path: Path, way: str) -> None:
    counting = Counting()
    bench = Bench(tmp_path, more_kinds=[counting])
    events = [f"{NOW - 5000 + number:.6f}-{number:06d}" for number in range(350)]
    files = [f"thumbnail:{one}" for one in events]
    bench.world.events((one, float(one.split("-")[0])) for one in events)
    if way == "sweep":
        bench.sweep()
    elif way == "changes":
        rows = ((one, "front_door", "k", NOW, NOW, "uploaded", 0, "") for one in files)
        bench.ledger.add_settled(rows)
        bench.intake.look_for_changes(events)
    elif way == "files":
        bench.intake.look_for_files(files)
    else:
        for one in files:
            bench.ledger.wait(one, "front_door", NOW, NOW)
        bench.intake.look_for_waiting()
    assert 0 < counting.most <= FILES_AT_ONCE


class Notes(Kind[Event]):
    """A toy kind beside the snapshots: one JSON document about each event, made in memory."""

    name = "metadata"

    def find(self, event: Event, held: str) -> Artifact | None:
        return Artifact(
            id=f"metadata:{event.id}",
            camera=event.camera,
            started=event.started,
            key=KeyCodec("frigate").key(event.camera, event.id, event.started, ".json"),
            origin=event.label,
            size=len(event.label),
            content_type="application/json",
            metadata={},
            version=event.label,
            opener=self.open,
        )

    def open(self, artifact: Artifact) -> BinaryIO:
        return BytesIO(artifact.origin.encode())


@pytest.fixture
def both(tmp_path: Path) -> Bench:
    """A bench that mirrors snapshots and notes."""
    return Bench(tmp_path / "both", more_kinds=[Notes()])


def ids_in(bench: Bench) -> set[str]:
    """Returns the ids of the artifacts in the queue."""
    return {entry.artifact.id for entry in claims(bench)}


def test_with_two_kinds_an_offered_event_queues_and_holds_a_file_of_each(both: Bench) -> None:
    event_id = both.world.event(started=NOW - 10)
    assert both.intake.offer(event_id)
    entries = {entry.artifact.id: entry for entry in claims(both)}
    assert entries.keys() == {f"snapshot:{event_id}", f"metadata:{event_id}"}
    assert {entry.priority for entry in entries.values()} == {Priority.LIVE}
    both.world.forget(event_id)
    contents = {"snapshot": both.world.pictures[event_id], "metadata": b"person"}
    for kind, wanted in contents.items():
        with both.spool.open_held(f"{kind}:{event_id}") as file:
            assert file.read() == wanted


def test_with_two_kinds_a_sweep_finds_the_files_that_only_one_kind_lacks(both: Bench) -> None:
    swept = both.world.event(started=NOW - 3 * DAY)
    known = both.world.event(started=NOW - 2 * DAY)
    both.ledger.add_settled(
        [(f"snapshot:{known}", "front_door", "k", NOW - DAY, NOW, "uploaded", 5, "")]
    )
    assert both.sweep() == 3
    assert ids_in(both) == {f"snapshot:{swept}", f"metadata:{swept}", f"metadata:{known}"}
    assert both.sweep() == 0


def test_a_file_that_cannot_change_is_not_asked_for_again_after_its_upload(tmp_path: Path) -> None:
    asked = []

    class Final(Notes):
        changes = False

        def find(self, event: Event, held: str) -> Artifact | None:
            asked.append(event.id)
            return super().find(event, held)

    bench = Bench(tmp_path / "final", more_kinds=[Final()])
    event_id = bench.world.event(started=NOW - 10)
    bench.intake.offer(event_id)
    upload(bench)
    assert bench.intake.look_for_changes([event_id]) == 0
    assert asked == [event_id], "only for the upload"


def test_with_two_kinds_each_file_is_queued_when_it_is_final(both: Bench) -> None:
    event_id = both.world.event(started=NOW - 10, lasted=None, kind="api")
    both.intake.offer(event_id)
    assert ids_in(both) == {f"snapshot:{event_id}"}
    both.world.end(event_id, NOW)
    both.intake.offer(event_id)
    assert f"metadata:{event_id}" in ids_in(both)


def test_with_two_kinds_a_missing_file_holds_up_no_other(both: Bench) -> None:
    event_id = both.world.event(started=NOW - 10, picture=False)
    both.intake.offer(event_id)
    assert both.ledger.counts() == Counts(pending=1, waiting=1)
    both.tend_for(1000.0)
    assert both.ledger.counts() == Counts(pending=1, gone=1)


def test_an_artifact_of_a_kind_that_is_no_longer_mirrored_is_uploaded_from_the_spool(
    both: Bench,
) -> None:
    event_id = both.world.event(started=NOW - 10)
    both.intake.offer(event_id)
    without = both.again()
    without.intake.hold()
    assert ids_in(without) == {f"snapshot:{event_id}", f"metadata:{event_id}"}
    with without.spool.open_held(f"metadata:{event_id}") as file:
        assert file.read() == b"person"


FRONT = Filters(cameras=Names(only=frozenset({"front_door"})))


def test_what_the_filters_leave_out_is_neither_held_nor_queued_and_counts_apart(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, filters=FRONT)
    wanted, other = bench.world.event(), bench.world.event("garage")
    assert bench.intake.offer(wanted, other)
    assert bench.ledger.counts() == Counts(pending=1, unwanted=1)
    assert bench.held == 1
    bench.sweep()
    assert bench.ledger.counts() == Counts(pending=1, unwanted=1)


def test_the_sweep_asks_once_about_what_the_filters_leave_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, filters=FRONT)
    bench.world.event("garage")
    bench.sweep()
    monkeypatch.setattr(FrigateDatabase, "subjects", lambda self, ids: pytest.fail(f"{ids}")
                        if ids else [])  # fmt: skip
    bench.sweep()


def test_an_event_that_is_reviewed_long_after_its_end_is_mirrored_then(tmp_path: Path) -> None:
    bench = Bench(tmp_path, filters=Filters(reviewed=True, severity="alert"))
    event_id = bench.world.event(started=NOW - 3 * DAY)
    bench.sweep()
    bench.world.review([event_id], NOW - 3 * DAY, severity="alert")
    assert bench.intake.look_for_selected(NOW - 7 * DAY) == 0
    assert bench.ledger.counts() == Counts(unwanted=1)
    bench.world.reviewed(event_id)
    assert bench.intake.look_for_selected(NOW - 7 * DAY) == 1
    assert bench.priorities() == {event_id: Priority.BACKLOG}


def test_filters_that_the_owner_widens_select_the_whole_window(tmp_path: Path) -> None:
    narrow = Bench(tmp_path, filters=FRONT)
    ids = {narrow.world.event("garage", NOW - day * DAY) for day in (1, 3, 6)}
    narrow.sweep()
    narrow.ledger.close()
    wide = Bench(tmp_path, world=narrow.world)
    wide.ledger.close()
    wide.intake._ledger = wide.ledger = Ledger(tmp_path / "ledger.db")
    assert wide.intake.look_for_selected(NOW - 7 * DAY) == 3
    assert wide.priorities().keys() == ids


def test_an_upload_stays_when_the_filters_leave_out_its_event_later(bench: Bench) -> None:
    event_id = bench.world.event("garage")
    bench.intake.offer(event_id)
    bench.ledger.leave_out([(f"snapshot:{event_id}", "garage", NOW, "cameras: no")], NOW)
    assert bench.ledger.counts() == Counts(pending=1)


def test_a_file_that_the_filters_leave_out_is_not_held_while_the_ledger_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, filters=FRONT)
    wanted, other = bench.world.event(), bench.world.event("garage")

    def fails(*values: object, **more: object) -> None:
        raise LedgerError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "leave_out", fails)
        patch.setattr(bench.ledger, "add", fails)
        assert not bench.intake.offer(wanted, other)
    assert bench.spool.holds(f"snapshot:{wanted}") and not bench.spool.holds(f"snapshot:{other}")
    bench.intake.hold()
    bench.sweep()
    assert bench.ledger.counts() == Counts(pending=1, unwanted=1)
