"""A recorder whose segments lie on the disk without rows, the backfill as a process, and the judge.

The judge does not know the program. It knows which files were put where, how long they are, and
which rows Frigate has stored.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rig import ROOT, processes
from tests.rig.recorder import IN_FRIGATE, SECONDS, SEGMENT, Recorder
from tests.rig.waiting import until

CAMERA, BUSY = "door", "yard"  # the second one is what Frigate records meanwhile
# The disks of some trials have less room than Frigate wants.
BOTH = ("--camera", CAMERA, "--camera", BUSY, "--even-if-deleted")
EVERY = 10  # seconds from one segment to the next
MOST_LINKS = 60_000  # of one file; ext4 allows 65,000
COMMAND = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "recordings"]
OURS = "id NOT LIKE 'frigate-%' AND id NOT LIKE 'known-%'"
CONTROL = {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))}
WRITER = str(ROOT / "lab" / "campaign" / "hostside" / "storing.py")
STORE = """INSERT INTO recordings (id, camera, path, start_time, end_time, duration, motion,
    objects, dBFS, regions, segment_size) VALUES (?, ?, ?, ?, ?, ?, 7, 0, 0, 0, ?)"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the command that has ended, with a summary for each camera, and what it said on
    stderr."""

    code: int
    summaries: list[dict[str, Any]]
    told: str
    seconds: float
    peak_mb: float

    def count(self, name: str) -> int:
        return sum(one[name] for one in self.summaries)

    @property
    def message(self) -> str:
        return "; ".join(one["message"] for one in self.summaries)


@dataclass
class Scene:
    """A recorder below `folder`, and what the judge knows. `owed` has camera and start of each file
    by the path of its row; `possible` has more that may get one. Frigate's own rows have ids that
    begin with `frigate-` (stored meanwhile) or `known-`."""

    folder: Path
    rng: random.Random
    complaints: list[str] = field(default_factory=list)
    owed: dict[str, tuple[str, int]] = field(default_factory=dict)
    possible: dict[str, tuple[str, int]] = field(default_factory=dict)
    slowest: float = 0.0
    _undoings: list[Callable[[], object]] = field(default_factory=list)

    def open(self) -> None:
        """Makes the recorder. Whatever is to be mounted below the folder is mounted before."""
        self.recorder = Recorder(self.folder, CAMERA, BUSY)
        self.state = self.recorder.state
        # An hour's start, so that counts of hours are whole.
        self.start = int(time.time()) // 3600 * 3600 - 30 * 86_400
        self._masters = 0
        self.size = round(SEGMENT.stat().st_size / 2**20, 2)
        # Rows that are there show the command how Frigate sees the folder.
        self.store([self.start - 1_000])

    # -- files and rows

    def put(self, start: int, camera: str = CAMERA) -> Path:
        """Puts a segment into its place, as a link to one file."""
        path = self.recorder.place(start, camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(self._master(), path)
        return path

    def owe(self, count: int, camera: str = CAMERA) -> None:
        """Puts so many segments without rows, one after the other."""
        for start in range(self.start, self.start + count * EVERY, EVERY):
            self.put(start, camera)
            self.owed[self.recorder.shown(start, camera)] = camera, start

    def store(self, starts: list[int], camera: str = CAMERA) -> None:
        """Adds rows as Frigate makes them."""
        database = self.recorder.database
        database.execute("BEGIN")
        for start in starts:
            path = self.recorder.shown(start, camera)
            row = (f"known-{camera}-{start}", camera, path, start, start + SECONDS, SECONDS)
            database.execute(STORE, (*row, self.size))
        database.execute("COMMIT")

    def forget(self, share: float = 1.0) -> None:
        """Deletes this share of the rows of the backfill, as if they were lost again."""
        lost = [(path,) for path in self.owed if self.rng.random() < share]
        if share == 1.0:
            for file in self.undo_files():
                file.unlink()
        for at in range(0, len(lost), 100):
            database = self.recorder.database
            database.execute("BEGIN IMMEDIATE")
            database.executemany("DELETE FROM recordings WHERE path = ?", lost[at : at + 100])
            database.execute("COMMIT")

    def shrink(self) -> None:
        """Makes the files of the database as small as they can be, so that they must grow again."""
        self.recorder.database.execute("VACUUM")
        self.recorder.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _master(self) -> Path:
        path = self.folder / f"master{self._masters}.mp4"
        if path.exists() and path.stat().st_nlink > MOST_LINKS:
            self._masters += 1
            path = self.folder / f"master{self._masters}.mp4"
        if not path.exists():
            shutil.copyfile(SEGMENT, path)
            os.utime(path, (self.start, self.start))
        return path

    # -- processes

    def begin(self, *words: str, name: str = "run") -> subprocess.Popen[bytes]:
        """Starts a backfill. Its output goes to two files."""
        settings = ["--frigate-config", str(self.recorder.settings)]
        place = ["--recordings-path-in-frigate", IN_FRIGATE]
        chosen = words or ("--camera", CAMERA)
        command = [*COMMAND, "backfill", *chosen, "--json", *settings, *place]
        with self._output(name, "out").open("wb") as out, self._output(name, "err").open("wb") as e:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=e, env=self._environ()
            )

    def wait_for(self, rows: int, process: subprocess.Popen[bytes]) -> None:
        """Waits until there are so many rows of the backfill, or the process has ended."""
        until(lambda: self.added() >= rows or process.poll() is not None, f"{rows} rows")

    def finish(self, process: subprocess.Popen[bytes], name: str = "run") -> Run:
        """Waits for the end of a run. A traceback is always a complaint."""
        began, peak = time.monotonic(), 0.0
        while process.poll() is None:
            with suppress(ProcessLookupError):
                peak = processes.memory(process.pid, "VmHWM")
            time.sleep(0.01)
        out = self._output(name, "out").read_text()
        told = self._output(name, "err").read_text(errors="replace")
        if "Traceback" in told:
            self.complain(f"a traceback: {told[-500:]}")
        if strange := set(out + told) & CONTROL:
            self.complain(f"control characters in its output: {strange}")
        summaries = [json.loads(line) for line in out.splitlines()]
        took = time.monotonic() - began
        return Run(process.returncode, summaries, told, took, peak)

    def run(self, *words: str) -> Run:
        """Runs a backfill to its end. It must count the rows that it adds."""
        before = self.added()
        run = self.finish(self.begin(*words))
        added = self.added() - before
        if run.count("files_added") != added and "--dry-run" not in words:
            self.complain(f"it says {run.count('files_added')} rows, and added {added}")
        return run

    def finished(self) -> None:
        """Runs a last backfill, which must do all that is left, and then undoes everything."""
        run = self.run(*BOTH)
        if run.code:
            self.complain(f"the last run ends with {run.code}: {run.message}")
        self.judge(complete=True)
        self.undo()

    def undo(self) -> None:
        """Undoes all runs. No row of the backfill may be left, and no other one may be gone."""
        others = self._others()
        for file in self.undo_files():
            command = [*COMMAND, "undo", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, env=self._environ())
            if done.returncode:
                self.complain(f"{file.name} cannot be undone: {done.stderr[-300:]}")
        if left := self.added():
            self.complain(f"{left} rows are left after all runs were undone")
        if self._others() != others:
            self.complain(f"{others} rows were Frigate's own, and {self._others()} are left")

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Lets Frigate store rows all the time. Each of them must be stored."""
        command = [sys.executable, "-I", WRITER, str(self.recorder.database_path), BUSY]
        writer = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            yield
        finally:
            out, error = writer.communicate()
        if writer.returncode:
            self.complain(f"Frigate's own writer failed: {error.decode()[-300:]}")
            return
        found = json.loads(out)
        self.slowest = found["slowest"]
        [[there]] = self._ask("SELECT count(*) FROM recordings WHERE id LIKE 'frigate-%'")
        if there != found["stored"]:
            self.complain(f"Frigate stored {found['stored']} rows, and {there} are there")

    def _environ(self) -> dict[str, str]:
        own = self.recorder.environ | {"MIRROR_STATE_DIR": str(self.state)}
        return {"PATH": os.environ["PATH"], **own}

    def _output(self, name: str, kind: str) -> Path:
        folder = self.folder.parent / f"{self.folder.name}-output"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.{kind}"

    # -- the judge

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def judge(self, *, complete: bool) -> int:
        """Looks at every row. Returns how many the backfill has added. With `complete` each file
        must have its row."""
        noted = self.noted()
        paths: Counter[str] = Counter()
        columns = "id, camera, path, start_time, end_time, duration, segment_size, motion"
        for id, camera, path, *values in self._ask(
            f"SELECT {columns} FROM recordings WHERE {OURS} ORDER BY id"
        ):
            paths[path] += 1
            owner, start = self.owed.get(path) or self.possible.get(path) or ("", 0)
            if not owner:
                self.complain(f"a row of a file that there never was: {path!r}")
            elif [camera, *values] != [owner, start, start + SECONDS, SECONDS, self.size, None]:
                self.complain(f"a wrong row of {path}: {camera}, {values}")
            if (id, path) not in noted:
                self.complain(f"no undo file has the row of {path}")
        if twice := [path for path, count in paths.items() if count > 1]:
            self.complain(f"{len(twice)} files have more than one row: {twice[0]}")
        if complete and (missing := self.owed.keys() - paths.keys()):
            self.complain(f"{len(missing)} files have no row: {min(missing)}")
        if (said := self._ask("PRAGMA integrity_check")) != [("ok",)]:
            self.complain(f"the database is damaged: {said[:3]}")
        return len(paths)

    def noted(self) -> set[tuple[str, str]]:
        """Returns id and path of each line of the undo files. Only the last line of a file may be
        cut."""
        found = set()
        for file in self.undo_files():
            *lines, last = file.read_bytes().split(b"\n")
            for line in lines:
                try:
                    noted = json.loads(line)
                    found.add((noted["id"], noted["path"]))
                except (ValueError, KeyError):
                    self.complain(f"{file.name} has a line that is none: {line[:100]!r}")
            if last and b"}" in last:
                self.complain(f"{file.name} ends with a line without an end: {last[:100]!r}")
        return found

    def undo_files(self) -> list[Path]:
        return sorted((self.state / "backfill").glob("undo-*.jsonl"))

    def added(self) -> int:
        """Returns how many rows the backfill has added so far."""
        [[count]] = self._ask(f"SELECT count(*) FROM recordings WHERE {OURS}")
        return int(count)

    def _others(self) -> int:
        [[count]] = self._ask(f"SELECT count(*) FROM recordings WHERE NOT ({OURS})")
        return int(count)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.recorder.database.execute(query).fetchall()

    # -- the end

    def at_close(self, undo: Callable[[], object]) -> None:
        self._undoings.append(undo)

    def close(self) -> None:
        self.recorder.database.close()
        for undo in reversed(self._undoings):
            undo()
        shutil.rmtree(self.folder.parent / f"{self.folder.name}-output", ignore_errors=True)


def kill(process: subprocess.Popen[bytes]) -> bool:
    """Kills the process at once. Returns whether it was still at work."""
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive
