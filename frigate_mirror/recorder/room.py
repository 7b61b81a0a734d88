"""Room: deletes segments of the local folder, and watches the cameras.

A segment that the destination has confirmed is deleted if the owner wants that, or when room is
needed, the oldest first. One that is not uploaded yet is deleted only when there is no other way:
the owner's limits or a full disk. The owner is warned before.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from frigate_mirror.catalog import CatalogError
from frigate_mirror.faults import Troubles
from frigate_mirror.files import SPARE
from frigate_mirror.keys import artifact_id
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.part import Part, Task
from frigate_mirror.recorder import folder
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.config import Config
from frigate_mirror.recorder.diary import Diary
from frigate_mirror.recorder.segments import (
    CLOCK_IS_SET,
    RECORDING,
    Segment,
    Segments,
    version_of,
)

log = logging.getLogger("frigate_s3.recorder")
EVERY = 10.0  # seconds
LOOK_ANYWAY = 300.0  # seconds, after which all segments are looked at although nothing has changed
SOON = 0.75  # of a limit; from there on the owner is warned
STILL = 60.0  # seconds without growth, after which a camera counts as not recorded


class Room(Part):
    """Keeps room in the folder of `config`. `clock` gives Unix seconds, and `free` how many bytes a
    disk has free and in all."""

    def __init__(
        self,
        config: Config,
        catalog: Segments,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
        free: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._ledger = ledger
        self._clock = clock
        self._free = free or self._disk
        self._troubles = Troubles()
        self._began = clock()
        self._stuck = ""  # why a segment could not be deleted at the last look
        self._seen: object = None  # what that was based on
        self._looked = 0.0

    def tasks(self) -> list[Task]:
        return [Task("room", EVERY, self.tidy), Task("room", EVERY, self.watch)]

    def troubles(self) -> list[str]:
        return self._troubles.all()

    def tidy(self) -> None:
        """Deletes what may be deleted and what must be. To look at a year of segments takes
        seconds, so this does it only when something has changed."""
        try:
            seen = self._catalog.changes(), self._ledger.counts(), self._is_scarce()
            unchanged = seen == self._seen and self._missing() <= 0
            if unchanged and abs(self._clock() - self._looked) < LOOK_ANYWAY:
                return
            segments = self._catalog.all()
            sent = self._sent(segments)
        except (CatalogError, LedgerError) as error:
            self._troubles.note("room", f"nothing is deleted of the local segments: {error}")
            self._seen = None
            return
        self._seen, self._looked = seen, self._clock()
        self._stuck = ""
        if self._config.delete_after_upload:
            segments = [one for one in segments if one.id not in sent or not self._delete(one)]
        fault, lost = "", 0
        for one, why in self._too_much(segments, sent):
            if one.id in sent:
                self._delete(one)
            elif self._delete(one, why):
                lost += 1
                fault = f"{lost} segment(s) had to be deleted before their upload: {why}"
        self._troubles.note("delete", self._stuck)
        self._troubles.note("room", fault or self._warning(segments, sent))

    def watch(self) -> None:
        """Notes which cameras are not recorded."""
        for camera in self._config.enabled:
            self._troubles.note(f"camera {camera.name}", self._silent(camera))

    def _silent(self, camera: Camera) -> str:
        """Returns why a camera counts as not recorded, or an empty text."""
        name, state = camera.name, Diary(camera.folder).state()
        if state is None:
            if abs(self._clock() - self._began) <= STILL:
                return ""  # its recorder may have started just now, as the uploader has
            return f"camera {name} was never recorded: start its recorder"
        if state.recording_since is None:
            return f"camera {name} is not recorded: {state.trouble}"
        with suppress(OSError):
            newest = max(
                (one.stat().st_mtime for one in folder.growing(camera.folder)), default=0.0
            )
            if abs(self._clock() - newest) <= STILL:
                return ""
        return f"camera {name} is not recorded: its recorder does not run, or hangs"

    def _sent(self, segments: Sequence[Segment]) -> set[str]:
        """Returns the ids of the segments that the destination has confirmed, in exactly this
        version. Raises LedgerError."""
        ids = {artifact_id(RECORDING, one.id): one for one in segments}
        known = self._ledger.known(list(ids))
        return {
            ids[known_id].id
            for known_id, one in known.items()
            if one.state == "uploaded" and one.version == version_of(ids[known_id].file)
        }

    def _too_much(self, segments: Sequence[Segment], sent: set[str]) -> list[tuple[Segment, str]]:
        """Returns what has to go, with the reason."""
        goes: list[tuple[Segment, str]] = []
        config, now = self._config, self._clock()
        left = list(segments)
        if config.max_age:
            old = {one.id for one in left if _age(one, now) > config.max_age}
            goes += [(one, "it was older than storage.max_age") for one in left if one.id in old]
            left = [one for one in left if one.id not in old]
        over = sum(one.file.size for one in left) - config.max_size if config.max_size else 0
        missing = self._missing()
        why = "the disk was full" if missing > over else "there was more than storage.max_size"
        need = max(over, missing)
        for one in sorted(left, key=lambda one: (one.id not in sent, one.started)):
            if need <= 0:
                break
            need -= one.file.size
            goes.append((one, why))
        return goes

    def _is_scarce(self) -> bool:
        """Returns whether the disk has so little room that the owner may have to be warned."""
        free, total = self._free()
        return free < 2 * min(SPARE, total // 20)

    def _missing(self) -> int:
        """Returns how many bytes the disk lacks. Somebody else may need them."""
        free, total = self._free()
        return min(SPARE, total // 20) - free

    def _warning(self, segments: Sequence[Segment], sent: set[str]) -> str:
        """Returns what will soon have to be deleted although it is not uploaded."""
        unsent = [one for one in segments if one.id not in sent]
        config = self._config
        if not unsent:
            return ""
        size, now = sum(one.file.size for one in unsent), self._clock()
        free, total = self._free()
        if config.max_age and max(_age(one, now) for one in unsent) > SOON * config.max_age:
            limit = "are nearly as old as storage.max_age allows"
        elif config.max_size and size > SOON * config.max_size:
            limit = "are nearly as large as storage.max_size allows"
        elif free + sum(one.file.size for one in segments) - size < 2 * min(SPARE, total // 20):
            limit = "fill the disk"
        else:
            return ""
        return (
            f"{len(unsent)} segment(s) that are not uploaded yet {limit}, so the oldest will be "
            "deleted before their upload unless that goes on"
        )

    def _delete(self, one: Segment, lost: str = "") -> bool:
        """Deletes the file of a segment, and returns whether it is gone. `lost` is why a segment is
        deleted that is not uploaded."""
        path = one.file.path
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._stuck = f"{path} cannot be deleted: {error.strerror}"
            return False
        if lost:
            log.error("%s is deleted before its upload: %s", path, lost)
            why = f"deleted before its upload: {lost}"
            Diary(path.parent).gap(one.started, one.file.ended, why)
        return True

    def _disk(self) -> tuple[int, int]:
        try:
            disk = shutil.disk_usage(self._config.folder)
        except OSError:
            return SPARE, SPARE
        return disk.free, disk.total


def _age(segment: Segment, now: float) -> float:
    """Returns how many seconds ago a segment started, or 0 if the clock was not set then: nothing
    is deleted for an age that nobody knows."""
    return now - segment.started if segment.started >= CLOCK_IS_SET else 0.0
