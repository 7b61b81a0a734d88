"""The report on a real broker, also on one that is away, mute or forgetful."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.report import publisher
from frigate_mirror.report.publisher import Publisher
from frigate_mirror.report.status import Status
from frigate_mirror.settings import settings
from tests.rig.broker import Broker
from tests.rig.waiting import until
from tests.test_status import status

IDENTITY = "frigate-mirror-12345678"
STATUS, AVAILABILITY = "frigate-mirror/attic/status", "frigate-mirror/attic/availability"
DISCOVERY = f"homeassistant/device/{IDENTITY}/config"


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as started:
        yield started


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


class Reader:
    """Reads all that is published. `retained` has what the broker kept for it, `heard` the payloads
    of each topic in their order."""

    def __init__(self, broker: Broker, topics: str = "#") -> None:
        self.retained: dict[str, bytes] = {}
        self.heard: dict[str, list[bytes]] = {}
        self._granted = threading.Event()
        self.client = client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = self._on_message
        client.on_subscribe = lambda *_: self._granted.set()
        client.connect(broker.host, broker.port)
        client.loop_start()
        client.subscribe(topics, 1)
        assert self._granted.wait(20)

    def _on_message(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        if message.retain:
            self.retained[message.topic] = message.payload
        self.heard.setdefault(message.topic, []).append(message.payload)

    def last(self, topic: str) -> bytes:
        return self.heard.get(topic, [b""])[-1]

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def read(broker: Broker) -> Iterator[Callable[[], Reader]]:
    readers: list[Reader] = []

    def reader() -> Reader:
        readers.append(Reader(broker))
        return readers[-1]

    yield reader
    for one in readers:
        one.stop()


class Teller:
    """A publisher with a clock of its own. `newest` is the status that it finds."""

    def __init__(self, environ: dict[str, str], ledger: Ledger) -> None:
        loaded = settings.load({"MIRROR_NAME": "attic", "MIRROR_REPORT_MQTT": "true", **environ})
        self.now = 1000.0
        self.newest: Status | None = status()
        self.part = Publisher(
            loaded.report,
            loaded.mqtt,
            IDENTITY,
            lambda: self.newest,
            lambda found: {"status": found.health, "pid": found.pid},
            ledger,
            clock=lambda: self.now,
        )

    def tells(self, pid: int, reader: Reader) -> None:
        """Publishes a status with this process id, as soon as it may, and waits for its arrival."""
        self.newest = status(pid=pid)
        self.now += publisher.APART
        self.publishes_until(lambda: pid_in(reader.last(STATUS)) == pid)

    def publishes_until(self, condition: Callable[[], bool]) -> None:
        """Calls the part's task until the condition is true."""

        def holds() -> bool:
            self.part.publish()
            return condition()

        until(holds)


def pid_in(payload: bytes) -> int:
    return int(json.loads(payload)["pid"]) if payload else 0


Begin = Callable[..., Teller]


@pytest.fixture
def begin(broker: Broker, ledger: Ledger) -> Iterator[Begin]:
    begun: list[Teller] = []

    def teller(**environ: str) -> Teller:
        begun.append(Teller(broker.environ | environ, ledger))
        return begun[-1]

    yield teller
    for one in begun:
        one.part.finish()


def test_the_report_is_retained_for_who_comes_later(
    begin: Begin, read: Callable[[], Reader]
) -> None:
    teller, first = begin(), read()
    teller.tells(1, first)
    later = read()
    until(lambda: STATUS in later.retained and AVAILABILITY in later.retained)
    assert json.loads(later.retained[STATUS]) == {"status": "OK", "pid": 1}
    assert later.retained[AVAILABILITY] == b"online"
    assert not any(topic.startswith("homeassistant/") for topic in first.heard)


def test_there_are_ten_seconds_between_two_reports_and_the_newest_one_counts(
    begin: Begin, read: Callable[[], Reader]
) -> None:
    teller, reader = begin(), read()
    teller.tells(1, reader)
    teller.now += publisher.APART - 1
    for pid in (2, 3):
        teller.newest = status(pid=pid)
        teller.part.publish()
    teller.now += 1
    teller.publishes_until(lambda: pid_in(reader.last(STATUS)) == 3)
    assert [pid_in(one) for one in reader.heard[STATUS]] == [1, 3]


def test_the_same_status_is_not_published_twice(begin: Begin, read: Callable[[], Reader]) -> None:
    teller, reader = begin(), read()
    teller.tells(1, reader)
    for _ in range(5):
        teller.now += publisher.APART
        teller.part.publish()
    teller.tells(2, reader)
    assert [pid_in(one) for one in reader.heard[STATUS]] == [1, 2]


def test_who_stops_is_offline(begin: Begin, read: Callable[[], Reader]) -> None:
    teller, reader = begin(), read()
    teller.tells(1, reader)
    teller.part.finish()
    until(lambda: reader.last(AVAILABILITY) == b"offline")


def test_the_broker_says_offline_for_who_vanishes(
    begin: Begin, read: Callable[[], Reader], broker: Broker
) -> None:
    teller = begin()
    teller.tells(1, read())
    broker.cut_off()
    assert broker.process
    broker.come_back()
    reader = read()
    until(lambda: b"offline" in reader.heard.get(AVAILABILITY, []))
    until(lambda: reader.last(AVAILABILITY) == b"online")


