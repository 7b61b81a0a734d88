"""A fixed mixture of events. It is the same in every run with the same seed and epoch."""

from __future__ import annotations

import hashlib
import json
import random
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frigate import pictures, variant
from frigate.const import CLIPS_DIR

Send = Callable[[str, str, str | None, dict[str, Any]], None]

LETTERS = string.ascii_lowercase + string.digits
KINDS = ("tracked", "manual", "tracked", "false-positive", "api")
CAMERAS = ("front_door", "back_yard", "garage")
LABELS = {"front_door": "person", "back_yard": "dog", "garage": "car"}


class Scenario:
    """Plays events by calling `send(source, event_type, camera, event_data)` for each message."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._random = random.Random(variant.SEED)

    def play(self, index: int) -> None:
        """Plays one event, from its first message to its line on stdout."""
        kind, camera = KINDS[index % len(KINDS)], CAMERAS[index % len(CAMERAS)]
        start = round(variant.EPOCH + index if variant.EPOCH else time.time() - 5, 6)
        event_id = f"{start}-{''.join(self._random.choices(LETTERS, k=6))}"
        playing = {"tracked": self._tracked, "false-positive": self._false_positive}
        file = playing.get(kind, self._external)(event_id, camera, start, kind)
        line = {"event": event_id, "kind": kind, "camera": camera, "file": None, "sha256": None}
        if file is not None:
            line["file"], line["sha256"] = file.name, hashlib.sha256(file.read_bytes()).hexdigest()
        print(json.dumps(line), flush=True)

    def stumble(self) -> None:
        """Sends the end of an unknown event, for which the handler raises an exception."""
        self._send("tracked_object", "end", "garage", _tracked_data("0.5-nobody", "garage", 0.5))

    def _tracked(self, event_id: str, camera: str, start: float, kind: str) -> Path:
        seen = _tracked_data(event_id, camera, start)
        unsaved = {"has_clip": False, "has_snapshot": False}
        self._send("tracked_object", "start", camera, seen | unsaved)
        self._send("tracked_object", "update", camera, dict(seen))
        file = write_pictures(camera, event_id)
        over = {"frame_time": start + 4, "end_time": start + 4.75}
        self._send("tracked_object", "end", camera, seen | over)
        return file

    def _false_positive(self, event_id: str, camera: str, start: float, kind: str) -> None:
        unsaved = {"has_clip": False, "has_snapshot": False}
        seen = _tracked_data(event_id, camera, start) | unsaved | {"false_positive": True}
        self._send("tracked_object", "start", camera, dict(seen))
        self._send("tracked_object", "end", camera, seen | {"end_time": start + 4.25})

    def _external(self, event_id: str, camera: str, start: float, kind: str) -> Path:
        """Plays an event from outside. `manual` has a duration, so that its end is known before it
        comes. A message ends `api`."""
        file = write_pictures(camera, event_id)
        data = {
            "id": event_id, "camera": camera, "label": "visitor", "sub_label": "Grüße, Zoë",
            "score": 1, "start_time": start, "end_time": None, "type": "api",
            "has_clip": True, "has_snapshot": True,
        }  # fmt: skip
        if kind == "manual":
            self._send("api", "start", camera, data | {"end_time": start + 6})
        else:
            self._send("api", "start", camera, data)
            self._send("api", "end", None, {"id": event_id, "end_time": start + 4.5})
        return file


def write_pictures(camera: str, event_id: str) -> Path:
    """Writes the pictures that this version of Frigate writes, and returns the snapshot."""
    folder = Path(CLIPS_DIR)
    thumbs = folder / "thumbs" / camera
    thumbs.mkdir(parents=True, exist_ok=True)
    jpeg, webp = folder / f"{camera}-{event_id}.jpg", folder / f"{camera}-{event_id}-clean.webp"
    note = event_id.encode()
    (thumbs / f"{event_id}.webp").write_bytes(pictures.webp(camera, note, pictures.THUMBS))
    if variant.VERSION != "0.18":
        jpeg.write_bytes(pictures.jpeg(camera, note))
    if variant.VERSION != "0.16":
        webp.write_bytes(pictures.webp(camera, note))
    return webp if variant.VERSION == "0.18" else jpeg


def _tracked_data(event_id: str, camera: str, start: float) -> dict[str, Any]:
    box = [412, 208, 566, 590]
    return {
        "id": event_id, "camera": camera, "label": LABELS[camera], "sub_label": None,
        "start_time": start, "end_time": None, "frame_time": start, "false_positive": False,
        "top_score": 0.87, "score": 0.84, "box": box, "area": 58828, "ratio": 0.4,
        "region": [300, 120, 700, 640], "active": True, "stationary": False,
        "motionless_count": 0, "position_changes": 2,
        "attributes": {}, "current_attributes": [], "current_zones": ["steps"],
        "entered_zones": ["drive", "steps"], "has_clip": True, "has_snapshot": True,
        "pending_loitering": False, "max_severity": "alert",
        "snapshot": {"frame_time": start, "box": box, "score": 0.84},
        "path_data": [[[round(0.3 + 0.02 * n, 2), 0.8], start + n] for n in range(5)],
    }  # fmt: skip
