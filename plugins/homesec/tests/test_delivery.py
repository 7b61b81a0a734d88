"""How clips are given to HomeSec, and what becomes of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from things import Hands, camera, event, put, sidecar_of

from homesec_frigate_events import sidecar
from homesec_frigate_events.camera import Camera
from homesec_frigate_events.delivery import (
    FOR_EVER,
    MOST_AT_ONCE,
    MOST_TIMES,
    TOO_LONG,
    YOUNG,
    Delivery,
)
from homesec_frigate_events.folder import ClipFolder


class Post:
    """A folder of clips and its delivery to one camera of HomeSec."""

    def __init__(self, path: Path, **wishes: object) -> None:
        self.path = path
        self.hands = Hands()
        self.camera: Camera | None = camera(hands=self.hands, **wishes)
        self.now = 100.0
        self.begin()
        cameras = [self.camera]
        self.folder = ClipFolder(path, lambda: cameras, lambda *one: self.delivery.arrived(*one))

    def begin(self) -> None:
        """Starts anew, as a process does."""
        self.delivery = Delivery(self.path, lambda name: self.camera, lambda: self.now)

    def clip(self, number: int = 0) -> Path:
        """Puts one more clip."""
        put(self.folder, event(id=f"17641512{number:02}.5-abc123", started=1764151200.0 + number))
        return max(self.path.glob("*.mp4"))


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path / "clips", faststart=False)


def test_a_clip_is_given_once_and_is_done_when_homesec_lets_go_of_it(post: Post) -> None:
    clip = post.clip()
    post.delivery.step()
    post.delivery.step()
    assert [given.path for given in post.hands.given] == [clip]
    assert (post.hands.given[0].started, post.hands.given[0].ended) == (1764151200.0, 1764151210.0)
    assert not sidecar_of(clip)["done"] and not post.delivery.is_idle
    post.hands.finish(clip.stem)
    post.delivery.step()
    assert sidecar_of(clip)["done"] and post.delivery.is_idle


def test_what_was_not_done_at_the_end_of_the_process_is_given_again(post: Post) -> None:
    clips = [post.clip(number) for number in range(3)]
    post.delivery.step()
    post.hands.finish(clips[1].stem)
    post.delivery.step()
    post.begin()
    post.delivery.step()
    assert post.hands.ids == [*(clip.stem for clip in clips), clips[0].stem, clips[2].stem]
    assert sidecar_of(clips[0])["given"] == 2


def test_a_clip_on_which_homesec_dies_each_time_is_given_up(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    clip = post.clip()
    for _ in range(MOST_TIMES + 2):
        post.begin()
        post.delivery.step()
    assert len(post.hands.given) == MOST_TIMES
    assert sidecar_of(clip)["done"]
    assert "is not given to HomeSec again" in caplog.text


def test_homesec_has_a_limited_number_of_clips_at_a_time_and_gets_the_oldest_first(
    post: Post,
) -> None:
    clips = [post.clip(number) for number in range(MOST_AT_ONCE + 2)]
    post.begin()
    post.delivery.step()
    assert post.hands.ids == [clip.stem for clip in clips[:MOST_AT_ONCE]]
    post.hands.finish(clips[0].stem)
    post.delivery.step()
    assert post.hands.ids[-1] == clips[MOST_AT_ONCE].stem
    post.now += TOO_LONG  # HomeSec has forgotten to let go of them
    post.delivery.step()
    assert post.hands.ids[-1] == clips[MOST_AT_ONCE + 1].stem


def test_a_clip_that_homesec_never_lets_go_of_is_done_after_a_day(post: Post) -> None:
    clip = post.clip()
    post.delivery.step()
    post.now += FOR_EVER + 1
    post.delivery.step()
    assert sidecar_of(clip)["done"]


def test_a_clip_waits_for_its_camera(post: Post) -> None:
    usual, post.camera = post.camera, None
    post.clip()
    post.delivery.step()
    assert not post.hands.given
    post.camera, post.hands.refuses = usual, True
    post.delivery.step()
    post.hands.refuses = False
    post.delivery.step()
    assert len(post.hands.given) == 1


def test_a_clip_that_was_refused_counts_as_not_given(post: Post) -> None:
    clip = post.clip()
    post.hands.refuses = True
    for _ in range(MOST_TIMES + 1):
        post.delivery.step()
    assert sidecar_of(clip)["given"] == 0


def test_a_clip_that_is_not_to_be_kept_goes_with_its_sidecar(tmp_path: Path) -> None:
    post = Post(tmp_path / "clips", retain=False)
    clip = post.clip()
    post.delivery.step()
    assert clip.exists()
    post.hands.finish(clip.stem)
    post.delivery.step()
    assert [path.name for path in post.path.iterdir()] == [sidecar.MARK]


def test_a_clip_that_could_not_be_uploaded_is_kept_for_a_day(tmp_path: Path) -> None:
    post = Post(tmp_path / "clips", retain=False)
    clip, uploaded = post.clip(1), post.clip(2)
    post.delivery.step()
    for one in (clip, uploaded):
        sidecar.note_upload(one, failed=True)
    sidecar.note_upload(uploaded, failed=False)
    for one in (clip, uploaded):
        post.hands.finish(one.stem)
    post.delivery.step()
    assert clip.exists() and sidecar_of(clip)["done"] and not uploaded.exists()
    post.delivery.tidy()
    assert clip.exists()
    moment = time.time() - FOR_EVER - 1
    os.utime(clip.with_suffix(".json"), (moment, moment))
    post.delivery.tidy()
    assert [path.name for path in post.path.iterdir()] == [sidecar.MARK]


def test_a_clip_that_homesec_has_pruned_is_not_given(post: Post) -> None:
    clip = post.clip()
    clip.unlink()
    post.delivery.step()
    assert not post.hands.given and post.delivery.is_idle


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": "homesec-frigate-events/1"}'])
def test_a_damaged_sidecar_stops_nothing(post: Post, content: str) -> None:
    broken, sound = post.clip(1), post.clip(2)
    broken.with_suffix(".json").write_text(content)
    post.delivery.step()
    assert post.hands.ids == [sound.stem]
    post.begin()
    post.delivery.step()
    assert post.hands.ids == [sound.stem, sound.stem]


def test_sidecars_whose_clips_homesec_has_pruned_are_deleted(post: Post) -> None:
    pruned, kept = post.clip(1), post.clip(2)
    other = post.path / "other.json"
    other.write_text("{}")
    pruned.unlink()
    post.delivery.tidy()
    assert pruned.with_suffix(".json").exists()  # the clip may be on its way
    for path in post.path.glob("*.json"):
        moment = path.stat().st_mtime - YOUNG - 1
        os.utime(path, (moment, moment))
    post.delivery.tidy()
    left = {path.name for path in post.path.glob("*.json")}
    assert left == {f"{kept.stem}.json", "other.json"}


def test_what_a_killed_process_was_writing_is_deleted(post: Post) -> None:
    post.path.mkdir()
    for name in (".a.part", ".a.json.part", ".a.remux"):
        (post.path / name).write_text("half")
    post.delivery.step()
    assert list(post.path.iterdir()) == []
