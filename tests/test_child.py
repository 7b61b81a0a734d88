"""The child as Frigate's hook starts it. The process, the pipe and the S3 server are real."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.ledger import lock
from frigate_mirror.ledger.rows import Priority
from frigate_mirror.part import Task
from frigate_mirror.process.life import EX_FAILED, Stop
from frigate_mirror.process.rounds import Rounds
from frigate_mirror.sources.pipe import Pipe
from tests.rig import ROOT
from tests.rig.processes import kill, marked, parents
from tests.rig.servers import ACCESS, SECRET, Bucket, Moto
from tests.rig.sinks import MemorySink
from tests.rig.waiting import PATIENCE, until
from tests.rig.worlds import Child, World, clean_environ, command

Start = Callable[..., Child]


@pytest.fixture
def bucket(moto_server: Moto) -> Bucket:
    return moto_server.bucket()


@pytest.fixture
def world(tmp_path: Path, bucket: Bucket) -> World:
    return World(tmp_path / "world", dict(bucket.environ))


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    children: list[Child] = []

    def started(**environ: Any) -> Child:
        children.append(Child(world, **environ))
        return children[-1]

    yield started
    for child in children:
        child.kill()


@pytest.fixture
def hole() -> Iterator[str]:
    """An endpoint that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def in_bucket(world: World, bucket: Bucket, ids: set[str]) -> bool:
    """Returns whether each event has exactly one object, and its bytes are those of the picture."""
    objects = bucket.objects()
    pictures = {key.rpartition("/")[2].rpartition("-")[0]: data for key, data in objects.items()}
    return len(pictures) == len(objects) and all(pictures.get(n) == world.pictures[n] for n in ids)


def events(world: World, count: int, ago: float = 3.0) -> set[str]:
    return {world.event(f"cam_{n % 3}", time.time() - ago - n / 1000) for n in range(count)}


@pytest.fixture
def pipe() -> Iterator[tuple[Pipe, Callable[[bytes], object], Callable[[], None]]]:
    """The pipe from the hook, with functions that write to it and that close it."""
    reading, writing = os.pipe()
    ends = [reading, writing]

    def close() -> None:
        os.close(writing)
        ends.remove(writing)

    yield Pipe(reading), lambda data: os.write(writing, data), close
    for end in ends:
        os.close(end)


def test_ids_arrive_whole_wherever_the_pipe_splits_them(pipe: Any) -> None:
    source, write, close = pipe
    write(b"1.5-abc\n2.5-")
    assert source.ids(1.0) == ["1.5-abc"]
    write(b"def\n\n3.5-x\n4.5-cut")
    close()
    assert source.hung_up and not source.ended  # there is still something to read
    assert source.ids(1.0) == ["2.5-def", "3.5-x"]
    assert source.ids(1.0) == [] and source.ended


def test_the_last_line_of_the_hook_ends_the_source_even_if_a_worker_holds_the_pipe(
    pipe: Any,
) -> None:
    source, write, _ = pipe
    write(b"1.5-abc\n2.5-def\n\x04\n")
    assert source.ids(1.0) == ["1.5-abc", "2.5-def"]
    assert source.ended and not source.hung_up


def test_a_line_that_never_ends_does_not_fill_the_memory(pipe: Any) -> None:
    source, write, _ = pipe
    for _ in range(100):
        write(b"x" * 4096)
        assert source.ids(1.0) == []
    write(b"\n1.5-abc\n")
    *begun, last = source.ids(1.0)
    assert last == "1.5-abc" and sum(map(len, begun)) <= 2 * 4096
    assert not source.hung_up


