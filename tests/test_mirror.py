"""The whole mirror over a sink in memory, with a clock that the tests set."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Counts
from frigate_mirror.sinks.sink import Misconfigured, Receipt, Rejected, Stored, Unavailable
from tests.rig.sinks import FaultySink
from tests.rig.waiting import until
from tests.rig.worlds import DAY, NOW, Clock, World

STATS = re.compile(
    r"S3 Upload Stats - Success: \d+, Failed: \d+, Retry Queue: \d+, "
    r"Tracked Events: \d+, Failed Events: \d+, Health: (OK|DEGRADED|UNKNOWN|DOWN)"
)
DENIED = Misconfigured("list bucket/: AccessDenied", hint="allow s3:ListBucket on bucket")


class Bench:
    def __init__(self, folder: Path, **environ: str) -> None:
        self.world = World(folder, environ)
        self.clock = Clock()
        self.sink = FaultySink()
        self.open()

    def open(self) -> None:
        self.mirror = self.world.mirror(self.sink, clock=self.clock)

    def drain(self) -> None:
        while self.mirror.uploader.step():
            pass

    def round(self) -> None:
        self.mirror.sweep.sweep()
        self.mirror.sweep.look_for_waiting()
        self.drain()

    def uploaded(self, ids: set[str]) -> set[str]:
        """Returns those of the events whose picture is in the sink, byte for byte."""
        objects = self.sink.objects.items()
        return {
            event_id
            for event_id in ids
            if any(
                event_id in key and data == self.world.pictures[event_id] for key, data in objects
            )
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


@contextmanager
def check_raises(sink: FaultySink, error: Exception | None) -> Iterator[None]:
    real = sink.check

    def check() -> None:
        if error:
            raise error

    sink.check = check  # type: ignore[method-assign, assignment]
    yield
    sink.check = real  # type: ignore[method-assign]


@pytest.mark.parametrize("days", [1.1, -1.1])
def test_a_picture_that_changes_late_is_uploaded_again_a_day_later_or_after_a_clock_change(
    bench: Bench, days: float
) -> None:
    event_id = bench.world.event(started=NOW - 3 * DAY)
    bench.round()
    bench.world.pictures[event_id] += b" and a box around the dog"
    bench.world.write_picture(event_id)
    bench.mirror.sweep.compare()
    bench.clock.now += 0.9 * DAY
    bench.mirror.sweep.compare()
    bench.round()
    assert len(bench.sink.puts) == 1, "all of the window was compared within the last day"
    bench.clock.now = NOW + days * DAY
    bench.mirror.sweep.compare()
    bench.round()
    assert bench.uploaded({event_id}) == {event_id}


def test_a_week_of_events_is_in_the_bucket_after_one_round(bench: Bench) -> None:
    ids = {bench.world.event(f"cam{n % 3}", NOW - 60 - n * 7000) for n in range(80)}
    bench.round()
    assert bench.uploaded(ids) == ids
    assert bench.mirror.ledger.counts() == Counts(uploaded=80)
    assert len(bench.world.lines(".s3_uploaded_events")) == 80


def test_a_batch_size_of_one_mirrors_every_event(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "one", MIRROR_BATCH_SIZE="1")
    ids = {bench.world.event(started=NOW - 60 - n) for n in range(25)}
    bench.round()
    assert bench.uploaded(ids) == ids


def test_a_lost_ledger_is_rebuilt_from_the_state_files_and_nothing_is_uploaded_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for n in range(30):
        bench.world.event("гараж", NOW - 60 - n)
    dead = bench.world.event("dead", NOW - 30)
    bench.sink.fault = lambda key: reject() if dead in key else None
    for _ in range(10):
        bench.clock.now += 600.0
        bench.round()
    bench.mirror.reporter.write()
    puts = len(bench.sink.puts)
    bench.mirror.ledger.close()
    for path in bench.world.state.glob("ledger*"):
        path.unlink()
    bench.open()
    bench.round()
    assert len(bench.sink.puts) == puts
    assert bench.mirror.ledger.counts() == Counts(uploaded=30, failed=1)
    assert "rebuilt from the state files: 31" in caplog.text


def test_a_picture_that_vanished_from_the_bucket_is_a_dead_letter_in_a_rebuilt_ledger_too(
    bench: Bench,
) -> None:
    event_id = bench.world.event()
    bench.round()
    bench.mirror.ledger.vanished([f"snapshot:{event_id}"], "not in the bucket", NOW + 60)
    bench.mirror.reporter.write()
    bench.mirror.ledger.close()
    bench.mirror.ledger.path.unlink()
    bench.open()
    assert bench.mirror.ledger.counts() == Counts(failed=1)


def test_a_ledger_lost_in_an_outage_loses_no_picture_that_frigate_deletes_meanwhile(
    bench: Bench,
) -> None:
    ids = {bench.world.event(started=NOW - n * 60) for n in range(20)}
    bench.mirror.sweep.sweep()
    for event_id in ids:
        bench.world.forget(event_id)
        bench.world.without_snapshot(event_id)
    bench.mirror.ledger.close()
    for path in bench.world.state.glob("ledger.db*"):
        path.unlink()
    bench.open()
    bench.round()
    assert bench.uploaded(ids) == ids
    assert bench.mirror.spool.status()["spool_files"] == 0


def test_a_held_picture_is_kept_while_it_may_still_be_needed(bench: Bench) -> None:
    pending = bench.world.event(started=NOW - 60)
    bench.mirror.sweep.sweep()
    spool = bench.world.settings().state.spool_dir
    for name in ("snapshot_1-unknown", "snapshot_2-uploaded"):
        (spool / name).write_bytes(b"picture")
    bench.open()
    bench.mirror.ledger.add_settled(
        [("snapshot:2-uploaded", "c", "k", NOW, NOW, "uploaded", 0, "")]
    )
    left = {1.1 / 24: ["1-unknown", pending], 7.9: ["1-unknown", pending], 8.1: [pending]}
    for days, expected in left.items():
        later = time.time() + days * DAY
        bench.mirror.spool._clock = lambda later=later: later  # type: ignore[misc]
        bench.mirror.pruning.prune()
        held = sorted(path.name for path in spool.iterdir() if "~" not in path.name)
        assert held == [f"snapshot_{n}" for n in expected]


def test_the_spool_keeps_the_limit_of_the_owner_to_the_byte(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench", MIRROR_SPOOL_LIMIT_MB="1")
    for size in (600_000, 400_000):
        hold_a_picture_of(bench, size)
    assert bench.mirror.spool.status()["spool_bytes"] == 1_000_000
    assert bench.mirror.spool.troubles() == []
    hold_a_picture_of(bench, 20_000)
    assert bench.mirror.spool.status()["spool_bytes"] == 1_000_000
    assert "full" in bench.mirror.spool.troubles()[0]


def hold_a_picture_of(bench: Bench, size: int) -> None:
    event_id = bench.world.event(picture=False)
    bench.world.pictures[event_id] = bench.world.pictures[event_id].ljust(size, b"\0")
    bench.world.write_picture(event_id)
    bench.mirror.intake.offer(event_id)


def test_uploads_keep_the_bandwidth_limit_of_the_owner(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench", MIRROR_BANDWIDTH_LIMIT="1")
    for n in range(3):
        bench.world.event(started=NOW - DAY - n)
    bench.round()
    assert len(bench.sink.objects) == 1


def reject() -> None:
    raise Rejected("put k: EntityTooLarge", hint="it is too large")


def test_a_damaged_ledger_is_put_aside_at_the_start_and_nothing_is_uploaded_again(
    bench: Bench,
) -> None:
    for n in range(5):
        bench.world.event(started=NOW - 60 - n)
    bench.round()
    bench.mirror.ledger.close()
    (bench.world.state / "ledger.db").write_bytes(b"not a database any more, but not short either")
    bench.open()
    bench.round()
    assert len(bench.sink.puts) == 5
    assert list(bench.world.state.glob("ledger.db.damaged-*"))


def test_pruning_keeps_the_window_and_a_margin_in_the_ledger_and_in_the_state_file(
    bench: Bench,
) -> None:
    bench.world.event(started=NOW - 6 * DAY)
    bench.round()
    bench.clock.now += 4 * DAY
    bench.round()
    bench.clock.now += 3.9 * DAY  # the event began long before the window
    bench.world.event(started=bench.clock.now - 60)
    bench.round()
    bench.mirror.pruning.prune()
    assert bench.mirror.ledger.counts() == Counts(uploaded=2)
    bench.clock.now += 0.2 * DAY
    bench.mirror.pruning.prune()
    assert bench.mirror.ledger.counts() == Counts(uploaded=1, forgotten=1)
    assert bench.mirror.status().kept_for == 8 * DAY
    assert len(bench.world.lines(".s3_uploaded_events")) == 1
    bench.round()
    assert len(bench.sink.puts) == 2


def test_a_pending_upload_is_never_pruned_however_old_it_is(bench: Bench) -> None:
    ids = {bench.world.event(started=NOW - 60 - n) for n in range(5)}
    bench.sink.fault = lambda key: unavailable()
    bench.round()
    for event_id in ids:
        bench.world.forget(event_id, row=True)
    bench.clock.now += 400 * DAY
    bench.mirror.pruning.prune()
    bench.sink.fault = lambda key: None
    bench.mirror.checks.check()
    bench.drain()
    assert bench.uploaded(ids) == ids


def unavailable() -> None:
    raise Unavailable("put k: SlowDown")


@pytest.mark.parametrize("years", [-20, 20])
def test_a_clock_that_jumps_by_years_and_back_loses_nothing(bench: Bench, years: int) -> None:
    before = bench.world.event(started=NOW - 60)
    bench.round()
    bench.clock.now += years * 365 * DAY
    meanwhile = bench.world.event(started=bench.clock.now - 30)
    bench.sink.fault = lambda key: unavailable()
    assert bench.mirror.intake.offer(meanwhile)
    bench.round()
    bench.mirror.pruning.prune()
    bench.clock.now -= years * 365 * DAY
    after = bench.world.event(started=NOW - 20)
    bench.sink.fault = lambda key: None
    bench.clock.now += 60.0
    bench.mirror.checks.check()
    bench.round()
    bench.clock.now += 600.0  # longer than any pause
    bench.round()
    assert bench.uploaded({before, meanwhile, after}) == {before, meanwhile, after}
    assert bench.mirror.ledger.counts().pending == 0


def test_an_event_that_the_hook_offers_is_mirrored_even_if_its_start_time_is_wrong(
    bench: Bench,
) -> None:
    event_id = bench.world.event(started=100.0)  # a clock without a battery begins in 1970
    bench.mirror.intake.offer(event_id)
    bench.drain()
    assert bench.uploaded({event_id})


def test_a_check_that_may_not_list_only_degrades_health_while_uploads_succeed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.world.event()
    bench.round()
    with check_raises(bench.sink, DENIED):
        for _ in range(3):
            bench.mirror.checks.check()
    assert not bench.mirror.breaker.down
    assert bench.mirror.status().health == "DEGRADED"
    assert caplog.text.count("s3:ListBucket") == 1
    bench.mirror.checks.check()
    assert bench.mirror.status().health == "OK"


def test_a_successful_upload_ends_an_outage_even_if_the_check_may_not_list(bench: Bench) -> None:
    bench.world.event()
    bench.round()
    ids = {bench.world.event(started=NOW - n) for n in range(3)}
    bench.sink.fault = lambda key: unavailable()
    with check_raises(bench.sink, DENIED):
        bench.round()
        assert bench.mirror.breaker.down
        bench.sink.fault = lambda key: None
        for _ in range(100):
            bench.clock.now += 1.0
            bench.mirror.checks.check()
            bench.round()
    assert bench.uploaded(ids) == ids and not bench.mirror.breaker.down


def test_the_check_notices_an_outage_and_its_end_without_any_event(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with check_raises(bench.sink, Unavailable("list: ConnectTimeout")):
        for _ in range(5):
            bench.mirror.checks.check()
            bench.clock.now += 60.0
    assert bench.mirror.status().health == "DOWN"
    bench.mirror.checks.check()
    assert bench.mirror.status().health == "OK"
    messages = [record.getMessage() for record in caplog.records]
    assert [line for line in messages if "service" in line] == [
        "S3 service lost, everything waits: list: ConnectTimeout",
        "S3 service back after 300 s",
    ]


def test_missing_objects_are_reported_within_a_day_and_their_return_within_minutes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("frigate_mirror.mirror.time.monotonic", lambda: now[0])

    def troubles_after(hours: float) -> int:
        now[0] += hours * 3600.0
        bench.mirror.checks.verify()
        return sum(
            "are missing at the destination" in trouble
            for trouble in bench.mirror.status().troubles
        )

    bench.world.event()
    bench.round()
    assert troubles_after(0.0) == 0
    held = dict(bench.sink.objects)
    bench.sink.objects.clear()
    assert troubles_after(23.9) == 0, "the newest pictures are compared once a day"
    assert troubles_after(0.2) == 1
    bench.sink.objects.update(held)
    assert troubles_after(0.01) == 1
    assert troubles_after(0.01) == 0
    bench.sink.objects.clear()
    assert troubles_after(23.9) == 0
    assert troubles_after(0.2) == 1


def test_the_statistics_line_of_the_mirror_has_its_fixed_form(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for n in range(3):
        bench.world.event(started=NOW - n)
    bench.round()
    caplog.clear()
    bench.mirror.reporter.log_line()
    [line] = [record.getMessage() for record in caplog.records]
    assert STATS.fullmatch(line)
    assert line == (
        "S3 Upload Stats - Success: 3, Failed: 0, Retry Queue: 0, "
        "Tracked Events: 3, Failed Events: 0, Health: OK"
    )


def test_a_backlog_is_logged_in_summary_lines_only(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for n in range(40):
        bench.world.event(started=NOW - DAY - n)
    bench.round()
    bench.mirror.uploader.sum_up()
    bench.mirror.uploader.sum_up()
    assert [record.getMessage() for record in caplog.records] == [
        "S3 sweep: 40 file(s) found and queued",
        "S3 backlog: 40 file(s) uploaded, 0 to go",
    ]


def test_the_file_of_dead_letters_follows_the_ledger(bench: Bench) -> None:
    dead = bench.world.event()
    bench.sink.fault = lambda key: reject()
    for _ in range(5):
        bench.round()
        bench.clock.now += 600.0
    bench.mirror.reporter.write()
    [fields] = bench.world.lines(".s3_failed_events")
    assert fields[1] == f"snapshot:{dead}" and fields[3:] == [
        "3",
        "put k: EntityTooLarge (it is too large)",
    ]
    bench.mirror.ledger.revive(now=bench.clock())
    other = bench.world.event()
    bench.sink.fault = lambda key: reject() if other in key else None
    for _ in range(5):
        bench.round()
        bench.clock.now += 600.0
    bench.mirror.reporter.write()  # there is one dead letter again, but another one
    assert [fields[1] for fields in bench.world.lines(".s3_failed_events")] == [f"snapshot:{other}"]


def live_for(bench: Bench, days: float) -> None:
    """Lives through some days with a sweep on each. A longer step would be a jump of the clock."""
    end = bench.clock.now + days * DAY
    while bench.clock.now < end:
        bench.clock.now = min(end, bench.clock.now + DAY)
        bench.mirror.sweep.sweep()


def test_a_dead_letter_is_forgotten_after_ninety_days_with_a_log_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.world.event()
    bench.sink.fault = lambda key: reject()
    for _ in range(3):
        bench.clock.now += 600.0
        bench.round()
    live_for(bench, 89.9)
    bench.mirror.pruning.prune()
    assert bench.mirror.ledger.counts().failed == 1 and "forgotten" not in caplog.text
    bench.clock.now += 0.2 * DAY
    bench.mirror.pruning.prune()
    assert bench.mirror.ledger.counts() == Counts()
    assert "1 failed file(s) older than 90 days are forgotten" in caplog.text


def test_the_status_names_the_last_error_and_what_to_do_about_it(bench: Bench) -> None:
    bench.world.event()
    bench.sink.fault = lambda key: reject()
    bench.round()
    bench.mirror.reporter.write()
    error = bench.world.status()["last_error"]
    assert (error["message"], error["hint"]) == ("put k: EntityTooLarge", "it is too large")


def test_the_status_names_the_newer_error_of_the_check_and_the_uploads(bench: Bench) -> None:
    for newer in ("EntityTooLarge", "ConnectTimeout", "EntityTooLarge"):
        bench.clock.now += 600.0
        if newer == "ConnectTimeout":
            with check_raises(bench.sink, Unavailable("list: ConnectTimeout")):
                bench.mirror.checks.check()
        else:
            bench.sink.fault = lambda key: reject()
            bench.world.event()
            bench.mirror.checks.check()
            bench.round()
        error = bench.mirror.status().last_error
        assert error is not None and newer in error.message


def test_a_late_report_does_not_overwrite_a_status_that_says_stopped(bench: Bench) -> None:
    bench.mirror.reporter.write()
    bench.mirror.stop(drain=0.0)
    bench.mirror.reporter.write()
    assert bench.world.status()["stopped"]


def test_memory_stays_flat_over_ten_thousand_events(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "many", MIRROR_BATCH_SIZE="500", MIRROR_SPOOL_LIMIT_MB="0")
    bench.mirror.uploader._sink = sink = ForgetfulSink()
    picture = bench.world.folder / "picture.jpg"
    picture.write_bytes(b"picture")
    used = []
    # tracemalloc counts what Python holds to the byte. The process itself grows in megabytes.
    tracemalloc.start()
    for first in range(0, 10_000, 2_500):
        ids = [(f"{NOW - 10_000 + n:.1f}-{n:06d}", NOW - 10_000 + n)
               for n in range(first, first + 2_500)]  # fmt: skip
        for event_id, _ in ids:
            (bench.world.clips / f"front_door-{event_id}.jpg").hardlink_to(picture)
        bench.world.events(ids)
        bench.round()
        gc.collect()
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sink.count == 10_000
    grown = [later - sooner for sooner, later in pairwise(used)]
    # A leak grows in each step. A library may still be loaded in one of them.
    assert min(grown) < 50_000, f"more than 20 bytes are left of each event: {grown}"


class ForgetfulSink(FaultySink):
    count = 0

    def put(self, key: str, *_: Any, **__: Any) -> Receipt:
        self.count += 1
        return Receipt(key, 7, "etag", "sha256")


def test_stopping_uploads_what_is_due_within_the_drain_time(bench: Bench) -> None:
    ids = {bench.world.event(started=NOW - n) for n in range(40)}
    bench.mirror.sweep.sweep()
    bench.mirror.hasten()
    bench.mirror.start_threads()
    bench.mirror.stop(drain=10.0)
    assert bench.uploaded(ids) == ids


def test_stopping_does_not_wait_for_a_bucket_that_is_down(bench: Bench) -> None:
    bench.world.event()
    bench.sink.fault = lambda key: refuse()
    bench.round()
    bench.mirror.hasten()
    bench.mirror.start_threads()
    began = time.monotonic()
    bench.mirror.stop(drain=10.0)
    assert time.monotonic() - began < 3.0
    assert bench.mirror.ledger.counts().pending == 1


def refuse() -> None:
    raise Misconfigured("put k: AccessDenied", hint="allow s3:PutObject")


def test_stopping_abandons_an_upload_that_hangs(bench: Bench) -> None:
    go_on = threading.Event()
    bench.sink.before = lambda key: go_on.wait(20.0) and None
    bench.world.event()
    bench.mirror.sweep.sweep()
    bench.mirror.hasten()
    bench.mirror.start_threads()
    until(lambda: bench.mirror.ledger.claimed == 1)
    began = time.monotonic()
    bench.mirror.stop(drain=0.3)
    assert time.monotonic() - began < 3.0
    go_on.set()
    bench.mirror.uploader.stop(5.0)


def test_lines_that_a_full_disk_refused_are_added_to_the_state_file_later(bench: Bench) -> None:
    bench.world.cache.joinpath(".s3_uploaded_events").mkdir()  # as on a full disk
    bench.world.event()
    bench.round()
    assert bench.mirror.status().health == "DEGRADED"
    bench.world.cache.joinpath(".s3_uploaded_events").rmdir()
    bench.world.event(started=NOW - 30)
    bench.round()
    bench.mirror.pruning.prune()
    assert len(bench.world.lines(".s3_uploaded_events")) == 2
    assert bench.mirror.status().health == "OK"


def test_a_late_sweep_logs_nothing_about_a_closed_ledger(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.mirror.stop(drain=0.0)
    bench.mirror.ledger.close()
    bench.mirror.sweep.sweep()
    bench.mirror.sweep.look_for_waiting()
    assert caplog.text == ""


def test_a_ledger_deleted_while_open_causes_no_loss_and_no_second_upload(bench: Bench) -> None:
    ids = {bench.world.event(started=NOW - n) for n in range(5)}
    bench.round()
    (bench.world.state / "ledger.db").unlink()
    ids |= {bench.world.event(started=NOW - n) for n in range(5, 9)}
    bench.round()
    bench.open()
    bench.round()
    assert bench.uploaded(ids) == ids and len(bench.sink.puts) == 9


def test_a_ledger_damaged_while_open_is_noticed(bench: Bench) -> None:
    for n in range(200):
        bench.world.event(started=NOW - n)
    bench.round()
    path = bench.world.state / "ledger.db"
    bench.mirror.ledger.close()  # then no page is in memory or in the WAL
    bench.mirror.ledger = bench.mirror.intake._ledger = Ledger(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    bench.mirror.sweep.sweep()
    assert bench.mirror.ledger.damaged


def test_the_mirror_has_the_tasks_of_all_its_parts(bench: Bench) -> None:
    names = {task.run.__name__ for task in bench.mirror.tasks()}
    assert names == {
        "look_for_waiting",
        "sweep",
        "catch_up",
        "look_for_selected",
        "compare",
        "follow",
        "make",
        "hold_bulk",
        "look_for_gone",
        "tidy",
        "check",
        "check_again",
        "verify",
        "sum_up",
        "write",
        "log_line",
    }


def test_uploads_that_an_outage_delayed_before_a_restart_are_due_at_the_start(bench: Bench) -> None:
    bench.world.event(started=NOW - 60)
    bench.sink.fault = lambda key: unavailable()
    bench.round()
    assert bench.mirror.ledger.next_due() > bench.clock.now
    bench.mirror.uploader.start = lambda threads: None
    bench.mirror.hasten()
    bench.mirror.start_threads()
    assert bench.mirror.ledger.next_due() == bench.clock.now


# -- what is lost, changed, or vanished


def test_a_lost_picture_is_listed_and_degrades_health_until_it_is_uploaded(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 60)
    bench.mirror.checks.check()
    bench.sink.fault = lambda key: unavailable()
    bench.round()
    bench.mirror.spool.release(f"snapshot:{event_id}")
    bench.world.forget(event_id)
    bench.sink.fault = lambda key: None
    bench.mirror.checks.check()
    bench.clock.now += 600.0
    bench.round()
    status = bench.mirror.status()
    assert status.health == "DEGRADED" and "1 file(s) were lost" in status.reasons[0]
    assert "Failed Events: 1, Health: DEGRADED" in status.line(*bench.mirror.ledger.events())
    bench.mirror.reporter.write()
    [line] = bench.world.lines(".s3_failed_events")
    assert line[1] == f"snapshot:{event_id}"
    assert line[-1] == "deleted before it could be uploaded"
    bench.world.write_picture(event_id)
    bench.mirror.ledger.revive(now=bench.clock.now)
    bench.round()
    bench.mirror.reporter.write()
    assert bench.mirror.status().health == "OK"
    assert bench.world.lines(".s3_failed_events") == []


def test_a_lost_picture_that_comes_back_by_itself_is_uploaded(bench: Bench) -> None:
    event_id = bench.world.event(started=NOW - 60)
    bench.mirror.sweep.sweep()
    bench.mirror.spool.release(f"snapshot:{event_id}")
    bench.world.forget(event_id)
    bench.drain()
    assert bench.mirror.ledger.counts() == Counts(lost=1)
    bench.world.write_picture(event_id)
    bench.mirror.sweep.look_for_gone()
    bench.drain()
    assert bench.mirror.ledger.counts() == Counts(uploaded=1)


def test_a_lost_picture_is_forgotten_after_ninety_days_with_a_log_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    event_id = bench.world.event(started=NOW - 60)
    bench.mirror.sweep.sweep()
    bench.mirror.spool.release(f"snapshot:{event_id}")
    bench.world.forget(event_id, row=True)
    bench.drain()
    live_for(bench, 89.9)
    bench.mirror.pruning.prune()
    assert bench.mirror.ledger.counts() == Counts(lost=1)
    bench.clock.now += 0.2 * DAY
    bench.mirror.pruning.prune()
    assert bench.mirror.ledger.counts() == Counts()
    assert "1 failed file(s) older than 90 days are forgotten" in caplog.text


def test_every_sweep_compares_a_picture_for_an_hour_and_then_a_daily_comparison_does(
    bench: Bench,
) -> None:
    event_id = bench.world.event(started=NOW - 60)
    bench.round()
    bench.mirror.sweep.compare()

    def change() -> None:
        bench.world.pictures[event_id] += b"more"
        bench.world.write_picture(event_id)

    change()
    bench.clock.now += 3500.0
    bench.round()
    assert len(bench.sink.puts) == 2
    change()
    bench.clock.now += 3600.0
    bench.round()
    bench.mirror.sweep.compare()
    assert len(bench.sink.puts) == 2, "after an hour the picture is compared once a day"
    bench.clock.now += DAY
    bench.mirror.sweep.compare()
    bench.round()
    assert len(bench.sink.puts) == 3 and bench.uploaded({event_id})


def test_the_sweep_finds_events_from_before_the_clock_jumped_ahead_from_1970(
    bench: Bench,
) -> None:
    bench.clock.now = 200.0
    first = bench.world.event(started=100.0)
    bench.round()
    bench.open()  # a restart between the two
    unseen = [bench.world.event(started=300.0 + n) for n in range(3)]
    bench.clock.now = NOW
    bench.round()
    bench.clock.now += 60.0
    bench.round()
    assert bench.uploaded({first, *unseen}) == {first, *unseen}
    bench.clock.now += 3 * DAY
    bench.mirror.pruning.prune()
    bench.round()
    assert len(bench.sink.puts) == 4


def test_a_first_failed_check_is_repeated_soon_and_a_successful_one_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("frigate_mirror.mirror.time.monotonic", lambda: now[0])
    bench.mirror.checks.check()
    with check_raises(bench.sink, Unavailable("list: ConnectTimeout")):
        now[0] += 60
        bench.mirror.checks.check_again()
        assert bench.mirror.breaker.last_fault is None
        bench.mirror.checks.check()
        now[0] += 9
        bench.mirror.checks.check_again()
        assert bench.mirror.status().health == "OK", "one failure may concern one request only"
        now[0] += 1
        bench.mirror.checks.check_again()
        assert bench.mirror.status().health == "DOWN"


def test_health_is_unknown_until_the_bucket_has_answered(bench: Bench) -> None:
    assert bench.mirror.status().health == "UNKNOWN"
    bench.mirror.checks.check()
    assert bench.mirror.status().health == "OK"


def test_pictures_that_are_missing_in_the_bucket_are_reported_until_they_are_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("frigate_mirror.mirror.time.monotonic", lambda: now[0])
    for n in range(4):
        bench.world.event(started=NOW - 60 - n)
    bench.mirror.checks.verify()  # the bucket has not answered yet
    bench.round()
    objects = dict(bench.sink.objects)
    bench.mirror.checks.verify()
    assert bench.mirror.status().health == "OK"
    bench.sink.objects.clear()
    now[0] += DAY - 1
    bench.mirror.checks.verify()
    assert bench.mirror.status().health == "OK", "the newest pictures are compared once a day"
    now[0] += 2
    bench.mirror.checks.verify()
    [reason] = bench.mirror.status().reasons
    assert "4 of the newest 4 uploaded files are missing at the destination" in reason
    assert "backfill --verify" in reason
    bench.sink.objects = objects
    now[0] += 3601
    bench.mirror.checks.verify()
    assert bench.mirror.status().health == "OK"


def test_a_failed_listing_changes_no_earlier_result_and_is_repeated_soon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("frigate_mirror.mirror.time.monotonic", lambda: now[0])
    bench.world.event(started=NOW - 60)
    bench.round()
    real = bench.sink.list
    bench.sink.list = refuse_to_list  # type: ignore[method-assign]
    bench.mirror.checks.verify()
    bench.sink.list = real  # type: ignore[method-assign]
    bench.sink.objects.clear()
    now[0] += 61
    bench.mirror.checks.verify()
    assert "missing at the destination" in bench.mirror.status().reasons[0]
    bench.sink.list = refuse_to_list  # type: ignore[method-assign]
    now[0] += 61
    bench.mirror.checks.verify()
    assert "missing at the destination" in bench.mirror.status().reasons[0]


def test_a_bucket_that_may_not_be_listed_does_not_count_as_empty(bench: Bench) -> None:
    bench.world.event(started=NOW - 60)
    bench.round()
    bench.sink.objects.clear()
    real, bench.sink.list = bench.sink.list, refuse_to_list  # type: ignore[method-assign]
    bench.mirror.checks.verify()
    assert bench.mirror.status().health == "OK"
    bench.sink.list = real  # type: ignore[method-assign]


def refuse_to_list(prefix: str) -> Iterator[Stored]:
    raise DENIED
    yield


def test_a_task_that_fails_with_an_unexpected_error_degrades_health(
    bench: Bench,
) -> None:
    bench.mirror.checks.check()
    bench.mirror.note_task("housekeep", "ValueError: embedded null byte")
    assert bench.mirror.status().health == "DEGRADED"
    assert "housekeep" in bench.mirror.status().reasons[0]
    bench.mirror.note_task("housekeep", "")
    assert bench.mirror.status().health == "OK"


def test_the_sweep_holds_pictures_in_the_spool_while_the_ledger_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {bench.world.event(started=NOW - 60 - n) for n in range(5)}

    def full(*_: object) -> None:
        raise LedgerError("write ledger.db: database or disk is full")

    with monkeypatch.context() as patch:
        for name in ("add", "mend_clock", "set_note"):
            patch.setattr(bench.mirror.ledger, name, full)
        bench.round()
        assert "disk is full" in bench.mirror.status().reasons[0]
    for event_id in ids:
        bench.world.forget(event_id, row=True)
    bench.round()
    assert bench.uploaded(ids) == ids and not bench.mirror.status().troubles


def test_a_retry_that_finds_no_file_leaves_the_picture_lost(bench: Bench) -> None:
    event_id = bench.world.event()
    bench.round()
    bench.mirror.ledger.vanished([f"snapshot:{event_id}"], "not at the destination any more", NOW)
    bench.world.forget(event_id, row=True)
    assert bench.mirror.ledger.revive(now=NOW) == 1
    bench.round()
    assert bench.mirror.status().health == "DEGRADED"
    assert bench.mirror.ledger.counts() == Counts(lost=1)


# -- the owner's filters


def test_only_the_selected_events_are_uploaded_and_the_others_are_counted_apart(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "b", MIRROR_CAMERAS="front_door")
    wanted, other = bench.world.event("front_door"), bench.world.event("garage")
    bench.round()
    assert bench.uploaded({wanted, other}) == {wanted}
    assert bench.mirror.ledger.counts() == Counts(uploaded=1, unwanted=1)
    assert bench.mirror.status().reasons == []


def test_a_review_counts_within_minutes_for_the_last_day_and_within_a_day_for_the_window(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "b", MIRROR_REVIEWED="true")
    new, old = bench.world.event(started=NOW - 3600), bench.world.event(started=NOW - 3 * DAY)
    bench.round()
    bench.mirror.sweep.look_for_selected()  # the first look is at the whole window
    for event in (new, old):
        bench.world.review([event], NOW - 3 * DAY)
        bench.world.reviewed(event)
    bench.clock.now += 600
    bench.mirror.sweep.look_for_selected()
    bench.drain()
    assert bench.uploaded({new, old}) == {new}
    bench.clock.now += DAY
    bench.mirror.sweep.look_for_selected()
    bench.drain()
    assert bench.uploaded({new, old}) == {new, old}


def test_a_file_that_is_held_for_an_event_which_the_filters_leave_out_is_not_kept(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "b", MIRROR_CAMERAS="front_door")
    event = bench.world.event("garage")
    bench.round()
    assert not bench.mirror.ledger.wants_file(f"snapshot:{event}")
