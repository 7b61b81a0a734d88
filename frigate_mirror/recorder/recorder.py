"""Records one camera: runs ffmpeg, and writes what it gives into segments.

ffmpeg's exit code says nothing: it is 0 when the camera dies. So the recorder judges by what comes.
Without a new picture for SILENCE seconds it kills ffmpeg and begins anew, in a new segment.
"""

from __future__ import annotations

import fcntl
import logging
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from frigate_mirror.ledger.lock import RunLock
from frigate_mirror.recorder import ffmpeg, folder
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.diary import Diary, State
from frigate_mirror.recorder.segment import Segment
from frigate_mirror.recorder.service import Service
from frigate_mirror.recorder.stream import Fragment, Stream, StreamError
from frigate_mirror.untrusted import plain

if TYPE_CHECKING:
    from frigate_mirror.recorder.relay import Relay

log = logging.getLogger("frigate_s3.recorder")
SILENCE = 10.0  # seconds without a picture, after which the camera counts as hung
START = 15.0  # seconds for the first picture
KEYFRAME = 15.0  # seconds without a keyframe, at first
LONGEST_KEYFRAME = 300.0
SYNC = 5.0  # seconds between two times at which the file is made durable
HOLE = 1.5  # seconds that may be missing between two fragments
PAUSES = (0.2, 1.0, 2.0, 4.0, 5.0)  # seconds before the next start, by the starts that failed
END_WITHIN = 4.0  # seconds, in which ffmpeg ends after a signal
TIDY = 86_400.0
PIECE = 1 << 16
PIPE = 1 << 20  # bytes that wait in the pipe while the disk is slow


