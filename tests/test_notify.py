"""Notices reach the owner over a real server: once each, whatever is killed, set back or away."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frigate_mirror.faults import Fault
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.ledger.rows import Counts
from frigate_mirror.notify import notices as module
from frigate_mirror.notify import ping, web
from frigate_mirror.notify.notice import Notice, View, view_of
from frigate_mirror.notify.notices import FILE_NAME, Notices, latest
from frigate_mirror.notify.outbox import LARGEST, MOST_UNSENT
from frigate_mirror.notify.way import NotSent, Way
from frigate_mirror.notify.web import Ntfy, Webhook
from frigate_mirror.process.rounds import rounds_of
from frigate_mirror.report.status import DEGRADED, DOWN, OK, Status
from frigate_mirror.settings.secret import Secret
from frigate_mirror.sinks.sink import Rejected
from tests.rig.sinks import FaultySink
from tests.rig.stub import Reply, Stub
from tests.rig.waiting import PATIENCE, until
from tests.rig.worlds import DAY, NOW, Child, Clock, World

AFTER = 900.0
EIGHT = 8 * 60  # minute of the day
GOOD = Status(
    written_at=NOW,
    started_at=NOW,
    pid=1,
    successes=3,
    failures=0,
    counts=Counts(uploaded=3, forgotten=10),
    kept_for=8 * DAY,
    behind=0.0,
    last_success=NOW - 60,
    last_error=None,
    service_down=False,
    service_answered=True,
    service_since=NOW,
    spool_files=0,
    spool_bytes=0,
    target={"bucket": "pictures"},
)
AWAY = {"service_down": True, "last_error": Fault(NOW, "list bucket: timed out", "look outside")}
WELL: dict[str, Any] = {"service_down": False, "last_error": None}


class Paper:
    """A way that keeps what it gets. `fails` says why it does not take it."""

    def __init__(self, name: str = "paper") -> None:
        self.name = name
        self.fails = ""
        self.got: list[Notice] = []

    def send(self, notice: Notice) -> None:
        if self.fails:
            raise NotSent(self.fails)
        self.got.append(notice)

    @property
    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.got]


class Bench:
    """Notices whose clocks and whose status the test sets. `wall` is the date of the computer,
    `steady` the time since its start."""

    def __init__(self, folder: Path, *ways: Way, digest_at: int | None = None) -> None:
        self.folder = folder
        self.ways = ways
        self.digest_at = digest_at
        self.wall, self.steady = Clock(), Clock(0.0)
        self.status = GOOD
        self.start()

    def start(self) -> None:
        """Starts anew, as after a kill: nothing but the file is left."""
        self.notices = Notices(
            self.look, self.folder, self.ways, name="nvr", after=AFTER,
            digest_at=self.digest_at, clock=self.wall, steady=self.steady,
        )  # fmt: skip

    def look(self) -> View:
        troubles = [*self.status.troubles, *self.notices.troubles()]
        return view_of(dataclasses.replace(self.status, troubles=troubles), self.wall())

    def stays(self, seconds: float, step: float = 30.0, **status: Any) -> None:
        """Lets time pass, in which the status has these fields. All threads get their turn."""
        self.status = dataclasses.replace(self.status, **status)
        for _ in range(round(seconds / step)):
            self.wall.now += step
            self.steady.now += step
            self.turn()

    def turn(self) -> None:
        for task in self.notices.tasks():
            task.run()

    @property
    def kept(self) -> dict[str, Any]:
        """What the file holds."""
        document: dict[str, Any] = json.loads((self.folder / FILE_NAME).read_text())
        return document


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def bench(tmp_path: Path, paper: Paper) -> Bench:
    return Bench(tmp_path, paper)


@pytest.fixture
def ok(stub: Stub) -> Stub:
    stub.default = Reply()
    return stub


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.settimeout(PATIENCE)
        yield server


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def posted(stub: Stub) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in stub.seen]


# -- what is told


def test_an_outage_and_its_end_are_posted_once_each(tmp_path: Path, ok: Stub) -> None:
    bench = Bench(tmp_path, Webhook(Secret(ok.endpoint)))
    bench.stays(3_600)
    bench.stays(3_600, **AWAY)
    bench.stays(3_600, **WELL)
    trouble, well = posted(ok)
    assert (trouble["kind"], trouble["health"], trouble["mirror"]) == ("wrong", DOWN, "nvr")
    assert trouble["since"] == NOW + 3_630 and trouble["at"] == NOW + 3_630 + AFTER
    assert trouble["reasons"] == [
        "the bucket cannot be reached or denies access",
        "the last error: list bucket: timed out",
    ]
    assert trouble["what_to_do"] == "look outside"
    assert (well["kind"], well["health"], well["since"]) == ("well", OK, trouble["since"])
    assert trouble["id"] != well["id"]


def test_a_loss_is_told_with_its_figures_and_what_to_do(bench: Bench, paper: Paper) -> None:
    bench.stays(3_600, counts=Counts(lost=2, pending=1), behind=30.0)
    (told,) = paper.got
    assert told.health == DEGRADED
    assert told.title == "Frigate mirror nvr: DEGRADED"
    assert "- 2 file(s) were lost: see .s3_failed_events" in told.text
    assert "1 file(s) wait for their upload, the oldest for 30 s; 0 have failed" in told.text


def test_a_status_that_cannot_be_had_is_told(
    bench: Bench, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Status:
        raise LedgerError("the ledger cannot be read: disk I/O error")

    bench.stays(60)
    monkeypatch.setattr(bench, "look", fail)
    bench.start()
    bench.stays(3_600)
    (told,) = paper.got
    assert told.reasons == ["the ledger cannot be read: disk I/O error"]


def test_a_week_of_outage_is_at_most_one_notice_a_day(bench: Bench, paper: Paper) -> None:
    bench.stays(7 * DAY, 300.0, **AWAY)
    assert len(paper.got) == 7
    days = [notice.at - paper.got[0].at for notice in paper.got]
    assert days == [number * DAY for number in range(7)]
    assert paper.got[0].title.endswith(": DOWN") and paper.got[6].title.endswith(": still DOWN")
    assert len({notice.since for notice in paper.got}) == 1


@pytest.mark.parametrize("jump", [365 * DAY, -365 * DAY, 3_600, -3_600, 1_000 - NOW])
def test_a_clock_that_jumps_makes_no_notice_and_holds_none_back(
    bench: Bench, paper: Paper, jump: float
) -> None:
    bench.stays(600, **AWAY)
    bench.wall.now += jump
    bench.stays(240)
    assert paper.got == []
    bench.stays(120)
    bench.wall.now -= 2 * jump
    bench.stays(DAY - 600)
    assert paper.kinds == ["wrong"]
    bench.stays(1_200)
    assert paper.kinds == ["wrong", "wrong"]
    assert all(0 <= (notice.since or 0) <= max(0, notice.at) for notice in paper.got)
    bench.stays(3_600, **WELL)
    assert paper.kinds == ["wrong", "wrong", "well"]


def test_what_is_wrong_with_the_notices_is_a_trouble_and_no_notice(
    tmp_path: Path, paper: Paper
) -> None:
    broken = Paper("broken")
    broken.fails = "it answers 500"
    bench = Bench(tmp_path, paper, broken)
    bench.stays(AFTER + 300, **AWAY)
    assert bench.notices.troubles() == []
    bench.stays(1_200)
    assert bench.notices.troubles() == ["notices: none can be sent by broken: it answers 500"]
    bench.stays(3_600, **WELL)
    assert paper.kinds == ["wrong", "well"]
    assert not any("broken" in notice.text for notice in paper.got)
    broken.fails = ""
    bench.stays(1_200)
    assert (broken.kinds, bench.notices.troubles()) == (["wrong", "well"], [])


# -- none is lost, and none is sent twice


def test_notices_wait_on_disk_while_the_way_is_down_and_go_out_in_order_after_a_restart(
    tmp_path: Path, stub: Stub
) -> None:
    stub.default = Reply(503)
    bench = Bench(tmp_path, Webhook(Secret(stub.endpoint)))
    bench.stays(3_600, **AWAY)
    bench.stays(3_600, **WELL)
    tried = len(stub.seen)
    assert 2 < tried < 120, "a way that fails is tried again after pauses that grow"
    bench.start()
    stub.default = Reply()
    bench.stays(600)
    sent = posted(stub)[tried:]
    assert [one["kind"] for one in sent] == ["wrong", "well"]
    assert sent[0]["id"] == posted(stub)[0]["id"]
    bench.start()
    bench.stays(3_600)
    assert len(posted(stub)) == tried + 2


def test_a_notice_is_on_disk_before_it_is_sent_and_leaves_the_disk_after_it(
    bench: Bench, paper: Paper, monkeypatch: pytest.MonkeyPatch, synced: dict[int, tuple[str, int]]
) -> None:
    seen: list[list[str]] = []

    def send(notice: Notice) -> None:
        seen.append([one["id"] for one in bench.kept["unsent"]["paper"]])
        assert (bench.folder / FILE_NAME).stat().st_ino in synced
        assert notice.id in seen[-1]

    monkeypatch.setattr(paper, "send", send)
    while not seen:
        bench.stays(30, **AWAY)
    assert bench.kept["unsent"]["paper"] == []
    bench.stays(3_600)
    assert len(seen) == 1


class Killed(BaseException):
    """The process has ended here."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 8))
