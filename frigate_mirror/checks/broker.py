"""Checks the MQTT broker as the companion uses it: the connection, the login, the right to read
Frigate's topics, and whether Frigate publishes there."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from frigate_mirror.broker import client_of
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.frigate.config import Publishing
from frigate_mirror.settings.settings import MqttSettings
from frigate_mirror.sources.mqtt import TOPICS
from frigate_mirror.untrusted import plain

CONNECT = 10.0  # seconds
ANSWER = 10.0  # seconds
RETAINED = 2.0  # seconds; a broker sends what it has retained together with its answer
KEEPALIVE = 60  # seconds
LOGIN = "correct MQTT_USER and MQTT_PASSWORD"
QOS = (
    "set `mqtt: qos: 1` in Frigate's configuration: then the broker keeps the messages while the "
    "companion is away. Without it the sweep finds these events, later"
)


def broker(
    settings: MqttSettings, frigate: Publishing | None, interval: float
) -> Iterator[Finding]:
    """Tries the broker. `frigate` is what Frigate's own settings say of MQTT, or None if they
    cannot be read; `interval` is the sweep's, in seconds."""
    if not settings.host:
        at_frigate = f"; Frigate's own is {frigate.host}" if frigate and frigate.enabled else ""
        yield Finding(
            NOTE,
            "MQTT_HOST is not set, so new events are found by the sweep only, every "
            f"{interval:g} s",
            f"set MQTT_HOST to the broker to which Frigate publishes{at_frigate}",
        )
        return
    yield from _tried(settings)
    if frigate is None:
        what = "it is unknown with which QoS Frigate publishes: its settings cannot be read"
        yield Finding(NOTE, what, QOS)
    else:
        yield from _frigates(settings, frigate)


def for_report(settings: MqttSettings) -> Iterator[Finding]:
    """Tries the broker as a mirror does that only publishes its report there."""
    yield from _tried(settings, listens=False)


def _frigates(settings: MqttSettings, frigate: Publishing) -> Iterator[Finding]:
    """Compares Frigate's own settings of MQTT with ours."""
    if not frigate.enabled:
        advice = "set `mqtt: enabled: true` and the broker in Frigate's configuration"
        yield Finding(FAULT, "MQTT_HOST is set, and Frigate publishes to no broker", advice)
        return
    if frigate.topic_prefix != settings.topic_prefix:
        yield Finding(
            FAULT,
            f"MQTT_TOPIC_PREFIX is {settings.topic_prefix}, and Frigate publishes under "
            f"{frigate.topic_prefix}",
            f"set MQTT_TOPIC_PREFIX={frigate.topic_prefix}",
        )
    if frigate.qos:
        yield Finding(OK, f"Frigate publishes with QoS {frigate.qos}")
    else:
        yield Finding(NOTE, "Frigate publishes with QoS 0", QOS)


def _tried(settings: MqttSettings, *, listens: bool = True) -> Iterator[Finding]:
    """Connects and, if the mirror listens there, subscribes and waits for what Frigate has left at
    the broker."""
    where = f"MQTT broker {settings.host}:{settings.port}"
    visit = _Visit()
    try:
        client = client_of(settings, f"frigate-mirror-check-{secrets.token_hex(4)}", clean=True)
        client.connect_timeout = CONNECT
        visit.watch(client)
        client.connect(settings.host, settings.port, KEEPALIVE)
    except (OSError, ValueError) as error:
        said = plain(str(error) or type(error).__name__)
        yield Finding(FAULT, f"{where}: {said}", _advice(settings, error))
        return
    client.loop_start()
    try:
        if not visit.answered.wait(ANSWER):
            yield Finding(FAULT, f"{where}: it does not answer", _other_port(settings))
        elif visit.refusal:
            advice = LOGIN if visit.spoke else f"{LOGIN}, or {_other_port(settings)}"
            yield Finding(FAULT, f"{where}: {plain(visit.refusal)}", advice)
        else:
            whose = f"the login of {settings.user!r}" if settings.user else "a client without login"
            yield Finding(OK, f"{where} accepts {whose}{', over TLS' if settings.tls else ''}")
            if listens:
                yield from _subscribed(where, settings, client, visit)
    finally:
        client.disconnect()
        client.loop_stop()


