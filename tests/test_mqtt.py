"""MQTT as a source: real messages of Frigate over a real broker."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from frigate_mirror.broker import Watcher
from frigate_mirror.settings import settings
from frigate_mirror.sources import mqtt
from frigate_mirror.sources.mqtt import Mqtt, ids_in
from tests.rig.broker import Broker
from tests.rig.waiting import until

FIRST, SECOND = "1764151200.123456-abc123", "1764151260.5-def456"


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as started:
        yield started


class Frigate:
    """Publishes as Frigate does."""

    def __init__(self, broker: Broker) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()

    def says(self, topic: str, document: Any, *, qos: int = 1, retain: bool = False) -> None:
        payload = document if isinstance(document, str | bytes) else json.dumps(document)
        told = self.client.publish(f"frigate/{topic}", payload, qos, retain)
        told.wait_for_publish(20)

    def ends(self, event_id: str, **options: Any) -> None:
        self.says("events", ended(event_id), **options)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def ended(event_id: str) -> dict[str, Any]:
    return {"type": "end", "before": {"id": event_id}, "after": {"id": event_id}}


@dataclass
class Ear:
    """A source that listens, with what it told the mirror. The ledger knows the events in
    `known`."""

    broker: Broker
    client_id: str = "ear"
    password: str = ""
    known: set[str] = field(default_factory=set)
    caught_up: int = 0
    now: float = 100.0

    def __post_init__(self) -> None:
        self.source = self.listening()

    def listening(self) -> Mqtt:
        environ = dict(self.broker.environ)
        if self.password:
            environ["MQTT_PASSWORD"] = self.password
        return Mqtt(
            settings.load(environ).mqtt,
            self.client_id,
            lacks=self.lacks,
            catch_up=self.catch_up,
            clock=lambda: self.now,
        )

    def lacks(self, ids: Collection[str]) -> Collection[str]:
        return set(ids) - self.known

    def catch_up(self) -> None:
        self.caught_up += 1

    def start(self) -> Ear:
        self.source.start()
        until(lambda: self.caught_up > 0)
        return self

    def hears(self) -> list[str]:
        """Returns the ids that the source offers now."""
        self.now += 1.0
        return self.source.ids(0.05)

    def waits(self, wanted: Callable[[list[str]], bool] = bool) -> list[str]:
        found: list[str] = []

        def heard() -> bool:
            found.extend(one for one in self.hears() if one not in found)
            return wanted(found)

        until(heard)
        return found


@pytest.fixture
def ear(broker: Broker) -> Iterator[Ear]:
    made = Ear(broker).start()
    yield made
    made.source.finish()


@pytest.fixture
def frigate(broker: Broker) -> Iterator[Frigate]:
    made = Frigate(broker)
    yield made
    made.stop()


def test_the_end_of_an_event_is_offered_and_its_beginning_is_not(
    ear: Ear, frigate: Frigate
) -> None:
    for kind in ("new", "update"):
        frigate.says("events", ended(SECOND) | {"type": kind})
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]


def test_the_events_of_a_review_item_are_offered(ear: Ear, frigate: Frigate) -> None:
    after = {"id": "1764151199.1-zzzzzz", "data": {"detections": [FIRST, SECOND]}}
    frigate.says("reviews", {"type": "update", "before": after, "after": after})
    assert ear.waits(lambda found: len(found) == 2) == [FIRST, SECOND]


def test_an_event_that_frigate_does_not_know_yet_is_offered_again(
    ear: Ear, frigate: Frigate
) -> None:
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]
    ear.source.settle([FIRST], True)
    assert ear.waits() == [FIRST]
    ear.known.add(FIRST)
    ear.source.settle([FIRST], True)
    ear.now += 1000
    assert ear.hears() == []


def test_an_event_that_frigate_never_knows_is_forgotten(ear: Ear, frigate: Frigate) -> None:
    frigate.ends(FIRST)
    looks = 0
    while ear.waits(lambda found: bool(found)) and looks < len(mqtt.PAUSES):
        ear.source.settle([FIRST], True)
        looks += 1
        ear.now += 10
    ear.source.settle([FIRST], True)
    ear.now += 1000
    assert ear.hears() == []


def test_what_could_not_be_looked_at_is_offered_again_later(ear: Ear, frigate: Frigate) -> None:
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]
    ear.source.settle([FIRST], False)
    assert ear.hears() == []
    ear.now += mqtt.RETRY
    assert ear.hears() == [FIRST]


def test_an_event_that_frigate_does_not_keep_holds_up_no_acknowledgement(
    broker: Broker, ear: Ear, frigate: Frigate
) -> None:
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]
    ear.source.settle([FIRST], True)  # it is offered again, but not by the broker
    ear.known = {SECOND}
    frigate.ends(SECOND)
    ear.source.settle(ear.waits(lambda found: SECOND in found), True)
    ear.source.finish()
    after = Ear(broker)
    try:
        after.start()
        frigate.ends("1764151300.5-ghi789")
        assert after.waits() == ["1764151300.5-ghi789"]
    finally:
        after.source.finish()


def test_an_event_that_can_never_be_looked_at_is_left_to_the_sweep(
    ear: Ear, frigate: Frigate
) -> None:
    before = ear.caught_up
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]
    for _ in range(mqtt.MOST_RETRIES):
        ear.source.settle([FIRST], False)
        ear.now += mqtt.RETRY
        assert ear.hears() == [FIRST]
    assert ear.caught_up == before
    ear.source.settle([FIRST], False)
    ear.now += 1000
    assert ear.hears() == []
    assert ear.caught_up == before + 1


def test_a_message_that_the_ledger_does_not_have_comes_again_after_a_crash(
    broker: Broker, ear: Ear, frigate: Frigate
) -> None:
    ear.known = {FIRST}
    frigate.ends(FIRST)
    ear.source.settle(ear.waits(), True)
    frigate.ends(SECOND)
    assert ear.waits() == [SECOND]  # and the process dies here
    after = Ear(broker)  # the broker ends the connection of the earlier one
    try:
        after.start()
        assert after.waits() == [SECOND]
    finally:
        after.source.finish()


def test_messages_are_acknowledged_in_their_order(
    broker: Broker, ear: Ear, frigate: Frigate
) -> None:
    before = ear.caught_up
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]
    frigate.says("events", ended(SECOND) | {"type": "update"})  # it needs no look
    frigate.says("reviews", {"after": {"data": {"detections": [SECOND]}}})
    assert ear.waits(lambda found: SECOND in found) == [FIRST, SECOND]
    ear.known = {FIRST, SECOND}
    ear.source.settle([SECOND], True)  # the broker would end the connection
    ear.source.settle([FIRST], True)
    frigate.ends("1764151300.5-ghi789")
    assert "1764151300.5-ghi789" in ear.waits(lambda found: "1764151300.5-ghi789" in found)
    assert ear.caught_up == before


def test_messages_of_the_time_when_nobody_listened_come_later(
    broker: Broker, frigate: Frigate
) -> None:
    first = Ear(broker).start()
    first.source.finish()
    frigate.ends(FIRST)
    later = Ear(broker).start()
    try:
        assert later.waits() == [FIRST]
    finally:
        later.source.finish()


def test_each_connection_and_each_start_of_frigate_are_a_reason_to_catch_up(
    broker: Broker, ear: Ear, frigate: Frigate
) -> None:
    before = ear.caught_up
    frigate.says("available", "online", retain=True)
    until(lambda: ear.caught_up > before)
    before = ear.caught_up
    broker.restart()
    until(lambda: ear.caught_up > before)


def test_the_broker_may_forget_everything(broker: Broker, ear: Ear) -> None:
    before = ear.caught_up
    broker.restart(forget=True)
    until(lambda: ear.caught_up > before)
    frigate = Frigate(broker)
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]
    frigate.stop()


def test_a_flood_takes_bounded_memory_and_is_a_reason_to_catch_up(
    ear: Ear, frigate: Frigate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "MOST_MESSAGES", 20)
    monkeypatch.setattr(mqtt, "AT_ONCE", 1000)
    before = ear.caught_up
    for number in range(100):
        frigate.ends(f"1764151200.{number}-abc123", qos=0)
    frigate.says("available", "online")
    until(lambda: ear.caught_up == before + 80 + 1)  # for each message that had no room
    found = ear.waits()
    assert 0 < len(found) <= 20
    assert found[-1] == "1764151200.99-abc123"


def test_ids_are_offered_at_a_bounded_rate(ear: Ear, frigate: Frigate) -> None:
    for number in range(mqtt.AT_ONCE + 1):
        frigate.ends(f"1764151200.{number}-abc123")
    until(lambda: len(ear.hears()) == mqtt.AT_ONCE)
    ear.now += mqtt.APART / 2
    assert ear.source.ids(0) == []


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b'"end"', b'{"type": "end"}', b'{"type": "end", "after": []}', b"[" * 100_000,
     b'{"type": "end", "after": {"id": 7}}', b'{"type": "end", "after": {"id": "../../x"}}',
     b'\xff"end"', b'{"type": "end", "after": {"id": "' + b"x" * 3_000_000 + b'"}}'],
)  # fmt: skip
def test_nonsense_names_no_event_and_stops_nothing(
    ear: Ear, frigate: Frigate, payload: bytes
) -> None:
    assert ids_in("events", payload)[0] == []
    assert ids_in("reviews", payload)[0] == []
    if len(payload) < 1_500_000:
        frigate.says("events", payload)
        frigate.says("reviews", payload)
    frigate.ends(FIRST)
    assert ear.waits() == [FIRST]


def test_the_status_says_when_the_broker_is_away_for_long(broker: Broker, ear: Ear) -> None:
    assert ear.source.troubles() == []
    assert ear.source.status() == {"source": f"MQTT broker 127.0.0.1:{broker.port}, up"}
    broker.kill()
    until(lambda: "down" in ear.source.status()["source"])
    assert ear.source.troubles() == []
    ear.now += 2 * mqtt.PATIENCE
    [trouble] = ear.source.troubles()
    assert "is away" in trouble and "sweep only" in trouble
    broker.start()
    until(lambda: ear.source.troubles() == [])


def test_a_broker_with_tls_and_a_login_is_heard_and_a_wrong_password_is_told() -> None:
    with Broker({"mirror": "pass word"}, tls=True) as broker:
        ear = Ear(broker).start()
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set("mirror", "pass word")
        client.tls_set(broker.ca_bundle)
        client.connect(broker.host, broker.port)
        client.loop_start()
        client.publish("frigate/events", json.dumps(ended(FIRST)), 1)
        assert ear.waits() == [FIRST]
        client.disconnect()
        client.loop_stop()
        ear.source.finish()
        wrong = Ear(broker, password="wrong")
        wrong.source.start()
        wrong.now += 2 * mqtt.PATIENCE
        until(lambda: "after a wrong user or password" in " ".join(wrong.source.troubles()))
        wrong.source.finish()


def away(environ: Mapping[str, str], words: str) -> None:
    """Waits until a source with these settings says with these words why the broker is away."""
    clock = iter([0.0])
    source = Mqtt(
        settings.load(environ).mqtt,
        "ear",
        lacks=lambda ids: ids,
        catch_up=lambda: None,
        clock=lambda: next(clock, 2 * mqtt.PATIENCE),
    )
    source.start()
    until(lambda: words in " ".join(source.troubles()))
    source.finish()
    until(lambda: all(thread.name != "mqtt" for thread in threading.enumerate()))


# paho does not close the socket of a handshake that has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_certificate_that_is_not_trusted_is_told() -> None:
    with Broker(tls=True) as broker:
        away(broker.environ | {"MQTT_CA_BUNDLE": ""}, "certificate verify failed")


def test_a_name_that_nothing_has_is_told() -> None:
    away({"MQTT_HOST": "nothing.invalid"}, "no connection: [Errno -")


def test_a_broker_that_says_why_it_refuses_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = []

        def refuse() -> None:
            with suppress(OSError):  # the test has closed the server
                while True:
                    with server.accept()[0] as connection:
                        connection.recv(1_000)
                        connection.sendall(b"\x20\x02\x00\x05")  # CONNACK: not authorized
                        seen.append(connection.recv(1_000))

        threading.Thread(target=refuse, daemon=True).start()
        host, port = server.getsockname()
        environ = {"MQTT_HOST": host, "MQTT_PORT": str(port)}
        away(environ, "it refuses the connection: Not authorized")
        source = Mqtt(settings.load(environ).mqtt, "ear", lacks=lambda ids: ids,
                      catch_up=lambda: None)  # fmt: skip
        caplog.clear()
        source.start()
        until(lambda: len(seen) > 2)
        source.finish()
    assert [record.getMessage() for record in caplog.records] == [
        f"S3 MQTT: broker {host}:{port}: it refuses the connection: Not authorized"
    ]


class Note(Watcher):
    """Notes what it is told: an empty text for a connection, and why there is none."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def up(self) -> None:
        self.told.append("")

    def away(self, why: str) -> None:
        self.told.append(why)