def test_a_kill_at_any_write_loses_no_notice_and_repeats_only_the_one_that_was_under_way(
    bench: Bench, paper: Paper, monkeypatch: pytest.MonkeyPatch, fatal: int, when: str
) -> None:
    real, writes = Path.replace, 0

    def replace(path: Path, target: Path) -> None:
        nonlocal writes
        writes += 1
        if writes == fatal and when == "before":
            raise Killed
        real(path, target)
        if writes == fatal:
            raise Killed

    monkeypatch.setattr(module, "KEEP_EVERY", 600.0)
    monkeypatch.setattr(Path, "replace", replace)
    for status in (AWAY, WELL):
        for _ in range(100):
            try:
                bench.stays(30, **status)
            except Killed:
                bench.start()
    assert writes > 7
    assert list(dict.fromkeys(paper.kinds)) == ["wrong", "well"]
    assert len({one.id for one in paper.got}) == 2 and len(paper.got) <= 3


def test_a_child_that_is_killed_sends_the_waiting_notice_after_its_next_start(
    tmp_path: Path, stub: Stub
) -> None:
    stub.default = Reply(503)
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = address(server)
    environ = {
        "S3_ENDPOINT_URL": nobody, "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret",
        "NOTIFY_AFTER": "1s", "NOTIFY_WEBHOOK_URL": f"{stub.endpoint}/hook", "MIRROR_NAME": "nvr",
    }  # fmt: skip
    world = World(tmp_path / "world", environ)
    child = Child(world)
    until(lambda: stub.seen, lambda: child.log)
    child.kill()
    (waiting,) = json.loads((world.state / FILE_NAME).read_text())["unsent"]["webhook"]
    tried = len(stub.seen)
    stub.default = Reply()
    child = Child(world)
    child.says("S3 notice sent by webhook: Frigate mirror nvr: DOWN")
    child.end()
    assert [one["id"] for one in posted(stub)[tried:]] == [waiting["id"]]
    assert json.loads((world.state / FILE_NAME).read_text())["unsent"]["webhook"] == []


