"""What the row `companion` measures with: a Frigate that only its API shows, a remote of rclone,
and the companion as a process."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

from lab.bench.house import Event, House
from lab.bench.processes import LAUNCH, PLAIN, Cost, wait_for_end, wait_until
from tests.rig import ROOT, STANDIN, ffmpeg, processes
from tests.rig.rclone import PASSWORD, USER, Config, Served, obscured

LOCAL, WEBDAV = "local", "WebDAV"
APART = 1.5  # seconds between the starts of two events
NOISE = (280, 208, 20)  # width, height and number of pictures; as H.264 they have 3 MB
SEGMENT = 2  # seconds of a segment, of that noise
KB = 1_000


class Frigate:
    """`events` events of the last hour and a half, each with a snapshot of 30 to 300 KB. Every so
    many of them, `clips` in all, has a clip of 3 MB."""

    def __init__(self, folder: Path, events: int, clips: int) -> None:
        self.house = House(folder)
        first = int(time.time()) - 900 - events * APART
        starts = (first + number * APART for number in range(events))
        self.events = [Event(number, at, at + 1.0) for number, at in enumerate(starts)]
        self.recorded = self.events[:: events // clips]
        rng = random.Random(1)
        for event in self.events:
            self.photograph(event, rng)
        self.house.rows(self.events)
        with closing(sqlite3.connect(self.house.database)) as database, database:
            recorded = [(event.id,) for event in self.recorded]
            database.execute("UPDATE event SET has_clip = 0")
            database.executemany("UPDATE event SET has_clip = 1 WHERE id = ?", recorded)
        movie = _noise(folder)
        for event in self.recorded:
            self.house.record(event.camera, int(event.started), SEGMENT, movie)
        words = [sys.executable, "-m", "lab.bench.frigate", self.house.database, folder]
        self._process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def photograph(self, event: Event, rng: random.Random) -> None:
        path = self.house.clips / f"{event.camera}-{event.id}.jpg"
        path.write_bytes(_picture(rng, rng.randint(30 * KB, 300 * KB)))

    def happen(self, number: int, rng: random.Random) -> Event:
        """Makes an event that ends now, without a clip, as it is when Frigate tells of its end."""
        now = time.time()
        event = Event(number, now - 5.0, now)
        self.photograph(event, rng)
        self.house.rows([event])
        with closing(sqlite3.connect(self.house.database)) as database, database:
            database.execute("UPDATE event SET has_clip = 0 WHERE id = ?", (event.id,))
        return event

    def addresses(self, event: Event) -> Iterator[tuple[str, str]]:
        """Yields what a person would download of an event: an address, and the file's ending."""
        yield f"{self.url}/api/events/{event.id}/snapshot.jpg", ".jpg"
        yield f"{self.url}/api/event_ids?ids={event.id}", ".json"
        if event in self.recorded:
            span = f"start/{int(event.started)}/end/{int(event.started) + SEGMENT}"
            yield f"{self.url}/api/{event.camera}/{span}/clip.mp4", ".mp4"

    def stop(self) -> None:
        self._process.communicate(timeout=10)
        self.house.close()


