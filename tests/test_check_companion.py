"""`check` for a companion: Frigate over its API, the broker, the remote, and the folder."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from frigate_mirror.checks import api as checks_api
from frigate_mirror.checks import broker as checks_broker
from frigate_mirror.checks import frigate as checks_frigate
from frigate_mirror.checks import places, variables
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.checks.remote import remote
from frigate_mirror.checks.selection import explain, selection
from frigate_mirror.demo.ports import free_ports
from frigate_mirror.frigate.api import FrigateApi, fingerprint_of
from frigate_mirror.frigate.config import Publishing
from frigate_mirror.ledger.lock import StateLock
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings
from tests.rig import ROOT
from tests.rig.api import VERSIONS, Answer, Fault, FrigateStandin, as_json, page, refusal
from tests.rig.broker import Broker
from tests.rig.certificates import Certificates, self_signed
from tests.rig.drive import EXPIRED, Drive
from tests.rig.rclone import Config, Served, encrypted, obscured, program
from tests.rig.remotes import add_drive
from tests.rig.waiting import PATIENCE
from tests.rig.worlds import World

T = TypeVar("T")
PASSWORD = "correct horse"
BROKER_PASSWORD = 'battery "staple"'
ALWAYS = float("inf")
NOW = time.time()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def result(findings: Generator[Finding, None, T]) -> tuple[list[Finding], T]:
    """Returns the findings of a check, and what the check itself returns."""
    found = []
    while True:
        try:
            found.append(next(findings))
        except StopIteration as stop:
            return found, stop.value


def lines(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.grade, finding.what) for finding in findings]


def only(grade: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.grade == grade]


# -- Frigate


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


Make = Callable[..., FrigateStandin]


@pytest.fixture
def standins(world: World) -> Iterator[Make]:
    made: list[FrigateStandin] = []

    def make(**options: Any) -> FrigateStandin:
        made.append(FrigateStandin(world.database, world.clips.parent, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def standin(standins: Make) -> FrigateStandin:
    """Frigate as on port 5000."""
    return standins()


@pytest.fixture
def guarded(standins: Make, tmp_path: Path) -> FrigateStandin:
    """Frigate as on port 8971, with a certificate of its own."""
    return standins(users={"viewer": PASSWORD}, certificate=self_signed(tmp_path))


def loaded(standin: FrigateStandin, **environ: str) -> Settings:
    own = {"S3_BUCKET": "pictures", "FRIGATE_URL": standin.url, "HOME": "/nowhere"}
    if standin.users:
        own |= {"FRIGATE_USER": "viewer", "FRIGATE_PASSWORD": PASSWORD}
    return settings.load(own | environ)


@pytest.fixture
def connect() -> Iterator[Callable[..., tuple[list[Finding], FrigateApi | None]]]:
    """Looks at the way to a stand-in."""
    clients: list[FrigateApi] = []

    def look(standin: FrigateStandin, **environ: str) -> tuple[list[Finding], FrigateApi | None]:
        found, client = result(checks_api.connect(loaded(standin, **environ).companion))
        if client:
            clients.append(client)
        assert PASSWORD not in repr(found)
        return found, client

    yield look
    for client in clients:
        client.close()


Connect = Callable[..., tuple[list[Finding], FrigateApi | None]]


def client_of(connect: Connect, standin: FrigateStandin, **environ: str) -> FrigateApi:
    _, client = connect(standin, **environ)
    assert client
    return client


def line_in(finding: Finding) -> str:
    """The setting that the advice says."""
    found = re.search(r"FRIGATE_TLS_FINGERPRINT=([0-9a-f]{64})", f"{finding}")
    assert found
    return found[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frigate_that_answers_is_named_with_its_version(
    standins: Make, connect: Connect, version: str
) -> None:
    standin = standins(version=version)
    found, client = connect(standin)
    number = version.partition("-")[0]
    assert lines(found) == [(OK, f"Frigate {number}-5f6043aa answers at {standin.url}")]
    assert client


def test_the_line_that_pins_a_certificate_can_be_copied(
    guarded: FrigateStandin, connect: Connect
) -> None:
    [fault], client = connect(guarded)
    assert (fault.grade, client) == (FAULT, None)
    assert "its certificate is not accepted" in fault.what
    found, client = connect(guarded, FRIGATE_TLS_FINGERPRINT=line_in(fault))
    assert [one.grade for one in found] == [OK, OK] and client
    assert "is the pinned one" in found[1].what


def test_a_certificate_that_is_not_the_pinned_one_gets_no_password(
    guarded: FrigateStandin, connect: Connect
) -> None:
    [fault], client = connect(guarded, FRIGATE_TLS_FINGERPRINT="0" * 64)
    assert (fault.grade, client) == (FAULT, None)
    assert "is not the pinned one" in fault.what and "made anew" in fault.advice
    found, _ = connect(guarded, FRIGATE_TLS_FINGERPRINT=line_in(fault))
    assert only(FAULT, found) == []
    assert len([one for one in guarded.questions if one.path == "/api/login"]) == 1


def test_a_certificate_that_nobody_verifies_is_noted_with_the_line_that_pins_it(
    guarded: FrigateStandin, connect: Connect
) -> None:
    found, _ = connect(guarded, FRIGATE_TLS_VERIFY="false")
    [note] = only(NOTE, found)
    assert "FRIGATE_TLS_VERIFY=false" in note.what
    assert line_in(note)


def test_a_certificate_of_a_known_authority_is_accepted(
    guarded: FrigateStandin, connect: Connect, tmp_path: Path
) -> None:
    found, client = connect(guarded, FRIGATE_CA_BUNDLE=str(tmp_path / "cert.pem"))
    assert only(FAULT, found) == [] and client
    assert "signed by an authority" in found[1].what


def test_a_file_that_has_no_certificates_is_a_fault(
    guarded: FrigateStandin, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    [fault], _ = connect(guarded, FRIGATE_CA_BUNDLE=str(tmp_path / "empty.pem"))
    assert (fault.grade, fault.advice) == (FAULT, "correct FRIGATE_CA_BUNDLE")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"FRIGATE_PASSWORD": "wrong"}, "does not accept the password of 'viewer'"),
        ({"FRIGATE_USER": "", "FRIGATE_PASSWORD": ""}, "Frigate wants a login"),
    ],
)
def test_a_login_that_frigate_refuses_is_a_fault(
    standins: Make, connect: Connect, environ: dict[str, str], words: str
) -> None:
    [fault], client = connect(standins(users={"viewer": PASSWORD}), **environ)
    assert (fault.grade, client) == (FAULT, None)
    assert words in fault.what and "FRIGATE_USER and FRIGATE_PASSWORD" in fault.advice
    assert "wrong" not in fault.what


@pytest.mark.parametrize(
    ("answer", "what", "advice"),
    [
        (Answer(401), "Authentication is disabled", "another server stands before it"),
        (refusal("Access denied", 403), "status 403", "role viewer"),
        (Answer(302, headers={"Location": "https://elsewhere/x"}), "https://elsewhere/x", "8971"),
        (Answer(body=b"<html>router</html>"), "this is not Frigate", "FRIGATE_URL"),
        (Answer(503), "status 503", "start Frigate"),
        (page(500, "Internal Server Error"), "Frigate behind it does not", "start Frigate"),
        (page(400, "The plain HTTP request was sent to HTTPS port"), "status 400", "https://"),
    ],
)
def test_what_frigate_answers_instead_has_an_advice(
    standin: FrigateStandin, connect: Connect, answer: Answer, what: str, advice: str
) -> None:
    standin.fail("/api/version", Fault(answer), ALWAYS)
    [fault], _ = connect(standin, FRIGATE_USER="viewer", FRIGATE_PASSWORD=PASSWORD)
    assert fault.grade == FAULT
    assert what in fault.what and advice in fault.advice


def test_an_address_at_which_nobody_is_is_a_fault(
    standin: FrigateStandin, connect: Connect
) -> None:
    [port] = free_ports(1)
    [fault], _ = connect(standin, FRIGATE_URL=f"http://127.0.0.1:{port}")
    assert "Connection refused" in fault.what and "correct FRIGATE_URL" in fault.advice


def test_an_address_at_which_something_else_answers_is_a_fault(
    standin: FrigateStandin, connect: Connect
) -> None:
    [fault], _ = connect(standin, FRIGATE_URL=f"{standin.url}/elsewhere")
    assert "status 404" in fault.what and "not Frigate" in fault.advice


def test_a_fingerprint_without_tls_is_noted(standin: FrigateStandin, connect: Connect) -> None:
    found, _ = connect(standin, FRIGATE_TLS_FINGERPRINT="0" * 64)
    [note] = only(NOTE, found)
    assert "FRIGATE_TLS_FINGERPRINT has no effect" in note.what and "https://" in note.advice


def test_https_where_no_tls_is_spoken_is_a_fault(standin: FrigateStandin, connect: Connect) -> None:
    [fault], _ = connect(standin, FRIGATE_URL=standin.url.replace("http:", "https:"))
    assert fault.grade == FAULT and "begin FRIGATE_URL with http://" in fault.advice


def test_a_version_that_the_companion_does_not_know_is_noted(
    standin: FrigateStandin, connect: Connect
) -> None:
    standin.fail("/api/version", Fault(Answer(body=b"0.15.2-abc1234")))
    [note], client = connect(standin)
    assert note.grade == NOTE and "Frigate 0.15.2-abc1234" in note.what
    assert "0.16, 0.17, 0.18" in note.advice
    assert client


# -- the account


def account(connect: Connect, standin: FrigateStandin, **environ: str) -> tuple[list[Finding], str]:
    client = client_of(connect, standin, **environ)
    ask = partial(checks_api.settings_of, client)
    return result(checks_api.account(client, loaded(standin, **environ).companion, ask))


def test_the_account_and_its_role_are_named(guarded: FrigateStandin, connect: Connect) -> None:
    found, whose = account(connect, guarded, FRIGATE_TLS_FINGERPRINT=fingerprint_of(guarded.url))
    assert lines(found) == [
        (OK, "Frigate accepts the login of 'viewer'"),
        (OK, "the account is 'viewer' with the role viewer"),
    ]
    assert whose == "over Frigate's API a review counts only if 'viewer' has made it"


def test_a_password_that_goes_over_the_network_without_tls_is_noted(
    standins: Make, connect: Connect
) -> None:
    found, _ = account(connect, standins(users={"viewer": PASSWORD}))
    [note] = only(NOTE, found)
    assert "without TLS" in note.what


def test_a_user_that_frigate_does_not_ask_for_is_noted(
    standin: FrigateStandin, connect: Connect
) -> None:
    found, _ = account(connect, standin, FRIGATE_USER="viewer", FRIGATE_PASSWORD=PASSWORD)
    assert "answers without a login" in only(NOTE, found)[0].what


def test_after_too_many_logins_the_advice_is_to_wait(standins: Make, connect: Connect) -> None:
    standin = standins(users={"viewer": PASSWORD})
    limited = as_json({"error": "Rate limit exceeded: 3 per 1 minute"}, 429)
    standin.fail("/api/login", Fault(limited))
    [fault], _ = connect(standin, FRIGATE_PASSWORD=PASSWORD)
    assert fault.grade == FAULT and "no more logins" in fault.what
    assert fault.advice.startswith("wait until this limit is over")


def test_a_cookie_for_https_only_has_an_advice(standins: Make, connect: Connect) -> None:
    standin = standins(users={"viewer": PASSWORD})
    standin.cookie_secure = True
    [fault], _ = connect(standin, FRIGATE_PASSWORD=PASSWORD)
    assert fault.grade == FAULT and "cookie_secure" in fault.what
    assert "https://" in fault.advice and "5000" in fault.advice


def test_a_login_that_only_the_second_question_needs_is_tried(
    standin: FrigateStandin, connect: Connect
) -> None:
    standin.fail("/api/profile", Fault(Answer(401)), ALWAYS)
    [fault], _ = account(connect, standin, FRIGATE_USER="viewer", FRIGATE_PASSWORD=PASSWORD)
    assert fault.grade == FAULT and "Authentication is disabled" in fault.what


def test_an_admin_is_more_than_is_needed(standins: Make, connect: Connect) -> None:
    guarded = standins(users={"viewer": PASSWORD})
    guarded.role = "admin"
    note = account(connect, guarded)[0][-1]
    assert note.grade == NOTE and "is an admin" in note.what and "viewer" in note.advice


def test_a_port_that_makes_everybody_an_admin_is_noted(
    standin: FrigateStandin, connect: Connect
) -> None:
    [note], whose = account(connect, standin)
    assert note.grade == NOTE and f"whoever reaches {standin.url} is an admin" in note.what
    assert "'anonymous'" in whose


def test_cameras_that_the_account_may_not_see_are_named(standins: Make, connect: Connect) -> None:
    standin = standins(users={"viewer": PASSWORD}, cameras=["front_door"])
    standin.config["cameras"]["garage"] = standin.config["cameras"]["front_door"]
    note = account(connect, standin)[0][-1]
    assert note.grade == NOTE
    assert note.what.startswith("the account may not see the camera(s) garage, so")


def test_frigate_0_16_shows_every_camera_to_everybody(standins: Make, connect: Connect) -> None:
    standin = standins(users={"viewer": PASSWORD}, version="0.16.4", cameras=["front_door"])
    standin.config["cameras"]["garage"] = standin.config["cameras"]["front_door"]
    found, _ = account(connect, standin)
    assert "may not see" not in repr(found)


def test_an_account_that_frigate_does_not_tell_is_noted(
    standin: FrigateStandin, connect: Connect
) -> None:
    for answer in (refusal("gone"), Answer(body=b'{"username": 7}')):
        standin.fail("/api/profile", Fault(answer))
        [note], whose = account(connect, standin)
        assert note.grade == NOTE
        assert "the companion's own account" in whose


# -- what Frigate answers


@pytest.mark.parametrize(
    ("ahead", "grade", "words"),
    [
        (0, OK, "agrees with Frigate's"),
        (2, OK, "agrees with Frigate's"),
        (100, NOTE, "s off Frigate's"),
        (-100, NOTE, "s off Frigate's"),
        (None, NOTE, "no date"),
    ],
)
def test_frigates_clock_is_compared_with_ours(
    standin: FrigateStandin, connect: Connect, ahead: float | None, grade: str, words: str
) -> None:
    standin.ahead = ahead
    [finding] = checks_api.clock(client_of(connect, standin))
    assert finding.grade == grade and words in finding.what


def test_a_frigate_that_goes_away_meanwhile_is_a_fault(
    standin: FrigateStandin, connect: Connect
) -> None:
    client = client_of(connect, standin)
    standin.fail("/api/", Fault(drops=True), ALWAYS)
    [fault] = checks_api.clock(client)
    assert fault.grade == FAULT and fault.advice
    [fault] = checks_api.events(checks_api.catalog_of(client, ["clip"]), ["clip"], NOW)
    assert fault.grade == FAULT and "events cannot be read" in fault.what


@pytest.mark.parametrize("version", VERSIONS)
def test_the_cameras_settings_are_looked_at_over_the_api(
    standins: Make, connect: Connect, version: str
) -> None:
    standin = standins(version=version)
    ask = partial(checks_api.settings_of, client_of(connect, standin))
    found = list(checks_frigate.cameras(ask, ["snapshot", "clip"]))
    assert lines(found) == [
        (OK, "Frigate takes snapshots for 1 camera(s): front_door"),
        (OK, "Frigate records 1 camera(s): front_door"),
    ]
    standin.config["cameras"]["front_door"]["record"]["enabled"] = False
    fault = list(checks_frigate.cameras(ask, ["snapshot", "clip"]))[1]
    assert fault.grade == FAULT and "no camera of Frigate records" in fault.what


def test_settings_that_cannot_be_read_over_the_api_are_noted(
    standin: FrigateStandin, connect: Connect
) -> None:
    ask = partial(checks_api.settings_of, client_of(connect, standin))
    standin.fail("/api/config", Fault(refusal("no", 403)))
    [note] = checks_frigate.cameras(ask, ["snapshot"])
    assert note.grade == NOTE and "status 403" in note.what
    standin.fail("/api/config", Fault(Answer(500)))
    assert checks_api.publishing(ask) is None


def of_events(connect: Connect, standin: FrigateStandin, *kinds: str) -> Finding:
    client = client_of(connect, standin)
    [finding] = checks_api.events(checks_api.catalog_of(client, kinds), kinds, NOW)
    return finding


def test_the_newest_events_are_looked_at_over_the_api(
    world: World, standin: FrigateStandin, connect: Connect
) -> None:
    old = world.event(started=NOW - 8 * 86_400)
    note = of_events(connect, standin, "snapshot", "clip")
    assert (note.grade, note.what) == (NOTE, "Frigate has no event of the last 7 days")
    assert old
    world.without_snapshot(world.event(started=NOW - 100))
    note = of_events(connect, standin, "snapshot", "clip")
    assert note.what == "none of Frigate's newest 1 events has a snapshot"
    assert of_events(connect, standin, "metadata").grade == OK
    world.event(started=NOW - 50)
    fine = of_events(connect, standin, "snapshot", "clip")
    assert fine == Finding(OK, "1 of Frigate's newest 2 events have a snapshot")


def test_over_the_api_only_the_companions_own_reviews_count(
    world: World, standin: FrigateStandin, connect: Connect
) -> None:
    client = client_of(connect, standin)
    chosen = loaded(standin, MIRROR_KINDS="snapshot", MIRROR_REVIEWED="true")
    ask, catalog = partial(checks_api.settings_of, client), checks_api.catalog_of(client, ["clip"])
    event = world.event(started=NOW - 100)
    world.review([event], NOW - 100, ended=NOW - 90)
    world.reviewed(event, "admin")
    _, note = selection(chosen, ask, catalog, NOW, "only mine count")
    assert note.grade == NOTE and "only mine count" in note.advice
    world.reviewed(event, "anonymous")
    _, fine = selection(chosen, ask, catalog, NOW, "only mine count")
    assert fine == Finding(OK, "MIRROR_REVIEWED: only mine count")


def test_names_in_filters_are_compared_with_frigates_over_the_api(
    standin: FrigateStandin, connect: Connect
) -> None:
    client = client_of(connect, standin)
    chosen = loaded(standin, MIRROR_CAMERAS="shed")
    ask, catalog = partial(checks_api.settings_of, client), checks_api.catalog_of(client, ["clip"])
    _, note = selection(chosen, ask, catalog, NOW)
    assert note.what == "MIRROR_CAMERAS: Frigate has no camera shed"


def test_one_event_is_explained_over_the_api(
    world: World, standin: FrigateStandin, connect: Connect
) -> None:
    event = world.event(started=NOW - 100)
    world.review([event], NOW - 100, "alert", ended=NOW - 90)
    chosen = loaded(standin, MIRROR_SEVERITY="alert", MIRROR_CLIP_SEVERITY="detection")
    catalog = checks_api.catalog_of(client_of(connect, standin), chosen.kinds.kinds)
    snapshot, clip, metadata = explain(chosen, catalog, event)
    assert (snapshot.grade, metadata.grade) == (OK, OK)
    assert "left out by MIRROR_CLIP_SEVERITY" in clip.what
    [fault] = explain(chosen, catalog, "1-none")
    assert fault == Finding(FAULT, "Frigate has no event '1-none'")
    standin.fail("/api/", Fault(Answer(503)), ALWAYS)
    [fault] = explain(chosen, catalog, event)
    assert fault.grade == FAULT and "status 503" in fault.what


# -- the broker

TOPICS = "frigate/events, frigate/reviews, frigate/available"
GOOD = Publishing(True, "mosquitto", "frigate", 1)


def of_broker(
    environ: dict[str, str], frigate: Publishing | None = GOOD, **other: str
) -> list[Finding]:
    both = {"S3_BUCKET": "pictures", "FRIGATE_URL": "http://127.0.0.1:5000"} | environ | other
    found = list(checks_broker.broker(settings.load(both).mqtt, frigate, 600))
    assert BROKER_PASSWORD not in repr(found)
    return found


def leave(broker: Broker, topic: str, payload: str, *, retain: bool = True) -> None:
    """Publishes as Frigate does."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish(topic, payload, 1, retain).wait_for_publish(PATIENCE)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits a short time for a retained message, which does not come."""
    monkeypatch.setattr(checks_broker, "RETAINED", 0.01)