def test_a_restart_in_the_middle_of_a_told_outage_tells_nothing_again_and_then_its_end(
    bench: Bench, paper: Paper
) -> None:
    bench.stays(3_600, **AWAY)
    bench.wall.now += 3_600
    bench.start()
    bench.stays(30, service_down=False, service_answered=False)
    bench.stays(3_600, service_answered=True, **AWAY)
    assert paper.kinds == ["wrong"]
    bench.start()
    bench.stays(3_600, **WELL)
    assert paper.kinds == ["wrong", "well"]


def test_a_process_that_is_killed_again_and_again_still_tells_of_the_outage(
    bench: Bench, paper: Paper
) -> None:
    for _ in range(20):
        assert not paper.got or bench.steady.now > AFTER
        bench.stays(120, **AWAY)
        bench.wall.now += 3_600
        bench.start()
    assert paper.kinds == ["wrong"]


def test_a_trouble_that_ended_before_it_was_told_is_over_for_the_next_process_too(
    bench: Bench, paper: Paper
) -> None:
    bench.stays(AFTER - 60, **AWAY)
    bench.stays(30, **WELL)
    bench.start()
    bench.stays(AFTER - 60, **AWAY)
    assert paper.got == []


def test_the_notices_that_wait_are_few_and_the_newest_ones(bench: Bench, paper: Paper) -> None:
    paper.fails = "it answers 500"
    bench.stays(5 * DAY, 300.0, **AWAY)
    assert len(bench.kept["unsent"]["paper"]) == 1, "the reminders take the place of the first"
    for _ in range(50):
        bench.stays(3_600, 300.0, **WELL)
        bench.stays(3_600, 300.0, **AWAY)
    bench.stays(DAY, 300.0, **WELL)
    assert len(bench.kept["unsent"]["paper"]) == MOST_UNSENT
    paper.fails = ""
    bench.stays(2 * DAY, 300.0)
    assert paper.kinds == ["wrong", "well"] * (MOST_UNSENT // 2)
    assert paper.got[-1].at > bench.wall.now - 4 * DAY


def test_a_disk_that_takes_nothing_keeps_no_notice_back(tmp_path: Path, paper: Paper) -> None:
    bench = Bench(tmp_path / "away", paper)
    bench.stays(3_600, **AWAY)
    bench.stays(3_600, **WELL)
    assert paper.kinds == ["wrong", "well"]
    (trouble,) = bench.notices.troubles()
    assert trouble.startswith("notices: a new start may repeat or forget some: ")
    assert "No such file or directory" in trouble


WRITTEN = {
    "memory": {"watch": dataclasses.asdict(module.Outbox(Path("/nowhere")).memory.watch),
               "digested": None, "uploaded": None},
    "unsent": {"paper": []},
}  # fmt: skip


def hostile(**notice: Any) -> bytes:
    fields = {
        "id": "0123456789abcdef", "kind": "wrong", "mirror": "m", "health": DOWN, "at": 1.0,
        "since": 1.0, "title": "t", "text": "a\nb", "reasons": [], "what_to_do": "",
    }  # fmt: skip
    return json.dumps(WRITTEN | {"unsent": {"paper": [fields | notice]}}).encode()


def test_the_file_of_the_outbox_is_read_as_it_was_written(bench: Bench, paper: Paper) -> None:
    (bench.folder / FILE_NAME).write_bytes(hostile())
    bench.start()
    bench.turn()
    assert [one.text for one in paper.got] == ["a\nb"]


def test_a_file_with_a_thousand_notices_sends_the_newest_few(bench: Bench, paper: Paper) -> None:
    (one,) = json.loads(hostile())["unsent"]["paper"]
    many = [one | {"id": f"{number:016x}"} for number in range(1_000)]
    (bench.folder / FILE_NAME).write_text(json.dumps(WRITTEN | {"unsent": {"paper": many}}))
    bench.start()
    bench.stays(3_600)
    assert [notice.id for notice in paper.got] == [one["id"] for one in many[-MOST_UNSENT:]]


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * (LARGEST + 1),
        hostile(id="a\r\nX-Evil: 1"), hostile(id=""), hostile(title="\ud800"),
        hostile(text="\x1b[2J"),
        hostile(at="now"), hostile(reasons=[1]), json.dumps(WRITTEN | {"unsent": []}).encode(),
        json.dumps(WRITTEN | {"memory": {}}).encode(),
    ],
    ids=range(15),
)  # fmt: skip
def test_a_file_that_makes_no_sense_counts_as_empty(bench: Bench, paper: Paper, raw: bytes) -> None:
    (bench.folder / FILE_NAME).write_bytes(raw)
    bench.start()
    bench.stays(AFTER + 60, **AWAY)
    assert paper.kinds == ["wrong"]
    assert paper.got[0].mirror == "nvr"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.floats(-(2.0**62), 2.0**62), min_size=5, max_size=5),
    since=st.none() | st.floats(-(2.0**62), 2.0**62),
    digested=st.none() | st.floats(-(2.0**62), 2.0**62),
    told=st.sampled_from(["", OK, DOWN, "x"]),
)
def test_any_numbers_in_the_file_leave_the_notices_at_work(
    tmp_path: Path, numbers: list[float], since: float | None, digested: float | None, told: str
) -> None:
    names = ("wrong_for", "down_for", "well_for", "quiet_for", "allowance")
    watch = {"since": since, "last": told, "told": told, **dict(zip(names, numbers, strict=True))}
    memory = {"watch": watch, "digested": digested, "uploaded": 2**62}
    (tmp_path / FILE_NAME).write_text(json.dumps(WRITTEN | {"memory": memory}))
    paper = Paper()
    bench = Bench(tmp_path, paper, digest_at=EIGHT)
    bench.stays(2 * AFTER, 300.0, **AWAY)
    bench.stays(2 * AFTER, 300.0, **WELL)
    assert len(paper.got) < 6


