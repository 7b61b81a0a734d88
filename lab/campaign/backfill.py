"""python -m lab.campaign.backfill: the backfill of recordings under faults.

Each trial has a recorder of its own, whose segments lie on the disk without rows. The command runs
as a process, and while it does, a fault strikes. Meanwhile another process stores rows as Frigate
does. Then a judge (`rowless.py`) that does not know the program looks at every row, and at the
undo files. A last run must do all that is left, and undoing all runs must leave what Frigate had.

Exit codes: 0 nothing was wrong; 1 something was; 2 nothing was wrong, but this machine allows no
mounts, which the trials of a full disk need.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.campaign import mounts
from lab.campaign.mounts import BALLAST, LOOP, MB, MOUNTS
from lab.campaign.rowless import BOTH, BUSY, CAMERA, EVERY, Run, Scene, kill
from tests.rig.recorder import Recorder

HOUR = 3_600
SOME = 1_500  # files; with them a run takes some seconds
LINES = 16_384  # bytes; a batch has some 11,000 in the undo file, and far more in the database
GROWTH = 10.0  # MB that many files may need more than few


@dataclass(frozen=True)
class Trial:
    """`play` does it and returns what it saw, in a few words. `amount` is how often or how much in
    the campaign, `little` the same in the tests. `needs` is one of `mounts.NEEDS`."""

    name: str
    play: Callable[[Scene, int], str]
    amount: int
    little: int
    needs: str = ""


# -- the process


def killed(scene: Scene, times: int) -> str:
    """The backfill is killed at random moments."""
    scene.open()
    scene.owe(SOME)
    before = within = behind = 0
    with scene.storing():
        whole = scene.run().seconds
        scene.judge(complete=True)
        scene.forget()
        for _ in range(times):
            there = scene.added()
            process = scene.begin()
            if scene.rng.random() < 0.7:  # the others may be killed while they start
                scene.wait_for(there + 1, process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(scene.rng.uniform(0, 0.7 * whole))
            kill(process)
            now = scene.judge(complete=False)
            before += now == there
            within += there < now < SOME
            behind += there < now == SOME
            if now == SOME or scene.rng.random() < 0.3:
                scene.forget(scene.rng.choice((0.3, 1.0)))
    scene.finished()
    return (
        f"{before} before a row was added, {within} in between, {behind} behind the last one; "
        f"Frigate's slowest row took {1_000 * scene.slowest:.0f} ms"
    )


# -- Frigate's database


def locked(scene: Scene, seconds: int) -> str:
    """Another program locks Frigate's database."""
    scene.open()
    scene.owe(SOME)
    with scene.storing(), closing(_connection(scene)) as other:
        process = scene.begin()
        scene.wait_for(100, process)
        other.execute("BEGIN EXCLUSIVE")
        before = scene.added()
        time.sleep(seconds)
        if scene.added() != before or process.poll() is not None:
            scene.complain("it did not wait for the lock")
        other.execute("COMMIT")
        run = scene.finish(process)
    if run.code or run.count("files_added") != SOME:
        scene.complain(f"ends with {run.code}: {run.message}")
    if seconds > 35 and "waits for the database" not in run.told:
        scene.complain("it did not say what it waits for")
    scene.finished()
    return f"locked for {seconds} s; {SOME - before} rows came afterwards"


def replaced(scene: Scene, times: int) -> str:
    """Frigate's database is replaced by another file, with nobody else at work."""
    scene.open()
    scene.owe(SOME)
    whole = scene.run().seconds
    scene.forget()
    told = 0
    for number in range(times):
        other = scene.folder / "other.db"
        with closing(sqlite3.connect(other)) as new:
            scene.recorder.database.backup(new)
        process = scene.begin()
        time.sleep(scene.rng.uniform(0, whole))
        before = scene.added()
        _replace(scene.recorder, other, scene.folder / f"old{number}.db")
        run = scene.finish(process)
        told += "was replaced by another file" in run.message
        if run.code not in (0, 1) or (run.code == 1) == _well(run):
            scene.complain(f"ends with {run.code}: {run.message}")
        if run.code == 0 and SOME not in (before, scene.added()):
            scene.complain("it says that all is well, but its rows are in neither database")
        scene.judge(complete=False)
        scene.forget(scene.rng.choice((0.0, 1.0)))
    if times > 5 and not told:
        scene.complain("no run noticed it")
    scene.finished()
    return f"{told} runs ended early and said so; the others ended before, or began behind it"


def _replace(recorder: Recorder, new: Path, old: Path) -> None:
    recorder.database.close()
    for ending in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{recorder.database_path}{ending}", f"{old}{ending}")
    new.rename(recorder.database_path)
    recorder.database = sqlite3.connect(recorder.database_path, isolation_level=None)
    recorder.database.execute("PRAGMA journal_mode=WAL")


