"""A recorder of cameras as its owner has it: a configuration, folders, and processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.rig import ROOT, processes
from tests.rig.ffmpeg import durations, ffmpeg, pictures
from tests.rig.waiting import PATIENCE, until

PROGRAM = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "recorder"]


class Recording:
    """A recorder below `folder`. `cameras` are addresses by name, and `more` further sections or
    values of the configuration, as {"upload": {"check_interval": 5}}."""

    def __init__(
        self,
        folder: Path,
        cameras: Mapping[str, str | Mapping[str, Any]],
        s3: Mapping[str, str] | None = None,
        **more: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.segments = folder / "segments"
        self.config = folder / "config.yaml"
        listed = [
            {"name": name, **({"rtsp_url": camera} if isinstance(camera, str) else camera)}
            for name, camera in cameras.items()
        ]
        document: dict[str, Any] = {
            "storage": {"local_path": str(self.segments)},
            "s3": dict(s3 or {"bucket": "nowhere", "endpoint": "http://127.0.0.1:1"}),
            "cameras": listed,
            "recording": {"segment_duration": 10, "ffmpeg": ffmpeg()},
            "mirror": {"MIRROR_LOG_LEVEL": "DEBUG"},
        }
        for name, section in more.items():
            document[name] = {**document.get(name, {}), **section}
        self.config.write_text(yaml.safe_dump(document))
        self.config.chmod(0o600)
        self.log = folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """Starts `recorder run` with these further words."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*PROGRAM, "run", "--config", str(self.config), *words],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environ},
                cwd="/",
            )
        self.processes.append(process)
        return process

    def tell(self, what: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs another command of the recorder."""
        return subprocess.run(
            [*PROGRAM, what, "--config", str(self.config), *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Ends a process in order; returns its exit code."""
        process.terminate()
        return process.wait(PATIENCE)

    def end(self) -> None:
        """Ends everything that still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def ffmpegs(self) -> list[int]:
        """The processes of ffmpeg that these recorders have started."""
        ours = {process.pid for process in self.processes}
        return [
            pid
            for pid, parent in processes.parents().items()
            if parent in ours and processes.runs(pid, "-flush_packets")
        ]

    def files(self, camera: str) -> list[Path]:
        """The finished segments of a camera, in the order of their names."""
        return sorted((self.segments / camera).glob("[0-9]*"))

    def growing(self, camera: str) -> int:
        """How many bytes the segment of a camera has that grows, or 0 if there is none."""
        for path in (self.segments / camera).glob(".*.growing"):
            with suppress(FileNotFoundError):  # finished in this moment
                return path.stat().st_size
        return 0

    def lines(self, camera: str) -> Iterator[dict[str, Any]]:
        """The lines of a camera's diary."""
        for path in sorted((self.segments / camera / ".diary").glob("*.jsonl")):
            yield from map(json.loads, path.read_text().splitlines())

    def gaps(self, camera: str) -> list[dict[str, Any]]:
        return [line for line in self.lines(camera) if "gap" in line]

    def records(self, camera: str) -> None:
        """Waits until the segment of a camera grows."""
        before = self.growing(camera)
        until(lambda: self.growing(camera) not in (0, before), lambda: self.log.read_text())


def started(path: Path) -> float:
    """When a segment starts, in Unix seconds, as its name says."""
    stamp = datetime.strptime(path.name[:15], "%Y%m%d_%H%M%S")
    return stamp.replace(tzinfo=UTC).timestamp()


def length(path: Path) -> float:
    """The seconds that the pictures of a segment last. All of it must decode without a
    complaint."""
    assert pictures(path)
    return next(durations(path))


def span(paths: list[Path]) -> tuple[float, float]:
    """The seconds from the start of the first segment to the end of the last, and how many of them
    the segments lack."""
    whole = started(paths[-1]) + length(paths[-1]) - started(paths[0])
    return whole, whole - sum(map(length, paths))
