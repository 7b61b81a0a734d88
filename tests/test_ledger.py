"""The ledger: what comes in stays until it is settled, in the right order, whatever fails."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import resource
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frigate_mirror.artifacts import Artifact
from frigate_mirror.claims import AHEAD
from frigate_mirror.entries import Counts, Priority, Settled
from frigate_mirror.ledger import Ledger, LedgerError
from frigate_mirror.store import LedgerDamaged, RunLock

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
    for again in (False, True):  # a live one is not read again, unless after a restart
        with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
            assert ledger.add(ONE, priority, 10.0) is not again
            entry = ledger.claim(10.0)
        assert entry is not None and entry.artifact == ONE
        assert (entry.priority, entry.tries, entry.attempts, entry.added) == (priority, 0, 0, 10.0)


def test_a_live_one_is_claimed_without_another_look_at_the_file(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add(named("waits"), BACKLOG, 1.0)
    ledger.add(ONE, LIVE, 2.0)
    with monkeypatch.context() as patched:
        patched.setattr(ledger._store, "rows", None)
        entry = ledger.claim(3.0)
    assert entry is not None and entry.artifact is ONE
    assert claim_all(ledger, 3.0) == ["waits"], "and once only"


def test_what_is_queued_again_has_all_its_tries_and_is_new(tmp_path: Path) -> None:
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.add(ONE, LIVE, 1.0)
        ledger.claim(1.0)
        ledger.defer(ONE.id, 2.0, "refused", charged=True)
        ledger.give_up(ONE.id, "no file", 3.0)
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


def test_what_is_queued_during_an_outage_is_not_kept_in_memory(ledger: Ledger) -> None:
    names = [f"{number:03d}" for number in range(100)]
    for number, name in enumerate(names):
        ledger.add(named(name), LIVE, float(number))
    assert len(ledger._claims._ahead) <= AHEAD
    assert claim_all(ledger, 100.0) == names[::-1]


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
    after = Ledger(tmp_path / "ledger.db")
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
    ledger.add_settled([(ONE.id, "front_door", ONE.key, 5.0, 6.0, "failed")])
    assert ledger.revive(now=7.0) == 1
    assert ledger.claim(7.0) is None
    assert ledger.waiting(7.0, 10) == [(ONE.id, "front_door", 5.0, 0)]


def test_a_file_that_comes_late_is_queued(ledger: Ledger) -> None:
    ledger.wait(ONE.id, "front_door", ONE.started, due=2.0)
    assert ledger.counts().waiting == 1 and ledger.waiting(1.9, 10) == []
    assert ledger.add(ONE, LIVE, 3.0)
    entry = ledger.claim(3.0)
    assert entry is not None and entry.artifact == ONE and entry.attempts == 0


def test_what_had_no_file_is_looked_for_again_within_the_window_only(ledger: Ledger) -> None:
    for name, started in [("new", 100.0), ("old", 10.0)]:
        ledger.wait(f"snapshot:{name}", "door", started, due=1.0)
        ledger.give_up(f"snapshot:{name}", "no snapshot file", 2.0, "waiting")
    assert ledger.look_again(since=50.0, now=200.0, looks=12) == 1
    assert ledger.waiting(200.0, 10) == [("snapshot:new", "door", 100.0, 12)]
    assert ledger.counts() == Counts(waiting=1, gone=1)


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
    ledger.give_up(ONE.id, "no snapshot file", 3.0, "waiting")
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
    ledger.give_up("snapshot:gone", "none", 1.0, "waiting")
    ledger.settle([Settled(1.0, f"snapshot:{name}", "k") for name in ("done", "done-new")])
    ledger.bury("snapshot:dead", "no", 1.0)
    ledger.bury("snapshot:dying", "no", 1.0)
    assert ledger.prune(before=80.0, failed_before=50.0) == 3
    assert ledger.counts() == Counts(waiting=1, pending=1, uploaded=1, failed=1)


def test_pruning_goes_on_past_its_first_page(ledger: Ledger) -> None:
    ledger.add_settled((f"snapshot:{n}", "c", "k", 1.0, 1.0, "uploaded") for n in range(2500))
    assert ledger.prune(2.0, 2.0) == 2500


def test_settled_artifacts_are_taken_over_once(ledger: Ledger) -> None:
    rows = [(f"snapshot:{n}", "c", f"k/{n}", float(n % 7), 5.0, "uploaded") for n in range(2500)]
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
    between = ((f"snapshot:5-{n}", "c", "k", 1.0, 5.0, "uploaded") for n in range(1000))
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
        Ledger(path).check()


@pytest.mark.parametrize("text", ["{", "[]x", ""])
def test_a_row_that_cannot_be_read_is_damage_and_stops_no_other_ledger(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "ledger.db"
    opened = Ledger(path)
    opened.add(ONE, BACKLOG, 1.0)  # a live one is not read again
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE artifact SET metadata = ?", (text,))
        raw.commit()
    with pytest.raises(LedgerDamaged):
        opened.claim(2.0)
    assert opened.damaged
    opened.close()


@pytest.mark.parametrize(
    "change",
    ["key = 'k/elsewhere'", "source = '/etc/passwd'", "camera = 'garage'", "size = size + 1",
     "started = started + 1", "content_type = 'text/html'", "metadata = '{}'",
     "key = CAST(key AS BLOB)", "priority = 0, tries = 'many'"],
)  # fmt: skip
def test_an_artifact_that_is_not_as_it_was_written_is_never_claimed(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, BACKLOG, 1.0)  # a live one is not read again
        scribble(path, f"UPDATE artifact SET {change}")
        with pytest.raises(LedgerDamaged):
            opened.claim(2.0)


@pytest.mark.parametrize(
    "change",
    [
        "priority = 64",
        "due = 'later'",
        "tries = 'many'",
        "attempts = x'00'",
        "added = 'then'",
        "state = 'peoding'",
    ],
)
def test_what_would_never_be_claimed_is_found_by_the_check(tmp_path: Path, change: str) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
        opened.check()
        scribble(path, f"UPDATE artifact SET {change}")
        with pytest.raises(LedgerDamaged):
            opened.check()
        assert opened.damaged


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


def test_a_bit_that_flips_in_any_copy_of_an_id_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
    sound = path.read_bytes()
    places = [one.start() for one in re.finditer(ONE.id.encode(), sound)]
    assert len(places) >= 4  # the table, and the indices that a pending one is in
    for place in places:
        data = bytearray(sound)
        data[place + len(ONE.id) - 1] ^= 1
        path.write_bytes(data)
        with contextlib.closing(Ledger(path)) as opened, pytest.raises(LedgerDamaged):
            opened.check()


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"IN ('waiting'", b"IN ('waIting'"),  # every wait would be refused
        (b"content_type TEXT", b"content_tyqe TEXT"),
        (b"artifact_waiting", b"artifact_\xf7aiting"),  # SQLite's message cannot be decoded then
        (b"WHERE state = 'pending'", b"WHERE state = 'peoding'"),
    ],
)
def test_a_bit_that_flips_in_its_schema_is_damage(tmp_path: Path, was: bytes, now: bytes) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    sound = path.read_bytes()
    assert was in sound
    path.write_bytes(sound.replace(was, now, 1))
    with pytest.raises(LedgerDamaged):
        Ledger(path)


def test_what_an_owner_added_to_it_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
    scribble(path, "ANALYZE")
    scribble(path, "CREATE VIEW dead AS SELECT id FROM artifact WHERE state = 'failed'")
    with contextlib.closing(Ledger(path)) as opened:
        opened.check()
        assert opened.claim(1.0) is not None


def test_the_check_of_a_ledger_deleted_meanwhile_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(Ledger(path)) as opened:
        opened.add(ONE, LIVE, 1.0)
        path.unlink()
        opened.check()
        assert not path.exists() and opened.claim(1.0) is not None


def test_the_check_waits_for_nobody(ledger: Ledger) -> None:
    ledger.add(ONE, LIVE, 1.0)
    check = threading.Thread(target=ledger.check, daemon=True)
    with ledger._store.turn:  # whoever has it
        check.start()
        check.join(20)
        assert not check.is_alive()


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
            (f"snapshot:{n}", "c", "k" * 50, 1.0, 1.0, "uploaded") for n in range(300)
        )
        with contextlib.closing(Ledger(path)) as second:  # which has no page in memory yet
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


def test_a_ledger_of_a_newer_version_is_put_aside_rather_than_misread(tmp_path: Path) -> None:
    sql = sqlite3.connect(tmp_path / "ledger.db")
    sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(LedgerDamaged, match="newer"):
        Ledger(tmp_path / "ledger.db")


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