def _subscribed(
    where: str, settings: MqttSettings, client: paho.Client, visit: _Visit
) -> Iterator[Finding]:
    topics = [f"{settings.topic_prefix}/{name}" for name in TOPICS]
    client.subscribe([(topic, 1) for topic in topics])
    if not visit.granted.wait(ANSWER):
        yield Finding(
            FAULT, f"the MQTT broker does not answer whether {', '.join(topics)} may be read"
        )
        return
    pairs = zip(topics, visit.reasons, strict=False)
    if refused := [topic for topic, reason in pairs if reason.is_failure]:
        what = f"{where} does not let this user read {', '.join(refused)}"
        yield Finding(FAULT, what, "allow this user to read them (a broker calls this an ACL)")
    else:
        # mosquitto accepts every subscription, and then withholds what the user may not read.
        yield Finding(OK, f"{where} accepts the subscription to {', '.join(topics)}")
    available = f"{settings.topic_prefix}/available"
    if available in refused:
        return
    if not visit.told.wait(RETAINED):
        yield Finding(
            NOTE,
            f"nothing that Frigate publishes can be seen at this broker: {available} is not there",
            "compare MQTT_TOPIC_PREFIX and MQTT_HOST with `mqtt:` in Frigate's configuration, and "
            f"allow this user to read {settings.topic_prefix}/#",
        )
    elif visit.available == "online":
        yield Finding(OK, f"Frigate publishes at this broker ({available} is online)")
    else:
        what = f"{available} is {plain(visit.available, 40)}"
        yield Finding(NOTE, what, "start Frigate, or see why it cannot reach this broker")


@dataclass
class _Visit:
    """What the broker has answered. paho's thread fills it in."""

    refusal: str = ""
    spoke: bool = False
    available: str = ""

    def __post_init__(self) -> None:
        self.answered = threading.Event()
        self.granted = threading.Event()
        self.told = threading.Event()
        self.reasons: list[ReasonCode] = []

    def watch(self, client: paho.Client) -> None:
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def _on_connect(self, client: Any, _: Any, flags: Any, reason: ReasonCode, *__: Any) -> None:
        self.spoke = True
        if reason.is_failure:
            self.refusal = f"it refuses the connection: {reason}"
        self.answered.set()

    def _on_disconnect(self, *_: Any) -> None:
        # Some brokers refuse a login without a word.
        if not self.answered.is_set():
            self.refusal = "it ends the connection without an answer"
            self.answered.set()

    def _on_subscribe(
        self, client: Any, _: Any, number: int, reasons: list[ReasonCode], *__: Any
    ) -> None:
        self.reasons = reasons
        self.granted.set()

    def _on_message(self, client: Any, _: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/available"):
            self.available = message.payload.decode("utf-8", "replace")
            self.told.set()


def _advice(settings: MqttSettings, error: Exception) -> str:
    """Returns what the owner can do about a connection that fails."""
    if isinstance(error, socket.gaierror):
        return "correct MQTT_HOST: this machine finds no host of this name"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "set MQTT_CA_BUNDLE to the certificate that signed the broker's, and MQTT_HOST to a "
            "name that the broker's certificate has"
        )
    if isinstance(error, ssl.SSLError) and re.search("CERT|KEY", str(error)):
        return "correct MQTT_CA_BUNDLE, MQTT_CLIENT_CERT and MQTT_CLIENT_KEY"
    if isinstance(error, ssl.SSLError):
        return _other_port(settings)
    return "start the broker, or correct MQTT_HOST and MQTT_PORT"


def _other_port(settings: MqttSettings) -> str:
    if settings.tls:
        return "set MQTT_TLS=false and MQTT_PORT if the broker speaks no TLS at this port"
    return "set MQTT_TLS=true and MQTT_PORT if the broker speaks TLS at this port"
