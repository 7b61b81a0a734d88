"""Frigate's own settings on which the fate of a recording depends.

They come from Frigate's API or, while Frigate is stopped, from its configuration file, where only
what differs from a default stands. The settings and their defaults were read from Frigate v0.16.4,
v0.17.2 and v0.18.0-beta1 (frigate.config.camera.record). Up to 0.16 there is one time for all
recordings (`retain`), later there are two (`continuous`, `motion`), of which the longer one counts
for a recording whose motion is unknown.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frigate_mirror.frigate.config import ConfigError
from frigate_mirror.untrusted import plain, shaped

DEFAULTS = {
    "alerts": {"pre_capture": 5, "post_capture": 5, "retain": {"days": 10}},
    "detections": {"pre_capture": 5, "post_capture": 5, "retain": {"days": 10}},
    "expire_interval": 60,
    "sync_recordings": False,
}
"""Frigate's defaults. Its default for each time of recordings is 0 days."""
PARSERS = ("ruamel.yaml", "yaml")
"""Libraries that read YAML. Frigate's own image has the first one."""


@dataclass(frozen=True, slots=True)
class OfReviews:
    """How Frigate treats review items of one severity: it deletes them after `days`, and keeps the
    recordings from `before` seconds before an item to `after` seconds behind it."""

    days: float
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Retention:
    """How long Frigate keeps the recordings of one camera: those whose motion is unknown for
    `days`, and those of a review item as long as the item. `continuous_days` is how long it keeps
    recordings without any motion."""

    days: float
    continuous_days: float
    alerts: OfReviews
    detections: OfReviews


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """The settings of all cameras. `every` is how many seconds at most pass between two passes of
    Frigate's cleanup. `syncs` says that Frigate deletes files without rows and rows without files,
    and `is_safe` that it runs in its safe mode, in which it deletes nothing."""

    cameras: Mapping[str, Retention]
    every: float = 3600.0
    syncs: bool = False
    is_safe: bool = False
    source: str = field(default="", compare=False)


def of_api(document: Any, source: str = "Frigate's API") -> RecordSettings:
    """Returns the settings from the answer of GET /api/config. Raises ConfigError."""
    try:
        found = shaped(document, _Config)
        cameras = {plain(name): _retention(one["record"]) for name, one in found["cameras"].items()}
        record = found["record"]
        return RecordSettings(
            cameras,
            every=60.0 * record["expire_interval"],
            syncs=bool(record["sync_recordings"]),  # Frigate 0.18 has no such setting
            is_safe=bool(found["safe_mode"]),
            source=source,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: not the settings of Frigate 0.16 to 0.18") from error


def of_file(path: Path) -> RecordSettings:
    """Returns the settings from a file: Frigate's config.yml, or a saved answer of its API. Raises
    ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', 'not text')}") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = _yaml(text, path)
    if not isinstance(document, dict) or not isinstance(document.get("cameras"), dict):
        raise ConfigError(f"{path}: no cameras in it, so it is no configuration of Frigate")
    return of_api(_filled_in(document), str(path))


def _yaml(text: str, path: Path) -> Any:
    for name in PARSERS:
        try:
            parser = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return (
                parser.YAML(typ="safe").load(text) if "ruamel" in name else parser.safe_load(text)
            )
        except (parser.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: {plain(str(error))}") from error
    raise ConfigError(
        f"{path} is YAML, which needs a library: pip install ruamel.yaml, or use a saved answer of "
        "Frigate's API (GET /api/config)"
    )


def _filled_in(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the document with what Frigate fills in: the global settings for each camera, and its
    defaults."""
    everywhere = document.get("record") or {}
    cameras = {
        str(name): {"record": _merged(DEFAULTS, _merged(everywhere, _record_of(camera)))}
        for name, camera in document["cameras"].items()
    }
    return {**document, "cameras": cameras, "record": _merged(DEFAULTS, everywhere)}


def _record_of(camera: Any) -> Any:
    return (camera.get("record") if isinstance(camera, dict) else None) or {}


def _merged(below: Any, above: Any) -> Any:
    """Returns `above` with what only `below` has, in all depths."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return below if above is None else above
    return {name: _merged(below.get(name), above.get(name)) for name in below | above}


def _retention(record: Mapping[str, Any]) -> Retention:
    days = [one["days"] for name in ("retain", "continuous", "motion") if (one := record[name])]
    continuous = record["continuous"] or record["retain"]
    return Retention(
        max(days, default=0),
        continuous["days"] if continuous else 0,
        *(
            OfReviews(one["retain"]["days"], one["pre_capture"], one["post_capture"])
            for one in (record["alerts"], record["detections"])
        ),
    )


@dataclass
class _Days:
    days: float


@dataclass
class _Severity:
    pre_capture: float
    post_capture: float
    retain: _Days


@dataclass
class _Record:
    retain: _Days | None
    continuous: _Days | None
    motion: _Days | None
    alerts: _Severity
    detections: _Severity


@dataclass
class _Everywhere:
    expire_interval: float
    sync_recordings: bool | None


@dataclass
class _Camera:
    record: _Record


@dataclass
class _Config:
    cameras: Mapping[str, _Camera]
    record: _Everywhere
    safe_mode: bool | None