# -- the digest


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_the_digest_comes_daily_at_its_time_and_counts_since_the_last_one(
    tmp_path: Path, paper: Paper
) -> None:
    bench = Bench(tmp_path, paper, digest_at=EIGHT)  # it is 14:30
    bench.stays(17 * 3_600, 600.0)
    assert paper.got == []
    bench.stays(1_200, 600.0)
    bench.stays(600, 600.0, counts=Counts(uploaded=5, forgotten=12, failed=1))
    (first,) = paper.got
    assert first.title == "Frigate mirror nvr: 4 file(s) uploaded, DEGRADED"
    assert "has uploaded 4 file(s) since 2024-01-15 14:40 UTC" in first.text
    assert "- 1 file(s) failed for good" in first.text
    bench.stays(600, 600.0, counts=Counts(uploaded=5, forgotten=12))
    bench.start()
    bench.stays(3 * DAY, 600.0)
    assert paper.kinds == ["digest"] * 4
    assert [round(one.at - first.at) for one in paper.got] == [0, DAY, 2 * DAY, 3 * DAY]
    assert "has uploaded 0 file(s)" in paper.got[1].text


@pytest.mark.usefixtures("utc")
def test_a_digest_is_late_if_the_mirror_was_off_and_is_never_made_twice(
    tmp_path: Path, paper: Paper
) -> None:
    bench = Bench(tmp_path, paper, digest_at=EIGHT)
    bench.stays(60)
    bench.wall.now += 3 * DAY
    bench.start()
    bench.stays(60)
    assert paper.kinds == ["digest"]
    bench.stays(17 * 3_600 + 1_770)  # it is 08:00:22
    assert paper.kinds == ["digest"] * 2
    for jump in (-60.0, -1.0, 1.0, -1_800.0, 1_800.0):
        bench.wall.now += jump
        bench.stays(120)
    assert paper.kinds == ["digest"] * 2


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY, 2 * 3_600, -2 * 3_600])
def test_a_digest_comes_again_after_the_clock_was_set(
    tmp_path: Path, paper: Paper, jump: float
) -> None:
    bench = Bench(tmp_path, paper, digest_at=EIGHT)
    bench.stays(DAY, 600.0)
    bench.wall.now += jump
    before = len(paper.got)
    bench.stays(3 * DAY, 600.0)
    assert 3 <= len(paper.got) - before <= 4


