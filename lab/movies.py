"""python -m lab.movies: compares the mirror's reader of mp4 files with ffprobe.

It makes some hundred files with ffmpeg: H.264 and HEVC, with and without sound, in every form and
with every list of edits of `tests.rig.ffmpeg`. Each whole file must have ffprobe's duration to the
millisecond. Each file must be found cut short at every one of some hundred lengths.

Exit codes: 0 all agree, 1 some do not, 2 the machine has no ffprobe.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from frigate_mirror.mp4 import Mp4Error, read
from tests.rig import ffmpeg

CLOSE = 0.001  # seconds
CUTS = 200  # lengths to which each file is cut


def main() -> int:
    if not ffmpeg.ffprobe():
        print("There is no ffprobe. Install it (Debian: apt-get install ffmpeg).", file=sys.stderr)
        return 2
    files = cut = wrong = 0
    with tempfile.TemporaryDirectory() as name:
        for source in sources(Path(name)):
            for path in ffmpeg.derive(source, Path(name)):
                files += 1
                for complaint in (*compared(path), *unnoticed(path)):
                    wrong += 1
                    print(f"{path.name}: {complaint}")
                cut += CUTS
                path.unlink()
    print(f"{files} whole files and {cut} files cut short: {wrong} differences")
    return 1 if wrong else 0


def sources(folder: Path) -> Iterator[Path]:
    """Yields the few movies that are encoded; all others are copies of their streams."""
    yield ffmpeg.encode(folder / "h264.mp4")
    yield ffmpeg.encode(folder / "between.mp4", between=2, sound=True)
    yield ffmpeg.encode(folder / "ntsc.mp4", rate="30000/1001", keyframes=30, between=3)
    yield ffmpeg.encode(folder / "hevc.mp4", codec="libx265", sound=True)
    yield ffmpeg.encode(folder / "hevc-between.mp4", codec="libx265", rate="25", between=2)


def compared(path: Path) -> Iterator[str]:
    try:
        ours = read(path).duration
    except Mp4Error as error:
        yield f"is whole, but {error}"
        return
    theirs = []
    for seconds in ffmpeg.durations(path):
        if abs(ours - seconds) <= CLOSE:
            return
        theirs.append(f"{seconds:.6f}")
    yield f"has {ours:.6f} s, but ffprobe and ffmpeg say {' and '.join(theirs)}"


def unnoticed(path: Path) -> Iterator[str]:
    """Yields the lengths at which nobody notices that the file is cut. Behind a fragment nobody
    can, so the rest of the file begins with `moof` or `mfra` there."""
    data = path.read_bytes()
    for number in range(CUTS):
        size = len(data) * number // CUTS
        try:
            read(io.BytesIO(data[:size]))
        except Mp4Error:
            continue
        if data[size + 4 : size + 8] not in (b"moof", b"mfra"):
            yield f"seems whole when it is cut to {size} of {len(data)} bytes"


if __name__ == "__main__":
    sys.exit(main())
