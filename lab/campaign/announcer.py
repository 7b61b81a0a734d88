"""What Frigate publishes on its MQTT broker, for the companions of a run.

As Frigate does, it loses what it would publish while the broker is away. Its messages have the
fields that the mirror and other readers use; real ones have more.
"""

from __future__ import annotations

import json
import random
import secrets
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from lab.campaign.events import LETTERS, Event

PREFIX = "frigate"
AT_ONCE = 500  # messages of a flood between two pauses
UNKNOWN = 2_000  # ids of a flood that Frigate does not know
LONGEST = 30.0  # seconds for which a flood waits for the broker


class Announcer:
    """Publishes with the given quality of service, 0 or 1. It connects for ever again."""

    def __init__(self, host: str, port: int, qos: int) -> None:
        self._qos = qos
        self._client = _client(f"frigate-{secrets.token_hex(4)}")
        self._client.will_set(f"{PREFIX}/available", "offline", 1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.connect_async(host, port)
        self._client.loop_start()
        self._place = (host, port)
        self.lost = 0

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    def ended(self, event: Event) -> None:
        """Says that an event has ended. An event that was made by hand is named only by the review
        item that contains it."""
        if event.kind == "tracked":
            self._publish("events", _message("end", event.message()))
        else:
            item = {"id": f"{event.started}-review", "camera": event.camera, "severity": "alert",
                    "data": {"detections": [event.id], "objects": [event.label]}}  # fmt: skip
            self._publish("reviews", _message("update", item))

    def flood(self, count: int, rng: random.Random) -> None:
        """Publishes so many messages of which none is about an event of this run. Returns when the
        broker has taken them, or when it no longer takes any."""
        client = _client(f"flood-{secrets.token_hex(4)}")
        client.connect(*self._place)
        client.loop_start()
        ids = [f"{rng.uniform(1e9, 1.7e9):.6f}-{''.join(rng.choices(LETTERS, k=6))}"
               for _ in range(UNKNOWN)]  # fmt: skip
        for number in range(count):
            topic, payload = _noise(rng, ids)
            sent = client.publish(f"{PREFIX}/{topic}", payload, qos=0)
            if number % AT_ONCE == 0:
                sent.wait_for_publish(LONGEST)
        client.disconnect()
        client.loop_stop()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, payload: bytes) -> None:
        if self.is_connected:
            self._client.publish(f"{PREFIX}/{topic}", payload, self._qos)
        else:
            self.lost += 1

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.publish(f"{PREFIX}/available", "online", 1, retain=True)


def _client(name: str) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.reconnect_delay_set(1, 2)
    return client


def _message(kind: str, after: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "before": after, "after": after}).encode()


def _noise(rng: random.Random, ids: list[str]) -> tuple[str, bytes]:
    """Returns the topic and the payload of one message of a flood: most are updates, as in
    Frigate, some end an event that nobody knows, and some are no messages of Frigate."""
    about = {"id": rng.choice(ids), "camera": "garage", "label": "car",
             "path_data": [[0.5, 0.5]] * rng.randrange(40)}  # fmt: skip
    match rng.randrange(20):
        case 0:
            return "events", rng.randbytes(rng.randrange(2_000))
        case 1:
            return "events", _message("end", {"id": rng.choice(("", "../x", "a" * 500, None))})
        case 2 | 3:
            return "events", _message("end", about)
        case 4:
            return "reviews", _message("end", {"data": {"detections": rng.sample(ids, 5)}})
        case _:
            return "events", _message("update", about)
