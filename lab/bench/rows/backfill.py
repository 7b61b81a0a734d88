"""Backfill: files a second, and the cost and the memory as the number of files grows.

The files are segments of ten seconds. ffmpeg makes one as Frigate's own commands do, and the others
are links to it or to a copy (a file system allows 65,000 links of a file). So all content comes
from the page cache: the figures say what programs compute, and a real disk adds the same to each.
None of the files has a row. The command makes a dry run, in which it does everything but write.
Frigate's database is empty, so each file is looked for in it, read, compared with its neighbours,
and judged by the retention. The time is that of the whole process with its start.

ffprobe is started once for each of 200 files and asked for the duration, as a script does and as
Frigate itself does where OpenCV fails. PyAV reads the duration of the same 200 files in one
process. Both open, read and print, and neither looks into any database. For the growth, the same
command looks at longer and longer spans of one folder; the sizes take turns. The last figure is a
real run into an empty database. Its limit is the pause of 50 ms behind each 100 rows, which lets
Frigate write.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.bench import RIVALS
from lab.bench.figures import Figure, at_least, at_most, below, interleaved
from lab.bench.lab import Lab
from lab.bench.processes import BenchError, Cost, measured
from tests.rig import ROOT, ffmpeg
from tests.rig.recorder import IN_FRIGATE, Recorder

CAMERA = "door"
EVERY = 10  # seconds of a segment
LINKS = 20_000  # of one file
ROWS, PAUSE = 100, 0.05  # rows of a transaction, and seconds behind it
TIMES = 100  # times faster than ffprobe
GROWTH = 10  # megabytes
WITHIN = 3_600  # seconds for one run
COMMAND = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "recordings", "backfill"]
SCRIPTS = ROOT / "lab" / "bench" / "rivals"


def run(lab: Lab) -> Iterator[Figure]:
    if not ffmpeg.ffprobe():
        raise BenchError("there is no ffprobe (Debian: apt-get install ffmpeg)")
    files, sizes = lab.size(1_000, 20_000), [10_000, 100_000, 1_000_000]
    if lab.size(1, 0):
        sizes = [1_000, 2_000]
    folder = Folder(lab, sizes[-1])
    yield from _speed(lab, folder, files)
    yield from _growth(lab, folder, sizes)
    yield from _rows(lab, folder, lab.size(500, 10_000))
    folder.close()


class Folder:
    """A recorder with so many files and no rows. It is removed in the end."""

    def __init__(self, lab: Lab, files: int) -> None:
        self._lab = lab
        self._room = lab.room("recordings")
        self._recorder = Recorder(self._room, CAMERA)
        # All of them are old enough, and kept.
        self._start = (int(time.time()) - files * EVERY) // 3600 * 3600 - 86_400
        self.paths: list[Path] = []
        segment = made(self._room)
        for number in range(files):
            if number % LINKS == 0:
                original = self._room / f"{number}.mp4"
                shutil.copyfile(segment, original)
                os.utime(original, (self._start, self._start))
            path = self._recorder.place(self._start + number * EVERY, CAMERA)
            if number % 360 == 0:
                path.parent.mkdir(parents=True)
            os.link(original, path)
            if number < LINKS:
                self.paths.append(path)

    def backfill(self, files: int, *words: str) -> Cost:
        """Lets the command look at so many of the files. It must find that none has a row."""
        span = ["--end-time", str(self._start + files * EVERY)]
        known = ["--frigate-config", str(self._recorder.settings)]
        place = ["--recordings-path-in-frigate", IN_FRIGATE]
        command = [*COMMAND, "--camera", CAMERA, "--json", *span, *known, *place, *words]
        cost = measured(command, self._room, self._recorder.environ, WITHIN)
        said = (self._room / "output").read_text().splitlines()
        added = json.loads(next(line for line in said if line.startswith("{")))["files_added"]
        if added != files:
            raise BenchError(f"{added} of {files} files got a row")
        return cost

    def add(self, files: int) -> float:
        """Adds rows for so many files, and removes them. Returns the rows a second."""
        cost = self.backfill(files)
        self._recorder.database.execute("DELETE FROM recordings")
        return files / cost.took

    def close(self) -> None:
        self._recorder.database.close()
        shutil.rmtree(self._room)


def made(folder: Path) -> Path:
    """Makes a segment by Frigate's commands: one cuts the camera's stream, and another one puts the
    index to the front (preset-record-generic, and the maintainer, v0.17.2)."""
    stream = ffmpeg.encode(
        folder / "stream.mp4", 2 * EVERY, size="1280x720", rate="10", codec="libx264", keyframes=20
    )
    cut = ["-f", "segment", "-segment_time", str(EVERY), "-segment_format", "mp4"]
    form = ["-reset_timestamps", "1", "-c", "copy", "-an"]
    ffmpeg.run("-i", stream, *cut, *form, folder / "cut%d.mp4")
    ffmpeg.run("-i", folder / "cut0.mp4", "-c", "copy", "-movflags", "+faststart",
               folder / "segment.mp4")  # fmt: skip
    return folder / "segment.mp4"


def _speed(lab: Lab, folder: Folder, files: int) -> Iterator[Figure]:
    count = lab.size(10, 200)
    few = folder.paths[:: len(folder.paths) // count][:count]
    listed = lab.folder / "few"
    listed.write_text("".join(f"{path}\n" for path in few))
    probe = [sys.executable, str(SCRIPTS / "with_ffprobe.py"), ffmpeg.ffprobe(), str(listed)]
    pyav = [str(RIVALS / "python"), str(SCRIPTS / "with_av.py"), str(listed)]
    found = interleaved(
        lab.size(1, 3),
        ours=lambda: files / folder.backfill(files, "--dry-run").took,
        ffprobe=lambda: count / measured(probe, lab.folder).took,
        pyav=lambda: count / measured(pyav, lab.folder).took,
    )
    name = f"files/s, {files:,} files"
    yield Figure(name, "1/s", found["ours"], f"ffprobe, {count} files", found["ffprobe"],
                 at_least(TIMES))  # fmt: skip
    yield Figure(name, "1/s", found["ours"], f"PyAV, {count} files", found["pyav"])


def _growth(lab: Lab, folder: Folder, sizes: list[int]) -> Iterator[Figure]:
    costs: dict[int, list[Cost]] = {size: [] for size in (1_000, *sizes)}

    def measure(size: int) -> Callable[[], float]:
        def one() -> float:
            costs[size].append(folder.backfill(size, "--dry-run"))
            return 1_000 * costs[size][-1].cpu / size

        return one

    found = interleaved(lab.size(1, 2), **{str(size): measure(size) for size in costs})
    for size in sizes:
        took = [cost.took for cost in costs[size]]
        yield Figure(f"time for {size:,} files", "s", took)
    for size in sizes[1:]:
        yield Figure(f"CPU per 1,000 files, {size:,} files", "s", found[str(size)],
                     f"{sizes[0]:,} files", found[str(sizes[0])], at_most(1.1))  # fmt: skip
    many, few = ([one.peak_mb for one in costs[size]] for size in (sizes[-1], 1_000))
    growth = [after - before for after, before in zip(many, few, strict=True)]
    yield Figure(f"growth of the memory from 1,000 to {sizes[-1]:,} files", "MB", growth,
                 goal=below(GROWTH), note=f"peak {max(many):.0f} MB")  # fmt: skip


def _rows(lab: Lab, folder: Folder, files: int) -> Iterator[Figure]:
    rates = [folder.add(files) for _ in range(lab.size(1, 3))]
    yield Figure(f"rows/s, {files:,} rows added", "1/s", rates, "the pauses alone",
                 [ROWS / PAUSE] * len(rates))  # fmt: skip
