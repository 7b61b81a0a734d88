"""The filter `frigate_predetection`, loaded by HomeSec's own registry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from homesec.plugins import discover_all_plugins
from homesec.plugins.filters.yolo import YoloFilterConfig
from homesec.plugins.registry import PluginType, load_plugin, validate_plugin
from pydantic import ValidationError
from things import camera, event, put

from homesec_frigate_events.folder import ClipFolder
from homesec_frigate_events.predetection import NoDelegate
from homesec_frigate_events.sidecar import NoSidecar

discover_all_plugins()
DELEGATE = {"delegate": {"backend": "TEST", "config": {"finds": ["cat"]}}}


def filter_of(config: dict[str, Any]) -> Any:
    return load_plugin(PluginType.FILTER, "frigate_predetection", config)


def clip_of(folder: Path, label: str = "person", **wishes: Any) -> Path:
    wishes = {"labels": frozenset({label}), "faststart": False, **wishes}
    put(ClipFolder(folder, lambda: [camera(**wishes)], lambda *_: None), event(label=label))
    return max(folder.glob("*.mp4"))


def test_what_frigate_has_detected_is_the_result(tmp_path: Path) -> None:
    result = asyncio.run(filter_of({}).detect(clip_of(tmp_path)))
    assert result.model_dump() == {
        "detected_classes": ["person"],
        "confidence": 0.9,
        "model": "frigate",
        "sampled_frames": 0,
    }


def test_other_clips_go_to_the_delegate(tmp_path: Path) -> None:
    found = asyncio.run(filter_of(DELEGATE).detect(tmp_path / "rtsp.mp4"))
    assert (found.detected_classes, found.model) == (["cat"], "test")


def test_clips_of_a_camera_that_wants_the_filter_go_to_the_delegate(tmp_path: Path) -> None:
    clip = clip_of(tmp_path, bypass_filter=False)
    assert asyncio.run(filter_of(DELEGATE).detect(clip)).model == "test"
    with pytest.raises(NoDelegate, match="set `delegate` of frigate_predetection"):
        asyncio.run(filter_of({}).detect(clip))


def test_an_event_without_a_label_is_no_reason_for_an_empty_result(tmp_path: Path) -> None:
    clip = clip_of(tmp_path, label="")
    assert asyncio.run(filter_of(DELEGATE).detect(clip)).model == "test"
    with pytest.raises(NoDelegate):
        asyncio.run(filter_of({}).detect(clip))


@pytest.mark.parametrize("config", [{}, DELEGATE])
def test_a_missing_sidecar_is_an_error_and_never_an_empty_result(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    clip = clip_of(tmp_path)
    clip.with_suffix(".json").unlink()
    with pytest.raises(NoSidecar):
        asyncio.run(filter_of(config).detect(clip))


def test_the_settings_that_cleanup_forces_into_the_filter_are_refused() -> None:
    forced = YoloFilterConfig().model_dump()
    with pytest.raises(ValidationError, match="model_path"):
        validate_plugin(PluginType.FILTER, "frigate_predetection", forced)


def test_it_is_as_healthy_as_its_delegate() -> None:
    async def used(config: dict[str, Any]) -> bool:
        made = filter_of(config)
        answered: bool = await made.ping()
        await made.shutdown()
        return answered

    assert asyncio.run(used({}))
    assert asyncio.run(used(DELEGATE))
