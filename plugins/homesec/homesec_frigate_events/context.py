"""The analyzer `frigate_context`: adds to another analyzer's result what Frigate knows.

HomeSec's alerts have the analyzer's summary, but nothing of the filter's result, so this is the way
for label, sub label, zones and score into an alert.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from homesec.interfaces import VLMAnalyzer
from homesec.models.filter import FilterResult
from homesec.models.vlm import AnalysisResult, VLMConfig
from homesec.plugins.registry import PluginType, load_plugin

from homesec_frigate_events import sidecar
from homesec_frigate_events.models import FrigateContextConfig

log = logging.getLogger("homesec_frigate_events")


class FrigateContext(VLMAnalyzer):
    """See the module."""

    config_cls = FrigateContextConfig

    @classmethod
    def create(cls, config: FrigateContextConfig) -> VLMAnalyzer:
        backend = config.backend.lower()
        return cls(load_plugin(PluginType.ANALYZER, backend, config.config), config)

    def __init__(self, inner: VLMAnalyzer, config: FrigateContextConfig) -> None:
        self._inner = inner
        self._config = config

    async def analyze(
        self, video_path: Path, filter_result: FilterResult, config: VLMConfig
    ) -> AnalysisResult:
        own = self._config
        config = config.model_copy(update={"backend": own.backend, "config": own.config})
        result = await self._inner.analyze(video_path, filter_result, config)
        try:
            known = await asyncio.to_thread(sidecar.read, video_path)
        except sidecar.NoSidecar as error:  # the analysis is worth more than what would be added
            log.warning("%s", error)
            known = None
        words = sentence(known) if known else ""
        if not words:
            return result
        return result.model_copy(update={"summary": f"{result.summary} {words}".strip()})

    async def ping(self) -> bool:
        answers: bool = await self._inner.ping()
        return answers

    async def shutdown(self, timeout: float | None = None) -> None:
        await self._inner.shutdown(timeout)


def sentence(known: Mapping[str, Any]) -> str:
    """Returns what a sidecar says of its event, in one sentence in brackets, or an empty text if
    the source was told to leave it out."""
    label = known.get("frigate_label")
    if not label:
        return ""
    words = [f"Frigate: {label}"]
    if known.get("frigate_sub_label"):
        words[0] += f" ({known['frigate_sub_label']})"
    if zones := known.get("frigate_zones"):
        words.append(f"in {', '.join(zones)}")
    if (score := known.get("frigate_score")) is not None:
        words.append(f"score {score:.0%}")
    return f"[{', '.join(words)}]"