def test_without_a_broker_events_are_found_by_the_sweep_only() -> None:
    [note] = of_broker({}, None)
    assert note.grade == NOTE and "by the sweep only, every 600 s" in note.what
    [note] = of_broker({})
    assert note.advice.endswith("Frigate's own is mosquitto")


def test_a_sound_broker_has_no_fault() -> None:
    with Broker() as broker:
        leave(broker, "frigate/available", "online")
        found = of_broker(broker.environ)
    where = f"MQTT broker 127.0.0.1:{broker.port}"
    assert lines(found) == [
        (OK, f"{where} accepts a client without login"),
        (OK, f"{where} accepts the subscription to {TOPICS}"),
        (OK, "Frigate publishes at this broker (frigate/available is online)"),
        (OK, "Frigate publishes with QoS 1"),
    ]


def test_a_frigate_that_says_that_it_is_away_is_noted() -> None:
    with Broker() as broker:
        leave(broker, "frigate/available", "offline")
        [note] = only(NOTE, of_broker(broker.environ))
    assert note.what == "frigate/available is offline"


@pytest.mark.usefixtures("impatient")
def test_a_broker_at_which_frigate_publishes_nothing_is_noted() -> None:
    with Broker() as broker:
        leave(broker, "elsewhere/available", "online")
        [note] = only(NOTE, of_broker(broker.environ))
    assert "frigate/available is not there" in note.what


