"""Deletes what is due: the oldest events first, the files of an event together, its JSON last.

Whoever kills the process leaves at most one batch in the middle. An event of which the JSON is left
is due again in the next run. A small file notes the batch besides, so that the next run finishes it
even if nothing is due any more, because the archive is smaller now.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from frigate_mirror.files import open_regular, replacing
from frigate_mirror.keys import is_event_id
from frigate_mirror.retention.errors import RetentionError, Stopped
from frigate_mirror.retention.inventory import Event, Inventory, Totals
from frigate_mirror.sinks.sink import Archive

LARGEST_NOTE = 1 << 24  # bytes; a batch has at most 1,000 events
MOST_LEFT = 100  # objects that may stay until a run gives up
_DAY_FOLDER = re.compile(r"(?:.*/)?(?:[^/]*\d{4}-\d\d-\d\d[^/]*|\d{4}/\d\d/\d\d)(?:/\d\d)?")
"""A folder in which all files are of one day or hour, so that nobody writes to an old one."""


@dataclass
class Deleted:
    """What a run has deleted, and the keys that are still there although they were to be deleted,
    with the reasons."""

    totals: Totals = field(default_factory=Totals)
    left: dict[str, str] = field(default_factory=dict)


class Note:
    """The file `path`, which names the events of the batch that is being deleted, and their
    folders."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, events: Sequence[Event], folders: Sequence[str]) -> None:
        told = {"events": [[*event.name, event.files] for event in events], "folders": folders}
        try:
            with replacing(self._path) as file:
                file.write(json.dumps(told).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RetentionError(f"note the next batch in {self._path}: {error.strerror}") from None

    def clear(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def read(self) -> tuple[dict[tuple[str, str], int], list[str]]:
        """Returns what the last run has left in the middle: how many files each event had, by its
        name, and the folders. There is nothing if the file is missing or damaged."""
        try:
            with open_regular(self._path) as file:
                told = json.loads(file.read(LARGEST_NOTE))
            events = {
                (str(camera), event_id): int(files)
                for camera, event_id, files in told["events"]
                if is_event_id(event_id)
            }
            folders = [one for one in told["folders"] if _is_day_folder(one)]
        except (OSError, ValueError, TypeError, LookupError, RecursionError):
            return {}, []
        return events, folders


def purge(
    inventory: Inventory,
    archive: Archive,
    note: Note,
    deleted: Deleted,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Deletes what is due in the inventory, and adds it to `deleted`. Raises the SinkError that
    ends the run, RetentionError and Stopped."""
    for events in inventory.batches(archive.batch):
        if stop():
            raise Stopped
        files = {event: inventory.files(event) for event in events}
        keys = [key for of_event in files.values() for some in of_event for key in some]
        folders = sorted({folder for key in keys if _is_day_folder(folder := _folder(key))})
        note.write(events, folders)
        left = archive.delete([key for others, _ in files.values() for key in others])
        whole = [event for event in events if not left.keys() & set(files[event][0])]
        left |= archive.delete([key for event in whole for key in files[event][1]])
        for folder in folders:
            archive.remove_folder(folder)
        note.clear()
        for event in whole:
            if not left.keys() & set(files[event][1]):
                deleted.totals = deleted.totals.with_event(event)
        deleted.left |= left
        if len(deleted.left) > MOST_LEFT:
            raise RetentionError(f"more than {MOST_LEFT} objects cannot be deleted")


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _is_day_folder(folder: str) -> bool:
    parts = folder.split("/")
    return not {"", ".", ".."} & set(parts) and _DAY_FOLDER.fullmatch(folder) is not None
