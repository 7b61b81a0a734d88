"""The life of the child process: it waits for its turn, mirrors, drains its queue, and ends."""

from __future__ import annotations

import encodings.idna
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field

from frigate_mirror.ledger import folders, repair
from frigate_mirror.ledger.database import LedgerBusy, LedgerError
from frigate_mirror.ledger.lock import StateLock, holder
from frigate_mirror.mirror import Mirror, of_frigate
from frigate_mirror.process.rounds import rounds_of, start_all
from frigate_mirror.process.system import has_died
from frigate_mirror.report import status
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Sink
from frigate_mirror.sources.pipe import Pipe

# Python loads this module when it first encodes a host name. If memory is short at that moment, it
# remembers for ever that the module does not exist.
assert encodings.idna

log = logging.getLogger("frigate_s3")
EX_OK, EX_FAILED = 0, 1


class Stop:
    """Whether to stop, because a signal says so or because a thread has died.

    A threading.Event will not do: Python calls a signal's function in the main thread, which may
    hold the Event's lock at that moment.
    """

    wanted = False
    status = EX_OK

    def __call__(self, *_: object) -> None:
        self.wanted = True

    def on_death(self, death: threading.ExceptHookArgs) -> None:
        """Threads only die of MemoryError. The process then ends, and its keeper starts a new one,
        because Python 3.11 was seen to call wrong functions after a MemoryError."""
        self.wanted, self.status = True, EX_FAILED
        log.error(
            "S3 snapshot mirror ends, and Frigate's hook starts a new one: %r", death.exc_value
        )


@dataclass
class Frigate:
    """The process that started this one, and the pipe from its hook."""

    pipe: Pipe
    pid: int
    stop: Stop = field(default_factory=Stop)

    @property
    def leaves(self) -> bool:
        """Whether Frigate has ended or wants this process to end, even if ids are left in the
        pipe."""
        return self.stop.wanted or self.pipe.hung_up or self.pipe.ended or has_died(self.pid)


def serve(settings: Settings, sink: Sink, versions: dict[str, str]) -> int:
    """Mirrors until Frigate closes our stdin, dies, or sends a signal; returns the exit code."""
    pid = int(os.environ.get("S3_MIRROR_PARENT", os.getppid()))
    frigate = Frigate(Pipe(sys.stdin.fileno()), pid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, frigate.stop)
    threading.excepthook = frigate.stop.on_death
    lock, own = StateLock(settings.state), settings.state
    try:
        if not _take_turn(lock, frigate, settings):
            return EX_OK
        state = _open_ledger(frigate, settings)
        lock.sign(state.folder)
    except (LedgerError, OSError) as error:
        log.error("S3 snapshot mirror cannot start: %s", error)
        status.write_why_not_running(f"the mirror cannot start: {error}", own.status_path)
        return EX_FAILED
    mirror = of_frigate(settings, sink, state, versions=versions)
    _mirror_until_the_end(frigate, mirror, settings)
    ledger = mirror.ledger
    ledger.close()
    if ledger.damaged:
        log.error(
            "S3 ledger damaged, kept as %s; the next start makes a new one",
            repair.put_aside(ledger.path),
        )
    lock.release()
    return EX_FAILED if ledger.damaged else frigate.stop.status


def _take_turn(lock: StateLock, frigate: Frigate, settings: Settings) -> bool:
    """Waits until an earlier mirror has drained; returns False if Frigate ends before that."""
    told = ""
    while not lock.acquire():
        if frigate.leaves:
            return False
        told = _tell_holder(settings, told)
        time.sleep(0.1)
    return True


def _tell_holder(settings: Settings, told: str) -> str:
    """Says once who holds the lock. The mirror of another Frigate will not end soon, so the status
    file says it, too."""
    other = holder(settings.state)
    if other.ours:
        words = "S3 snapshot mirror waits for an earlier one to end"
    else:
        words = (
            f"S3 snapshot mirror waits: the state folder {other.folder} is in use by "
            f"{other.name}, which mirrors another clips folder: set MIRROR_STATE_DIR to a folder "
            "of its own for each Frigate"
        )
    if words != told:
        if not other.ours:
            status.write_why_not_running(words, settings.state.status_path)
        log.log(logging.INFO if other.ours else logging.ERROR, "%s", words)
    return words


def _open_ledger(frigate: Frigate, settings: Settings) -> folders.State:
    """Opens the ledger as soon as no other program has it locked. Raises LedgerError, OSError."""
    told = False
    while True:
        try:
            return folders.open_alone(settings.state)
        except LedgerBusy as error:
            if frigate.leaves:
                raise
            if not told:
                log.warning("S3 snapshot mirror waits for its ledger: %s", error)
                status.write_why_not_running(
                    f"the mirror waits: {error}", settings.state.status_path
                )
            told = True


def _mirror_until_the_end(frigate: Frigate, mirror: Mirror, settings: Settings) -> None:
    pipe, stop, page = frigate.pipe, frigate.stop, settings.sweep.batch_size
    rounds = rounds_of(mirror.tasks(), mirror.note_task)
    log.info("S3 snapshot mirror started: bucket %s, %d threads, events of the last %g days",
             settings.s3.bucket, settings.upload.threads, settings.sweep.days)  # fmt: skip
    mirror.hasten()
    start_all(mirror.start_threads, *(thread.start for thread in rounds))
    while not (pipe.ended or has_died(frigate.pid) or stop.wanted or mirror.ledger.damaged):
        ids = pipe.ids(timeout=0.5)
        for at in range(0, len(ids), page):
            # A locked or slow database must not delay our end; the sweep finds these events.
            if (
                stop.wanted
                or has_died(frigate.pid)
                or not mirror.intake.offer(*ids[at : at + page])
            ):
                break
    log.info("S3 snapshot mirror stopping, uploads under way get up to %g s",
             settings.upload.drain_seconds)  # fmt: skip
    for thread in rounds:
        thread.stop()
    mirror.stop(settings.upload.drain_seconds)
    log.info("S3 snapshot mirror stopped")
