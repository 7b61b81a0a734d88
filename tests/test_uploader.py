"""The uploader: what it takes from the ledger, and when an artifact counts as uploaded."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import math
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.artifact import Artifact
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Counts, Entry, Priority, Settled
from frigate_mirror.sinks.sink import Misconfigured, Rejected, Unavailable
from frigate_mirror.spool import Spool
from frigate_mirror.upload import uploader
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.bandwidth import Bandwidth
from frigate_mirror.upload.commits import Commits
from frigate_mirror.upload.outage import CircuitBreaker
from frigate_mirror.upload.uploader import Uploader
from tests.rig.sinks import FaultySink
from tests.rig.waiting import PATIENCE, until
from tests.rig.worlds import DAY, NOW, Clock, World

LIVE, RETRY, BACKLOG = Priority
POISON = "poison"
EXTRA_THREADS = uploader.LIVE_THREADS + 1  # and one for bulk artifacts


class Bench:
    """An uploader over a real ledger and spool, a sink that fails as told, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.clock = Clock()
        self.sink = FaultySink()
        self.committed: list[Settled] = []
        self.number = 0
        self.open()

    def open(self) -> None:
        """Start anew on what is on disk, as after a crash."""
        chance = random.Random(1).random
        self.ledger = Ledger(self.world.folder / "ledger.db")
        self.spool = Spool(self.world.folder / "spool", 10**9)
        self.breaker = CircuitBreaker(Backoff(1.0, 60.0, chance), self.clock)
        self.uploader = Uploader(
            self.ledger,
            self.spool,
            self.sink,
            self.breaker,
            backoff=Backoff(2.0, 600.0, chance),
            max_tries=3,
            on_commit=self.committed.extend,
            clock=self.clock,
        )

    def add(self, priority: Priority = LIVE, name: str = "", data: bytes = b"picture") -> str:
        """Queue an artifact with a file; returns its key."""
        self.number += 1
        event_id = f"{NOW + self.number:.6f}-{self.number:06d}{name}"
        artifact = self.world.artifact(event_id)
        artifact = dataclasses.replace(artifact, size=len(data), key=f"front_door/{event_id}.jpg")
        Path(artifact.origin).write_bytes(data)
        self.spool.hold(artifact)
        assert self.ledger.add(artifact, priority, self.clock())
        return artifact.key

    def origin(self, key: str) -> Path:
        return self.world.clips / f"front_door-{Path(key).name}"

    def drain(self, most: int = 1000) -> int:
        """Step until there is nothing to do now; how many steps did something."""
        return next(n for n in range(most) if not self.uploader.step())

    def pass_time(self, seconds: float, step: float = 30.0) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += step
            self.drain()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


@pytest.fixture
def running(bench: Bench) -> Iterator[Bench]:
    """With four threads."""
    bench.uploader.start(4)
    yield bench
    bench.uploader.stop(5.0)


def raising(error: BaseException, only: str = "") -> Callable[..., None]:
    def fault(key: Any = "", *_: Any, **__: Any) -> None:
        if not only or only in key:
            raise error

    return fault


def test_an_artifact_counts_as_uploaded_only_when_the_put_has_returned(bench: Bench) -> None:
    seen: list[tuple[Counts, int, list[Settled]]] = []
    bench.sink.before = lambda key: seen.append(
        (bench.ledger.counts(), bench.uploader.tally.success, list(bench.committed))
    )
    key = bench.add()
    assert bench.drain() == 1
    assert seen == [(Counts(pending=1), 0, [])]
    assert bench.ledger.counts() == Counts(uploaded=1)
    assert [one.key for one in bench.committed] == [key]
    assert bench.sink.objects == {key: b"picture"}


def test_a_held_file_is_released_only_when_the_ledger_has_committed(bench: Bench) -> None:
    key = bench.add()
    other = sqlite3.connect(bench.ledger.path, isolation_level=None)
    other.execute("""CREATE TRIGGER full BEFORE UPDATE ON artifact
                     BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END""")
    bench.drain()
    assert list(bench.sink.objects) == [key] and bench.committed == []
    bench.origin(key).unlink()
    assert names_in_spool(bench) == [key[:-4], f"{key[:-4]}~.json"]
    other.execute("DROP TRIGGER full")
    bench.drain()
    assert [one.key for one in bench.committed] == [key]
    assert names_in_spool(bench) == []
    other.close()


