"""The life of the child process: it waits for its turn, mirrors, drains its queue, and ends."""

from __future__ import annotations

import encodings.idna
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from frigate_mirror.ledger import places, rebuild
from frigate_mirror.ledger.connection import LedgerBusy, LedgerError
from frigate_mirror.ledger.places import StateLock
from frigate_mirror.mirror import Mirror
from frigate_mirror.process.system import Parent, Rounds, start_all
from frigate_mirror.report import health
from frigate_mirror.settings.settings import Settings, StateSettings
from frigate_mirror.sinks.sink import Sink

# Python loads this module when it first encodes a host name. If there is no memory at that moment,
# it remembers for ever that there is no such module.
assert encodings.idna

log = logging.getLogger("frigate_s3")
EX_OK, EX_FAILED = 0, 1
STATUS_EVERY, SUM_UP_EVERY, TEND_EVERY, TIDY_LOOK, VERIFY_LOOK = 5.0, 60.0, 1.0, 10.0, 1.0


class Stop:
    """Whether to stop, because a signal said so or because a thread died.

    It is no Event: the main thread, in which Python calls the signal's function, may be holding
    the Event's lock at that moment.
    """

    wanted = False
    status = EX_OK

    def __call__(self, *_: object) -> None:
        self.wanted = True

    def mourn(self, death: threading.ExceptHookArgs) -> None:
        """Threads only die of MemoryError. After one, Python 3.11 was seen to call the wrong
        functions, so the process ends, and whoever started it starts a new one."""
        self.wanted, self.status = True, EX_FAILED
        log.error("S3 snapshot mirror ends, to be started anew: %r", death.exc_value)


def serve(settings: Settings, sink: Sink, versions: dict[str, str]) -> int:
    """Mirrors until Frigate closes our stdin, is gone, or a signal says to stop; returns the exit
    code."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.excepthook = stop.mourn
    parent = Parent(sys.stdin.fileno(), int(os.environ.get("S3_MIRROR_PARENT", os.getppid())))
    state = settings.state
    lock = StateLock(state)
    try:
        if not _take_turn(lock, parent, stop, state):
            return EX_OK
        found = _opened(state, parent, stop)
        lock.sign(found.folder)
    except (LedgerError, OSError) as error:
        log.error("S3 snapshot mirror cannot start: %s", error)
        health.tell_why_not(f"the mirror cannot start: {error}", state.status_path)
        return EX_FAILED
    mirror = Mirror(settings, sink, found, versions=versions)
    _mirror_until(parent, stop, mirror, settings)
    ledger = mirror.ledger
    ledger.close()
    if ledger.damaged:
        log.error("S3 ledger damaged, kept as %s", rebuild.put_aside(ledger.path))
    lock.release()
    return EX_FAILED if ledger.damaged else stop.status


def _take_turn(lock: StateLock, parent: Parent, stop: Stop, state: StateSettings) -> bool:
    """Waits for an earlier mirror to finish its drain; False if Frigate ends before that."""
    told = ""
    while not lock.acquire():
        if parent.hung_up or stop.wanted:
            return False
        told = _tell_who_has_it(state, told)
        time.sleep(0.1)
    return True


def _opened(state: StateSettings, parent: Parent, stop: Stop) -> places.State:
    """The ledger, as soon as no other program has it locked. Raises LedgerError, OSError."""
    told = False
    while True:
        try:
            return places.open_alone(state)
        except LedgerBusy as error:
            if parent.hung_up or stop.wanted:
                raise
            if not told:
                log.warning("S3 snapshot mirror waits for its ledger: %s", error)
                health.tell_why_not(f"the mirror waits: {error}", state.status_path)
            told = True


def _tell_who_has_it(state: StateSettings, told: str) -> str:
    """Says once who holds the lock. Another Frigate's mirror will not end soon: then our own status
    has to say so too."""
    holder = places.holder(state)
    if holder.ours:
        words = "S3 snapshot mirror waits for an earlier one to end"
    else:
        words = (
            f"S3 snapshot mirror waits: the state folder {holder.folder} is in use by "
            f"{holder.name}, which mirrors another clips folder: set MIRROR_STATE_DIR to a folder "
            "of its own for each Frigate"
        )
    if words != told:
        if not holder.ours:
            health.tell_why_not(words, state.status_path)
        log.log(logging.INFO if holder.ours else logging.ERROR, "%s", words)
    return words


def _rounds(mirror: Mirror, settings: Settings) -> list[Rounds]:
    """What is done now and then. The tasks of one thread wait for each other."""
    rounds: dict[str, list[tuple[float, Callable[[], None]]]] = {
        "pulse": [
            (TEND_EVERY, mirror.tend),
            (STATUS_EVERY, mirror.write_status),
            (SUM_UP_EVERY, mirror.sum_up),
        ],
        "sweep": [(settings.sweep.interval, mirror.housekeep), (TIDY_LOOK, mirror.tidy)],
        "check": [(settings.report.check_interval, mirror.check), (VERIFY_LOOK, mirror.verify)],
        "stats": [(settings.report.stats_interval, mirror.tell)],
    }
    return [Rounds(name, *tasks, told=mirror.note_task) for name, tasks in rounds.items()]


def _mirror_until(parent: Parent, stop: Stop, mirror: Mirror, settings: Settings) -> None:
    rounds = _rounds(mirror, settings)
    log.info("S3 snapshot mirror started: bucket %s, %d threads, events of the last %g days",
             settings.s3.bucket, settings.upload.threads, settings.sweep.days)  # fmt: skip
    mirror.catalog.stay_open()
    mirror.hasten()
    start_all(mirror.start_threads, *(one.start for one in rounds))
    while not (parent.gone or stop.wanted or mirror.ledger.damaged):
        ids, page = parent.ids(timeout=0.5), settings.sweep.batch_size
        if parent.gone:  # these are still offered
            mirror.catalog.let_go()
        for at in range(0, len(ids), page):
            # A database that is locked or slow must not keep us from ending; the sweep finds them.
            if stop.wanted or parent.dead or not mirror.intake.offer(*ids[at : at + page]):
                break
    mirror.catalog.let_go()
    log.info("S3 snapshot mirror stopping, up to %g s for what is under way",
             settings.upload.drain_seconds)  # fmt: skip
    for one in rounds:
        one.stop()
    mirror.stop(settings.upload.drain_seconds)
    log.info("S3 snapshot mirror stopped")
