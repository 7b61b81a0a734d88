"""Snapshots: which file is an event's snapshot, when it is final, and which files are refused."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.artifact import Artifact, kind_of, subject_of
from frigate_mirror.catalog import NoFile
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.snapshots import Snapshots
from frigate_mirror.keys import KeyCodec, KeyFault, artifact_id
from frigate_mirror.metadata import decode

ID = "1705329022.123456-abc123"
EVENT = Event(
    id=ID,
    camera="front_door",
    label="person",
    sub_label="Zoë",
    started=1705329022.123456,
    ended=1705329030.5,
    score=0.87654,
    zones=("yard", "Straße"),
    has_snapshot=True,
    tracked=True,
)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


def lay(clips: Path, *endings: str, camera: str = "front_door") -> None:
    for ending in endings:
        (clips / f"{camera}-{ID}{ending}").write_bytes(b"picture" + ending.encode())


def snapshots(clips: Path) -> Snapshots:
    return Snapshots(clips, KeyCodec("p"))


def found(clips: Path, event: Event = EVENT) -> Artifact | None:
    return snapshots(clips).find(event, f"{clips}/held")


@pytest.mark.parametrize(
    ("endings", "taken", "content_type"),
    [
        ([".jpg"], ".jpg", "image/jpeg"),
        ([".jpg", "-clean.png"], ".jpg", "image/jpeg"),
        ([".jpg", "-clean.webp"], ".jpg", "image/jpeg"),
        (["-clean.webp"], "-clean.webp", "image/webp"),
        (["-clean.png"], "-clean.png", "image/png"),
        (["-clean.webp", "-clean.png"], "-clean.webp", "image/webp"),
    ],
)
def test_the_snapshot_is_the_file_that_this_version_of_frigate_wrote(
    clips: Path, endings: list[str], taken: str, content_type: str
) -> None:
    lay(clips, *endings)
    artifact = found(clips)
    assert artifact is not None
    assert artifact.origin == f"{clips}/front_door-{ID}{taken}"
    assert artifact.size == len("picture" + taken)
    assert artifact.content_type == content_type
    ext = taken.rpartition(".")[2]
    assert artifact.key == f"p/front_door/2024-01-15/{ID}-20240115_143022.{ext}"
    assert (artifact.id, artifact.camera) == (f"snapshot:{ID}", "front_door")
    assert artifact.started == EVENT.started


def test_without_a_file_there_is_no_artifact(clips: Path) -> None:
    lay(clips, ".gif", "-clean.jpg", ".jpg.part")
    assert found(clips) is None
    assert found(clips / "gone") is None


@pytest.mark.parametrize(
    ("data", "ending", "content_type"),
    [
        (b"\xff\xd8\xff\xe0 picture", ".jpg", "image/jpeg"),
        (b"RIFF\x10\0\0\0WEBP picture", "-clean.webp", "image/webp"),
        (b"\x89PNG\r\n picture", "-clean.png", "image/png"),
        (b"", ".jpg", "image/jpeg"),
    ],
)
def test_a_snapshot_that_only_the_spool_still_holds_is_found_as_the_same_artifact(
    clips: Path, data: bytes, ending: str, content_type: str
) -> None:
    original = clips / f"front_door-{ID}{ending}"
    original.write_bytes(data)
    before = found(clips)
    original.rename(clips / "held")
    assert before is not None and before.content_type == content_type
    assert found(clips) == before


def test_a_link_in_the_spool_is_no_snapshot(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    (clips / "held").symlink_to(tmp_path / "secret")
    assert found(clips) is None


def test_a_link_is_never_followed(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    (clips / f"front_door-{ID}.jpg").symlink_to(tmp_path / "secret")
    assert found(clips) is None
    lay(clips, "-clean.webp")
    artifact = found(clips)
    assert artifact is not None and artifact.content_type == "image/webp"


def test_a_pipe_or_a_folder_is_no_snapshot(clips: Path) -> None:
    os.mkfifo(clips / f"front_door-{ID}.jpg")
    (clips / f"front_door-{ID}-clean.webp").mkdir()
    assert found(clips) is None


@pytest.mark.parametrize("camera", ["../clips2/x", "/etc/x", "a/b", "a\0b", "../x"])
def test_a_camera_whose_name_leads_out_of_the_clips_folder_is_refused(
    clips: Path, camera: str
) -> None:
    outside = clips.parent / "clips2"
    outside.mkdir()
    (outside / f"x-{ID}.jpg").write_bytes(b"outside")
    (clips.parent / f"x-{ID}.jpg").write_bytes(b"outside")
    with pytest.raises(KeyFault):
        found(clips, dataclasses.replace(EVENT, camera=camera))


@pytest.mark.parametrize("camera", ["..", ".", "...", "-", "a b", "קדמי", "🎥", "%2F", "\\..\\"])
def test_an_odd_camera_name_still_finds_its_picture_inside(clips: Path, camera: str) -> None:
    lay(clips, ".jpg", camera=camera)
    artifact = found(clips, dataclasses.replace(EVENT, camera=camera))
    assert artifact is not None
    assert Path(artifact.origin).parent == clips
    with snapshots(clips).open(artifact) as file:
        assert file.read() == b"picture.jpg"
    assert KeyCodec("p").parse(artifact.key).camera == camera


@pytest.mark.parametrize("camera", ["x" * 4096, "\ud800"])
def test_a_camera_of_which_no_file_can_exist_has_no_artifact(clips: Path, camera: str) -> None:
    assert found(clips, dataclasses.replace(EVENT, camera=camera)) is None


@pytest.mark.parametrize("event_id", ["../../x", "a/b", "", "a\nb", "x" * 100])
def test_an_id_that_cannot_be_an_event_id_is_refused(clips: Path, event_id: str) -> None:
    with pytest.raises(KeyFault):
        found(clips, dataclasses.replace(EVENT, id=event_id))


def test_the_metadata_describes_the_event() -> None:
    values, zones = decode(describe(EVENT))
    assert values == {
        "event-id": ID,
        "camera": "front_door",
        "label": "person",
        "start-time": "1705329022.123456",
        "end-time": "1705329030.5",
        "score": "0.8765",
        "sub-label": "Zoë",
    }
    assert zones == ["yard", "Straße"]


def test_the_metadata_leaves_out_what_the_event_does_not_have() -> None:
    bare = dataclasses.replace(EVENT, ended=None, score=None, sub_label="", zones=())
    assert set(describe(bare)) == {"event-id", "camera", "label", "start-time"}


def test_an_artifacts_id_is_its_kind_and_its_event() -> None:
    made = artifact_id("snapshot", ID)
    assert (kind_of(made), subject_of(made)) == ("snapshot", ID)


def test_an_event_without_a_snapshot_has_none_unless_the_spool_still_holds_it(clips: Path) -> None:
    event = dataclasses.replace(EVENT, has_snapshot=False)
    with pytest.raises(NoFile, match="Frigate took no snapshot"):
        found(clips, event)
    (clips / "held").write_bytes(b"RIFF")
    assert getattr(found(clips, event), "content_type", "") == "image/webp"


@pytest.mark.parametrize(
    ("changes", "final"),
    [
        ({}, True),
        ({"ended": None}, False),
        ({"ended": 99_999_999_999.0}, True),
        ({"ended": 1.0}, True),
        ({"ended": None, "tracked": False}, True),
    ],
)
def test_a_snapshot_is_final_once_its_event_has_ended_or_at_once_if_the_event_is_not_tracked(
    clips: Path, changes: dict[str, Any], final: bool
) -> None:
    assert snapshots(clips).is_final(dataclasses.replace(EVENT, **changes)) is final


def test_the_version_changes_with_the_file_and_with_the_end_of_the_event(clips: Path) -> None:
    lay(clips, ".jpg")
    first = found(clips)
    assert first is not None and found(clips) == first
    ended_later = found(clips, dataclasses.replace(EVENT, ended=1705329031.0))
    path = Path(first.origin)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    touched = found(clips)
    path.write_bytes(b"a longer picture")
    longer = found(clips)
    versions = {one.version for one in (first, ended_later, touched, longer) if one}
    assert len(versions) == 4


def test_an_opened_snapshot_is_the_file_in_the_clips_folder(clips: Path) -> None:
    lay(clips, "-clean.webp")
    artifact = found(clips)
    assert artifact is not None
    for opened in (artifact.open, lambda: snapshots(clips).open(artifact)):
        with opened() as file:
            assert file.read() == b"picture-clean.webp"
    Path(artifact.origin).unlink()
    with pytest.raises(FileNotFoundError):
        snapshots(clips).open(artifact)


def test_while_the_clips_folder_is_away_nobody_can_tell_whether_a_snapshot_exists(
    clips: Path,
) -> None:
    assert snapshots(clips).why_unseen(EVENT) == ""
    clips.rename(clips.with_name("away"))
    assert snapshots(clips).why_unseen(EVENT) == f"no folder {clips}"


def test_while_the_disk_fails_nobody_can_tell_whether_a_snapshot_exists(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(os, "lstat", fail)
    why = snapshots(clips).why_unseen(EVENT)
    assert why == f"{clips} cannot be read: Input/output error"


@pytest.mark.parametrize("camera", ["x" * 4096, "\ud800", "a\0b"])
def test_it_is_certain_that_a_camera_of_which_no_file_can_exist_has_no_snapshot(
    clips: Path, camera: str
) -> None:
    assert snapshots(clips).why_unseen(dataclasses.replace(EVENT, camera=camera)) == ""
