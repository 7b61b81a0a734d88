"""All files of an event: each kind, and how they come together in the bucket."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from frigate_mirror import files
from frigate_mirror.artifact import Artifact
from frigate_mirror.frigate import kinds as registry
from frigate_mirror.frigate import thumbnails
from frigate_mirror.frigate.clips import Clips
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger import repair
from frigate_mirror.sinks.sink import Unavailable
from frigate_mirror.spool import Spool
from tests.rig import ROOT, STANDIN, event_table, ffmpeg
from tests.rig.sinks import FaultySink
from tests.rig.waiting import until
from tests.rig.worlds import DAY, NOW, Clock, World

ALL = "snapshot,thumbnail,clip,metadata"
LENGTH = 4.0  # seconds of a segment
START = 1_705_328_952  # when the recording begins
ENDED = NOW - 55  # of the event, which starts 5 s before
valid = fastjsonschema.compile(json.loads((ROOT / "docs" / "event-1.schema.json").read_text()))


@pytest.fixture(autouse=True)
def its_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: ffmpeg.ffmpeg())


def no_network(key: str) -> None:
    raise Unavailable("no network")


class Recorder:
    """A mirror of all kinds beside a Frigate whose camera records segments of four seconds."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.world = World(folder, {"MIRROR_KINDS": ALL, **environ})
        self.media = self.world.clips.parent
        self.clock = Clock()
        self.sink = FaultySink()
        self.sql = sqlite3.connect(self.world.database, isolation_level=None)
        self.open()

    def open(self) -> None:
        self.mirror = self.world.mirror(self.sink, clock=self.clock)
        for kind in self.mirror.kinds:
            if hasattr(kind, "_clock"):
                kind._clock = self.clock  # the clock of this mirror

    def record(self, first: int = 0, last: int = 6) -> list[Path]:
        """Stores these segments of the recording. Returns their files."""
        source = event_table.SEGMENTS["front_door"]
        return [
            event_table.add_recording(
                self.sql, self.media, "front_door", START + 4 * number, LENGTH, source
            )
            for number in range(first, last)
        ]

    def event(self, *, thumbnail: bool = True, started: float = ENDED - 5, **options: Any) -> str:
        event_id = self.world.event(started=started, **options)
        if thumbnail:
            path = self.world.clips / "thumbs" / "front_door" / f"{event_id}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(STANDIN / "thumbs" / "front_door.webp", path)
        for what, at in (("visible", started + 1), ("gone", started + 3)):
            event_table.add_moment(self.sql, event_id, "front_door", what, at)
        return event_id

    def offer(self, *event_ids: str, after: float = 0.5) -> None:
        """Offers these events so many seconds after ENDED."""
        self.clock.now = ENDED + after
        self.mirror.intake.offer(*event_ids)

    def work(self) -> None:
        """Does once what the mirror's threads do again and again."""
        self.mirror.sweep.look_for_waiting()
        self.mirror.sweep.make()
        for _ in range(3):
            while self.mirror.uploader.step() or self.mirror.uploader.step(bulk=True):
                pass
            self.mirror.sweep.follow()

    def objects(self) -> dict[str, bytes]:
        """Returns the objects by what their names have behind the time."""
        return {key.rpartition("_")[2][6:]: data for key, data in self.sink.objects.items()}

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.objects()[".json"])
        valid(document)
        return document

    def counts(self) -> dict[str, dict[str, int]]:
        return {kind: dict(states) for kind, states in self.mirror.ledger.counts().kinds.items()}


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    found = Recorder(tmp_path / "world")
    yield found
    found.mirror.ledger.close()
    found.sql.close()


# -- all of them


