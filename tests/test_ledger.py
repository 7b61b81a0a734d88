"""The ledger: what comes in stays until it is settled, in the right order, whatever fails."""

from __future__ import annotations

import contextlib
import dataclasses
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

from frigate_mirror.artifact import Artifact
from frigate_mirror.ledger import schema
from frigate_mirror.ledger.connection import LedgerBusy, LedgerDamaged, LedgerNewer, RunLock
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Counts, Priority, Settled

ONE = Artifact(
    "snapshot:1705329022.5-abcdef", "front_door", 1705329022.5, "front_door/k.jpg",
    Path("/clips/a.jpg"), 9, "image/jpeg", {"label": "person"},
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


def test_what_is_queued_again_has_all_its_tries_and_is_new(tmp_path: Path) -> None:
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.add(ONE, LIVE, 1.0)
        ledger.claim(1.0)
        ledger.defer(ONE.id, 2.0, "refused", charged=True)
        ledger.lose(ONE.id, "no file", 3.0)
        ledger.release(ONE.id)
        assert ledger.add(ONE, LIVE, 5.0)
        first = ledger.claim(5.0)
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        second = ledger.claim(5.0)
    assert first is not None and (first.tries, first.attempts, first.added) == (0, 0, 5.0)
    assert second == first


def test_nobody_claims_what_another_has_not_released_yet(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    assert ledger.claim(1.0) is not None
    # Another thread has given it up, and has not come to release it.
    ledger._store.change("UPDATE artifact SET state = 'gone'", ())
    assert ledger.add(ONE, LIVE, 2.0)
    assert ledger.claim(2.0) is None
    ledger.release(ONE.id)
    assert claim_all(ledger, 2.0) == ["1705329022.5-abcdef"]


def test_a_live_one_is_not_due_while_the_clock_is_set_back(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 50.0)
    assert ledger.claim(49.0) is None
    assert claim_all(ledger, 50.0) == ["1705329022.5-abcdef"]


def test_what_is_known_is_not_added_again(ledger: Ledger) -> None:
    assert ledger.add(ONE, LIVE, 1.0)
    assert not ledger.add(ONE, BACKLOG, 2.0)
    ledger.settle([Settled(3.0, ONE.id, ONE.key)])
    assert not ledger.add(ONE, LIVE, 4.0)
    assert ledger.counts() == Counts(uploaded=1)


def test_live_ones_go_before_retries_and_retries_before_the_backlog(ledger: Ledger) -> None:
    for name, priority, at in [
        ("old-backlog", BACKLOG, 1), ("old-live", LIVE, 2), ("retry", LIVE, 3),
        ("new-live", LIVE, 4), ("new-backlog", BACKLOG, 5),
    ]:  # fmt: skip
        ledger.add(named(name), priority, at)
    ledger.defer("snapshot:retry", 6.0, "busy", charged=False)
    order = ["new-live", "old-live", "retry", "old-backlog", "new-backlog"]
    assert claim_all(ledger, 9.0) == order


def test_what_is_not_due_is_left_alone_and_announced(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.defer(ONE.id, 50.0, "busy", charged=False)
    assert ledger.claim(49.0) is None
    assert ledger.next_due() == 50.0
    assert claim_all(ledger, 50.0) == ["1705329022.5-abcdef"]
    assert ledger.next_due() is None


def test_after_a_crash_what_was_claimed_is_pending_again(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add(ONE, LIVE, 1.0)
    assert ledger.claim(1.0) and ledger.claim(1.0) is None
    after = Ledger(tmp_path / "ledger.db", alone=False)
    assert after.claim(1.0) is not None
    after.close()


def test_a_charged_deferral_costs_a_try_and_any_other_none(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.defer(ONE.id, 1.0, "busy", charged=False)
    ledger.defer(ONE.id, 1.0, "too large", charged=True)
    entry = ledger.claim(1.0)
    assert entry is not None
    assert (entry.priority, entry.tries, entry.attempts) == (RETRY, 1, 2)


def test_a_dead_letter_lives_again_with_all_its_tries(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.bury(ONE.id, "too large", 2.0)
    assert ledger.claim(3.0) is None and ledger.counts().failed == 1
    [letter] = ledger.settled("failed")
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
def test_dead_letters_live_again_by_event_and_by_camera(
    ledger: Ledger, event: str, camera: str, revived: set[str]
) -> None:
    for name, place in [("1.5-a_c", "door"), ("1.5-abc", "door"), ("2.5-xyz", "garage")]:
        ledger.add(named(name, camera=place), LIVE, 1.0)
        ledger.bury(f"snapshot:{name}", "no", 2.0)
    assert ledger.revive(event, camera, 3.0) == len(revived)
    assert set(claim_all(ledger, 3.0)) == revived


def test_a_dead_letter_of_a_state_file_has_to_be_looked_for(ledger: Ledger) -> None:
    ledger.add_settled([(ONE.id, "front_door", ONE.key, 5.0, 6.0, "failed", 0, "why")])
    assert ledger.revive(now=7.0) == 1
    assert ledger.claim(7.0) is None
    assert ledger.waiting(7.0, 10) == [(ONE.id, "front_door", 5.0, 0)]


def test_a_file_that_comes_late_is_queued(ledger: Ledger) -> None:
    ledger.wait(ONE.id, "front_door", ONE.started, due=2.0)
    assert ledger.counts().waiting == 1 and ledger.waiting(1.9, 10) == []
    assert ledger.add(ONE, LIVE, 3.0)
    entry = ledger.claim(3.0)
    assert entry is not None and entry.artifact == ONE and entry.attempts == 0


def test_the_service_back_hastens_all_but_the_charged(ledger: Ledger) -> None:
    for name, charged in [("held-up", False), ("at-fault", True)]:
        ledger.add(named(name), LIVE, 1.0)
        ledger.defer(f"snapshot:{name}", 500.0, "x", charged=charged)
    ledger.hasten(2.0)
    assert claim_all(ledger, 2.0) == ["held-up"]


def test_a_clock_set_back_by_years_holds_nothing_up(ledger: Ledger) -> None:
    year = 365 * 86_400.0
    ledger.add(named("queued-then"), LIVE, 30 * year)
    ledger.add(named("put-off-now"), LIVE, 1.0)
    ledger.defer("snapshot:put-off-now", 100.0, "busy", charged=False)
    ledger.wait("snapshot:waiting-then", "door", 1.0, due=30 * year)
    ledger.mend_clock(1.0, 601.0)
    assert claim_all(ledger, 1.0) == ["queued-then"]
    assert ledger.next_due() == 100.0
    assert len(ledger.waiting(1.0, 10)) == 1


def test_what_was_queued_meanwhile_is_not_given_up_for_want_of_a_file(ledger: Ledger) -> None:
    ledger.wait(ONE.id, ONE.camera, ONE.started, due=1.0)
    assert ledger.add(ONE, LIVE, 2.0)
    ledger.give_up(ONE.id, "no snapshot file", 3.0)
    assert ledger.counts() == Counts(pending=1)


def test_a_clock_set_back_by_a_minute_holds_nothing_new_up(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 60.0)
    ledger.mend_clock(1.0, 601.0)
    assert ledger.claim(1.0) is not None


def test_pruning_forgets_what_is_settled_and_old_and_nothing_else(ledger: Ledger) -> None:
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
    assert ledger.counts() == Counts(waiting=1, pending=1, uploaded=1, failed=1)


def test_pruning_goes_on_past_its_first_page(ledger: Ledger) -> None:
    ledger.add_settled(
        (f"snapshot:{n}", "c", "k", 1.0, 1.0, "uploaded", 0, "") for n in range(2500)
    )
    assert ledger.prune(2.0, 2.0) == (2500, 0)


def test_settled_artifacts_are_taken_over_once(ledger: Ledger) -> None:
    rows = [
        (f"snapshot:{n}", "c", f"k/{n}", float(n % 7), 5.0, "uploaded", 0, "") for n in range(2500)
    ]
    ledger.add(named("3"), LIVE, 1.0)
    assert ledger.add_settled(rows) == 2499
    assert ledger.add_settled(rows) == 0
    assert ledger.counts() == Counts(pending=1, uploaded=2499)
    listed = [one.id for one in ledger.settled("uploaded", page=100)]
    assert len(listed) == len(set(listed)) == 2499


def test_unknown_ids_come_back_in_their_order(ledger: Ledger) -> None:
    ledger.add(named("b"), LIVE, 1.0)
    assert ledger.unknown(["snapshot:c", "snapshot:b", "snapshot:a"]) == [
        "snapshot:c",
        "snapshot:a",
    ]
    assert ledger.unknown([]) == []


def test_ids_between_which_lie_a_thousand_others_are_found_all_the_same(ledger: Ledger) -> None:
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
def test_a_question_about_the_queue_costs_the_same_however_long_it_is(
    ledger: Ledger, question: Callable[[Ledger], object]
) -> None:
    with ledger._store.writing() as sql:
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

    ledger._store._sql.set_progress_handler(count, 100)
    question(ledger)
    ledger._store._sql.set_progress_handler(None, 0)
    assert steps < 2000, "of SQLite's machine; a look at each row takes 5,000 and more"


def test_a_span_is_counted_alone(ledger: Ledger) -> None:
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


def test_what_is_in_the_queue_is_read_in_pages_and_only_what_is_wanted(ledger: Ledger) -> None:
    names = [f"{n}-a" for n in range(7)]
    for name in names:
        ledger.add(named(name), LIVE, 1.0 if name < "3" else 2.0)
    ledger.settle([Settled(3.0, "snapshot:5-a", "k")])
    found = ledger.pending(lambda one: one != "snapshot:1-a", page=2)
    expected = [named(name) for name in names if name not in ("1-a", "5-a")]
    assert list(found) == expected


def test_a_failed_settling_settles_nothing_and_keeps_all_claimed(tmp_path: Path) -> None:
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


def test_a_closed_ledger_says_so_as_a_ledger_error(ledger: Ledger) -> None:
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
def test_a_word_in_it_that_makes_no_sense_is_damage(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
    scribble(path, statement)
    with pytest.raises(LedgerDamaged):
        Ledger(path).counts()


@pytest.mark.parametrize("text", ["{", "[]x", ""])
def test_a_row_that_cannot_be_read_is_damage_and_stops_no_other_ledger(
    tmp_path: Path, text: str
) -> None:
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


def test_a_state_that_is_no_word_of_ours_is_damage_while_open_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
        scribble(path, "UPDATE artifact SET state = 'up,oaded'")
        with pytest.raises(LedgerDamaged):
            opened.counts()
        with pytest.raises(LedgerDamaged):
            opened.between(0.0, 2e9)


@pytest.mark.parametrize("at", ["1e300", "'never'", "x'00'"])
def test_a_time_that_no_line_can_be_written_of_is_damage(tmp_path: Path, at: str) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
        opened.settle([Settled(2.0, ONE.id, ONE.key)])
        scribble(path, f"UPDATE artifact SET settled = {at}")
        with pytest.raises(LedgerDamaged):
            list(opened.settled("uploaded"))


def scribble(path: Path, statement: str) -> None:
    """Change the ledger past everything that would keep it from nonsense."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute(statement)
        raw.commit()


def test_what_an_owner_added_to_it_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
    scribble(path, "ANALYZE")
    scribble(path, "CREATE VIEW dead AS SELECT id FROM artifact WHERE state = 'failed'")
    with contextlib.closing(Ledger(path)) as opened:
        assert opened.claim(1.0) is not None


def test_an_event_that_changed_while_its_file_was_waited_for_is_claimed_as_it_is_now(
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
                list(second.settled("uploaded"))


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


def test_a_ledger_is_its_owners_only(ledger: Ledger, tmp_path: Path) -> None:
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


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(OLD, tmp_path / "ledger.db"))


def test_a_ledger_of_the_first_edition_keeps_its_queue_and_all_it_knows(old: Path) -> None:
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


def test_a_migration_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old.read_bytes()

    def half(sql: sqlite3.Connection) -> None:
        sql.execute("DELETE FROM artifact")
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setitem(schema.STEPS, 1, half)
    with pytest.raises(LedgerError):
        Ledger(old)
    monkeypatch.undo()
    with contextlib.closing(sqlite3.connect(old)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (1,)
    assert len(before) == old.stat().st_size
    with contextlib.closing(Ledger(old)) as ledger:
        assert ledger.counts().pending == 4


def test_a_column_more_in_a_later_version_is_a_step_like_any_other(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_more(sql: sqlite3.Connection) -> None:
        sql.execute("ALTER TABLE artifact ADD COLUMN colour TEXT")

    name = "    acknowledged INTEGER"
    monkeypatch.setattr(schema, "DDL", schema.DDL.replace(name, f"    colour TEXT,\n{name}"))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setitem(schema.STEPS, schema.VERSION - 1, one_more)
    with contextlib.closing(Ledger(old)) as ledger:
        assert ledger.counts().pending == 4
        assert ledger.claim(1705329150.0) is not None
        with contextlib.closing(Ledger(old.with_name("new.db"))) as new:  # in another order
            assert new.take_over(old) == 5
            assert new.counts() == ledger.counts()


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


# Holds SQLite's locks on the shared memory of a database as who recovers it after a crash does.
RECOVERS = """
import fcntl, sys
shared = open(sys.argv[1], "w+b")
shared.truncate(32768)
fcntl.lockf(shared, fcntl.LOCK_SH, 1, 128)
fcntl.lockf(shared, fcntl.LOCK_EX, 8, 120)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_ledger_that_another_process_recovers_at_this_moment_is_busy_and_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.ledger.connection.BUSY_SECONDS", 0)
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
    """A ledger that was closed in good order and that the disk has hurt since."""
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


def test_a_new_version_of_what_is_uploaded_goes_up_again(ledger: Ledger) -> None:
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


def test_a_new_version_whose_file_is_gone_leaves_the_earlier_one_uploaded_and_is_told(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", version="1"), LIVE, 1.0)
    ledger.settle([Settled(2.0, "snapshot:a", "k/a", version="1")])
    ledger.add(named("a", version="2"), LIVE, 3.0)
    ledger.lose("snapshot:a", "deleted", 4.0)
    assert ledger.counts() == Counts(uploaded=1, flawed=1)
    [told] = ledger.dead_letters()
    assert told.error == "only an earlier version is in the bucket: deleted"
    ledger.add(named("a", version="3"), LIVE, 5.0)
    ledger.settle([Settled(6.0, "snapshot:a", "k/a", version="3")])
    assert ledger.counts() == Counts(uploaded=1)


def test_what_was_uploaded_before_versions_were_kept_goes_up_again_by_its_size(
    ledger: Ledger,
) -> None:
    for name, size in (("same", 9), ("other", 8), ("unknown", 0)):
        ledger.add_settled([(f"snapshot:{name}", "c", "k", 1.0, 1.0, "uploaded", size, "")])
    with contextlib.closing(sqlite3.connect(ledger.path)) as raw:
        raw.execute("UPDATE artifact SET version = NULL")
        raw.commit()
    added = [one for one in ("same", "other", "unknown") if ledger.add(named(one), LIVE, 2.0)]
    assert added == ["other"]


def test_what_is_lost_is_a_dead_letter_until_it_is_acknowledged(ledger: Ledger) -> None:
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


def test_what_was_uploaded_although_it_was_not_whole_is_told_until_acknowledged(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", flaw="breaks off"), LIVE, 1.0)
    assert list(ledger.dead_letters()) == []
    ledger.settle([Settled(2.0, "snapshot:a", "k/a")])
    assert ledger.counts() == Counts(uploaded=1, flawed=1)
    assert [letter.error for letter in ledger.dead_letters()] == ["breaks off"]
    ledger.acknowledge()
    assert ledger.counts() == Counts(uploaded=1, acknowledged=1)


def test_dead_letters_are_kept_for_as_long_as_was_said(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, ONE.started)
    ledger.lose(ONE.id, "deleted", ONE.started)
    assert ledger.prune(ONE.started + 100, ONE.started) == (0, 0)
    assert ledger.prune(ONE.started + 100, ONE.started + 1) == (1, 1)


def test_what_was_settled_lately_is_remembered_however_old_its_event(ledger: Ledger) -> None:
    ledger.add(named("old", started=1.0), LIVE, 1.0)
    ledger.settle([Settled(100.0, "snapshot:old", "k/old")])
    assert ledger.prune(100.0, 100.0) == (0, 0)
    assert ledger.prune(101.0, 100.0) == (1, 0)


def test_what_the_bucket_has_no_more_is_lost_until_it_is_uploaded_again(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    ledger.settle([Settled(2.0, ONE.id, ONE.key)])
    assert ledger.uploaded_keys(0.0, 2e9, 10) == [(ONE.id, ONE.key, ONE.size)]
    assert ledger.vanished([ONE.id, "snapshot:never"], "not in the bucket any more", 3.0) == 1
    assert ledger.counts() == Counts(lost=1)
    assert list(ledger.without_file(0.0)) == [[ONE.id]]
    assert ledger.add(ONE, BACKLOG, 4.0)
    assert ledger.counts() == Counts(pending=1)


def test_what_vanished_from_the_bucket_counts_though_its_flaw_was_acknowledged(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", flaw="breaks off"), LIVE, 1.0)
    ledger.settle([Settled(2.0, "snapshot:a", "k/a")])
    ledger.acknowledge()
    ledger.vanished(["snapshot:a"], "not in the bucket any more", 3.0)
    assert ledger.counts() == Counts(lost=1)


def test_an_event_that_can_have_no_key_is_a_dead_letter_with_the_reason(ledger: Ledger) -> None:
    ledger.refuse(ONE.id, "a/b", 1.0, "names no file", 2.0)
    ledger.refuse(ONE.id, "a/b", 1.0, "names no file", 9.0)
    [letter] = ledger.dead_letters()
    assert (letter.error, letter.at, letter.key) == ("names no file", 2.0, "")


def test_another_ledger_is_taken_over_with_all_it_knows(ledger: Ledger, tmp_path: Path) -> None:
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


def test_a_lock_in_a_folder_that_cannot_be_written_counts_all_the_same(tmp_path: Path) -> None:
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
    ledger.vanished(["snapshot:a"], "not in the bucket any more", at)


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
def test_of_two_ledgers_that_know_an_artifact_the_later_one_is_right(
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


def test_a_dead_letter_whose_file_is_not_found_again_is_a_dead_letter_again(
    ledger: Ledger,
) -> None:
    vanished_at(ledger, 3.0)
    assert ledger.revive(now=4.0) == 1
    assert ledger.counts() == Counts(waiting=1)
    ledger.give_up("snapshot:a", "no snapshot file", 5.0)
    assert ledger.counts() == Counts(lost=1)
    assert [one.error for one in ledger.dead_letters()] == ["no snapshot file"]


def test_of_an_earlier_version_in_the_bucket_nobody_claims_to_know_the_size(
    ledger: Ledger,
) -> None:
    changed_at(ledger, 3.0)
    ledger.lose("snapshot:a", "deleted", 4.0)
    assert ledger.uploaded_keys(0.0, 2e9, 10) == [("snapshot:a", "k/a", 0)]
    assert ledger.add(named("a", version="2"), LIVE, 5.0), "its file came back"


def test_the_size_of_what_was_uploaded_is_known_even_if_it_changed_meanwhile(
    ledger: Ledger,
) -> None:
    ledger.add(named("a", version="1"), LIVE, 1.0)
    ledger.settle([Settled(2.0, "snapshot:a", "k/a", version="1", size=77)])
    assert ledger.uploaded_keys(0.0, 2e9, 10) == [("snapshot:a", "k/a", 77)]


def test_what_was_uploaded_before_versions_were_kept_is_recognised_by_its_size(
    ledger: Ledger,
) -> None:
    for name, size in (("same", 9), ("other", 8), ("unknown", 0)):
        ledger.add_settled([(f"snapshot:{name}", "c", "k", 1.0, 1.0, "uploaded", size, "")])
    names = ("same", "other", "unknown")
    ledger.recognise([named(one, version="1") for one in names])
    known = ledger.versions([f"snapshot:{one}" for one in names])
    assert known == {"snapshot:same": "1", "snapshot:other": "", "snapshot:unknown": "1"}


def test_a_version_that_no_ledger_can_have_is_damage(tmp_path: Path) -> None:
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
