"""The ping: a request comes only while the destination answers and no file waits for long."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.ledger.rows import Counts
from frigate_mirror.notify.ping import Ping
from frigate_mirror.report.status import Status
from frigate_mirror.settings.secret import Secret
from frigate_mirror.sinks.sink import Misconfigured, Unavailable
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.outage import CircuitBreaker
from tests.rig.sinks import FaultySink
from tests.rig.stub import Reply, Stub
from tests.rig.waiting import until
from tests.rig.worlds import NOW, Clock, World

GOOD = Status(
    written_at=NOW, started_at=NOW, pid=1, successes=0, failures=0, counts=Counts(),
    kept_for=1.0, behind=0.0, last_success=None, last_error=None, service_down=False,
    service_answered=True, service_since=NOW, spool_files=0, spool_bytes=0,
)  # fmt: skip


@pytest.fixture
def ok(stub: Stub) -> Stub:
    stub.default = Reply()
    return stub


def ping_of(stub: Stub, silent_for: float = 0.0, interval: float = 60.0, **status: Any) -> Ping:
    seen = dataclasses.replace(GOOD, **status)
    url = Secret(f"{stub.endpoint}/token")
    return Ping(url, lambda: seen, lambda: silent_for, check_interval=interval, steady=Clock(0.0))


@pytest.mark.parametrize(
    ("silent_for", "interval", "status", "pinged"),
    [
        (60.0, 60.0, {}, True),
        (299.0, 60.0, {}, True),
        (301.0, 60.0, {}, False),
        (7_000.0, 3_600.0, {}, True),
        (9_001.0, 3_600.0, {}, False),
        (math.inf, 60.0, {}, False),
        (0.0, 60.0, {"service_down": True}, False),
        (0.0, 60.0, {"behind": 899.0}, True),
        (0.0, 60.0, {"behind": 901.0}, False),
        (0.0, 60.0, {"counts": Counts(lost=5), "troubles": ["spool full"]}, True),
    ],
)
def test_a_ping_needs_an_answer_of_the_destination_and_a_young_backlog(
    ok: Stub, silent_for: float, interval: float, status: dict[str, Any], pinged: bool
) -> None:
    (task,) = ping_of(ok, silent_for, interval, **status).tasks()
    task.run()
    assert [seen.path for seen in ok.seen] == ["/token"] * pinged


def test_a_mirror_that_cannot_read_its_ledger_sends_no_ping(ok: Stub) -> None:
    def look() -> Status:
        raise LedgerError("disk I/O error")

    Ping(Secret(ok.endpoint), look, lambda: 0.0, check_interval=60.0).send_ping()
    assert ok.seen == []


def test_a_ping_that_is_refused_for_a_while_is_a_trouble_without_the_address(stub: Stub) -> None:
    stub.default = Reply(404)
    steady = Clock(0.0)
    url = Secret(f"{stub.endpoint}/token")
    ping = Ping(url, lambda: GOOD, lambda: 0.0, check_interval=60.0, steady=steady)
    ping.send_ping()
    steady.now = 599.0
    ping.send_ping()
    assert ping.troubles() == []
    steady.now = 601.0
    assert ping.troubles() == [
        "notices: no ping can be sent: it answers 404 Not Found: is the address right?"
    ]
    stub.default = Reply()
    ping.send_ping()
    assert ping.troubles() == []


# -- what the destination has said


def test_only_an_answer_ends_the_silence_of_the_service() -> None:
    steady = Clock(0.0)
    breaker = CircuitBreaker(Backoff(1.0, 60.0), Clock(), steady)
    assert breaker.silent_for == math.inf
    breaker.check_failed(Unavailable("no answer"))
    assert breaker.silent_for == math.inf
    for answer in (lambda: breaker.check_succeeded(idle=True), breaker.succeeded, breaker.heard):
        answer()
        steady.now += 5.0
        assert breaker.silent_for == 5.0


@contextmanager
def check_raises(sink: FaultySink, error: Exception) -> Iterator[None]:
    def check() -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sink, "check", check)
        yield


def test_a_key_that_may_put_and_not_list_has_an_answer_of_the_service_too(tmp_path: Any) -> None:
    world, sink = World(tmp_path / "world"), FaultySink()
    mirror = world.mirror(sink, clock=Clock())
    mirror.intake.offer(world.event())
    mirror.uploader.step()
    until(lambda: mirror.breaker.silent_for > 0.1)
    before = time.monotonic()
    with check_raises(sink, Misconfigured("list bucket/: AccessDenied")):
        mirror.checks.check()
    assert mirror.breaker.silent_for <= time.monotonic() - before
    mirror.ledger.close()


def test_a_check_without_an_answer_does_not_end_the_silence(tmp_path: Any) -> None:
    world, sink = World(tmp_path / "world"), FaultySink()
    mirror = world.mirror(sink, clock=Clock())
    with check_raises(sink, Unavailable("timed out")):
        mirror.checks.check()
    assert mirror.breaker.silent_for == math.inf
    mirror.checks.check()
    assert mirror.breaker.silent_for < math.inf
    mirror.ledger.close()


# -- wiring


def test_only_a_mirror_with_an_address_pings_and_only_one_with_a_way_makes_notices(
    tmp_path: Any,
) -> None:
    def threads(name: str, **environ: str) -> set[str]:
        mirror = World(tmp_path / name, environ).mirror(FaultySink())
        mirror.ledger.close()
        return {task.thread for task in mirror.tasks()}

    without = threads("none")
    assert not any(thread.startswith(("notify", "ping")) for thread in without)
    url = "http://127.0.0.1:9/a"
    some = threads("some", NOTIFY_PING_URL=url, NOTIFY_WEBHOOK_URL=url, NOTIFY_NTFY_URL=url)
    assert some - without == {"notify", "notify webhook", "notify ntfy", "ping"}