def test_a_broker_that_has_forgotten_everything_gets_it_again(
    begin: Begin, read: Callable[[], Reader], broker: Broker
) -> None:
    teller = begin(MIRROR_HOME_ASSISTANT="true")
    teller.tells(1, read())
    broker.restart(forget=True)
    reader = read()
    teller.now += publisher.APART  # the status is still the same
    teller.publishes_until(lambda: {STATUS, AVAILABILITY, DISCOVERY} <= set(reader.heard))


def test_home_assistant_gets_its_message_and_gets_it_again_when_it_starts(
    begin: Begin, read: Callable[[], Reader]
) -> None:
    teller, reader = begin(MIRROR_HOME_ASSISTANT="true"), read()
    teller.tells(1, reader)
    until(lambda: DISCOVERY in reader.heard)
    message = json.loads(reader.last(DISCOVERY))
    assert (message["state_topic"], message["availability"]) == (STATUS, [{"topic": AVAILABILITY}])
    reader.client.publish("homeassistant/status", "offline", 1)
    reader.client.publish("homeassistant/status", "online", 1)
    until(lambda: len(reader.heard[DISCOVERY]) == 2)
    later = read()
    until(lambda: DISCOVERY in later.retained)


def test_home_assistant_may_have_another_prefix(begin: Begin, read: Callable[[], Reader]) -> None:
    teller = begin(MIRROR_HOME_ASSISTANT="true", MIRROR_HOME_ASSISTANT_PREFIX="home")
    reader = read()
    teller.tells(1, reader)
    until(lambda: f"home/device/{IDENTITY}/config" in reader.heard)
    reader.client.publish("home/status", "online", 1)
    until(lambda: len(reader.heard[f"home/device/{IDENTITY}/config"]) == 2)


def test_what_an_earlier_name_has_left_at_the_broker_is_deleted(
    begin: Begin, read: Callable[[], Reader]
) -> None:
    earlier = begin(MIRROR_HOME_ASSISTANT="true", MIRROR_NAME="cellar")
    old = read()
    earlier.publishes_until(lambda: "frigate-mirror/cellar/status" in old.heard)
    earlier.part.finish()
    teller, reader = begin(), read()
    teller.tells(1, reader)
    until(lambda: reader.last(DISCOVERY) == b"" and DISCOVERY in reader.heard)
    later = read()
    until(lambda: {STATUS, AVAILABILITY} <= set(later.retained))
    assert set(later.retained) == {STATUS, AVAILABILITY}


# -- a broker that does not do what it should


class Mute:
    """A server that accepts every connection and says `greeting` once, and nothing more."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._greeting = greeting
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.got = b""
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client = self._server.accept()[0]
                self._open.append(client)
                threading.Thread(target=self._listen, args=(client,), daemon=True).start()

    def _listen(self, client: socket.socket) -> None:
        with suppress(OSError):
            if client.recv(1):
                client.sendall(self._greeting)
            while data := client.recv(65_536):
                self.got += data

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._open:
            one.close()


ACCEPTED = b"\x20\x02\x00\x00"  # CONNACK


@pytest.mark.parametrize("greeting", [b"", ACCEPTED], ids=["never answers", "confirms nothing"])
def test_a_mute_broker_costs_neither_time_nor_memory_and_is_a_trouble(
    greeting: bytes, ledger: Ledger
) -> None:
    mute = Mute(greeting)
    teller = Teller({"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mute.port)}, ledger)
    try:
        teller.part.publish()
        if greeting:
            teller.publishes_until(lambda: STATUS.encode() in mute.got)
        longest = 0.0
        for pid in range(200):
            teller.now += publisher.APART
            teller.newest = status(pid=pid)
            began = time.monotonic()
            teller.part.publish()
            longest = max(longest, time.monotonic() - began)
        assert longest < 1.0
        assert mute.got.count(b'"pid"') <= 1, "only one report is ever on its way"
        [trouble] = teller.part.troubles()
        assert f"127.0.0.1:{mute.port} takes no report" in trouble
        began = time.monotonic()
        teller.part.finish()
        assert time.monotonic() - began < 10
    finally:
        mute.close()


def test_a_broker_that_is_away_is_a_trouble_after_a_minute_and_no_longer_when_it_is_back(
    begin: Begin, read: Callable[[], Reader], broker: Broker
) -> None:
    teller = begin()
    teller.tells(1, read())
    assert teller.part.troubles() == []
    broker.cut_off()

    def told() -> list[str]:
        teller.now += publisher.PATIENCE + 1
        return teller.part.troubles()

    until(told)
    broker.come_back()
    teller.tells(2, read())
    until(lambda: teller.part.troubles() == [])


def test_without_a_status_nothing_is_published(begin: Begin, read: Callable[[], Reader]) -> None:
    teller, reader = begin(), read()
    teller.newest = None
    teller.publishes_until(lambda: reader.last(AVAILABILITY) == b"online")
    teller.now += publisher.APART
    teller.part.publish()
    teller.tells(7, reader)
    assert [pid_in(one) for one in reader.heard[STATUS]] == [7]