def test_all_files_of_an_event_are_uploaded_and_the_document_lists_them(recorder: Recorder) -> None:
    recorder.record()
    event_id = recorder.event()
    review = event_table.add_review(recorder.sql, "front_door", [event_id], ENDED - 9, None)
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    objects = recorder.objects()
    assert objects.keys() == {".jpg", "-thumb.webp", ".mp4", ".json"}
    assert objects[".jpg"] == recorder.world.pictures[event_id]
    document = recorder.document()
    assert document["complete"] is True and document["missing"] == []
    assert document["reviews"] == [{"id": review, "severity": "alert"}]
    files = {one["kind"]: one for one in document["files"]}
    assert files.keys() == {"snapshot", "thumbnail", "clip"}
    for one in files.values():
        data = recorder.sink.objects[one["key"]]
        assert (one["size"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert [files[kind]["type"] for kind in ("snapshot", "thumbnail", "clip")] == [
        "image/jpeg", "image/webp", "video/mp4"
    ]  # fmt: skip
    assert files["clip"]["start"] <= ENDED - 10 and files["clip"]["end"] == ENDED + 5
    assert recorder.counts() == {
        kind: {"uploaded": 1} for kind in ("snapshot", "thumbnail", "clip", "metadata")
    }


def test_the_document_has_every_column_of_the_row_but_the_thumbnail(recorder: Recorder) -> None:
    event_id = recorder.event()
    recorder.sql.execute("ALTER TABLE event ADD COLUMN colour JSON")
    recorder.sql.execute("UPDATE event SET colour = ?, score = 0.1 + 0.2", ('{"hue": [1, null]}',))
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    row = recorder.document()["table"]["event"]
    with closing(recorder.sql.execute("SELECT * FROM event")) as found:
        assert row.keys() == {name for name, *_ in found.description} - {"thumbnail"}
    assert (row["colour"], row["score"]) == ({"hue": [1, None]}, 0.1 + 0.2)
    moments = recorder.document()["timeline"]
    assert [(one["class_type"], one["timestamp"]) for one in moments] == [
        ("visible", ENDED - 4), ("gone", ENDED - 2)
    ]  # fmt: skip


def test_the_first_document_comes_at_once_and_says_that_it_is_not_complete(
    recorder: Recorder,
) -> None:
    event_id = recorder.event()
    recorder.clock.now = ENDED + 1  # nothing is recorded yet
    recorder.mirror.intake.offer(event_id)
    while recorder.mirror.uploader.step():
        pass
    document = recorder.document()
    assert document["complete"] is False
    assert {one["kind"]: one["sha256"] for one in document["files"]} == {
        "snapshot": hashlib.sha256(recorder.world.pictures[event_id]).hexdigest(),
        "thumbnail": hashlib.sha256((STANDIN / "thumbs/front_door.webp").read_bytes()).hexdigest(),
    }, "the digests are those of the held files"


def test_of_a_backlog_the_oldest_event_comes_first_and_each_document_goes_up_once(
    tmp_path: Path,
) -> None:
    recorder = Recorder(tmp_path, MIRROR_KINDS="snapshot,metadata")
    ids = [recorder.event(started=ENDED - DAY + number) for number in range(25)]
    recorder.clock.now = ENDED
    recorder.mirror.sweep.sweep()
    for _ in ids:
        recorder.mirror.uploader.step()
    recorder.mirror.sweep.follow()
    recorder.work()
    kinds = [key.rpartition(".")[2] for key in recorder.sink.puts]
    assert kinds == ["jpg"] * 25 + ["json"] * 25
    assert [one for key in recorder.sink.puts[:25] for one in ids if one in key] == ids
    for key, data in recorder.sink.objects.items():
        assert key.endswith(".jpg") or json.loads(data)["complete"] is True
    recorder.mirror.ledger.close()
    recorder.sql.close()


def test_only_the_kinds_that_are_chosen_are_mirrored(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_KINDS="metadata,thumbnail")
    recorder.event()
    recorder.mirror.sweep.sweep()
    recorder.work()
    assert recorder.objects().keys() == {"-thumb.webp", ".json"}
    assert recorder.document()["complete"] and recorder.document()["missing"] == []


def test_an_event_without_a_file_says_so_in_its_document(recorder: Recorder) -> None:
    event_id = recorder.event(picture=False, thumbnail=False)
    recorder.sql.execute("UPDATE event SET has_snapshot = 0, has_clip = 0")
    recorder.mirror.sweep.sweep()
    for _ in range(15):  # a thumbnail may still be written
        recorder.clock.now += 130.0
        recorder.work()
    assert recorder.objects().keys() == {".json"}
    document = recorder.document()
    assert document["complete"] is True and document["files"] == []
    assert {one["kind"]: one["why"] for one in document["missing"]} == {
        "snapshot": "Frigate took no snapshot",
        "thumbnail": "no thumbnail file",
        "clip": "Frigate recorded nothing of this event",
    }
    assert recorder.mirror.status().health in ("OK", "UNKNOWN"), "nothing was lost"
    assert event_id in recorder.sink.puts[0]
    asked = len(recorder.sink.puts)
    recorder.mirror.sweep.sweep()
    recorder.work()
    assert len(recorder.sink.puts) == asked


# -- what changes later


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET sub_label = 'Zoë'",
        "UPDATE event SET retain_indefinitely = 1",
        """UPDATE event SET data = '{"description": "a cat"}'""",
        "UPDATE reviewsegment SET severity = 'detection'",
    ],
)
def test_a_later_change_is_uploaded_again_with_nothing_else(
    recorder: Recorder, change: str
) -> None:
    recorder.record()
    event_id = recorder.event()
    event_table.add_review(recorder.sql, "front_door", [event_id], ENDED - 9, None)
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    before, puts = recorder.document(), len(recorder.sink.puts)
    recorder.sql.execute(change)
    recorder.mirror.sweep.compare()
    recorder.work()
    assert len(recorder.sink.puts) == puts + 1 and recorder.sink.puts[-1].endswith(".json")
    after = recorder.document()
    assert after != before and after["complete"] is True
    recorder.mirror.sweep.compare()
    recorder.work()
    assert len(recorder.sink.puts) == puts + 1


def test_what_retention_deletes_changes_no_document(recorder: Recorder) -> None:
    recorder.record()
    event_id = recorder.event()
    event_table.add_review(recorder.sql, "front_door", [event_id], ENDED - 9, None)
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    before, puts = recorder.document(), len(recorder.sink.puts)
    recorder.world.forget(event_id)
    recorder.sql.execute("UPDATE event SET has_clip = 0, has_snapshot = 0")
    recorder.sql.execute("DELETE FROM reviewsegment")
    recorder.sql.execute("DELETE FROM recordings")
    recorder.mirror.sweep.compare()
    recorder.mirror.sweep.look_for_gone()
    recorder.work()
    assert len(recorder.sink.puts) == puts
    recorder.sql.execute("UPDATE event SET sub_label = 'Zoë'")
    recorder.mirror.sweep.compare()
    recorder.work()
    assert recorder.document()["reviews"] == before["reviews"], "it is written again with them"
    assert recorder.document()["files"] == before["files"]


def test_another_version_of_frigate_is_no_change(recorder: Recorder) -> None:
    recorder.mirror.ledger.close()
    recorder.mirror = recorder.world.mirror(
        recorder.sink, clock=recorder.clock, versions={"frigate": "0.17.2"}
    )
    event_id = recorder.event(started=NOW - 200)
    recorder.mirror.intake.offer(event_id)
    recorder.clock.now += 1000.0
    recorder.work()
    assert recorder.document()["frigate"] == "0.17.2"
    puts = len(recorder.sink.puts)
    recorder.mirror.ledger.close()
    recorder.open()
    recorder.mirror.sweep.compare()
    recorder.work()
    assert len(recorder.sink.puts) == puts


def test_after_a_crash_a_document_is_completed_although_nothing_changes_any_more(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.mirror.sweep.make()
    while recorder.mirror.uploader.step() or recorder.mirror.uploader.step(bulk=True):
        pass
    assert recorder.document()["complete"] is False
    recorder.mirror.ledger.close()  # the process ends before it looks again
    recorder.open()
    recorder.work()
    assert recorder.document()["complete"] is True


def test_a_document_that_the_spool_does_not_hold_is_written_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_KINDS="metadata", MIRROR_SPOOL_LIMIT_MB="0")
    recorder.mirror.intake.offer(recorder.event())
    recorder.mirror.ledger.close()
    recorder.open()
    recorder.work()
    assert recorder.document()["table"]["event"]["label"] == "person"


def test_after_the_ledger_was_lost_a_document_keeps_what_only_it_knows(recorder: Recorder) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    before = recorder.document()
    recorder.mirror.ledger.close()
    for path in recorder.world.state.glob("ledger.db*"):
        path.unlink()
    recorder.open()
    for _ in range(2):
        recorder.mirror.sweep.sweep()
        recorder.mirror.sweep.compare()
        recorder.work()
    assert recorder.document() == before
    recorder.sql.execute("UPDATE event SET sub_label = 'Zoë'")
    recorder.mirror.sweep.compare()
    recorder.work()
    after = recorder.document()
    assert after["table"]["event"]["sub_label"] == "Zoë" and after["complete"] is True
    digests = {one["kind"]: one["sha256"] for one in after["files"]}
    assert digests["snapshot"] == hashlib.sha256(recorder.objects()[".jpg"]).hexdigest()


def test_a_document_is_completed_although_frigate_has_deleted_the_event(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.sink.fault = lambda key: no_network(key) if key.endswith(".mp4") else None
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    before = recorder.document()
    recorder.sql.execute("DELETE FROM event")
    recorder.sql.execute("DELETE FROM timeline")
    recorder.mirror.ledger.close()
    recorder.open()
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.work()
    after = recorder.document()
    assert (before["complete"], after["complete"]) == (False, True)
    assert [one["kind"] for one in after["files"]] == ["snapshot", "thumbnail", "clip"]
    assert all(before[name] == after[name] for name in ("table", "timeline", "reviews"))
    assert list((recorder.world.cache / ".s3_spool").iterdir()) == []


@pytest.mark.parametrize("held", [None, "{}", "[" * 100_000])
def test_a_document_that_cannot_be_completed_any_more_is_told(
    recorder: Recorder, held: str | None
) -> None:
    recorder.record()
    recorder.sink.fault = lambda key: no_network(key) if key.endswith(".mp4") else None
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    recorder.sql.execute("DELETE FROM event")
    for path in (recorder.world.cache / ".s3_spool").glob("metadata_*"):
        if held is None:
            path.unlink()
        elif not path.name.endswith("~.json"):
            path.write_text(held)
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.work()
    assert recorder.document()["complete"] is False
    assert "1 file(s) are in the bucket, but incomplete" in recorder.mirror.status().reasons[0]


def test_what_waits_unheld_for_a_kind_that_is_switched_off_is_left_out_until_it_is_on_again(
    tmp_path: Path,
) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_SPOOL_MB="0")
    recorder.record()
    recorder.sink.fault = no_network
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    recorder.mirror.ledger.close()
    recorder.world.environ["MIRROR_KINDS"] = "snapshot"
    recorder.open()
    recorder.sink.fault = lambda key: None
    recorder.mirror.sweep.sweep()
    assert recorder.counts()["clip"] == {"unwanted": 1}
    recorder.mirror.ledger.close()
    recorder.world.environ["MIRROR_KINDS"] = ALL
    recorder.open()
    recorder.clock.now += 3600.0
    recorder.mirror.sweep.look_for_selected()
    recorder.work()
    assert recorder.counts()["clip"] == {"uploaded": 1}


# -- the thumbnail


def test_an_old_thumbnail_comes_from_the_row(recorder: Recorder) -> None:
    jpeg = recorder.world.clips / "x.jpg"
    event_id = recorder.event(thumbnail=False)
    text = base64.b64encode(b"\xff\xd8\xff\xdaold\xff\xd9").decode()
    recorder.sql.execute("UPDATE event SET thumbnail = ?", (text,))
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    assert recorder.objects()["-thumb.jpg"] == b"\xff\xd8\xff\xdaold\xff\xd9"
    assert not jpeg.exists()


def test_a_thumbnail_that_frigate_deletes_before_its_upload_is_still_uploaded(
    recorder: Recorder,
) -> None:
    event_id = recorder.event()
    recorder.sink.fault = no_network
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    shutil.rmtree(recorder.world.clips / "thumbs")
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.work()
    assert recorder.objects()["-thumb.webp"] == (STANDIN / "thumbs/front_door.webp").read_bytes()


# -- when a clip is ready


def made(recorder: Recorder, after: float) -> bool:
    """Returns whether the clip is made so many seconds after the event's end."""
    recorder.clock.now = ENDED + after
    recorder.mirror.sweep.make()
    return recorder.counts().get("clip") == {"pending": 1}


def test_a_clip_is_made_as_soon_as_the_segments_reach_the_end_of_its_padding(
    recorder: Recorder,
) -> None:
    recorder.record(0, 4)  # up to START + 16; the event's end is START + 15.5
    recorder.offer(recorder.event())
    assert not made(recorder, 1)
    recorder.record(4, 5)
    assert made(recorder, 4)


def test_20_seconds_after_its_end_an_event_no_longer_waits_for_the_padding(
    recorder: Recorder,
) -> None:
    recorder.record(0, 4)
    event_id = recorder.event()
    recorder.sql.execute("DELETE FROM timeline")
    recorder.offer(event_id)
    assert not made(recorder, 19)
    assert made(recorder, 21)
    recorder.work()
    [clip] = [one for one in recorder.document()["files"] if one["kind"] == "clip"]
    assert clip["gaps"] == [] and clip["end"] == pytest.approx(START + 16, abs=0.1)


def test_a_clip_is_made_20_seconds_after_the_end_if_it_reaches_the_last_sight(
    recorder: Recorder,
) -> None:
    recorder.record(0, 3)
    recorder.offer(recorder.event(started=ENDED - 7, lasted=7.0))  # last seen after 3 s
    assert not made(recorder, 19)
    assert made(recorder, 21)
    recorder.work()
    [clip] = [one for one in recorder.document()["files"] if one["kind"] == "clip"]
    assert clip["gaps"] == [[START + 12, ENDED]], "the still tail was never stored"


def test_a_later_segment_says_that_what_is_missing_will_not_come(recorder: Recorder) -> None:
    recorder.record(0, 3)
    recorder.offer(recorder.event())
    assert not made(recorder, 10)
    recorder.record(6, 7)
    assert made(recorder, 15)


def test_a_clip_is_made_of_what_there_is_two_minutes_after_the_end(recorder: Recorder) -> None:
    recorder.record(0, 3)
    event_id = recorder.event()
    recorder.sql.execute("DELETE FROM timeline")
    recorder.offer(event_id)
    assert not made(recorder, 119)
    assert made(recorder, 121)


def test_an_event_without_any_segment_has_no_clip_and_says_so(recorder: Recorder) -> None:
    recorder.offer(recorder.event())
    assert not made(recorder, 119)
    assert not made(recorder, 121)
    recorder.work()
    assert recorder.document()["complete"] is True
    assert recorder.document()["missing"] == [
        {"kind": "clip", "why": "Frigate has no recording of this event"}
    ]


def test_an_end_in_the_future_is_waited_for(recorder: Recorder) -> None:
    recorder.record()
    recorder.offer(recorder.event(kind="api"), after=-3.0)
    assert not made(recorder, -2)
    assert made(recorder, 2)


def test_a_segment_of_another_stream_is_not_used(recorder: Recorder) -> None:
    recorder.record()
    recorder.sql.execute("ALTER TABLE recordings ADD COLUMN stream_type TEXT DEFAULT 'sub'")
    recorder.offer(recorder.event())
    assert not made(recorder, 10)
    recorder.sql.execute("UPDATE recordings SET stream_type = 'main'")
    assert made(recorder, 13)


