"""The ways to the owner, each against a real server: what is sent, and how a failure is told."""

from __future__ import annotations

import contextlib
import email.header
import json
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from frigate_mirror.notify import mqtt, notice, service, web
from frigate_mirror.notify.mqtt import Mqtt
from frigate_mirror.notify.notice import Notice, View
from frigate_mirror.notify.ping import send as send_ping
from frigate_mirror.notify.service import Service
from frigate_mirror.notify.way import NotSent, Way
from frigate_mirror.notify.ways import ways_of
from frigate_mirror.notify.web import Ntfy, Webhook
from frigate_mirror.report.status import DEGRADED, DOWN
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.settings import load
from tests.rig.broker import Broker
from tests.rig.stub import Reply, Stub
from tests.rig.waiting import until
from tests.rig.worlds import NOW

TOKEN = "tk_verysecrettoken"
DOWN_VIEW = View(DOWN, ["the bucket cannot be reached", "spool full"], "look at the router")
TROUBLE = notice.wrong("Maison d'été", DOWN_VIEW, NOW - 900, NOW, again=False)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield address(server)


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def ok(stub: Stub) -> Stub:
    stub.default = Reply()
    return stub


def webhook(address: str, path: str = f"/hook/{TOKEN}") -> Webhook:
    return Webhook(Secret(address + path))


def why_not(way: Way, what: Notice = TROUBLE) -> str:
    with pytest.raises(NotSent) as raised:
        way.send(what)
    shown = f"{raised.value!r} {raised.value.__cause__!r} {raised.value}"
    assert TOKEN not in shown
    return str(raised.value)


# -- the words


def test_a_notice_of_a_trouble_says_what_since_when_why_and_what_to_do() -> None:
    assert TROUBLE.title == "Frigate mirror Maison d'été: DOWN"
    lines = TROUBLE.text.splitlines()
    assert lines[0].startswith(
        "The mirror Maison d'été does not reach its destination. Its health is DOWN, and the "
        "trouble began at 2024-01-15 "
    )
    assert lines[1:4] == [
        "- the bucket cannot be reached",
        "- spool full",
        "What to do: look at the router.",
    ]
    assert lines[-1].startswith("Written at 2024-01-15 ")


def test_a_notice_has_few_reasons_and_no_text_that_could_control_a_terminal() -> None:
    reasons = [f"camera \x1b[2J {number}\nHealth: OK" for number in range(9)]
    made = notice.wrong("nvr", View(DOWN, reasons, "look"), NOW, NOW, again=True)
    assert made.title == "Frigate mirror nvr: still DOWN"
    lines = made.text.splitlines()
    assert "- camera ?[2J 4 Health: OK" in lines and "- and 4 more" in lines
    assert all(map(str.isprintable, [*lines, *made.reasons]))


# -- the webhook


def test_a_webhook_gets_the_fields_of_the_notice_as_json(ok: Stub) -> None:
    webhook(ok.endpoint).send(TROUBLE)
    (seen,) = ok.seen
    assert (seen.method, seen.path) == ("POST", f"/hook/{TOKEN}")
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["idempotency-key"] == TROUBLE.id
    assert json.loads(seen.body) == asdict(TROUBLE)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(500), "it answers 500 Internal Server Error"),
        (Reply(599), "it answers 599"),
        (Reply(404), "it answers 404 Not Found: is the address right?"),
        (Reply(401, TOKEN.encode()), "it answers 401 Unauthorized: is the token right?"),
    ],
)
def test_a_refusal_is_told_with_its_code(stub: Stub, reply: Reply, words: str) -> None:
    stub.default = reply
    assert why_not(webhook(stub.endpoint)) == words


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed(ok: Stub, code: int) -> None:
    ok.replies.append(Reply(code, headers={"Location": f"{ok.endpoint}/elsewhere"}))
    assert "it redirects" in why_not(webhook(ok.endpoint))
    assert len(ok.seen) == 1


def test_a_server_that_accepts_and_never_answers_is_given_up(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.1)
    assert why_not(webhook(silent)) == "it does not answer within 0.1 s"


