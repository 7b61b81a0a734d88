"""The command `retention` as people run it, on real destinations, and the daily runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.checks import retention as checks
from frigate_mirror.policy import parse
from frigate_mirror.retention.daily import Result, Retention, health, last_result
from frigate_mirror.retention.run import NOTE, Job
from frigate_mirror.settings import settings
from frigate_mirror.sinks.sink import Misconfigured, Unavailable
from tests.rig import ROOT
from tests.rig.broker import Broker
from tests.rig.rclone import Config, encrypted
from tests.rig.s3_sink import environ_for
from tests.rig.servers import Bucket, SeaweedFS, strict_identities
from tests.rig.sinks import MemoryArchive
from tests.rig.stub import LISTING, Reply, Stub
from tests.rig.waiting import PATIENCE, until
from tests.rig.worlds import Child, Clock, World
from tests.test_companion import Companion, Frigate
from tests.test_retention import DAY, document_of, stem_of

COMMAND = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "retention"]
UPLOADER = {"S3_ACCESS_KEY": "UPLOADER", "S3_SECRET_KEY": "secret-of-uploader"}
KEEPER = {"RETENTION_S3_ACCESS_KEY": "KEEPER", "RETENTION_S3_SECRET_KEY": "secret-of-keeper"}


@dataclass
class Home:
    """A machine with these settings and an empty home."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        own = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "MIRROR_RETENTION": "7d"}
        self.environ = own | self.environ

    @property
    def state(self) -> Path:
        return self.folder / ".local/state/frigate-mirror"

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], env=self.environ | environ, capture_output=True, text=True,
            timeout=PATIENCE,
        )  # fmt: skip

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*COMMAND, *words], env=self.environ | environ, stdout=log, stderr=log, text=True
            )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


def events(*days: float) -> dict[str, bytes]:
    """Returns the files of an event for each of these ages, by their keys."""
    found = {}
    for number, age in enumerate(days):
        started = time.time() - age * DAY
        event_id = f"{started:.6f}-{number:06d}"
        stem = stem_of(event_id, started)
        found |= {f"{stem}.jpg": b"picture", f"{stem}.mp4": b"clip"}
        found[f"{stem}.json"] = json.dumps(document_of(event_id, "front")).encode()
    return found


# -- a bucket


@pytest.fixture(scope="module")
def strict() -> Iterator[SeaweedFS]:
    """A server with the key of an uploader, which has the README's policy, and that of a keeper,
    which may also read and delete."""
    server = SeaweedFS(strict_identities(uploader=[], keeper=["s3:GetObject", "s3:DeleteObject"]))
    yield server
    server.stop()


@pytest.fixture
def bucket(strict: SeaweedFS) -> Bucket:
    return strict.bucket()


@pytest.fixture
def home(tmp_path: Path, bucket: Bucket) -> Home:
    environ = bucket.environ | {"S3_PATH_PREFIX": "frigate"} | UPLOADER
    return Home(tmp_path / "home", environ)


def fill(bucket: Bucket, objects: dict[str, bytes]) -> None:
    for key, body in objects.items():
        bucket.put(key, body)


def test_it_deletes_with_credentials_of_its_own(home: Home, bucket: Bucket) -> None:
    old, young = events(8, 30), events(0, 1, 2)
    fill(bucket, old | young | {"frigate/notes.txt": b"mine"})
    dry = home.run("--dry-run", **KEEPER)
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert "to delete: 6 objects of 2 events" in dry.stdout
    assert dry.stdout.startswith(f"retention at bucket {bucket.name} below frigate/, ")
    assert set(bucket.keys()) == {*old, *young, "frigate/notes.txt"}
    assert not any(f"    {key}" in dry.stdout.splitlines() for key in old)
    listed = home.run("--dry-run", "--list", **KEEPER).stdout.splitlines()
    assert {line.strip() for line in listed if line.startswith("    frigate/")} == set(old)
    done = home.run(**KEEPER)
    assert (done.returncode, done.stderr) == (0, "")
    assert "deleted 6 objects of 2 events" in done.stdout
    assert set(bucket.keys()) == {*young, "frigate/notes.txt"}
    assert "secret" not in done.stdout


