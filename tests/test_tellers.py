"""The companion and the child tell how they are: over a real broker and over HTTP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from frigate_mirror.demo.ports import free_ports
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.report import answers
from frigate_mirror.report.status import STALE_AFTER, Status
from tests.rig.broker import Broker
from tests.rig.servers import Bucket, Moto
from tests.rig.sinks import MemorySink
from tests.rig.waiting import until
from tests.rig.worlds import Child, World
from tests.test_companion import Companion, Frigate, complete
from tests.test_publisher import ACCEPTED, Mute, Reader
from tests.test_report import valid
from tests.test_report_pages import get
from tests.test_status import status

NAME = "attic"
STATUS, AVAILABILITY = f"frigate-mirror/{NAME}/status", f"frigate-mirror/{NAME}/availability"
Begin = Callable[..., Companion]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as started:
        yield started


@pytest.fixture
def reader(broker: Broker) -> Iterator[Reader]:
    made = Reader(broker)
    yield made
    made.stop()


@pytest.fixture
def frigate(tmp_path: Path, broker: Broker) -> Iterator[Frigate]:
    made = Frigate(tmp_path, broker)
    yield made
    made.close()


@pytest.fixture
def bucket(moto_server: Moto) -> Bucket:
    return moto_server.bucket()


@pytest.fixture
def begin(tmp_path: Path, frigate: Frigate) -> Iterator[Begin]:
    begun: list[Companion] = []

    def companion(**environ: str) -> Companion:
        folder = tmp_path / f"companion-{len(begun)}"
        begun.append(Companion(folder, frigate, MIRROR_NAME=NAME, **environ))
        return begun[-1]

    yield companion
    for one in begun:
        one.close()


def report(reader: Reader) -> dict[str, Any]:
    """Returns the newest report at the broker, or an empty one."""
    payload = reader.last(STATUS)
    if not payload:
        return {}
    found: dict[str, Any] = json.loads(payload)
    valid(found)
    return found


def test_a_companion_tells_the_broker_and_the_pages_what_it_has_uploaded(
    begin: Begin, frigate: Frigate, reader: Reader, bucket: Bucket
) -> None:
    [port] = free_ports(1)
    begin(**bucket.environ, MIRROR_HTTP_PORT=str(port), MIRROR_HOME_ASSISTANT="true")
    until(lambda: reader.last(AVAILABILITY) == b"online")
    event_id = frigate.event()
    until(lambda: complete(bucket.objects(), event_id))
    until(lambda: report(reader).get("counts", {}).get("uploaded") == 2)
    told = report(reader)
    size = sum(map(len, bucket.objects().values()))
    assert told["status"] == "OK" and told["kinds"]["snapshot"]["uploaded"] == 1
    assert told["today"]["bytes"] >= size  # the JSON goes up twice
    assert told["last_sync"] and told["duration"] >= 0
    assert told["storage"]["destination"]["bucket"] == bucket.environ["S3_BUCKET"]
    [discovery] = [topic for topic in reader.heard if topic.startswith("homeassistant/device/")]
    assert json.loads(reader.last(discovery))["state_topic"] == STATUS
    until(lambda: report(reader)["cameras"].get("front_door", {}).get("uploaded") == 2)
    site = f"http://127.0.0.1:{port}"
    assert get(f"{site}/healthz").status == 200
    assert get(f"{site}/readyz").body == "OK\n"
    page = json.loads(get(f"{site}/status").body)
    valid(page)
    assert page["name"] == NAME
    metrics = get(f"{site}/metrics")
    assert metrics.kind.startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, sample.labels.get("kind")): sample.value
        for family in text_string_to_metric_families(metrics.body)
        for sample in family.samples
        if sample.labels.get("state", "uploaded") == "uploaded"
    }
    assert found["frigate_mirror_files", "metadata"] == 1
    assert found["frigate_mirror_uploaded_bytes_total", None] >= size


def test_no_secret_is_in_what_is_told(
    begin: Begin, reader: Reader, bucket: Bucket, frigate: Frigate
) -> None:
    [port, nobody] = free_ports(2)
    secrets = {
        "S3_ACCESS_KEY": "AKIAhidden1", "S3_SECRET_KEY": "hidden2", "FRIGATE_USER": "viewer",
        "FRIGATE_PASSWORD": "hidden3", "MQTT_USER": "mirror", "MQTT_PASSWORD": "hidden4",
    }  # fmt: skip
    away = {"S3_ENDPOINT_URL": f"http://127.0.0.1:{nobody}", "MIRROR_HOME_ASSISTANT": "true"}
    begin(**bucket.environ | secrets | away, MIRROR_HTTP_PORT=str(port))
    until(lambda: report(reader).get("last_error"))
    pages = [
        get(f"http://127.0.0.1:{port}/{name}").body for name in ("readyz", "status", "metrics")
    ]
    heard = [payload.decode() for payloads in reader.heard.values() for payload in payloads]
    assert len(heard) >= 3 and "frigate_mirror_info" in pages[2]
    assert "hidden" not in "".join([*pages, *heard])


def test_who_is_killed_is_offline_and_knows_its_bytes_of_the_day_after_a_restart(
    begin: Begin, frigate: Frigate, reader: Reader, bucket: Bucket
) -> None:
    companion = begin(**bucket.environ)
    until(lambda: reader.last(AVAILABILITY) == b"online")
    event_id = frigate.event()
    until(lambda: complete(bucket.objects(), event_id))
    until(lambda: report(reader).get("counts", {}).get("uploaded") == 2)
    before = report(reader)["today"]["bytes"]
    companion.kill()
    until(lambda: reader.last(AVAILABILITY) == b"offline")
    companion.start()
    began = report(reader)["started_at"]
    until(lambda: report(reader)["started_at"] != began)
    until(lambda: report(reader)["today"]["bytes"] is not None)
    assert report(reader)["today"]["bytes"] >= before > 0
    assert companion.stop() == 0
    until(lambda: reader.last(AVAILABILITY) == b"offline")


def test_a_destination_that_is_away_is_no_reason_to_start_the_mirror_anew(
    begin: Begin, reader: Reader, bucket: Bucket
) -> None:
    [port, nobody] = free_ports(2)
    away = bucket.environ | {"S3_ENDPOINT_URL": f"http://127.0.0.1:{nobody}"}
    begin(**away, MIRROR_HTTP_PORT=str(port), S3_CONNECT_TIMEOUT="1")
    site = f"http://127.0.0.1:{port}"
    until(lambda: report(reader).get("status") == "DOWN")
    assert report(reader)["problem"] and report(reader)["last_error"]["message"]
    assert get(f"{site}/healthz").status == 200
    ready = get(f"{site}/readyz")
    assert ready.status == 503
    assert ready.body.startswith("DOWN\nthe bucket cannot be reached or denies access\n")
    assert "frigate_mirror_destination_up 0.0" in get(f"{site}/metrics").body


@pytest.mark.parametrize("greeting", [b"", ACCEPTED], ids=["never answers", "confirms nothing"])
def test_a_broker_that_accepts_and_says_nothing_more_delays_no_upload(
    greeting: bytes, bucket: Bucket, tmp_path: Path
) -> None:
    mute, world = Mute(greeting), World(tmp_path / "world")
    started = time.time()
    ids = [world.event(started=started - 60 + number) for number in range(20)]
    child = Child(
        world, **bucket.environ, MIRROR_REPORT_MQTT="true", MQTT_HOST="127.0.0.1",
        MQTT_PORT=str(mute.port), MIRROR_NAME=NAME,
    )  # fmt: skip
    try:
        until(lambda: mute.got or not greeting)
        for event_id in ids:
            child.offer(event_id)
        until(lambda: len(bucket.keys()) == len(ids))
        took = sorted(seconds_of(child.log))
        assert took[len(took) // 2] < 5, "the mirror does not wait for the broker's 60 seconds"
    finally:
        began = time.monotonic()
        assert child.end() == 0
        assert time.monotonic() - began < 20
        mute.close()


def seconds_of(log: str) -> list[float]:
    return [float(line.rpartition(" in ")[2].split()[0]) for line in log.splitlines()
            if "S3 upload: " in line]  # fmt: skip


def test_clients_that_never_read_delay_no_upload(bucket: Bucket, tmp_path: Path) -> None:
    [port] = free_ports(1)
    world = World(tmp_path / "world")
    event_id = world.event(started=time.time() - 60)
    child = Child(world, **bucket.environ, MIRROR_HTTP_PORT=str(port))
    clients: list[socket.socket] = []
    try:
        until(lambda: "S3 pages: served" in child.log)
        for _ in range(100):
            clients.append(socket.create_connection(("127.0.0.1", port)))
            clients[-1].sendall(b"GET /metrics HTTP/1.1\r\n")
        child.offer(event_id)
        until(lambda: len(bucket.keys()) == 1)
        until(lambda: get(f"http://127.0.0.1:{port}/healthz").status == 200)
    finally:
        for client in clients:
            client.close()
        assert child.end() == 0


# -- inside Frigate


def test_inside_frigate_nothing_is_told_unless_the_settings_ask_for_it(
    broker: Broker, reader: Reader, bucket: Bucket, tmp_path: Path
) -> None:
    world = World(tmp_path / "world")
    child = Child(world, **bucket.environ, **broker.environ)
    until(lambda: world.status().get("health") == "OK")
    assert child.end() == 0
    assert reader.heard == {} and "S3 pages" not in child.log


def test_inside_frigate_the_report_is_published_if_the_settings_ask_for_it(
    broker: Broker, reader: Reader, bucket: Bucket, tmp_path: Path
) -> None:
    world = World(tmp_path / "world")
    event_id = world.event(started=time.time() - 60)
    child = Child(
        world, **bucket.environ, **broker.environ, MIRROR_REPORT_MQTT="true", MIRROR_NAME=NAME
    )
    child.offer(event_id)
    until(lambda: report(reader).get("counts", {}).get("uploaded") == 1)
    assert child.end() == 0
    until(lambda: reader.last(AVAILABILITY) == b"offline")


# -- what each page says


class Reporter:
    """A reporter with this newest status, which worked `silent` seconds ago."""

    def __init__(self, found: Status | None, silent: float = 0.0) -> None:
        self.found = found
        self.pulse = time.monotonic() - silent

    def newest(self) -> Status | None:
        return self.found


@pytest.mark.parametrize(
    ("found", "silent", "healthz", "readyz", "page"),
    [
        (None, 0.0, 200, 503, 503),
        (status(), 0.0, 200, 200, 200),
        (status(troubles=["spool full"]), 0.0, 200, 200, 200),
        (status(service_answered=False), 0.0, 200, 503, 200),
        (status(service_down=True), 0.0, 200, 503, 200),
        (status(), STALE_AFTER + 5, 503, 503, 200),
    ],
    ids=["new", "OK", "DEGRADED", "UNKNOWN", "DOWN", "silent"],
)
def test_a_page_says_what_its_reader_needs_to_know(
    found: Status | None, silent: float, healthz: int, readyz: int, page: int
) -> None:
    pages = answers.pages_of(
        Reporter(found, silent),  # type: ignore[arg-type]
        lambda one: {"reasons": one.reasons},
        lambda: answers.text(answers.HTTPStatus.OK, ""),
    )
    told = [pages[path]().status for path in ("/healthz", "/readyz", "/status")]
    assert told == [healthz, readyz, page]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (status(), "OK\n"),
        (status(troubles=["spool full"]), "DEGRADED\nspool full\n"),
        (status(service_answered=False), "UNKNOWN\nthe destination has not answered yet\n"),
        (status(service_down=True), "DOWN\nthe bucket cannot be reached or denies access\n"),
    ],
    ids=["OK", "DEGRADED", "UNKNOWN", "DOWN"],
)
def test_whoever_is_not_ready_says_why(found: Status, words: str) -> None:
    pages = answers.pages_of(
        Reporter(found),  # type: ignore[arg-type]
        lambda one: {"reasons": one.reasons},
        lambda: answers.text(answers.HTTPStatus.OK, ""),
    )
    assert pages["/readyz"]().body.decode() == words


def test_a_missing_library_is_told_and_stops_nothing(tmp_path: Path, bucket: Bucket) -> None:
    [port] = free_ports(1)
    world = World(tmp_path / "world")
    for name in ("paho", "prometheus_client"):
        (tmp_path / "missing" / name).mkdir(parents=True)
        (tmp_path / "missing" / name / "__init__.py").write_text("raise ImportError('gone')")
    child = Child(
        world, **bucket.environ, PYTHONPATH=str(tmp_path / "missing"), MQTT_HOST="127.0.0.1",
        MIRROR_REPORT_MQTT="true", MIRROR_HTTP_PORT=str(port),
    )  # fmt: skip
    until(lambda: world.status().get("health") == "DEGRADED")
    [reason] = world.status()["reasons"]
    assert reason.startswith("no report is published: the library paho-mqtt is missing")
    found = get(f"http://127.0.0.1:{port}/metrics")
    assert (found.status, "prometheus_client is missing" in found.body) == (501, True)
    assert get(f"http://127.0.0.1:{port}/healthz").status == 200
    assert child.end() == 0


def test_a_certificate_for_the_broker_that_is_none_is_told_and_stops_nothing(
    tmp_path: Path, bucket: Bucket
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    world = World(tmp_path / "world")
    event_id = world.event(started=time.time() - 60)
    child = Child(
        world, **bucket.environ, MQTT_HOST="127.0.0.1", MIRROR_REPORT_MQTT="true",
        MQTT_CA_BUNDLE=str(tmp_path / "ca.pem"),
    )  # fmt: skip
    child.offer(event_id)
    until(lambda: len(bucket.keys()) == 1)
    until(lambda: world.status().get("health") == "DEGRADED")
    [reason] = world.status()["reasons"]
    assert reason.startswith("no report is published: ")
    assert child.end() == 0


def test_who_tells_the_status_gets_the_newest_one_and_none_that_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "world")
    mirror = world.mirror(MemorySink())
    reporter = mirror.reporter
    assert reporter.newest() is None and reporter.current().health
    reporter.write()
    assert reporter.current() is reporter.newest(), "the ledger is counted once"
    moment = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: moment + STALE_AFTER + 5)
    with pytest.raises(LedgerError, match="no status could be made for 1 min"):
        reporter.current()
    mirror.ledger.close()
