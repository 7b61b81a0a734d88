"""ffmpeg and ffprobe, and small recordings that ffmpeg makes.

`make test` installs imageio-ffmpeg, which brings an ffmpeg but no ffprobe, where the machine has
no ffmpeg of its own.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"


@functools.cache
def ffmpeg() -> str:
    """The path of the machine's ffmpeg, or of the one in the tests' environment."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg
    except ImportError:
        raise RuntimeError(
            "There is no ffmpeg. Install it (Debian: apt-get install ffmpeg), or install "
            "requirements/ffmpeg.lock with pip."
        ) from None
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def ffprobe() -> str:
    """The path of the machine's ffprobe; empty if there is none."""
    return shutil.which("ffprobe") or ""


def run(*words: str | Path) -> None:
    """Runs ffmpeg, which must succeed."""
    quiet = [ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    done = subprocess.run([*quiet, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def durations(path: Path) -> Iterator[float]:
    """Yields how many seconds the video has: as ffprobe says if there is one, and by the packets
    that ffmpeg reads. A Matroska file does not tell it of a single track.

    ffprobe counts what is hidden before time 0, and in a file with an index of its fragments it
    repeats what the index says. The packets tell nothing of a last picture that is shown longer.
    """
    if ffprobe() and path.suffix != ".mkv":
        shown = ("-show_entries", "stream=start_time,duration", "-of", "default=nk=1:nw=1")
        words = [ffprobe(), "-v", "error", "-select_streams", "v:0", *shown, str(path)]
        start, seconds = subprocess.check_output(words, text=True).split()[:2]
        yield float(seconds) + min(0.0, float(start))
    words = [ffmpeg(), "-loglevel", "error", "-copyts", "-i", str(path), "-map", "0:v:0"]
    words += ["-c", "copy", "-avoid_negative_ts", "disabled"]
    lines = subprocess.check_output([*words, "-f", "framecrc", "-"], text=True).splitlines()
    [scale] = [line.split()[-1] for line in lines if line.startswith("#tb ")]
    above, below = map(int, scale.split("/"))
    fields = [line.split(",") for line in lines if not line.startswith("#")]
    packets = [(int(one[2]), int(one[3])) for one in fields]
    # What a player shows begins at time 0.
    yield sum(min(long, max(0, at + long)) for at, long in packets) * above / below


def told_length(path: Path) -> float:
    """How many seconds the file says that it has."""
    words = [ffmpeg(), "-hide_banner", "-i", str(path)]
    told = subprocess.run(words, capture_output=True, text=True).stderr
    [(hours, minutes, seconds)] = re.findall(r"Duration: (\d+):(\d+):([\d.]+),", told)
    return int(hours) * 3_600 + int(minutes) * 60 + float(seconds)


def pictures(path: Path) -> list[str]:
    """Every picture of the video as a digest. The whole file must decode without a complaint."""
    words = [ffmpeg(), "-nostdin", "-loglevel", "warning", "-i", str(path), "-map", "0"]
    words += ["-fps_mode", "passthrough", "-f", "framemd5", "-"]
    done = subprocess.run(words, capture_output=True, text=True)
    # A file with a G.711 track does not say which speaker it is for.
    said = [line for line in done.stderr.splitlines() if "Guessed Channel Layout" not in line]
    assert (done.returncode, said) == (0, [])
    lines = [line.split(",") for line in done.stdout.splitlines() if not line.startswith("#")]
    return [line[5].strip() for line in lines if line[0] == "0"]


def encode(
    path: Path,
    seconds: float = 6,
    *,
    rate: str = "10",
    size: str = "160x120",
    codec: str = "libx264",
    between: int = 0,
    keyframes: int = 10,
    sound: bool = False,
) -> Path:
    """Encodes a moving test picture. A keyframe comes every `keyframes` pictures, and up to
    `between` pictures refer to a later one."""
    video = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate={rate}"]
    audio = ["-f", "lavfi", "-i", "sine=frequency=400:sample_rate=16000", "-c:a", "aac"]
    options = ["-preset", "ultrafast", "-g", str(keyframes), "-bf", str(between)]
    if codec == "libx264":
        options += ["-sc_threshold", "0", "-b_strategy", "0"]
    else:
        options += ["-x265-params", f"log-level=none:bframes={between}:scenecut=0"]
    last = ["-t", str(seconds), "-c:v", codec, "-pix_fmt", "yuv420p", *options]
    run(*video, *(audio[:4] if sound else []), *last, *(audio[4:] if sound else []), path)
    return path


def stream_of(form: Sequence[str], source: Path, target: Path, *words: str) -> bytes:
    """What ffmpeg writes into a pipe for this movie, in the form that these options choose."""
    # A pipe's output cannot be sought in, and a file's can.
    run("-i", source, "-c", "copy", *words, *form, "-seekable", "0", f"file:{target}")
    return target.read_bytes()


def record(source: Path, folder: Path, seconds: float = 2) -> list[Path]:
    """Cuts a movie into segments of so many seconds, by the options that Frigate uses."""
    folder.mkdir(parents=True, exist_ok=True)
    cut = ["-f", "segment", "-segment_time", str(seconds), "-segment_time_delta", "0.1"]
    form = [
        "-segment_format",
        "mp4",
        "-reset_timestamps",
        "1",
        "-segment_format_options",
        "movflags=+faststart",
    ]
    run("-i", source, "-c", "copy", "-map", "0", *cut, *form, folder / "%04d.mp4")
    return sorted(folder.glob("*.mp4"))


FORMS = (
    "", "faststart", "frag_keyframe", "frag_keyframe+empty_moov", FRAGMENTS, "frag_every_frame",
    "frag_keyframe+delay_moov", "frag_keyframe+separate_moof", "dash", "dash+global_sidx",
    "negative_cts_offsets", "negative_cts_offsets+faststart", "omit_tfhd_offset+frag_keyframe",
)  # fmt: skip
"""Values of ffmpeg's -movflags."""
CUTS = ((), ("-ss", "1.3"), ("-t", "2.55"), ("-itsoffset", "1.5"))
"""What makes lists of edits: a start between two keyframes, an end, a pause before the start."""


def derive(source: Path, folder: Path, forms: tuple[str, ...] = FORMS) -> Iterator[Path]:
    """Yields files in every form and with every cut, without another encoding."""
    for form in forms:
        for cut in CUTS:
            name = "_".join([source.stem, form or "plain", *cut]).replace("+", "-")
            flags = ["-movflags", f"+{form}"] if form else []
            path = folder / f"{name}.mp4"
            run(*cut, "-i", source, "-map", "0", "-c", "copy", *flags, path)
            yield path
