"""A stand-in for Frigate: its HTTP API, and what it publishes on a broker.

It answers the companion's questions as Frigate 0.17 does on port 5000, with the fields of real
answers. It has two cameras, which record all the time. Its pictures and its recordings lie in the
folder `cameras`.
"""

from __future__ import annotations

import hashlib
import json
import random
import string
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

CAMERAS = Path(__file__).with_name("cameras")
VERSION = "0.17.2-3d4dd3ac"
LENGTH = 6.0  # seconds of an event
PADDING = 5.0  # seconds that the companion's clips show before an event, by its default
SEGMENT = 5  # seconds; Frigate's are 10 seconds long, for which the demo would have to wait
HISTORY = 60  # seconds for which the cameras have recorded at the start
OF_LISTS = (
    "id", "camera", "label", "zones", "start_time", "end_time", "has_clip", "has_snapshot",
    "plus_id", "retain_indefinitely", "sub_label", "top_score", "false_positive", "box", "data",
    "thumbnail",
)  # fmt: skip
"""The fields that a list of events has of each."""


@dataclass(frozen=True)
class Event:
    """An event that has ended. Times are Unix seconds."""

    id: str
    camera: str
    label: str
    start: float
    end: float

    def row(self) -> dict[str, Any]:
        """Returns the event's row as `/api/event_ids` gives it."""
        return {
            "id": self.id, "label": self.label, "camera": self.camera,
            "start_time": self.start, "end_time": self.end, "top_score": None,
            "false_positive": False, "zones": ["yard"], "thumbnail": None, "has_clip": True,
            "has_snapshot": True, "region": [], "box": [], "area": 0,
            "retain_indefinitely": False, "ratio": 1.0, "plus_id": None, "score": None,
            "model_hash": None, "detector_type": "cpu", "model_type": "ssd", "sub_label": None,
            "data": {
                "box": [0.4, 0.3, 0.1, 0.4], "region": [0.2, 0.0, 0.6, 1.0], "score": 0.84,
                "top_score": 0.91, "attributes": [], "average_estimated_speed": 0,
                "velocity_angle": 0, "type": "object", "max_severity": "alert",
                "path_data": [[[0.4, 0.7], self.start], [[0.6, 0.7], self.end - 2.0]],
            },
        }  # fmt: skip

    def moments(self) -> list[dict[str, Any]]:
        """Returns the rows of the timeline of this event."""
        told = {"box": [0.4, 0.3, 0.1, 0.4], "label": self.label, "sub_label": None,
                "region": [0.2, 0.0, 0.6, 1.0], "attribute": "", "score": 0.84}  # fmt: skip
        return [
            {"timestamp": at, "camera": self.camera, "source": "tracked_object",
             "source_id": self.id, "class_type": what, "data": told}
            for what, at in (("visible", self.start), ("gone", self.end - 2.0))
        ]  # fmt: skip

    def review(self) -> dict[str, Any]:
        """Returns the review item of this event."""
        return {
            "id": f"{self.start + 0.2:.6f}-{self.id[-6:]}", "camera": self.camera,
            "start_time": self.start + 0.2, "end_time": self.end, "severity": "alert",
            "thumb_path": "", "has_been_reviewed": False,
            "data": {"detections": [self.id], "objects": [self.label], "verified_objects": [],
                     "sub_labels": [], "zones": ["yard"], "audio": [],
                     "thumb_time": self.start + 1.0, "metadata": None},
        }  # fmt: skip

    def message(self) -> dict[str, Any]:
        """Returns the message on `frigate/events` that says that the event has ended."""
        after = {
            "id": self.id, "camera": self.camera, "frame_time": self.end - 2.0,
            "snapshot": {"frame_time": self.start + 1.0, "box": [256, 108, 320, 252],
                         "area": 9216, "region": [128, 0, 512, 360], "score": 0.84,
                         "attributes": []},
            "label": self.label, "sub_label": None, "top_score": 0.91, "false_positive": False,
            "start_time": self.start, "end_time": self.end, "score": 0.84,
            "box": [256, 108, 320, 252], "area": 9216, "ratio": 0.44,
            "region": [128, 0, 512, 360], "active": True, "stationary": False,
            "motionless_count": 0, "position_changes": 1, "current_zones": ["yard"],
            "entered_zones": ["yard"], "has_clip": True, "has_snapshot": True, "attributes": {},
            "current_attributes": [], "pending_loitering": False, "max_severity": "alert",
            "path_data": [[[0.4, 0.7], self.start], [[0.6, 0.7], self.end - 2.0]],
        }  # fmt: skip
        return {"type": "end", "before": after | {"end_time": None}, "after": after}