def test_a_newer_digest_takes_the_place_of_one_that_waits(tmp_path: Path, paper: Paper) -> None:
    paper.fails = "it answers 500"
    bench = Bench(tmp_path, paper, digest_at=EIGHT)
    bench.stays(5 * DAY, 600.0)
    (waiting,) = bench.kept["unsent"]["paper"]
    assert waiting["at"] > bench.wall.now - DAY


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
def test_the_latest_moment_of_a_time_of_day_is_less_than_a_day_ago(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for hour in range(0, 24 * 370, 7):  # both changes of the clocks are among them
            now = NOW + 3_600.0 * hour
            for minute in (0, 150, EIGHT, 1_439):
                at = latest(minute, now)
                assert now - 25 * 3_600 <= at <= now
                if minute != 150:  # at 02:30 the clocks change
                    shown = time.localtime(at)
                    assert shown.tm_hour * 60 + shown.tm_min == minute
    finally:
        monkeypatch.undo()
        time.tzset()


# -- nobody waits for a way


def refuse(key: str) -> None:
    raise Rejected(f"put {key}: EntityTooLarge")


def test_a_way_that_is_silent_holds_up_no_other_way_and_no_status(
    tmp_path: Path, ok: Stub, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT", PATIENCE)
    hung = Webhook(Secret(address(silent)))
    bench = Bench(tmp_path, hung, Ntfy(Secret(f"{ok.endpoint}/topic"), Secret("")))
    look, *sends = bench.notices.tasks()
    bench.status = dataclasses.replace(GOOD, **AWAY)
    for _ in range(40):
        bench.steady.now += 30
        look.run()
    rounds = rounds_of(sends, lambda name, fault: None)
    for thread in rounds:
        thread.start()
    near, _ = silent.accept()
    with near:
        until(lambda: ok.seen)
        bench.steady.now += 3_600
        told = ["notices: none can be sent by webhook: it does not answer"]
        until(lambda: bench.notices.troubles() == told)
        look.run()
    for thread in rounds:
        thread.stop()


def test_an_upload_does_not_wait_for_a_webhook_that_never_answers(
    tmp_path: Path, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 10 * PATIENCE)
    monkeypatch.setattr(module, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(ping, "PING_EVERY", 0.05)
    monkeypatch.setattr(module, "GOODBYE", 0.0)
    environ = {"NOTIFY_WEBHOOK_URL": address(silent), "NOTIFY_PING_URL": address(silent)}
    environ |= {"NOTIFY_AFTER": "1s", "MIRROR_MAX_FAILED_RETRIES": "1"}
    world = World(tmp_path / "world", environ)
    sink = FaultySink()
    mirror = world.mirror(sink, clock=Clock())
    sink.fault = refuse
    mirror.intake.offer(world.event())
    mirror.uploader.step()
    sink.fault = lambda key: None
    rounds = rounds_of(mirror.tasks(), mirror.note_task)
    mirror.start_threads()
    for thread in rounds:
        thread.start()
    (first, _), (second, _) = silent.accept(), silent.accept()
    with first, second:
        assert {first.recv(4), second.recv(4)} == {b"POST", b"GET "}
        event_id = world.event(started=NOW - 10)
        mirror.intake.offer(event_id)
        until(lambda: any(event_id in key for key in sink.objects))
        until(lambda: world.status().get("counts", {}).get("uploaded") == 1)
    for thread in rounds:
        thread.stop()
    mirror.stop(0.0)
    mirror.ledger.close()


def test_the_end_waits_a_moment_for_the_notice_under_way_and_sends_no_other(
    bench: Bench, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def send(notice: Notice) -> None:
        under_way.set()
        go_on.wait(PATIENCE)
        paper.got.append(notice)

    monkeypatch.setattr(paper, "send", send)
    monkeypatch.setattr(module, "GOODBYE", PATIENCE)
    look, sending = bench.notices.tasks()
    bench.status = dataclasses.replace(GOOD, **AWAY)
    for _ in range(60):
        bench.steady.now += 30
        look.run()
    thread = threading.Thread(target=sending.run)
    thread.start()
    assert under_way.wait(PATIENCE)
    ending = threading.Thread(target=bench.notices.finish)
    ending.start()
    go_on.set()
    ending.join(PATIENCE)
    thread.join(PATIENCE)
    assert len(paper.got) == 1 and bench.kept["unsent"]["paper"] == []
    bench.stays(3_600, **WELL)
    assert len(paper.got) == 1, "what comes now waits for the next process"
    assert [one["kind"] for one in bench.kept["unsent"]["paper"]] == ["well"]