def test_a_key_that_is_refused_is_named_as_the_owner_has_set_it(home: Home) -> None:
    wrong = {"RETENTION_S3_ACCESS_KEY": "KEEPER", "RETENTION_S3_SECRET_KEY": "mistyped"}
    assert "correct RETENTION_S3_ACCESS_KEY and RETENTION_S3_SECRET_KEY" in home.run(**wrong).stderr
    uploader = home.run(S3_SECRET_KEY="mistyped").stderr
    assert "correct S3_ACCESS_KEY and S3_SECRET_KEY" in uploader


def test_credentials_may_lie_in_files(home: Home, bucket: Bucket) -> None:
    fill(bucket, events(8, 0))
    path = home.folder / "key"
    path.write_text(KEEPER["RETENTION_S3_SECRET_KEY"])
    key = {"RETENTION_S3_ACCESS_KEY": "KEEPER", "RETENTION_S3_SECRET_KEY_FILE": str(path)}
    assert home.run(**key).returncode == 0
    assert len(bucket.keys()) == 3


def test_credentials_without_the_right_to_delete_are_told_once(home: Home, bucket: Bucket) -> None:
    keys = {key for key in events(*range(8, 30), *range(7)) if "json" not in key}
    fill(bucket, dict.fromkeys(keys, b"x"))
    done = home.run("--max-deletes", "1000")
    assert done.returncode == 70
    assert done.stderr.count("AccessDenied") == 1
    assert f"allow s3:DeleteObject on {bucket.name}" in done.stderr
    assert "deleted 0 objects" in done.stdout and set(bucket.keys()) == keys


def test_credentials_without_the_right_to_read_delete_nothing(home: Home, bucket: Bucket) -> None:
    fill(bucket, events(8, 0))
    done = home.run()
    assert done.returncode == 70 and f"allow s3:GetObject on {bucket.name}" in done.stderr
    assert len(bucket.keys()) == 6


def test_a_refusal_has_an_exit_code_of_its_own_and_max_deletes_overrides_it(
    home: Home, bucket: Bucket
) -> None:
    fill(bucket, events(8, 9, 10, 0))
    for words in ([], ["--dry-run"], ["--max-deletes", "8"]):
        done = home.run(*words, **KEEPER)
        assert done.returncode == 1
        assert "nothing was deleted: it would delete" in done.stdout
    assert len(bucket.keys()) == 12
    assert home.run("--max-deletes", "9", **KEEPER).returncode == 0
    assert len(bucket.keys()) == 3


def test_a_service_with_another_time_is_told(tmp_path: Path, stub: Stub) -> None:
    home = Home(tmp_path / "home", environ_for(stub.endpoint))
    date = formatdate(time.time() + 2 * 3_600, usegmt=True)
    stub.default = Reply(body=LISTING, headers={"Date": date})
    done = home.run(**KEEPER)
    assert (done.returncode, done.stderr) == (1, "")
    assert "differs from this machine's by +2.0 hours" in done.stdout


