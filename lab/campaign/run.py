"""One run: a world, one or two faults in it, and the verdict of the oracle."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from lab.campaign import told
from lab.campaign.companions import CompanionWorld
from lab.campaign.faults import Fault
from lab.campaign.lab import Aborted, Lab
from lab.campaign.oracle import Verdict
from lab.campaign.world import VERSIONS, World

log = logging.getLogger("campaign")
LONGEST_UNMET = 20.0  # seconds within which a fault must strike
SECOND_CHANCE = 20.0  # seconds for a mirror that is started again
TAIL = 400  # lines of the log that a failed run keeps


@dataclass
class Outcome:
    """`seconds` run from the end of the last fault until everything was in the bucket. They are
    None if it never was. `complaints` are failures that the oracle cannot see. `struck` counts what
    the proxy did."""

    names: tuple[str, ...]
    seed: str
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float | None = None
    complaints: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    strikes: int = 0
    deleted: int = 0
    took: float = 0.0
    tracebacks: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return self.verdict.clean and not self.complaints


def run(lab: Lab, faults: Sequence[Fault], seed: str) -> Outcome:
    began = time.monotonic()
    outcome = Outcome(tuple(fault.name for fault in faults), seed)
    world = _world(lab, faults, seed)
    try:
        strikes = play(world, faults)
        outcome.strikes = world.notes.get("struck", strikes)
        longest = lab.patience or max(fault.bound for fault in faults)
        outcome.seconds = conclude(world, longest)
        outcome.verdict = world.oracle.judge(world.owed(), world.events)
    except Aborted:
        raise
    except Exception as error:  # this run has failed, and the others go on
        world.complaints.append(f"the campaign stumbled: {error!r}")
        log.exception("%s", seed)
    finally:
        _note(world, outcome)
        world.close()
    outcome.took = time.monotonic() - began
    return outcome


def _world(lab: Lab, faults: Sequence[Fault], seed: str) -> World:
    environ = {name: value for fault in faults for name, value in fault.environ.items()}
    version = _version(seed)
    if places := faults[0].companions:  # such a fault is always alone
        return CompanionWorld(lab, seed, version, destinations=places, environ=environ)
    tls = any(fault.tls for fault in faults)
    return World(lab, seed, version, tls=tls, environ=environ)


def _version(seed: str) -> str:
    """The Frigate of a run. The runs of one fault take turns. `plan` shows the form of a seed."""
    _, number, name = seed.split(":", 2)
    return VERSIONS[(int(number) + len(name)) % len(VERSIONS)]


def play(world: World, faults: Sequence[Fault]) -> int:
    """Makes events before, during and after the faults, which begin in order and end in any
    order."""
    for fault in faults:
        fault.prepare(world)
    world.start()
    world.burst(1, 4)
    waits = world.rng.random() < 0.7  # otherwise they strike while the mirror starts
    if waits and all(fault.starts for fault in faults):
        world.wait_for_start(after=0)
    for fault in faults:
        world.retention.paused = world.retention.paused or fault.blinds
        fault.begin(world)
        world.burst(1, 3)
    strikes = _carry_on(world, faults)
    if len(faults) == 1:  # one of two faults may hide the other
        _wait_until_met(world, faults[0])
    for fault in world.rng.sample(faults, len(faults)):
        fault.end(world)
        world.burst(0, 2)
    world.retention.paused = False
    for fault in faults:
        fault.after(world)
    world.burst(1, 3)
    return strikes


def _carry_on(world: World, faults: Sequence[Fault]) -> int:
    """Makes events while the faults last and strike. Returns the number of strikes."""
    until = time.monotonic() + max(world.rng.uniform(*fault.lasts) for fault in faults)
    left = [fault for fault in faults for _ in range(fault.strikes)]
    world.rng.shuffle(left)
    for fault in left:
        world.burst(0, 2)
        world.pause(*fault.pause)
        fault.strike(world)
    while time.monotonic() < until:
        world.event()
        world.pause(0.1, 0.8)
    return len(left)


def _wait_until_met(world: World, fault: Fault) -> None:
    until = time.monotonic() + LONGEST_UNMET
    while not fault.met(world):
        if time.monotonic() > until:
            world.complaints.append(f"{fault.name} has not struck within {LONGEST_UNMET:g} s")
            return
        world.event()
        world.pause(0.2, 0.4)


def conclude(world: World, bound: float) -> float | None:
    """Waits for the bucket, then stops Frigate. The oracle judges the bucket as it is after
    that."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    world.look_into_database()
    seconds = world.oracle.wait(lambda: world.owed().keys(), bound, world.lab.rest)
    world.retention.stop()
    if seconds is None:
        missing = len(world.owed().keys() - world.oracle.arrived())
        world.complaints.append(f"{missing} not in the bucket after {bound:g} s")
        if told.status(world)["health"] == told.OK:
            world.complaints.append("health says OK while they are missing")
        # Late is not lost: an event is lost if a new start does not find it, either.
        world.stop()
        world.start()
        late = min(bound, SECOND_CHANCE)
        world.oracle.wait(lambda: world.owed().keys(), late, world.lab.rest)
    world.stop()
    return seconds


def _note(world: World, outcome: Outcome) -> None:
    outcome.complaints = world.complaints
    outcome.struck = dict(world.proxy.struck)
    outcome.deleted = world.retention.deleted
    lines = world.log.read_text(errors="replace").splitlines()
    outcome.tracebacks = sum("Traceback" in line for line in lines)
    if not outcome.clean or outcome.tracebacks:
        outcome.log = lines[-TAIL:] + _ledgers(world)


def _ledgers(world: World) -> list[str]:
    """The rows of the mirror's ledgers that are not uploaded."""
    found = []
    for path in sorted(world.folder.rglob("ledger.db")):
        try:
            with closing(sqlite3.connect(path)) as ledger:
                rows = ledger.execute("SELECT * FROM artifact WHERE state != 'uploaded'").fetchall()
        except sqlite3.Error as error:
            rows = [(repr(error),)]
        found += [f"{path.parent.name}: {row}" for row in rows]
    return found
