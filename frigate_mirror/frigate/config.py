"""Frigate's own settings on which the mirror depends, as its API tells them.

The API answers with the settings that are in force, and with the global ones filled in for each
camera. Inside Frigate's container, port 5000 needs no login; from elsewhere `api.FrigateApi` asks.
This was read from the answers of Frigate v0.16.4, v0.17.2 and v0.18.0-beta1 to GET /api/config.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from frigate_mirror.untrusted import plain, shaped

API = "http://127.0.0.1:5000"
PATIENCE = 5.0  # seconds
LARGEST = 32_000_000  # bytes; an answer has about 10,000 for each camera
Ask = Callable[[], Any]
"""Returns Frigate's settings as JSON gave them. Raises ConfigError."""


class ConfigError(Exception):
    """Frigate's settings cannot be read."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that is enabled in Frigate. `detects` and `snapshots` say whether it detects objects
    and keeps pictures of them, `kept_days` for how many days at least; `records` says whether it
    records video. `labels` are the objects that it tracks, `zones` its zones."""

    name: str
    detects: bool
    snapshots: bool
    kept_days: float
    records: bool
    labels: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Publishing:
    """Whether and how Frigate publishes by MQTT. `host` is the broker as Frigate itself reaches
    it."""

    enabled: bool
    host: str
    topic_prefix: str
    qos: int


def read(api: str = API) -> Any:
    """Asks an API that needs no login for Frigate's settings. Raises ConfigError."""
    url = f"{api}/api/config"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=PATIENCE) as answer:
            return json.loads(answer.read(LARGEST))
    except (OSError, http.client.HTTPException) as error:  # an error of HTTP is an OSError, too
        why = getattr(error, "reason", error)  # of urllib's errors the reason is what people need
        raise ConfigError(f"{url}: {plain(str(why))}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{url}: not the settings of Frigate 0.16 to 0.18") from error


def cameras(settings: Any) -> list[Camera]:
    """Returns the cameras that are enabled. Raises ConfigError."""
    found = _part(settings, _Cameras)["cameras"]
    enabled = {name: one for name, one in found.items() if one["enabled"]}
    return [_camera(plain(name), one) for name, one in enabled.items()]


def ffmpeg_path(ask: Ask = read) -> str:
    """Returns the setting `ffmpeg.path`, or an empty text if Frigate does not answer."""
    try:
        return str(_part(ask(), _FfmpegConfig)["ffmpeg"]["path"])
    except ConfigError:
        return ""


def publishing(settings: Any) -> Publishing:
    """Returns the settings of MQTT. Raises ConfigError."""
    found = _part(settings, _MqttConfig)["mqtt"]
    host, prefix = plain(found["host"]), plain(found["topic_prefix"])
    return Publishing(found["enabled"], host, prefix, found["qos"])


def _part(settings: Any, shape: type) -> Any:
    """Returns the part of the settings that `shape` describes. Raises ConfigError."""
    try:
        return shaped(settings, shape)
    except ValueError as error:
        raise ConfigError("they are not the settings of Frigate 0.16 to 0.18") from error


def _camera(name: str, found: Mapping[str, Any]) -> Camera:
    snapshots, retain = found["snapshots"], found["snapshots"]["retain"]
    return Camera(
        name,
        found["detect"]["enabled"],
        snapshots["enabled"],
        min([retain["default"], *retain["objects"].values()]),
        found["record"]["enabled"],
        frozenset(map(plain, found["objects"]["track"])),
        frozenset(map(plain, found["zones"])),
    )


@dataclass
class _Switch:
    enabled: bool


@dataclass
class _Retain:
    default: float
    objects: Mapping[str, float]


@dataclass
class _Snapshots:
    enabled: bool
    retain: _Retain


@dataclass
class _Objects:
    track: list[str]


@dataclass
class _Zone:
    """Only its name counts."""


@dataclass
class _Camera:
    enabled: bool
    detect: _Switch
    snapshots: _Snapshots
    record: _Switch
    objects: _Objects
    zones: Mapping[str, _Zone]


@dataclass
class _Ffmpeg:
    path: str


@dataclass
class _FfmpegConfig:
    ffmpeg: _Ffmpeg


@dataclass
class _Cameras:
    cameras: Mapping[str, _Camera]


@dataclass
class _Mqtt:
    enabled: bool
    host: str
    topic_prefix: str
    qos: int


@dataclass
class _MqttConfig:
    mqtt: _Mqtt
