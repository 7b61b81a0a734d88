"""Uploader: takes what is due from the ledger, puts it, settles it. N threads run one step.

Two layers of retry, no more: the sink's own for seconds, the ledger's for minutes to weeks. No
thread ever sleeps on an artifact: one that failed goes back with a later due time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from frigate_mirror.backoff import Backoff
from frigate_mirror.entries import Entry, Priority, Settled
from frigate_mirror.keys import quote_camera
from frigate_mirror.ledger import Ledger, LedgerError
from frigate_mirror.service import Fault, Service
from frigate_mirror.sink import Rejected, Sink, SinkError
from frigate_mirror.spool import Spool

log = logging.getLogger("frigate_s3.uploader")
LONGEST_IDLE = 2.0  # seconds; how soon work that another process added is seen
SHORTEST_IDLE = 0.05  # seconds; while another thread's upload is the probe
MOST_UNSETTLED = 10_000


@dataclass(slots=True)
class Tally:
    """What was done since the start; `last_success` is Unix seconds."""

    success: int = 0
    failed: int = 0
    live: int = 0
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
        self._on_settled = on_settled
        self._clock = clock
        self._done: list[Settled] = []
        self._settling = threading.Lock()
        self._wake = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self, threads: int) -> None:
        for number in range(threads):
            thread = threading.Thread(target=self._run, name=f"upload-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let every thread finish the artifact it has in hand, and no more."""
        self._stopping = True
        self._wake_all()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds in all for the threads to end."""
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """There may be something to do."""
        with self._wake:
            self._wake.notify()

    def step(self) -> bool:
        """Upload the next artifact that is due, if the service admits one; False if nothing was
        done. Raises LedgerError when the queue cannot be read."""
        self._settle()
        if len(self._done) >= MOST_UNSETTLED or not self._service.admits():
            return False
        try:
            entry = self._ledger.claim(self._clock())
        except LedgerError:
            self._service.idle()
            raise
        if entry is None:
            self._service.idle()
            return False
        try:
            self._upload(entry)
        except BaseException:
            self._ledger.release(entry.artifact.id)
            self._service.idle()
            raise
        return True

    def _upload(self, entry: Entry) -> None:
        artifact = entry.artifact
        began = time.monotonic()
        try:
            with self._spool.open(artifact) as body:
                receipt = self._sink.put(
                    artifact.key,
                    body,
                    content_type=artifact.content_type,
                    metadata=artifact.metadata,
                )
        except FileNotFoundError:
            self._deleted(entry)
        except OSError as error:
            self._put_off(
                entry, f"read {artifact.source}: {error.strerror or error}", charged=False
            )
            self._service.idle()
        except Rejected as error:
            self._rejected(entry, error)
        except SinkError as error:
            self._service.failed(error)
            self._put_off(entry, str(error), charged=False)
        else:
            self._uploaded(entry, receipt.size, time.monotonic() - began)

    def _uploaded(self, entry: Entry, size: int, took: float) -> None:
        artifact, now = entry.artifact, self._clock()
        level = logging.INFO if entry.priority is Priority.LIVE else logging.DEBUG
        log.log(level, "S3 upload: %s %s %d KB in %.2f s",
                quote_camera(artifact.camera), artifact.key, -(-size // 1000), took)  # fmt: skip
        with self.tally.lock:
            self.tally.success += 1
            self.tally.live += entry.priority is Priority.LIVE
            self.tally.last_success = now
        with self._settling:
            self._done.append(Settled(now, artifact.id, artifact.key))
        self._settle()
        if self._service.worked():
            self._ledger.hasten(now)
            self._wake_all()

    def _settle(self) -> None:
        """Settle all that is done and not settled yet, whoever did it: under load one commit
        serves many. What the ledger cannot take now stays claimed and is settled later."""
        if not self._done:
            return
        with self._settling:
            if not self._done:
                return
            batch = self._done[:]
            try:
                self._ledger.settle(batch)
            except LedgerError as error:
                self._tell_trouble(str(error))
                return
            del self._done[: len(batch)]
            self._tell_trouble("")
            for one in batch:
                self._spool.release(one.id)
            self._on_settled(batch)

    def _deleted(self, entry: Entry) -> None:
        self._service.idle()
        log.warning("S3 upload: %s was deleted before it could be uploaded", entry.artifact.key)
        self._ledger.give_up(
            entry.artifact.id, "deleted before it could be uploaded", self._clock()
        )

    def _rejected(self, entry: Entry, error: Rejected) -> None:
        if self._service.worked():  # it answered
            self._wake_all()
        if entry.tries + 1 < self._max_tries:
            self._put_off(entry, str(error), charged=True)
            return
        self._count_failure(str(error.args[0]), error.hint)
        log.error("S3 upload: %s failed for good after %d tries: %s",
                  entry.artifact.key, entry.tries + 1, error)  # fmt: skip
        self._ledger.bury(entry.artifact.id, str(error), self._clock())

    def _put_off(self, entry: Entry, error: str, *, charged: bool) -> None:
        self._count_failure(error, "")
        log.debug("S3 upload: %s put off: %s", entry.artifact.key, error)
        due = self._clock() + self._backoff.pause(entry.attempts + 1)
        self._ledger.defer(entry.artifact.id, due, error, charged=charged)

    def _count_failure(self, message: str, hint: str) -> None:
        with self.tally.lock:
            self.tally.failed += 1
            self.tally.last_fault = Fault(self._clock(), message, hint)

    def _tell_trouble(self, trouble: str) -> None:
        if trouble and not self.tally.trouble:
            log.error("S3 ledger: %s", trouble)
        self.tally.trouble = trouble

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self.step():
                    continue
                pause = self._pause()
            except LedgerError as error:
                self._tell_trouble(str(error))
                pause = LONGEST_IDLE
            except Exception:
                log.exception("S3 upload: unexpected")
                pause = LONGEST_IDLE
            with self._wake:
                if not self._stopping:
                    self._wake.wait(pause)

    def _pause(self) -> float:
        """Seconds until something may be due, the service may be tried, or a look is in order."""
        due = self._ledger.next_due()
        if due is None:
            return LONGEST_IDLE
        pause = max(due, self._service.open_at) - self._clock()
        return min(max(pause, SHORTEST_IDLE), LONGEST_IDLE)

    def _wake_all(self) -> None:
        with self._wake:
            self._wake.notify_all()
