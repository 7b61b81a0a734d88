"""The ledger: it forgets nothing that is not uploaded, and gives it out in the right order."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frigate_mirror.artifact import Artifact, subject_of
from frigate_mirror.ledger import schema
from frigate_mirror.ledger.database import LedgerBusy, LedgerDamaged, LedgerNewer
from frigate_mirror.ledger.ledger import Ledger, LedgerError, Row
from frigate_mirror.ledger.lock import RunLock
from frigate_mirror.ledger.rows import Counts, Priority, Settled

ONE = Artifact(
    "snapshot:1705329022.5-abcdef", "front_door", 1705329022.5, "front_door/k.jpg",
    "/clips/a.jpg", 9, "image/jpeg", {"label": "person"},
)  # fmt: skip
LIVE, RETRY, BACKLOG = Priority


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def named(name: str, **other: object) -> Artifact:
    return dataclasses.replace(ONE, id=f"snapshot:{name}", key=f"k/{name}", **other)  # type: ignore[arg-type]


def claim_all(ledger: Ledger, now: float) -> list[str]:
    found = iter(lambda: ledger.claim(now), None)
    return [entry.artifact.id.partition(":")[2] for entry in found]


@pytest.mark.parametrize("priority", Priority)
def test_an_artifact_comes_back_from_the_queue_as_it_went_in(
    tmp_path: Path, priority: Priority
) -> None:
    for again in (False, True):  # and after a restart
        with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
            assert ledger.add(ONE, priority, 10.0) is not again
            entry = ledger.claim(10.0)
        assert entry is not None and entry.artifact == ONE
        assert (entry.priority, entry.tries, entry.attempts, entry.added) == (priority, 0, 0, 10.0)


def test_an_artifact_that_is_queued_again_has_all_its_tries_and_a_new_date(tmp_path: Path) -> None:
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.add(ONE, LIVE, 1.0)
        ledger.claim(1.0)
        ledger.defer(ONE.id, 2.0, "refused", charged=True)
        ledger.lose(ONE.id, "no file", 3.0)
        ledger.unclaim(ONE.id)
        assert ledger.add(ONE, LIVE, 5.0)
        first = ledger.claim(5.0)
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        second = ledger.claim(5.0)
    assert first is not None and (first.tries, first.attempts, first.added) == (0, 0, 5.0)
    assert second == first


def test_an_artifact_that_another_thread_has_claimed_is_not_claimed(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    assert ledger.claim(1.0) is not None
    # Another thread has given it up, and has not unclaimed it yet.
    ledger._database.change("UPDATE artifact SET state = 'gone'", ())
    assert ledger.add(ONE, LIVE, 2.0)
    assert ledger.claim(2.0) is None
    ledger.unclaim(ONE.id)
    assert claim_all(ledger, 2.0) == ["1705329022.5-abcdef"]


def test_a_live_artifact_is_not_due_while_the_clock_is_set_back(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 50.0)
    assert ledger.claim(49.0) is None
    assert claim_all(ledger, 50.0) == ["1705329022.5-abcdef"]


def test_a_known_artifact_is_not_added_again(ledger: Ledger) -> None:
    assert ledger.add(ONE, LIVE, 1.0)
    assert not ledger.add(ONE, BACKLOG, 2.0)
    ledger.settle([Settled(3.0, ONE.id, ONE.key)])
    assert not ledger.add(ONE, LIVE, 4.0)
    assert ledger.counts() == Counts(uploaded=1)


def test_live_artifacts_go_before_retries_and_retries_before_the_backlog(ledger: Ledger) -> None:
    for name, priority, at in [
        ("old-backlog", BACKLOG, 1), ("old-live", LIVE, 2), ("retry", LIVE, 3),
        ("new-live", LIVE, 4), ("new-backlog", BACKLOG, 5),
    ]:  # fmt: skip
        ledger.add(named(name), priority, at)
    ledger.defer("snapshot:retry", 6.0, "busy", charged=False)
    order = ["new-live", "old-live", "retry", "old-backlog", "new-backlog"]
    assert claim_all(ledger, 9.0) == order


def test_an_artifact_is_not_claimed_before_it_is_due(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.defer(ONE.id, 50.0, "busy", charged=False)
    assert ledger.claim(49.0) is None
    assert ledger.next_due() == 50.0
    assert claim_all(ledger, 50.0) == ["1705329022.5-abcdef"]
    assert ledger.next_due() is None


def test_after_a_crash_a_claimed_artifact_can_be_claimed_again(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.add(ONE, LIVE, 1.0)
    assert ledger.claim(1.0) and ledger.claim(1.0) is None
    after = Ledger(tmp_path / "ledger.db", alone=False)
    assert after.claim(1.0) is not None
    after.close()


def test_only_a_charged_deferral_costs_a_try(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.defer(ONE.id, 1.0, "busy", charged=False)
    ledger.defer(ONE.id, 1.0, "too large", charged=True)
    entry = ledger.claim(1.0)
    assert entry is not None
    assert (entry.priority, entry.tries, entry.attempts) == (RETRY, 1, 2)


def test_a_revived_dead_letter_has_all_its_tries(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.bury(ONE.id, "too large", 2.0)
    assert ledger.claim(3.0) is None and ledger.counts().failed == 1
    [letter] = ledger.dead_letters()
    assert letter == Settled(2.0, ONE.id, ONE.key, 1, "too large")
    assert ledger.revive(now=4.0) == 1
    entry = ledger.claim(4.0)
    assert entry is not None and (entry.tries, entry.priority) == (0, RETRY)


@pytest.mark.parametrize(("event", "camera", "revived"), [
    ("", "", {"1.5-a_c", "1.5-abc", "2.5-xyz"}),
    ("1.5-a_c", "", {"1.5-a_c"}),  # an underscore is no wildcard
    ("", "garage", {"2.5-xyz"}),
    ("1.5-abc", "garage", set()),
    ("abc", "", set()),
])  # fmt: skip
def test_dead_letters_are_revived_by_event_and_by_camera(
    ledger: Ledger, event: str, camera: str, revived: set[str]
) -> None:
    for name, place in [("1.5-a_c", "door"), ("1.5-abc", "door"), ("2.5-xyz", "garage")]:
        ledger.add(named(name, camera=place), LIVE, 1.0)
        ledger.bury(f"snapshot:{name}", "no", 2.0)
    assert ledger.revive(event, camera, 3.0) == len(revived)
    assert set(claim_all(ledger, 3.0)) == revived


def test_a_revived_dead_letter_from_a_state_file_waits_for_its_file(ledger: Ledger) -> None:
    ledger.add_settled([(ONE.id, "front_door", ONE.key, 5.0, 6.0, "failed", 0, "why")])
    assert ledger.revive(now=7.0) == 1
    assert ledger.claim(7.0) is None
    assert ledger.waiting(7.0, 10) == [(ONE.id, "front_door", 5.0, 0)]


def test_an_artifact_that_waited_for_its_file_is_queued(ledger: Ledger) -> None:
    ledger.wait(ONE.id, "front_door", ONE.started, due=2.0)
    assert ledger.counts().waiting == 1 and ledger.waiting(1.9, 10) == []
    assert ledger.add(ONE, LIVE, 3.0)
    entry = ledger.claim(3.0)
    assert entry is not None and entry.artifact == ONE and entry.attempts == 0


def test_after_an_outage_all_artifacts_without_a_charged_try_are_due_at_once(
    ledger: Ledger,
) -> None:
    for name, charged in [("held-up", False), ("at-fault", True)]:
        ledger.add(named(name), LIVE, 1.0)
        ledger.defer(f"snapshot:{name}", 500.0, "x", charged=charged)
    ledger.hasten(2.0)
    assert claim_all(ledger, 2.0) == ["held-up"]


def test_a_clock_that_is_set_back_by_years_delays_nothing(ledger: Ledger) -> None:
    year = 365 * 86_400.0
    ledger.add(named("queued-then"), LIVE, 30 * year)
    ledger.add(named("put-off-now"), LIVE, 1.0)
    ledger.defer("snapshot:put-off-now", 100.0, "busy", charged=False)
    ledger.wait("snapshot:waiting-then", "door", 1.0, due=30 * year)
    ledger.mend_clock(1.0, 601.0)
    assert claim_all(ledger, 1.0) == ["queued-then"]
    assert ledger.next_due() == 100.0
    assert len(ledger.waiting(1.0, 10)) == 1


def test_an_artifact_that_was_queued_meanwhile_is_not_given_up(ledger: Ledger) -> None:
    ledger.wait(ONE.id, ONE.camera, ONE.started, due=1.0)
    assert ledger.add(ONE, LIVE, 2.0)
    ledger.give_up(ONE.id, "no snapshot file", 3.0)
    assert ledger.counts() == Counts(pending=1)


def test_a_clock_that_is_set_back_by_a_minute_delays_no_new_artifact(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 60.0)
    ledger.mend_clock(1.0, 601.0)
    assert ledger.claim(1.0) is not None


def test_pruning_forgets_only_rows_that_are_settled_and_old(ledger: Ledger) -> None:
    for name, started in [("done", 10.0), ("done-new", 99.0), ("dead", 10.0), ("dying", 60.0),
                          ("pending", 1.0)]:  # fmt: skip
        ledger.add(named(name, started=started), LIVE, 1.0)
    ledger.wait("snapshot:waiting", "door", 1.0, due=1.0)
    ledger.wait("snapshot:gone", "door", 1.0, due=1.0)
    ledger.give_up("snapshot:gone", "none", 1.0)
    ledger.settle([Settled(1.0, f"snapshot:{name}", "k") for name in ("done", "done-new")])
    ledger.bury("snapshot:dead", "no", 1.0)
    ledger.bury("snapshot:dying", "no", 1.0)
    assert ledger.prune(before=80.0, dead_before=50.0) == (3, 1)
    assert ledger.counts() == Counts(waiting=1, pending=1, uploaded=1, failed=1, forgotten=1)


def test_pruning_goes_on_past_its_first_page(ledger: Ledger) -> None:
    ledger.add_settled(
        (f"snapshot:{n}", "c", "k", 1.0, 1.0, "uploaded", 0, "") for n in range(2500)
    )
    assert ledger.prune(2.0, 2.0) == (2500, 0)


def test_forgotten_uploads_stay_counted_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    for life in range(2):
        with contextlib.closing(Ledger(path)) as ledger:
            for n in range(1500):
                ledger.add(named(f"{life}-{n}", started=1.0), LIVE, 1.0)
            ledger.settle([Settled(1.0, f"snapshot:{life}-{n}", "k") for n in range(1200)])
            assert ledger.counts().uploaded == 1200
            ledger.prune(2.0, 2.0)
            assert ledger.counts() == Counts(pending=300 + 300 * life, forgotten=1200 + 1200 * life)


def test_only_uploads_of_this_ledger_are_counted_when_they_are_forgotten(ledger: Ledger) -> None:
    listed = ("snapshot:listed", "c", "k", 1.0, 1.0, "uploaded", 0, "")
    for _ in range(2):  # a second listing of the bucket has the same objects
        ledger.add_settled([listed])
        ledger.prune(2.0, 2.0)
    ledger.wait("snapshot:gone", "door", 1.0, due=1.0)
    ledger.give_up("snapshot:gone", "none", 1.0)
    ledger.prune(2.0, 2.0)
    assert ledger.counts() == Counts()


def test_the_last_upload_is_known_after_a_restart_and_after_its_row_is_forgotten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as ledger:
        assert ledger.last_upload() is None
        for name in ("a", "b", "c"):
            ledger.add(named(name, started=1.0), LIVE, 1.0)
        ledger.settle([Settled(7.5, "snapshot:b", "k"), Settled(6.0, "snapshot:a", "k")])
        ledger.bury("snapshot:c", "no", 9.0)
    with contextlib.closing(Ledger(path)) as ledger:
        assert ledger.last_upload() == 7.5
        ledger.prune(8.0, 8.0)
        assert ledger.last_upload() == 7.5


def test_the_last_upload_of_an_older_ledger_is_that_of_its_rows(ledger: Ledger) -> None:
    rows = [(f"snapshot:{n}", "c", "k", 1.0, float(n), "uploaded", 0, "") for n in range(9)]
    ledger.add_settled([*rows, ("snapshot:x", "c", "k", 1.0, 99.0, "failed", 0, "no")])
    assert ledger.last_upload() == 8.0
    ledger.prune(100.0, 0.0)
    assert ledger.counts().uploaded == 0
    assert ledger.last_upload() == 8.0


def test_of_two_ledgers_the_later_upload_and_the_larger_count_of_forgotten_ones_are_taken_over(
    tmp_path: Path,
) -> None:
    def fill(name: str, forgotten: int, at: float) -> Ledger:
        ledger = Ledger(tmp_path / name)
        for n in range(forgotten):
            ledger.add(named(f"{name}-{n}", started=1.0), LIVE, 1.0)
        ledger.settle([Settled(at, f"snapshot:{name}-{n}", "k") for n in range(forgotten)])
        ledger.prune(100.0, 100.0)
        return ledger

    fill("more", 12, 5.0).close()
    with contextlib.closing(fill("fewer", 9, 10.0)) as ledger:
        ledger.take_over(tmp_path / "more")
        assert (ledger.counts().forgotten, ledger.last_upload()) == (12, 10.0)
        ledger.take_over(tmp_path / "more")
        assert ledger.counts().forgotten == 12
    with contextlib.closing(Ledger(tmp_path / "empty")) as ledger:
        ledger.take_over(tmp_path / "fewer")
        assert (ledger.counts().forgotten, ledger.last_upload()) == (12, 10.0)


def test_a_span_tells_how_many_of_its_artifacts_were_uploaded_since_a_moment(
    ledger: Ledger,
) -> None:
    for name, started in (("early", 5.0), ("in", 10.0), ("before", 11.0), ("late", 20.0)):
        ledger.add(named(name, started=started), LIVE, 1.0)
    for at, names in ((49.0, ["before"]), (50.0, ["early", "in", "late"])):
        ledger.settle([Settled(at, f"snapshot:{name}", "k") for name in names])
    assert ledger.uploaded_after(50.0, 10.0, 20.0) == 1
    assert ledger.uploaded_after(49.0, 10.0, 20.0) == 2


def test_settled_artifacts_of_an_earlier_life_are_added_once(ledger: Ledger) -> None:
    rows = [
        (f"snapshot:{n}", "c", f"k/{n}", float(n % 7), 5.0, "uploaded", 0, "") for n in range(2500)
    ]
    ledger.add(named("3"), LIVE, 1.0)
    assert ledger.add_settled(rows) == 2499
    assert ledger.add_settled(rows) == 0
    assert ledger.counts() == Counts(pending=1, uploaded=2499)
    listed = [one.id for one in ledger.uploaded(page=100)]
    assert len(listed) == len(set(listed)) == 2499


def test_unknown_ids_come_back_in_their_order(ledger: Ledger) -> None:
    ledger.add(named("b"), LIVE, 1.0)
    assert ledger.unknown(["snapshot:c", "snapshot:b", "snapshot:a"]) == [
        "snapshot:c",
        "snapshot:a",
    ]
    assert ledger.unknown([]) == []


def test_ids_are_found_among_a_thousand_others(ledger: Ledger) -> None:
    between = ((f"snapshot:5-{n}", "c", "k", 1.0, 5.0, "uploaded", 0, "") for n in range(1000))
    ledger.add_settled(between)
    ledger.add(named("9"), LIVE, 1.0)
    asked = ["snapshot:9", "snapshot:1", "snapshot:5-7", "snapshot:10"]
    assert ledger.unknown(asked) == ["snapshot:1", "snapshot:10"]


QUESTIONS: dict[str, Callable[[Ledger], object]] = {
    "claim": lambda ledger: ledger.claim(1.0),
    "next due": lambda ledger: ledger.next_due(),
    "hasten": lambda ledger: ledger.hasten(1.0),
    "mend the clock": lambda ledger: ledger.mend_clock(1.0, 601.0),
    "waiting": lambda ledger: ledger.waiting(0.5, 10),
    "counts of the dead": lambda ledger: list(ledger.dead_letters()),
    "oldest": lambda ledger: ledger.oldest_pending(),
    "a page": lambda ledger: next(ledger.pending(lambda one: True, page=10)),
    "unknown": lambda ledger: ledger.unknown(["snapshot:0", "snapshot:z"]),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_a_query_of_the_queue_costs_the_same_however_long_the_queue_is(
    ledger: Ledger, question: Callable[[Ledger], object]
) -> None:
    with ledger._database.writing() as sql:
        for state in ("pending", "waiting"):
            sql.executemany(
                """INSERT INTO artifact (id, camera, started, state, priority, due, added)
                   VALUES (?, 'c', 1.0, ?, 2, 1.0, 1.0)""",
                ((f"snapshot:{state}-{n}", state) for n in range(5000)),
            )
    ledger.add(ONE, LIVE, 1.0)  # due now, as all the others
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 100

    ledger._database._sql.set_progress_handler(count, 100)
    question(ledger)
    ledger._database._sql.set_progress_handler(None, 0)
    assert steps < 2000, "steps of SQLite; to look at each row takes 5,000 and more"


def test_a_span_is_counted_by_itself(ledger: Ledger) -> None:
    for name, started in [("in", 10.0), ("in-dead", 19.0), ("before", 9.0), ("at-end", 20.0)]:
        ledger.add(named(name, started=started), LIVE, 1.0)
    ledger.bury("snapshot:in-dead", "no", 1.0)
    assert ledger.between(10.0, 20.0) == Counts(pending=1, failed=1)


def test_the_file_is_wanted_until_the_artifact_is_in_the_bucket(ledger: Ledger) -> None:
    assert not ledger.wants_file(ONE.id)
    ledger.add(ONE, LIVE, 1.0)
    assert ledger.wants_file(ONE.id)
    ledger.bury(ONE.id, "no", 1.0)
    assert ledger.wants_file(ONE.id)  # `retry` will read it
    ledger.revive(now=1.0)
    ledger.settle([Settled(1.0, ONE.id, ONE.key)])
    assert not ledger.wants_file(ONE.id)


def test_the_queue_is_read_in_pages_and_only_where_wanted(ledger: Ledger) -> None:
    names = [f"{n}-a" for n in range(7)]
    for name in names:
        ledger.add(named(name), LIVE, 1.0 if name < "3" else 2.0)
    ledger.settle([Settled(3.0, "snapshot:5-a", "k")])
    found = ledger.pending(lambda one: one != "snapshot:1-a", page=2)
    expected = [named(name) for name in names if name not in ("1-a", "5-a")]
    assert list(found) == expected


def test_settling_that_fails_changes_nothing_and_keeps_all_artifacts_claimed(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for name in ("a", "b"):
        ledger.add(named(name), LIVE, 1.0)
    assert len(claim_all(ledger, 1.0)) == 2
    bad = Settled(1.0, "snapshot:b", "k")
    object.__setattr__(bad, "at", object())  # what SQLite cannot store
    with pytest.raises(LedgerError):
        ledger.settle([Settled(1.0, "snapshot:a", "k"), bad])
    assert ledger.counts() == Counts(pending=2) and ledger.claimed == 2
    ledger.close()


def test_a_closed_ledger_raises_a_ledger_error(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(LedgerError):
        ledger.claim(1.0)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to look", b"\0" * 4096])
def test_a_file_that_is_no_database_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(LedgerDamaged):
        Ledger(tmp_path / "ledger.db")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE artifact SET state = CAST(x'c3282828' AS TEXT)",
        "ALTER TABLE artifact RENAME COLUMN due TO dve",
        "DROP TABLE artifact",
    ],
)
def test_a_ledger_with_nonsense_in_it_is_damaged(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
    scribble(path, statement)
    with pytest.raises(LedgerDamaged):
        Ledger(path).counts()


@pytest.mark.parametrize("text", ["{", "[]x", ""])
def test_a_row_that_cannot_be_read_is_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.db"
    opened = Ledger(path)
    opened.add(ONE, BACKLOG, 1.0)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE artifact SET metadata = ?", (text,))
        raw.commit()
    with pytest.raises(LedgerDamaged):
        opened.claim(2.0)
    assert opened.damaged
    opened.close()


def test_an_unknown_state_is_damage_in_an_open_ledger_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
        scribble(path, "UPDATE artifact SET state = 'up,oaded'")
        with pytest.raises(LedgerDamaged):
            opened.counts()
        with pytest.raises(LedgerDamaged):
            opened.between(0.0, 2e9)


@pytest.mark.parametrize("at", ["1e300", "'never'", "x'00'"])
def test_a_time_that_cannot_be_written_is_damage(tmp_path: Path, at: str) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
        opened.settle([Settled(2.0, ONE.id, ONE.key)])
        scribble(path, f"UPDATE artifact SET settled = {at}")
        with pytest.raises(LedgerDamaged):
            list(opened.uploaded())


def scribble(path: Path, statement: str) -> None:
    """Changes the ledger without the checks of its tables."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute(statement)
        raw.commit()