# -- how a clip is kept until it is uploaded


def test_a_held_clip_survives_retention(recorder: Recorder) -> None:
    files = recorder.record()
    recorder.sink.fault = no_network
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    for path in files:
        path.unlink()
    recorder.sql.execute("DELETE FROM recordings")
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 8 * 3600.0
    recorder.work()
    clip = recorder.media / "clip.mp4"
    clip.write_bytes(recorder.objects()[".mp4"])
    assert min(ffmpeg.durations(clip)) > 5.0
    assert recorder.document()["complete"] is True


def test_a_clip_that_is_not_held_is_made_again_with_the_same_bytes(tmp_path: Path) -> None:
    held = Recorder(tmp_path / "held")
    unheld = Recorder(tmp_path / "unheld", MIRROR_CLIP_SPOOL_MB="0")
    for recorder in (held, unheld):
        recorder.record(0, 4)
        recorder.mirror.intake.offer(recorder.event())
        recorder.mirror.sweep.make()
        recorder.record(4, 6)  # what Frigate stores later does not change the clip
        recorder.work()
    assert held.objects()[".mp4"] == unheld.objects()[".mp4"]
    assert unheld.document()["complete"] is True


def test_nothing_is_left_on_the_disk_after_an_upload(recorder: Recorder) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    cache = recorder.world.cache
    assert [path for path in cache.rglob("*") if path.is_file() and ".s3_clips" in str(path)] == []
    assert list((cache / ".s3_spool").iterdir()) == []


def test_a_full_spool_of_clips_is_told_and_keeps_no_picture_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_SPOOL_MB="1")
    source = recorder.media / "large.mp4"
    ffmpeg.encode(source, 4, size="1920x1080", rate="25")
    assert source.stat().st_size > 400_000
    for number in range(20):
        event_table.add_recording(
            recorder.sql, recorder.media, "front_door", START + 4 * number, LENGTH, source
        )
    recorder.sink.fault = no_network
    events = [recorder.event(started=START + 4.5 + number, lasted=30.0) for number in range(3)]
    recorder.mirror.intake.offer(*events)
    recorder.work()
    assert "MIRROR_CLIP_SPOOL_MB" in " ".join(recorder.mirror.status().reasons)
    assert all(recorder.mirror.spool.holds(f"snapshot:{one}") for one in events)
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.work()
    assert recorder.counts()["clip"] == {"uploaded": 3}
    recorder.mirror.sweep.sweep()
    assert recorder.mirror.spool.troubles() == []


def test_a_disk_that_is_away_is_told_and_the_clip_is_lost_if_it_stays_away(
    recorder: Recorder,
) -> None:
    recorder.record()
    recordings = recorder.media / "recordings"
    recordings.rename(recorder.media / "away")
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    assert f"no folder {recordings}" in " ".join(recorder.mirror.status().reasons)
    assert recorder.counts()["clip"] == {"waiting": 1} and not recorder.document()["complete"]
    recorder.sql.execute("DELETE FROM recordings")
    recorder.clock.now += 200.0
    recorder.work()
    assert recorder.counts()["clip"] == {"lost": 1}
    assert recorder.document()["complete"] is False
    assert [one["kind"] for one in recorder.document()["missing"]] == ["clip"]


def test_a_clip_that_can_be_made_hides_no_other_that_cannot(recorder: Recorder) -> None:
    recorder.record()
    away = recorder.world.folder / "away" / "recordings" / "2024-01-15" / "14" / "other"
    recorder.sql.execute(
        "UPDATE recordings SET camera = 'other', path = ? || '/' || id, id = id || '-other'",
        (str(away),),
    )
    recorder.record()
    other, mine = recorder.event(camera="other"), recorder.event()
    recorder.mirror.intake.offer(other)
    recorder.work()
    recorder.mirror.intake.offer(mine)
    recorder.work()
    assert recorder.counts()["clip"] == {"waiting": 1, "uploaded": 1}
    assert "1 clip(s) cannot be made" in " ".join(recorder.mirror.status().reasons)
    away.mkdir(parents=True)
    recorder.sql.execute("DELETE FROM recordings WHERE camera = 'other'")
    recorder.clock.now += 200.0
    recorder.work()
    assert "cannot be made" not in " ".join(recorder.mirror.status().reasons)


def test_a_disk_that_comes_back_gives_the_clip(recorder: Recorder) -> None:
    recorder.record()
    recordings = recorder.media / "recordings"
    recordings.rename(recorder.media / "away")
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    (recorder.media / "away").rename(recordings)
    recorder.clock.now += 61.0
    recorder.work()
    assert recorder.document()["complete"] is True and recorder.objects()[".mp4"]
    assert recorder.mirror.status().health in ("OK", "UNKNOWN")


SLOW = """#!/bin/sh
sleep 60 &
echo $! > {pid}
echo half > "$(eval echo \\${{$#}})"
wait
"""


def test_a_stop_ends_an_ffmpeg_at_work_and_leaves_nothing_of_its_clip(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, pid = tmp_path / "ffmpeg", tmp_path / "pid"
    slow.write_text(SLOW.format(pid=pid))
    slow.chmod(stat.S_IRWXU)
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: str(slow))
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    making = threading.Thread(target=recorder.mirror.sweep.make)
    making.start()
    until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    recorder.mirror.stop(drain=0.0)
    left = [path for path in (recorder.world.cache / ".s3_clips").rglob("*") if path.is_file()]
    assert left == []
    making.join()
    until(lambda: not Path(f"/proc/{pid.read_text().strip()}/environ").exists())
    assert recorder.counts()["clip"] == {"waiting": 1}


def test_the_folder_of_a_process_that_was_killed_is_deleted_at_the_next_start(
    recorder: Recorder,
) -> None:
    work = recorder.world.cache / ".s3_clips"
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    [own] = work.iterdir()
    program = """
import sys
from pathlib import Path
from frigate_mirror.files import own_folder
print(own_folder(Path(sys.argv[1])))
"""
    words = [sys.executable, "-c", program, str(work)]
    made = subprocess.check_output(words, text=True, cwd=ROOT)
    assert Path(made.strip()).is_dir()
    recorder.mirror.ledger.close()
    recorder.open()
    assert list(work.iterdir()) == [own], "this process is alive"


# -- parts


