"""Notices over MQTT, to the topic `frigate-mirror/NAME/notice`.

Notices are rare, so each has a connection of its own, and `notify --test` needs no running mirror.
They are not retained: whoever comes later would take an old one for news.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from frigate_mirror.broker import KEEPALIVE, client_of
from frigate_mirror.notify.notice import Notice
from frigate_mirror.notify.way import NotSent
from frigate_mirror.settings.settings import MqttSettings
from frigate_mirror.untrusted import plain

WITHIN = 15.0  # seconds for the whole of it


class Mqtt:
    """The broker of `settings`. See `Way`. A notice counts as sent once the broker has confirmed
    it. `name` is the owner's name for this mirror."""

    name = "mqtt"

    def __init__(self, settings: MqttSettings, name: str) -> None:
        self._settings = settings
        self._topic = f"frigate-mirror/{name}/notice"

    def send(self, notice: Notice) -> None:
        host, port = self._settings.host, self._settings.port
        until, why = time.monotonic() + WITHIN, "it does not confirm the notice"

        def refused(_: paho.Client, __: Any, ___: Any, reason: ReasonCode, ____: Any) -> None:
            nonlocal why
            if reason.is_failure:
                why = f"it refuses the connection: {reason}"

        try:
            client_id = f"frigate-mirror-notice-{secrets.token_hex(4)}"
            client = client_of(self._settings, client_id, clean=True)
            client.connect_timeout = WITHIN
            client.on_connect = refused
            client.connect(host, port, KEEPALIVE)
            told = client.publish(self._topic, json.dumps(asdict(notice)).encode(), 1)
            while not told.is_published() and time.monotonic() < until and not client.loop(0.5):
                pass
            client.disconnect()
        except (OSError, ValueError, RuntimeError) as error:
            raise NotSent(f"the MQTT broker {host}:{port}: {plain(str(error))}") from None
        if not told.is_published():
            raise NotSent(f"the MQTT broker {host}:{port}: {plain(why)}")