class Frigate:
    """Serves its API on a free port of loopback, and publishes to the broker on the port `broker`.

    `events` are all events so far by id. `sent` has each file that it has sent: by its SHA-256 in
    hex the id of its event and its kind.
    """

    def __init__(self, broker: int) -> None:
        self.events: dict[str, Event] = {}
        self.sent: dict[str, tuple[str, str]] = {}
        self._begun = int(time.time()) - HISTORY
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.will_set("frigate/available", "offline", 1, retain=True)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.connect_async("127.0.0.1", broker)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._server.shutdown()
        self._server.server_close()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._client.is_connected()

    def ends(self, camera: str, label: str) -> Event:
        """Lets an event end now. As Frigate, it publishes that only if the broker is there."""
        now = time.time()
        start = round(now - LENGTH, 6)
        letters = "".join(random.choices(string.ascii_lowercase + string.digits, k=6))
        event = Event(f"{start}-{letters}", camera, label, start, round(now, 6))
        self.events[event.id] = event
        if self.is_connected:
            self._client.publish("frigate/events", json.dumps(event.message()))
        return event

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.publish("frigate/available", "online", 1, retain=True)

    # -- answers

    def answer(self, path: str, asked: Mapping[str, str]) -> bytes | None:
        """Returns the answer to a question, or None if Frigate has none. `asked` are the parameters
        of the question."""
        match path.strip("/").split("/"):
            case ["api", "version"]:
                return VERSION.encode()
            case ["api", "events"]:
                return json.dumps(self._list(asked)).encode()
            case ["api", "event_ids"]:
                events = self._named(asked["ids"])
                return json.dumps([event.row() for event in events]).encode()
            case ["api", "timeline"]:
                events = self._named(asked["source_id"])
                return json.dumps([row for event in events for row in event.moments()]).encode()
            case ["api", "review"]:
                return json.dumps(self._reviews(asked)).encode()
            case ["api", "events", event_id, "snapshot.jpg"] if event_id in self.events:
                return self._noted(self.events[event_id], "snapshot", self._snapshot(event_id))
            case ["api", _, "recordings"]:
                return json.dumps(self._recordings(asked)).encode()
            case ["api", camera, "start", since, "end", until, "clip.mp4"]:
                return self._clip(camera, float(since), float(until))
        return None

    def _list(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        after, before = float(asked.get("after", 0)), float(asked.get("before", "inf"))
        rows = [event.row() for event in self.events.values() if after < event.start < before]
        rows.sort(key=lambda row: -row["start_time"])
        chosen = rows[: int(asked.get("limit", 100))]
        return [{name: row[name] for name in OF_LISTS} for row in chosen]

    def _named(self, ids: str) -> list[Event]:
        return [self.events[one] for one in ids.split(",") if one in self.events]

    def _reviews(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        after, before = float(asked.get("after", 0)), float(asked.get("before", "inf"))
        rows = [event.review() for event in self.events.values()]
        return [row for row in rows if row["start_time"] < before and row["end_time"] > after]

    def _recordings(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """Returns the segments that have ended by now."""
        after, before = float(asked["after"]), float(asked["before"])
        return [
            {"id": f"{start}.0-segmen", "start_time": start, "end_time": start + SEGMENT,
             "segment_size": 0.03, "motion": 14, "objects": 1, "duration": float(SEGMENT)}
            for start in range(self._begun, self._recorded(), SEGMENT)
            if start + SEGMENT >= after and start <= before
        ]  # fmt: skip

    def _recorded(self) -> int:
        """Returns when the last segment ended."""
        return self._begun + (int(time.time()) - self._begun) // SEGMENT * SEGMENT

    # -- files

    def _noted(self, event: Event, kind: str, body: bytes) -> bytes:
        self.sent[hashlib.sha256(body).hexdigest()] = (event.id, kind)
        return body

    def _snapshot(self, event_id: str) -> bytes:
        """Returns the camera's picture, with the id in a comment that makes it the event's own."""
        picture = (CAMERAS / f"{self.events[event_id].camera}.jpg").read_bytes()
        note = event_id.encode()
        return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + picture[2:]

    def _clip(self, camera: str, since: float, until: float) -> bytes | None:
        """Returns as many seconds of the camera's recording as this span has. As Frigate, it cuts
        the times to whole seconds. A box that no player reads makes the clip the event's own."""
        events = [event for event in self.events.values() if event.camera == camera]
        seconds = min(int(until), self._recorded()) - int(since)
        if not events or seconds <= 0:
            return None
        event = min(events, key=lambda event: abs(event.start - PADDING - since))
        boxes = list(_boxes((CAMERAS / f"{camera}.mp4").read_bytes()))
        shown = boxes[: 2 + 2 * seconds]  # ftyp and moov, then moof and mdat for each second
        note = event.id.encode()
        shown.append(struct.pack(">I4s", 8 + len(note), b"free") + note)
        return self._noted(event, "clip", b"".join(shown))


def _boxes(movie: bytes) -> Iterator[bytes]:
    """Yields the boxes of an mp4 file."""
    while movie:
        (size,) = struct.unpack_from(">I", movie)
        yield movie[:size]
        movie = movie[size:]


def _handler(frigate: Frigate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = frigate.answer(parts.path, dict(parse_qsl(parts.query)))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *words: object) -> None:
            pass

    return Handler
