"""The files of events over Frigate's HTTP API, on their whole way to a destination."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror import files
from frigate_mirror.catalog import NotYet
from frigate_mirror.frigate.api import ApiError, FrigateApi
from frigate_mirror.frigate.api_catalog import ApiCatalog
from frigate_mirror.frigate.remote import remote_kinds_of
from frigate_mirror.keys import INSIDE
from frigate_mirror.ledger.folders import open_alone
from frigate_mirror.mirror import Mirror
from frigate_mirror.process.rounds import rounds_of
from frigate_mirror.settings.settings import load
from frigate_mirror.sinks.sink import Unavailable
from tests.rig import STANDIN, event_table, ffmpeg
from tests.rig.api import VERSIONS, Answer, Fault, FrigateStandin, as_json
from tests.rig.sinks import FaultySink
from tests.rig.waiting import until
from tests.rig.worlds import NOW, Clock, World

ALL = "snapshot,thumbnail,clip,metadata"
START = 1_705_328_952  # when the recording begins
ENDED = NOW - 55  # of the event, which starts 5 s before
WEBP = (STANDIN / "pictures" / "front_door.webp").read_bytes()
THUMB = (STANDIN / "thumbs" / "front_door.webp").read_bytes()
GARAGE = (STANDIN / "pictures" / "garage.jpg").read_bytes()


def no_network(key: str) -> None:
    raise Unavailable("no network")


class Frigate:
    """A Frigate whose camera records segments of four seconds, and its stand-in API."""

    def __init__(self, folder: Path, version: str = "0.17.2") -> None:
        self.folder, self.version = folder, version
        self.world = World(folder / "frigate")
        self.media = self.world.clips.parent
        self.sql = sqlite3.connect(self.world.database, isolation_level=None)
        self.standin = FrigateStandin(self.world.database, self.media, version)
        self.companions: list[Companion] = []

    def companion(self, idle: float = 30.0, **environ: str) -> Companion:
        folder = self.folder / f"companion-{len(self.companions)}"
        self.companions.append(Companion(self, folder, idle, environ))
        return self.companions[-1]

    def close(self) -> None:
        for companion in self.companions:
            companion.close()
        self.standin.stop()
        self.sql.close()

    def record(self, first: int = 0, last: int = 6) -> list[Path]:
        """Stores these segments of the recording. Returns their files."""
        source = event_table.SEGMENTS["front_door"]
        return [
            event_table.add_recording(
                self.sql, self.media, "front_door", START + 4 * number, 4.0, source
            )
            for number in range(first, last)
        ]

    def event(self, *, started: float = ENDED - 5, **options: Any) -> str:
        event_id = self.world.event(started=started, **options)
        thumbnail = self.world.clips / "thumbs" / "front_door" / f"{event_id}.webp"
        thumbnail.parent.mkdir(parents=True, exist_ok=True)
        thumbnail.write_bytes(THUMB)
        for what, at in (("visible", started + 1), ("gone", started + 3)):
            event_table.add_moment(self.sql, event_id, "front_door", what, at)
        if self.version.startswith("0.18"):
            path = self.world.clips / f"front_door-{event_id}"
            Path(f"{path}.jpg").unlink(missing_ok=True)
            Path(f"{path}-clean.webp").write_bytes(WEBP)
            self.sql.execute(
                """UPDATE event SET data = '{"type": "object", "snapshot_clean": true}'
                   WHERE id = ?""",
                (event_id,),
            )
        return event_id


class Companion:
    """A mirror that knows Frigate by its API only, with folders of its own."""

    def __init__(
        self, frigate: Frigate, folder: Path, idle: float, environ: dict[str, str]
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.settings = load(
            {
                "S3_BUCKET": "pictures",
                "MIRROR_KINDS": ALL,
                "FRIGATE_URL": frigate.standin.url,
                "MIRROR_STATE_DIR": str(folder),
                "MIRROR_KEY_TEMPLATE": INSIDE,
            }
            | environ
        )
        companion = self.settings.companion
        self.api = FrigateApi(companion.url, companion.user, lambda: companion.password, idle=idle)
        self.clock = Clock()
        self.sink = FaultySink()
        self.idle = idle
        self.open()

    def open(self) -> None:
        catalog = ApiCatalog(self.api, whole=True, without_snapshot=True)
        state = open_alone(self.settings.state)
        kinds = remote_kinds_of(
            self.settings,
            self.api,
            catalog,
            state.ledger.known,
            state.ledger.note_digest,
            self.clock,
        )
        self.mirror = Mirror(self.settings, self.sink, state, catalog, kinds, clock=self.clock)

    def close(self) -> None:
        self.mirror.ledger.close()
        self.api.close()

    def offer(self, *event_ids: str, after: float = 55.0) -> bool:
        """Offers these events so many seconds after ENDED."""
        self.clock.now = ENDED + after
        return self.mirror.intake.offer(*event_ids)

    def work(self) -> None:
        """Does once what the mirror's threads do again and again."""
        self.mirror.sweep.look_for_waiting()
        self.mirror.sweep.make()
        for _ in range(3):
            while self.mirror.uploader.step() or self.mirror.uploader.step(bulk=True):
                pass
            self.mirror.sweep.follow()

    def work_for(self, seconds: float, pause: float = 5.0) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now += pause
            self.work()

    def objects(self) -> dict[str, bytes]:
        """Returns the objects by what their names have behind the time."""
        return {key.rpartition("_")[2][6:]: data for key, data in self.sink.objects.items()}

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.objects()[".json"])
        return document

    def clip(self) -> dict[str, Any]:
        """Returns what the document says of the clip's first part."""
        return next(one for one in self.document()["files"] if one["kind"] == "clip")

    def counts(self, kind: str) -> dict[str, int]:
        return dict(self.mirror.ledger.counts().kinds[kind])

    def left(self) -> list[Path]:
        """Returns the files that a download has left on the disk."""
        work = self.settings.state.clips_work_dir
        return [path for path in work.rglob("*") if path.is_file()]


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[Frigate]:
    made = Frigate(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=VERSIONS)
