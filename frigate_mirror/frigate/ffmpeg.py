"""Finds Frigate's ffmpeg and runs it at a low priority, and ends it if it hangs.

FfmpegError         ffmpeg did not do its work; a later try may succeed
  NoFfmpeg          it cannot be started
  FfmpegStopped     it was ended because the mirror stops
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import which

from frigate_mirror.untrusted import plain

BUNDLED = Path("/usr/lib/ffmpeg")  # Frigate's image has .../{version}/bin/ffmpeg
QUIET = ("-nostdin", "-hide_banner", "-loglevel", "error", "-y")
MORTAL = ("setpriv", "--pdeathsig", "KILL")
"""Before a command line, these words make a program end with this process, even if this is
killed."""
LAST_IN_LINE = (("nice", "-n", "19"), ("ionice", "-c", "3"))
"""These make it the last in line for CPU and disk."""
TICK = 0.25  # seconds between two looks at a running ffmpeg
LAST_WORDS = 4_096  # bytes of its messages that are kept
TO_DIE = 10.0  # seconds; a process that waits for a dead disk cannot even be killed
CANNOT_START = (126, 127)  # exit codes of `nice` and `ionice`


class FfmpegError(Exception):
    """ffmpeg did not do its work. The text says what happened."""


class NoFfmpeg(FfmpegError):
    """ffmpeg cannot be started."""


class FfmpegStopped(FfmpegError):
    """ffmpeg was ended because the mirror stops."""


def find_ffmpeg(
    configured: str = "", environ: Mapping[str, str] = os.environ, bundled: Path = BUNDLED
) -> str:
    """Returns the path of Frigate's ffmpeg, or an empty text if there is none.

    `configured` is `ffmpeg.path` of Frigate's configuration: `default`, the version of a bundled
    ffmpeg, or a folder that contains `bin/ffmpeg`. This was read from Frigate v0.16.4, v0.17.2 and
    v0.18.0-beta1 (frigate.config, frigate.util.config).
    """
    default = environ.get("DEFAULT_FFMPEG_VERSION", "")
    names = [name for name in (configured, default) if name not in ("", "default")]
    # Joined to an absolute path, `bundled` has no effect.
    places = [bundled / name / "bin" / "ffmpeg" for name in names]
    places += sorted(bundled.glob("*/bin/ffmpeg"), key=_version, reverse=True)
    for place in places:
        if place.is_file() and os.access(place, os.X_OK):
            return str(place)
    return which("ffmpeg", path=environ.get("PATH")) or ""


def _version(place: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", place.parts[-3])]


def prefix(*beginnings: Sequence[str]) -> list[str]:
    """Returns the words to put before a command line. A beginning that does not work here is left
    out."""
    return [word for words in beginnings if _works(words) for word in words]


class Ffmpeg:
    """The program at `path`. It counts as hung if its output does not change for `silent` seconds.
    `clock` gives seconds."""

    def __init__(
        self, path: str, silent: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._silent = silent
        self._clock = clock
        self._stopping = threading.Event()
        self._running: subprocess.Popen[bytes] | None = None
        self._prefix = prefix(MORTAL, *LAST_IN_LINE)

    def stop(self) -> None:
        """Ends a run in another thread, and prevents further ones."""
        self._stopping.set()
        running = self._running
        if running is not None:
            _end(running)

    def run(
        self, words: Sequence[str], output: Path, folder: Path, descriptors: Sequence[int] = ()
    ) -> str:
        """Runs ffmpeg in `folder` with these words of a command line until it has written `output`.
        It inherits the open files `descriptors`. Returns the last messages that it printed.

        Raises OSError if the disk is full, and FfmpegError for any other failure.
        """
        if not os.access(self._path, os.X_OK):
            raise NoFfmpeg(f"ffmpeg cannot be started: there is no program {self._path!r}")
        try:
            process = subprocess.Popen(
                [*self._prefix, self._path, *QUIET, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=folder,
                pass_fds=descriptors,
                start_new_session=True,  # so that what it starts is ended with it
                bufsize=0,
            )
        except OSError as error:
            raise NoFfmpeg(f"ffmpeg cannot be started: {error.strerror}") from error
        messages = _Messages(process)
        self._running = process
        try:
            self._watch(process, messages, output)
        finally:
            _end(process)
            self._running = None
            text = messages.close()
        if self._stopping.is_set():
            raise FfmpegStopped("ffmpeg was ended because the mirror stops")
        _judge(process.returncode, text)
        return text

    def _watch(self, process: subprocess.Popen[bytes], messages: _Messages, output: Path) -> None:
        """Waits until ffmpeg ends. What it prints is read meanwhile, because it would stop at a
        full pipe. Its output grows, or changes while `faststart` moves it."""
        seen, changed = _state(output), self._clock()
        while process.poll() is None:
            if self._stopping.is_set():
                raise FfmpegStopped("ffmpeg was ended because the mirror stops")
            if not messages.read(TICK):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
            now = _state(output)
            if now != seen:
                seen, changed = now, self._clock()
            elif self._clock() - changed > self._silent:
                raise FfmpegError(f"ffmpeg wrote nothing for {self._silent:g} s and was ended")


class _Messages:
    """What a process prints to stderr."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._pipe = process.stderr
        self._poll = select.poll()
        self._poll.register(self._pipe)
        self._last = b""
        self._open = True

    def read(self, wait: float) -> bool:
        """Reads what comes within `wait` seconds. Returns whether more can follow."""
        if self._open and self._poll.poll(wait * 1000):
            piece = os.read(self._pipe.fileno(), 65_536)
            self._open = bool(piece)
            self._last = (self._last + piece)[-LAST_WORDS:]
        return self._open

    def close(self) -> str:
        """Returns the last messages."""
        while self._open and self._poll.poll(0):
            self.read(0)
        self._pipe.close()
        return self._last.decode(errors="replace")


def _works(words: Sequence[str]) -> bool:
    """Returns whether a program can be started by these words. Some containers forbid ionice."""
    try:
        return subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _state(path: Path) -> tuple[int, int]:
    """Returns what changes whenever the file is written to."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the process and all that it has started, unless it has ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(TO_DIE)


def _judge(code: int, text: str) -> None:
    lines = text.strip().splitlines() or ["it says nothing"]
    if os.strerror(errno.ENOSPC) in text:
        raise OSError(errno.ENOSPC, "the disk is full, so ffmpeg could not write its output")
    if code in CANNOT_START:
        raise NoFfmpeg(f"ffmpeg cannot be started: {plain(lines[-1])}")
    if code < 0:
        raise FfmpegError(f"ffmpeg was killed by signal {-code}")
    if code:
        raise FfmpegError(f"ffmpeg ended with code {code}: {plain(lines[-1])}")