def test_a_view_or_statistics_that_the_owner_added_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
    scribble(path, "ANALYZE")
    scribble(path, "CREATE VIEW dead AS SELECT id FROM artifact WHERE state = 'failed'")
    with contextlib.closing(Ledger(path)) as opened:
        assert opened.claim(1.0) is not None


def test_an_artifact_that_changed_while_it_waited_for_its_file_is_claimed_as_it_is_now(
    ledger: Ledger,
) -> None:
    ledger.wait(ONE.id, "porch", ONE.started + 1, due=2.0)
    ledger.add(ONE, LIVE, 3.0)
    entry = ledger.claim(3.0)
    assert entry is not None and entry.artifact == ONE


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
def test_a_folder_in_the_place_of_one_of_its_files_is_damage(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / f"ledger.db{ending}").unlink()
    (tmp_path / f"ledger.db{ending}").mkdir()
    with pytest.raises(LedgerDamaged):
        Ledger(path).add(ONE, LIVE, 1.0)


def test_a_log_that_was_cut_while_open_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as first:
        first.add_settled(
            (f"snapshot:{n}", "c", "k" * 50, 1.0, 1.0, "uploaded", 0, "") for n in range(300)
        )
        with contextlib.closing(
            Ledger(path, alone=False)
        ) as second:  # which has no page in memory yet
            os.truncate(tmp_path / "ledger.db-wal", 5000)
            with pytest.raises(LedgerDamaged, match="I/O error"):
                list(second.uploaded())


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_too_many_open_files_are_no_damage(tmp_path: Path, spare: int) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, before[1]))
    try:
        with pytest.raises(LedgerError) as raised:
            Ledger(path).add(ONE, LIVE, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not isinstance(raised.value, LedgerDamaged)


def test_only_the_owner_can_read_a_ledger(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add(ONE, LIVE, 1.0)
    files = list(tmp_path.iterdir())
    assert len(files) == 3  # with the write-ahead log and its index
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_one_process_at_a_time_holds_the_run_lock(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path / "lock"), RunLock(tmp_path / "lock")
    assert first.acquire() and first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_a_refused_lock_leaves_no_open_file_behind(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path / "lock"), RunLock(tmp_path / "lock")
    first.acquire()
    before = len(os.listdir("/proc/self/fd"))
    assert not any(second.acquire() for _ in range(20))
    assert len(os.listdir("/proc/self/fd")) == before
    first.release()


OLD = Path(__file__).resolve().parent / "fixtures" / "ledger-1.db"
"""A ledger that the first edition made: four artifacts in the queue, and one or two of each other
state. It took a clip that it found in the bucket for a snapshot."""


OLD_2, OLD_3 = OLD.with_name("ledger-2.db"), OLD.with_name("ledger-3.db")
"""A ledger of version 2: four artifacts in the queue, one of them changed after its upload; two
uploaded ones, one of them with a flaw that is acknowledged; and one of each other state."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(OLD, tmp_path / "ledger.db"))


@pytest.fixture
def old_2(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(OLD_2, tmp_path / "ledger.db"))


@pytest.fixture
def old_3(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(OLD_3, tmp_path / "ledger.db"))


def test_a_ledger_of_the_first_version_keeps_every_row(old: Path) -> None:
    with contextlib.closing(Ledger(old)) as ledger:
        assert ledger.counts() == Counts(
            waiting=1, pending=4, uploaded=4, failed=1, lost=1, gone=1, retrying=2
        )
        [failed, lost] = ledger.dead_letters()
        assert (failed.error, failed.tries) == ("put x: EntityTooLarge: too large", 1)
        assert lost.error == "deleted before it could be uploaded"
        entry = ledger.claim(1705329150.0)
        assert entry is not None and entry.artifact.size == 1027
        assert entry.artifact.metadata["label"] == "person"
        ledger.settle([Settled(1.0, entry.artifact.id, entry.artifact.key)])
        assert ledger.counts().uploaded == 5
        assert ledger.claim(1705329150.0) is not None
        assert ledger.next_due() == 1705329200.0


def test_a_clip_that_the_first_edition_took_for_a_snapshot_is_a_clip(old: Path) -> None:
    event = "1705329030.5-abcde0"
    with contextlib.closing(Ledger(old)) as ledger:
        assert ledger.unknown([f"snapshot:{event}", f"clip:{event}"]) == [f"snapshot:{event}"]


def test_a_ledger_of_the_second_version_keeps_every_row(old_2: Path) -> None:
    before = rows_of(old_2)
    with contextlib.closing(Ledger(old_2)) as ledger:
        assert ledger.counts() == Counts(
            waiting=1, pending=4, uploaded=2, failed=1, lost=1, gone=1, retrying=1, acknowledged=1
        )
        assert ledger.note("window") == "kept"
    after = [old_columns(row) for row in rows_of(old_2)]
    assert [row.pop("digest") for row in after] == [None] * 10
    assert [row | {"source": row.pop("origin")} for row in after] == before


def test_a_ledger_of_the_third_version_keeps_every_row(old_3: Path) -> None:
    before = rows_of(old_3)
    with contextlib.closing(Ledger(old_3)) as ledger:
        ledger.leave_out([("snapshot:1-new", "garage", 1.0, "cameras: not chosen")], 1.0)
        assert ledger.counts().unwanted == 1
    after = [old_columns(row) for row in rows_of(old_3)]
    assert [row for row in after if row["state"] != "unwanted"] == before


def test_a_ledger_of_the_fourth_version_keeps_every_row(tmp_path: Path) -> None:
    path = Path(shutil.copyfile(OLD.with_name("ledger-4.db"), tmp_path / "ledger.db"))
    before = rows_of(path)
    with contextlib.closing(Ledger(path)) as ledger:
        ledger.wait("clip:1-new", "garage", 1.0, 2.0, bulk=True)
        assert ledger.waiting(2.0, 10, bulk=True) == [("clip:1-new", "garage", 1.0, 1)]
    after = [old_columns(row) for row in rows_of(path)]
    assert [row for row in after if row["id"] != "clip:1-new"] == before


def old_columns(row: dict[str, object]) -> dict[str, object]:
    """Returns the columns that a row had up to version 4."""
    assert (row.pop("bulk"), row.pop("about")) in ((0, None), (1, None))
    return row


def test_the_queue_of_a_ledger_of_the_second_version_keeps_its_origin_and_order(
    old_2: Path,
) -> None:
    with contextlib.closing(Ledger(old_2)) as ledger:
        entries = list(iter(lambda: ledger.claim(1705329300.0), None))
    assert [entry.artifact.id[-1] for entry in entries] == ["2", "0", "1", "3"]
    for entry in entries:
        name = f"front_door-{subject_of(entry.artifact.id)}.jpg"
        assert entry.artifact.origin == f"/media/frigate/clips/{name}"
        assert entry.artifact.metadata["label"] == "person"


def rows_of(path: Path) -> list[dict[str, object]]:
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.row_factory = sqlite3.Row
        return [dict(row) for row in raw.execute("SELECT * FROM artifact ORDER BY id")]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_migration_that_fails_changes_nothing(
    version: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = request.getfixturevalue({1: "old", 2: "old_2", 3: "old_3"}[version])
    before = rows_of(path)
    with monkeypatch.context() as patch:
        patch.setitem(schema.CHANGED, version, {"origin": "no_such_column"})
        with pytest.raises(LedgerError):
            Ledger(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (version,)
    assert rows_of(path) == before
    with contextlib.closing(Ledger(path)) as ledger:
        assert ledger.counts().pending == 4


@pytest.mark.parametrize("version", [1, 2, 3, 5])
def test_a_column_that_a_later_version_adds_is_added_to_every_older_ledger(
    version: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = request.getfixturevalue({1: "old", 2: "old_2", 3: "old_3", 5: "old_3"}[version])
    if version == 5:
        Ledger(path).close()
    name = "    acknowledged INTEGER"
    monkeypatch.setattr(schema, "DDL", schema.DDL.replace(name, f"    colour TEXT,\n{name}"))
    monkeypatch.setattr(schema, "VERSION", 6)
    monkeypatch.setitem(schema.CHANGED, 5, {})
    with contextlib.closing(Ledger(path)) as ledger:
        assert ledger.counts().pending == 4
        assert ledger.claim(1705329150.0) is not None
        with contextlib.closing(Ledger(path.with_name("new.db"))) as new:
            assert new.take_over(path) == 5
            assert new.counts() == ledger.counts()
    assert "colour" in rows_of(path)[0]


def test_a_newer_ledger_is_kept_as_it_is_and_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE artifact (id TEXT)")
        raw.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(LedgerNewer, match=r"newer version of the mirror.*install"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_command_beside_a_running_mirror_never_changes_the_form_of_its_ledger(old: Path) -> None:
    with pytest.raises(LedgerError, match="older version"):
        Ledger(old, alone=False)
    assert old.read_bytes() == OLD.read_bytes()


def test_a_command_beside_a_running_mirror_makes_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError):
        Ledger(tmp_path / "ledger.db", alone=False)
    assert list(tmp_path.iterdir()) == []


# Holds the locks on a database's shared memory that SQLite holds while it recovers it.
RECOVERS = """
import fcntl, sys
shared = open(sys.argv[1], "w+b")
shared.truncate(32768)
fcntl.lockf(shared, fcntl.LOCK_SH, 1, 128)
fcntl.lockf(shared, fcntl.LOCK_EX, 8, 120)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_ledger_that_another_process_is_recovering_is_busy_and_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.ledger.database.BUSY_SECONDS", 0)
    Ledger(tmp_path / "ledger.db").close()
    with subprocess.Popen(
        [sys.executable, "-c", RECOVERS, str(tmp_path / "ledger.db-shm")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(LedgerBusy):
            Ledger(tmp_path / "ledger.db")
        other.kill()
    Ledger(tmp_path / "ledger.db").close()


@pytest.fixture
def with_a_damaged_page(tmp_path: Path) -> Path:
    """A ledger that was closed in good order and damaged by the disk afterwards."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as ledger:
        rows = [
            (f"snapshot:{n:05d}", "c", "k" * 100, 1.0, 1.0, "uploaded", 0, "") for n in range(500)
        ]
        ledger.add_settled(rows)
    pages = bytearray(path.read_bytes())
    pages[8192:12288] = b"\xff" * 4096  # a page of the table
    path.write_bytes(pages)
    return path


def test_after_a_crash_the_whole_ledger_is_read_through(with_a_damaged_page: Path) -> None:
    with contextlib.closing(sqlite3.connect(with_a_damaged_page)) as raw:
        raw.execute("INSERT INTO note VALUES ('open', '')")
        raw.commit()
    with pytest.raises(LedgerDamaged):
        Ledger(with_a_damaged_page)


def test_a_ledger_that_was_closed_in_good_order_is_opened_without_reading_all_of_it(
    with_a_damaged_page: Path,
) -> None:
    Ledger(with_a_damaged_page).close()


def test_a_new_version_of_an_uploaded_artifact_is_queued(ledger: Ledger) -> None:
    ledger.add(named("a", version="1"), LIVE, 1.0)
    ledger.claim(1.0)
    ledger.settle([Settled(2.0, "snapshot:a", "k/a", version="1")])
    assert ledger.versions(["snapshot:a", "snapshot:b"]) == {"snapshot:a": "1"}
    assert not ledger.add(named("a", version="1"), LIVE, 3.0)
    assert ledger.add(named("a", version="2"), LIVE, 3.0)
    entry = ledger.claim(3.0)
    assert entry is not None and entry.artifact.version == "2"


def test_a_version_that_came_during_its_upload_stays_in_the_queue(ledger: Ledger) -> None:
    ledger.add(named("a", version="1"), LIVE, 1.0)
    ledger.claim(1.0)
    assert ledger.add(named("a", version="2"), LIVE, 2.0)
    assert ledger.settle([Settled(3.0, "snapshot:a", "k/a", version="1")]) == {"snapshot:a"}
    entry = ledger.claim(3.0)
    assert entry is not None and entry.artifact.version == "2"
    assert ledger.settle([Settled(4.0, "snapshot:a", "k/a", version="2")]) == set()
    assert ledger.counts() == Counts(uploaded=1)


def test_a_lost_new_version_leaves_the_earlier_one_uploaded_with_a_flaw(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", version="1"), LIVE, 1.0)
    ledger.settle([Settled(2.0, "snapshot:a", "k/a", version="1")])
    ledger.add(named("a", version="2"), LIVE, 3.0)
    ledger.lose("snapshot:a", "deleted", 4.0)
    assert ledger.counts() == Counts(uploaded=1, flawed=1)
    [letter] = ledger.dead_letters()
    assert letter.error == "only an earlier version is in the bucket: deleted"
    ledger.add(named("a", version="3"), LIVE, 5.0)
    ledger.settle([Settled(6.0, "snapshot:a", "k/a", version="3")])
    assert ledger.counts() == Counts(uploaded=1)


def test_an_upload_older_than_versions_is_repeated_if_the_size_differs(
    ledger: Ledger,
) -> None:
    for name, size in (("same", 9), ("other", 8), ("unknown", 0)):
        ledger.add_settled([(f"snapshot:{name}", "c", "k", 1.0, 1.0, "uploaded", size, "")])
    with contextlib.closing(sqlite3.connect(ledger.path)) as raw:
        raw.execute("UPDATE artifact SET version = NULL")
        raw.commit()
    added = [one for one in ("same", "other", "unknown") if ledger.add(named(one), LIVE, 2.0)]
    assert added == ["other"]


def test_a_lost_artifact_counts_until_it_is_acknowledged(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.lose(ONE.id, "deleted before it could be uploaded", 2.0)
    assert ledger.counts() == Counts(lost=1)
    assert [letter.error for letter in ledger.dead_letters()] == [
        "deleted before it could be uploaded"
    ]
    assert ledger.acknowledge(camera="garage") == 0
    assert ledger.acknowledge(camera=ONE.camera) == 1
    assert ledger.acknowledge() == 0
    assert ledger.counts() == Counts(acknowledged=1)
    assert len(list(ledger.dead_letters())) == 1
    assert ledger.revive(now=3.0) == 1
    assert ledger.counts() == Counts(pending=1, retrying=1)


def test_an_upload_with_a_flaw_counts_until_it_is_acknowledged(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", flaw="breaks off"), LIVE, 1.0)
    assert list(ledger.dead_letters()) == []
    ledger.settle([Settled(2.0, "snapshot:a", "k/a")])
    assert ledger.counts() == Counts(uploaded=1, flawed=1)
    assert [letter.error for letter in ledger.dead_letters()] == ["breaks off"]
    ledger.acknowledge()
    assert ledger.counts() == Counts(uploaded=1, acknowledged=1)


def test_dead_letters_are_kept_until_their_own_bound(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, ONE.started)
    ledger.lose(ONE.id, "deleted", ONE.started)
    assert ledger.prune(ONE.started + 100, ONE.started) == (0, 0)
    assert ledger.prune(ONE.started + 100, ONE.started + 1) == (1, 1)


def test_a_row_that_was_settled_lately_is_kept_however_old_its_event(ledger: Ledger) -> None:
    ledger.add(named("old", started=1.0), LIVE, 1.0)
    ledger.settle([Settled(100.0, "snapshot:old", "k/old")])
    assert ledger.prune(100.0, 100.0) == (0, 0)
    assert ledger.prune(101.0, 100.0) == (1, 0)


def test_an_upload_that_vanished_from_the_bucket_is_lost_until_it_is_queued_again(
    ledger: Ledger,
) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.settle([Settled(2.0, ONE.id, ONE.key)])
    assert ledger.uploaded_keys(0.0, 2e9, 10) == [(ONE.id, ONE.key, ONE.size)]
    assert ledger.vanished([ONE.id, "snapshot:never"], "not at the destination any more", 3.0) == 1
    assert ledger.counts() == Counts(lost=1)
    assert list(ledger.without_file(0.0)) == [[ONE.id]]
    assert ledger.add(ONE, BACKLOG, 4.0)
    assert ledger.counts() == Counts(pending=1)


def test_an_upload_that_vanished_counts_even_if_its_flaw_was_acknowledged(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", flaw="breaks off"), LIVE, 1.0)
    ledger.settle([Settled(2.0, "snapshot:a", "k/a")])
    ledger.acknowledge()
    ledger.vanished(["snapshot:a"], "not at the destination any more", 3.0)
    assert ledger.counts() == Counts(lost=1)


def test_an_event_that_can_have_no_key_is_a_dead_letter_with_the_reason(ledger: Ledger) -> None:
    ledger.refuse(ONE.id, "a/b", 1.0, "names no file", 2.0)
    ledger.refuse(ONE.id, "a/b", 1.0, "names no file", 9.0)
    [letter] = ledger.dead_letters()
    assert (letter.error, letter.at, letter.key) == ("names no file", 2.0, "")


def test_everything_in_another_ledger_is_taken_over(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with contextlib.closing(Ledger(path)) as other:
        for name in ("new", "ours-uploaded", "theirs-uploaded", "waited-for", "failed"):
            other.add(named(name, size=5), LIVE, 1.0)
        other.settle([Settled(2.0, "snapshot:theirs-uploaded", "k")])
        other.bury("snapshot:failed", "no", 2.0)
    for name in ("ours-uploaded", "theirs-uploaded"):
        ledger.add(named(name), LIVE, 1.0)
    ledger.settle([Settled(2.0, "snapshot:ours-uploaded", "k")])
    ledger.wait("snapshot:waited-for", "c", 1.0, 1.0)
    assert ledger.take_over(path) == 2
    assert ledger.counts() == Counts(pending=2, uploaded=2, failed=1)
    assert set(claim_all(ledger, 9.0)) == {"new", "waited-for"}
    assert ledger.take_over(path) == 0


def test_a_lock_file_that_cannot_be_written_can_be_locked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = RunLock(path), RunLock(path)
    assert first.acquire()
    first.write("signed")
    path.chmod(0o400)
    assert not second.acquire()
    first.release()
    assert second.acquire() and path.read_text() == "signed"
    second.release()


def uploaded_at(ledger: Ledger, at: float, version: str) -> None:
    ledger.add(named("a", version=version), LIVE, at - 1)
    ledger.settle([Settled(at, "snapshot:a", "k/a", version=version)])


def changed_at(ledger: Ledger, at: float) -> None:
    """Its second version waits for its upload."""
    uploaded_at(ledger, 2.0, "1")
    ledger.add(named("a", version="2"), LIVE, at)


def vanished_at(ledger: Ledger, at: float) -> None:
    uploaded_at(ledger, 2.0, "1")
    ledger.vanished(["snapshot:a"], "not at the destination any more", at)


def acknowledged_at(ledger: Ledger, at: float) -> None:
    vanished_at(ledger, at)
    ledger.acknowledge()


@pytest.mark.parametrize(
    ("earlier", "later", "counts"),
    [
        (lambda one: uploaded_at(one, 2.0, "1"), lambda one: changed_at(one, 5.0),
         Counts(pending=1)),
        (lambda one: uploaded_at(one, 2.0, "1"), lambda one: vanished_at(one, 5.0),
         Counts(lost=1)),
        (lambda one: one.add(named("a", version="1"), LIVE, 1.0),
         lambda one: uploaded_at(one, 2.0, "1"), Counts(uploaded=1)),
        (lambda one: one.add_settled([("snapshot:a", "c", "k/a", 1.0, 9.0, "uploaded", 0, "")]),
         lambda one: changed_at(one, 5.0), Counts(pending=1)),
        (lambda one: changed_at(one, 5.0), lambda one: uploaded_at(one, 6.5, "2"),
         Counts(uploaded=1)),
        (lambda one: vanished_at(one, 5.0), lambda one: acknowledged_at(one, 5.0),
         Counts(acknowledged=1)),
        (lambda one: one.wait("snapshot:a", "c", 1.0, 9.0), lambda one: changed_at(one, 5.0),
         Counts(pending=1)),
    ],
    ids=["changed", "vanished", "uploaded", "of a state file", "uploaded again", "acknowledged",
         "waited for"],
)  # fmt: skip
@pytest.mark.parametrize("ours", ["earlier", "later"])
def test_of_two_ledgers_that_know_an_artifact_the_later_row_wins(
    tmp_path: Path,
    ours: str,
    earlier: Callable[[Ledger], None],
    later: Callable[[Ledger], None],
    counts: Counts,
) -> None:
    with (
        contextlib.closing(Ledger(tmp_path / "ours.db")) as ledger,
        contextlib.closing(Ledger(tmp_path / "theirs.db")) as other,
    ):
        earlier(ledger if ours == "earlier" else other)
        later(other if ours == "earlier" else ledger)
        other.close()
        ledger.take_over(tmp_path / "theirs.db")
        assert ledger.counts() == counts


def test_a_revived_artifact_whose_file_is_not_found_is_a_dead_letter_again(
    ledger: Ledger,
) -> None:
    vanished_at(ledger, 3.0)
    assert ledger.revive(now=4.0) == 1
    assert ledger.counts() == Counts(waiting=1)
    ledger.give_up("snapshot:a", "no snapshot file", 5.0)
    assert ledger.counts() == Counts(lost=1)
    assert [one.error for one in ledger.dead_letters()] == ["no snapshot file"]


def test_the_size_of_an_earlier_version_in_the_bucket_is_unknown(
    ledger: Ledger,
) -> None:
    changed_at(ledger, 3.0)
    ledger.lose("snapshot:a", "deleted", 4.0)
    assert ledger.uploaded_keys(0.0, 2e9, 10) == [("snapshot:a", "k/a", 0)]
    assert ledger.add(named("a", version="2"), LIVE, 5.0), "its file came back"


def digests(ledger: Ledger) -> dict[str, object]:
    """The digest of each row, by the name of its artifact."""
    return {str(row["id"]).partition(":")[2]: row["digest"] for row in rows_of(ledger.path)}


def test_the_digest_of_an_upload_is_stored_until_the_upload_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as ledger:
        ledger.add(named("a", started=1.0), LIVE, 1.0)
        ledger.add(named("unknown", started=1.0), LIVE, 1.0)
        ledger.settle([Settled(2.0, "snapshot:a", "k/a", digest="aa" * 32),
                       Settled(2.0, "snapshot:unknown", "k/unknown")])  # fmt: skip
        assert digests(ledger) == {"a": "aa" * 32, "unknown": None}
    with contextlib.closing(Ledger(path)) as ledger:  # which a restart does not change
        assert not ledger.add(named("a", started=1.0), BACKLOG, 3.0)
        assert ledger.prune(2.0, 2.0) == (0, 0)
        assert digests(ledger)["a"] == "aa" * 32
        with contextlib.closing(Ledger(tmp_path / "other.db")) as other:
            other.take_over(path)
            assert digests(other)["a"] == "aa" * 32
        assert ledger.prune(3.0, 3.0) == (2, 0)
        assert digests(ledger) == {}


def test_a_digest_is_that_of_the_version_in_the_ledger_or_unknown(ledger: Ledger) -> None:
    ledger.add(named("a", version="1"), LIVE, 1.0)
    ledger.add(named("a", version="2"), LIVE, 2.0)
    ledger.settle([Settled(3.0, "snapshot:a", "k/a", version="1", digest="11" * 32)])
    assert digests(ledger) == {"a": None}
    ledger.settle([Settled(4.0, "snapshot:a", "k/a", version="2", digest="22" * 32)])
    assert digests(ledger) == {"a": "22" * 32}
    ledger.add(named("a", version="3"), LIVE, 5.0)
    ledger.lose("snapshot:a", "deleted", 6.0)
    assert digests(ledger) == {"a": None}, "nobody knows which version the bucket holds"


def test_an_artifact_from_the_ledger_is_opened_by_the_ledgers_opener(tmp_path: Path) -> None:
    def opener(artifact: Artifact) -> io.BytesIO:
        return io.BytesIO(f"bytes from {artifact.origin}".encode())

    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.opener = opener
        ledger.add(named("a", origin="somewhere"), LIVE, 1.0)
        [artifact] = ledger.pending(lambda artifact_id: True)
        entry = ledger.claim(1.0)
    assert entry is not None
    for opened in (artifact, entry.artifact):
        assert opened.open().read() == b"bytes from somewhere"


def test_uploads_whose_commit_ends_in_an_error_stay_claimed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a second commit of the same uploads could unclaim a claim of another thread."""
    ledger.add(ONE, LIVE, 1.0)
    ledger.claim(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(ledger._database, "select", raise_ledger_error)
        with pytest.raises(LedgerError):
            ledger.settle([Settled(2.0, ONE.id, ONE.key)])
    assert ledger.claimed == 1 and ledger.counts() == Counts(uploaded=1)
    assert ledger.settle([Settled(2.0, ONE.id, ONE.key)]) == set()
    assert ledger.claimed == 0 and ledger.counts() == Counts(uploaded=1)


def raise_ledger_error(*_: object) -> None:
    raise LedgerError("read ledger.db: disk I/O error")


def rejected(ledger: Ledger, at: float) -> None:
    ledger.add(named("a"), LIVE, at)
    ledger.bury("snapshot:a", "too large", at)


def revived_and_rejected_again(ledger: Ledger) -> None:
    ledger.revive(now=8.0)
    ledger.bury("snapshot:a", "too large", 9.0)


def flawed(ledger: Ledger) -> None:
    ledger.add(named("b", flaw="breaks off"), LIVE, 7.0)
    ledger.settle([Settled(8.0, "snapshot:b", "k/b")])


TOKEN_CHANGES: dict[str, Callable[[Ledger], object]] = {
    "one comes": lambda ledger: ledger.refuse("snapshot:b", "c", 1.0, "no key", 8.0),
    "one with a flaw comes": flawed,
    "one goes": lambda ledger: ledger.revive(now=8.0),
    "one is forgotten": lambda ledger: ledger.prune(2e9, 2e9),
    "one is acknowledged": lambda ledger: ledger.acknowledge(),
    "one is revived and rejected again": revived_and_rejected_again,
}


@pytest.mark.parametrize("change", TOKEN_CHANGES.values(), ids=TOKEN_CHANGES)
def test_the_token_of_the_dead_letters_changes_with_them(
    ledger: Ledger, change: Callable[[Ledger], object]
) -> None:
    rejected(ledger, 1.0)
    before = ledger.dead_letters_token()
    change(ledger)
    assert ledger.dead_letters_token() != before


def test_the_token_of_the_dead_letters_stays_while_only_other_artifacts_change(
    ledger: Ledger,
) -> None:
    rejected(ledger, 1.0)
    before = ledger.dead_letters_token()
    ledger.add(named("b", flaw="breaks off"), LIVE, 7.0)
    ledger.add(named("c"), LIVE, 7.0)
    ledger.defer("snapshot:c", 9.0, "busy", charged=True)
    ledger.settle([Settled(8.0, "snapshot:c", "k/c")])
    ledger.wait("snapshot:d", "c", 1.0, 9.0)
    ledger.give_up("snapshot:d", "no snapshot file", 9.0)
    assert ledger.dead_letters_token() == before


def test_the_size_in_the_ledger_is_that_of_the_uploaded_bytes(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", version="1"), LIVE, 1.0)
    ledger.settle([Settled(2.0, "snapshot:a", "k/a", version="1", size=77)])
    assert ledger.uploaded_keys(0.0, 2e9, 10) == [("snapshot:a", "k/a", 77)]


def test_an_upload_older_than_versions_is_recognised_by_its_size(
    ledger: Ledger,
) -> None:
    for name, size in (("same", 9), ("other", 8), ("unknown", 0)):
        ledger.add_settled([(f"snapshot:{name}", "c", "k", 1.0, 1.0, "uploaded", size, "")])
    names = ("same", "other", "unknown")
    ledger.recognise([named(one, version="1") for one in names])
    known = ledger.versions([f"snapshot:{one}" for one in names])
    assert known == {"snapshot:same": "1", "snapshot:other": "", "snapshot:unknown": "1"}


def test_an_impossible_version_number_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    for version in (2_097_666, -5):
        with contextlib.closing(sqlite3.connect(path)) as raw:
            raw.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(LedgerDamaged):
            Ledger(path)


def test_a_held_lock_is_not_open_for_writing(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "lock")
    assert lock.acquire()
    lock.write("signed")
    descriptors = Path("/proc/self/fd").iterdir()
    [held] = [one for one in descriptors if os.path.realpath(one) == str(tmp_path / "lock")]
    flags = Path(f"/proc/self/fdinfo/{held.name}").read_text().split("flags:")[1].split()[0]
    assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY
    lock.release()


# -- several kinds


def test_an_event_counts_once_whatever_the_number_of_its_files(ledger: Ledger) -> None:
    def row(one: str, state: str) -> Row:
        return (one, "door", f"p/{one}", 1.0, 2.0, state, 5, "")

    ledger.add_settled([row("snapshot:1-a", "uploaded"), row("snapshot:2-b", "failed")])
    assert ledger.events() == (1, 1)
    rows = [("clip:1-a", "failed"), ("clip:1-a:2", "failed"), ("clip:2-b", "failed")]
    rows += [("metadata:3-c", "uploaded"), ("metadata:1-a", "uploaded")]
    ledger.add_settled([row(*one) for one in rows])
    assert ledger.events() == (2, 2)
    ledger.acknowledge("1-a")
    assert ledger.events() == (2, 1)


def test_the_counts_are_told_for_each_kind(ledger: Ledger) -> None:
    ledger.add(ONE, Priority.LIVE, 1.0)
    ledger.wait("clip:1-a", "door", 1.0, 2.0, bulk=True)
    ledger.note_absent([("clip:2-b", "door", 1.0, "nothing recorded")], 1.0)
    assert ledger.counts() == Counts(pending=1, waiting=1, gone=1)
    assert ledger.counts().kinds == {
        "snapshot": {"pending": 1},
        "clip": {"waiting": 1, "gone": 1},
    }


def test_bulk_artifacts_have_a_queue_of_their_own(ledger: Ledger) -> None:
    clip = dataclasses.replace(ONE, id="clip:1-a", bulk=True, about={"duration": 5.0})
    ledger.add(clip, Priority.LIVE, 1.0)
    ledger.add(ONE, Priority.BACKLOG, 2.0)
    assert (ledger.next_due(), ledger.next_due(bulk=True)) == (2.0, 1.0)
    entry = ledger.claim(9.0, bulk=True)
    assert entry is not None and (entry.artifact.id, entry.artifact.bulk) == ("clip:1-a", True)
    assert entry.artifact.about == {"duration": 5.0}
    assert ledger.claim(9.0, bulk=True) is None
    entry = ledger.claim(9.0)
    assert entry is not None and entry.artifact.id == ONE.id


def test_what_is_known_of_a_file_stays_after_its_upload(ledger: Ledger) -> None:
    made = dataclasses.replace(ONE, about={"gaps": [[1.0, 2.5]]}, digest="ab", version="7")
    ledger.add(made, Priority.LIVE, 1.0)
    [before] = ledger.known([ONE.id, "clip:none"]).values()
    assert (before.state, before.digest, before.about) == ("pending", "ab", made.about)
    ledger.claim(2.0)
    ledger.settle([Settled(3.0, ONE.id, ONE.key, version="7", size=9, digest="cd")])
    [after] = ledger.known([ONE.id]).values()
    assert (after.state, after.key, after.size, after.digest, after.version, after.about) == (
        "uploaded", ONE.key, 9, "cd", "7", made.about
    )  # fmt: skip


def test_an_upload_that_says_it_is_incomplete_is_remembered(ledger: Ledger) -> None:
    for number, about in enumerate(({}, {"complete": False}, {"complete": True})):
        one = dataclasses.replace(ONE, id=f"metadata:{number}-a", about=about)
        ledger.add(one, Priority.LIVE, 1.0)
        ledger.claim(2.0)
        ledger.settle([Settled(3.0, one.id, one.key)])
    assert ledger.unfinished() == ["metadata:1-a"]


def test_a_bulk_file_that_was_left_out_or_lost_waits_again(ledger: Ledger) -> None:
    ledger.leave_out([("clip:1-a", "door", 1.0, "MIRROR_CLIP_LABELS: cat")], 1.0)
    ledger.wait("clip:2-b", "door", 1.0, 1.0, bulk=True)
    ledger.give_up("clip:2-b", "the disk is away", 2.0, lost=True)
    ledger.note_absent([("clip:3-c", "door", 1.0, "nothing recorded")], 1.0)
    assert ledger.wait_again(["clip:1-a", "clip:2-b", "clip:3-c"], 5.0) == 2
    assert {row[0] for row in ledger.waiting(5.0, 10, bulk=True)} == {"clip:1-a", "clip:2-b"}
    ledger.note_absent([(one, "door", 1.0, "nothing") for one in ("clip:1-a", "clip:2-b")], 6.0)
    assert {one: known.state for one, known in ledger.known(["clip:1-a", "clip:2-b"]).items()} == {
        "clip:1-a": "gone",
        "clip:2-b": "lost",
    }, "a dead letter stays one"


def test_a_file_that_is_uploaded_again_keeps_its_key(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    entry = ledger.claim(1.0)
    assert entry is not None
    ledger.settle([Settled(2.0, ONE.id, ONE.key, version=ONE.version, size=9)])
    for number in (2, 3):  # after the owner has chosen another template
        later = dataclasses.replace(ONE, key="new/name.jpg", version=f"v{number}")
        assert ledger.add(later, LIVE, 3.0)
    entry = ledger.claim(3.0)
    assert entry is not None
    assert (entry.artifact.key, entry.artifact.version) == (ONE.key, "v3")


def test_a_file_that_waits_for_its_first_upload_takes_the_newer_key(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.add(dataclasses.replace(ONE, key="new/name.jpg", version="v2"), LIVE, 2.0)
    entry = ledger.claim(2.0)
    assert entry is not None and entry.artifact.key == "new/name.jpg"


# -- what the report says


def uploaded(ledger: Ledger, artifact: Artifact, size: int, at: float = 2.0) -> None:
    ledger.add(artifact, LIVE, 1.0)
    ledger.settle([Settled(at, artifact.id, artifact.key, version=artifact.version, size=size)])


def test_uploaded_bytes_are_counted_with_the_upload_and_survive_pruning_and_a_restart(
    tmp_path: Path,
) -> None:
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.uploaded_bytes() == 0
        uploaded(ledger, named("1.5-a", version="1"), 100)
        uploaded(ledger, named("2.5-b", version="1"), 2**40)
        uploaded(ledger, named("1.5-a", version="2"), 7)  # Frigate has changed it
        ledger.settle([])
        ledger.prune(2e9, 2e9)
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.uploaded_bytes() == 107 + 2**40


def test_uploads_and_their_bytes_are_recorded_together_or_not_at_all(ledger: Ledger) -> None:
    done = []
    for name in ("1.5-a", "2.5-b"):
        ledger.add(named(name), LIVE, 1.0)
        done.append(Settled(2.0, f"snapshot:{name}", "k", size=2**62))
    with pytest.raises(OverflowError):  # SQLite has no number as large as the sum
        ledger.settle(done)
    assert (ledger.uploaded_bytes(), ledger.counts().uploaded) == (0, 0)


def test_artifacts_are_counted_by_camera_and_state(ledger: Ledger) -> None:
    assert ledger.count_cameras() == {}
    uploaded(ledger, named("1.5-a", camera="porch"), 1)
    ledger.add(named("2.5-b", camera="porch"), LIVE, 1.0)
    ledger.add(named("3.5-c", camera="'; DROP TABLE artifact"), LIVE, 1.0)
    assert ledger.count_cameras() == {
        "porch": {"uploaded": 1, "pending": 1}, "'; DROP TABLE artifact": {"pending": 1},
    }  # fmt: skip


def test_the_newest_dead_letters_come_with_their_reasons_and_without_what_is_acknowledged(
    ledger: Ledger,
) -> None:
    for number in range(5):
        ledger.add(named(f"{number}.5-a", started=float(number)), LIVE, 1.0)
        ledger.bury(f"snapshot:{number}.5-a", f"reason {number}", 2.0)
    ledger.acknowledge("4.5-a")
    uploaded(ledger, named("9.5-f", started=9.0, flaw="it is short"), 1)
    found = ledger.newest_dead(3)
    assert [(one.state, one.reason) for one in found] == [
        ("uploaded", "it is short"), ("failed", "reason 3"), ("failed", "reason 2"),
    ]  # fmt: skip
    assert (found[0].id, found[0].camera, found[0].started) == ("snapshot:9.5-f", "front_door", 9.0)