def of_version(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Frigate]:
    made = Frigate(tmp_path, request.param)
    yield made
    made.close()


# -- all of them


def test_all_files_of_an_event_are_those_that_frigate_has(of_version: Frigate) -> None:
    of_version.record()
    event_id = of_version.event()
    companion = of_version.companion()
    assert companion.offer(event_id)
    companion.work()
    objects = companion.objects()
    snapshot = {".webp": WEBP} if "0.18" in of_version.version else {
        ".jpg": of_version.world.pictures[event_id]
    }  # fmt: skip
    assert objects.keys() == {*snapshot, "-thumb.webp", ".mp4", ".json"}
    assert objects | snapshot | {"-thumb.webp": THUMB} == objects
    document = companion.document()
    assert document["complete"] is True and document["missing"] == []
    for one in document["files"]:
        data = companion.sink.objects[one["key"]]
        assert (one["size"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    clip = companion.clip()
    assert clip["start"] <= ENDED - 9 and clip["end"] >= ENDED + 4 and clip["gaps"] == []
    assert companion.left() == []


def test_the_document_is_the_one_that_the_mirror_inside_frigate_writes(of_version: Frigate) -> None:
    event_id = of_version.event()
    event_table.add_review(of_version.sql, "front_door", [event_id], ENDED - 9, None)
    of_version.sql.execute("UPDATE event SET retain_indefinitely = 1, sub_label = 'Zoë'")
    companion = of_version.companion(MIRROR_KINDS="metadata")
    companion.offer(event_id)
    companion.work()
    inside = of_version.world
    inside.environ["MIRROR_KINDS"] = "metadata"
    sink = FaultySink()
    versions = {"frigate": companion.api.version()}
    mirror = inside.mirror(sink, clock=companion.clock, versions=versions)
    mirror.intake.offer(event_id)
    while mirror.uploader.step():
        pass
    mirror.ledger.close()
    assert companion.sink.objects == sink.objects
    assert companion.sink.metadata == sink.metadata


def test_a_sweep_finds_all_that_nobody_offered(frigate: Frigate) -> None:
    frigate.record()
    for number in range(3):
        frigate.event(started=ENDED - 5 - number)
    companion = frigate.companion()
    companion.mirror.sweep.sweep()
    companion.work()
    counts = {kind: companion.counts(kind) for kind in ALL.split(",")}
    assert counts == {kind: {"uploaded": 3} for kind in ALL.split(",")}
    assert companion.mirror.status().health in ("OK", "UNKNOWN")


def test_while_frigate_is_away_it_is_told_and_the_sweep_makes_up_for_it(frigate: Frigate) -> None:
    event_id = frigate.event()
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    frigate.standin.fail("/api", Fault(Answer(502)), times=1)
    assert not companion.offer(event_id)
    assert "status 502" in " ".join(companion.mirror.status().reasons)
    companion.mirror.sweep.sweep()
    companion.work()
    assert companion.objects() == {".jpg": frigate.world.pictures[event_id]}
    assert companion.mirror.status().health in ("OK", "UNKNOWN")


def test_a_broker_that_comes_and_goes_makes_frigate_answer_to_few_sweeps(frigate: Frigate) -> None:
    sweep = frigate.companion().mirror.sweep
    asked = []
    for _ in range(5):
        sweep.ask()
        sweep.catch_up()
        asked.append(len(frigate.standin.paths("/api/events")))
    assert asked[0] > 0
    assert asked == asked[:1] * 5


def test_sessions_that_end_all_the_time_cost_no_file(frigate: Frigate) -> None:
    frigate.standin.users = {"viewer": "secret"}
    frigate.record()
    event_id = frigate.event()
    companion = frigate.companion(FRIGATE_USER="viewer", FRIGATE_PASSWORD="secret")
    for path in ("snapshot.jpg", "thumbnail", "clip.mp4", "/timeline", "/recordings"):
        frigate.standin.fail(path, Fault(Answer(401)))
    companion.offer(event_id)
    companion.work()
    assert companion.objects().keys() == {".jpg", "-thumb.webp", ".mp4", ".json"}
    assert frigate.standin.logins == 6


def test_a_later_change_is_uploaded_again_with_nothing_else(frigate: Frigate) -> None:
    frigate.record()
    event_id = frigate.event()
    companion = frigate.companion()
    companion.offer(event_id)
    companion.work()
    puts, downloads = len(companion.sink.puts), len(frigate.standin.paths(".jpg"))
    frigate.sql.execute("UPDATE event SET sub_label = 'Zoë'")
    companion.mirror.sweep.compare()
    companion.work()
    assert [one.endswith(".json") for one in companion.sink.puts[puts:]] == [True]
    assert companion.document()["table"]["event"]["sub_label"] == "Zoë"
    assert len(frigate.standin.paths(".jpg")) == downloads


# -- pictures


def test_018_is_asked_for_a_jpeg_where_the_owner_wants_one(tmp_path: Path) -> None:
    frigate = Frigate(tmp_path, "0.18.0-beta1")
    companion = frigate.companion(MIRROR_KINDS="snapshot", MIRROR_SNAPSHOT="jpg")
    companion.offer(frigate.event())
    companion.work()
    assert companion.objects() == {".jpg": GARAGE}
    frigate.close()


def test_an_event_of_an_earlier_version_has_its_jpeg_in_018(tmp_path: Path) -> None:
    frigate = Frigate(tmp_path, "0.18.0-beta1")
    event_id = frigate.world.event(started=ENDED - 5)
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    companion.offer(event_id)
    companion.work()
    assert companion.objects() == {".jpg": frigate.world.pictures[event_id]}
    frigate.close()


def test_the_first_bytes_tell_the_form_of_a_thumbnail(tmp_path: Path) -> None:
    frigate = Frigate(tmp_path, "0.16.4")
    event_id = frigate.event()
    jpeg = b"\xff\xd8\xff\xdaold\xff\xd9"
    text = base64.b64encode(jpeg).decode()
    frigate.sql.execute("UPDATE event SET thumbnail = ?", (text,))
    companion = frigate.companion(MIRROR_KINDS="thumbnail")
    companion.offer(event_id)
    companion.work()
    assert companion.objects() == {"-thumb.jpg": jpeg}
    frigate.close()


def test_a_snapshot_that_comes_a_moment_later_is_looked_for_again(frigate: Frigate) -> None:
    event_id = frigate.event(picture=False)
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    companion.offer(event_id)
    companion.work()
    assert companion.counts("snapshot") == {"waiting": 1}
    frigate.world.write_picture(event_id)
    companion.work_for(10.0)
    assert companion.objects() == {".jpg": frigate.world.pictures[event_id]}


def test_a_snapshot_that_frigate_does_not_have_is_gone_and_not_failed(frigate: Frigate) -> None:
    companion = frigate.companion(MIRROR_KINDS="snapshot,metadata")
    companion.offer(frigate.event(picture=False))
    companion.work_for(1500.0, 60.0)
    assert companion.counts("snapshot") == {"gone": 1}
    assert companion.document()["missing"] == [{"kind": "snapshot", "why": "no snapshot file"}]
    assert companion.mirror.status().health in ("OK", "UNKNOWN")


def test_an_event_without_a_snapshot_is_not_asked_for_one(frigate: Frigate) -> None:
    event_id = frigate.event()
    frigate.world.without_snapshot(event_id)
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    companion.offer(event_id)
    assert companion.counts("snapshot") == {"gone": 1}
    assert frigate.standin.paths("snapshot") == []


def test_a_snapshot_that_frigate_cannot_give_is_lost_until_it_can(frigate: Frigate) -> None:
    event_id = frigate.event()
    frigate.standin.fail("snapshot.jpg", Fault(Answer(500, b"oops")), times=10**6)
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    companion.offer(event_id)
    companion.work_for(1500.0, 60.0)
    assert companion.counts("snapshot") == {"lost": 1}
    [letter] = companion.mirror.ledger.dead_letters()
    assert letter.id == f"snapshot:{event_id}"
    frigate.standin.heal()
    companion.mirror.sweep.look_for_gone()
    companion.work()
    assert companion.objects() == {".jpg": frigate.world.pictures[event_id]}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(hangs=True),
        Fault(cut=100),
        Fault(alter=lambda body: body[:100]),
        Fault(alter=lambda body: b""),
        Fault(Answer(body=b"<html>please log in")),
        Fault(Answer(503)),
    ],
)
def test_a_snapshot_that_fails_once_holds_up_no_other_and_is_whole_in_the_end(
    frigate: Frigate, fault: Fault
) -> None:
    ids = [frigate.event(started=ENDED - 5 - number) for number in range(3)]
    frigate.standin.fail(f"{ids[1]}/snapshot.jpg", fault)
    companion = frigate.companion(2.0, MIRROR_KINDS="snapshot")
    companion.mirror.sweep.sweep()
    companion.work()
    pictures = frigate.world.pictures
    assert set(companion.sink.objects.values()) == {pictures[ids[0]], pictures[ids[2]]}
    companion.work_for(200.0, 60.0)
    assert set(companion.sink.objects.values()) == {pictures[one] for one in ids}
    assert companion.counts("snapshot") == {"uploaded": 3}
    assert companion.left() == []


