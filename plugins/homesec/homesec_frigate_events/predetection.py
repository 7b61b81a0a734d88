"""The filter `frigate_predetection`: what Frigate has detected, as HomeSec's filter result.

HomeSec has one filter for all cameras. So clips that do not come from Frigate, and those of cameras
with `bypass_filter: false`, go to another filter, the delegate. Whatever happens, the result is
never empty for want of knowledge: HomeSec's `cleanup` deletes clips in which a filter finds
nothing.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from homesec.interfaces import ObjectFilter
from homesec.models.filter import FilterOverrides, FilterResult
from homesec.plugins.registry import PluginType, load_plugin

from homesec_frigate_events import sidecar
from homesec_frigate_events.models import FrigatePredetectionConfig

log = logging.getLogger("homesec_frigate_events")
MODEL = "frigate"


class NoDelegate(Exception):
    """A clip needs another filter, and none is configured."""


class FrigatePredetection(ObjectFilter):
    """See the module."""

    config_cls = FrigatePredetectionConfig

    @classmethod
    def create(cls, config: FrigatePredetectionConfig) -> ObjectFilter:
        inner = config.delegate
        return cls(inner and load_plugin(PluginType.FILTER, inner.backend.lower(), inner.config))

    def __init__(self, delegate: ObjectFilter | None) -> None:
        self._delegate = delegate

    async def detect(
        self, video_path: Path, overrides: FilterOverrides | None = None
    ) -> FilterResult:
        """Raises NoSidecar and NoDelegate, and what the delegate raises."""
        known = await asyncio.to_thread(sidecar.read, video_path)
        classes = list(known["predetected_classes"]) if known and known["bypass_filter"] else []
        if known and classes:
            log.info("Bypassing filter for %s (predetected: %s)", known["clip_id"], classes)
            return FilterResult(
                detected_classes=classes,
                confidence=float(known["predetected_score"]),
                model=MODEL,
                sampled_frames=0,
            )
        if self._delegate is None:
            raise NoDelegate(
                f"{video_path.name} needs a filter of its own: set `delegate` of "
                "frigate_predetection, as `delegate: {backend: yolo}`"
            )
        return await self._delegate.detect(video_path, overrides)

    async def ping(self) -> bool:
        return await self._delegate.ping() if self._delegate else True

    async def shutdown(self, timeout: float | None = None) -> None:
        if self._delegate:
            await self._delegate.shutdown(timeout)
