"""What becomes of finished segments: they are offered, uploaded and deleted, and room is kept."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.keys import is_artifact_id
from frigate_mirror.ledger.folders import open_alone
from frigate_mirror.mirror import Mirror
from frigate_mirror.recorder import config, segments
from frigate_mirror.recorder.config import Config
from frigate_mirror.recorder.diary import Diary, State
from frigate_mirror.recorder.folder import finished
from frigate_mirror.recorder.room import Room
from frigate_mirror.recorder.segments import Arrivals, Recording, Segments, key_of
from s3 import S3Sink
from tests.rig import recording
from tests.rig.remotes import Remotes
from tests.rig.servers import Bucket
from tests.rig.waiting import PATIENCE, until

NOON = 1_705_579_200.0  # 2024-01-18T12:00:00Z
GB = 1 << 30


def write(folder: Path, camera: str, *names: str, size: int = 1_000, at: float = NOON) -> None:
    for number, name in enumerate(names):
        path = folder / camera / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        os.utime(path, (at + number * 3_600, at + number * 3_600))


def configured(folder: Path, bucket: Bucket, prefix: str = "", **more: Any) -> Config:
    s3 = {
        "bucket": bucket.name, "endpoint": bucket.endpoint, "ca_file": bucket.ca_bundle,
        "access_key_id": bucket.environ["S3_ACCESS_KEY"],
        "secret_access_key": bucket.environ["S3_SECRET_KEY"], "prefix": prefix,
    }  # fmt: skip
    cameras = {"front-door": "rtsp://10.0.0.5/x"}
    return config.load(recording.Recording(folder, cameras, s3, **more).config)


class Uploading:
    """A mirror of the recorder's folder that has not started yet."""

    def __init__(self, loaded: Config, **options: Any) -> None:
        self.catalog = Segments(loaded.folder)
        self.state = open_alone(loaded.mirror.state)
        sink = S3Sink(loaded.mirror.s3, loaded.environ)
        kinds = [Recording(loaded.mirror.keys.prefix)]
        self.mirror = Mirror(loaded.mirror, sink, self.state, self.catalog, kinds)
        self.room = Room(loaded, self.catalog, self.state.ledger, **options)
        self.mirror.start_threads()

    def upload(self) -> None:
        """Uploads everything that is there."""
        self.mirror.sweep.sweep()
        while self.mirror.intake.make_next():
            pass
        ledger = self.state.ledger
        until(lambda: ledger.counts().pending + ledger.counts().waiting == 0, "all is uploaded")

    def end(self) -> None:
        self.mirror.stop(PATIENCE)
        self.state.ledger.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Uploading]]:
    """Starts an uploader."""
    made: list[Uploading] = []

    def started(loaded: Config, **options: Any) -> Uploading:
        made.append(Uploading(loaded, **options))
        return made[-1]

    yield started
    for one in made:
        one.end()


def names(loaded: Config) -> list[str]:
    return sorted(path.name for path in loaded.folder.glob("*/[0-9]*"))


def test_the_id_of_a_segment_fits_every_name_and_leads_back(tmp_path: Path) -> None:
    cameras = ("a", "front-door", "x" * 38, "x" * 39, "x" * 64, "x" * 63 + "y")
    for camera in cameras:
        write(tmp_path, camera, "20240118_120000.mp4", "20240118_120000-9998.mkv")
    catalog = Segments(tmp_path)
    ids = [one.id for one in catalog.all()]
    assert len(set(ids)) == 2 * len(cameras)
    assert all(is_artifact_id(f"recording:{one}") for one in ids)
    assert [one.id for one in catalog.subjects(ids)] == ids
    assert {one.camera for one in catalog.subjects(ids)} == set(cameras)
    assert sorted(one for page in catalog.window(0, NOON + 1) for one in page) == sorted(ids)
    assert list(catalog.window(NOON + 1, NOON * 2)) == []


@pytest.mark.parametrize("other", [
    ".20240118_120000.mp4.growing", "20240118_120000.mp4.part", "20249918_120000.mp4", "notes.txt",
    "20240118_120000-1.mp4", "20240118_120000.avi",
])  # fmt: skip
def test_what_is_no_finished_segment_is_not_offered(tmp_path: Path, other: str) -> None:
    write(tmp_path, "front", other)
    write(tmp_path, ".hidden", "20240118_120000.mp4")
    (tmp_path / "front" / "20240118_120001.mp4").symlink_to("/etc/passwd")
    (tmp_path / "front" / "20240118_120002.mp4").mkdir()
    (tmp_path / "front" / "20240118_120003.mp4").touch()
    assert Segments(tmp_path).all() == []
    assert not Segments(tmp_path).subjects(["20240118_120000.mp4.front", "../x.mp4.front", "x"])