def test_frigates_topics_begin_as_the_settings_say() -> None:
    with Broker() as broker:
        leave(broker, "cams/available", "online")
        found = of_broker(
            broker.environ, replace(GOOD, topic_prefix="cams"), MQTT_TOPIC_PREFIX="cams"
        )
    assert {one.grade for one in found} == {OK}
    assert "cams/events, cams/reviews, cams/available" in repr(found)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("tls", [False, True])
def test_a_login_is_tried_with_and_without_tls(tls: bool) -> None:
    with Broker({"mirror": BROKER_PASSWORD}, tls=tls) as broker:
        first = of_broker(broker.environ)[0]
        assert first.grade == OK and "accepts the login of 'mirror'" in first.what
        assert first.what.endswith("over TLS") == tls
        # rumqttd closes the connection without an answer.
        [fault] = only(FAULT, of_broker(broker.environ, MQTT_PASSWORD="wrong"))
        assert "ends the connection without an answer" in fault.what
        assert "MQTT_USER and MQTT_PASSWORD" in fault.advice


# paho leaves the socket of a failed handshake to Python's collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("impatient")
def test_faults_of_tls_have_an_advice(tmp_path: Path) -> None:
    with Broker(tls=True) as broker:
        strangers = str(Certificates(tmp_path).bundle)
        [fault] = only(FAULT, of_broker(broker.environ, MQTT_CA_BUNDLE=strangers))
        assert "CERTIFICATE_VERIFY_FAILED" in fault.what
        assert "the certificate that signed the broker's" in fault.advice
        plain = {"MQTT_HOST": broker.host, "MQTT_PORT": str(broker.port)}
        [fault] = only(FAULT, of_broker(plain))
        assert "set MQTT_TLS=true" in fault.advice
        (tmp_path / "nothing.pem").write_text("nothing")
        nothing = str(tmp_path / "nothing.pem")
        [fault] = only(FAULT, of_broker(broker.environ, MQTT_CA_BUNDLE=nothing))
        assert "MQTT_CA_BUNDLE" in fault.advice
    with Broker() as broker:
        [fault] = only(FAULT, of_broker(broker.environ, MQTT_TLS="true"))
        assert "set MQTT_TLS=false" in fault.advice


@pytest.mark.parametrize(
    ("environ", "advice"),
    [
        ({"MQTT_HOST": "127.0.0.1"}, "start the broker"),
        ({"MQTT_HOST": "no-such-host.invalid"}, "correct MQTT_HOST"),
    ],
)
def test_a_broker_that_cannot_be_reached_is_a_fault(environ: dict[str, str], advice: str) -> None:
    [port] = free_ports(1)
    [fault] = only(FAULT, of_broker(environ, MQTT_PORT=str(port)))
    assert advice in fault.advice


def test_a_broker_that_is_silent_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_broker, "ANSWER", 0.05)
    with Broker() as broker:
        assert broker.front
        broker.front.forgetful = True
        [fault] = only(FAULT, of_broker(broker.environ))
        assert "it does not answer" in fault.what


class Scripted:
    """A broker that gives these answers: to CONNECT, and to SUBSCRIBE after the number of its
    message. rumqttd lets everybody read everything."""

    def __init__(self, connected: bytes, subscribed: bytes) -> None:
        self._answers = connected, subscribed
        self.hello = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.environ = {
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(self._server.getsockname()[1]),
            "MQTT_USER": "mirror",
            "MQTT_PASSWORD": BROKER_PASSWORD,
        }
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        connected, subscribed = self._answers
        connection, _ = self._server.accept()
        with connection:
            self.hello = connection.recv(4096)
            connection.sendall(connected)
            while data := connection.recv(4096):
                if data[0] == 0x82:  # SUBSCRIBE, with the number after the length
                    connection.sendall(bytes([0x90, 2 + len(subscribed)]) + data[2:4] + subscribed)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("code", "words"), [(5, "Not authorized"), (4, "Bad user name")])
def test_a_refusal_of_the_login_is_told_in_the_brokers_words(code: int, words: str) -> None:
    # mosquitto answers so.
    broker = Scripted(bytes([0x20, 2, 0, code]), b"")
    [fault] = only(FAULT, of_broker(broker.environ))
    broker.close()
    assert words in fault.what and fault.advice == "correct MQTT_USER and MQTT_PASSWORD"


@pytest.mark.usefixtures("impatient")
def test_topics_that_the_user_may_not_read_are_named_and_no_session_is_left() -> None:
    broker = Scripted(bytes([0x20, 2, 0, 0]), bytes([1, 0x80, 0x80]))
    [fault] = only(FAULT, of_broker(broker.environ))
    broker.close()
    assert "does not let this user read frigate/reviews, frigate/available" in fault.what
    assert broker.hello[9] & 2, "the flag of a clean session"


@pytest.mark.usefixtures("impatient")
def test_frigates_own_settings_of_mqtt_are_compared_with_ours() -> None:
    with Broker() as broker:

        def told(frigate: Publishing | None) -> Finding:
            return of_broker(broker.environ, frigate)[-1]

        fault = told(Publishing(False, "mosquitto", "frigate", 1))
        assert fault.grade == FAULT and "publishes to no broker" in fault.what
        note = told(Publishing(True, "mosquitto", "frigate", 0))
        assert note.what == "Frigate publishes with QoS 0" and "qos: 1" in note.advice
        note = told(None)
        assert note.grade == NOTE and "unknown" in note.what
        [fault] = only(FAULT, of_broker(broker.environ, Publishing(True, "m", "cams", 1)))
        assert fault.advice == "set MQTT_TOPIC_PREFIX=cams"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_frigate_says_of_mqtt_is_read(standins: Make, connect: Connect, version: str) -> None:
    ask = partial(checks_api.settings_of, client_of(connect, standins(version=version)))
    assert checks_api.publishing(ask) == Publishing(True, "127.0.0.1", "frigate", 1)


# -- the remote


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration with one remote `nas` and its folder."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "nas").mkdir()
    made = Config(tmp_path / "conf")
    made.add("nas", "alias", remote=tmp_path / "nas")
    return made


def of_remote(
    environ: dict[str, str], *, put: bool = True, prove: bool = False, **other: str
) -> list[Finding]:
    environ = environ | other
    found = list(remote(settings.load(environ).rclone, environ, put=put, prove=prove))
    assert not re.search("drive-(access|refresh|client)|hidden", repr(found))
    return found


def test_a_sound_remote_has_no_fault(config: Config, tmp_path: Path) -> None:
    found = of_remote(config.environ("nas:cams"))
    assert only(FAULT, found) == []
    texts = [one.what for one in only(OK, found)]
    assert texts[0].startswith("rclone v1.")
    assert texts[1].endswith("rclone.conf is there, and rclone can renew it")
    assert texts[2].startswith("remote nas:cams answers in ")
    assert texts[3] == "each upload is proven by its sha256 at the remote"
    assert texts[4].startswith("right to put: proven with the file .s3-mirror-check")
    assert texts[5].endswith("GB free")
    assert [path.name for path in tmp_path.glob("nas/cams/*")] == [".s3-mirror-check"]
    [note] = only(NOTE, found)
    assert "can usually delete" in note.what and "--prove-no-delete" in note.advice


def test_nothing_is_put_on_request(config: Config, tmp_path: Path) -> None:
    found = of_remote(config.environ("nas:"), put=False)
    assert "right to put: unproven, because it was not tried" in [one.what for one in found]
    assert list(tmp_path.glob("nas/*")) == []


def test_a_remote_that_deletes_is_proven_to(config: Config, tmp_path: Path) -> None:
    found = of_remote(config.environ("nas:"), prove=True)
    [note] = only(NOTE, found)
    assert (note.code, "can delete (it deleted .s3-mirror-check-delete" in note.what) == (2, True)
    assert [path.name for path in tmp_path.glob("nas/*")] == [".s3-mirror-check"]


def test_a_remote_without_digests_is_noted(config: Config, tmp_path: Path) -> None:
    served = Served("webdav", tmp_path / "nas")
    login = {"user": "mirror", "pass": obscured("pass word'\"&é")}
    config.add("dav", "webdav", url=f"http://127.0.0.1:{served.port}", vendor="other", **login)
    found = of_remote(config.environ("dav:"))
    served.stop()
    assert only(FAULT, found) == []
    assert "only the size of an upload is proven" in only(NOTE, found)[0].what


def test_a_folder_of_this_machine_needs_no_configuration(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "RCLONE_PATH": program(), "HOME": str(tmp_path)}
    found = of_remote(environ, RCLONE_REMOTE=str(tmp_path / "disk"))
    assert only(FAULT, found) == []
    assert "configuration" not in repr(found)


def test_neither_a_missing_rclone_nor_a_missing_configuration_hides_the_other(
    config: Config, tmp_path: Path
) -> None:
    environ = {"RCLONE_PATH": "/no/rclone", "RCLONE_CONFIG": str(tmp_path / "none.conf")}
    first, second = of_remote(config.environ("nas:"), **environ)
    assert (first.grade, second.grade) == (FAULT, FAULT)
    assert "NoRclone" in first.what and "install rclone" in first.advice
    assert "none.conf cannot be read: No such file" in second.what


def test_a_remote_may_be_defined_by_variables_alone(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "RCLONE_PATH": program(),
        "HOME": str(tmp_path / "home"),
        "RCLONE_REMOTE": "here:",
        "RCLONE_CONFIG_HERE_TYPE": "alias",
        "RCLONE_CONFIG_HERE_REMOTE": str(tmp_path / "files"),
    }
    found = of_remote(environ)
    assert only(FAULT, found) == []
    assert "knows only remotes in variables" in only(NOTE, found)[0].what


def test_an_rclone_that_is_too_old_is_a_fault(config: Config, tmp_path: Path) -> None:
    old = tmp_path / "rclone"
    real = program()
    old.write_text(f'#!/bin/sh\necho "unknown flag: --rc-addr" >&2; exit 2 # {real}\n')
    old.chmod(0o755)
    fault = of_remote(config.environ("nas:"), RCLONE_PATH=str(old))[0]
    assert fault.grade == FAULT and "OldRclone" in fault.what and "1.65" in fault.advice


def test_a_configuration_that_others_may_open_is_noted(config: Config) -> None:
    config.path.chmod(0o644)
    [note] = [one for one in of_remote(config.environ("nas:")) if "mode 644" in one.what]
    assert (note.grade, note.advice) == (NOTE, f"chmod 600 {config.path}")


def test_an_encrypted_configuration_needs_its_password(config: Config) -> None:
    encrypted(config.path, "hidden password")
    [fault] = only(FAULT, of_remote(config.environ("nas:")))
    assert "RCLONE_CONFIG_PASS" in fault.advice
    right = of_remote(config.environ("nas:"), RCLONE_CONFIG_PASS="hidden password")
    assert only(FAULT, right) == []


def test_a_remote_that_the_configuration_does_not_have_is_one_fault(config: Config) -> None:
    found = of_remote(config.environ("other:cams"), prove=True)
    [fault] = only(FAULT, found)
    assert "NoRemote" in fault.what and "RCLONE_REMOTE" in fault.advice
    [note] = only(NOTE, found)
    assert (note.what, note.code) == ("right to delete: unproven", 3)


def test_a_remote_without_much_room_is_noted(drive: Drive, own_drive: Config) -> None:
    drive.quota = {"limit": "2000", "usage": "1", "usageInDriveTrash": "0"}
    found = of_remote(own_drive.environ("drive:"))
    assert (NOTE, "the remote has 0.0 GB free") in lines(found)


