"""Uploader: takes what is due from the ledger, puts it, settles it.

A fixed number of threads run one and the same step. Two more run it for live events only, so that a
live event finds a free thread even while every other thread hangs in an upload of the backlog.

Two layers of retry, no more: the sink's own for seconds, the ledger's for minutes to weeks. No
thread ever sleeps on an artifact: one that failed goes back with a later due time.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from frigate_mirror.faults import Fault
from frigate_mirror.keys import quote_camera
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Entry, Priority, Settled
from frigate_mirror.sinks.sink import Rejected, Sink, SinkError, Unavailable
from frigate_mirror.spool import Spool
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.bandwidth import Bandwidth
from frigate_mirror.upload.commits import Settling
from frigate_mirror.upload.outage import Leave, Service

log = logging.getLogger("frigate_s3.uploader")
LONGEST_IDLE = 2.0  # seconds; how soon work that another process added is seen
SHORTEST_IDLE = 0.05
LIVE_THREADS = 2  # beside those that take whatever is due


@dataclass(slots=True)
class Tally:
    """What was done since the start; `last_success` is Unix seconds."""

    success: int = 0
    failed: int = 0
    live: int = 0
    buried: int = 0
    last_success: float | None = None
    last_fault: Fault | None = None
    trouble: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Uploader:
    """`clock` gives Unix seconds; `on_settled` hears of every batch that the ledger settled."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        sink: Sink,
        service: Service,
        *,
        backoff: Backoff,
        max_tries: int,
        bandwidth: Bandwidth | None = None,
        on_settled: Callable[[list[Settled]], None] = lambda done: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tally = Tally()
        self._ledger = ledger
        self._spool = spool
        self._sink = sink
        self._service = service
        self._backoff = backoff
        self._max_tries = max_tries
        self._bandwidth = bandwidth or Bandwidth(((0, math.inf),))
        self._settling = Settling(ledger, spool, on_settled)
        self._clock = clock
        self._lock = threading.Lock()
        self._calls = dict.fromkeys(Priority, 0)  # that a thread up to this priority could heed
        self._resting: dict[Priority, list[threading.Event]] = {one: [] for one in Priority}
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self, threads: int) -> None:
        """Start so many threads that take whatever is due, and LIVE_THREADS more."""
        for number in range(threads):
            self._start(f"upload-{number}", Priority.BACKLOG)
        for number in range(LIVE_THREADS):
            self._start(f"upload-live-{number}", Priority.LIVE)

    def _start(self, name: str, last: Priority) -> None:
        thread = threading.Thread(target=self._run, args=(last,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """Let every thread finish the artifact it has in hand, and no more."""
        with self._lock:
            self._stopping = True
            for called in itertools.chain(*self._resting.values()):
                called.set()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds in all for the threads to end."""
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """There may be something to do: calls one thread, which calls the next if it finds
        something."""
        self._call(Priority.LIVE)

    def _call(self, priority: Priority) -> None:
        """Wake one thread that may take what is of this priority. One that takes whatever is due
        comes first: if no such thread rests, each of them looks again by itself before it does."""
        with self._lock:
            for last in range(priority, Priority.BACKLOG + 1):
                self._calls[Priority(last)] += 1
            resting = self._resting[Priority.BACKLOG] or self._resting[priority]
            if resting:
                resting.pop().set()

    def step(self, last: Priority = Priority.BACKLOG) -> bool:
        """Upload the next artifact that is due, none of a priority after `last`, if the service
        admits one; False if nothing was done. Raises LedgerError when the queue cannot be read or
        written."""
        leave = None if self._settling.overfull else self._service.admit()
        try:
            entry = self._ledger.claim(self._clock(), self._most(last)) if leave else None
            if entry is None or leave is None:
                self._settle()
                return False
            self._call(entry.priority)  # there may be more, but nothing that goes before this one
            self._bandwidth.send(entry.artifact.size)
            try:
                self._upload(entry, leave)
            finally:
                self._settling.let_go(entry.artifact.id)
        finally:
            if leave:
                self._give_back(leave, last)
        if self._settling.due:
            self._settle()
        return True

    def _give_back(self, leave: Leave, last: Priority) -> None:
        self._service.idle(leave)  # unless it has said more by now
        if last is Priority.LIVE and self._service.down:
            # The leave was the only one. A thread that could have used it may have asked in vain.
            self._call(Priority.BACKLOG)

    def _most(self, last: Priority) -> Priority:
        """The last of the priorities up to `last` that may be uploaded now."""
        return Priority.LIVE if self._bandwidth.pause() else last

    def _upload(self, entry: Entry, leave: Leave) -> None:
        try:
            body = self._spool.open(entry.artifact)
        except FileNotFoundError:
            self._deleted(entry)
            return
        except OSError as error:
            self._unreadable(entry, error)
            return
        with body:
            self._put(entry, body, leave)

    def _put(self, entry: Entry, body: BinaryIO, leave: Leave) -> None:
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
            self._service.failed(error, leave, artifact.id)
            self._put_off(entry, Fault(self._clock(), str(error.args[0]), error.hint))
        except Exception as error:
            # Ours or the library's: it must not cost the artifact a try, nor come at full speed.
            kind = type(error).__name__
            self._service.failed(Unavailable(f"unexpected {kind}"), leave, artifact.id)
            self._put_off(entry, Fault(self._clock(), f"unexpected {kind}", ""))
            raise
        else:
            self._uploaded(entry, receipt.size, time.monotonic() - began)

    def _uploaded(self, entry: Entry, size: int, took: float) -> None:
        artifact, now = entry.artifact, self._clock()
        done = Settled(now, artifact.id, artifact.key, version=artifact.version, size=size)
        self._settling.add(done)
        level = logging.INFO if entry.priority is Priority.LIVE else logging.DEBUG
        if log.isEnabledFor(level):
            camera, kb = quote_camera(artifact.camera), -(-size // 1000)
            log.log(level, "S3 upload: %s %s %d KB in %.2f s", camera, artifact.key, kb, took)
        with self.tally.lock:
            self.tally.success += 1
            self.tally.live += entry.priority is Priority.LIVE
            self.tally.last_success = now
        if self._service.worked():
            self.back()

    def back(self) -> None:
        """The service is back: go on with what it held up. Raises LedgerError."""
        self._ledger.hasten(self._clock())
        self.wake()

    def _settle(self) -> None:
        """What the ledger cannot take now is settled later."""
        try:
            self._settling.settle()
        except LedgerError as error:
            self._tell_trouble(str(error))

    def _deleted(self, entry: Entry) -> None:
        reason = "deleted before it could be uploaded"
        self._ledger.lose(entry.artifact.id, reason, self._clock())
        log.error("S3 upload: %s is lost: %s", entry.artifact.key, reason)

    def _unreadable(self, entry: Entry, error: OSError) -> None:
        message = f"read {entry.artifact.source}: {error.strerror or error}"
        self._put_off(entry, Fault(self._clock(), message, ""))

    def _rejected(self, entry: Entry, error: Rejected) -> None:
        if self._service.worked():  # it answered
            self.back()
        fault = Fault(self._clock(), str(error.args[0]), error.hint)
        if entry.tries + 1 < self._max_tries:
            self._put_off(entry, fault, charged=True)
            return
        self._ledger.bury(entry.artifact.id, str(error), self._clock())
        self._count_failure(fault, buried=True)
        log.error("S3 upload: %s failed for good after %d tries: %s",
                  entry.artifact.key, entry.tries + 1, error)  # fmt: skip

    def _put_off(self, entry: Entry, fault: Fault, *, charged: bool = False) -> None:
        self._count_failure(fault)
        log.debug("S3 upload: %s put off: %s", entry.artifact.key, fault.message)
        due = self._clock() + self._backoff.pause(entry.attempts + 1)
        self._ledger.defer(entry.artifact.id, due, fault.message, charged=charged)

    def _count_failure(self, fault: Fault, *, buried: bool = False) -> None:
        with self.tally.lock:
            self.tally.failed += 1
            self.tally.buried += buried
            self.tally.last_fault = fault

    def _tell_trouble(self, trouble: str) -> None:
        if trouble and not self.tally.trouble and not self._stopping:  # or it may be closed by now
            log.error("S3 ledger: %s", trouble)
        self.tally.trouble = trouble

    def _run(self, last: Priority) -> None:
        while not self._stopping:
            calls, pause = self._calls[last], LONGEST_IDLE
            try:
                pause = 0.0 if self.step(last) else self._pause(last)
                if not self._settling:
                    self._tell_trouble("")
            except LedgerError as error:
                self._tell_trouble(str(error))
            except MemoryError:
                raise  # see `child`
            except Exception:
                log.exception("S3 upload: unexpected")
            self._rest(last, calls, pause)
        self._settle()

    def _rest(self, last: Priority, calls: int, pause: float) -> None:
        """Wait to be called, unless somebody has called since `calls` was read."""
        called = threading.Event()
        with self._lock:
            if not pause or calls != self._calls[last] or self._stopping:
                return
            self._resting[last].append(called)
        called.wait(pause)
        with self._lock:
            if called in self._resting[last]:
                self._resting[last].remove(called)

    def _pause(self, last: Priority) -> float:
        """Seconds until something up to the priority `last` may be due, the service may be tried,
        or a look is in order."""
        pause = LONGEST_IDLE if self._settling.overfull else self._service.pause()
        if pause <= 0.0 and last is Priority.LIVE:
            pause = LONGEST_IDLE  # a live event is due at once, and there is none
        elif pause <= 0.0:
            due = self._ledger.next_due()
            pause = LONGEST_IDLE if due is None else due - self._clock()
            pause = max(pause, self._bandwidth.pause())
        return min(max(pause, SHORTEST_IDLE), LONGEST_IDLE)