def test_without_ffmpeg_the_segments_are_the_parts_of_the_clip(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: "")
    files = recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    objects = recorder.objects()
    names = {"-part-0001.mp4", "-part-0002.mp4"}
    assert objects.keys() == {".jpg", "-thumb.webp", ".json"} | names
    assert [objects[name] for name in sorted(names)] == [path.read_bytes() for path in files[2:4]]
    document = recorder.document()
    assert document["complete"] is True
    parts = [one for one in document["files"] if one["kind"] == "clip"]
    assert [one["start"] for one in parts] == [START + 8, START + 12]
    assert "without ffmpeg" in parts[0]["note"]
    assert recorder.mirror.ledger.events() == (1, 0)


def test_a_document_is_complete_only_with_the_last_part_of_the_clip(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: "")
    recorder.record()
    recorder.sink.fault = lambda key: no_network(key) if "-part-0002" in key else None
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    assert recorder.document()["complete"] is False
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.work()
    assert recorder.document()["complete"] is True


def test_another_resolution_in_the_middle_makes_two_parts(recorder: Recorder) -> None:
    recorder.record(0, 2)
    other = ffmpeg.encode(recorder.media / "other.mp4", 4, size="176x144")
    event_table.add_recording(recorder.sql, recorder.media, "front_door", START + 8, 4.0, other)
    recorder.mirror.intake.offer(recorder.event(started=START + 2.5, lasted=7.0))
    recorder.work()
    assert recorder.objects().keys() >= {"-part-0001.mp4", "-part-0002.mp4"}
    parts = [one["key"][-8:] for one in recorder.document()["files"] if one["kind"] == "clip"]
    assert parts == ["0001.mp4", "0002.mp4"]


def test_an_ffmpeg_that_fails_twice_leaves_the_segments_as_they_are(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "ffmpeg"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(stat.S_IRWXU)
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: str(failing))
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    for _ in range(3):
        recorder.clock.now += 31.0
        recorder.work()
    assert recorder.objects().keys() >= {"-part-0001.mp4", "-part-0002.mp4"}


# -- the owner's filters


def test_clips_have_filters_of_their_own(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_LABELS="cat")
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    assert recorder.objects().keys() == {".jpg", "-thumb.webp", ".json"}
    document = recorder.document()
    assert document["complete"] is True
    [missing] = document["missing"]
    assert missing["kind"] == "clip" and "left out by MIRROR_CLIP_LABELS" in missing["why"]


def test_a_clip_that_a_late_review_selects_is_made_then(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_REVIEWED="true")
    recorder.record()
    event_id = recorder.event()
    review = event_table.add_review(recorder.sql, "front_door", [event_id], ENDED - 9, None)
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    assert ".mp4" not in recorder.objects()
    recorder.sql.execute(
        """INSERT INTO userreviewstatus (user_id, review_segment_id, has_been_reviewed)
           VALUES ('admin', ?, 1)""",
        (review,),
    )
    recorder.mirror.sweep.look_for_selected()
    recorder.work()
    assert ".mp4" in recorder.objects()
    assert recorder.document()["missing"] == [] and recorder.document()["complete"] is True


def test_keys_of_parts_are_told_apart_and_read_back() -> None:
    keys = KeyCodec("p")
    for ending, wanted in ((".mp4", "clip:1.5-a"), ("-part-0001.mp4", "clip:1.5-a"),
                           ("-part-0012.mp4", "clip:1.5-a:12")):  # fmt: skip
        key = keys.key("door", "1.5-a", 1.5, ending)
        assert keys.parse(key).artifact_id == wanted


# -- what goes wrong