@pytest.mark.parametrize("failing", ["a task", "an upload"])
def test_a_thread_without_memory_ends_the_process_and_any_other_error_does_not(
    failing: str, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, faults = Stop(), [ValueError("passing"), MemoryError("no more")]
    monkeypatch.setattr(threading, "excepthook", stop.on_death)

    def task(*_: object, **__: object) -> None:
        assert not stop.wanted
        raise faults.pop(0)

    if failing == "a task":
        thread: threading.Thread = Rounds("rounds", Task("rounds", 0.0, task))
        thread.start()
    else:
        mirror = world.mirror(MemorySink())
        monkeypatch.setattr(mirror.uploader, "step", task)
        mirror.uploader._start("upload", Priority.BACKLOG)
        [thread] = mirror.uploader._threads
        mirror.uploader.wake()
    thread.join(PATIENCE)
    assert not thread.is_alive() and not faults
    assert stop.wanted and stop.status == EX_FAILED
    assert "ends, and its keeper starts a new one: MemoryError('no more')" in caplog.text


def test_a_task_that_fails_is_logged_and_called_again(caplog: pytest.LogCaptureFixture) -> None:
    called: list[float] = []

    def task() -> None:
        called.append(time.monotonic())
        raise RuntimeError("a fault of ours")

    rounds = Rounds("test", Task("test", 0.01, task))
    rounds.start()
    until(lambda: len(called) >= 3)
    rounds.stop()
    rounds.join(PATIENCE)
    assert not rounds.is_alive() and "task failed" in caplog.text


def test_a_task_that_fails_is_reported_until_it_succeeds() -> None:
    faults, results = [RuntimeError("a fault of ours")], []

    def task() -> None:
        if faults:
            raise faults.pop()

    rounds = Rounds(
        "test", Task("test", 0.01, task), on_result=lambda *words: results.append(words)
    )
    rounds.start()
    until(lambda: len(results) >= 2)
    rounds.stop()
    rounds.join(PATIENCE)
    assert results[:2] == [("task", "RuntimeError: a fault of ours"), ("task", "")]


def test_an_offered_event_is_in_a_real_bucket_byte_for_byte_within_a_second(
    tmp_path: Path, seaweedfs: object
) -> None:
    bucket: Bucket = seaweedfs.bucket()  # type: ignore[attr-defined]
    world = World(tmp_path / "world", dict(bucket.environ))
    # A busy machine can delay some uploads. Code that waits for a timer would delay all of them.
    child = Child(world, MIRROR_SWEEP_INTERVAL="3600", MIRROR_NICENESS="0")
    try:
        until(world.status)
        ids: set[str] = set()
        for _ in range(20):
            event_id, began = world.event("front_door", time.time() - 3), time.monotonic()
            child.offer(event_id)
            until(lambda event_id=event_id: event_id in str(bucket.keys()))
            ids.add(event_id)
            if time.monotonic() - began < 1.0 and len(ids) > 1:
                break
        else:
            pytest.fail("none of 20 events was in the bucket within a second")
        assert in_bucket(world, bucket, ids)
        assert child.end() == 0
    finally:
        child.kill()


def test_a_live_upload_is_one_log_line_in_frigates_format_with_the_camera(
    world: World, bucket: Bucket, start: Start
) -> None:
    child = start(MIRROR_SWEEP_INTERVAL="3600")
    child.says("started")
    until(lambda: world.status())
    event_id = world.event("back_yard", time.time() - 3)
    child.offer(event_id)
    child.says("S3 upload: back_yard")
    lines = [line for line in child.log.splitlines() if event_id in line]
    assert len(lines) == 1
    assert re.match(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] frigate_s3.uploader +INFO    : S3 upload: back_yard ",
        lines[0],
    )


def test_the_first_sweep_uploads_events_that_no_hook_offered_and_logs_a_summary(
    world: World, bucket: Bucket, start: Start
) -> None:
    ids = events(world, 30, ago=86_400.0)
    child = start()
    until(lambda: in_bucket(world, bucket, ids))
    assert child.end() == 0
    assert "S3 sweep: 30 file(s) found and queued" in child.log
    summaries = re.findall(r"S3 backlog: (\d+) file\(s\) uploaded, (\d+) to go", child.log)
    assert sum(int(done) for done, _ in summaries) == 30 and summaries[-1][1] == "0"
    assert "S3 upload:" not in child.log


def test_the_status_is_fresh_and_says_stopped_at_the_end(world: World, start: Start) -> None:
    child = start()
    status = until(world.status)
    assert abs(status["written_at"] - time.time()) < 10.0
    assert status["pid"] == child.process.pid and status["stopped"] == ""
    assert child.end() == 0
    assert world.status()["stopped"]


def test_the_lock_of_a_child_names_its_process_and_the_folder_of_its_ledger(
    world: World, start: Start
) -> None:
    child = start()
    child.says("started")
    holder = lock.holder(world.settings().state)
    assert holder.folder == world.state and str(child.process.pid) in holder.name
    assert child.end() == 0


@pytest.mark.parametrize(("chosen", "niceness"), [({}, 10), ({"MIRROR_NICENESS": "15"}, 15)])
def test_the_child_runs_at_the_chosen_low_priority(
    start: Start, chosen: dict[str, str], niceness: int
) -> None:
    child = start(**chosen)
    child.says("started")
    expected = min(os.getpriority(os.PRIO_PROCESS, 0) + niceness, 19)  # added to our own
    assert os.getpriority(os.PRIO_PROCESS, child.process.pid) == expected


