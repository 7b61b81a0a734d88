"""An analyzer and a notifier of HomeSec for tests: they take no network and no model.

The analyzer finds every clip suspicious, after a pause, and fails for a file that is no movie. The
notifier writes each alert as a line of a file.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import cv2
from homesec.interfaces import Notifier, ObjectFilter, VLMAnalyzer
from homesec.models.alert import Alert
from homesec.models.enums import RiskLevel
from homesec.models.filter import FilterOverrides, FilterResult
from homesec.models.vlm import AnalysisResult, VLMConfig
from homesec.plugins.registry import PluginType, plugin
from pydantic import BaseModel


class AnalyzerConfig(BaseModel):
    pause_s: float = 0.0
    risk: str = "medium"


@plugin(PluginType.ANALYZER, "test")
class Analyzer(VLMAnalyzer):
    config_cls = AnalyzerConfig

    @classmethod
    def create(cls, config: AnalyzerConfig) -> VLMAnalyzer:
        return cls(config)

    def __init__(self, config: AnalyzerConfig) -> None:
        self._config = config

    async def analyze(
        self, video_path: Path, filter_result: FilterResult, config: VLMConfig
    ) -> AnalysisResult:
        assert config.backend == "test", "the analyzer gets the configuration of another one"
        frames = await asyncio.to_thread(frames_of, video_path)
        await asyncio.sleep(self._config.pause_s)
        return AnalysisResult(
            risk_level=RiskLevel.from_string(self._config.risk),
            activity_type="suspicious_behavior",
            summary=f"{', '.join(filter_result.detected_classes)} in {frames} frames.",
        )

    async def ping(self) -> bool:
        return True

    async def shutdown(self, timeout: float | None = None) -> None:
        pass


def frames_of(path: Path) -> int:
    movie = cv2.VideoCapture(str(path))
    count = 0
    while movie.read()[0]:
        count += 1
    movie.release()
    if not count:
        raise ValueError(f"{path} has no frames")
    return count


class NotifierConfig(BaseModel):
    path: Path


@plugin(PluginType.NOTIFIER, "test")
class FileNotifier(Notifier):
    config_cls = NotifierConfig

    @classmethod
    def create(cls, config: NotifierConfig) -> Notifier:
        return cls(config.path)

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, alert: Alert) -> None:
        line = alert.model_dump_json().encode() + b"\n"
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line)
        os.close(file)

    async def ping(self) -> bool:
        return True

    async def shutdown(self, timeout: float | None = None) -> None:
        pass


class FilterConfig(BaseModel):
    model_config = {"extra": "forbid"}
    finds: list[str] = ["dog"]


@plugin(PluginType.FILTER, "test")
class Filter(ObjectFilter):
    config_cls = FilterConfig

    @classmethod
    def create(cls, config: FilterConfig) -> ObjectFilter:
        return cls(config)

    def __init__(self, config: FilterConfig) -> None:
        self._finds = config.finds

    async def detect(
        self, video_path: Path, overrides: FilterOverrides | None = None
    ) -> FilterResult:
        return FilterResult(
            detected_classes=self._finds, confidence=0.5, model="test", sampled_frames=1
        )

    async def ping(self) -> bool:
        return True

    async def shutdown(self, timeout: float | None = None) -> None:
        pass