class Remote:
    """A remote of rclone of one `kind`, LOCAL or WEBDAV. Its files lie in `folder`."""

    def __init__(self, kind: str, room: Path) -> None:
        self.kind = kind
        self.folder = room / "remote"
        self.folder.mkdir()
        self._server = Served("webdav", self.folder) if kind == WEBDAV else None
        self.config = Config(room)
        if self._server is None:
            self.config.add("there", "alias", remote=self.folder)
        else:
            self.config.add("there", "webdav", url=f"http://127.0.0.1:{self._server.port}",
                            vendor="other", user=USER, **{"pass": obscured(PASSWORD)})  # fmt: skip
        self.environ = self.config.environ("there:frigate")

    def empty(self) -> None:
        """Deletes all files. The server starts anew, because it remembers what it has listed."""
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self.folder / "frigate", ignore_errors=True)
        if self._server is not None:
            self._server.start()

    def forbid(self) -> None:
        """Lets nothing be uploaded, until `allow`."""
        if self._server is None:
            self.empty()
            (self.folder / "frigate").write_text("in the way")
        else:
            self._server.stop()

    def allow(self) -> None:
        if self._server is None:
            (self.folder / "frigate").unlink()
        else:
            self._server.start()

    def count(self, ending: str) -> int:
        return sum(1 for _ in self.folder.rglob(f"*{ending}"))

    def last(self) -> float:
        """When the last file got its name or its bytes, in Unix seconds."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return max(path.stat().st_ctime for path in files)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()


class Companion:
    """The companion of a Frigate, with its state in `state`."""

    def __init__(
        self, frigate: Frigate, remote: Remote, state: Path, environ: Mapping[str, str]
    ) -> None:
        self._state = state
        self._remote = remote
        self._result = state.with_name("result")
        for left in (self._result, Path(f"{self._result}.pid")):
            left.unlink(missing_ok=True)
        own = {
            "FRIGATE_URL": frigate.url, "MIRROR_STATE_DIR": str(state), "MIRROR_CLIP_PADDING": "0",
            "MIRROR_SPOOL_LIMIT_MB": "100000", "MIRROR_CLIP_SPOOL_MB": "100000",
            "MIRROR_DRAIN_SECONDS": "0",
        }  # fmt: skip
        words = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "companion"]
        self.log = state.with_name("log")
        with self.log.open("wb") as log:
            self._launched = subprocess.Popen(
                [*LAUNCH, str(self._result), "0", *words], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=PLAIN | remote.environ | own | dict(environ))  # fmt: skip
        self.began = time.time()
        pid = Path(f"{self._result}.pid")
        wait_until(lambda: pid.exists() and pid.read_text(), 10, "the companion's start", 0.001)
        self.pid = int(pid.read_text())

    def wait_for(self, events: int, clips: int, within: float = 900) -> float:
        """Waits until all files of so many events are there. Returns the seconds since its start
        after which the last one was there."""
        wait_until(
            lambda: self._remote.count(".jpg") >= events and self._remote.count(".mp4") >= clips,
            within, self._tail(), 0.25,
        )  # fmt: skip
        done: set[Path] = set()

        def complete() -> bool:
            for path in self._remote.folder.rglob("*.json"):
                with suppress(ValueError):  # it is just being replaced
                    if path not in done and json.loads(path.read_bytes())["complete"]:
                        done.add(path)
            return len(done) >= events

        wait_until(complete, within, self._tail(), 0.25)
        return self._remote.last() - self.began

    def wait_for_pending(self, count: int, within: float = 900) -> None:
        """Waits until so many files wait for their upload."""

        def pending() -> bool:
            try:
                document = json.loads((self._state / ".s3_status.json").read_text())
            except (OSError, ValueError):
                return False
            return bool(document.get("counts", {}).get("pending", 0) >= count)

        wait_until(pending, within, self._tail(), 0.5)

    def memory(self) -> float:
        """The peak of its own memory in megabytes, without rclone's."""
        return processes.memory(self.pid, "VmHWM")

    def stop(self) -> Cost:
        os.kill(self.pid, signal.SIGTERM)
        wait_for_end(self._launched, self._result, 60)
        return Cost(**json.loads(self._result.read_text()))

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *_: object) -> None:
        if self._launched.poll() is None:
            processes.kill(self.pid)
            self._launched.wait(10)

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-500:]


def copy_state(source: Path, target: Path) -> None:
    """Copies a state folder, and links the files of its spool, which never change."""

    def copy(one: str, other: str) -> None:
        held = "/.s3_spool/" in one and not one.endswith(".json")
        (os.link if held else shutil.copy2)(one, other)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=copy)


def _picture(rng: random.Random, size: int) -> bytes:
    """Returns a picture of about `size` bytes. Most of them stand in comments."""
    picture = (STANDIN / "pictures" / "garage.jpg").read_bytes()
    comments = b""
    while (left := size - len(picture) - len(comments)) > 4:
        own = rng.randbytes(min(left, 60 * KB))
        comments += b"\xff\xfe" + struct.pack(">H", len(own) + 2) + own
    return picture[:2] + comments + picture[2:]


def _noise(folder: Path) -> Path:
    """Returns a video of SEGMENT seconds and 3 MB."""
    width, height, count = NOISE
    noise, movie = folder / "noise", folder / "noise.mp4"
    noise.write_bytes(random.Random(1).randbytes(width * height * 3 // 2 * count))
    ffmpeg.run("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r",
               str(count // SEGMENT), "-i", noise, "-c:v", "libx264", "-preset", "ultrafast",
               "-qp", "1", "-g", "10", movie)  # fmt: skip
    return movie
