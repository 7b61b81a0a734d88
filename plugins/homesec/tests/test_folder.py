"""The folder of clips as the destination of a mirror."""

from __future__ import annotations

import hashlib
import resource
import shutil
from pathlib import Path

import pytest
from things import EVENT_ID, MOVIE, camera, event, put, sidecar_of

from frigate_mirror import mp4
from frigate_mirror.demo.standin import CAMERAS
from frigate_mirror.sinks.sink import Unavailable
from homesec_frigate_events import sidecar
from homesec_frigate_events.camera import Camera
from homesec_frigate_events.event import document_of
from homesec_frigate_events.folder import ClipFolder

STEM = f"garage_20251126_100000_{EVENT_ID}"


def folder_of(path: Path, *cameras: Camera) -> tuple[ClipFolder, list[tuple[Path, str]]]:
    arrived: list[tuple[Path, str]] = []
    found = ClipFolder(path, lambda: list(cameras), lambda *one: arrived.append(one))
    return found, arrived


def test_a_clip_lies_in_the_folder_with_all_that_frigate_says_of_it(tmp_path: Path) -> None:
    folder, arrived = folder_of(tmp_path / "clips", camera(faststart=False))
    row = {"data": {"box": [0.1, 0.2, 0.3, 0.4], "region": [0, 0, 1, 1]}}
    receipt = put(folder, event(sub_label="Bob", row=row))
    clip = tmp_path / "clips" / f"{STEM}.mp4"
    assert arrived == [(clip, "garage")]
    assert clip.read_bytes() == MOVIE
    assert (receipt.size, receipt.sha256) == (len(MOVIE), hashlib.sha256(MOVIE).hexdigest())
    assert sidecar_of(clip) == {
        "schema": "homesec-frigate-events/1",
        "clip_id": STEM,
        "homesec_camera": "garage",
        "started": 1764151200.0,
        "ended": 1764151210.0,
        "retain": True,
        "given": 0,
        "done": False,
        "bypass_filter": True,
        "predetected_classes": ["person"],
        "predetected_score": 0.9,
        "frigate_event_id": EVENT_ID,
        "frigate_camera": "garage",
        "frigate_label": "person",
        "frigate_sub_label": "Bob",
        "frigate_score": 0.9,
        "frigate_zones": ["yard"],
        "frigate_region": [0.0, 0.0, 1.0, 1.0],
        "frigate_box": [0.1, 0.2, 0.3, 0.4],
        "frigate_has_clip": True,
        "frigate_has_snapshot": True,
    }
    assert sorted(path.name for path in clip.parent.iterdir()) == sorted(
        [sidecar.MARK, f"{STEM}.json", f"{STEM}.mp4"]
    )


def test_without_metadata_the_sidecar_says_only_what_the_filter_needs(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, camera(include_metadata=False))
    put(folder, event())
    found = sidecar_of(tmp_path / f"{STEM}.mp4")
    assert found["predetected_classes"] == ["person"]
    assert not [name for name in found if name.startswith("frigate_")]


def test_each_camera_that_wants_the_event_gets_a_clip_of_its_own(tmp_path: Path) -> None:
    cameras = [camera("garage"), camera("a b"), camera("cars", labels=frozenset({"car"}))]
    folder, arrived = folder_of(tmp_path, *cameras)
    put(folder, event())
    assert [name for _, name in arrived] == ["garage", "a b"]
    assert len(set(tmp_path.glob("*.mp4"))) == 2


def test_parts_of_a_clip_are_clips_of_their_own(tmp_path: Path) -> None:
    folder, arrived = folder_of(tmp_path, camera())
    put(folder, event())
    put(folder, event(), part=2)
    assert [clip.stem for clip, _ in arrived] == [STEM, f"{STEM}_2"]


def test_a_put_that_is_repeated_changes_nothing(tmp_path: Path) -> None:
    folder, arrived = folder_of(tmp_path, camera())
    put(folder, event())
    clip = arrived[0][0]
    sidecar.write(sidecar.path_of(clip), sidecar_of(clip) | {"done": True})
    put(folder, event())
    assert len(arrived) == 1
    assert sidecar_of(clip)["done"]


def test_names_of_cameras_lead_nowhere_else(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "a/b", "a_b", ".hidden", "x" * 300, "Küche", "a\nb"]
    folder, arrived = folder_of(tmp_path / "clips", *[camera(name) for name in names])
    put(folder, event())
    clips = [clip for clip, _ in arrived]
    assert len(set(clips)) == len(names)
    assert all(clip.parent == tmp_path / "clips" and clip.exists() for clip in clips)
    assert not [clip for clip in clips if clip.name.startswith(".")]
    assert all(sidecar.is_frigates(Path("/elsewhere") / clip.name) for clip in clips)


def test_texts_of_frigate_are_plain_and_short(tmp_path: Path) -> None:
    zones = tuple(f"zone {number}" for number in range(1_000))
    found = document_of(event(label="per\x1b[31mson", sub_label="x" * 10_000, zones=zones))
    assert found["label"] == "per?[31mson"
    assert len(found["sub_label"]) < 120 and len(found["zones"]) == 50
    row = {"data": "no object", "box": [1, 2, float("nan"), 4], "region": [1, 2]}
    assert document_of(event(row=row))["box"] is None
    assert document_of(event(row=row))["region"] is None


def test_ffmpeg_moves_the_head_to_the_front_and_keeps_the_pictures(tmp_path: Path) -> None:
    folder, arrived = folder_of(tmp_path, camera())
    put(folder, event())
    clip = arrived[0][0]
    before, after = mp4.read(CAMERAS / "garage.mp4"), mp4.read(clip)
    assert before.fragmented and not after.fragmented
    assert after.duration == pytest.approx(before.duration, abs=0.2)
    assert clip.read_bytes().index(b"moov") < 100


def test_without_ffmpeg_the_clip_stays_as_frigate_sends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder, arrived = folder_of(tmp_path, camera())
    put(folder, event())
    assert arrived[0][0].read_bytes() == MOVIE


RESULT = '"${@: -1:1}"'  # the last word of the command
SHORT = f"{shutil.which('ffmpeg')} -v error -i {CAMERAS}/garage.mp4 -t 3 -c copy -f mp4 {RESULT}"


@pytest.mark.parametrize("script", ["exit 1", f"r={RESULT}; echo > ${{r#file:}}", "exit 0", SHORT])
def test_an_ffmpeg_that_fails_costs_no_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    shell = shutil.which("bash")
    program.write_text(f"#!{shell}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    folder, arrived = folder_of(tmp_path / "clips", camera())
    put(folder, event())
    assert arrived[0][0].read_bytes() == MOVIE
    assert not list((tmp_path / "clips").glob(".*.remux"))


def test_a_folder_that_cannot_be_written_makes_everything_wait(tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("a file where the folder should be")
    folder, _ = folder_of(tmp_path / "clips", camera())
    with pytest.raises(Unavailable, match="write a clip into"):
        put(folder, event())
    with pytest.raises(Unavailable):
        folder.check()


def test_a_disk_that_fills_up_leaves_no_half_clip(tmp_path: Path) -> None:
    folder, arrived = folder_of(tmp_path, camera())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(MOVIE) // 2, before[1]))
    try:
        with pytest.raises(Unavailable):
            put(folder, event())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not arrived
    assert [path.name for path in tmp_path.iterdir()] == [sidecar.MARK]
    put(folder, event())
    assert len(arrived) == 1
