"""Registers the plugin's parts, as far as they fit to this HomeSec."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from homesec import interfaces
from homesec.models.clip import Clip
from homesec.models.filter import FilterResult
from homesec.models.storage import StorageUploadResult
from homesec.models.vlm import AnalysisResult
from homesec.plugins.registry import PluginType, plugin

log = logging.getLogger("homesec_frigate_events")
LIVES = {"shutdown": ("self", "timeout"), "ping": ("self",)}
SOURCE = LIVES | {
    "register_callback": ("self", "callback"),
    "start": ("self",),
    "is_healthy": ("self",),
    "last_heartbeat": ("self",),
}
FILTER = LIVES | {"detect": ("self", "video_path", "overrides")}
ANALYZER = LIVES | {"analyze": ("self", "video_path", "filter_result", "config")}
STORAGE = LIVES | {
    "put_file": ("self", "local_path", "dest_path"),
    "get_view_url": ("self", "storage_uri"),
    "get": ("self", "storage_uri", "local_path"),
    "exists": ("self", "storage_uri"),
    "delete": ("self", "storage_uri"),
}
CLIP = {"clip_id", "camera_name", "local_path", "start_ts", "end_ts", "duration_s",
        "source_backend"}  # fmt: skip
FILTERED = {"detected_classes", "confidence", "model", "sampled_frames"}


def all_parts() -> None:
    """Registers each part on its own, so that a fault of one keeps none of the others out."""
    _register("source", "frigate_events", _source, _spare_source)
    _register("filter", "frigate_predetection", _filter)
    _register("analyzer", "frigate_context", _analyzer)
    _register("storage", "s3", _storage)


def differences(
    interface: type, methods: Mapping[str, tuple[str, ...]], **models: tuple[type, set[str]]
) -> list[str]:
    """Returns how an interface of HomeSec differs from what our part implements: `methods` with the
    names of their parameters, and of each model the fields that we fill in."""
    found = []
    for name in sorted(getattr(interface, "__abstractmethods__", set()) - methods.keys()):
        found.append(f"{interface.__name__} has a method {name} that is new")
    for name, expected in methods.items():
        method = getattr(interface, name, None)
        parameters = tuple(inspect.signature(method).parameters) if callable(method) else None
        if parameters != expected:
            found.append(f"{interface.__name__}.{name} has the parameters {parameters}")
    for name, (model, filled) in models.items():
        fields: dict[str, Any] = getattr(model, "model_fields", {})
        needed = {one for one, field in fields.items() if field.is_required()}
        if needed - filled or filled - fields.keys():
            found.append(f"{name} has the fields {', '.join(fields)}")
    return found


def _register(
    kind: str,
    name: str,
    part: Callable[[], type],
    spare: Callable[[str], type] | None = None,
) -> None:
    try:
        registered = part()
    except Exception as error:
        log.error("%s %s of homesec-frigate-events does not work with this HomeSec: %s",
                  kind, name, error)  # fmt: skip
        if spare is None:
            return
        registered = spare(str(error))
    try:
        plugin(PluginType(kind), name)(registered)
    except ValueError as error:  # HomeSec or another plugin has one of this name
        log.error("%s %s of homesec-frigate-events is left out: %s", kind, name, error)


def _source() -> type:
    from homesec_frigate_events.source import FrigateEventsSource

    _check(interfaces.ClipSource, SOURCE, Clip=(Clip, CLIP))
    return FrigateEventsSource


def _filter() -> type:
    from homesec_frigate_events.predetection import FrigatePredetection

    _check(interfaces.ObjectFilter, FILTER, FilterResult=(FilterResult, FILTERED))
    return FrigatePredetection


def _analyzer() -> type:
    from homesec_frigate_events.context import FrigateContext

    result = (AnalysisResult, {"risk_level", "activity_type", "summary"})
    _check(interfaces.VLMAnalyzer, ANALYZER, AnalysisResult=result)
    return FrigateContext


def _storage() -> type:
    from homesec_frigate_events.storage import S3Storage

    result = (StorageUploadResult, {"storage_uri", "view_url"})
    _check(interfaces.StorageBackend, STORAGE, StorageUploadResult=result)
    return S3Storage


def _check(interface: type, methods: Any, **models: Any) -> None:
    if found := differences(interface, methods, **models):
        raise TypeError("; ".join(found))


def _spare_source(why: str) -> type:
    """Returns a source that gives no clips and is never healthy, with every method that this
    HomeSec asks for."""
    from homesec_frigate_events.models import FrigateEventsConfig

    def nothing(*_: Any, **__: Any) -> None:
        return None

    async def later(*_: Any, **__: Any) -> bool:
        return False

    base = interfaces.ClipSource
    methods: dict[str, Any] = {
        name: later if inspect.iscoroutinefunction(getattr(base, name)) else nothing
        for name in base.__abstractmethods__
    }
    methods |= {
        "config_cls": FrigateEventsConfig,
        "create": classmethod(lambda cls, config: cls()),
        "is_healthy": lambda self: False,
        "last_heartbeat": lambda self: 0.0,
        "fault": lambda self: why,
    }
    return type("SpareSource", (base,), methods)
