"""Frigate never notices the mirror. Stand-ins of each supported version run with and without it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig import ROOT, STANDIN
from tests.rig.processes import is_mirror, kill_marked, marked, parents
from tests.rig.servers import Bucket
from tests.rig.waiting import PATIENCE, until

VERSIONS = ("0.16", "0.17", "0.18")
FORKS_AND_SERVES = ("0.16", "0.17")  # the two ways in which Frigate makes its other processes
DRAIN = 1
LINGER = f"{10 * PATIENCE:g}"  # seconds that a host lives until its test ends it
EPOCH = str(int(time.time()) - 60)
NOBODY = {
    "S3_BUCKET": "pictures",
    "S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "S3_ACCESS_KEY": "a",
    "S3_SECRET_KEY": "b",
}


class Host:
    """A stand-in that runs. With `boot=False` it starts as if the mirror did not exist."""

    def __init__(self, folder: Path, version: str, *words: str, boot: bool = True, **environ: str):
        folder.mkdir()
        self._mark = f"STANDIN_MEDIA={folder}/"
        self.clips = folder / "media" / "clips"
        self._out, self._err = folder / "out", folder / "err"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{ROOT / 'boot'}:/owners" if boot else "/owners",
            "STANDIN_VERSION": version,
            "STANDIN_EPOCH": EPOCH,
            "STANDIN_MEDIA": str(folder / "media"),
            "STANDIN_DB": str(folder / "config" / "frigate.db"),
            "STANDIN_ORPHAN_SECONDS": LINGER,
            "MIRROR_DRAIN_SECONDS": str(DRAIN),
        }
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "frigate", *words],
                cwd=STANDIN,
                env=environment | environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> bytes:
        return self._out.read_bytes()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def finish(self) -> tuple[bytes, int]:
        """Waits for the end of the host and returns its stdout and its exit code."""
        status = self.process.wait(PATIENCE)
        return self.out, status

    def family(self) -> set[int]:
        """Returns every living process that the host has started, and those started by them."""
        return set(marked(self._mark)) - {self.process.pid}

    def mirrors(self) -> list[int]:
        return [pid for pid in self.family() if is_mirror(pid)]

    def mirror(self) -> int:
        """Waits until the mirror works and returns its process id."""
        until(lambda: "S3 snapshot mirror started" in self.err)
        return self.mirrors()[0]

    def kill_all(self) -> None:
        """Kills the host and every process that is left of it."""
        self.process.kill()
        self.process.wait(PATIENCE)
        kill_marked(self._mark)


def alive(pid: int) -> bool:
    return pid in parents()


def files_of(pid: int) -> dict[str, str]:
    """Returns the file behind each descriptor of a process."""
    files = {}
    with contextlib.suppress(FileNotFoundError):  # the process has just ended
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed just now
                files[entry.name] = os.readlink(entry)
    return files


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts hosts, each in a folder of its own, and kills what is left of them afterwards."""
    started: list[Host] = []

    def begin(version: str, *words: str, **options: Any) -> Host:
        started.append(Host(tmp_path / f"host{len(started)}", version, *words, **options))
        return started[-1]

    yield begin
    for host in started:
        host.kill_all()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_host_with_a_working_mirror_prints_and_ends_as_without_it(
    start: Callable[..., Host], bucket: Bucket, version: str
) -> None:
    plain, mirrored = start(version, boot=False), start(version, **bucket.environ)
    assert mirrored.finish() == plain.finish()
    assert b"false-positive" in plain.out
    pictures = {file.read_bytes() for file in mirrored.clips.iterdir() if file.is_file()}
    until(lambda: len(bucket.keys()) == 4)
    assert set(bucket.objects().values()) <= pictures
    until(lambda: "S3 snapshot mirror stopped" in mirrored.err)


def test_a_host_with_an_unreachable_service_prints_and_ends_as_without_the_mirror(
    start: Callable[..., Host],
) -> None:
    hosts = [(start(version, boot=False), start(version, **NOBODY)) for version in VERSIONS]
    for version, (plain, mirrored) in zip(VERSIONS, hosts, strict=True):
        assert mirrored.finish() == plain.finish()
        assert "S3 snapshot mirror armed: Frigate " + version in mirrored.err


def test_an_event_thread_that_crashes_does_so_as_without_the_mirror(
    start: Callable[..., Host],
) -> None:
    environ = {"STANDIN_RAISE": "1", **NOBODY}
    hosts = [start(v, boot=boot, **environ) for v in FORKS_AND_SERVES for boot in (False, True)]
    ends = [host.finish() for host in hosts]
    assert ends[0] == ends[1] and ends[2] == ends[3]
    for host in hosts:
        assert "KeyError: '0.5-nobody'" in host.err


