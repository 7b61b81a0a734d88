"""Uploader: threads that take what is due from the ledger and put it.

A fixed number of threads run the same step. Two more run it for live artifacts only, so that a live
artifact finds a free thread even while every other thread hangs in an upload of the backlog. Where
the service answers at once, two threads are faster than eight, and the others rest. One more thread
uploads the bulk artifacts, which give way to live ones. It looks for them every two seconds.

There are two layers of retry: the sink's own for seconds, the ledger's for minutes to weeks. A
thread never sleeps on an artifact; a failed artifact goes back with a later due time.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from frigate_mirror.faults import Fault
from frigate_mirror.keys import quote_camera
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Entry, Priority, Settled
from frigate_mirror.part import Part, Task
from frigate_mirror.sinks.sink import Receipt, Rejected, Sink, SinkError, Unavailable
from frigate_mirror.spool import Spool
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.bandwidth import Bandwidth
from frigate_mirror.upload.commits import Commits
from frigate_mirror.upload.line import Line, Yielding
from frigate_mirror.upload.outage import CircuitBreaker, Permit

log = logging.getLogger("frigate_s3.uploader")
LONGEST_REST = 2.0  # seconds; work that another process adds is seen after this time
SHORTEST_REST = 0.05
LIVE_THREADS = 2
HEAD_START = 0.005  # seconds
AT_ONCE = 0.0015  # seconds of a put; then more than two threads only wait for Python's lock
SUM_UP_EVERY = 60.0  # seconds


@dataclass(slots=True)
class Tally:
    """What was done since the start."""

    success: int = 0
    failed: int = 0
    live: int = 0
    last_fault: Fault | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Uploader(Part):
    """Uploads from `ledger` and `spool` to `sink`. `on_commit` is called with every batch that the
    ledger took; `clock` gives Unix seconds."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        sink: Sink,
        breaker: CircuitBreaker,
        *,
        backoff: Backoff,
        max_tries: int,
        bandwidth: Bandwidth | None = None,
        on_commit: Callable[[list[Settled]], None] = lambda batch: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tally = Tally()
        self._ledger = ledger
        self._spool = spool
        self._sink = sink
        self._breaker = breaker
        self._backoff = backoff
        self._max_tries = max_tries
        self._bandwidth = bandwidth or Bandwidth(((0, math.inf),))
        self._line = Line(self._bandwidth)
        self._commits = Commits(ledger, spool, on_commit)
        self._clock = clock
        self._called = threading.Condition()
        self._calls = 0
        self._stopping = False
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._trouble = ""
        self._summed_up = 0
        self._usual = 0.0  # seconds that a put takes, as a moving average
        self._ended = -math.inf  # when the last put ended, on time.monotonic

    # -- the threads

    def start(self, threads: int) -> None:
        """Starts so many threads for whatever is due, LIVE_THREADS more for live artifacts, and one
        for bulk artifacts."""
        for number in range(threads):
            self._start(f"upload-{number}", Priority.BACKLOG, spare=number >= 2)
        for number in range(LIVE_THREADS):
            self._start(f"upload-live-{number}", Priority.LIVE)
        self._start("upload-bulk", Priority.BACKLOG, bulk=True)

    def _start(self, name: str, last: Priority, *, spare: bool = False, bulk: bool = False) -> None:
        work = (last, spare, bulk)
        thread = threading.Thread(target=self._run, args=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def wake(self) -> None:
        """Tells the resting threads that something may be due."""
        with self._called:
            self._calls += 1
            self._called.notify_all()

    def stop(self, timeout: float) -> None:
        """Lets every thread finish its artifact, and waits up to `timeout` seconds in all."""
        self._stopped.set()
        with self._called:
            self._stopping = True
            self._called.notify_all()
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def is_busy(self) -> bool:
        """Returns whether an upload is under way or could be."""
        if self._breaker.down:
            return False
        try:
            due = [self._ledger.next_due(bulk=bulk) for bulk in (False, True)]
        except LedgerError:
            return False
        now = self._clock()
        return self._ledger.claimed > 0 or any(one is not None and one <= now for one in due)

    def _run(self, last: Priority, spare: bool, bulk: bool) -> None:
        while not self._stopping:
            calls, rest = self._calls, LONGEST_REST
            try:
                helps = not spare or self._puts_take_time()
                rest = 0.0 if helps and self.step(last, bulk=bulk) else self._rest(last, bulk)
                if not self._commits:
                    self._note_trouble("")
            except LedgerError as error:
                self._note_trouble(str(error))
            except MemoryError:
                raise  # ends the process, see `process.life`
            except Exception:
                log.exception("S3 upload: unexpected error, the upload is tried again")
            if bulk and rest:
                self._stopped.wait(rest)  # not for each call: all but a few are of other files
            elif rest:
                self._wait(calls, rest)
                if spare:  # so that a single live event meets two threads and not all of them
                    time.sleep(HEAD_START)
        self._commit()

    def _puts_take_time(self) -> bool:
        """Returns whether the service takes its time for a put, or for those under way."""
        return self._usual > AT_ONCE or time.monotonic() - self._ended > SHORTEST_REST

    def _wait(self, calls: int, seconds: float) -> None:
        """Waits for a call after the first `calls` ones."""
        with self._called:
            self._called.wait_for(lambda: self._stopping or self._calls != calls, seconds)

    def _rest(self, last: Priority, bulk: bool) -> float:
        """Returns the seconds until something up to the priority `last` may be due, or the service
        may be tried again."""
        rest = LONGEST_REST if self._commits.overfull else self._breaker.pause()
        if rest <= 0.0 and last is Priority.LIVE:
            rest = LONGEST_REST  # a live artifact is due at once, and there is none
        elif rest <= 0.0:
            due = self._ledger.next_due(bulk=bulk)
            rest = LONGEST_REST if due is None else due - self._clock()
            rest = max(rest, self._bandwidth.pause())
        return min(max(rest, SHORTEST_REST), LONGEST_REST)

    # -- one upload

    def step(self, last: Priority = Priority.BACKLOG, *, bulk: bool = False) -> bool:
        """Uploads the next artifact that is due, up to the priority `last`, among the bulk ones or
        among the others, if the service may be used. Returns False if nothing was done. Raises
        LedgerError when the queue cannot be read or written."""
        if self._bandwidth.pause() and not bulk:
            last = Priority.LIVE
        # During an outage nothing is claimed, so that calls of `wake` cost no reads of the ledger.
        waits = self._commits.overfull or self._breaker.pause() > 0
        entry = None if waits else self._ledger.claim(self._clock(), last, bulk=bulk)
        if entry is None:
            self._commit()
            return False
        committing = False
        try:
            permit = self._breaker.permit()
            if permit is None:
                return False
            try:
                committing = self._upload(entry, permit)
            finally:
                self._breaker.unused(permit)  # unless it was given back by now
        finally:
            if not committing:
                self._ledger.unclaim(entry.artifact.id)
        if self._commits.due:
            self._commit()
        return True

    def _upload(self, entry: Entry, permit: Permit) -> bool:
        """Returns whether the bucket holds the artifact."""
        try:
            body = self._spool.open(entry.artifact)
        except FileNotFoundError:
            self._lose(entry)
        except OSError as error:
            self._unreadable(entry, error)
        else:
            with body:
                if entry.artifact.bulk:
                    return self._put(entry, cast(BinaryIO, Yielding(body, self._line)), permit)
                self._bandwidth.send(entry.artifact.size)
                live = entry.priority is Priority.LIVE
                with self._line.live() if live else nullcontext():
                    return self._put(entry, body, permit)
        return False

    def _put(self, entry: Entry, body: BinaryIO, permit: Permit) -> bool:
        artifact, began = entry.artifact, time.monotonic()
        try:
            receipt = self._sink.put(
                artifact.key,
                body,
                content_type=artifact.content_type,
                metadata=artifact.metadata,
            )
        except OSError as error:
            self._unreadable(entry, error)
        except Rejected as error:
            self._rejected(entry, error)
        except SinkError as error:
            self._breaker.failed(error, permit, artifact.id)
            self._defer(entry, Fault(self._clock(), str(error.args[0]), error.hint))
        except Exception as error:
            # A bug here or in a library must not use up a try, and the next upload must pause.
            kind = type(error).__name__
            self._breaker.failed(
                Unavailable(f"unexpected {kind}, see the log"), permit, artifact.id
            )
            self._defer(entry, Fault(self._clock(), f"unexpected {kind}, see the log", ""))
            raise
        else:
            took = time.monotonic() - began
            if not artifact.bulk:
                self._ended = began + took
                self._usual += (took - self._usual) / 16
            self._uploaded(entry, receipt, took)
            return True
        return False

    def _uploaded(self, entry: Entry, receipt: Receipt, took: float) -> None:
        artifact, now = entry.artifact, self._clock()
        self._commits.add(
            Settled(now, artifact.id, artifact.key, version=artifact.version, size=receipt.size,
                    digest=receipt.sha256)
        )  # fmt: skip
        level = logging.INFO if entry.priority is Priority.LIVE else logging.DEBUG
        if log.isEnabledFor(level):
            camera, kb = quote_camera(artifact.camera), -(-receipt.size // 1000)
            log.log(level, "S3 upload: %s %s %d KB in %.2f s", camera, artifact.key, kb, took)
        with self.tally.lock:
            self.tally.success += 1
            self.tally.live += entry.priority is Priority.LIVE
        try:
            if self._breaker.succeeded():
                self.resume()
        except LedgerError as error:
            self._note_trouble(str(error))

    def resume(self) -> None:
        """Goes on with what an outage has held up. Raises LedgerError."""
        self._ledger.hasten(self._clock())
        self.wake()

    def _commit(self) -> None:
        """Commits what is uploaded. What the ledger cannot take now is committed later."""
        try:
            self._commits.commit()
        except LedgerError as error:
            self._note_trouble(str(error))

    # -- what can go wrong with one

    def _lose(self, entry: Entry) -> None:
        reason = "deleted before it could be uploaded"
        self._ledger.lose(entry.artifact.id, reason, self._clock())
        log.error("S3 upload: %s is lost: %s", entry.artifact.key, reason)

    def _unreadable(self, entry: Entry, error: OSError) -> None:
        origin = entry.artifact.origin or entry.artifact.key
        message = f"read {origin}: {error.strerror or error}"
        self._defer(entry, Fault(self._clock(), message, ""))

    def _rejected(self, entry: Entry, error: Rejected) -> None:
        if self._breaker.succeeded():  # a rejection is an answer
            self.resume()
        fault = Fault(self._clock(), str(error.args[0]), error.hint)
        if entry.tries + 1 < self._max_tries:
            self._defer(entry, fault, charged=True)
            return
        self._ledger.bury(entry.artifact.id, str(error), self._clock())
        self._count_failure(fault)
        log.error("S3 upload: %s failed for good after %d tries: %s",
                  entry.artifact.key, entry.tries + 1, error)  # fmt: skip

    def _defer(self, entry: Entry, fault: Fault, *, charged: bool = False) -> None:
        self._count_failure(fault)
        log.debug("S3 upload: %s put off: %s", entry.artifact.key, fault.message)
        due = self._clock() + self._backoff.pause(entry.attempts + 1)
        self._ledger.defer(entry.artifact.id, due, fault.message, charged=charged)

    def _count_failure(self, fault: Fault) -> None:
        with self.tally.lock:
            self.tally.failed += 1
            self.tally.last_fault = fault

    def _note_trouble(self, trouble: str) -> None:
        if trouble and not self._trouble and not self._stopping:  # a stopping ledger may be closed
            log.error("S3 ledger: %s", trouble)
        self._trouble = trouble

    # -- what the mirror asks of each part

    def tasks(self) -> list[Task]:
        return [Task("pulse", SUM_UP_EVERY, self.sum_up)]

    def troubles(self) -> list[str]:
        return [self._trouble] if self._trouble else []

    def status(self) -> dict[str, Any]:
        tally, breaker = self.tally, self._breaker
        oldest = self._ledger.oldest_pending()
        faults = [fault for fault in (tally.last_fault, breaker.last_fault) if fault]
        return {
            "successes": tally.success,
            "failures": tally.failed,
            "counts": self._ledger.counts(),
            "behind": 0.0 if oldest is None else max(0.0, self._clock() - oldest),
            "last_success": self._ledger.last_upload(),
            "last_error": max(faults, key=lambda fault: fault.at, default=None),
            "service_down": breaker.down,
            "service_answered": breaker.answered,
            "service_since": breaker.since,
        }

    def sum_up(self) -> None:
        """Logs one line for the backlog and retries that were uploaded since the last such line."""
        with self.tally.lock:
            done = self.tally.success - self.tally.live
        new, self._summed_up = done - self._summed_up, done
        with suppress(LedgerError):
            if new:
                left = self._ledger.counts().pending
                log.info("S3 backlog: %d file(s) uploaded, %d to go", new, left)

    def finish(self) -> None:
        self.sum_up()