def mounted(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def has_token(config: Config) -> dict[str, str]:
    """The settings of a remote that stands on one with a token."""
    config.add("login", "drive", client_id="mine", token='{"access_token":"hidden"}')
    config.add("over", "combine", upstreams="disk=nas: cloud=login:")
    return config.environ("over:disk")


@needs_root
def test_a_token_that_rclone_cannot_write_is_a_fault(config: Config) -> None:
    environ, folder = has_token(config), str(config.path.parent)
    fine = [one for one in of_remote(environ) if "configuration" in one.what]
    assert [one.grade for one in fine] == [OK]
    for what, words in (
        (str(config.path), "the file is mounted by itself"),
        (folder, f"the folder {folder} cannot be written"),
    ):
        mounted("--bind", what, what)
        try:
            mounted("-o", "remount,ro,bind", what)
            [fault] = [one for one in of_remote(environ) if "cannot write" in one.what]
            without = of_remote(config.environ("nas:"))
        finally:
            subprocess.run(["umount", what], check=True)
        assert fault.grade == FAULT
        assert words in fault.what and "mount its folder writable" in fault.advice
        assert only(FAULT, without) == []
        assert "has no token to renew" in repr(without)


# -- Google Drive


@pytest.fixture(scope="module")
def module_drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    server = Drive(tmp_path_factory.mktemp("drive"))
    yield server
    server.stop()


@pytest.fixture
def drive(module_drive: Drive) -> Drive:
    """An empty Drive."""
    module_drive.reset()
    return module_drive


@pytest.fixture
def own_drive(drive: Drive, tmp_path: Path) -> Config:
    made = Config(tmp_path, **drive.environ)
    add_drive(made)
    return made


def of_drive(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if "Google Drive:" in one.what]


def test_the_traps_of_google_drive_are_told(drive: Drive, own_drive: Config) -> None:
    found = of_remote(own_drive.environ("drive:frigate"))
    assert only(FAULT, found) == []
    testing, scope, names = of_drive(found)
    assert "ends after 7 days" in testing.what and "config reconnect drive:" in testing.advice
    assert "may see and delete everything" in scope.what and "drive.file" in scope.advice
    assert names == Finding(OK, "Google Drive: no name exists twice in the first two levels")


def test_a_shared_client_id_is_told_also_under_an_encrypted_remote(
    drive: Drive, own_drive: Config
) -> None:
    token = '{"access_token":"hidden","expiry":"2999-01-01T00:00:00Z"}'
    own_drive.add("shared", "drive", token=token, scope="drive.file")
    own_drive.add("secret", "crypt", remote="shared:box", password=obscured("hidden"))
    notes = only(NOTE, of_drive(of_remote(own_drive.environ("secret:"))))
    assert "the remote shared uses the client id that all users of rclone share" in notes[0].what
    assert len(notes) == 2, "the scope is the least one"


def test_a_service_account_has_no_token_that_ends(tmp_path: Path, own_drive: Config) -> None:
    own_drive.add("robot", "drive", service_account_file=tmp_path / "none.json")
    found = of_remote(own_drive.environ("robot:"))
    assert [one.what for one in of_drive(found)] == [
        "Google Drive: the remote robot may see and delete everything on the Drive"
    ]


def test_names_that_exist_twice_on_google_drive_are_named(drive: Drive, own_drive: Config) -> None:
    top = drive.make("frigate")
    for _ in range(2):
        drive.make("front_door", top.id)
    garage = drive.make("garage", top.id)
    for _ in range(3):
        drive.make("2026-11-26", garage.id)
    *_, note = of_drive(of_remote(own_drive.environ("drive:frigate")))
    assert note.grade == NOTE
    assert "2 entries named front_door, 3 entries named garage/2026-11-26" in note.what
    assert "rclone dedupe drive:frigate" in note.advice


def test_the_trash_of_google_drive_is_told(drive: Drive, own_drive: Config) -> None:
    drive.quota["usageInDriveTrash"] = "7500000000"
    [note] = [one for one in of_remote(own_drive.environ("drive:")) if "the trash of" in one.what]
    assert "holds 7.5 GB" in note.what and "RCLONE_DRIVE_USE_TRASH=false" in note.advice


def test_a_login_at_google_that_has_ended_is_a_fault(drive: Drive, own_drive: Config) -> None:
    add_drive(own_drive, "old", EXPIRED)
    [fault] = only(FAULT, of_remote(own_drive.environ("old:")))
    assert "Token" in fault.what and "rclone config reconnect old:" in fault.advice


# -- the folder


def of_folder(folder: Path, status: dict[str, Any], **environ: str) -> list[Finding]:
    own = {"S3_BUCKET": "pictures", "FRIGATE_URL": "http://127.0.0.1:5000"}
    chosen = settings.load(own | {"MIRROR_STATE_DIR": str(folder)} | environ)
    return list(places.companion(chosen, status))


def test_the_folder_can_be_written_and_has_room(tmp_path: Path) -> None:
    first, second = of_folder(tmp_path / "state", {}, MIRROR_CLIP_SPOOL_MB="1")
    assert first == Finding(OK, f"{tmp_path}/state can be written (state)")
    assert second.grade == OK
    assert "MIRROR_SPOOL_LIMIT_MB and MIRROR_CLIP_SPOOL_MB allow 2,049" in second.what


def test_a_disk_with_less_room_than_may_wait_is_noted(tmp_path: Path) -> None:
    _, note = of_folder(tmp_path, {}, MIRROR_SPOOL_LIMIT_MB="10000000", MIRROR_KINDS="snapshot")
    assert note.grade == NOTE and "MIRROR_SPOOL_LIMIT_MB allow 10,000,000" in note.what
    assert "CLIP" not in str(note)


def test_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [fault] = of_folder(tmp_path / "file" / "state", {})
    assert fault.grade == FAULT and "MIRROR_STATE_DIR" in fault.advice


def test_a_companion_with_another_destination_in_the_same_folder_is_a_fault(tmp_path: Path) -> None:
    own = {"S3_BUCKET": "pictures", "FRIGATE_URL": "http://127.0.0.1:5000"}
    chosen = settings.load(own | {"MIRROR_STATE_DIR": str(tmp_path)})
    lock = StateLock(chosen.state)
    assert lock.acquire()
    try:
        lock.sign(tmp_path)
        ours = {"bucket": "pictures", "endpoint": "AWS", "prefix": ""}
        fine = of_folder(tmp_path, {"target": ours})[1]
        assert fine.grade == OK and fine.what.startswith("the companion runs: the mirror with")
        fault = of_folder(tmp_path, {"target": {"remote": "nas:"}})[1]
        assert fault.grade == FAULT and "whose destination is nas:" in fault.what
        assert "MIRROR_STATE_DIR" in fault.advice
    finally:
        lock.release()
    assert len(of_folder(tmp_path, {"target": {"remote": "nas:"}})) == 2


# -- the command


def check(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "check", *words]
    return subprocess.run(
        command, env=environ, cwd="/", capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.fixture
def environ(standin: FrigateStandin, config: Config, tmp_path: Path) -> dict[str, str]:
    own = {"FRIGATE_URL": standin.url, "MIRROR_STATE_DIR": str(tmp_path / "state")}
    return config.environ("nas:") | own | {"HOME": str(tmp_path)}


def test_a_companion_without_a_fault_is_told_so(environ: dict[str, str], world: World) -> None:
    event = world.event(started=NOW - 100)
    with Broker({"mirror": BROKER_PASSWORD}) as broker:
        done = check(environ | broker.environ)
        explained = check(environ | broker.environ, "--explain", event)
        destination = check(environ | broker.environ, "--bucket-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("no fault found\n")
    for part in (
        "Frigate 0.17.2",
        "1 of Frigate's newest 1 events",
        "accepts the login of 'mirror'",
        "can be written (state)",
        "remote nas: answers",
    ):
        assert part in done.stdout
    for part in ("SEAM", "frigate.db", "FRIGATE_DB_PATH", "ffmpeg", "bucket"):
        assert part not in done.stdout
    assert f"event {event} (front_door, person): the clip is selected" in explained.stdout
    assert explained.returncode == 0
    assert "Frigate" not in destination.stdout and "broker" not in destination.stdout
    assert "right to put: proven" in destination.stdout


def test_all_faults_are_told_in_one_run(environ: dict[str, str], tmp_path: Path) -> None:
    [port] = free_ports(1)
    (tmp_path / "file").touch()
    wrong = {
        "FRIGATE_URL": f"http://127.0.0.1:{port}",
        "FRIGATE_USER": "viewer",
        "FRIGATE_PASSWORD": "hidden-1",
        "MQTT_HOST": "127.0.0.1",
        "MQTT_PORT": str(port),
        "MQTT_USER": "mirror",
        "MQTT_PASSWORD": "hidden-2",
        "MQTT_USERNAME": "mirror",
        "MIRROR_STATE_DIR": str(tmp_path / "file" / "state"),
        "RCLONE_REMOTE": "gone:",
        "RCLONE_CONFIG_PASS": "hidden-3",
    }
    done = check(environ | wrong)
    assert done.returncode == 1
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    wanted = "Frigate: ask", "MQTT broker 127.0.0.1", "cannot write", "remote gone:"
    assert len(faults) == len(wanted), done.stdout
    for words, fault in zip(wanted, faults, strict=True):
        assert words in fault
    assert done.stdout.endswith("4 fault(s)\n")
    assert "MQTT_USERNAME is set, but is not a setting" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


def test_a_library_that_is_missing_hides_nothing_else(
    environ: dict[str, str], tmp_path: Path
) -> None:
    for name in ("urllib3", "paho"):
        (tmp_path / "lacking").mkdir(exist_ok=True)
        module = tmp_path / "lacking" / f"{name}.py"
        module.write_text(f"raise ImportError('No module named {name}')")
    done = check(environ | {"PYTHONPATH": str(tmp_path / "lacking")})
    assert done.returncode == 1
    assert done.stdout.count("a library of the companion is missing: No module named") == 2
    assert "remote nas: answers" in done.stdout
    lacking = environ | {"PYTHONPATH": str(tmp_path / "lacking")}
    assert "pip install '.[companion]'" in check(lacking, "--explain", "1-a").stdout
    words = [sys.executable, ROOT / "s3_snapshot_mirror.py", "companion"]
    begun = subprocess.run(words, env=lacking, stderr=subprocess.PIPE, text=True)
    assert begun.returncode == 78 and "pip install '.[companion]'" in begun.stderr


def test_a_broker_variable_that_is_no_setting_is_noticed() -> None:
    [note] = variables.misspelt({"MQTT_PASWORD": "x", "MQTT_HOST": "y"})
    assert note.advice == "did you mean MQTT_PASSWORD?"


def test_a_frigate_variable_that_is_nearly_a_setting_is_noticed() -> None:
    [note] = variables.misspelt({"FRIGATE_PASWORD": "x", "FRIGATE_RTSP_PASSWORD": "y"})
    assert note.advice == "did you mean FRIGATE_PASSWORD?"


def test_a_mirror_that_only_reports_tries_the_broker_and_listens_to_nothing() -> None:
    with Broker() as broker:
        loaded = settings.load(broker.environ | {"MIRROR_REPORT_MQTT": "true"})
        [found] = checks_broker.for_report(loaded.mqtt)
    assert (found.grade, found.what) == (
        OK, f"MQTT broker {broker.host}:{broker.port} accepts a client without login",
    )  # fmt: skip


def test_inside_frigate_check_tries_the_broker_of_the_report_only_if_there_is_a_report(
    environ: dict[str, str], moto_server: Any
) -> None:
    [port] = free_ports(1)
    inside = {name: environ[name] for name in ("PATH", "HOME")} | moto_server.bucket().environ
    broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(port)}
    told = check(inside | broker | {"MIRROR_REPORT_MQTT": "true"}).stdout
    assert f"MQTT broker 127.0.0.1:{port}: " in told
    assert "MQTT_HOST is set without FRIGATE_URL" not in told
    told = check(inside | broker).stdout
    assert "MQTT broker" not in told
    assert "MQTT_HOST is set without FRIGATE_URL" in told


def test_a_companion_without_the_address_of_frigate_is_told(environ: dict[str, str]) -> None:
    done = check(environ | {"FRIGATE_URL": ""})
    assert "RCLONE_REMOTE is set without FRIGATE_URL" in done.stdout
    assert "set FRIGATE_URL if this is to be a companion" in done.stdout


def test_a_companion_with_a_bucket_is_checked_there(
    environ: dict[str, str], moto_server: Any, world: World
) -> None:
    bucket = moto_server.bucket()
    own = {name: text for name, text in environ.items() if not name.startswith("RCLONE")}
    done = check(own | bucket.environ)
    assert done.returncode == 0, done.stdout
    assert f"bucket {bucket.name} at" in done.stdout and "rclone" not in done.stdout
    assert json.dumps(bucket.keys()) == '[".s3-mirror-check"]'