@pytest.mark.parametrize("version", FORKS_AND_SERVES)
def test_a_crashed_event_thread_leaves_no_child_behind_in_a_host_that_runs_on(
    start: Callable[..., Host], version: str
) -> None:
    host = start(version, STANDIN_RAISE="1", STANDIN_LINGER=LINGER, **NOBODY)
    mirror = host.mirror()
    until(lambda: not Path(f"/proc/{mirror}").exists())  # a zombie would still be there
    assert host.process.poll() is None and not host.mirrors()
    assert not [name for name in files_of(host.process.pid).values() if "s3_" in name]


def test_a_hook_that_does_not_arm_prints_one_line_on_stderr(start: Callable[..., Host]) -> None:
    cases = {
        "handle_object_detection, expected": NOBODY | {"STANDIN_SHAPE": "renamed"},
        "frame_name=''), expected": NOBODY | {"STANDIN_SHAPE": "extra-parameter"},
        "asynchronous, expected": NOBODY | {"STANDIN_SHAPE": "async"},
        "frigate.events.external exists, expected": NOBODY | {"STANDIN_SHAPE": "old"},
        "S3_BUCKET is not set": {},
        "MIRROR_ENABLED is false": NOBODY | {"MIRROR_ENABLED": "false"},
    }
    plain = {why: start("0.17", boot=False, **environ) for why, environ in cases.items()}
    ours = {why: start("0.17", **environ) for why, environ in cases.items()}
    for why in cases:
        assert ours[why].finish() == plain[why].finish()
        assert ours[why].err.count("\n") == plain[why].err.count("\n") + 1
        assert re.search(rf"mirror not armed: .*{re.escape(why)}", ours[why].err)


@pytest.mark.parametrize("version", FORKS_AND_SERVES)
def test_a_host_with_the_recording_backfill_alone_prints_and_ends_as_without_it(
    start: Callable[..., Host], version: str
) -> None:
    environ = {"RECORDINGS_BACKFILL_API": "true", "STANDIN_LINGER": LINGER}
    plain, ours = start(version, boot=False, **environ), start(version, **environ)
    until(lambda: "backfill: its API takes requests" in ours.err)
    assert f"S3 snapshot mirror armed: Frigate {version}" in ours.err
    assert "only recording backfill" in ours.err
    [child] = ours.mirrors()
    for host in (plain, ours):
        until(lambda host=host: b"api" in host.out)  # the scenario's last event
        host.process.send_signal(signal.SIGTERM)
    assert ours.finish() == plain.finish()
    until(lambda: not alive(child))


def test_settings_that_the_child_refuses_do_not_change_the_host(
    start: Callable[..., Host],
) -> None:
    plain = start("0.17", boot=False)
    ours = start("0.17", **NOBODY | {"MIRROR_UPLOAD_THREADS": "many"})
    assert ours.finish() == plain.finish()
    assert ours.err.count("wrong setting MIRROR_UPLOAD_THREADS") == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_validating_the_config_starts_nothing(start: Callable[..., Host], version: str) -> None:
    plain = start(version, "--validate-config", boot=False)
    ours = start(version, "--validate-config", **NOBODY)
    assert ours.finish() == plain.finish() == (b"Config is valid\n", 0)
    assert ours.err == plain.err == ""
    assert not ours.clips.parent.exists()


def test_no_program_that_the_host_executes_inherits_the_pipe(start: Callable[..., Host]) -> None:
    host = start("0.17", STANDIN_LINGER=LINGER, **NOBODY)
    mirror = host.mirror()
    pipe = files_of(mirror)["0"]
    assert pipe.startswith("pipe:")
    until(lambda: len(host.family() - {mirror}) >= 2)
    others = host.family() - {mirror}
    assert not [pid for pid in others if pipe in files_of(pid).values()]
    assert list(files_of(host.process.pid).values()).count(pipe) == 2


@pytest.mark.parametrize("version", FORKS_AND_SERVES)
def test_the_mirror_of_a_killed_host_ends_even_if_other_children_live_on(
    start: Callable[..., Host], version: str
) -> None:
    host = start(version, STANDIN_LINGER=LINGER, **NOBODY)
    mirror = host.mirror()
    others = host.family() - {mirror}
    host.process.kill()
    until(lambda: not alive(mirror))
    if version == "0.16":
        assert all(alive(pid) for pid in others)


def test_the_child_has_low_priority_logs_where_the_host_does_and_cannot_arm_again(
    start: Callable[..., Host],
) -> None:
    host = start("0.17", STANDIN_LINGER=LINGER, **NOBODY)
    mirror = host.mirror()
    mine, theirs = files_of(mirror), files_of(host.process.pid)
    assert (mine["1"], mine["2"]) == (theirs["1"], theirs["2"])
    assert os.getpriority(os.PRIO_PROCESS, mirror) >= 10
    environ = Path(f"/proc/{mirror}/environ").read_bytes().split(b"\0")
    assert b"PYTHONPATH=/owners" in environ
    assert os.getsid(mirror) == mirror