def test_the_child_closes_the_files_that_it_inherits_from_frigate(
    world: World, start: Start, tmp_path: Path
) -> None:
    inherited = [tmp_path / "camera.sock", tmp_path / "frigate.db-shm"]
    opened = [os.open(path, os.O_CREAT | os.O_RDWR) for path in inherited]
    try:
        child = start(inherited=opened)
        child.says("started")
        assert not set(inherited) & open_files(child)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def open_files(child: Child) -> set[Path]:
    """Returns every file that a child has open at the moment."""
    files = set()
    for descriptor in Path(f"/proc/{child.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            files.add(Path(os.readlink(descriptor)))
    return files


def test_at_the_end_of_the_pipe_the_child_uploads_what_is_due_and_exits_with_0(
    world: World, bucket: Bucket, start: Start
) -> None:
    child = start(
        MIRROR_SWEEP_INTERVAL="3600", MIRROR_DRAIN_SECONDS="60", MIRROR_UPLOAD_THREADS="1"
    )
    child.says("started")
    until(lambda: world.status())
    ids = events(world, 300)  # more events than are uploaded while their ids arrive
    for event_id in ids:
        child.offer(event_id)
    assert child.end() == 0
    assert in_bucket(world, bucket, ids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_child_that_gets_a_signal_exits_with_0(start: Start, number: int) -> None:
    child = start()
    child.says("started")
    child.process.send_signal(number)
    assert child.wait() == 0
    assert "stopped" in child.log


def test_an_upload_that_hangs_does_not_keep_the_child_beyond_its_drain_time(
    world: World, start: Start, hole: str
) -> None:
    events(world, 20)
    child = start(S3_ENDPOINT_URL=hole, MIRROR_DRAIN_SECONDS="0.5", MIRROR_NICENESS="0")
    child.says("S3 sweep: 20")
    began = time.monotonic()
    assert child.end() == 0
    # The child ends after its drain time. An upload that hangs would time out later.
    assert time.monotonic() - began < 7.0


def test_frigates_database_is_open_only_while_it_is_read(
    world: World, start: Start, hole: str
) -> None:
    events(world, 5)
    child = start(S3_ENDPOINT_URL=hole)
    child.says("S3 sweep: 5")
    until(lambda: world.database not in open_files(child))
    assert child.process.poll() is None


def test_the_child_of_a_killed_parent_ends_even_if_another_process_holds_the_pipe(
    world: World, tmp_path: Path
) -> None:
    # The parent starts the child on a pipe, and a sleeper that holds both ends of the pipe. It
    # prints the ids of both processes, and then the test kills it.
    script = f"""
import os, subprocess, sys, time
reading, writing = os.pipe()
os.set_inheritable(writing, True)
child = subprocess.Popen([sys.executable, {str(ROOT / "s3_snapshot_mirror.py")!r}, "run"],
                         stdin=reading, start_new_session=True)
sleeper = subprocess.Popen(["sleep", "600"], close_fds=False)
print(child.pid, sleeper.pid, flush=True)
time.sleep(600)
"""
    log = tmp_path / "log"
    with log.open("wb") as file:
        parent = subprocess.Popen(
            [sys.executable, "-c", script],
            env=clean_environ() | world.environ,
            stdout=subprocess.PIPE,
            stderr=file,
        )
    assert parent.stdout is not None
    child, sleeper = map(int, parent.stdout.readline().split())
    try:
        until(lambda: "mirror started" in log.read_text())
        parent.kill()
        parent.wait()
        until(lambda: child not in parents())
        assert sleeper in parents()
    finally:
        parent.kill()
        parent.wait()
        for left in marked(f"FRIGATE_DB_PATH={world.database}"):
            kill(left)
        parent.stdout.close()


def test_a_child_that_is_killed_in_mid_upload_again_and_again_loses_nothing(
    world: World, bucket: Bucket, start: Start
) -> None:
    ids = events(world, 150)
    for wanted in (10, 40, 80):
        child = start()
        until(lambda wanted=wanted: len(bucket.keys()) >= wanted)  # type: ignore[misc]
        child.kill()
    last = start()
    until(lambda: in_bucket(world, bucket, ids))
    assert last.end() == 0
    uploaded = [fields[1] for fields in world.lines(".s3_uploaded_events")]
    assert len(uploaded) <= len(ids)


def test_a_second_child_waits_for_the_first_and_no_work_is_done_twice(
    world: World, bucket: Bucket, start: Start
) -> None:
    first = start()
    first.says("started")
    second = start()
    second.says("waits for an earlier one")
    ids = events(world, 20)
    for event_id in ids:
        first.offer(event_id)
        second.offer(event_id)
    until(lambda: in_bucket(world, bucket, ids))
    assert first.end() == 0
    second.says("started")
    assert second.end() == 0
    assert first.log.count("S3 upload:") == 20
    assert len(world.lines(".s3_uploaded_events")) == 20


def test_a_waiting_child_ends_with_its_own_frigate(start: Start) -> None:
    first = start()
    first.says("started")
    second = start()
    second.says("waits for an earlier one")
    assert second.end() == 0


def test_a_ledger_damaged_while_a_child_runs_is_put_aside_and_rebuilt_by_the_next(
    world: World, bucket: Bucket, start: Start
) -> None:
    ids = events(world, 20)
    first = start(MIRROR_SWEEP_INTERVAL="1")
    until(lambda: len(world.lines(".s3_uploaded_events")) == 20)
    damage(world.state / "ledger.db")
    late = events(world, 3, ago=1.0)
    for event_id in late:
        first.offer(event_id)
    assert first.wait() == 1
    assert "S3 ledger damaged, kept as" in first.log
    assert list(world.state.glob("ledger.db.damaged-*"))
    second = start()
    until(lambda: in_bucket(world, bucket, ids | late))
    assert second.end() == 0
    assert "rebuilt from the state files" in second.log


def damage(ledger: Path) -> None:
    """Makes the table begin at a page that the file does not have."""
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as sql:
        sql.execute("PRAGMA writable_schema = ON")
        sql.execute("UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'artifact'")
        sql.execute("PRAGMA schema_version = 99")


def test_wrong_settings_are_all_named_and_the_child_exits_with_78(
    world: World, start: Start
) -> None:
    child = start(MIRROR_UPLOAD_THREADS="none", S3_ENDPOINT_URL="nowhere", S3_SECRET_KEY="")
    assert child.wait() == 78
    for name in ("MIRROR_UPLOAD_THREADS", "S3_ENDPOINT_URL", "S3_SECRET_KEY"):
        assert f"wrong setting {name}" in child.log
    assert ACCESS not in child.log


def test_the_address_of_a_companion_is_refused_inside_frigate(start: Start) -> None:
    child = start(FRIGATE_URL="http://127.0.0.1:5000")
    assert child.wait() == 78
    assert "wrong setting FRIGATE_URL: it is for the companion" in child.log


def test_a_mirror_that_is_switched_off_says_so_and_exits_with_78(start: Start) -> None:
    child = start(MIRROR_ENABLED="false")
    assert child.wait() == 78
    assert "MIRROR_ENABLED is false" in child.log


@pytest.mark.parametrize("missing", ["boto3", "peewee"])
def test_a_child_without_a_library_names_it_and_exits_with_78(
    world: World, tmp_path: Path, missing: str
) -> None:
    root = tmp_path / "root"  # a copy without the folder of vendored packages
    root.mkdir()
    for name in ("frigate_mirror", "s3.py", "s3_snapshot_mirror.py", "frigate_s3_patcher.py"):
        (root / name).symlink_to(ROOT / name)
    (root / "s3_snapshot_mirror.py").unlink()
    (root / "s3_snapshot_mirror.py").write_text((ROOT / "s3_snapshot_mirror.py").read_text())
    (root / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    child = Child(world, root=root, PYTHONPATH=str(root))
    try:
        assert child.wait() == 78
        assert "Failed to import S3 modules" in child.log and missing in child.log
        assert "Traceback" not in child.log
    finally:
        child.kill()


def test_a_full_disk_under_the_ledger_is_logged_and_loses_nothing(
    world: World, bucket: Bucket, start: Start
) -> None:
    # The state folder is on a small disk that nothing else uses.
    disk = world.folder / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("mounting a disk is not permitted here")
    try:
        child = start(MIRROR_STATE_DIR=str(disk), MIRROR_SWEEP_INTERVAL="1")
        first = events(world, 5)
        until(lambda: in_bucket(world, bucket, first))
        with (disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * 65536)
        late = events(world, 100, ago=1.0)
        child.says("disk is full")
        (disk / "ballast").unlink()
        until(lambda: in_bucket(world, bucket, first | late))
        assert child.end() == 0
        assert "Traceback" not in child.log
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_no_file_and_no_command_line_of_a_child_contains_a_secret(
    world: World, bucket: Bucket, start: Start
) -> None:
    token = "a-session-token-that-is-secret"
    child = start(MIRROR_LOG_LEVEL="DEBUG", S3_SESSION_TOKEN=token)
    ids = events(world, 5)
    for event_id in ids:
        child.offer(event_id)
    until(lambda: in_bucket(world, bucket, ids))
    until(lambda: world.status())
    command_line = Path(f"/proc/{child.process.pid}/cmdline").read_bytes()
    assert child.end() == 0
    files = [path for path in world.folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    everything = b"".join([command_line, *(path.read_bytes() for path in files)])
    for secret in (SECRET, token):
        assert secret.encode() not in everything


def test_the_files_of_the_mirror_are_readable_by_their_owner_only(
    world: World, start: Start
) -> None:
    events(world, 3)
    child = start()
    until(lambda: world.lines(".s3_uploaded_events") and world.status())
    assert child.end() == 0
    ours = [*world.state.iterdir(), *world.cache.glob(".s3*")]
    modes = {path.name: path.stat().st_mode & 0o777 for path in ours}
    assert all(mode in (0o600, 0o700) for mode in modes.values()), modes


# This process keeps the ledger locked until its stdin ends.
HOLDER = """
import sqlite3, sys
ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
ledger.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""
# This mirror gives its threads less time to start than it waits for a locked ledger.
IMPATIENT = f"""
import runpy, sys
from frigate_mirror.process import rounds
from frigate_mirror.ledger import database
rounds.START_WITHIN, database.BUSY_SECONDS = 4, 6
runpy.run_path({str(ROOT / "s3_snapshot_mirror.py")!r}, run_name="__main__")
"""


def test_a_ledger_that_stays_locked_does_not_end_a_child_that_starts(
    world: World, bucket: Bucket, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "s3_snapshot_mirror.py").write_text(IMPATIENT)
    first = start()
    until(world.status)
    assert first.end() == 0
    (world.cache / ".s3_status.json").unlink()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(world.state / "ledger.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdin and holder.stdout and holder.stdout.readline() == b"locked\n"
        child = start(root=tmp_path, MIRROR_NICENESS="0", PYTHONPATH=str(ROOT))
        until(lambda: world.status() or child.process.poll() is not None)
        assert child.process.poll() is None, child.log
        ended = command(world, "status")
        assert ended.returncode == 2 and "is locked" in ended.stdout
        holder.stdin.close()
    ids = events(world, 3)
    for event_id in ids:
        child.offer(event_id)
    until(lambda: in_bucket(world, bucket, ids))
    assert child.end() == 0


def test_a_second_frigate_with_the_same_state_folder_says_so_until_the_first_ends(
    world: World, bucket: Bucket, start: Start, tmp_path: Path
) -> None:
    other = World(tmp_path / "other", dict(bucket.environ))
    shared = {"MIRROR_STATE_DIR": str(world.state)}
    first = start()
    first.says("started")
    second = Child(other, **shared)
    try:
        until(lambda: "in use by" in second.log)
        ended = command(other, "status", **shared)
        assert ended.returncode == 2
        assert "in use by" in ended.stdout and "MIRROR_STATE_DIR" in ended.stdout
        ended = command(other, "check", "--no-put", **shared)
        assert ended.returncode == 1 and "FAULT  the state folder" in ended.stdout
        ended = command(world, "check", "--no-put")
        assert "in use by" not in ended.stdout
        assert first.end() == 0
        second.says("started")
        until(lambda: other.status().get("health") in ("OK", "UNKNOWN"))
    finally:
        second.kill()


def test_a_newer_ledger_is_refused_and_kept_and_its_removal_lets_the_mirror_work(
    world: World, bucket: Bucket, start: Start
) -> None:
    world.state.mkdir(parents=True)
    ledger = world.state / "ledger.db"
    with contextlib.closing(sqlite3.connect(ledger)) as sql:
        sql.execute("PRAGMA user_version = 99")
        sql.execute("CREATE TABLE artifact (id TEXT)")
    before = ledger.read_bytes()
    child = start()
    assert child.process.wait(PATIENCE) == EX_FAILED
    assert "newer version of the mirror" in child.log
    ended = command(world, "status")
    assert ended.returncode == 2 and "newer version of the mirror" in ended.stdout
    assert ledger.read_bytes() == before
    ledger.unlink()
    ids = events(world, 2)
    child = start()
    until(lambda: in_bucket(world, bucket, ids))