def without_ffmpeg(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the parts of clips the segments as they are, and holds none of them."""
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: "")
    recorder.mirror.ledger.close()
    recorder.world.environ["MIRROR_CLIP_SPOOL_MB"] = "0"
    recorder.open()


def test_a_lost_part_of_a_clip_stays_lost_and_the_clip_is_not_made_again_for_it(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ffmpeg(recorder, monkeypatch)
    files = recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.mirror.sweep.make()
    files[3].unlink()
    recorder.work()
    assert recorder.counts()["clip"] == {"uploaded": 1, "lost": 1}
    recorder.mirror.sweep.look_for_gone()
    assert not recorder.mirror.intake.make_next()
    assert recorder.counts()["clip"] == {"uploaded": 1, "lost": 1}


def test_a_part_that_a_clip_no_longer_has_is_given_up(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ffmpeg(recorder, monkeypatch)
    recorder.record()
    event_id = recorder.event()
    recorder.mirror.ledger.wait(f"clip:{event_id}:9", "front_door", START, NOW, bulk=True)
    assert recorder.mirror.intake.make_next()
    assert not recorder.mirror.intake.make_next()


@pytest.mark.parametrize("data", ["{broken", b"\xff\x00", "[" * 2000, "5", '{"detections": 5}'])
def test_a_review_item_with_nonsense_keeps_no_event_from_being_mirrored(
    recorder: Recorder, data: str | bytes
) -> None:
    event_id = recorder.event()
    event_table.add_review(recorder.sql, "front_door", [event_id], ENDED - 9, None)
    recorder.sql.execute("UPDATE reviewsegment SET data = ?", (data,))
    assert recorder.mirror.intake.offer(event_id)
    recorder.work()
    assert recorder.document()["reviews"] == [] and ".jpg" in recorder.objects()


@pytest.mark.parametrize(
    "data",
    ['{"a": 1e999}', '{"a": NaN}', "[" * 990 + "]" * 990, "[" * 100_000, '"\\ud800"', b"\xff"],
)
def test_a_row_with_nonsense_still_has_a_document(recorder: Recorder, data: str | bytes) -> None:
    event_id = recorder.event()
    recorder.sql.execute("UPDATE event SET data = ?1, zones = ?1, sub_label = ?1", (data,))
    recorder.sql.execute("UPDATE timeline SET data = ?1, timestamp = ?1", (data,))
    assert recorder.mirror.intake.offer(event_id)
    recorder.work()
    assert recorder.document()["table"]["event"]["id"] == event_id


def test_a_thumbnail_that_frigate_deletes_while_it_is_looked_at_is_no_failure(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = recorder.event()
    file = recorder.world.clips / "thumbs" / "front_door" / f"{event_id}.webp"

    def deleted_after(path: str) -> os.stat_result | None:
        found = files.regular_file(path)
        if path == str(file):
            file.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(thumbnails, "regular_file", deleted_after)
    assert recorder.mirror.intake.offer(event_id)
    assert recorder.counts()["snapshot"] == {"pending": 1}


def test_files_that_need_frigates_database_are_put_off_while_it_is_away(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_SPOOL_MB="0", MIRROR_SPOOL_LIMIT_MB="0")
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.mirror.sweep.make()
    recorder.mirror.ledger.close()
    recorder.open()
    away = recorder.world.database.with_name("away")
    recorder.world.database.rename(away)
    recorder.mirror.sweep.hold_bulk()
    while recorder.mirror.uploader.step() or recorder.mirror.uploader.step(bulk=True):
        pass
    assert recorder.objects().keys() == {".jpg", "-thumb.webp"}
    away.rename(recorder.world.database)
    recorder.clock.now += 3600.0
    recorder.work()
    assert recorder.document()["complete"] is True


def test_a_clip_waits_if_frigate_takes_the_events_end_back(recorder: Recorder) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.sql.execute("UPDATE event SET end_time = NULL")
    recorder.mirror.sweep.make()
    recorder.sql.execute("UPDATE event SET end_time = ?", (ENDED,))
    recorder.clock.now += 31.0
    recorder.mirror.sweep.make()
    assert recorder.counts()["clip"] == {"pending": 1}


def test_two_threads_that_write_a_document_leave_the_bytes_that_the_ledger_knows(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = recorder.event()
    recorder.mirror.intake.offer(event_id)
    while recorder.mirror.uploader.step():
        pass
    recorder.sql.execute("UPDATE event SET sub_label = 'first'")
    found: list[threading.Thread] = []
    ledger, add = recorder.mirror.ledger, recorder.mirror.ledger.add
    documents = recorder.mirror.kinds[-1]
    other = documents.find(recorder.mirror.catalog.subjects([event_id])[0], "")
    assert other is not None

    def interrupted(artifact: Artifact, *rest: Any) -> bool:
        monkeypatch.setattr(ledger, "add", add)
        monkeypatch.setattr(documents, "find", lambda event, held: other)
        thread = threading.Thread(
            target=recorder.mirror.intake.look_for_changes, args=([event_id],)
        )
        thread.start()
        thread.join(0.3)
        found.append(thread)
        return add(artifact, *rest)

    recorder.sql.execute("UPDATE event SET sub_label = 'second'")
    monkeypatch.setattr(ledger, "add", interrupted)
    recorder.mirror.intake.look_for_changes([event_id])
    found[0].join()
    while recorder.mirror.uploader.step():
        pass
    [version] = ledger.versions([f"metadata:{event_id}"]).values()
    label = recorder.document()["table"]["event"]["sub_label"]
    assert (version == other.version) == (label == "first")


@pytest.mark.parametrize(
    "about", [{"parts": "x"}, {"parts": 10**12}, {"parts": [1]}, {"x": float("nan")}, {"x": 1e999}]
)
def test_a_description_in_the_spool_with_nonsense_keeps_no_document_from_being_completed(
    recorder: Recorder, about: dict[str, Any]
) -> None:
    recorder.record()
    recorder.sink.fault = no_network
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    recorder.mirror.ledger.close()
    for path in recorder.world.cache.rglob("*~.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"about": about}))
    shutil.rmtree(recorder.world.state)  # the ledger is lost; the spool is not
    recorder.open()
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.mirror.sweep.sweep()
    recorder.work()
    recorder.mirror.sweep.compare()
    recorder.work()
    assert recorder.document()["complete"] is True


def test_a_held_file_of_a_kind_that_is_switched_off_keeps_the_sweep_working(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.sink.fault = no_network
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    recorder.mirror.ledger.close()
    shutil.rmtree(recorder.world.state)
    recorder.world.environ["MIRROR_KINDS"] = "snapshot,metadata"
    recorder.open()
    recorder.mirror.sweep.sweep()
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.work()
    assert recorder.objects().keys() == {".jpg", "-thumb.webp", ".mp4", ".json"}


def test_a_clip_is_made_again_with_the_same_bytes_although_a_later_segment_overlaps_its_end(
    tmp_path: Path,
) -> None:
    found = []
    for megabytes in ("0", "4096"):
        recorder = Recorder(tmp_path / megabytes, MIRROR_CLIP_SPOOL_MB=megabytes)
        recorder.record(0, 3)
        recorder.sql.execute("UPDATE recordings SET end_time = end_time + 0.6")
        recorder.offer(recorder.event(started=ENDED - 7, lasted=7.0))
        assert made(recorder, 21)
        recorder.record(3, 4)
        recorder.work()
        found.append(recorder.objects()[".mp4"])
    assert found[0] == found[1]


def test_a_clip_of_which_segments_have_gone_meanwhile_is_made_anew_and_says_so(
    tmp_path: Path,
) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_SPOOL_MB="0")
    segments = recorder.record()
    recorder.sink.fault = no_network
    recorder.mirror.intake.offer(recorder.event(started=START + 5.0, lasted=12.0))
    recorder.work()
    for path in segments[2:4]:
        path.unlink()
    recorder.sql.execute(
        "DELETE FROM recordings WHERE start_time IN (?, ?)", (START + 8, START + 12)
    )
    recorder.sink.fault = lambda key: None
    recorder.clock.now += 3600.0
    recorder.work()
    assert ".mp4" not in recorder.objects() and recorder.mirror.status().reasons
    recorder.mirror.sweep.look_for_gone()
    recorder.work()
    [clip] = [one for one in recorder.document()["files"] if one["kind"] == "clip"]
    assert clip["gaps"] == [[START + 8, START + 16]]
    path = tmp_path / "clip.mp4"
    path.write_bytes(recorder.objects()[".mp4"])
    assert max(ffmpeg.durations(path)) == pytest.approx(clip["duration"], abs=0.1)
    assert recorder.document()["complete"] is True and recorder.mirror.status().reasons == []


def test_a_lost_clip_counts_as_lost_while_the_mirror_tries_to_make_it_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_SPOOL_MB="0")
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.mirror.sweep.make()
    recorder.sql.execute("DELETE FROM recordings")
    recorder.work()
    lost = recorder.mirror.status().reasons
    recorder.mirror.sweep.look_for_gone()
    assert recorder.counts()["clip"] == {"waiting": 1}
    assert recorder.mirror.status().reasons == lost != []
    recorder.clock.now += 200.0
    recorder.work()
    recorder.mirror.ledger.acknowledge()
    recorder.mirror.sweep.look_for_gone()
    assert recorder.counts()["clip"] == {"waiting": 1}
    assert recorder.mirror.status().reasons == []


def test_health_is_not_ok_while_clips_wait_for_long_to_be_made(recorder: Recorder) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    while recorder.mirror.uploader.step():
        pass
    recorder.clock.now += 1000.0
    assert "has been waiting for 16 min" in " ".join(recorder.mirror.status().reasons)
    recorder.work()
    assert recorder.mirror.status().reasons == []


def test_a_clip_is_not_late_before_the_end_of_its_event(recorder: Recorder) -> None:
    recorder.record()
    recorder.offer(recorder.event(kind="api", lasted=3600.0))
    recorder.clock.now += 1800.0
    while recorder.mirror.uploader.step():
        pass
    assert recorder.mirror.status().reasons == []


@pytest.mark.parametrize("with_ffmpeg", [True, False])
@pytest.mark.parametrize("path", ["/", "", "a\0b", "/dev/zero", "/etc/passwd", "x" * 5000])
def test_a_segment_that_is_no_recording_is_left_out_of_the_clip(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, path: str, with_ffmpeg: bool
) -> None:
    if not with_ffmpeg:
        monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: "")
    recorder.record()
    recorder.sql.execute("UPDATE recordings SET path = ? WHERE start_time = ?", (path, START + 8))
    recorder.mirror.intake.offer(recorder.event(started=START + 8.5, lasted=7.0))
    recorder.clock.now += 200.0
    recorder.work()
    assert recorder.document()["complete"] is True
    clips = [data for name, data in recorder.objects().items() if name.endswith(".mp4")]
    assert clips and all(data[4:8] == b"ftyp" for data in clips)
    [note] = [one["note"] for one in recorder.document()["files"] if "note" in one]
    [gaps] = [one["gaps"] for one in recorder.document()["files"] if "gaps" in one]
    assert gaps and (path in note or "\0" in path)


def test_a_recording_without_folders_that_is_away_is_told(recorder: Recorder) -> None:
    recorder.record(2, 4)
    recorder.sql.execute("UPDATE recordings SET path = 'away/' || start_time || '.mp4'")
    recorder.mirror.intake.offer(recorder.event())
    recorder.clock.now += 200.0
    recorder.work()
    assert recorder.counts()["clip"] == {"gone": 1}


def test_a_clip_is_not_made_on_a_disk_that_has_no_room_for_it(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.record()
    usage = shutil.disk_usage(recorder.media)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: usage._replace(free=10**8))
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    assert ".mp4" not in recorder.objects() and recorder.document()["complete"] is False
    assert "too little room" in " ".join(recorder.mirror.status().reasons)
    monkeypatch.undo()
    monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: ffmpeg.ffmpeg())
    recorder.clock.now += 61.0
    recorder.work()
    assert recorder.document()["complete"] is True


# -- a kind is switched off and on again


def reopen(recorder: Recorder, kinds: str) -> None:
    recorder.mirror.ledger.close()
    recorder.world.environ["MIRROR_KINDS"] = kinds
    recorder.open()


def test_clips_that_wait_while_the_kind_is_switched_off_are_made_when_it_is_on_again(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    reopen(recorder, "snapshot,metadata")
    recorder.work()
    assert recorder.document()["complete"] is True
    assert recorder.counts()["clip"] == {"unwanted": 1} and recorder.mirror.status().reasons == []
    reopen(recorder, ALL)
    recorder.mirror.sweep.look_for_selected()
    assert recorder.mirror.status().reasons == [], "it was never lost"
    recorder.work()
    assert recorder.counts()["clip"] == {"uploaded": 1}


def test_a_document_still_lists_the_files_of_a_kind_that_is_switched_off(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    reopen(recorder, "snapshot,metadata")
    recorder.sql.execute("UPDATE event SET sub_label = 'Zoë'")
    recorder.mirror.sweep.compare()
    recorder.work()
    document = recorder.document()
    assert document["table"]["event"]["sub_label"] == "Zoë" and document["complete"] is True
    assert {one["kind"] for one in document["files"]} == {"snapshot", "thumbnail", "clip"}


def test_held_clips_of_a_kind_that_is_switched_off_take_no_room_from_pictures(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.sink.fault = no_network
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    [clip] = [path for path in recorder.world.cache.rglob("clip_*") if path.suffix != ".json"]
    os.truncate(clip, 2_000_000)
    recorder.world.environ["MIRROR_SPOOL_LIMIT_MB"] = "1"
    reopen(recorder, "snapshot,metadata")
    event_id = recorder.event(started=NOW - 90)
    recorder.mirror.intake.offer(event_id)
    assert recorder.mirror.spool.holds(f"snapshot:{event_id}")


def test_an_unchanged_document_is_not_written_to_the_disk_again(recorder: Recorder) -> None:
    recorder.record()
    event_id = recorder.event()
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    spool = recorder.world.cache / ".s3_spool"
    os.utime(spool, (1, 1))
    recorder.mirror.intake.look_for_files([f"metadata:{event_id}"])
    assert spool.stat().st_mtime == 1


def test_half_a_copy_of_a_further_part_is_found_and_deleted(tmp_path: Path) -> None:
    name = "clip_1705328962.500000-000000~2.99999.part"
    (tmp_path / name).write_bytes(b"half")
    spool = Spool(tmp_path, 10**9, clock=lambda: time.time() + 2 * DAY)
    assert spool.sweep(lambda artifact_id: DAY) == 1
    assert list(tmp_path.iterdir()) == []


# -- after the ledger was lost


def test_documents_in_the_bucket_are_not_replaced_by_poorer_ones_after_the_ledger_is_lost(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    before = recorder.document()
    recorder.mirror.ledger.close()
    shutil.rmtree(recorder.world.state)
    for path in recorder.world.cache.glob(".s3_uploaded*"):
        path.unlink()
    recorder.open()
    keys = KeyCodec("")
    listing = recorder.sink.list("")
    recorder.mirror.ledger.add_settled(repair.from_listing(listing, keys))
    recorder.mirror.sweep.sweep()
    recorder.mirror.sweep.compare()
    recorder.work()
    assert recorder.document() == before
    recorder.sql.execute("UPDATE event SET sub_label = 'Zoë'")
    recorder.mirror.sweep.compare()
    recorder.work()
    assert recorder.document()["table"]["event"]["sub_label"] == "Zoë"


def test_held_pictures_without_a_description_are_uploaded_after_the_ledger_is_lost(
    recorder: Recorder,
) -> None:
    recorder.sink.fault = no_network
    event_id = recorder.event()
    recorder.mirror.intake.offer(event_id)
    recorder.mirror.ledger.close()
    shutil.rmtree(recorder.world.state)
    for path in recorder.world.cache.rglob("*~.json"):
        path.unlink()
    shutil.rmtree(recorder.world.clips / "thumbs")
    recorder.world.forget(event_id)
    recorder.world.without_snapshot(event_id)
    recorder.open()
    recorder.sink.fault = lambda key: None
    recorder.mirror.sweep.sweep()
    recorder.work()
    assert {".jpg", "-thumb.webp"} <= recorder.objects().keys()


def test_a_clip_that_cannot_be_read_for_yields_its_turn(recorder: Recorder) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.sql.execute("ALTER TABLE recordings RENAME TO away")
    recorder.mirror.sweep.make()
    assert recorder.mirror.status().reasons
    assert not recorder.mirror.intake.make_next(), "another clip would have its turn"
    recorder.sql.execute("ALTER TABLE away RENAME TO recordings")
    recorder.clock.now += 61.0
    recorder.mirror.sweep.make()
    assert recorder.counts()["clip"] == {"pending": 1}


def test_a_segment_within_the_padding_is_not_taken_for_a_later_one(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_PADDING="5,30")
    recorder.record(0, 5)  # the last one begins after the event's end
    recorder.offer(recorder.event())
    assert not made(recorder, 10)
    assert made(recorder, 21)


def test_an_event_counts_as_failed_for_the_sake_of_one_part_of_its_clip(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ffmpeg(recorder, monkeypatch)
    files = recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.mirror.sweep.make()
    files[3].unlink()
    recorder.work()
    assert recorder.mirror.ledger.events() == (1, 1)


# -- the limits for a clip


@pytest.mark.parametrize("with_ffmpeg", [True, False])
def test_a_clip_that_is_too_long_is_cut_and_its_document_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_ffmpeg: bool
) -> None:
    if not with_ffmpeg:
        monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: "")
    recorder = Recorder(tmp_path, MIRROR_CLIP_MAX_LENGTH="10")
    recorder.record(0, 12)
    recorder.mirror.intake.offer(recorder.event(started=START + 8.0, lasted=32.0))
    recorder.work()
    clips = [one for one in recorder.document()["files"] if one["kind"] == "clip"]
    assert "cut a" in clips[0]["note"] and clips[0]["gaps"] == []
    assert sum(one["end"] - one["start"] for one in clips) == pytest.approx(10.0, abs=2.1)
    assert recorder.document()["complete"] is True


@pytest.mark.parametrize("with_ffmpeg", [True, False])
def test_a_clip_that_is_too_large_is_cut_and_its_document_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_ffmpeg: bool
) -> None:
    if not with_ffmpeg:
        monkeypatch.setattr(registry, "find_ffmpeg", lambda configured: "")
    recorder = Recorder(tmp_path, MIRROR_CLIP_MAX_MB="1", MIRROR_CLIP_PADDING="0,0")
    for path in recorder.record(0, 12):
        with path.open("ab") as file:
            file.write((400_000).to_bytes(4, "big") + b"free" + bytes(399_992))
    recorder.mirror.intake.offer(recorder.event(started=START + 8.5, lasted=31.0))
    recorder.work()
    clips = [one for one in recorder.document()["files"] if one["kind"] == "clip"]
    assert "cut " in clips[0]["note"] and clips[0]["gaps"] == []
    assert sum(one["end"] - one["start"] for one in clips) == pytest.approx(8.0, abs=1.0)


# -- what else a document is


def test_a_document_has_its_keys_in_order_and_says_nothing_of_the_ledgers_own(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ffmpeg(recorder, monkeypatch)
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    recorder.work()
    text = recorder.objects()[".json"].decode()
    document = recorder.document()
    assert text == json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"
    assert all("parts" not in one for one in document["files"])


def test_a_manual_event_without_an_end_has_a_document_at_once(recorder: Recorder) -> None:
    recorder.record()
    event_id = recorder.event(kind="api", lasted=None)
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    assert recorder.document()["complete"] is False
    recorder.world.end(event_id, ENDED)
    recorder.mirror.sweep.sweep()
    recorder.work()
    assert recorder.document()["complete"] is True and ".mp4" in recorder.objects()


def test_a_clip_that_the_end_of_the_mirror_interrupts_is_made_after_the_next_start(
    recorder: Recorder,
) -> None:
    recorder.record()
    recorder.mirror.intake.offer(recorder.event())
    for kind in recorder.mirror.kinds:
        if isinstance(kind, Clips):
            kind._usable_maker()
            kind.stop()
    recorder.mirror.intake.make_next()
    assert recorder.counts()["clip"] == {"waiting": 1}
    recorder.mirror.ledger.close()
    recorder.open()
    recorder.work()
    assert recorder.document()["complete"] is True


def test_a_part_that_a_clip_no_longer_has_when_it_is_made_again_is_lost(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIRROR_CLIP_SPOOL_MB="0")
    recorder.record(0, 2)
    other = ffmpeg.encode(recorder.media / "other.mp4", 4, size="176x144")
    path = event_table.add_recording(
        recorder.sql, recorder.media, "front_door", START + 8, 4.0, other
    )
    recorder.mirror.intake.offer(recorder.event(started=START + 2.5, lasted=7.0))
    recorder.mirror.sweep.make()
    path.unlink()
    recorder.work()
    assert recorder.counts()["clip"] == {"uploaded": 1, "lost": 1}
    assert recorder.document()["complete"] is False and recorder.mirror.status().reasons


def test_a_clip_waits_for_the_last_sight_of_its_object_and_not_for_an_earlier_one(
    recorder: Recorder,
) -> None:
    recorder.record(0, 3)
    recorder.offer(recorder.event(started=ENDED - 4, lasted=4.0))  # first seen in time, last not
    assert not made(recorder, 21)
    recorder.record(3, 4)
    assert made(recorder, 23)


def test_a_change_of_an_event_without_a_snapshot_is_found_by_the_next_sweep(
    recorder: Recorder,
) -> None:
    event_id = recorder.event(picture=False)
    recorder.world.without_snapshot(event_id)
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    recorder.sql.execute("UPDATE event SET sub_label = 'Zoë'")
    recorder.mirror.sweep.sweep()
    recorder.work()
    assert recorder.document()["table"]["event"]["sub_label"] == "Zoë"


def test_bytes_in_a_row_are_written_in_hex(recorder: Recorder) -> None:
    event_id = recorder.event()
    recorder.sql.execute("UPDATE event SET sub_label = ?", (b"\xff\x00",))
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    assert recorder.document()["table"]["event"]["sub_label"] == "ff00"
