"""Outbox: what of the notices outlives the process, in one small file.

A notice is in the file before any way sends it, and leaves a way's queue after that way has sent
it. So no notice is lost when the process is killed, and the one that was under way at that moment
is sent once more. Its id tells a receiver that it is the same.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frigate_mirror.files import open_regular, replacing
from frigate_mirror.notify.notice import DIGEST, Notice
from frigate_mirror.notify.watch import WRONG, Watch
from frigate_mirror.untrusted import shaped

log = logging.getLogger("frigate_s3.notify")
LARGEST = 5_000_000  # bytes; a usual file has some hundred
MOST_UNSENT = 10  # notices that wait for one way


@dataclass(slots=True)
class Memory:
    """What the mirror remembers of the health and of the digests: the watch, when the last digest
    was made (Unix seconds), and how many uploads there had been by then."""

    watch: Watch = field(default_factory=Watch)
    digested: float | None = None
    uploaded: int | None = None


@dataclass(slots=True)
class Kept:
    """What the file holds. `unsent` are the notices that each way has not sent yet, the oldest
    first."""

    memory: Memory = field(default_factory=Memory)
    unsent: Mapping[str, list[Notice]] = field(default_factory=dict)


class Outbox:
    """The file at `path`, which is read once. Other programs can write to its folder, so a file
    that makes no sense is logged and counts as empty. `fault` says why the file could not be
    written the last time, or is empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._found = found = _read(path)
        self._memory = asdict(found.memory)
        self._unsent: dict[str, list[Notice]] = {}
        self.fault = ""

    @property
    def memory(self) -> Memory:
        """The memory of the earlier process, which the caller may change. `keep` takes it back."""
        return self._found.memory

    def serve(self, way: str) -> None:
        """Makes a queue for this way, with the notices that an earlier process has not sent. Those
        of a way that nobody serves are forgotten."""
        self._unsent[way] = list(self._found.unsent.get(way, ()))[-MOST_UNSENT:]

    def keep(self, memory: Memory, notice: Notice | None = None) -> None:
        """Writes the memory and, at the same moment, puts a notice into the queue of each way. A
        newer notice of the same trouble, and a newer digest, take the place of one that waits. The
        oldest notice gives way if a queue is full."""
        with self._lock:
            self._memory = asdict(memory)
            if notice is not None:
                for way, queue in self._unsent.items():
                    others = [one for one in queue if not _replaces(notice, one)]
                    self._unsent[way] = [*others, notice][-MOST_UNSENT:]
            self._write()

    def first(self, way: str) -> Notice | None:
        """Returns the oldest notice that this way has not sent yet. It is in the file, if that can
        be written."""
        with self._lock:
            return next(iter(self._unsent[way]), None)

    def sent(self, way: str, notice: Notice) -> None:
        """Takes a notice out of the queue of this way, and writes the file."""
        with self._lock:
            self._unsent[way] = [one for one in self._unsent[way] if one.id != notice.id]
            self._write()

    def _write(self) -> None:
        unsent = {way: [asdict(one) for one in queue] for way, queue in self._unsent.items()}
        document = {"memory": self._memory, "unsent": unsent}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        try:
            with replacing(self._path) as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            self.fault = ""
        except OSError as error:  # a notice is sent all the same
            self.fault = f"{self._path} cannot be written: {error.strerror}"


def _replaces(newer: Notice, older: Notice) -> bool:
    same_trouble = newer.kind == WRONG and newer.since == older.since
    return newer.kind == older.kind and (newer.kind == DIGEST or same_trouble)


def _read(path: Path) -> Kept:
    try:
        with open_regular(path) as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ValueError("it is too large")
        return _kept_of(shaped(json.loads(raw), Kept))
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError, RecursionError) as error:
        log.warning("S3 notices: %s cannot be read and is made anew: %s", path, error)
        return Kept()


def _kept_of(found: dict[str, Any]) -> Kept:
    memory = found["memory"] | {"watch": Watch(**found["memory"]["watch"])}
    unsent = {way: [_notice_of(one) for one in queue] for way, queue in found["unsent"].items()}
    return Kept(Memory(**memory), unsent)


def _notice_of(found: dict[str, Any]) -> Notice:
    notice = Notice(**found)
    lines = [notice.title, *notice.text.split("\n")]
    if not re.fullmatch("[0-9a-f]{16}", notice.id) or not all(map(str.isprintable, lines)):
        raise ValueError("a notice in it makes no sense")
    return notice
