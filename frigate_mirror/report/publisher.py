"""Publisher: the report on an MQTT broker, and what makes Home Assistant show it.

    frigate-mirror/NAME/status          the report, retained
    frigate-mirror/NAME/availability    online or offline, retained; the broker says offline if the
                                        mirror vanishes

It has a connection and a thread of its own, so no upload and no event waits for the broker. There
is never more than one report on its way: a broker that accepts the connection and answers nothing
costs one message of memory, and when it answers again it gets the newest report.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import paho.mqtt.client as paho

from frigate_mirror.broker import Link
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.part import Part, Task
from frigate_mirror.report import homeassistant
from frigate_mirror.report.status import Status
from frigate_mirror.settings.settings import MqttSettings, ReportSettings
from frigate_mirror.untrusted import plain

LOOK_EVERY = 1.0  # seconds
APART = 10.0  # seconds between two reports
PATIENCE = 60.0  # seconds for which the broker may be away, or owe an answer
TOPICS_NOTE = "report topics"
OWN = "frigate-mirror"  # begins our topics


class Publisher(Part):
    """Publishes what `make` makes of the status that `newest` returns, as soon as there is a new
    one and APART seconds have passed. `identity` names this mirror for ever, at the broker and to
    Home Assistant. `clock` gives seconds that never go back."""

    def __init__(
        self,
        settings: ReportSettings,
        broker: MqttSettings,
        identity: str,
        newest: Callable[[], Status | None],
        make: Callable[[Status], Mapping[str, Any]],
        ledger: Ledger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects nothing yet. Raises OSError if a certificate cannot be read."""
        self._newest = newest
        self._make = make
        self._ledger = ledger
        self._clock = clock
        self._status_topic = f"{OWN}/{settings.name}/status"
        available = f"{OWN}/{settings.name}/availability"
        self._discovery: dict[str, bytes] = {}
        self._birth = ""
        if settings.home_assistant:
            prefix = settings.home_assistant_prefix
            told = homeassistant.message(identity, settings.name, self._status_topic, available)
            self._discovery[homeassistant.topic_of(prefix, identity)] = json.dumps(told).encode()
            self._birth = homeassistant.birth_topic(prefix)
        self._topics = [self._status_topic, available, *self._discovery]
        self._swept = False
        self._told: Status | None = None
        self._told_at = -math.inf
        self._under_way: paho.MQTTMessageInfo | None = None
        client_id = f"{broker.client_id or identity}-report"
        self._link = Link(
            broker,
            client_id,
            available,
            clean=True,
            on_up=self._on_up,
            called="S3 report",
            clock=clock,
        )
        self._link.client.on_message = self._on_message
        self._started = False

    def tasks(self) -> list[Task]:
        return [Task("report", LOOK_EVERY, self.publish)]

    def publish(self) -> None:
        """Publishes the newest status if it is time to. It never waits for the broker."""
        if not self._started:
            self._started = True
            self._link.start()
        status = self._newest()
        if not self._link.is_up or status is None or status is self._told:
            return
        if _is_open(self._under_way) or self._clock() - self._told_at < APART:
            return
        self._clear_earlier_topics()
        self._under_way = self._send(self._status_topic, json.dumps(self._make(status)).encode())
        self._told, self._told_at = status, self._clock()

    def _send(self, topic: str, payload: bytes) -> paho.MQTTMessageInfo:
        return self._link.client.publish(topic, payload, 1, retain=True)

    def _clear_earlier_topics(self) -> None:
        """Deletes, once, what is retained under topics that the mirror used with other settings: an
        owner who changes its name must not see two mirrors, one of them dead."""
        if self._swept:
            return
        try:
            earlier = self._ledger.note(TOPICS_NOTE).split("\n")
            for topic in filter(None, earlier):
                if topic not in self._topics:
                    self._send(topic, b"")
            if earlier != self._topics:
                self._ledger.set_note(TOPICS_NOTE, "\n".join(self._topics))
        except LedgerError:  # others tell of it, and this is tried again
            return
        self._swept = True

    # -- the network thread

    def _on_up(self) -> None:
        self._told = None  # the broker may have lost what it retained
        if self._birth:
            self._link.client.subscribe(self._birth, 1)
        self._discover()

    def _on_message(self, client: Any, _: Any, message: paho.MQTTMessage) -> None:
        if message.topic == self._birth and message.payload == b"online":
            self._discover()

    def _discover(self) -> None:
        for topic, payload in self._discovery.items():
            self._send(topic, payload)

    # -- the part

    def troubles(self) -> list[str]:
        link = self._link
        if link.away_for(PATIENCE):
            why = plain(link.why)
        elif _is_open(self._under_way) and self._clock() - self._told_at > PATIENCE:
            why = "it does not confirm the last report"
        else:
            return []
        return [f"the MQTT broker {link.where} takes no report ({why}): nobody there sees this"]

    def finish(self) -> None:
        if self._started:
            self._link.finish()


def _is_open(sent: paho.MQTTMessageInfo | None) -> bool:
    """Returns whether the broker has not yet confirmed this message."""
    try:
        return sent is not None and not sent.is_published()
    except (RuntimeError, ValueError):  # it was never sent: the connection had ended
        return False
