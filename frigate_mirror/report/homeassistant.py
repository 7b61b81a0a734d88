"""Home Assistant: the message that makes it show the report as one device.

The form is that of device-based MQTT discovery, which Home Assistant knows since 2024.12:
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

from typing import Any

from frigate_mirror import __version__

EXPIRES = 90  # seconds without a report, which is published every 10 to 15
ORIGIN = "frigate-s3-mirror"


def topic_of(prefix: str, identity: str) -> str:
    """Returns the topic of the message. `identity` has letters, digits and hyphens."""
    return f"{prefix}/device/{identity}/config"


def birth_topic(prefix: str) -> str:
    """Returns the topic where Home Assistant says `online` when it starts."""
    return f"{prefix}/status"


def message(identity: str, name: str, status_topic: str, availability_topic: str) -> dict[str, Any]:
    """Returns the message for the mirror `name`. Its `identity` stays the same for ever, so that a
    new name makes no new device."""
    return {
        "device": {
            "identifiers": [identity],
            "name": f"Frigate mirror {name}",
            "manufacturer": ORIGIN,
            "model": "Mirror of Frigate's events",
            "sw_version": __version__,
        },
        "origin": {"name": ORIGIN, "sw_version": __version__},
        "state_topic": status_topic,
        "availability": [{"topic": availability_topic}],
        "qos": 1,
        "components": {
            key: {"unique_id": f"{identity}_{key}", "expire_after": EXPIRES, **component}
            for key, component in _COMPONENTS.items()
        },
    }


_COUNT = {"platform": "sensor", "state_class": "measurement", "unit_of_measurement": "files"}
_COMPONENTS: dict[str, dict[str, Any]] = {
    "problem": {
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.problem else 'OFF' }}",
    },
    "health": {
        "platform": "sensor",
        "name": "Health",
        "device_class": "enum",
        "options": ["OK", "DEGRADED", "UNKNOWN", "DOWN"],
        "icon": "mdi:cloud-check",
        "value_template": "{{ value_json.status }}",
    },
    "reason": {
        "platform": "sensor",
        "name": "Reason",
        "icon": "mdi:message-alert",
        # A state of Home Assistant has at most 255 letters.
        "value_template": "{{ (value_json.reasons | first | default('none', true))[:255] }}",
        "entity_category": "diagnostic",
    },
    "last_upload": {
        "platform": "sensor",
        "name": "Last upload",
        "device_class": "timestamp",
        "value_template": "{{ value_json.last_upload }}",
    },
    "backlog": {
        **_COUNT,
        "name": "Backlog",
        "icon": "mdi:tray-full",
        "value_template": "{{ value_json.backlog }}",
    },
    "behind": {
        "platform": "sensor",
        "name": "Behind",
        "device_class": "duration",
        "state_class": "measurement",
        "unit_of_measurement": "s",
        "value_template": "{{ value_json.behind }}",
    },
    "failures": {
        **_COUNT,
        "name": "Failures",
        "icon": "mdi:alert-circle",
        "value_template": "{{ value_json.failed }}",
    },
    "lost": {
        **_COUNT,
        "name": "Lost",
        "icon": "mdi:file-remove",
        "value_template": "{{ value_json.lost }}",
    },
    "bytes_today": {
        "platform": "sensor",
        "name": "Uploaded today",
        "device_class": "data_size",
        "state_class": "total_increasing",
        "unit_of_measurement": "B",
        "suggested_display_precision": 0,
        "value_template": "{{ value_json.today.bytes }}",
    },
}
"""What Home Assistant shows, each with the template that takes it out of the report."""