def test_a_server_that_sends_a_byte_now_and_then_is_given_up_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "DEADLINE", 0.5)
    over = threading.Event()

    def drip() -> None:
        near, _ = server.accept()
        with near, contextlib.suppress(OSError):
            near.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not over.wait(0.02):
                near.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        assert why_not(webhook(address(server))) == "it does not answer within 0.5 s"
        over.set()
        thread.join()


def test_a_name_that_does_not_resolve_and_a_closed_port_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = address(server)
    assert "it cannot be reached: Connection refused" in why_not(webhook(closed))
    assert "it cannot be reached: " in why_not(webhook("http://no-such-host.invalid"))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "it ends the connection without an answer"),
        (b"nonsense\r\n\r\n", "the request fails with BadStatusLine"),
        (b"HTTP/1.1 " + b"9" * 70_000, "the request fails with LineTooLong"),
    ],
    ids=["hangs up", "nonsense", "too long"],
)
def test_a_server_that_hangs_up_or_talks_nonsense_is_told(said: bytes, words: str) -> None:
    def answer() -> None:
        near, _ = server.accept()
        with near:
            near.recv(65_536)
            near.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        assert why_not(webhook(address(server))) == words
        thread.join()


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_stub: Stub) -> None:
    tls_stub.default = Reply()
    assert "its certificate is not accepted" in why_not(webhook(tls_stub.endpoint))
    assert tls_stub.seen == []


def test_a_certificate_of_an_authority_of_your_own_can_be_trusted(
    tls_stub: Stub, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls_stub.default = Reply()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    webhook(tls_stub.endpoint).send(TROUBLE)
    assert len(tls_stub.seen) == 1


# -- ntfy


def test_ntfy_gets_title_text_priority_and_the_id_with_which_it_drops_a_repeat(ok: Stub) -> None:
    Ntfy(Secret(f"{ok.endpoint}/topic"), Secret(TOKEN)).send(TROUBLE)
    (seen,) = ok.seen
    assert (seen.method, seen.path) == ("POST", "/topic")
    [(title, charset)] = email.header.decode_header(seen.headers["title"])
    assert title.decode(charset) == TROUBLE.title
    assert seen.body.decode() == TROUBLE.text
    assert seen.headers["priority"] == "high"
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["x-sequence-id"] == TROUBLE.id


def test_ntfy_gets_no_login_without_a_token_and_no_message_that_would_become_a_file(
    ok: Stub,
) -> None:
    long = View(DOWN, ["é" * 480] * 5, "é" * 480, "é" * 480)
    made = notice.wrong("nvr", long, NOW, NOW, again=False)
    Ntfy(Secret(f"{ok.endpoint}/topic"), Secret("")).send(made)
    (seen,) = ok.seen
    assert "authorization" not in seen.headers
    assert len(seen.body) <= 4_096 < len(made.text.encode())
    assert made.text.startswith(seen.body.decode())


@pytest.mark.parametrize(
    ("health", "tag"),
    [("OK", "white_check_mark"), (DEGRADED, "warning"), (DOWN, "warning")],
)
def test_a_digest_of_a_mirror_that_is_not_well_has_no_check_mark(
    ok: Stub, health: str, tag: str
) -> None:
    made = notice.digest("nvr", View(health, []), 7, NOW - 900, NOW)
    Ntfy(Secret(f"{ok.endpoint}/topic"), Secret("")).send(made)
    assert ok.seen[0].headers["tags"] == tag


def test_good_news_of_ntfy_are_not_urgent(ok: Stub) -> None:
    good = notice.well("nvr", View("OK", []), NOW - 900, NOW)
    Ntfy(Secret(f"{ok.endpoint}/topic"), Secret("")).send(good)
    assert ok.seen[0].headers["priority"] == "default"


# -- the ping


def test_a_ping_is_a_get_of_the_address_as_it_is(ok: Stub) -> None:
    path = f"/api/push/{TOKEN}?status=up&msg=OK&ping="
    send_ping(Secret(ok.endpoint + path))
    assert [(seen.method, seen.path) for seen in ok.seen] == [("GET", path)]


# -- apprise


def test_without_apprise_the_failure_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "pip install '.[notify]'" in why_not(Service(1, f"json://{TOKEN}"))


def test_a_service_of_apprise_gets_title_and_text(ok: Stub) -> None:
    pytest.importorskip("apprise")
    way = Service(2, ok.endpoint.replace("http", "json") + f"/{TOKEN}")
    assert way.name == "apprise 2 (json)"
    way.send(TROUBLE)
    (seen,) = ok.seen
    sent = json.loads(seen.body)
    assert (sent["title"], sent["message"], sent["type"]) == (
        TROUBLE.title, TROUBLE.text, "warning",
    )  # fmt: skip


def test_a_service_that_refuses_and_an_address_that_apprise_does_not_know_are_told(
    stub: Stub,
) -> None:
    pytest.importorskip("apprise")
    stub.default = Reply(500)
    refused = Service(1, stub.endpoint.replace("http", "json") + f"/{TOKEN}")
    assert "the service does not take it" in why_not(refused)
    assert "apprise does not know this URL" in why_not(Service(1, f"nosuchservice://{TOKEN}"))


def test_the_process_of_apprise_gets_no_secret_on_its_command_line_or_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    (tmp_path / "apprise.py").write_text(
        "import os, sys\n"
        f"open({str(told)!r}, 'w').write(repr((sys.orig_argv, dict(os.environ))))\n"
        "raise ImportError"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("S3_SECRET_KEY", TOKEN)
    monkeypatch.setenv("NOTIFY_APPRISE_URLS", f"json://{TOKEN}")
    why_not(Service(1, f"json://{TOKEN}"))
    assert sys.executable in told.read_text() and TOKEN not in told.read_text()


def test_a_service_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apprise.py").write_text("import signal; signal.pause()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(service, "TIMEOUT", 0.5)
    assert "does not answer within 0.5 s" in why_not(Service(1, f"json://{TOKEN}"))


# -- MQTT


def over_mqtt(**environ: str) -> Way:
    """The way of a companion that the settings name a broker to."""
    told = {"FRIGATE_URL": "http://127.0.0.1:1", "RCLONE_REMOTE": "/tmp", "MIRROR_NAME": "attic"}
    [way] = ways_of(load(told | environ))
    assert isinstance(way, Mqtt)
    return way


def test_a_notice_over_mqtt_has_the_fields_of_the_notice_and_is_not_retained() -> None:
    with Broker({"me": "word"}, tls=True) as broker:
        heard: list[paho.MQTTMessage] = []
        reader = paho.Client(CallbackAPIVersion.VERSION2)
        reader.username_pw_set("me", "word")
        reader.tls_set(broker.ca_bundle)
        subscribed = threading.Event()
        reader.on_subscribe = lambda *_: subscribed.set()
        reader.on_message = lambda client, _, message: heard.append(message)
        reader.connect(broker.host, broker.port)
        reader.loop_start()
        reader.subscribe("#", 1)
        assert subscribed.wait(30)
        over_mqtt(**broker.environ).send(TROUBLE)
        until(lambda: heard)
        reader.disconnect()
        reader.loop_stop()
    [message] = heard
    assert (message.topic, message.retain) == ("frigate-mirror/attic/notice", False)
    assert json.loads(message.payload) == asdict(TROUBLE)


def test_a_broker_that_refuses_or_is_away_is_told() -> None:
    with Broker({"me": "word"}) as broker:
        wrong = broker.environ | {"MQTT_PASSWORD": TOKEN}
        why = why_not(over_mqtt(**wrong))
        assert why.startswith(f"the MQTT broker {broker.host}:{broker.port}: ")
    assert "Connection refused" in why_not(over_mqtt(**broker.environ))


def test_a_broker_that_accepts_and_never_answers_is_given_up(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "WITHIN", 0.2)
    port = silent.rpartition(":")[2]
    why = why_not(over_mqtt(MQTT_HOST="127.0.0.1", MQTT_PORT=port))
    assert "does not confirm the notice" in why


def test_where_no_report_goes_to_the_broker_no_notice_does() -> None:
    told = {"FRIGATE_URL": "http://127.0.0.1:1", "RCLONE_REMOTE": "/tmp", "MQTT_HOST": "broker"}
    assert ways_of(load(told | {"MIRROR_REPORT_MQTT": "false"})) == []
