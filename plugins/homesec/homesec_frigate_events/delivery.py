"""Gives the clips of a folder to HomeSec, and notes when HomeSec is done with them.

HomeSec acknowledges nothing: its callback returns before the work begins. But HomeSec holds the
object that describes the clip for as long as it works on it, so the clip is done when nobody holds
this object any more (see `source.py`). A clip that was not done when the process ended is given
again after the next start, so HomeSec works twice on what it had in its hands at a kill.

A clip on which HomeSec dies again and again must not keep it from all others, so it is given a few
times only. There is room for a limited number of clips at a time: after a long outage there may be
thousands.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from frigate_mirror.part import Part, Task
from homesec_frigate_events import sidecar
from homesec_frigate_events.camera import Camera, Given
from homesec_frigate_events.folder import remove_leftovers

log = logging.getLogger("homesec_frigate_events")
STEP = 0.5  # seconds
TIDY = 3_600.0  # seconds between two looks for sidecars without a clip
YOUNG = 3_600.0  # seconds; the clip of a sidecar may just be being written
MOST_AT_ONCE = 10  # clips that HomeSec has at the same time
MOST_TIMES = 5  # that a clip is given
TOO_LONG = 3_600.0  # seconds after which a clip takes no room any more
FOR_EVER = 86_400.0  # seconds after which a clip counts as done


class Delivery(Part):
    """Gives the clips in the folder `path`. `camera` returns the camera of this name, if there is
    one and HomeSec has started it; `clock` gives seconds that never go back."""

    def __init__(
        self,
        path: Path,
        camera: Callable[[str], Camera | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._camera = camera
        self._clock = clock
        self._waiting: deque[tuple[Path, str]] = deque()  # with the names of their cameras
        self._held: dict[Path, float] = {}  # by HomeSec, and since when
        self._let_go: deque[Path] = deque()
        self._looked = False
        self._turn = threading.Lock()

    def tasks(self) -> list[Task]:
        return [Task("homesec", STEP, self.step), Task("homesec", TIDY, self.tidy)]

    def arrived(self, clip: Path, camera: str) -> None:
        """Notes a new clip of this camera."""
        self._waiting.append((clip, camera))

    @property
    def is_idle(self) -> bool:
        """Whether HomeSec works on none of these clips."""
        return not self._held

    def step(self) -> None:
        """Notes what is done, and gives what waits."""
        self.settle()
        with self._turn:
            self._give_waiting()

    def _give_waiting(self) -> None:
        if not self._looked:
            self._look()
            self._looked = True
        now = self._clock()
        for _ in range(len(self._waiting)):
            if sum(now - since < TOO_LONG for since in self._held.values()) >= MOST_AT_ONCE:
                break
            clip, name = self._waiting.popleft()
            camera = self._camera(name)
            if camera is None or not self._give(clip, camera):
                self._waiting.append((clip, name))

    def settle(self) -> None:
        """Notes which clips are done. Any thread may call it."""
        with self._turn:
            while self._let_go:
                self._note_done(self._let_go.popleft())
            now = self._clock()
            for clip in [one for one, since in self._held.items() if now - since > FOR_EVER]:
                self._note_done(clip)

    def _look(self) -> None:
        """Finds the clips that an earlier process has not given, or not until the end."""
        self._path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._path)
        known = {clip for clip, _ in self._waiting}
        found = []
        for path, document in sidecar.all_in(self._path):
            clip = path.with_suffix(".mp4")
            if not document["done"] and clip not in known:
                found.append((document["started"], clip, document["homesec_camera"]))
        # The oldest one comes to stand first.
        self._waiting.extendleft((clip, name) for _, clip, name in sorted(found, reverse=True))

    def _give(self, clip: Path, camera: Camera) -> bool:
        """Gives a clip to HomeSec. Returns False if that is not possible now."""
        path = sidecar.path_of(clip)
        try:
            document = sidecar.load(path)
        except (OSError, ValueError) as error:
            log.warning("%s is not given to HomeSec, because its sidecar fails: %s", clip, error)
            return True
        if not clip.exists():
            return True  # HomeSec has pruned it, or it is just being written again
        times = document["given"] + 1
        given = Given(document["clip_id"], clip, document["started"], document["ended"])
        if times > MOST_TIMES:
            log.error(
                "%s is not given to HomeSec again: it was given %d times, and HomeSec has ended "
                "each time before it was done with it", clip, MOST_TIMES,
            )  # fmt: skip
            self._note_done(clip)
            return True
        if times > 1:
            log.info("%s is given to HomeSec again, because it was not done with it", clip)
        self._write(path, document | {"given": times})
        self._held[clip] = self._clock()
        if not camera.give(given, lambda: self._let_go.append(clip)):
            self._held.pop(clip, None)
            self._write(path, document)
            return False
        return True

    def _note_done(self, clip: Path) -> None:
        self._held.pop(clip, None)
        path = sidecar.path_of(clip)
        try:
            document = sidecar.load(path)
        except (OSError, ValueError):
            return  # the clip is gone, and its sidecar with it
        if document["retain"] or document.get(sidecar.UPLOAD_FAILED):
            self._write(path, document | {"done": True})
        else:
            self._delete(clip)

    @staticmethod
    def _delete(clip: Path) -> None:
        with suppress(OSError):
            clip.unlink(missing_ok=True)
            sidecar.path_of(clip).unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, document: dict[str, Any]) -> None:
        try:
            sidecar.write(path, document)
        except OSError as error:  # then the clip may be given once more
            log.warning("cannot write %s: %s", path, error)

    def tidy(self) -> None:
        """Deletes sidecars whose clips HomeSec has pruned, and a day later clips that are not to be
        kept and could not be uploaded."""
        for path, document in sidecar.all_in(self._path):
            clip = path.with_suffix(".mp4")
            with suppress(OSError):
                age = time.time() - path.stat().st_mtime
                given_up = document["done"] and not document["retain"] and age > FOR_EVER
                if given_up or (age > YOUNG and not clip.exists()):
                    self._delete(clip)
