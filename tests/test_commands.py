"""The commands as people run them: their output and their exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.commands import backfill
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.lock import RunLock
from frigate_mirror.ledger.rows import Counts, Priority
from s3 import S3Sink
from tests.rig import ROOT, event_table
from tests.rig.servers import SECRET, Bucket, Moto
from tests.rig.waiting import PATIENCE, until
from tests.rig.worlds import DAY, Child, Clock, World, clean_environ, command

NOBODY = "http://127.0.0.1:9"  # nobody listens there
COMMANDS = ("run", "status", "check", "retry", "acknowledge", "backfill", "rebuild")


@pytest.fixture
def bucket(moto_server: Moto) -> Bucket:
    return moto_server.bucket()


@pytest.fixture
def world(tmp_path: Path, bucket: Bucket) -> World:
    return World(tmp_path / "world", dict(bucket.environ))


@contextlib.contextmanager
def ledger_of(world: World) -> Iterator[Ledger]:
    world.state.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Ledger(world.state / "ledger.db")) as ledger:
        yield ledger


def bury(world: World, *events: tuple[str, str]) -> None:
    """Adds a dead letter to the ledger for each (event id, camera)."""
    with ledger_of(world) as ledger:
        for event_id, camera in events:
            ledger.add(world.artifact(event_id, camera=camera), Priority.LIVE, time.time())
            ledger.bury(f"snapshot:{event_id}", "too large", time.time())


def mirror_all(world: World, count: int, log: str = "log") -> Child:
    """Runs a mirror until it has uploaded `count` pictures and has written its status."""
    child = Child(world, log=log)
    try:
        until(lambda: len(world.lines(".s3_uploaded_events")) == count and world.status())
        assert child.end() == 0
    finally:
        child.kill()
    return child


def test_help_names_every_command_and_every_exit_code(world: World) -> None:
    shown = command(world, "--help")
    assert shown.returncode == 0
    for words in (*COMMANDS, "1 for DEGRADED or UNKNOWN", "2 for DOWN", "64", "70", "78"):
        assert words in shown.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(world: World, name: str) -> None:
    shown = command(world, name, "--help")
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) > 3


@pytest.mark.parametrize("words", [
    (), ("dance",), ("status", "--yaml"), ("backfill",), ("backfill", "--since", "soon"),
])  # fmt: skip
def test_a_wrong_command_line_exits_with_64_and_shows_the_usage(
    world: World, words: tuple[str, ...]
) -> None:
    ended = command(world, *words)
    assert ended.returncode == 64
    assert ended.stderr.startswith("usage:") and ended.stdout == ""


def test_an_unknown_option_is_named_below_the_usage_of_its_command(world: World) -> None:
    ended = command(world, "status", "--yaml")
    assert ended.stderr.startswith("usage: s3_snapshot_mirror.py status [-h]")
    assert ended.stderr.endswith("status: unknown arguments: --yaml\n")


@pytest.mark.parametrize("words", [
    ("status",), ("retry",), ("rebuild",), ("backfill", "--since", "3d"),
])  # fmt: skip
def test_wrong_settings_exit_with_78_and_all_faults_are_named(
    world: World, words: tuple[str, ...]
) -> None:
    ended = command(world, *words, MIRROR_BATCH_SIZE="many", MIRROR_SWEEP_DAYS="no")
    assert ended.returncode == 78
    assert "MIRROR_BATCH_SIZE" in ended.stderr and "MIRROR_SWEEP_DAYS" in ended.stderr


# -- status


def test_status_without_a_mirror_exits_with_2_and_says_why(world: World) -> None:
    ended = command(world, "status")
    assert ended.returncode == 2
    assert "DOWN" in ended.stdout and "no mirror has run here yet" in ended.stdout


def test_status_of_a_running_mirror_exits_with_0_as_text_and_as_json(world: World) -> None:
    world.event(started=time.time() - 60)
    child = Child(world, MIRROR_CHECK_INTERVAL="1")
    try:
        until(lambda: world.status().get("health") == "OK" and world.lines(".s3_uploaded_events"))
        ended = command(world, "status")
        assert ended.returncode == 0 and ended.stdout.startswith("S3 mirror: OK")
        ended = command(world, "status", "--json")
        document = json.loads(ended.stdout)
        assert (ended.returncode, document["health"], document["reasons"]) == (0, "OK", [])
        assert SECRET not in ended.stdout
        child.end()
        ended = command(world, "status")
        assert ended.returncode == 2 and "because Frigate has stopped" in ended.stdout
    finally:
        child.kill()


def test_the_last_upload_is_shown_after_a_restart(world: World) -> None:
    world.event(started=time.time() - 60)
    mirror_all(world, 1)
    last = world.status()["last_success"]
    child = Child(world, S3_ENDPOINT_URL=NOBODY, log="second")
    try:
        until(lambda: world.status()["pid"] == child.process.pid)
        assert world.status()["last_success"] == last
        assert world.status()["successes"] == 0
    finally:
        child.kill()
    assert "the last one never" not in command(world, "status").stdout


def on_a_terminal(world: World, *words: str, columns: int) -> str:
    """Runs a command with a terminal of so many columns as its output. Returns what it wrote."""
    ours, its = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        running = subprocess.Popen(
            [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), *words],
            env=clean_environ() | world.environ | {"COLUMNS": str(columns)},
            stdout=its,
            stderr=its,
        )
        os.close(its)
        written = b""
        with contextlib.suppress(OSError):  # Linux's answer when the other end is closed
            while piece := screen.read(4096):
                written += piece
        running.wait(PATIENCE)
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 110])
@pytest.mark.parametrize(("words", "indent"), [(("status",), 15), (("check", "--no-put"), 10)])
def test_on_a_terminal_a_long_line_is_broken_between_words_and_goes_on_indented(
    world: World, words: tuple[str, ...], indent: int, columns: int
) -> None:
    world.environ["FRIGATE_DB_PATH"] = "/nowhere/frigate.db"
    shown = on_a_terminal(world, *words, columns=columns)
    plain = command(world, *words).stdout
    times = re.compile(r"\d+ ms")
    assert times.sub("", " ".join(shown.split())) == times.sub("", " ".join(plain.split()))
    assert len(shown.splitlines()) > len(plain.splitlines())
    lines = [line.strip() for line in shown.splitlines() if len(line) > columns]
    assert all(" " not in line for line in lines), "only a word that is too long by itself"
    assert any(line.startswith(" " * indent) for line in shown.splitlines())


@pytest.fixture
def written(world: World) -> Callable[..., dict[str, Any]]:
    """A function that writes the status file of a mirror in this world, with some changes."""
    child = Child(world)
    try:
        document: dict[str, Any] = until(world.status)
        document["paths"] = {}  # nothing holds the lock of this mirror any more
    finally:
        child.kill()

    def write(**changed: Any) -> dict[str, Any]:
        status = document | {"written_at": time.time()} | changed
        (world.cache / ".s3_status.json").write_text(json.dumps(status))
        return status

    return write


@pytest.mark.parametrize("health", ["DEGRADED", "UNKNOWN"])
def test_status_of_a_mirror_that_needs_attention_exits_with_1(
    world: World, written: Callable[..., dict[str, Any]], health: str
) -> None:
    written(health=health, reasons=["spool full"])
    ended = command(world, "status")
    assert ended.returncode == 1 and "spool full" in ended.stdout


def test_status_of_a_mirror_that_was_killed_exits_with_2_at_once(world: World) -> None:
    child = Child(world)
    try:
        until(world.status)
        assert "not running" not in command(world, "status").stdout
    finally:
        child.kill()
    ended = command(world, "status")
    assert ended.returncode == 2
    assert "not running: it died in the last" in ended.stdout


ESCAPES = "\x1b[2J\r\nS3 mirror: OK\x9b1m\u202e\ud800"
HOSTILE: list[dict[str, Any]] = [
    {"paths": {"database": ["/x"], "state": {"a": 1}}},
    {"paths": {"database": ESCAPES, "state": f"/{ESCAPES}"}},
    {"paths": {"database": "/a\0b", "state": "a/b"}},
    {"paths": {"database": f"/{'x' * 5000}", "state": f"/{'x' * 5000}"}},
    {"paths": "everywhere"},
    {"health": ESCAPES, "reasons": [ESCAPES]},
    {"reasons": [ESCAPES] * 1000, "versions": {ESCAPES: ESCAPES}},
    {"counts": [], "behind": "for ever", "last_error": 7},
]


@pytest.mark.parametrize("changed", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_status_file_breaks_no_command_and_controls_no_terminal(
    world: World, written: Callable[..., dict[str, Any]], changed: dict[str, Any]
) -> None:
    written(**changed)
    for unset, *words in (
        ("MIRROR_STATE_DIR", "status"),
        ("MIRROR_STATE_DIR", "status", "--json"),
        ("MIRROR_STATE_DIR", "retry"),
        ("FRIGATE_DB_PATH", "check", "--no-put"),
        ("FRIGATE_DB_PATH", "backfill", "--since", "3d"),
    ):
        world.environ["MIRROR_STATE_DIR"] = str(world.state)
        world.environ["FRIGATE_DB_PATH"] = str(world.database)
        world.environ[unset] = ""  # then the command reads the path in the status file
        ended = command(world, *words, PYTHONIOENCODING="ascii")
        assert "Traceback" not in ended.stderr, ended.stderr
        lines = (ended.stdout + ended.stderr).splitlines()
        assert lines and all(line.isprintable() for line in lines), lines
        assert lines.count("S3 mirror: OK") <= (words == ["status"])
        if "--json" in words:
            assert json.loads(ended.stdout)["health"] in ("OK", "UNKNOWN", "DOWN")


def test_folders_that_the_environment_names_win_over_those_of_the_status_file(
    world: World, written: Callable[..., dict[str, Any]]
) -> None:
    written(paths={"database": "/nowhere/frigate.db", "state": "/nowhere"})
    ended = command(world, "check", "--no-put", MIRROR_STATE_DIR=str(world.state))
    assert f"{world.database} can be read" in ended.stdout
    assert f"{world.state} can be written" in ended.stdout
    assert "/nowhere" not in ended.stdout


def test_status_of_a_mirror_without_its_bucket_exits_with_2_and_advice(
    world: World,
) -> None:
    child = Child(world, S3_BUCKET="not-there-at-all")
    try:
        child.says("S3 service lost")
        until(lambda: world.status().get("service_down"))
        ended = command(world, "status")
        assert ended.returncode == 2 and "what to do" in ended.stdout
    finally:
        child.kill()


# -- check


def test_check_without_a_fault_exits_with_0_and_proves_the_right_to_put(
    world: World, bucket: Bucket
) -> None:
    ended = command(world, "check")
    assert ended.returncode == 0, ended.stdout
    assert "no fault found" in ended.stdout and "right to put: proven" in ended.stdout
    assert bucket.keys() == [".s3-mirror-check"]


def test_check_without_a_put_says_that_the_right_is_unproven(world: World, bucket: Bucket) -> None:
    ended = command(world, "check", "--no-put")
    assert ended.returncode == 0 and "unproven" in ended.stdout
    assert bucket.keys() == []


def test_check_shows_every_fault_at_once_and_exits_with_1(world: World) -> None:
    gone = str(world.folder / "nowhere")
    ended = command(
        world,
        "check",
        S3_BUCKET="not-there-at-all",
        FRIGATE_DB_PATH=f"{gone}/frigate.db",
        FRIGATE_CLIPS_DIR=f"{gone}/clips",
    )
    assert ended.returncode == 1
    assert ended.stdout.count("FAULT") >= 3 and "S3_BUCKET" in ended.stdout
    assert SECRET not in ended.stdout


# -- retry


@pytest.mark.parametrize(("words", "count"), [
    ((), 3), (("--event", "1705328962.5-aaaaaa"), 1), (("--camera", "garage"), 2),
])  # fmt: skip
def test_retry_revives_all_dead_letters_or_those_of_one_event_or_camera(
    world: World, words: tuple[str, ...], count: int
) -> None:
    bury(
        world,
        ("1705328962.5-aaaaaa", "front_door"),
        ("1705328963.5-bbbbbb", "garage"),
        ("1705328964.5-cccccc", "garage"),
    )
    ended = command(world, "retry", *words)
    assert (ended.returncode, ended.stdout) == (
        0,
        f"{count} failed or lost file(s) are queued again\n",
    )
    with ledger_of(world) as ledger:
        assert ledger.counts() == Counts(failed=3 - count, pending=count, retrying=count)


@pytest.mark.parametrize("name, said", [
    ("retry", "no file has failed or is lost"),
    ("acknowledge", "every failed or lost file, if there is one, is acknowledged already"),
])  # fmt: skip
def test_without_a_dead_letter_there_is_nothing_to_do_and_the_exit_code_is_0(
    world: World, name: str, said: str
) -> None:
    with ledger_of(world):
        ended = command(world, name)
    assert (ended.returncode, ended.stdout) == (0, f"nothing to do: {said}\n")


@pytest.mark.parametrize("name", ["retry", "acknowledge"])
@pytest.mark.parametrize(("words", "said"), [
    (("--camera", "garaeg"), "camera 'garaeg': the ledger does not know it. "
                             "Failed and lost files by camera: front_door 1, garage 2, yard 0"),
    (("--camera", "yard"), "camera 'yard': none of its files has failed or is lost. "
                           "Failed and lost files by camera: front_door 1, garage 2, yard 0"),
    (("--event", "1705328999.5-zzzzzz"), "event '1705328999.5-zzzzzz': the ledger does not know "
                                         "it; .s3_failed_events lists all failed and lost files"),
    (("--event", "1705328965.5-dddddd"), "event '1705328965.5-dddddd': camera yard: its file is "
                                         "in the queue"),
    (("--event", "1705328963.5-bbbbbb", "--camera", "yard"),
     "event '1705328963.5-bbbbbb': camera garage: its file has failed for good"),
])  # fmt: skip
def test_a_camera_or_event_without_a_dead_letter_exits_with_1_and_what_the_ledger_knows_is_said(
    world: World, name: str, words: tuple[str, ...], said: str
) -> None:
    bury(
        world,
        ("1705328962.5-aaaaaa", "front_door"),
        ("1705328963.5-bbbbbb", "garage"),
        ("1705328964.5-cccccc", "garage"),
    )
    with ledger_of(world) as ledger:
        ledger.add(world.artifact("1705328965.5-dddddd", camera="yard"), Priority.LIVE, 1.0)
        before = ledger.counts()
    ended = command(world, name, *words)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"nothing to do for {said}\n"
    with ledger_of(world) as ledger:
        assert ledger.counts() == before


def test_dead_letters_that_are_acknowledged_already_are_not_acknowledged_again(
    world: World,
) -> None:
    bury(world, ("1705328962.5-aaaaaa", "front_door"))
    assert command(world, "acknowledge", "--camera", "front_door").returncode == 0
    for words in (("--camera", "front_door"), ("--event", "1705328962.5-aaaaaa")):
        ended = command(world, "acknowledge", *words)
        assert ended.returncode == 1 and "acknowledged" in ended.stderr


def test_a_revived_picture_is_uploaded_by_the_running_mirror(world: World, bucket: Bucket) -> None:
    event_id = f"{time.time() - 60:.6f}-abcdef"
    bury(world, (event_id, "front_door"))
    Path(world.artifact(event_id).origin).write_bytes(b"picture")
    child = Child(world)
    try:
        child.says("started")
        assert command(world, "retry").returncode == 0
        until(bucket.keys)
        assert list(bucket.objects().values()) == [b"picture"]
    finally:
        child.kill()


def test_retry_without_a_ledger_exits_with_70(world: World) -> None:
    ended = command(world, "retry")
    assert ended.returncode == 70 and "no ledger" in ended.stderr


# -- acknowledge


def test_an_acknowledged_picture_stays_listed_and_no_longer_degrades_health(world: World) -> None:
    event_id = f"{time.time() - 60:.1f}-aaaaaa"
    bury(world, (event_id, "front_door"))
    child = Child(world, MIRROR_CHECK_INTERVAL="1")
    try:
        until(lambda: world.status().get("health") == "DEGRADED")
        [reason] = world.status()["reasons"]
        assert "1 file(s) failed for good" in reason and "acknowledge" in reason
        ended = command(world, "acknowledge")
        assert ended.returncode == 0 and ended.stdout.startswith("1 failed or lost")
        until(lambda: world.status()["health"] == "OK")
        assert [line[1] for line in world.lines(".s3_failed_events")] == [f"snapshot:{event_id}"]
    finally:
        child.kill()


# -- backfill


def test_backfill_with_verify_uploads_again_what_is_missing_in_the_bucket(
    world: World, bucket: Bucket
) -> None:
    ids = [world.event(started=time.time() - 60 - n) for n in range(4)]
    mirror_all(world, 4)
    held = bucket.keys()
    for key in held[:2]:
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    gone = next(event_id for event_id in ids if any(event_id in key for key in held[:2]))
    world.forget(gone)
    ended = command(world, "backfill", "--since", "1d")
    assert ended.returncode == 0 and "at the destination" not in ended.stdout
    ended = command(world, "backfill", "--verify", "--since", "1d")
    told = "4 uploaded file(s) compared with the destination: 2 missing there, 1 of them queued"
    assert told in ended.stdout
    assert ended.returncode == 1 and "1 lost" in ended.stdout
    assert len(bucket.keys()) == 3
    world.write_picture(gone)
    command(world, "retry")
    ended = command(world, "backfill", "--verify", "--since", "1d")
    assert ended.returncode == 0 or len(bucket.keys()) == 4
    ended = command(world, "backfill", "--verify", "--since", "1d")
    assert ended.returncode == 0, ended
    assert "all files of that time are at the destination" in ended.stdout


def test_backfill_mirrors_events_outside_the_window(world: World, bucket: Bucket) -> None:
    now = time.time()
    old = {world.event(started=now - 20 * DAY + n) for n in range(5)}
    world.event(started=now - 40 * DAY)
    ended = command(world, "backfill", "--since", "30d", "--until", "10d")
    assert ended.returncode == 0, ended.stderr
    assert "5 file(s)" in ended.stdout and "all files of that time are uploaded" in ended.stdout
    assert sorted(bucket.objects().values()) == sorted(world.pictures[event_id] for event_id in old)


def test_backfill_uploads_an_incomplete_picture_as_it_is(world: World, bucket: Bucket) -> None:
    event_id = world.event(started=time.time() - 3 * DAY)
    (world.clips / f"front_door-{event_id}.jpg").write_bytes(world.pictures[event_id][:600])
    ended = command(world, "backfill", "--since", "5d")
    assert ended.returncode == 0 and "no file" not in ended.stdout, ended
    assert list(bucket.objects().values()) == [world.pictures[event_id][:600]]


def test_backfill_makes_clips_and_completes_documents(tmp_path: Path, bucket: Bucket) -> None:
    world = World(tmp_path / "clips", {**bucket.environ, "MIRROR_KINDS": "clip,metadata"})
    started = int(time.time() - 20 * DAY)
    world.event(started=started + 1.0, picture=False)
    source = event_table.SEGMENTS["front_door"]
    with contextlib.closing(sqlite3.connect(world.database, isolation_level=None)) as sql:
        for start in range(started, started + 12, 4):
            event_table.add_recording(sql, world.clips.parent, "front_door", start, 4.0, source)
    ended = command(world, "backfill", "--since", "30d")
    assert ended.returncode == 0, ended
    assert "all files of that time are uploaded" in ended.stdout
    objects = bucket.objects()
    assert any(key.endswith(".mp4") for key in objects)
    [document] = [json.loads(data) for key, data in objects.items() if key.endswith(".json")]
    assert document["complete"] is True
    assert not list(world.cache.rglob("*.mp4"))


def test_backfill_leaves_the_uploading_to_a_running_mirror(world: World, bucket: Bucket) -> None:
    old = {world.event(started=time.time() - 20 * DAY + n) for n in range(5)}
    child = Child(world)
    try:
        child.says("started")
        ended = command(world, "backfill", "--since", "30d")
        assert ended.returncode == 0, ended.stderr
        assert len(bucket.keys()) == len(old)
        assert len(world.lines(".s3_uploaded_events")) == 5
    finally:
        child.kill()


def test_backfill_counts_only_the_failures_of_its_own_span(world: World) -> None:
    now = time.time()
    bury(world, (f"{now - 100:.1f}-elsewhere", "front_door"))
    world.event(started=now - 20 * DAY)
    assert command(world, "backfill", "--since", "30d", "--until", "10d").returncode == 0
    bury(world, (f"{now - 20 * DAY:.1f}-within", "front_door"))
    ended = command(world, "backfill", "--since", "30d", "--until", "10d")
    assert ended.returncode == 1 and "1 failed for good" in ended.stdout


def test_an_interrupted_backfill_exits_with_1_and_leaves_the_rest_in_the_queue(
    world: World,
) -> None:
    for n in range(5):
        world.event(started=time.time() - 20 * DAY + n)
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "backfill", "--since", "30d"],
        env=clean_environ() | world.environ | {"S3_ENDPOINT_URL": NOBODY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell makes background processes ignore SIGINT, and so also the tests that they run.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    assert running.stdout.readline().startswith("5 file(s)")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1 and "5 still to upload" in out and "uploads the rest" in err


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a mirror"])
def test_backfill_gives_up_while_the_bucket_is_down_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], beside: bool
) -> None:
    monkeypatch.setattr(backfill, "OUTAGE_PATIENCE", 0.5)
    world.environ["S3_ENDPOINT_URL"] = NOBODY
    for n in range(3):
        world.event(started=time.time() - 20 * DAY + n)
    child = Child(world) if beside else None
    try:
        if child:
            until(lambda: world.status().get("service_down"))
        loaded = world.settings()
        sink = S3Sink(loaded.s3, world.environ, attempts=1)
        assert backfill.backfill(loaded, sink, time.time() - 30 * DAY) == 1
    finally:
        if child:
            child.kill()
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "of 3 file(s) of that time: 3 still to upload"
    first, *_, last = err.splitlines()
    assert first.startswith("0 of 3 file(s) done")
    assert last.startswith("the destination is down: ") and "Connection refused" in last
    assert last.endswith("; the running or the next mirror uploads the rest")


def test_backfill_where_no_mirror_runs_leaves_a_status_with_its_uploads(world: World) -> None:
    world.event(started=time.time() - 20 * DAY)
    assert command(world, "backfill", "--since", "30d").returncode == 0
    ended = command(world, "status")
    assert ended.returncode == 2
    assert (
        "because      no mirror runs here; the last one that ran was a `backfill`" in ended.stdout
    )
    assert "  uploaded     1 in the last 8 d, the last one " in ended.stdout
    assert "up then" in ended.stdout and "up for" not in ended.stdout


def test_backfill_leaves_the_status_to_a_running_mirror(world: World) -> None:
    world.event(started=time.time() - 20 * DAY)
    child = Child(world)
    try:
        until(world.status)
        assert command(world, "backfill", "--since", "30d").returncode == 0
        assert world.status()["stopped"] == ""
    finally:
        child.kill()


def test_backfill_counts_each_file_of_the_span_once(world: World) -> None:
    now = time.time()
    for n in range(3):
        world.event(started=now - 20 * DAY + n)
    assert command(world, "backfill", "--since", "30d").returncode == 0
    for n in range(2):
        world.event(started=now - 19 * DAY + n)
    world.event(started=now - 19 * DAY, picture=False)
    ended = command(world, "backfill", "--since", "30d")
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "3 file(s) of that time were not in the ledger yet",
        "of 6 file(s) of that time: 2 uploaded now, 3 uploaded before, 1 not on disk",
    ]


def test_backfill_of_a_time_without_snapshots_says_so(world: World) -> None:
    ended = command(world, "backfill", "--since", "30d")
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (
        0,
        "Frigate has no file of that time",
    )


def test_backfill_of_a_time_that_ends_before_it_begins_is_a_wrong_command_line(
    world: World,
) -> None:
    ended = command(world, "backfill", "--since", "2026-02-01", "--until", "2026-01-01")
    assert (ended.returncode, ended.stdout) == (64, "")
    assert "--until is not after --since" in ended.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_the_progress_is_a_line_now_and_then_and_when_an_outage_begins() -> None:
    out, clock = io.StringIO(), Clock(0.0)
    progress = backfill.Progress(out, clock)
    looks = [(0, 9, ""), (5, 8, ""), (9, 7, ""), (10, 7, ""), (11, 6, "refused"),
             (12, 6, "refused"), (13, 0, "")]  # fmt: skip
    for at, left, outage in looks:
        clock.now = at
        assert progress.look(left, outage) == ""
    progress.end()
    assert out.getvalue().splitlines() == [
        "0 of 9 file(s) done",
        "2 of 9 file(s) done",
        "3 of 9 file(s) done; the destination is down: refused",
    ]


def test_on_a_terminal_the_progress_is_a_bar_in_one_line() -> None:
    out = Terminal()
    progress = backfill.Progress(out, Clock(0.0))
    for left, outage in ((4, ""), (2, "refused"), (0, "")):
        progress.look(left, outage)
    progress.end()
    nothing = Terminal()
    backfill.Progress(nothing, Clock(0.0)).look(0, "")
    assert nothing.getvalue() == ""
    last = out.getvalue().rstrip("\n")
    assert last.split("\r")[1:] == [
        f"[{' ' * 40}] 0/4\x1b[K",
        f"[{'#' * 20}{' ' * 20}] 2/4  destination down\x1b[K",
        f"[{'#' * 40}] 4/4\x1b[K",
    ]


def test_backfill_is_patient_while_something_is_uploaded_and_gives_up_when_nothing_is() -> None:
    clock = Clock(0.0)
    progress = backfill.Progress(io.StringIO(), clock)
    for minute, (left, outage) in enumerate([(9, ""), (8, "refused"), (7, "refused"), (6, "")]):
        clock.now = 60.0 * minute
        assert progress.look(left, outage) == ""
    clock.now += 59
    assert progress.look(6, "refused") == ""
    clock.now += 1
    assert progress.look(6, "refused") == "the destination is down: refused"
    assert progress.look(6, "") == ""
    clock.now += 840
    assert progress.look(6, "") == "nothing was uploaded for 15 min"


def test_backfill_without_a_database_exits_with_70(world: World) -> None:
    missing = str(world.folder / "nowhere" / "frigate.db")
    ended = command(world, "backfill", "--since", "3d", FRIGATE_DB_PATH=missing)
    assert ended.returncode == 70 and missing in ended.stderr


@pytest.mark.parametrize("words", [("backfill", "--since", "3d"), ("rebuild",)])
def test_a_command_does_not_make_the_clips_folder_of_a_disk_that_is_away(
    world: World, words: tuple[str, ...]
) -> None:
    missing = world.folder / "media" / "not" / "mounted"
    command(world, *words, FRIGATE_CLIPS_DIR=str(missing), S3_ENDPOINT_URL="http://127.0.0.1:9")
    assert not missing.parent.exists()


# -- rebuild


def test_rebuild_restores_the_ledger_from_the_bucket_alone(world: World, bucket: Bucket) -> None:
    for n in range(30):
        world.event("front é", time.time() - 60 - n)
    mirror_all(world, 30)
    held = bucket.keys()
    before = {key: bucket.head(key)["LastModified"] for key in held}
    for path in (*world.state.glob("ledger*"), *world.cache.glob(".s3_*_events")):
        path.unlink()
    bucket.client.put_object(Bucket=bucket.name, Key="somebody/elses.txt", Body=b"")
    ended = command(world, "rebuild")
    assert ended.returncode == 0 and "30 file(s) of the bucket are new" in ended.stdout
    (world.cache / ".s3_status.json").unlink()
    child = mirror_all(world, 0, log="second")
    assert "S3 upload" not in child.log and "S3 backlog" not in child.log
    with ledger_of(world) as ledger:
        assert ledger.counts() == Counts(uploaded=30)
    assert all(bucket.head(key)["LastModified"] == at for key, at in before.items())


def test_rebuild_reads_the_state_files_too(world: World, bucket: Bucket) -> None:
    bury(world, (f"{time.time() - 60:.1f}-aaaaaa", "front_door"))
    child = Child(world)
    try:
        until(lambda: world.lines(".s3_failed_events"))
        assert child.end() == 0
    finally:
        child.kill()
    for path in world.state.glob("ledger*"):
        path.unlink()
    assert command(world, "rebuild").returncode == 0
    with ledger_of(world) as ledger:
        assert ledger.counts() == Counts(failed=1)


def test_rebuild_leaves_a_damaged_ledger_to_the_mirror_that_has_it_open(world: World) -> None:
    world.state.mkdir(parents=True)
    damaged = world.state / "ledger.db"
    damaged.write_bytes(b"no ledger" * 1000)
    lock = RunLock(world.state / "mirror.lock")
    assert lock.acquire()
    ended = command(world, "rebuild")
    assert ended.returncode == 70 and "not a database" in ended.stderr
    assert [path.name for path in world.state.glob("ledger*")] == ["ledger.db"]
    ended = command(world, "backfill", "--since", "1d")
    assert ended.returncode == 70 and "try again" in ended.stderr
    assert [path.name for path in world.state.glob("ledger*")] == ["ledger.db"]
    lock.release()
    command(world, "rebuild")
    assert len(list(world.state.glob("ledger.db.damaged-*"))) == 1


def test_rebuild_from_a_missing_bucket_exits_with_70_and_advice(world: World) -> None:
    ended = command(world, "rebuild", S3_BUCKET="not-there-at-all")
    assert ended.returncode == 70 and "S3_BUCKET" in ended.stderr