def many(scene: Scene, files: int) -> str:
    """There are very many files and five times as many rows."""
    scene.open()
    starts = range(scene.start, scene.start + files * EVERY, EVERY)
    for start in starts:
        scene.put(start)
    scene.store([start for start in starts if start // EVERY % 10])
    for start in starts:
        if not start // EVERY % 10:
            scene.owed[scene.recorder.shown(start, CAMERA)] = CAMERA, start
    scene.store(list(range(scene.start, scene.start + 4 * files * EVERY, EVERY)), BUSY)
    hour = str(scene.recorder.place(scene.start, CAMERA).parent.parent)
    few = scene.run("--camera", CAMERA, "--dry-run", "--directory", hour)
    with scene.storing():
        run = scene.run()
    if run.code:
        scene.complain(f"ends with {run.code}: {run.message}")
    if run.peak_mb - few.peak_mb > GROWTH:
        scene.complain(f"{run.peak_mb:.0f} MB with many files, {few.peak_mb:.0f} with few")
    if run.count("total_files_scanned") != files:
        scene.complain(f"it saw {run.count('total_files_scanned')} of {files} files")
    scene.finished()
    return (
        f"{run.count('files_added'):,} rows in {run.seconds:.0f} s, peak {run.peak_mb:.0f} MB, "
        f"{few.peak_mb:.0f} MB for one hour"
    )


# -- the disk


def full(scene: Scene, times: int) -> str:
    """The disk of Frigate's database and of the undo files becomes full."""
    mounts.small(scene, scene.folder, 16 * MB)
    return _on_small_disk(scene, times, scene.folder, 12 * LINES)


def full_for_undo(scene: Scene, times: int) -> str:
    """The disk of the undo files becomes full."""
    mounts.small(scene, scene.folder / "state", MB // 2)
    return _on_small_disk(scene, times, scene.folder / "state", LINES)


def failing_for_undo(scene: Scene, times: int) -> str:
    """The disk of the undo files takes no more, which is EIO and not ENOSPC."""
    behind = mounts.dying(scene, scene.folder / "state", MB // 2)
    return _on_small_disk(scene, times, behind, 1)


def _on_small_disk(scene: Scene, times: int, disk: Path, left: int) -> str:
    """Lets the disk become full now and then. It then has fewer than `left` bytes."""
    scene.open()
    scene.owe(SOME // 2)
    scene.owe(SOME // 4, BUSY)
    told = 0
    for _ in range(times):
        with _meanwhile(_Tide(scene, disk, left)):
            run = scene.run(*BOTH)
        full = any(why in run.message for why in ("full", "No space", "Input/output error"))
        told += full
        if run.code not in (0, 1, 2) or (run.code == 0 and not _well(run)):
            scene.complain(f"ends with {run.code}: {run.message}")
        there = scene.judge(complete=False)
        if there < len(scene.owed) and not full:
            scene.complain(f"it does not say that the disk is full: {run.message}")
        if there == len(scene.owed) or scene.rng.random() < 0.3:
            scene.forget(scene.rng.choice((0.3, 1.0)))
        scene.shrink()
    scene.finished()
    return f"{told} runs ended early and said so"


class _Mischief(Protocol):
    def make(self, over: threading.Event) -> None:
        """Makes mischief until `over` is set, and ends it then."""


@contextmanager
def _meanwhile(mischief: _Mischief) -> Iterator[None]:
    over = threading.Event()
    # In this thread's namespace of mounts, which a new thread shares.
    thread = threading.Thread(target=mischief.make, args=[over])
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Tide:
    """Lets a disk become full, nearly full, and empty again."""

    def __init__(self, scene: Scene, disk: Path, left: int) -> None:
        self._disk = disk
        self._left = left
        self._rng = random.Random(scene.rng.random())

    def make(self, over: threading.Event) -> None:
        # A batch takes some 60 ms, and the next camera may find room again.
        while not over.wait(self._rng.uniform(0, 0.1)):
            mounts.fill(self._disk)
            ballast = self._disk / BALLAST
            size = ballast.stat().st_size
            os.truncate(ballast, max(0, size - self._rng.randrange(self._left)))
            over.wait(self._rng.uniform(0, 0.1))
            mounts.empty(self._disk)


# -- the recordings folder


def vanished(scene: Scene, times: int) -> str:
    """The disk with the recordings is unmounted, so that an empty folder is in its place."""
    scene.open()
    scene.owe(SOME)
    root, away = scene.recorder.root, scene.folder / "away"
    for _ in range(times):
        process = scene.begin()
        scene.wait_for(100, process)
        root.rename(away)
        root.mkdir()
        run = scene.finish(process)
        root.rmdir()
        away.rename(root)
        if run.code != 1 or "another folder has taken its place" not in run.message:
            scene.complain(f"ends with {run.code}: {run.message}")
        scene.judge(complete=False)
        scene.forget()
    scene.finished()
    return "each run ended with an error that says so"


def changing(scene: Scene, times: int) -> str:
    """Files and folders come and go while they are read."""
    scene.open()
    scene.owe(SOME // 2)
    changes = _Changes(scene)
    with _meanwhile(changes):
        for _ in range(times):
            run = scene.run()
            if run.code not in (0, 1) or not _well(run):
                scene.complain(f"ends with {run.code}: {run.message}")
            scene.judge(complete=False)
            scene.forget(scene.rng.choice((0.0, 0.5)))
    scene.finished()
    return f"{changes.made:,} changes meanwhile"


class _Changes:
    """Changes the folder, and leaves it with all files that are owed."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._rng = random.Random(scene.rng.random())
        self._free = scene.start + SOME * EVERY  # hours without files that are owed
        self._there: list[int] = []
        self.made = 0

    def make(self, over: threading.Event) -> None:
        steps = (self._come, self._come, self._go, self._move_camera, self._move_hour, self._file)
        while not over.wait(0.001):
            try:
                self._rng.choice(steps)()
            except OSError as error:
                self._scene.complain(f"the campaign stumbled: {error!r}")
                break
            self.made += 1
        while self._there:
            self._go()

    def _come(self) -> None:
        start = self._rng.randrange(self._free, self._free + 4 * HOUR, EVERY)
        if start not in self._there:
            # The judge must know it before the backfill can see it.
            self._scene.possible[self._scene.recorder.shown(start, CAMERA)] = CAMERA, start
            self._scene.put(start)
            self._there.append(start)

    def _go(self) -> None:
        if self._there:
            start = self._there.pop(self._rng.randrange(len(self._there)))
            path = self._scene.recorder.place(start, CAMERA)
            path.unlink()
            with suppress(OSError):
                path.parent.rmdir()
                path.parent.parent.rmdir()

    def _move_camera(self) -> None:
        self._move(self._some_hour() / CAMERA)

    def _move_hour(self) -> None:
        self._move(self._some_hour())

    def _move(self, place: Path) -> None:
        away = self._scene.folder / "away"
        with suppress(FileNotFoundError):
            place.rename(away)
            time.sleep(self._rng.uniform(0, 0.01))
            away.rename(place)

    def _file(self) -> None:
        """Puts a file into the place of a folder for a moment."""
        place, away = self._some_hour() / CAMERA, self._scene.folder / "away"
        with suppress(FileNotFoundError):
            place.rename(away)
            place.touch()
            place.unlink()
            away.rename(place)

    def _some_hour(self) -> Path:
        start = self._rng.randrange(self._scene.start, self._free + 4 * HOUR)
        return self._scene.recorder.place(start, CAMERA).parent.parent


def hostile(scene: Scene, names: int) -> str:
    """Names and kinds of files that nobody expects lie among the segments."""
    scene.open()
    scene.owe(20)
    secret = scene.folder / "secret"
    outside = scene.recorder.place(scene.start, CAMERA).parent
    shutil.copytree(outside, secret)
    errors = _strange_files(scene, names) + _strange_folders(scene, secret)
    run = scene.run()
    if run.code != 1 or run.count("files_errors") != errors:
        scene.complain(f"{errors} things are strange, but: {run.message}")
    scene.judge(complete=True)
    scene.undo()
    return f"{errors} strange things, each named once, and {len(scene.owed)} rows"


def _strange_files(scene: Scene, names: int) -> int:
    """Puts strange files beside segments. Returns how many there are."""
    folder = scene.recorder.place(scene.start, CAMERA).parent
    few = [b"\x1b[2J.mp4", b"00.00.mp4\n", b"\xff\xfe.mp4", b"x" * 255, b"..mp4", b"...", b"-rf",
           b"00.60.mp4", b"00.00.MP4", b"$(reboot).mp4", "\u202e4pm.00.00".encode(), b"%s%n.mp4",
           "3\u0660.00.mp4".encode(), b'"},{".mp4', b"00.00.mp4\r2026"]  # fmt: skip
    some = {scene.rng.randbytes(scene.rng.randrange(6, 200)) for _ in range(names)}
    chosen = {*few, *(name.translate(None, b"/\0") for name in some)}
    for name in chosen:
        with open(os.path.join(os.fsencode(folder), name), "xb"):
            pass
    other = scene.recorder.place(scene.start + HOUR, CAMERA).parent
    other.mkdir(parents=True)
    os.mkfifo(other / "00.00.mp4")
    descriptor = os.open(other, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as one:  # the whole path may be too long for a socket
        one.bind(f"/proc/self/fd/{descriptor}/00.10.mp4")
    os.close(descriptor)
    (other / "00.20.mp4").mkdir()
    (other / "00.30.mp4").symlink_to("/etc/passwd")
    (other / "00.40.mp4").symlink_to("nothing.mp4")
    (other / "00.50.mp4").symlink_to("00.50.mp4")
    with (other / "01.00.mp4").open("wb") as file:
        file.truncate(1 << 40)
    os.utime(other / "01.00.mp4", (scene.start, scene.start))
    return len(chosen) + 7


def _strange_folders(scene: Scene, secret: Path) -> int:
    """Puts strange folders beside others. Returns how many errors that means."""
    start = scene.start + 50 * HOUR
    link, camera, hour, file = (
        scene.recorder.place(start + number * HOUR, CAMERA).parent for number in range(4)
    )
    camera.parent.mkdir(parents=True)
    camera.symlink_to(secret)
    for place in (link.parent, hour.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
    link.parent.symlink_to(secret.parent)
    hour.parent.touch()
    file.parent.mkdir(parents=True)
    file.touch()
    root = scene.recorder.root
    (root / "2020-01-01").symlink_to(scene.folder)
    (root / "2020-01-02").touch()
    for name in ("2020-02-30/00", "2020-01-03/24", "202\u0660-01-01/00", "2020-1-1/00", "\x1b[2J"):
        shutil.copytree(secret, root / name / CAMERA)
    # A file in the place of an hour is told for each stream.
    return 1 + 1 + 2 + 1 + 1 + 1


# -- all of them


def _connection(scene: Scene) -> sqlite3.Connection:
    return sqlite3.connect(scene.recorder.database_path, timeout=60, isolation_level=None)


def _well(run: Run) -> bool:
    """Whether it says that it did all that was to be done, apart from files with errors."""
    return bool(run.summaries) and all(one["success"] for one in run.summaries)


TRIALS = (
    Trial("killed at random moments", killed, 200, 4),
    Trial("database locked", locked, 60, 1),
    Trial("database replaced", replaced, 30, 3),
    Trial("many files and rows", many, 200_000, 2_000),
    Trial("disk full", full, 30, 4, MOUNTS),
    Trial("disk full, undo files only", full_for_undo, 30, 4, MOUNTS),
    Trial("disk fails, undo files only", failing_for_undo, 30, 3, LOOP),
    Trial("recordings folder vanishes", vanished, 10, 1),
    Trial("recordings folder changes", changing, 30, 2),
    Trial("hostile names", hostile, 5_000, 200),
)


def make(trial: Trial, folder: Path, seed: str, amount: int) -> tuple[str, list[str]]:
    """Makes a trial in an empty folder. Returns what it saw, and what was wrong."""
    scene = Scene(folder, random.Random(seed))
    found: list[str] = []

    def play() -> None:
        try:
            found.append(trial.play(scene, amount))
        finally:
            scene.close()

    thread = threading.Thread(target=play)  # mounts belong to the thread that makes them
    thread.start()
    thread.join()
    if not found:
        scene.complain("the campaign stumbled")
    return "".join(found), scene.complaints


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.campaign.backfill", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these trials")
    parser.add_argument("--seed", type=int, default=1, help="what everything random comes from")
    parser.add_argument("--scale", type=float, default=1.0, help="times as much of each")
    arguments = parser.parse_args(argv)
    wrong = skipped = 0
    print("| trial | amount | what was seen | wrong |\n|---|---:|---|---:|")
    for trial in TRIALS:
        if arguments.only and trial.name not in arguments.only:
            continue
        amount = max(1, round(trial.amount * arguments.scale))
        if trial.needs and (why := mounts.lacking(trial.needs)):
            skipped += 1
            print(f"| {trial.name} | | skipped: {why} | |", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as name:
            folder = Path(name) / "recorder"
            folder.mkdir()
            began = time.monotonic()
            saw, complaints = make(trial, folder, f"{arguments.seed}:{trial.name}", amount)
            took = time.monotonic() - began
        wrong += len(complaints)
        saw += f" ({took:.0f} s)"
        print(f"| {trial.name} | {amount:,} | {saw} | {len(complaints)} |", flush=True)
        print(*complaints[:10], sep="\n", file=sys.stderr, flush=True)
    return 1 if wrong else 2 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
