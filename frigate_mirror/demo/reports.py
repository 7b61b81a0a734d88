"""What the demo shows of the reports: what is retained at the broker, and the pages."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

from frigate_mirror.demo.servers import wait_until

TOPICS = ("frigate-mirror/#", "homeassistant/#")
SHOWN = ("status", "last_sync", "duration", "last_upload", "backlog", "failed", "lost", "today")
METRICS = re.compile(
    r"^frigate_mirror_(?:health\{health=\"OK\"\}|last_success_\w+|pending_files\{kind=\"clip\"\}"
    r"|upload_attempts_total\{result=\"success\"\}|uploaded_bytes_total|destination_up) .*$",
    re.M,
)


class Listener:
    """Reads what is retained at the broker. `found` has the payloads by their topics."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.found: dict[str, bytes] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(topic, 1) for topic in TOPICS])
        self._client.loop_start()

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        self.found[message.topic] = message.payload

    def report(self, name: str, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits for the report of a companion for which `is_it` is true. Raises DemoFailed."""
        topic = f"frigate-mirror/{name}/status"

        def has_come() -> bool:
            return topic in self.found and is_it(json.loads(self.found[topic]))

        wait_until(has_come, f"the report of {name} is at the broker")
        found: dict[str, Any] = json.loads(self.found[topic])
        return found

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def fields_of(report: dict[str, Any]) -> list[str]:
    """Returns some of the report's fields, a line each."""
    lines = [f'"{name}": {json.dumps(report[name])}' for name in SHOWN]
    lines += [
        f'"cameras": {{"{camera}": {{"uploaded": {states["uploaded"]}, ...}}, ...}}'
        for camera, states in sorted(report["cameras"].items())[:1]
    ]
    return [*lines, f'"storage": {json.dumps(report["storage"])}']


def page(port: int, path: str) -> str:
    """Returns a page. Raises OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def metrics_of(text: str) -> list[str]:
    """Returns some of the lines of the page /metrics."""
    return METRICS.findall(text)