def test_a_mirror_that_is_killed_is_started_again(start: Callable[..., Host]) -> None:
    host = start("0.17", STANDIN_LINGER=LINGER, **NOBODY)
    mirror = host.mirror()
    os.kill(mirror, signal.SIGKILL)
    until(lambda: host.err.count("S3 snapshot mirror started") == 2)
    assert "S3 snapshot mirror ended (-9), starting again in 1 s" in host.err
    assert mirror not in host.mirrors()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An endpoint that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_host_that_stops_does_not_wait_for_its_mirror_which_ends_after_its_drain(
    start: Callable[..., Host], black_hole: str
) -> None:
    environ = NOBODY | {"S3_ENDPOINT_URL": black_hole, "STANDIN_LINGER": LINGER}
    pairs = [
        (start(version, boot=False, **environ), start(version, **environ))
        for version in FORKS_AND_SERVES
    ]
    for plain, ours in pairs:
        mirror = ours.mirror()
        for host in (plain, ours):
            until(lambda host=host: b"api" in host.out)  # the scenario's last event
        os.kill(mirror, signal.SIGSTOP)  # a host that waited for it would never end
        for host in (plain, ours):
            host.process.send_signal(signal.SIGTERM)
        assert ours.finish() == plain.finish()
        assert alive(mirror)
        os.kill(mirror, signal.SIGCONT)
        until(lambda pid=mirror: not alive(pid))


STORM = """
import importlib.util, os, signal, sys, threading, types
from pathlib import Path
for name in ("frigate", "frigate.events"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
spec = importlib.util.spec_from_file_location("patcher", sys.argv[1])
patcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(patcher)
patcher.HERE = Path(sys.argv[2])

class EventProcessor:
    def run(self):
        self.handle_object_detection("end", "garage", {"id": "1.5-a", "has_snapshot": True})
        if self.last:
            print("storm over", flush=True)
            signal.pause()
    def handle_object_detection(self, event_type, camera, event_data): pass
    def handle_external_detection(self, event_type, event_data): pass

maintainer = types.ModuleType("frigate.events.maintainer")
maintainer.EventProcessor = EventProcessor
assert patcher.arm(maintainer)
over = threading.Event()

def fork_on():
    for _ in range(150):
        if os.fork() == 0:
            signal.alarm(600)
            while True: signal.pause()
    over.set()

threading.Thread(target=fork_on).start()
processor = EventProcessor()
runs = 0
while not over.is_set() or runs < 15:
    processor.last = False
    processor.run()
    runs += 1
processor.last = True
processor.run()
"""
WATCHER = """
import os, sys
from frigate_mirror.process.system import has_died
from frigate_mirror.sources.pipe import Pipe
with open({log!r}, "a") as log: log.write(str(__import__("os").getpid()) + "\\n")
pipe, parent = Pipe(0), int(os.environ["S3_MIRROR_PARENT"])
while not (pipe.ended or has_died(parent)): pipe.ids(0.2)
"""


def test_a_fork_at_any_moment_never_keeps_a_mirror_alive(tmp_path: Path) -> None:
    log = tmp_path / "pids"
    (tmp_path / "s3_snapshot_mirror.py").write_text(WATCHER.format(log=str(log)))
    storm = subprocess.Popen(
        [sys.executable, "-c", STORM, str(ROOT / "frigate_s3_patcher.py"), str(tmp_path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "S3_BUCKET": "pictures"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert storm.stdout and storm.stdout.readline() == b"storm over\n"
        until(lambda: any(alive(pid) for pid in logged(log)))
        forked = [pid for pid, parent in parents().items() if parent == storm.pid]
        forked = [pid for pid in forked if os.getpgid(pid) == storm.pid]
        assert len(forked) == 150
        storm.kill()
        until(lambda: not any(alive(pid) for pid in logged(log)))
        assert all(alive(pid) for pid in forked)
    finally:
        os.killpg(storm.pid, signal.SIGKILL)
        storm.wait(PATIENCE)
        storm.stdout and storm.stdout.close()


def test_a_worker_forked_while_a_child_starts_does_not_keep_the_next_from_starting(
    tmp_path: Path,
) -> None:
    log = tmp_path / "starts"
    ending = f"open({str(log)!r}, 'a').write('x')\nraise SystemExit(1)\n"
    (tmp_path / "s3_snapshot_mirror.py").write_text(ending)
    program = STORM.replace("patcher.HERE =", "patcher.PAUSES = (0,); patcher.HERE =").replace(
        "self.handle_object", "threading.Thread(target=fork_on).start(); self.handle_object"
    )
    program = program.replace("if self.last", "if True")
    storm = subprocess.Popen(
        [sys.executable, "-c", program, str(ROOT / "frigate_s3_patcher.py"), str(tmp_path)],
        env={"PATH": os.environ["PATH"], "S3_BUCKET": "pictures"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: sum(parent == storm.pid for parent in parents().values()) >= 150)
        starts = len(log.read_text())
        until(lambda: len(log.read_text()) >= starts + 3)
    finally:
        os.killpg(storm.pid, signal.SIGKILL)
        storm.wait(PATIENCE)


def logged(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []
