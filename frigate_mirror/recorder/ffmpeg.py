"""How ffmpeg is started, so that it writes one endless stream into a pipe.

The address of the camera has its password, and everybody on the machine can read the command line
of a process. So ffmpeg reads the address from its standard input, as a list for its concat demuxer.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import IO

from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.stream import MatroskaStream, Mp4Stream, Stream

OLDEST = 59  # of libavformat: ffmpeg 5, since which a list can have options
NETWORK_PATIENCE = 8  # seconds that the camera may be silent
PROTOCOLS = "pipe,file,crypto,tcp,udp,rtp,tls,rtsp,rtsps"
FRAGMENT = 1_000_000  # microseconds
REFUSES_SOUND = re.compile(
    r"codec not currently supported in container|[Uu]nsupported codec|No \w+ codec tag found"
)


class FfmpegError(Exception):
    """There is no ffmpeg that the recorder can use. The text says why."""


@dataclass(frozen=True, slots=True)
class Form:
    """A container, and whether it takes the sound."""

    name: str
    stream: type[Mp4Stream] | type[MatroskaStream]
    sound: bool
    words: tuple[str, ...]

    def new_stream(self) -> Stream:
        return self.stream()


_MP4 = (
    "-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof",
    "-frag_duration", str(FRAGMENT),
)  # fmt: skip
# The recorder changes elements, after which a checksum would be wrong.
_MATROSKA = ("-f", "matroska", "-write_crc32", "0", "-cluster_time_limit", "1000")
FORMS = (
    Form("mp4", Mp4Stream, True, _MP4),
    Form("matroska", MatroskaStream, True, _MATROSKA),
    Form("mp4 without sound", Mp4Stream, False, _MP4),
)
"""In the order in which they are tried: mp4 does not take the sound of every camera."""


def version(program: str) -> str:
    """Returns the version of ffmpeg. Raises FfmpegError if there is none that will do."""
    try:
        done = subprocess.run(
            [program, "-hide_banner", "-version"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FfmpegError(
            f"{program} cannot be started: {error}; install it (Debian: apt-get install ffmpeg)"
        ) from None
    name = re.match(r"ffmpeg version (\S+)", done.stdout)
    library = re.search(r"(?m)^libavformat +(\d+)", done.stdout)
    if name is None or library is None:
        raise FfmpegError(f"{program} does not say its version, so it is no ffmpeg")
    if int(library[1]) < OLDEST:
        raise FfmpegError(f"{program} is ffmpeg {name[1]}, but 5.0 or later is needed")
    return name[1]


def start(camera: Camera, form: Form, address: str) -> subprocess.Popen[bytes]:
    """Starts ffmpeg, which records `address` in this form to its standard output. Raises
    OSError."""
    sound = ("-map", "0:a:0?") if form.sound else ()
    words = [
        camera.ffmpeg, "-hide_banner", "-loglevel", "warning", "-nostats",
        "-f", "concat", "-safe", "0", "-protocol_whitelist", PROTOCOLS, "-i", "pipe:0",
        "-map", "0:v:0", *sound, "-c", "copy", *form.words, "-flush_packets", "1", "pipe:1",
    ]  # fmt: skip
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd="/",
        start_new_session=True,  # Ctrl-C is for the recorder, which ends ffmpeg itself
    )
    try:
        _write(process.stdin, listing(address).encode())
    except OSError:  # it has ended already; the reader of its output finds out
        pass
    return process


def _write(pipe: IO[bytes] | None, text: bytes) -> None:
    assert pipe is not None
    with pipe:
        pipe.write(text)


def listing(address: str) -> str:
    """Returns the list for the concat demuxer. A quote in the address is written as shells do."""
    quoted = address.replace("'", "'\\''")
    return (
        "ffconcat version 1.0\n"
        f"file '{quoted}'\n"
        "option rtsp_transport tcp\n"
        f"option timeout {NETWORK_PATIENCE * 1_000_000}\n"
    )


def without_secrets(text: str, camera: Camera) -> str:
    """Returns what ffmpeg says without the camera's login."""
    text = text.replace(camera.url.reveal(), f"the address of {camera.name}")
    for secret in sorted(camera.secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return re.sub(r"(?<=://)[^/\s@]*@", "***@", text)
