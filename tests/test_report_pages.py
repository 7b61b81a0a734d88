"""The pages /healthz, /readyz, /status and /metrics, as programs that look at them see them."""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from frigate_mirror.demo.ports import free_ports
from frigate_mirror.faults import Troubles
from frigate_mirror.ledger.rows import Counts
from frigate_mirror.report import pages
from frigate_mirror.report.metrics import Metrics
from frigate_mirror.report.pages import Pages, document, text
from frigate_mirror.report.status import Status
from frigate_mirror.report.survey import Figures
from tests.rig import ROOT
from tests.rig.waiting import until
from tests.test_status import NOW, status

HOSTILE = 'por"ch\\\n{}\x1b[2J'


@dataclass(frozen=True)
class Got:
    status: int
    kind: str
    body: str


class Site:
    """Pages that are served, at a port of their own."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.troubles = Troubles()
        self.address, self.port = address, port or free_ports(1)[0]
        self.waits = threading.Event()
        self.waits.set()
        self.part = Pages(
            address,
            self.port,
            {"/good": lambda: text(pages.HTTPStatus.OK, "good"), "/slow": self._slow,
             "/json": lambda: document({"a": "ä"})},
            self.troubles,
        )  # fmt: skip
        self.thread = threading.Thread(target=self.part.serve, daemon=True)
        self.thread.start()
        until(lambda: self.part.port or self.troubles.all())

    def _slow(self) -> pages.Answer:
        self.waits.wait(30)
        return text(pages.HTTPStatus.OK, "slow")

    def get(self, path: str) -> Got:
        return get(f"http://{self.address}:{self.port}{path}")

    def connect(self) -> socket.socket:
        return socket.create_connection((self.address, self.port), 30)

    def close(self) -> None:
        self.part.finish()
        self.thread.join(30)


def get(url: str, method: str = "GET") -> Got:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Got(answer.status, answer.headers["Content-Type"], answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Got(error.code, error.headers["Content-Type"], error.read().decode())


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_a_page_is_served_with_its_type_and_a_path_may_have_a_query(site: Site) -> None:
    assert site.get("/good") == Got(200, "text/plain; charset=utf-8", "good\n")
    assert site.get("/good?a=b").status == 200
    found = site.get("/json")
    assert (found.kind, json.loads(found.body)) == ("application/json", {"a": "ä"})
    assert get(f"http://127.0.0.1:{site.port}/good", "HEAD").body == ""


@pytest.mark.parametrize("path", ["/", "/good/", "/goods", "/../etc/passwd", "/%00"])
def test_what_is_no_page_is_not_found_and_the_answer_repeats_nothing(site: Site, path: str) -> None:
    found = site.get(path)
    assert (found.status, found.body) == (404, "there is no such page; the pages are "
                                          "/good /slow /json\n")  # fmt: skip


def test_only_looking_is_allowed(site: Site) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert get(f"http://127.0.0.1:{site.port}/good", method).status == 501


@pytest.mark.parametrize(
    "words",
    [b"\x00\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
     b"GET /good HTTP/9.9\r\n\r\n", b"GET /good HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n"],
    ids=["bytes", "no path", "a long path", "a strange version", "many headers"],
)  # fmt: skip
def test_nonsense_ends_its_own_connection_only(site: Site, words: bytes) -> None:
    with site.connect() as client:
        client.sendall(words)
        while client.recv(65_536):
            pass
    assert site.get("/good").status == 200


def test_clients_that_say_nothing_keep_nobody_out_and_are_few(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LONGEST", 1e6)
    before = threading.active_count()
    with ExitStack() as stack:
        idle = [stack.enter_context(site.connect()) for _ in range(pages.MOST * 4)]
        for client in idle[::2]:
            client.sendall(b"GET /good HT")
        until(lambda: site.get("/good").status == 200)
        until(lambda: threading.active_count() - before <= pages.MOST + 1)


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LONGEST", 0.5)
    with site.connect() as client:
        client.settimeout(0.05)
        until(lambda: has_ended(client))


def has_ended(client: socket.socket) -> bool:
    """Sends a byte, and returns whether the server has ended the connection."""
    try:
        client.sendall(b"G")
        return not client.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_pages_can_be_served_over_ipv6() -> None:
    made = Site("::1")
    try:
        assert get(f"http://[::1]:{made.port}/good").status == 200
    finally:
        made.close()


def test_a_page_that_takes_long_delays_no_other(site: Site) -> None:
    site.waits.clear()
    with site.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        assert site.get("/good").status == 200
        site.waits.set()
        assert b"slow" in read_all(client)


def read_all(client: socket.socket) -> bytes:
    found = b""
    while data := client.recv(65_536):
        found += data
    return found


def test_a_port_that_is_taken_is_a_trouble_until_it_is_free(site: Site) -> None:
    second = Site(port=site.port)
    [trouble] = second.troubles.all()
    assert f"cannot be served at 127.0.0.1:{site.port}: Address already in use" in trouble
    assert "MIRROR_HTTP_PORT to a free port, or the port to 0" in trouble
    site.close()
    again = threading.Thread(target=second.part.serve, daemon=True)
    again.start()
    until(lambda: second.part.port)
    assert second.troubles.all() == []
    assert second.get("/good").status == 200
    second.part.finish()
    again.join(30)


def test_an_address_of_another_machine_is_a_trouble_that_names_its_setting() -> None:
    [trouble] = Site(address="192.0.2.1").troubles.all()
    assert "cannot be served at 192.0.2.1:" in trouble and "MIRROR_HTTP_ADDRESS" in trouble


def test_pages_that_are_finished_are_served_no_longer(site: Site) -> None:
    site.close()
    with pytest.raises(OSError):
        site.connect()


# -- the metrics


def metrics(found: Status | None, figures: Figures = Figures()) -> str:  # noqa: B008
    return Metrics("attic", lambda: found, lambda: figures).text().decode()


def samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Returns the values by names and labels, as prometheus_client's own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


FULL = (
    status(
        counts=Counts(pending=2, failed=1, kinds={"clip": {"pending": 2}, "snapshot": {}}),
        swept_at=NOW - 10,
        sweep_took=0.25,
    ),
    Figures(
        cameras={"porch": {"uploaded": 3}, HOSTILE: {"lost": 1}},
        day="2024-01-15",
        bytes_today=123,
        bytes=4567,
        spool_free=10**9,
        remote_free=10**12,
    ),
)


def test_prometheus_own_parser_reads_the_metrics_with_hostile_names_in_them() -> None:
    found = samples(metrics(*FULL))
    assert found["frigate_mirror_camera_files", (("camera", "porch"), ("state", "uploaded"))] == 3
    assert found["frigate_mirror_camera_files",
                 (("camera", 'por"ch\\ {}?[2J'), ("state", "lost"))] == 1  # fmt: skip
    assert found["frigate_mirror_pending_files", (("kind", "clip"),)] == 2
    assert found["frigate_mirror_files", (("kind", "clip"), ("state", "uploaded"))] == 0
    assert found["frigate_mirror_dead_letters", (("fate", "failed"),)] == 1
    assert found["frigate_mirror_health", (("health", "DEGRADED"),)] == 1
    assert found["frigate_mirror_health", (("health", "OK"),)] == 0
    assert found["frigate_mirror_upload_attempts_total", (("result", "success"),)] == 1523
    assert found["frigate_mirror_uploaded_bytes_total", ()] == 4567
    assert found["frigate_mirror_last_success_timestamp_seconds", ()] == NOW - 61
    assert found["frigate_mirror_destination_free_bytes", ()] == 10**12


def test_what_is_unknown_has_no_sample() -> None:
    names = {name for name, _ in samples(metrics(None))}
    assert names == {"frigate_mirror_info"}
    new = status(service_answered=False, last_success=None)
    assert not [name for name, _ in samples(metrics(new)) if "uploaded" in name], (
        "a counter that begins at 0 after each start would be added up once more"
    )
    names = {name for name, _ in samples(metrics(new))}
    for name in ("destination_up", "destination_free_bytes", "last_success_timestamp_seconds",
                 "last_sweep_duration_seconds"):  # fmt: skip
        assert f"frigate_mirror_{name}" not in names


def test_the_number_of_series_is_bounded_however_many_cameras_there_are() -> None:
    few, many = (
        len(
            samples(
                metrics(status(), Figures(cameras={f"c{n}": {"lost": 1} for n in range(count)}))
            )
        )
        for count in (100, 10_000)
    )
    assert few == many < 600


def test_the_names_follow_the_conventions_of_prometheus() -> None:
    for family in text_string_to_metric_families(metrics(*FULL)):
        assert re.fullmatch(r"frigate_mirror(_[a-z]+)*", family.name)
        assert family.documentation.endswith(".")
        total = any(sample.name.endswith("_total") for sample in family.samples)
        assert total == (family.type == "counter"), family.name


def named_in(expression: str) -> set[str]:
    """Returns the metrics of the mirror that a query names."""
    return set(re.findall(r"\bfrigate_mirror_\w+", expression))


KNOWN = {name for name, _ in samples(metrics(*FULL))}


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    board = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    queries += [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    assert len(queries) > 8
    assert all(map(named_in, queries))
    assert set().union(*map(named_in, queries)) <= KNOWN


def test_the_alerts_ask_only_for_metrics_that_exist() -> None:
    rules = yaml.safe_load((ROOT / "docs" / "prometheus-alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) >= 5
    for alert in alerts:
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
        assert set(alert["annotations"]) == {"summary", "description"}
    assert set().union(*(named_in(alert["expr"]) for alert in alerts)) <= KNOWN


def test_the_page_lists_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "report.md").read_text()
    table = page.split("| metric | meaning |")[1]
    assert named_in(table) == KNOWN


def test_the_labels_in_the_queries_exist() -> None:
    labels: dict[str, set[str]] = {}
    for name, pairs in samples(metrics(*FULL)):
        labels.setdefault(name, {"instance", "job"}).update(label for label, _ in pairs)
    texts = [(ROOT / "docs" / name).read_text().replace('\\"', '"')
             for name in ("grafana-dashboard.json", "prometheus-alerts.yml")]  # fmt: skip
    for name, selector in re.findall(r"\b(frigate_mirror_\w+)\{([^}]*)\}", "".join(texts)):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= labels[name], name