def test_a_watcher_is_told_of_each_loss_each_failed_try_and_each_connection(broker: Broker) -> None:
    note = Note()
    source = Mqtt(
        settings.load(broker.environ).mqtt,
        "watched",
        lacks=set,
        catch_up=lambda: None,
        pauses=(1, 1),
        watcher=note,
    )
    source.start()
    try:
        until(lambda: note.told == [""] and source.is_up)
        broker.cut_off()
        until(lambda: len(note.told) >= 4)  # the loss, and two tries that fail
        assert all(note.told[1:4]) and not source.is_up
        broker.come_back()
        until(lambda: note.told[-1] == "" and source.is_up)
    finally:
        source.finish()


def test_others_see_whether_the_companion_is_there(broker: Broker, ear: Ear) -> None:
    seen: list[str] = []
    told = threading.Event()
    watcher = paho.Client(CallbackAPIVersion.VERSION2)

    def hear(client: Any, _: Any, message: paho.MQTTMessage) -> None:
        seen.append(message.payload.decode())
        told.set()

    watcher.on_message = hear
    watcher.connect("127.0.0.1", broker.port)
    watcher.subscribe("frigate_mirror/ear/available", 1)
    watcher.loop_start()
    until(lambda: seen == ["online"])
    ear.source.finish()
    until(lambda: seen[-1] == "offline")
    watcher.disconnect()
    watcher.loop_stop()