def names_in_spool(bench: Bench) -> list[str]:
    """The held files and their descriptions, named as their keys are without the ending."""
    names = sorted(path.name for path in (bench.world.folder / "spool").iterdir())
    return [f"front_door/{name.removeprefix('snapshot_')}" for name in names]


def test_a_crash_between_put_and_commit_costs_a_second_put_to_the_same_key(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = bench.add()
    monkeypatch.setattr(bench.ledger, "settle", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bench.drain()
    bench.open()
    assert bench.drain() == 1
    assert bench.sink.puts == [key, key] and list(bench.sink.objects) == [key]
    assert bench.ledger.counts() == Counts(uploaded=1)


@pytest.mark.parametrize("error", [
    Unavailable("put k: SlowDown"),
    Misconfigured("put k: AccessDenied", hint="allow s3:PutObject"),
    ConnectionResetError("reset"),
    RuntimeError("a fault of ours"),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_an_error_that_is_not_the_artifacts_fault_costs_it_no_try(
    bench: Bench, error: Exception
) -> None:
    key = bench.add()
    bench.sink.fault = raising(error)
    for _ in range(20):
        bench.clock.now += 600.0
        try:
            bench.drain()
        except RuntimeError:
            continue
    assert len(bench.sink.puts) > 3 and bench.ledger.counts() == Counts(pending=1, retrying=1)
    bench.sink.fault = lambda key: None
    bench.pass_time(1200.0)
    assert list(bench.sink.objects) == [key] and bench.ledger.counts() == Counts(uploaded=1)


def test_a_rejected_artifact_is_a_dead_letter_after_its_tries(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    key = bench.add(name=POISON)
    bench.sink.fault = raising(Rejected("put k: EntityTooLarge", hint="it is too large"), POISON)
    bench.pass_time(3600.0)
    assert bench.sink.puts == [key] * 3
    assert bench.ledger.counts() == Counts(failed=1)
    assert [r.levelname for r in caplog.records if "for good after 3 tries" in r.message] == [
        "ERROR"
    ]
    assert not bench.breaker.down


def test_a_revived_dead_letter_is_uploaded_from_the_spool(bench: Bench) -> None:
    key = bench.add()
    bench.sink.fault = raising(Rejected("put k: EntityTooLarge"))
    bench.pass_time(3600.0)
    bench.origin(key).unlink()
    assert bench.spool.orphans == [], "none that the sweep could take"
    bench.sink.fault = lambda key: None
    bench.ledger.revive(now=bench.clock())
    assert bench.drain() == 1
    assert bench.sink.objects == {key: b"picture"}


@pytest.mark.parametrize("error", [
    Unavailable("put k: InternalError"), Rejected("put k: InvalidRequest"),
    Misconfigured("put k: AccessDenied"), OSError("cannot read"), ValueError("a fault of ours"),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_objects_that_always_fail_do_not_stop_the_others(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench.breaker.succeeded()  # it is known to let us in
    bench.sink.fault = raising(error, POISON)
    wanted = set()
    bench.add(name=POISON)
    for _ in range(50):
        wanted.add(bench.add())
        for _ in range(3):  # an unexpected error ends the round
            try:
                bench.drain()
            except ValueError:
                continue
        bench.clock.now += 10.0
        assert wanted <= bench.sink.objects.keys()  # none waits for the poison
    assert "lost" not in caplog.text
    assert bench.sink.puts.count(bench.sink.puts[0]) < 20


def test_a_poisoned_backlog_costs_the_others_no_more_than_a_few_puts(bench: Bench) -> None:
    bench.breaker.succeeded()
    bench.sink.fault = raising(Misconfigured("put k: AccessDenied"), POISON)
    for number in range(60):
        bench.add(BACKLOG, name=POISON if number % 6 == 0 else "")
    bench.pass_time(3600.0, step=1.0)
    assert len(bench.sink.objects) == 50
    assert len(bench.sink.puts) < 50 + 10 * 60


def test_while_the_service_is_down_an_outage_of_eight_days_costs_few_puts_and_no_artifact(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backlog = {bench.add(BACKLOG) for _ in range(20)}
    bench.sink.fault = raising(Unavailable("put k: ConnectTimeout"))
    live = set()
    for _ in range(8 * 24):
        live.add(bench.add())
        bench.pass_time(3600.0, step=45.0)
    assert not bench.sink.objects
    assert bench.ledger.counts().pending == len(live | backlog)
    assert len(bench.sink.puts) < 8 * DAY / 30
    bench.sink.fault = lambda key: None
    bench.sink.puts.clear()
    newest = bench.add()
    bench.clock.now += 60.0
    bench.drain()
    assert bench.sink.objects.keys() == live | backlog | {newest}
    assert bench.sink.puts[0] == newest
    assert len(bench.sink.puts) == len(set(bench.sink.puts))
    assert caplog.text.count("service lost") == 1 and caplog.text.count("service back") == 1


def test_a_snapshot_that_frigate_deleted_is_uploaded_from_the_spool(bench: Bench) -> None:
    key = bench.add()
    bench.origin(key).unlink()
    assert bench.drain() == 1
    assert bench.sink.objects == {key: b"picture"}
    assert bench.spool.status()["spool_files"] == 0


def test_a_snapshot_deleted_before_it_was_held_is_not_retried(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    key = bench.add()
    bench.spool.release(f"snapshot:{Path(key).stem}")
    bench.origin(key).unlink()
    assert bench.drain() == 1 and bench.drain() == 0
    assert bench.ledger.counts() == Counts(lost=1)
    assert caplog.text.count("is lost: deleted before it could be uploaded") == 1
    assert bench.sink.puts == []


def test_a_picture_that_cannot_be_read_now_stays_in_the_queue(bench: Bench) -> None:
    key = bench.add()
    bench.spool.release(f"snapshot:{Path(key).stem}")
    bench.origin(key).unlink()
    bench.origin(key).mkdir()  # as little to be read as on a disk that fails
    bench.drain()
    assert bench.ledger.counts() == Counts(pending=1, retrying=1)


def test_a_missing_file_inside_the_sink_is_not_taken_for_the_picture(bench: Bench) -> None:
    bench.add()
    bench.sink.fault = raising(FileNotFoundError("/etc/ca.pem"))
    bench.drain()
    assert bench.ledger.counts().pending == 1


def test_a_live_upload_is_logged_with_its_camera_and_the_backlog_is_not(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    live = bench.add()
    bench.add(BACKLOG)
    bench.drain()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"S3 upload: front_door {live} 1 KB in ")


def test_an_upload_that_the_ledger_cannot_commit_is_committed_later_and_not_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {bench.add() for _ in range(5)}
    full = LedgerError("write ledger.db: database or disk is full")
    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "settle", raising(full))
        bench.drain()
        bench.drain()
        assert sorted(bench.sink.puts) == sorted(keys)
        assert bench.ledger.counts() == Counts(pending=5) and bench.committed == []
    assert caplog.text.count("database or disk is full") == 1
    assert bench.uploader.troubles()
    bench.drain()
    assert bench.ledger.counts() == Counts(uploaded=5)
    assert len(bench.sink.puts) == 5 and len(bench.committed) == 5


def test_the_trouble_of_the_ledger_ends_when_every_upload_is_committed(running: Bench) -> None:
    other = sqlite3.connect(running.ledger.path, isolation_level=None)
    other.execute("""CREATE TRIGGER full BEFORE UPDATE ON artifact
                     BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END""")
    key = running.add()
    running.uploader.wake()
    until(lambda: "database or disk is full" in "".join(running.uploader.troubles()))
    other.execute("DROP TRIGGER full")
    other.close()
    until(lambda: running.uploader.wake() or running.committed)
    running.uploader.stop(PATIENCE)
    assert [one.key for one in running.committed] == [key]
    assert running.uploader.troubles() == []


def test_the_pauses_of_an_artifact_grow_even_if_only_the_service_is_at_fault(bench: Bench) -> None:
    bench.sink.fault = raising(Unavailable("put k: SlowDown"))
    bench.add()
    for _ in range(10):
        bench.clock.now += 600.0  # the longest that a pause can be
        assert bench.drain() == 1
    due = bench.ledger.next_due()
    # The first pause is at most 2 s long, the tenth at least a tenth of the longest.
    assert due is not None and due - bench.clock.now >= 60.0


def test_a_ledger_that_cannot_defer_loses_no_artifact(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add()
    bench.sink.fault = raising(Unavailable("put k: SlowDown"))
    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "defer", raising(LedgerError("full")))
        with pytest.raises(LedgerError):
            bench.uploader.step()
    bench.sink.fault = lambda key: None
    bench.drain()
    assert bench.ledger.counts() == Counts(uploaded=1)


def test_the_number_of_uploads_that_cannot_be_committed_is_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.upload.commits.MOST", 3)
    monkeypatch.setattr(bench.ledger, "settle", raising(LedgerError("full")))
    for _ in range(10):
        bench.add()
    bench.drain()
    assert len(bench.sink.puts) == 3


def commits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many uploads each commit of the ledger took."""
    found: list[int] = []
    settle = bench.ledger.settle
    monkeypatch.setattr(
        bench.ledger, "settle", lambda done: (found.append(len(done)), settle(done))
    )
    return found


def test_under_load_one_commit_serves_many_uploads(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.upload.commits.WITHIN", 1e9)
    found = commits(bench, monkeypatch)
    for _ in range(250):
        bench.add()
    bench.drain()
    assert found == [25] * 10
    assert len(bench.committed) == 250 and bench.spool.status()["spool_files"] == 0


def test_an_upload_waits_for_its_commit_for_a_moment_at_most(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.upload.commits.WITHIN", 0.0)
    found = commits(bench, monkeypatch)
    for _ in range(5):
        bench.add()
    bench.drain()
    assert found == [1, 1, 1, 1, 1]


def changed(bench: Bench, key: str, version: str) -> Artifact:
    """Queues the artifact of this key again in a new version, with new bytes."""
    artifact = bench.world.artifact(Path(key).stem, key=key, version=version)
    origin = Path(artifact.origin)
    origin.unlink(missing_ok=True)
    origin.write_bytes(version.encode())
    bench.spool.hold(artifact)
    assert bench.ledger.add(artifact, LIVE, bench.clock())
    return artifact


def test_an_upload_that_another_thread_commits_leaves_the_next_claim_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.upload.commits.WITHIN", 1e9)
    key = bench.add()
    claims: list[Entry | None] = []

    def succeeded() -> bool:
        """What other threads do before this one has ended its step."""
        bench.uploader._commit()
        changed(bench, key, "2")
        claims.append(bench.ledger.claim(bench.clock()))
        return False

    monkeypatch.setattr(bench.breaker, "succeeded", succeeded)
    assert bench.uploader.step()
    [claim] = claims
    assert claim is not None and claim.artifact.version == "2"
    assert bench.ledger.claimed == 1, "the claim of the other thread"
    assert not bench.uploader.step() and bench.sink.puts == [key]


def test_artifacts_that_change_all_the_time_are_uploaded_once_in_each_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.upload.commits.WITHIN", 0.0)
    versions, under_way, twice, lock = Counter[str](), set[str](), list[str](), threading.Lock()

    def begins(key: str) -> None:
        with lock:
            twice.extend(under_way & {key})
            under_way.add(key)

    def ends(key: str) -> None:
        with lock:
            under_way.discard(key)

    def commits(batch: list[Settled]) -> None:
        for upload in batch:
            if versions[upload.key] < 20:
                versions[upload.key] += 1
                changed(bench, upload.key, str(versions[upload.key]))
        bench.uploader.wake()

    bench.sink.before, bench.sink.fault = begins, ends
    bench.uploader._commits._on_commit = commits
    keys = [bench.add() for _ in range(5)]
    bench.uploader.start(6)
    until(lambda: len(bench.sink.puts) >= 105 and bench.ledger.counts() == Counts(uploaded=5))
    bench.uploader.stop(PATIENCE)
    assert twice == []
    assert Counter(bench.sink.puts) == dict.fromkeys(keys, 21)
    assert set(bench.sink.objects.values()) == {b"20"}
    assert bench.ledger.claimed == 0 and bench.spool.status()["spool_files"] == 0


def test_the_digest_of_the_uploaded_bytes_is_stored(bench: Bench) -> None:
    bench.add(data=b"these bytes")
    bench.drain()
    assert bench.committed[0].digest == hashlib.sha256(b"these bytes").hexdigest()
    with contextlib.closing(sqlite3.connect(bench.ledger.path)) as raw:
        digests = raw.execute("SELECT digest FROM artifact").fetchall()
    assert digests == [(bench.committed[0].digest,)]


def down(bench: Bench, failures: int = 1) -> str:
    """Begins an outage that so many puts have met; returns the key of a backlog that waits."""
    bench.sink.fault = raising(Misconfigured("put k: AccessDenied"))
    key = bench.add(BACKLOG)
    for _ in range(failures):
        bench.clock.now += 600.0
        bench.drain()
    assert bench.breaker.down
    return key


def put_fails(error: BaseException) -> Callable[[Bench], None]:
    return lambda bench: setattr(bench.sink, "fault", raising(error))


def rejected_for_good(bench: Bench) -> None:
    put_fails(Rejected("put k: EntityTooLarge"))(bench)
    for _ in range(2):
        bench.drain()
        bench.clock.now += 600.0


def file_is_gone(bench: Bench) -> None:
    for folder in (bench.world.clips, bench.world.folder / "spool"):
        for path in filter(Path.is_file, folder.iterdir()):
            path.unlink()


def cannot(name: str, error: BaseException, first: Callable[[Bench], None]) -> Any:
    """The ledger fails to note what became of the upload."""

    def fail(bench: Bench) -> None:
        first(bench)
        setattr(bench.ledger, name, raising(error))

    return fail


def spool_fails(error: BaseException) -> Callable[[Bench], None]:
    return lambda bench: setattr(bench.spool, "open", raising(error))


def probe_is_under_way(bench: Bench) -> None:
    put_fails(Misconfigured("put k: AccessDenied"))(bench)
    bench.drain()
    bench.clock.now += 600.0
    assert bench.breaker.permit() is not None


FULL = LedgerError("write ledger.db: database or disk is full")
FAILURES: dict[str, Callable[[Bench], None]] = {
    "the service is unavailable": put_fails(Unavailable("put k: SlowDown")),
    "the service refuses": put_fails(Misconfigured("put k: AccessDenied")),
    "the artifact is rejected": put_fails(Rejected("put k: EntityTooLarge")),
    "the artifact is rejected for good": rejected_for_good,
    "reading fails during the put": put_fails(OSError("I/O error")),
    "the put raises an unforeseen error": put_fails(RuntimeError("a fault of ours")),
    "the process is interrupted": put_fails(KeyboardInterrupt()),
    "the file is gone": file_is_gone,
    "the file cannot be read": spool_fails(OSError("I/O error")),
    "opening raises an unforeseen error": spool_fails(RuntimeError("a fault of ours")),
    "it cannot be deferred": cannot("defer", FULL, put_fails(Unavailable("put k: SlowDown"))),
    "it cannot be buried": cannot("bury", FULL, rejected_for_good),
    "its loss cannot be noted": cannot("lose", FULL, file_is_gone),
    "another thread probes the service": probe_is_under_way,
}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("outage", [False, True])
def test_an_upload_that_fails_gives_back_its_claim_and_its_permit(
    bench: Bench, fail: Callable[[Bench], None], outage: bool
) -> None:
    if outage:
        down(bench)
        bench.clock.now += 3600.0
    else:
        bench.add()
    bench.sink.fault = lambda key: None
    fail(bench)
    claims, permits = count_calls(bench.ledger, "claim"), count_calls(bench.breaker, "permit")
    with contextlib.suppress(RuntimeError, KeyboardInterrupt, LedgerError):
        bench.uploader.step()
    assert len(claims) == len(permits) == (0 if fail is probe_is_under_way else 1)
    assert bench.ledger.claimed == 0 and bench.sink.objects == {}
    if fail is not probe_is_under_way:
        bench.clock.now += 60.0  # the longest pause of the breaker
        assert bench.breaker.permit() is not None


def count_calls(owner: object, name: str) -> list[int]:
    """Returns a list that grows with each call of the method."""
    calls: list[int] = []
    real = getattr(owner, name)

    def counting(*values: Any, **named: Any) -> Any:
        calls.append(1)
        return real(*values, **named)

    setattr(owner, name, counting)
    return calls


def test_after_a_failed_commit_the_next_upload_does_not_try_again_at_once(
    bench: Bench,
) -> None:
    now = [1000.0]
    commits = Commits(bench.ledger, bench.spool, lambda done: None, clock=lambda: now[0])
    commits.add(Settled(NOW, "snapshot:1-a", "k"))
    now[0] += 0.1
    assert commits.due
    bench.ledger.close()  # as good as a full disk
    with pytest.raises(LedgerError):
        commits.commit()
    assert len(commits) == 1 and not commits.due
    now[0] += 0.1
    assert commits.due


def test_without_load_an_upload_is_committed_at_once(running: Bench) -> None:
    for _ in range(5):
        key = running.add()
        running.uploader.wake()
        until(lambda key=key: key in [one.key for one in running.committed])  # type: ignore[misc]
    assert running.ledger.counts() == Counts(uploaded=5)


def test_a_thread_that_stops_commits_what_it_has_uploaded(
    running: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frigate_mirror.upload.commits.WITHIN", 1e9)
    begun = threading.Event()

    def put(key: str) -> None:
        begun.set()
        until(lambda: running.uploader._stopping)

    running.sink.before = put
    running.add()
    running.add()
    running.uploader.wake()
    assert begun.wait(PATIENCE)
    running.uploader.stop(PATIENCE)
    assert running.ledger.counts().uploaded == len(running.sink.objects) > 0


class Hanging:
    """A sink in which every put of the backlog hangs until `go_on` is set."""

    def __init__(self, bench: Bench, backlog: int) -> None:
        self.keys = {bench.add(BACKLOG) for _ in range(backlog)}
        self.begun: set[str] = set()
        self.go_on = threading.Event()
        bench.sink.before = self.put

    def put(self, key: str) -> None:
        if key in self.keys:
            self.begun.add(key)
            assert self.go_on.wait(120.0)


@pytest.fixture
def far(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """An uploader whose threads look for work only when they are called."""
    monkeypatch.setattr(uploader, "LONGEST_REST", 3600.0)
    yield bench
    bench.uploader.stop(60.0)


def arrives(bench: Bench) -> None:
    """Offer a live event and wait until it is in the bucket."""
    key = bench.add(LIVE)
    bench.uploader.wake()
    until(lambda: key in bench.sink.objects)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_live_events_are_uploaded_while_every_other_thread_hangs_in_the_backlog(
    far: Bench, threads: int
) -> None:
    hanging = Hanging(far, backlog=20)
    far.uploader.start(threads)
    until(lambda: len(hanging.begun) == threads)
    for _ in range(20):
        arrives(far)
    assert len(hanging.begun) == threads, "the backlog never takes the threads of live events"
    hanging.go_on.set()
    until(lambda: len(far.sink.objects) == 40)


def test_all_threads_upload_when_a_service_that_was_quick_hangs(far: Bench) -> None:
    quick = [far.add(BACKLOG) for _ in range(50)]
    far.uploader.start(8)
    until(lambda: set(quick) <= set(far.sink.objects))
    hanging = Hanging(far, backlog=20)
    far.uploader.wake()
    until(lambda: len(hanging.begun) == 8)
    hanging.go_on.set()
    until(lambda: len(far.sink.objects) == 70)


def test_a_call_for_the_backlog_is_not_lost_on_threads_that_take_live_events_only(
    far: Bench,
) -> None:
    hanging = Hanging(far, backlog=1)
    far.uploader.start(2)
    until(lambda: hanging.begun)
    for _ in range(20):
        key = far.add(BACKLOG)
        far.uploader.wake()
        until(lambda key=key: key in far.sink.objects)  # type: ignore[misc]
    hanging.go_on.set()


def pauses(bench: Bench) -> list[float]:
    """What the breaker answers each time a thread asks whether it may upload, or how long to
    rest."""
    asked: list[float] = []
    pause = bench.breaker.pause

    def noted() -> float:
        asked.append(pause())
        return asked[-1]

    bench.breaker.pause = noted  # type: ignore[method-assign]
    return asked


def test_a_live_thread_with_nothing_to_upload_leaves_the_probe_to_the_others(bench: Bench) -> None:
    key = down(bench)
    bench.sink.fault = lambda key: None
    bench.clock.now += 3600.0
    permits = count_calls(bench.breaker, "permit")
    assert not bench.uploader.step(LIVE) and permits == []
    assert bench.uploader.step() and list(bench.sink.objects) == [key]


OUTAGES: dict[str, Callable[[Bench], object]] = {
    "the next probe has to wait": lambda bench: bench.breaker.pause() > 2.0,
    "the next probe may begin": lambda bench: setattr(bench.clock, "now", bench.clock.now + 60.0),
    "a probe is under way": lambda bench: (
        setattr(bench.clock, "now", bench.clock.now + 60.0),
        bench.breaker.permit(),
    ),
}


@pytest.mark.parametrize("state", OUTAGES.values(), ids=OUTAGES)
def test_threads_for_live_artifacts_with_nothing_to_do_in_an_outage_do_not_spin(
    far: Bench, state: Callable[[Bench], object]
) -> None:
    down(far, failures=8)
    assert state(far) is not False
    steps = count_calls(far.uploader, "step")
    far.uploader.start(0)
    until(lambda: len(steps) == EXTRA_THREADS)
    threading.Event().wait(0.5)
    assert len(steps) == EXTRA_THREADS


def test_while_everything_waits_a_wake_up_claims_nothing(far: Bench) -> None:
    down(far, failures=8)
    steps, claims = count_calls(far.uploader, "step"), count_calls(far.ledger, "claim")
    far.uploader.start(2)
    until(lambda: len(steps) == 2 + EXTRA_THREADS)
    for _ in range(5):
        before = len(steps)
        far.add()
        far.uploader.wake()
        until(lambda before=before: len(steps) > before)  # type: ignore[misc]
    assert claims == []


def test_one_call_wakes_as_many_threads_as_there_is_work_for(far: Bench) -> None:
    asked = pauses(far)
    far.uploader.start(3)
    until(lambda: len(asked) == 2 * (3 + EXTRA_THREADS))
    hanging = Hanging(far, backlog=5)
    far.uploader.wake()
    until(lambda: len(hanging.begun) == 3)
    hanging.go_on.set()
    until(lambda: len(far.sink.objects) == 5)


def test_threads_for_live_events_hardly_ask_the_ledger_while_there_is_only_a_backlog(
    far: Bench,
) -> None:
    hanging = Hanging(far, backlog=20)
    far.uploader.start(4)
    until(lambda: len(hanging.begun) == 4)
    asked = count_queries(far, 1.0)
    hanging.go_on.set()
    assert asked <= 8


def test_the_backlog_waits_for_bandwidth_and_a_live_artifact_does_not(bench: Bench) -> None:
    now = [1000.0]
    bench.uploader._bandwidth = Bandwidth(((0, 1000.0),), clock=lambda: now[0], minute=lambda: 0)
    backlog = [bench.add(BACKLOG, data=b"x" * 1000) for _ in range(3)]
    assert bench.drain() == 1
    live = [bench.add(LIVE, data=b"x" * 1000) for _ in range(2)]
    assert bench.drain() == 2
    assert bench.sink.puts == [backlog[0], *reversed(live)]
    assert bench.uploader._rest(BACKLOG, bulk=False) == 2.0, "and a call ends it sooner"
    now[0] += 2.999
    assert bench.drain() == 0, "what is live is paid for too"
    now[0] += 0.002
    assert bench.drain() == 1


def test_an_artifact_that_is_added_while_all_threads_rest_is_uploaded_at_once(far: Bench) -> None:
    far.uploader.start(4)
    for _ in range(20):
        arrives(far)


def test_a_call_between_a_threads_last_look_and_its_rest_is_not_missed(bench: Bench) -> None:
    calls, began = bench.uploader._calls, time.monotonic()
    bench.uploader.wake()
    bench.uploader._wait(calls, 5.0)
    assert time.monotonic() - began < 2.5


def test_a_slow_upload_holds_up_no_other(running: Bench) -> None:
    slow, go_on = running.add(), threading.Event()
    running.sink.before = lambda key: (key == slow and go_on.wait(10.0)) and None
    running.uploader.wake()
    until(lambda: running.ledger.claimed == 1)
    keys = {running.add() for _ in range(30)}
    running.uploader.wake()
    until(lambda: keys <= running.sink.objects.keys())
    assert slow not in running.sink.objects
    go_on.set()
    until(lambda: slow in running.sink.objects)


def count_queries(bench: Bench, seconds: float) -> int:
    """How often the ledger is asked in so many seconds."""
    asked: list[int] = []
    for name in ("claim", "next_due", "settle"):
        real: Any = getattr(bench.ledger, name)
        counting = lambda *values, real=real: (asked.append(1), real(*values))[1]  # noqa: E731
        setattr(bench.ledger, name, counting)
    threading.Event().wait(seconds)
    return len(asked)


def test_resting_threads_hardly_ask_the_ledger(running: Bench) -> None:
    assert count_queries(running, 1.0) <= 16


def test_threads_that_wait_for_a_probe_do_not_spin(running: Bench) -> None:
    go_on = threading.Event()
    running.sink.fault = raising(Misconfigured("put k: AccessDenied"))
    running.add()
    running.uploader.wake()
    until(lambda: running.breaker.down)
    running.sink.before = lambda key: go_on.wait(10.0) and None
    for _ in range(20):
        running.add()
    running.clock.now += 60.0
    running.uploader.wake()
    until(lambda: running.breaker.pause() == float("inf"))
    for _ in range(4):
        running.uploader.wake()
    asked = count_queries(running, 1.0)
    go_on.set()
    assert asked <= 40, "each of six threads twice for each call, and once more"
    assert len(running.sink.puts) <= 2


def test_threads_that_may_probe_and_have_nothing_to_try_do_not_spin(far: Bench) -> None:
    far.add(BACKLOG)
    far.sink.fault = raising(Misconfigured("put k: AccessDenied"))
    far.drain()
    [entry] = iter(lambda: far.ledger.claim(math.inf), None)
    far.ledger.defer(entry.artifact.id, far.clock.now + 600.0, "AccessDenied", charged=False)
    far.ledger.unclaim(entry.artifact.id)
    far.clock.now += 60.0  # the next probe could be made, and nothing is due
    assert far.breaker.down and far.breaker.pause() == 0.0
    far.uploader.start(2)
    assert count_queries(far, 1.0) <= 20


def test_stopping_waits_a_bounded_time_for_uploads_that_are_under_way(bench: Bench) -> None:
    go_on = threading.Event()
    bench.sink.before = lambda key: go_on.wait(10.0) and None
    keys = [bench.add(BACKLOG) for _ in range(10)]
    bench.uploader.start(2)
    until(lambda: bench.ledger.claimed == 2)
    began = time.monotonic()
    bench.uploader.stop(0.1)
    assert time.monotonic() - began < 2.0
    go_on.set()
    bench.uploader.stop(PATIENCE)
    assert len(bench.sink.objects) == 2 < len(keys)
    assert bench.ledger.counts() == Counts(pending=8, uploaded=2)


def test_an_upload_that_ends_after_the_stop_does_not_log_that_the_ledger_is_closed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    bench.sink.before = lambda key: go_on.wait(10.0) and None
    bench.add()
    bench.uploader.start(1)
    until(lambda: bench.sink.puts or bench.ledger.claimed)
    bench.uploader.stop(0.0)
    bench.ledger.close()
    go_on.set()
    bench.uploader.stop(PATIENCE)
    assert len(bench.sink.objects) == 1
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_an_unforeseen_error_ends_no_thread(
    running: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(8):
        running.sink.fault = raising(ZeroDivisionError("a fault of ours"))
        running.add(name=f"x{number}")
        running.uploader.wake()
    until(lambda: "unexpected" in caplog.text)
    running.sink.fault = lambda key: None
    running.clock.now += 3600.0
    until(lambda: len(running.sink.objects) == 8 or running.uploader.wake())
    assert all(thread.is_alive() for thread in running.uploader._threads)


def test_the_thread_of_bulk_files_does_not_wake_for_each_picture(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: Counter[bool] = Counter()
    claim = bench.ledger.claim

    def counted(now: float, last: Priority = BACKLOG, *, bulk: bool = False) -> Entry | None:
        claims[bulk] += 1
        return claim(now, last, bulk=bulk)

    monkeypatch.setattr(bench.ledger, "claim", counted)
    began = time.monotonic()
    bench.uploader.start(4)
    try:
        for _ in range(100):
            bench.add()
            bench.uploader.wake()
        until(lambda: len(bench.sink.objects) == 100)
    finally:
        bench.uploader.stop(5.0)
    looks = 2 + (time.monotonic() - began) / uploader.LONGEST_REST
    assert claims[False] >= 100
    assert 1 <= claims[True] <= looks
