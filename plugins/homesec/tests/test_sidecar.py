"""Which clips are Frigate's, and what happens to those of which nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from things import camera, event, put

from homesec_frigate_events import sidecar
from homesec_frigate_events.folder import ClipFolder
from homesec_frigate_events.sidecar import NoSidecar


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    put(ClipFolder(tmp_path / "clips", lambda: [camera(faststart=False)], lambda *_: None), event())
    [found] = (tmp_path / "clips").glob("*.mp4")
    return found


def test_the_sidecar_of_a_clip_is_read(clip: Path) -> None:
    document = sidecar.read(clip)
    assert document is not None and document["clip_id"] == clip.stem


def test_a_clip_of_another_source_has_none(tmp_path: Path) -> None:
    other = tmp_path / "front_20251126_100000.mp4"
    assert sidecar.read(other) is None
    other.with_suffix(".json").write_text('{"of": "somebody else"}')
    assert sidecar.read(other) is None


def test_a_clip_of_frigate_without_a_sidecar_is_an_error_in_its_folder(clip: Path) -> None:
    other = clip.with_name("anything.mp4")
    with pytest.raises(NoSidecar, match=r"anything\.mp4 is a clip of Frigate"):
        sidecar.read(other)


def test_a_clip_of_frigate_that_was_fetched_back_is_known_by_its_name(
    clip: Path, tmp_path: Path
) -> None:
    fetched = tmp_path / "elsewhere" / clip.name
    with pytest.raises(NoSidecar):
        sidecar.read(fetched)


@pytest.mark.parametrize("content", ["", "null", '{"schema": "homesec-frigate-events/1"}'])
def test_a_damaged_sidecar_is_an_error(clip: Path, content: str) -> None:
    clip.with_suffix(".json").write_text(content)
    with pytest.raises(NoSidecar):
        sidecar.read(clip)