def test_the_key_is_made_of_the_start(tmp_path: Path) -> None:
    write(tmp_path, "front", "20240118_235959-2.mkv", at=NOON + 1e6)
    [file] = finished(tmp_path / "front")
    assert key_of("", file) == "front/2024/01/18/20240118_235959-2.mkv"
    assert key_of("a/b", file) == "a/b/front/2024/01/18/20240118_235959-2.mkv"


def test_a_segment_is_offered_as_soon_as_it_has_its_name(tmp_path: Path) -> None:
    write(tmp_path, "front", "20240118_120000.mp4")
    arrivals = Arrivals(Segments(tmp_path), sleep=lambda seconds: None)
    assert arrivals.ids(0) == [], "the sweep begins with these"
    write(tmp_path, "front", ".20240118_130000.mp4.growing")
    assert arrivals.ids(0) == []
    os.rename(
        tmp_path / "front/.20240118_130000.mp4.growing", tmp_path / "front/20240118_130000.mp4"
    )
    assert arrivals.ids(PATIENCE) == ["20240118_130000.mp4.front"]
    assert arrivals.ids(0) == []


def test_a_segment_is_offered_whose_folder_has_changed_twice_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux before 6.13 gives changes within some milliseconds the same time."""
    monkeypatch.setattr(segments, "JUST_NOW", PATIENCE)
    camera = tmp_path / "front"
    write(tmp_path, "front", ".20240118_130000.mp4.growing")
    arrivals = Arrivals(Segments(tmp_path))
    assert arrivals.ids(0) == []
    before = camera.stat()
    (camera / ".20240118_130000.mp4.growing").rename(camera / "20240118_130000.mp4")
    os.utime(camera, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert arrivals.ids(0) == ["20240118_130000.mp4.front"]


def test_segments_are_uploaded_whole_and_then_deleted(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket, "home")
    write(loaded.folder, "front-door", "20240118_120000.mp4", size=3_000_000)
    write(loaded.folder, "gone-camera", "20240118_120000.mkv")
    bodies = {path.name: path.read_bytes() for path in loaded.folder.glob("*/[0-9]*")}
    uploading = start(loaded)
    uploading.room.tidy()
    assert len(names(loaded)) == 2, "nothing is deleted that is not uploaded"
    uploading.upload()
    found = bucket.objects()
    assert {key.rpartition("/")[2]: body for key, body in found.items()} == bodies
    assert sorted(found) == ["home/front-door/2024/01/18/20240118_120000.mp4",
                             "home/gone-camera/2024/01/18/20240118_120000.mkv"]  # fmt: skip
    head = bucket.head("home/gone-camera/2024/01/18/20240118_120000.mkv")
    assert head["ContentType"] == "video/x-matroska"
    uploading.room.tidy()
    assert names(loaded) == []
    assert uploading.room.troubles() == []


def test_an_uploader_that_is_killed_loses_and_doubles_nothing(
    tmp_path: Path, bucket: Bucket
) -> None:
    loaded = configured(tmp_path, bucket)
    files = [f"20240118_12000{number}.mp4" for number in range(8)]
    write(loaded.folder, "front-door", *files, size=8_000_000)
    bodies = {path.name: path.read_bytes() for path in loaded.folder.glob("*/[0-9]*")}
    words = [*recording.PROGRAM, "run", "--uploader", "--config", str(loaded.path)]
    for expected in (1, 4, 8):
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
            until(lambda expected=expected: len(bucket.sizes()) >= expected, "they come")
            if expected == 8:
                until(lambda: not names(loaded), "they are deleted here")
            process.kill()
    found = {key.rpartition("/")[2]: body for key, body in bucket.objects().items()}
    assert found == bodies


def test_what_waits_for_the_service_stays(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket)
    loaded = replace(loaded, mirror=replace(loaded.mirror, s3=replace(
        loaded.mirror.s3, endpoint_url="http://127.0.0.1:1")))  # fmt: skip
    write(loaded.folder, "front-door", "20240118_120000.mp4")
    uploading = start(loaded)
    uploading.mirror.sweep.sweep()
    assert uploading.mirror.intake.make_next()
    assert uploading.state.ledger.counts().pending == 1
    uploading.room.tidy()
    assert names(loaded) == ["20240118_120000.mp4"]


def test_a_file_that_has_changed_since_its_upload_stays(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket)
    write(loaded.folder, "front-door", "20240118_120000.mp4")
    uploading = start(loaded)
    uploading.upload()
    write(loaded.folder, "front-door", "20240118_120000.mp4", size=2_000)
    uploading.room.tidy()
    assert names(loaded) == ["20240118_120000.mp4"]


def test_what_is_uploaded_stays_if_the_owner_wants_that_until_room_is_needed(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket, upload={"delete_after_upload": False},
                        storage={"max_size": "3K"})  # fmt: skip
    write(loaded.folder, "front-door", "20240118_120000.mp4", "20240118_130000.mp4")
    uploading = start(loaded, clock=lambda: NOON + 7_200)
    uploading.upload()
    uploading.room.tidy()
    assert len(names(loaded)) == 2
    write(loaded.folder, "front-door", "20240118_110000.mp4", size=1_200, at=NOON)
    uploading.room.tidy()
    assert names(loaded) == ["20240118_110000.mp4", "20240118_130000.mp4"], (
        "the oldest of those that are uploaded goes, and not the oldest of all"
    )
    assert uploading.room.troubles() == []


def test_what_is_not_uploaded_goes_last_and_the_owner_is_told(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    loaded = configured(tmp_path, bucket, storage={"max_size": "4K"})
    uploading = start(loaded, clock=lambda: NOON)
    files = ["20240118_090000.mp4", "20240118_100000.mp4", "20240118_110000.mp4"]
    write(loaded.folder, "front-door", *files)
    uploading.room.tidy()
    assert uploading.room.troubles() == []
    write(loaded.folder, "front-door", "20240118_120000.mp4", size=500)
    uploading.room.tidy()
    assert "nearly as large as storage.max_size" in uploading.room.troubles()[0]
    write(loaded.folder, "front-door", "20240118_130000.mp4")
    uploading.room.tidy()
    assert names(loaded) == [*files[1:], "20240118_120000.mp4", "20240118_130000.mp4"]
    assert "1 segment(s) had to be deleted" in uploading.room.troubles()[0]
    assert "20240118_090000.mp4 is deleted before its upload" in caplog.text
    [line] = Diary(loaded.folder / "front-door").day(NOON)
    assert "deleted before its upload" in line.gap


def test_a_segment_that_cannot_be_deleted_is_told_and_does_not_count_as_deleted(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = configured(tmp_path, bucket, storage={"max_size": "1K"})
    uploading = start(loaded, clock=lambda: NOON)
    write(loaded.folder, "front-door", "20240118_090000.mp4", "20240118_100000.mp4")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "unlink", refuse)
    uploading.room.tidy()
    monkeypatch.undo()
    told = " ".join(uploading.room.troubles())
    assert "20240118_090000.mp4 cannot be deleted: Read-only file system" in told
    assert "had to be deleted" not in told
    assert Diary(loaded.folder / "front-door").day(NOON) == []


def test_the_owner_confirms_a_lost_segment_and_may_try_it_again(
    tmp_path: Path, start: Callable[..., Uploading]
) -> None:
    made = recording.Recording(tmp_path, {"front": "rtsp://127.0.0.1:1/x"})
    loaded = config.load(made.config)
    write(loaded.folder, "front", "20240118_120000.mp4")
    uploading = start(loaded)  # the service is away
    uploading.mirror.sweep.sweep()
    assert uploading.mirror.intake.make_next()
    (loaded.folder / "front/20240118_120000.mp4").unlink()
    ledger = uploading.state.ledger
    until(lambda: ledger.counts().lost == 1, "it is lost")
    assert made.tell("acknowledge", "--camera", "front").returncode == 0
    assert ledger.counts().acknowledged == 1
    assert "1 failed or lost file(s) are queued again" in made.tell("retry").stdout


def test_check_says_whether_somebody_is_told(tmp_path: Path) -> None:
    cameras = {"front": "rtsp://127.0.0.1:1/x"}
    silent = recording.Recording(tmp_path, cameras).tell("check")
    assert "nobody is told when uploads fail" in silent.stdout
    url = {"NOTIFY_WEBHOOK_URL": "http://127.0.0.1:1/"}
    made = recording.Recording(tmp_path, cameras, mirror=url)
    assert "notices: by a webhook; `recorder notify` tries it" in made.tell("check").stdout
    assert "NOT SENT" in made.tell("notify").stdout


def test_an_old_segment_goes_and_a_warning_comes_before(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket, storage={"max_age": "4h"})
    now = [NOON + 3 * 3_600 + 60]
    uploading = start(loaded, clock=lambda: now[0])
    write(loaded.folder, "front-door", "20240118_120000.mp4")
    uploading.room.tidy()
    assert "nearly as old as storage.max_age" in uploading.room.troubles()[0]
    now[0] += 3_600
    uploading.room.tidy()
    assert names(loaded) == []


def test_on_a_full_disk_the_oldest_goes(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket)
    free = [(GB, 100 * GB)]
    uploading = start(loaded, clock=lambda: NOON, free=lambda: free[0])
    write(loaded.folder, "front-door", "20240118_120000.mp4", "20240118_130000.mp4")
    uploading.room.tidy()
    assert uploading.room.troubles() == []
    free[0] = (512_000_100, 100 * GB)
    uploading.room.tidy()
    assert "fill the disk" in uploading.room.troubles()[0]
    assert len(names(loaded)) == 2
    free[0] = (512_000_000 - 100, 100 * GB)
    uploading.room.tidy()
    assert names(loaded) == ["20240118_130000.mp4"]
    assert "the disk was full" in uploading.room.troubles()[0]


def test_a_camera_that_is_not_recorded_is_a_trouble(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket)
    folder = loaded.folder / "front-door"
    folder.mkdir(parents=True)
    now = [NOON - 61]
    uploading = start(loaded, clock=lambda: now[0])

    def trouble() -> str:
        uploading.room.watch()
        return " ".join(uploading.room.troubles())

    assert trouble() == "", "its recorder may have started just now"
    now[0] = NOON
    assert "was never recorded" in trouble()
    Diary(folder).note(State(NOON, None, "the camera is away"))
    assert trouble() == "camera front-door is not recorded: the camera is away"
    Diary(folder).note(State(NOON, NOON, ""))
    assert "its recorder does not run" in trouble()
    write(loaded.folder, "front-door", ".20240118_120000.mp4.growing", at=NOON - 5)
    assert trouble() == ""


def test_a_folder_that_is_away_is_no_loss(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket)
    write(loaded.folder, "front-door", "20240118_120000.mp4")
    uploading = start(loaded)
    loaded.folder.rename(tmp_path / "away")
    uploading.mirror.sweep.sweep()
    uploading.room.tidy()
    assert "cannot be read" in uploading.room.troubles()[0]
    (tmp_path / "away").rename(loaded.folder)
    uploading.upload()
    assert len(bucket.keys()) == 1


def test_a_segment_of_before_the_clock_was_set_is_uploaded_and_not_too_old(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket, storage={"max_age": "4h"})
    uploading = start(loaded, clock=lambda: NOON)
    write(loaded.folder, "front-door", "19700101_000012.mp4", at=600)
    uploading.room.tidy()
    assert names(loaded) == ["19700101_000012.mp4"], "it may be a minute old"
    assert uploading.room.troubles() == []
    uploading.upload()
    assert bucket.keys() == ["front-door/1970/01/01/19700101_000012.mp4"]
    uploading.room.tidy()
    assert names(loaded) == []


def test_all_segments_are_looked_at_only_when_something_has_changed(
    tmp_path: Path, bucket: Bucket, start: Callable[..., Uploading]
) -> None:
    loaded = configured(tmp_path, bucket, upload={"delete_after_upload": False})
    write(loaded.folder, "front-door", "20240118_120000.mp4")
    uploading = start(loaded)
    looks: list[int] = []

    class Counted(Segments):
        def all(self) -> list[Any]:
            looks.append(1)
            return super().all()

    now = [NOON]
    room = Room(loaded, Counted(loaded.folder), uploading.state.ledger, clock=lambda: now[0],
                free=lambda: (10 * GB, 100 * GB))  # fmt: skip
    for expected, change in (
        (1, lambda: None),
        (2, lambda: write(loaded.folder, "front-door", "20240118_130000.mp4")),
        (3, uploading.upload),
        (4, lambda: now.append(now.pop() + 3_600)),
    ):
        change()
        room.tidy()
        room.tidy()
        assert len(looks) == expected


def test_a_remote_of_rclone_that_was_away_gets_the_segments_and_only_then_they_are_deleted(
    tmp_path: Path, remotes: Remotes
) -> None:
    found = remotes.environ("webdav:cameras")
    rclone = {"remote": found["RCLONE_REMOTE"], "config": found["RCLONE_CONFIG"],
              "program": found["RCLONE_PATH"]}  # fmt: skip
    cameras = {"front-door": "rtsp://127.0.0.1:1/x"}
    mine = recording.Recording(tmp_path, cameras, rclone=rclone, upload={"check_interval": 1},
                               mirror={"MIRROR_LOG_LEVEL": "INFO"})  # fmt: skip
    document = mine.config.read_text()
    mine.config.write_text(re.sub(r"(?m)^s3:\n(  .*\n)+", "", document))
    write(mine.segments, "front-door", "20240118_120000.mp4", size=300_000)
    [path] = mine.files("front-door")
    body = path.read_bytes()
    arrived = remotes.folder / "webdav/cameras/front-door/2024/01/18/20240118_120000.mp4"
    remotes.webdav.stop()
    try:
        mine.run("--uploader")
        until(lambda: "WARNING" in mine.log.read_text(), "the failure is told")
        assert mine.files("front-door") == [path]
        remotes.webdav.start()
        until(lambda: not mine.files("front-door"), lambda: mine.log.read_text())
        assert arrived.read_bytes() == body
        assert " events" not in mine.log.read_text()
        assert "S3 mirror" in mine.tell("status").stdout
        assert "webdav:cameras" in mine.tell("check").stdout
    finally:
        mine.end()