def test_a_disk_that_is_full_is_told_and_nothing_is_deleted(home: Home, bucket: Bucket) -> None:
    fill(bucket, events(*range(8, 40), *[0] * 40))
    before = bucket.keys()
    # A limit for the size of files stands for the end of the disk.
    limited = ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash", *COMMAND]
    done = subprocess.run(
        limited, env=home.environ | KEEPER, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 70 and "free space there" in done.stderr, done.stdout + done.stderr
    assert bucket.keys() == before


@pytest.mark.parametrize(
    ("environ", "words", "code", "told"),
    [
        ({"MIRROR_RETENTION": ""}, [], 78, "MIRROR_RETENTION: missing"),
        ({"MIRROR_RETENTION": "7"}, [], 78, "MIRROR_RETENTION: '7' is no rule"),
        ({"S3_BUCKET": ""}, [], 78, "S3_BUCKET: missing"),
        ({"RETENTION_S3_ACCESS_KEY": "x"}, [], 78, "RETENTION_S3_SECRET_KEY: missing"),
        ({"RETENTION_S3_ACCESS_KEY": "x"}, ["daily"], 78, "RETENTION_S3_SECRET_KEY: missing"),
        ({}, ["--max-deletes", "-1"], 64, "not negative"),
        ({}, ["daily", "--dry-run"], 64, "belong to run"),
        ({}, ["yearly"], 64, "yearly"),
        ({"MIRROR_STATE_DIR": "/proc/nowhere"}, [], 70, "set MIRROR_STATE_DIR"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, [], 70, "EndpointConnection"),
    ],
)
def test_what_is_wrong_is_told_with_its_exit_code(
    tmp_path: Path, environ: dict[str, str], words: list[str], code: int, told: str
) -> None:
    place = {"S3_BUCKET": "cams", "S3_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = Home(tmp_path / "home", place | UPLOADER | environ).run(*words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr


def test_the_units_of_systemd_are_printed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for what, name in (("unit", "retention.service"), ("timer", "retention.timer")):
        assert home.run(what).stdout == (ROOT / "frigate_mirror" / name).read_text()


# -- a remote of rclone


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder that is a remote of rclone."""
    made = tmp_path / "archive"
    made.mkdir()
    return made


@pytest.fixture
def beside(tmp_path: Path, archive: Path) -> Home:
    (tmp_path / "uploader").mkdir()
    config = Config(tmp_path / "uploader")
    config.add("nas", "alias", remote=archive)
    return Home(tmp_path / "home", config.environ("nas:"))


def store(archive: Path, objects: dict[str, bytes]) -> None:
    for key, body in objects.items():
        path = archive / key.removeprefix("frigate/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def files(archive: Path) -> set[str]:
    # Unlike rglob, walk goes on when a folder vanishes.
    found = (Path(folder, name) for folder, _, names in os.walk(archive) for name in names)
    return {str(path.relative_to(archive)) for path in found}


def test_a_remote_is_kept_in_order_and_its_empty_folders_are_gone(
    beside: Home, archive: Path
) -> None:
    store(archive, events(8, 9, 10, 0, 1, 2))
    day = next(archive.glob("front/*"))
    (day / "notes.txt").write_text("mine")
    done = beside.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(files(archive)) == 10
    assert (day / "notes.txt").exists()
    left = {path for path in archive.glob("front/*") if not any(path.iterdir())}
    assert left == set() and len(list(archive.glob("front/*"))) in (3, 4)


def test_the_retention_has_a_configuration_of_rclone_of_its_own(
    tmp_path: Path, beside: Home, archive: Path
) -> None:
    (tmp_path / "keeper").mkdir()
    own = Config(tmp_path / "keeper")
    own.add("nas", "alias", remote=archive)
    encrypted(own.path, "of the keeper")
    store(archive, events(8, 0))
    broken = {"RCLONE_CONFIG": "/no/such/file", "RCLONE_CONFIG_PASS": "of the uploader"}
    access = {
        "RETENTION_RCLONE_CONFIG": str(own.path), "RETENTION_RCLONE_CONFIG_PASS": "of the keeper",
    }  # fmt: skip
    assert beside.run(**broken).returncode == 70
    done = beside.run(**broken, **access)
    assert done.returncode == 0, done.stderr
    assert len(files(archive)) == 3


def test_it_leaves_nothing_of_its_own_but_the_cache_and_the_lock(
    beside: Home, archive: Path
) -> None:
    store(archive, events(8, 0))
    assert beside.run().returncode == 0
    assert {path.name for path in beside.state.iterdir()} == {"retention.cache", "retention.lock"}


@pytest.mark.parametrize("policy", ["7d", "size:1M"])
def test_after_kill_9_the_next_run_leaves_no_event_half_deleted(
    beside: Home, archive: Path, policy: str
) -> None:
    ages = [8 + number / 100 for number in range(150)] + [number / 100 for number in range(160)]
    body = b"x" * (3_000 if policy.startswith("size") else 10)
    wanted = {key: body if "json" not in key else data for key, data in events(*ages).items()}
    for delay in (0, 40, 90, 170):  # files that are gone when it is killed
        store(archive, wanted)
        running = beside.start("--max-deletes", "9999", MIRROR_RETENTION=policy)
        kill_when_there_are(len(wanted) - delay, archive, running)
        done = beside.run("--max-deletes", "9999", MIRROR_RETENTION=policy)
        assert done.returncode == 0, done.stdout + done.stderr
        counts: dict[str, int] = {}
        for name in files(archive):
            event_id = Path(name).name[:24]
            counts[event_id] = counts.get(event_id, 0) + 1
        assert set(counts.values()) == {3}
        assert not (beside.state / NOTE).exists()


def kill_when_there_are(few: int, archive: Path, running: subprocess.Popen[str]) -> None:
    until(lambda: len(files(archive)) <= few or running.poll() is not None)
    running.kill()
    running.wait()


def test_of_two_runs_at_once_one_leaves(beside: Home, archive: Path) -> None:
    store(archive, events(*[8 + number / 100 for number in range(200)], *[0.1] * 210))
    running = beside.start()
    until(lambda: (beside.state / "retention.lock").exists() or running.poll() is not None)
    done = beside.run()
    running.wait(PATIENCE)
    assert done.returncode == 0 or "another run of the retention is under way" in done.stderr
    assert len(files(archive)) == 3 * 210


# -- daily


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


def daily(folder: Path, archive: Any, clock: Clock) -> Retention:
    policy = parse("7d")
    assert policy
    keys = settings.load({"S3_BUCKET": "cams", "S3_PATH_PREFIX": "frigate"}).keys.codec
    job = Job(policy=policy, keys=keys, most=100, folder=folder, where="memory")
    return Retention(job, lambda: nullcontext(archive), clock=clock)


def test_it_runs_once_a_day_whatever_happens_to_the_process(tmp_path: Path, clock: Clock) -> None:
    archive = MemoryArchive()
    archive.objects = events(8, 0, 1)
    asked: list[str] = []
    archive.before = lambda operation, what: asked.append(operation)
    part = daily(tmp_path, archive, clock)
    part.look()
    assert len(archive.objects) == 6 and part.troubles() == []
    seen = len(asked)
    for hours in (1, 23):
        clock.now += 3_600 * (hours - 0.5)
        part.look()
        part = daily(tmp_path, archive, clock)
        part.look()
    assert len(asked) == seen
    clock.now += 3_700
    part.look()
    assert len(asked) > seen
    assert health(tmp_path, clock.now) == ""


def test_a_clock_that_went_back_does_not_stop_the_daily_runs(tmp_path: Path, clock: Clock) -> None:
    archive = MemoryArchive()
    part = daily(tmp_path, archive, clock)
    part.look()
    archive.objects = events(400, 366, 365)
    clock.now -= 365 * DAY
    part.look()
    assert len(archive.objects) == 6


def test_a_refusal_is_a_trouble_until_a_run_succeeds(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    archive = MemoryArchive()
    archive.objects = events(8, 9, 0)
    part = daily(tmp_path, archive, clock)
    for _ in range(3):
        part.look()
        clock.now += DAY
    (trouble,) = part.troubles()
    assert trouble.startswith("retention: it would delete 6 objects") or "2 of 3" in trouble
    assert len([one for one in caplog.records if one.levelname == "WARNING"]) <= 2
    assert daily(tmp_path, archive, clock).troubles() == [trouble], "also after a new start"
    assert health(tmp_path, clock.now) in trouble
    archive.objects = events(0)
    clock.now += DAY
    part.look()
    assert part.troubles() == [] and health(tmp_path, clock.now) == ""


def test_a_run_by_hand_that_a_refusal_has_advised_ends_the_trouble_at_once(
    beside: Home, archive: Path
) -> None:
    store(archive, events(8, 9, 0))
    clock = Clock(time.time())
    source = MemoryArchive()
    source.objects = events(8, 9, 0)
    beside.state.mkdir(parents=True)
    part = daily(beside.state, source, clock)
    part.look()
    (trouble,) = part.troubles()
    assert "run `frigate-mirror retention --max-deletes 6` once" in trouble
    assert beside.run("--dry-run", "--max-deletes", "6").returncode == 0
    clock.now = time.time() + 60
    part.look()
    assert part.troubles() == [trouble], "a dry run corrects nothing"
    assert beside.run("--max-deletes", "6").returncode == 0
    clock.now = time.time() + 60
    part.look()
    assert part.troubles() == []
    assert beside.run("health").returncode == 0


def test_an_outage_is_tried_again_in_an_hour_and_a_missing_right_the_next_day(
    tmp_path: Path, clock: Clock
) -> None:
    archive = MemoryArchive()
    archive.objects = events(0)
    part = daily(tmp_path, archive, clock)
    for error, rest in ((Unavailable("away"), 3_600), (Misconfigured("no right"), 86_400)):
        asked: list[str] = []

        def fail(operation: str, what: str, error: Exception = error, asked: Any = asked) -> None:
            asked.append(operation)
            raise error

        archive.before = fail
        part.look()
        clock.now += rest - 60
        part.look()
        assert len(asked) == 1 and str(error) in part.troubles()[0]
        clock.now += 120
        part.look()
        assert len(asked) == 2
        clock.now += 2 * DAY


def test_no_result_and_an_old_one_are_not_well(tmp_path: Path, clock: Clock) -> None:
    assert "no run has ended yet" in health(tmp_path, clock.now)
    daily(tmp_path, MemoryArchive(), clock).look()
    assert health(tmp_path, clock.now) == ""
    assert "two days old" in health(tmp_path, clock.now + 3 * DAY)
    for damaged in (b"", b"[]", b'{"at": "now", "fault": "", "rest": 1}', b"\xff"):
        (tmp_path / "retention.json").write_bytes(damaged)
        assert last_result(tmp_path) is None


def test_a_result_is_kept_as_it_is(tmp_path: Path, clock: Clock) -> None:
    daily(tmp_path, MemoryArchive(), clock).look()
    assert last_result(tmp_path) == Result(clock.now, "", DAY)


def test_the_service_deletes_says_how_it_is_and_ends_by_a_signal(
    beside: Home, archive: Path
) -> None:
    assert beside.run("health").returncode == 1
    store(archive, events(8, 0))
    running = beside.start("daily")
    try:
        until(lambda: (beside.state / "retention.json").exists(), lambda: beside.log)
        assert len(files(archive)) == 3 and "deleted 3 objects of 1 event" in beside.log
        assert beside.run("health").returncode == 0
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
    finally:
        running.kill()
        running.wait()


def test_the_service_tells_of_a_refusal_by_the_ways_of_notices(
    beside: Home, archive: Path, stub: Stub
) -> None:
    store(archive, events(8, 9, 0))  # it would delete more than half of them
    stub.default = Reply()
    running = beside.start("daily", NOTIFY_WEBHOOK_URL=stub.endpoint, NOTIFY_AFTER="1s",
                           MIRROR_NAME="nvr")  # fmt: skip
    try:
        until(lambda: stub.seen, lambda: beside.log)
    finally:
        running.kill()
        running.wait()
    told = json.loads(stub.seen[0].body)
    assert (told["kind"], told["mirror"]) == ("wrong", "nvr (retention)")
    assert "retention: it would delete 2 of 3 events" in told["text"]
    assert "frigate-mirror retention --dry-run --list" in told["what_to_do"]
    assert len(files(archive)) == 9


# -- the uploader


@pytest.mark.parametrize("environ", [
    {},
    {
        "RETENTION_S3_ACCESS_KEY": "AKID-OF-RETENTION", "RETENTION_S3_SECRET_KEY_FILE": "/nowhere",
        "RETENTION_S3_SESSION_TOKEN": "TOKEN-OF-RETENTION",
        "RETENTION_RCLONE_CONFIG": "relative", "RETENTION_RCLONE_CONFIG_PASS": "PASS-OF-RETENTION",
    },
], ids=["without", "with"])  # fmt: skip
def test_the_uploader_behaves_the_same_with_the_credentials_of_the_retention(
    tmp_path: Path, seaweedfs: SeaweedFS, environ: dict[str, str]
) -> None:
    bucket = seaweedfs.bucket()
    world = World(tmp_path / "world", bucket.environ)
    event_id = world.event(started=time.time() - 60)
    child = Child(world, **environ)
    try:
        child.offer(event_id)
        until(bucket.keys, lambda: child.log)
        until(lambda: world.status().get("health") == "OK", lambda: child.log)
        assert child.end() == 0
    finally:
        child.kill()
    assert bucket.objects().popitem()[1] == world.pictures[event_id]
    for path in world.folder.rglob("*"):
        assert not path.is_file() or b"OF-RETENTION" not in path.read_bytes()
    assert "RETENTION" not in child.log


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as started:
        yield started


def has_both_files(bucket: Bucket, event_id: str) -> bool:
    listed = bucket.keys()
    return sum(event_id in key for key in listed) == 2


def test_a_companion_that_deletes_says_what_that_means_and_goes_on_uploading(
    tmp_path: Path, broker: Broker, strict: SeaweedFS
) -> None:
    bucket = strict.bucket()
    fill(bucket, events(8, 9, 1, 2))
    recorder = Frigate(tmp_path / "frigate", broker)
    companion = Companion(
        tmp_path / "companion", recorder, **bucket.environ, S3_PATH_PREFIX="frigate",
        MIRROR_RETENTION="7d",
    )  # fmt: skip
    try:
        companion.wait_for("this machine deletes at the destination once a day")
        companion.wait_for("S3 retention: deleted 6 objects of 2 events")
        event_id = recorder.event()
        until(lambda: has_both_files(bucket, event_id), lambda: companion.text)
        assert len(bucket.keys()) == 8
        assert companion.stop() == 0
    finally:
        companion.close()
        recorder.close()


def test_a_companion_whose_key_may_not_delete_uploads_and_is_degraded(
    tmp_path: Path, broker: Broker, strict: SeaweedFS
) -> None:
    bucket = strict.bucket()
    old = {key: body for key, body in events(8, 9, 1, 2).items() if "json" not in key}
    fill(bucket, old)
    recorder = Frigate(tmp_path / "frigate", broker)
    companion = Companion(
        tmp_path / "companion", recorder, **bucket.environ | UPLOADER, S3_PATH_PREFIX="frigate",
        MIRROR_RETENTION="7d",
    )  # fmt: skip
    try:
        companion.wait_for("allow s3:DeleteObject")
        event_id = recorder.event()
        until(lambda: has_both_files(bucket, event_id), lambda: companion.text)
        until(lambda: "retention:" in str(companion.status()["reasons"]))
        assert companion.status()["health"] == "DEGRADED" and old.keys() < set(bucket.keys())
    finally:
        companion.close()
        recorder.close()


# -- check


def findings(**environ: str) -> str:
    return "\n".join(map(str, checks.retention(settings.load(environ), environ)))


def test_check_says_what_a_companion_that_deletes_means() -> None:
    beside = {"FRIGATE_URL": "http://frigate:5000", "S3_BUCKET": "cams"}
    assert findings(**beside) == ""
    told = findings(**beside, MIRROR_RETENTION="alert:90d *:7d")
    assert "once a day, by the rules alert:90d *:7d" in told
    assert "whoever takes it can delete everything there" in told and "metadata" not in told
    told = findings(**beside, MIRROR_RETENTION="7d", MIRROR_KINDS="snapshot")
    assert "MIRROR_KINDS has no metadata" in told


def test_check_says_that_nothing_is_deleted_from_inside_frigate() -> None:
    told = findings(S3_BUCKET="cams", MIRROR_RETENTION="7d")
    assert "the mirror inside Frigate deletes nothing" in told


def test_check_notes_credentials_of_the_retention_on_this_machine_and_never_shows_them() -> None:
    told = findings(S3_BUCKET="cams", RETENTION_S3_SECRET_KEY_FILE="hidden")
    assert "RETENTION_S3_SECRET_KEY_FILE is set on this machine" in told and "hidden" not in told
