"""The analyzer `frigate_context`, loaded by HomeSec's own registry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from homesec.models.filter import FilterResult
from homesec.models.vlm import VLMConfig
from homesec.plugins import discover_all_plugins
from homesec.plugins.registry import PluginType, load_plugin
from things import MOVIE, camera, event, put

from homesec_frigate_events.folder import ClipFolder

discover_all_plugins()
FOUND = FilterResult(detected_classes=["person"], confidence=0.9, model="x", sampled_frames=1)
CONFIG = {"backend": "test", "config": {"risk": "high"}}


def summary_of(clip: Path) -> str:
    analyzer = load_plugin(PluginType.ANALYZER, "frigate_context", CONFIG)
    config = VLMConfig(backend="frigate_context", config=CONFIG)
    result = asyncio.run(analyzer.analyze(clip, FOUND, config))
    assert str(result.risk_level) == "high"
    assert result.activity_type == "suspicious_behavior"
    found: str = result.summary
    return found


def clip_of(folder: Path, changes: dict[str, Any], **wishes: Any) -> Path:
    one = camera(**{"faststart": False, **wishes})
    put(ClipFolder(folder, lambda: [one], lambda *_: None), event(**changes))
    return max(folder.glob("*.mp4"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "[Frigate: person, in yard, score 90%]"),
        ({"sub_label": "Bob"}, "[Frigate: person (Bob), in yard, score 90%]"),
        ({"zones": ("yard", "porch")}, "[Frigate: person, in yard, porch, score 90%]"),
        ({"zones": ()}, "[Frigate: person, score 90%]"),
    ],
)
def test_the_summary_says_what_frigate_knows(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    summary = summary_of(clip_of(tmp_path, changes))
    assert summary.startswith("person in ") and summary.endswith(f" frames. {words}")


def test_without_metadata_the_summary_stays(tmp_path: Path) -> None:
    assert "Frigate" not in summary_of(clip_of(tmp_path, {}, include_metadata=False))


def test_the_summary_of_other_clips_stays(tmp_path: Path) -> None:
    (tmp_path / "rtsp.mp4").write_bytes(MOVIE)
    assert summary_of(tmp_path / "rtsp.mp4").endswith("frames.")


def test_a_missing_sidecar_costs_no_analysis(tmp_path: Path) -> None:
    clip = clip_of(tmp_path, {})
    clip.with_suffix(".json").unlink()
    assert summary_of(clip).endswith("frames.")