class Recorder:
    """The recorder of one camera. `service` is told of what is recorded; `clock` gives Unix
    seconds."""

    def __init__(
        self,
        camera: Camera,
        service: Service | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.camera = camera
        self._service = service or Service({})
        self._clock = clock
        self._folder = camera.folder
        self._diary = Diary(self._folder)
        self._lock = RunLock(self._folder / ".lock")
        self._holds = False  # the lock
        self._left = True  # whether a file may be there that nobody has finished
        self._segment: Segment | None = None
        self._stream: Stream | None = None
        self._form = 0
        self._failures = 0
        self._key_patience = KEYFRAME
        self._expected = 0.0  # seconds of the stream at which the next fragment begins
        self._arrived = 0.0  # when a picture came, on time.monotonic, like the next four
        self._key_at = 0.0
        self._synced = 0.0
        self._covered: float | None = None  # the end of what was recorded
        self._tidied = 0.0
        self._covered_wall: float | None = None
        self._since: float | None = None
        self._gap = ["the recorder did not run"]  # why it began, and why it lasts
        self._trouble = ""
        self._said: list[str] = []

    def run(self, stopped: Callable[[], bool]) -> None:
        """Records until `stopped` says so."""
        while not stopped():
            try:
                if self._prepare():
                    self._record(stopped)
            except OSError as error:
                self._lose(f"the disk cannot be used: {error}")
                self._failures += 1
            self._wait(stopped)
        self._service.stopping()
        if self._holds:
            self._note(None, "the recorder was stopped")
            self._lock.release()

    def _prepare(self) -> bool:
        """Takes the camera's folder, and finishes what an earlier process has left there. Returns
        False while another process records this camera. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._holds = self._lock.acquire()
        if not self._holds:
            if not self._failures:  # the state is that of the other one
                log.warning("%s: another process records this camera", self.camera.name)
            self._failures += 1
            return False
        if self._covered_wall is None:
            self._covered_wall = self._diary.last_end()
        if not self._left:
            return True
        for path in folder.recover(self._folder):
            status = path.stat()
            started = folder.started_of(path.name) or status.st_mtime
            self._diary.segment(path, started, status.st_mtime, status.st_size)
            self._covered_wall = max(self._covered_wall or 0.0, status.st_mtime)
            log.info("%s: %s was left by a crash, and is finished", self.camera.name, path.name)
        self._left = False
        return True

    def _wait(self, stopped: Callable[[], bool]) -> None:
        until = time.monotonic() + PAUSES[min(self._failures, len(PAUSES) - 1)]
        while time.monotonic() < until and not stopped():
            time.sleep(0.1)

    # -- one run of ffmpeg

    def _record(self, stopped: Callable[[], bool]) -> None:
        """Records until ffmpeg ends or is ended. Raises OSError."""
        form = ffmpeg.FORMS[self._form]
        self._stream = form.new_stream()
        self._said.clear()
        self._expected = -1.0
        relay = self._relay()
        address = relay.address if relay else self.camera.url.reveal()
        try:
            process = ffmpeg.start(self.camera, form, address)
            try:
                why = self._read(process, stopped)
            finally:
                _end(process)
                self._finish()
        finally:
            if relay:
                relay.close()
        recorded = self._expected >= 0.0
        if not recorded and any(map(ffmpeg.REFUSES_SOUND.search, self._said)):
            self._form = (self._form + 1) % len(ffmpeg.FORMS)
            name = ffmpeg.FORMS[self._form].name
            log.info("%s: its sound does not fit, so the next form is %s", self.camera.name, name)
            self._failures = 0
            return
        self._failures = 0 if recorded else self._failures + 1
        if not stopped():
            self._lose((relay and relay.fault) or why)

    def _relay(self) -> Relay | None:
        if not self.camera.tls:
            return None
        from frigate_mirror.recorder.relay import Relay  # a megabyte that few cameras need

        return Relay(self.camera)

    def _read(self, process: subprocess.Popen[bytes], stopped: Callable[[], bool]) -> str:
        """Takes what ffmpeg gives until its end, and returns why it ended. Raises OSError."""
        assert process.stdout and process.stderr
        out = process.stdout.fileno()
        with suppress(OSError):
            fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, PIPE)
        self._arrived = self._key_at = self._synced = began = time.monotonic()
        told_to_end = 0.0
        with selectors.DefaultSelector() as selector:
            for pipe in (process.stdout, process.stderr):
                selector.register(pipe, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(1.0 if not told_to_end else 0.2):
                    data = os.read(key.fd, PIECE)
                    if key.fd != out:
                        self._hear(data)
                        if not data:
                            selector.unregister(key.fileobj)
                    elif not data:
                        self._hear_the_rest(process)
                        return self._why_ended()
                    elif fault := self._feed(data):
                        return fault
                now = time.monotonic()
                if told_to_end and now - told_to_end > END_WITHIN:
                    return "the recorder was stopped"
                if stopped() and not told_to_end:
                    process.terminate()  # it writes the rest
                    told_to_end = now
                if fault := self._judge(now, began):
                    return fault
                self._sync(now)

    def _feed(self, data: bytes) -> str:
        """Takes bytes of the stream. Returns why it has to end, or an empty text."""
        assert self._stream is not None
        try:
            for fragment in self._stream.feed(data):
                self._take(fragment)
        except (StreamError, ValueError, LookupError) as error:
            return f"ffmpeg gives what cannot be recorded: {error}"
        return ""

    def _judge(self, now: float, began: float) -> str:
        """Returns why ffmpeg has to be ended, or an empty text."""
        if self._arrived == began:
            return f"the camera sends no picture within {START:g} s" if now - began > START else ""
        if now - self._arrived > SILENCE:
            return f"the camera has sent no picture for {SILENCE:g} s"
        if now - self._key_at > self._key_patience:
            # A camera may send few of them. Then the next one has more time.
            told, self._key_patience = (
                self._key_patience,
                min(2 * self._key_patience, LONGEST_KEYFRAME),
            )
            return f"the camera has sent no keyframe for {told:g} s"
        return ""

    def _hear(self, data: bytes) -> None:
        for line in filter(str.strip, data.decode(errors="replace").splitlines()):
            said = plain(ffmpeg.without_secrets(line, self.camera), 300)
            log.debug("%s: ffmpeg: %s", self.camera.name, said)
            self._said = [*self._said[-9:], said]

    def _hear_the_rest(self, process: subprocess.Popen[bytes]) -> None:
        """Reads the last words of ffmpeg, which has closed its output."""
        assert process.stderr
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_WITHIN)
            self._hear(os.read(process.stderr.fileno(), PIECE))

    def _why_ended(self) -> str:
        said = f": {self._said[-1].removeprefix('pipe:0: ')}" if self._said else ""
        if self._expected >= 0.0:
            return "the connection to the camera has ended"
        return f"the camera cannot be recorded{said}"

    # -- one fragment

    def _take(self, fragment: Fragment) -> None:
        now, wall = time.monotonic(), self._clock()
        if fragment.pictures:
            self._arrived = now
        if fragment.has_key:
            self._key_at = now
        started = wall - fragment.seconds
        hole = self._hole(fragment, now, started)
        self._expected = fragment.start + fragment.seconds
        try:
            if self._segment and fragment.key and self._is_over(started):
                self._finish()
            if self._segment:
                self._segment.add(fragment)
            elif fragment.key:
                self._begin(fragment, started)
            else:
                return  # nothing could be shown before the next keyframe
        except OSError as error:
            self._finish()
            self._lose(f"the disk refuses to take the recording: {error.strerror or error}")
            return
        if hole > HOLE:
            # The camera may leave pictures out without an interruption.
            why = ["the stream has a hole"] if self._since is not None else self._gap
            self._diary.gap(started - hole, started, "; then ".join(why))
            self._since = None
        self._covered, self._covered_wall = now, wall
        if self._since is None:
            self._recovered(started, hole)

    def _hole(self, fragment: Fragment, now: float, started: float) -> float:
        """Returns how many seconds are missing before the fragment. Within a stream its own times
        tell that, because a slow network only delays it."""
        if self._expected >= 0.0 and self._segment:
            return fragment.start - self._expected
        if self._covered is not None:
            return now - fragment.seconds - self._covered
        return started - self._covered_wall if self._covered_wall else 0.0

    def _is_over(self, started: float) -> bool:
        """Returns whether a fragment that starts then belongs into another segment, also after the
        clock was set."""
        assert self._segment is not None
        length = self.camera.segment_seconds
        return started // length != self._segment.started // length

    def _begin(self, fragment: Fragment, started: float) -> None:
        assert self._stream is not None
        taken = self._diary.names(started)  # it may have started before, if the clock was set
        self._segment = Segment(self._folder, started, self._stream, fragment, taken)

    def _finish(self) -> None:
        """Finishes the segment, if there is one. A failure loses nothing: what is left is finished
        before ffmpeg starts again."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        try:
            path = segment.finish()
        except OSError as error:
            log.error("%s: a segment cannot be finished: %s", self.camera.name, error)
            self._left = True
            return
        self._diary.segment(path, segment.started, self._covered_wall or 0.0, segment.size)

    def _sync(self, now: float) -> None:
        """Makes durable what was recorded, and tells the service that the file grows."""
        if now - self._synced < SYNC or self._segment is None:
            return
        self._synced = now
        grows = self._segment.grows
        try:
            self._segment.sync()
        except OSError as error:
            self._finish()
            self._lose(f"the disk does not keep the recording: {error.strerror or error}")
            return
        if grows:
            self._service.alive()
        if now - self._tidied > TIDY or not self._tidied:
            self._tidied = now
            self._diary.tidy(self._clock())

    # -- what others are told

    def _recovered(self, started: float, hole: float) -> None:
        self._since = started
        missing = f", {hole:.0f} s are missing" if hole > HOLE else ""
        log.info("%s: recording%s", self.camera.name, missing)
        self._note(started, "")
        self._service.ready()
        self._service.status(f"recording {self.camera.name}")

    def _lose(self, why: str) -> None:
        """Notes that nothing is recorded, and why."""
        if why != self._trouble or self._since is not None:
            log.warning("%s: not recorded: %s", self.camera.name, why)
            self._note(None, why)
        if self._since is not None:
            self._gap, self._since = [why], None
        elif why != self._gap[0]:
            self._gap[1:] = [why]
        self._service.status(f"not recording {self.camera.name}: {why}")

    def _note(self, since: float | None, trouble: str) -> None:
        self._trouble = trouble
        self._diary.note(State(self._clock(), since, trouble))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends ffmpeg, however it hangs, and closes its pipes."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