def test_a_frigate_that_is_silent_does_not_silence_the_status(frigate: Frigate) -> None:
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    frigate.standin.fail("snapshot.jpg", Fault(Answer(500, b"oops")))
    companion.offer(frigate.event())
    frigate.standin.fail("snapshot.jpg", Fault(hangs=True), times=10**6)
    companion.clock.now += 5
    path = companion.settings.state.status_path
    rounds = rounds_of(companion.mirror.tasks(), companion.mirror.note_task)
    try:
        for one in rounds:
            one.start()
        until(lambda: len(frigate.standin.paths("snapshot.jpg")) == 2)  # this one hangs
        path.unlink(missing_ok=True)
        until(path.exists, within=companion.idle / 2)
    finally:
        for one in rounds:
            one.stop()
        frigate.standin.stop()
        for one in rounds:
            one.join()


def test_pictures_are_downloaded_where_every_file_needs_a_name(
    frigate: Frigate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", 0)  # what opens a folder then is refused
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    event_id = frigate.event()
    companion.offer(event_id)
    companion.work()
    assert companion.objects() == {".jpg": frigate.world.pictures[event_id]}
    assert companion.left() == []


def test_a_picture_is_downloaded_once(frigate: Frigate) -> None:
    companion = frigate.companion(MIRROR_KINDS="snapshot,thumbnail")
    companion.offer(frigate.event())
    companion.work()
    companion.mirror.sweep.sweep()
    companion.mirror.sweep.compare()
    companion.work()
    assert len(frigate.standin.paths("snapshot.jpg")) == 1
    assert len(frigate.standin.paths("thumbnail.webp")) == 1


def test_a_picture_is_downloaded_once_however_often_its_event_is_named(frigate: Frigate) -> None:
    ids = [frigate.event(started=ENDED - 5 - number) for number in range(3)]
    companion = frigate.companion(MIRROR_KINDS="snapshot,thumbnail")
    for _ in range(5):
        companion.offer(*ids)  # as each message of their review item does
        companion.work()
    assert companion.counts("snapshot") == {"uploaded": 3}
    assert len(frigate.standin.paths("snapshot.jpg")) == 3
    assert len(frigate.standin.paths("thumbnail.webp")) == 3
    assert len(frigate.standin.paths("event_ids")) == 1


def test_a_running_event_is_asked_for_no_picture(frigate: Frigate) -> None:
    event_id = frigate.event(lasted=None, kind="api")
    companion = frigate.companion(MIRROR_KINDS="snapshot")
    companion.offer(event_id)
    assert frigate.standin.paths("snapshot") == []
    frigate.world.end(event_id, ENDED)
    companion.offer(event_id)
    companion.work()
    assert companion.objects() == {".jpg": frigate.world.pictures[event_id]}


# -- clips


def clip_questions(frigate: Frigate) -> list[str]:
    return frigate.standin.paths("clip.mp4")


def test_a_clip_plays_and_covers_the_event_and_its_padding(
    of_version: Frigate, tmp_path: Path
) -> None:
    of_version.record()
    companion = of_version.companion(MIRROR_KINDS="clip")
    companion.offer(of_version.event())
    companion.work()
    path = tmp_path / "clip.mp4"
    path.write_bytes(companion.objects()[".mp4"])
    assert min(ffmpeg.durations(path)) >= 14.0
    assert ffmpeg.pictures(path)


def test_a_clip_without_padding_reaches_the_end_of_its_event(of_version: Frigate) -> None:
    of_version.record()
    companion = of_version.companion(MIRROR_CLIP_PADDING="0", MIRROR_KINDS="clip,metadata")
    companion.offer(of_version.event(started=START + 6.5, lasted=7.25))
    companion.work()
    clip = companion.clip()
    assert START + 13.75 <= clip["end"] <= START + 14.01 and clip["start"] <= START + 6.5
    assert clip["duration"] == pytest.approx(clip["end"] - clip["start"], abs=0.1)


def test_a_clip_is_asked_for_only_when_its_segments_are_there(of_version: Frigate) -> None:
    of_version.record(0, 4)
    event_id = of_version.event()
    companion = of_version.companion(MIRROR_KINDS="clip")
    companion.offer(event_id, after=1.0)
    companion.work_for(15.0)
    assert clip_questions(of_version) == []
    of_version.record(4, 5)
    companion.work_for(5.0)
    assert companion.objects().keys() == {".mp4"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(alter=lambda body: b""),
        Fault(alter=lambda body: body[: len(body) // 2]),
        Fault(Answer(400, b"No recordings found")),
    ],
    ids=["empty", "short", "refused"],
)
def test_a_clip_that_comes_empty_or_short_is_asked_for_again_for_another_time(
    frigate: Frigate, fault: Fault
) -> None:
    frigate.record()
    frigate.standin.fail("clip.mp4", fault)
    companion = frigate.companion()
    companion.offer(frigate.event())
    companion.work()
    assert companion.counts("clip") == {"uploaded": 1} and companion.clip()["note"] == ""
    asked = clip_questions(frigate)
    assert len(asked) == len(set(asked)) == 2
    assert companion.clip()["duration"] >= 14.0


@pytest.mark.parametrize(
    "fault", [Fault(cut=3_000), Fault(hangs=True), Fault(cut=3_000, hangs=True), Fault(Answer(500))]
)
def test_a_clip_whose_download_fails_is_put_off_and_whole_in_the_end(
    frigate: Frigate, fault: Fault
) -> None:
    frigate.record()
    frigate.standin.fail("clip.mp4", fault)
    companion = frigate.companion(5.0)
    companion.offer(frigate.event())
    companion.work()
    assert companion.counts("clip") == {"waiting": 1} and companion.left() == []
    companion.work_for(40.0)
    assert companion.clip()["duration"] >= 14.0


def test_a_segment_that_is_missing_costs_only_itself(of_version: Frigate) -> None:
    files = of_version.record()
    files[3].unlink()
    companion = of_version.companion()
    companion.offer(of_version.event())
    companion.work_for(100.0)
    parts = [name for name in companion.objects() if name.endswith(".mp4")]
    assert parts == ["-part-0001.mp4"]
    assert companion.objects()["-part-0001.mp4"] == files[2].read_bytes()
    clip = companion.clip()
    assert "segment" in clip["note"] and "is missing" in clip["note"]
    assert clip["duration"] == pytest.approx(4.0, abs=0.1)
    assert clip["gaps"] == [[START + 12, ENDED]]
    assert companion.document()["complete"] is True
    assert len(clip_questions(of_version)) == 4, "the whole clip was tried first"


def test_recordings_that_frigate_does_not_list_hold_up_no_other_clip(frigate: Frigate) -> None:
    frigate.record()
    ids = [frigate.event(started=ENDED - 5 - number) for number in range(2)]
    companion = frigate.companion(MIRROR_KINDS="clip")
    frigate.standin.fail("/recordings", Fault(Answer(403, b"Access denied")))
    companion.offer(*ids)
    companion.work()
    assert companion.counts("clip") == {"waiting": 1, "uploaded": 1}
    companion.work_for(65.0)
    assert companion.counts("clip") == {"uploaded": 2}


def test_a_clock_that_is_ahead_of_frigates_cuts_no_clip(frigate: Frigate) -> None:
    frigate.standin.ahead = -200.0
    event_id = frigate.event(started=time.time() - 210.0)  # it ended 5 s ago
    companion = frigate.companion(MIRROR_KINDS="clip")
    ledger = companion.mirror.ledger
    catalog = ApiCatalog(companion.api)
    [clips] = remote_kinds_of(
        companion.settings, companion.api, catalog, ledger.known, ledger.note_digest
    )
    [event] = catalog.subjects([event_id])
    with pytest.raises(NotYet), clips.make(event, ""):
        pass


@pytest.mark.parametrize("answer", [Answer(403, b"Access denied"), as_json([])])
def test_an_event_that_frigate_hides_for_a_while_gets_its_clip_later(
    frigate: Frigate, answer: Answer
) -> None:
    frigate.record()
    companion = frigate.companion(MIRROR_KINDS="clip")
    companion.offer(frigate.event())
    frigate.standin.fail("event_ids", Fault(answer), times=2)
    companion.work_for(60.0)
    assert companion.counts("clip") == {"uploaded": 1}


def test_the_clip_of_an_event_that_frigate_has_deleted_is_given_up(frigate: Frigate) -> None:
    companion = frigate.companion(MIRROR_KINDS="clip")
    companion.offer(frigate.event())
    frigate.sql.execute("DELETE FROM event")
    companion.work_for(1500.0, 30.0)
    assert companion.counts("clip") == {"gone": 1}


def test_an_event_whose_segments_are_all_missing_has_no_clip(frigate: Frigate) -> None:
    for path in frigate.record():
        path.unlink()
    companion = frigate.companion()
    companion.offer(frigate.event())
    companion.work_for(100.0)
    assert companion.counts("clip") == {"gone": 1}
    [missing] = companion.document()["missing"]
    assert missing["kind"] == "clip" and "is missing" in missing["why"]


def test_an_event_without_any_segment_has_no_clip(frigate: Frigate) -> None:
    companion = frigate.companion()
    companion.offer(frigate.event())
    companion.work_for(150.0)
    assert companion.document()["missing"] == [
        {"kind": "clip", "why": "Frigate has no recording of this event"}
    ]
    assert clip_questions(frigate) == []


def test_two_companions_do_not_cut_each_others_clips(frigate: Frigate) -> None:
    frigate.record()
    event_id = frigate.event()
    both = [frigate.companion(MIRROR_KINDS="clip") for _ in range(2)]
    frigate.standin.gate.clear()
    threads = []
    for companion in both:
        companion.offer(event_id)
        threads.append(threading.Thread(target=companion.mirror.sweep.make))
        threads[-1].start()
    for _ in both:
        assert frigate.standin.in_ffmpeg.acquire(timeout=30), "both are asked for at once"
    frigate.standin.gate.set()
    for thread in threads:
        thread.join()
    for companion in both:
        companion.work()
        assert companion.objects().keys() == {".mp4"}
    assert len(clip_questions(frigate)) == 2, "each was right at once"


def test_a_long_clip_is_cut_at_the_limit_and_says_so(frigate: Frigate) -> None:
    frigate.record(0, 12)
    companion = frigate.companion(MIRROR_CLIP_MAX_LENGTH="12")
    companion.offer(frigate.event(started=START + 6, lasted=30.0))
    companion.work()
    clip = companion.clip()
    assert clip["note"] == "cut after 12 s, the limit for a clip"
    assert 11.0 <= clip["duration"] < 16.0 and clip["end"] <= START + 13


def test_a_large_clip_is_cut_at_the_limit_and_says_so(frigate: Frigate) -> None:
    source = frigate.media / "large.mp4"
    ffmpeg.encode(source, 4, size="1920x1080", rate="25")
    for number in range(6):
        event_table.add_recording(
            frigate.sql, frigate.media, "front_door", START + 4 * number, 4.0, source
        )
    companion = frigate.companion(MIRROR_CLIP_MAX_MB="1")
    companion.offer(frigate.event())
    companion.work()
    clip = companion.clip()
    assert clip["note"] == "cut before it has more than 1000000 bytes, the limit for a clip"
    assert 100_000 < clip["size"] <= 1_000_000


def test_no_clip_is_asked_for_while_the_disk_has_no_room_for_it(
    frigate: Frigate, monkeypatch: pytest.MonkeyPatch
) -> None:
    frigate.record()
    companion = frigate.companion(MIRROR_KINDS="clip")
    companion.offer(frigate.event())
    usage = shutil.disk_usage(companion.folder)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: usage._replace(free=10**8))
    companion.work()
    assert clip_questions(frigate) == []
    assert "too little room" in " ".join(companion.mirror.status().reasons)
    monkeypatch.undo()
    companion.work_for(65.0)
    assert companion.counts("clip") == {"uploaded": 1}
    assert companion.mirror.status().reasons == []


def test_a_stop_leaves_nothing_of_a_clip(frigate: Frigate) -> None:
    frigate.record()
    companion = frigate.companion(MIRROR_KINDS="clip")
    companion.offer(frigate.event())
    companion.mirror.stop_making()
    companion.mirror.sweep.look_for_waiting()
    with pytest.raises(ApiError, match="the mirror stops"):
        companion.mirror.intake.make_next()
    assert companion.counts("clip") == {"waiting": 1}
    assert companion.left() == []


# -- without a spool


def unheld(frigate: Frigate) -> Companion:
    return frigate.companion(MIRROR_SPOOL_LIMIT_MB="0", MIRROR_CLIP_SPOOL_MB="0")


def test_what_the_spool_does_not_hold_is_downloaded_again(of_version: Frigate) -> None:
    of_version.record()
    event_id = of_version.event()
    companion = unheld(of_version)
    companion.offer(event_id)
    companion.mirror.sweep.make()
    companion.mirror.ledger.close()
    companion.open()
    companion.work()
    objects = companion.objects()
    assert {name[-5:] for name in objects} >= {".mp4", ".json"} and len(objects) == 4
    assert objects["-thumb.webp"] == THUMB
    assert companion.clip()["size"] == len(objects[".mp4"])
    assert companion.left() == []


def test_another_clip_than_before_is_not_uploaded_in_its_place(frigate: Frigate) -> None:
    files = frigate.record()
    companion = unheld(frigate)
    companion.offer(frigate.event())
    companion.mirror.sweep.make()
    for path in files[2:4]:
        shutil.copy(event_table.SEGMENTS["garage"], path)
    companion.mirror.ledger.close()
    companion.open()
    companion.work()
    assert companion.counts("clip") == {"lost": 1}


def test_a_document_that_cannot_be_written_again_now_is_put_off(frigate: Frigate) -> None:
    companion = frigate.companion(MIRROR_KINDS="metadata", MIRROR_SPOOL_LIMIT_MB="0")
    companion.offer(frigate.event())
    companion.mirror.ledger.close()
    companion.open()
    frigate.standin.fail("/event_ids", Fault(Answer(502)))
    assert companion.mirror.uploader.step()
    assert companion.counts("metadata") == {"pending": 1}
    companion.clock.now += 600.0
    companion.work()
    assert companion.counts("metadata") == {"uploaded": 1}


def test_a_part_that_the_spool_does_not_hold_is_downloaded_again(frigate: Frigate) -> None:
    files = frigate.record()
    files[3].unlink()
    companion = unheld(frigate)
    companion.offer(frigate.event())
    companion.sink.fault = no_network
    companion.work_for(100.0)
    companion.sink.fault = lambda key: None
    companion.clock.now += 3_600.0
    companion.work()
    assert companion.objects()["-part-0001.mp4"] == files[2].read_bytes()


def test_what_frigate_has_deleted_meanwhile_is_lost_and_what_it_cannot_give_is_not(
    frigate: Frigate,
) -> None:
    frigate.record()
    ids = [frigate.event(started=ENDED - 5 - number) for number in range(2)]
    companion = frigate.companion(
        MIRROR_KINDS="snapshot", MIRROR_SPOOL_LIMIT_MB="0", MIRROR_CLIP_SPOOL_MB="0"
    )
    companion.offer(*ids)
    companion.mirror.ledger.close()
    companion.open()
    frigate.world.forget(ids[0], row=True)
    frigate.standin.fail(ids[1], Fault(Answer(500)))
    companion.work()
    assert companion.counts("snapshot") == {"lost": 1, "pending": 1}
    companion.clock.now += 3_600.0
    companion.work()
    assert companion.objects() == {".jpg": frigate.world.pictures[ids[1]]}


def test_a_held_file_is_uploaded_although_frigate_has_deleted_it(frigate: Frigate) -> None:
    frigate.record()
    event_id = frigate.event()
    companion = frigate.companion()
    companion.sink.fault = no_network
    companion.offer(event_id)
    companion.work()
    picture = frigate.world.pictures[event_id]
    frigate.world.forget(event_id, row=True)
    shutil.rmtree(frigate.media / "recordings")
    companion.sink.fault = lambda key: None
    companion.clock.now += 3_600.0
    companion.work()
    assert companion.objects()[".jpg"] == picture
    assert companion.objects()["-thumb.webp"] == THUMB and companion.objects()[".mp4"]
