"""The ledger against a model of it, with a crash between any two steps.

A crash is a new Ledger on the same file while the old one was never closed: what it had committed
is there, and what it had claimed is claimed no more.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from frigate_mirror.artifact import Artifact
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.rows import Priority, Settled

IDS = st.sampled_from([f"snapshot:{n}" for n in range(8)])
STARTED = {f"snapshot:{n}": float(n * 10) for n in range(8)}
BOUNDS = st.sampled_from([40.0, 1010.0, 1030.0, 1e12])
CAMERAS = {f"snapshot:{n}": ("door", "yard")[n % 2] for n in range(8)}


@dataclass
class Row:
    state: str
    priority: int = 0
    due: float = 0.0
    tries: int = 0
    attempts: int = 0
    has_origin: bool = True
    settled: float = 0.0
    was_dead: bool = False


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.ledger = Ledger(self.folder / "ledger.db")
        self.left_open: list[Ledger] = []
        self.now = 1000.0
        self.rows: dict[str, Row] = {}
        self.claimed: set[str] = set()
        self.uploaded: set[str] = set()

    def teardown(self) -> None:
        for ledger in (*self.left_open, self.ledger):
            ledger.close()
        shutil.rmtree(self.folder)

    def _in(self, *states: str) -> list[str]:
        return [one for one, row in self.rows.items() if row.state in states]

    # -- what comes in

    @rule(one=IDS, priority=st.sampled_from(Priority))
    def add(self, one: str, priority: Priority) -> None:
        self.now += 1
        row = self.rows.get(one)
        artifact = Artifact(one, CAMERAS[one], STARTED[one], f"k/{one}", "/a", 1, "image/jpeg", {})
        added = self.ledger.add(artifact, priority, self.now)
        assert added == (row is None or row.state in ("waiting", "gone", "lost", "unwanted"))
        if added:
            self.rows[one] = Row("pending", int(priority), self.now)

    @rule(one=IDS)
    def leave_out(self, one: str) -> None:
        self.ledger.leave_out([(one, CAMERAS[one], STARTED[one], "labels: cat")], self.now)
        row = self.rows.setdefault(one, Row("unwanted", 2, self.now, settled=self.now))
        if row.state == "waiting":
            row.state = "unwanted"

    @rule(one=IDS, after=st.integers(1, 50), looks=st.integers(1, 12))
    def wait(self, one: str, after: int, looks: int) -> None:
        due = self.now + after
        self.ledger.wait(one, CAMERAS[one], STARTED[one], due, looks)
        row = self.rows.get(one)
        if row is None:
            self.rows[one] = Row("waiting", 0, due, 0, looks, has_origin=False)
        elif row.state == "waiting":
            row.due, row.attempts = due, looks

    @rule(some=st.sets(IDS), state=st.sampled_from(["uploaded", "failed"]))
    def add_settled(self, some: set[str], state: str) -> None:
        new = [one for one in some if one not in self.rows]
        rows = [(one, CAMERAS[one], "k", STARTED[one], self.now, state, 0, "") for one in some]
        assert self.ledger.add_settled(rows) == len(new)
        for one in new:
            self.rows[one] = Row(state, 2, self.now, has_origin=False, settled=self.now)
            if state == "uploaded":
                self.uploaded.add(one)

    # -- the queue

    @rule()
    def claim(self) -> None:
        entry = self.ledger.claim(self.now)
        due = {
            one: self.rows[one]
            for one in self._in("pending")
            if self.rows[one].due <= self.now and one not in self.claimed
        }
        if entry is None:
            assert not due
            return
        found = due[entry.artifact.id]  # pending, due, and nobody else's
        assert found.priority == min(row.priority for row in due.values())
        rivals = [row.due for row in due.values() if row.priority == found.priority]
        assert found.due == (max(rivals) if found.priority == Priority.LIVE else min(rivals))
        assert (entry.tries, entry.attempts) == (found.tries, found.attempts)
        self.claimed.add(entry.artifact.id)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        claimed = st.sampled_from(sorted(self.claimed))
        some = data.draw(st.lists(claimed, min_size=1, unique=True))
        self.ledger.settle([Settled(self.now, one, "k") for one in some])
        for one in some:
            self.rows[one] = Row("uploaded", has_origin=False, settled=self.now)
            self.claimed.discard(one)
            self.uploaded.add(one)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), charged=st.booleans(), after=st.integers(0, 100))
    def defer(self, data: st.DataObject, charged: bool, after: int) -> None:
        one = data.draw(st.sampled_from(sorted(self.claimed)))
        self.ledger.defer(one, self.now + after, "x", charged=charged)
        row = self.rows[one]
        row.due, row.attempts, row.tries = self.now + after, row.attempts + 1, row.tries + charged
        row.priority = max(row.priority, 1)
        self.unclaim_one(one)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), gone=st.booleans())
    def bury_or_lose(self, data: st.DataObject, gone: bool) -> None:
        one = data.draw(st.sampled_from(sorted(self.claimed)))
        row = self.rows[one]
        if gone:
            self.ledger.lose(one, "x", self.now)
            row.state = "lost"
        else:
            self.ledger.bury(one, "x", self.now)
            row.state, row.tries, row.attempts = "failed", row.tries + 1, row.attempts + 1
        row.settled = self.now
        self.unclaim_one(one)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def unclaim(self, data: st.DataObject) -> None:
        self.unclaim_one(data.draw(st.sampled_from(sorted(self.claimed))))

    def unclaim_one(self, one: str) -> None:
        # Whatever was decided about it, it is claimed until here.
        assert self.ledger.claimed == len(self.claimed)
        self.ledger.unclaim(one)
        self.claimed.discard(one)

    @rule(event=st.sampled_from(["", "1", "5"]), camera=st.sampled_from(["", "door", "yard"]))
    def revive(self, event: str, camera: str) -> None:
        chosen = [
            one
            for one in self._in("failed", "lost")
            if event in ("", one.partition(":")[2]) and camera in ("", CAMERAS[one])
        ]
        assert self.ledger.revive(event, camera, self.now) == len(chosen)
        for one in chosen:
            row = self.rows[one]
            row.state = "pending" if row.has_origin else "waiting"
            row.was_dead = True
            row.priority, row.due, row.tries, row.attempts = 1, self.now, 0, 0

    @rule()
    def hasten(self) -> None:
        self.ledger.hasten(self.now)
        for one in self._in("pending"):
            if self.rows[one].tries == 0:
                self.rows[one].due = min(self.rows[one].due, self.now)

    @rule(step=st.sampled_from([-1e9, -100.0, -1.0, 1.0, 100.0, 1e9]))
    def set_the_clock_and_mend(self, step: float) -> None:
        self.now = max(1000.0, self.now + step)
        self.ledger.mend_clock(self.now, self.now + 120)
        for one in self._in("pending", "waiting"):
            row = self.rows[one]
            if row.due > self.now + 120 or (row.due > self.now and row.attempts == 0):
                row.due = self.now

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        one = data.draw(IDS)
        self.ledger.give_up(one, "x", self.now)
        if one in self._in("waiting"):
            row = self.rows[one]
            row.state, row.settled = "lost" if row.was_dead else "gone", self.now
            row.was_dead = True

    @rule(since=st.integers(0, 80))
    def look_again(self, since: int) -> None:
        chosen = [one for one in self._in("gone", "lost") if STARTED[one] >= since]
        assert [one for page in self.ledger.without_file(since, 2) for one in page] == sorted(
            chosen
        )
        chosen = [one for one in self._in("unwanted") if STARTED[one] >= since]
        assert [one for page in self.ledger.unwanted(since, 2) for one in page] == sorted(chosen)

    @rule(before=BOUNDS, dead_before=BOUNDS)
    def prune(self, before: float, dead_before: float) -> None:
        """What both started and was settled before the bound is forgotten."""

        def old(bound: float, *states: str) -> list[str]:
            rows = self.rows
            return [
                one
                for one in self._in(*states)
                if STARTED[one] < bound and rows[one].settled < bound
            ]

        done, dead = old(before, "uploaded", "gone", "unwanted"), old(dead_before, "failed", "lost")
        assert self.ledger.prune(before, dead_before) == (len(done + dead), len(dead))
        for one in done + dead:
            del self.rows[one]
            self.uploaded.discard(one)

    @rule()
    def crash(self) -> None:
        self.left_open.append(self.ledger)
        self.ledger = Ledger(self.folder / "ledger.db")
        self.claimed.clear()

    # -- what always holds

    @invariant()
    def the_counts_agree(self) -> None:
        counts = self.ledger.counts()
        for state in ("waiting", "pending", "uploaded", "failed", "lost", "gone", "unwanted"):
            assert getattr(counts, state) == len(self._in(state)), state
        retrying = [one for one in self._in("pending") if self.rows[one].priority == 1]
        assert counts.retrying == len(retrying)
        assert self.ledger.claimed == len(self.claimed)

    @invariant()
    def nothing_known_vanishes(self) -> None:
        assert self.ledger.unknown(sorted(self.rows)) == []

    @invariant()
    def the_uploaded_stay_uploaded(self) -> None:
        assert {one.id for one in self.ledger.uploaded(page=3)} == self.uploaded

    @invariant()
    def the_next_due_is_announced(self) -> None:
        free = [self.rows[one].due for one in self._in("pending") if one not in self.claimed]
        assert self.ledger.next_due() == min(free, default=None)


LedgerMachine.TestCase.settings = settings(
    derandomize=True,
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestLedgerMachine = LedgerMachine.TestCase
