"""Diary: what was recorded of a camera and what was not, a small file for each camera and day.

Each line of `.diary/2024-01-18.jsonl` is a JSON document: of a segment (`file`, `bytes`) or of a
gap (`gap`, which says why), each with `from` and `until` in Unix seconds. The day is that of the
end, in UTC. `.diary/state.json` says what the recorder does at the moment.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from frigate_mirror.files import open_regular, replacing
from frigate_mirror.untrusted import shaped

log = logging.getLogger("frigate_s3.recorder")
KEPT = 90 * 86_400.0  # seconds
LARGEST = 4_000_000  # bytes of a day, which a camera that comes and goes fills slowly
FOLDER = ".diary"


@dataclass(frozen=True, slots=True)
class Line:
    """A segment, which has a `file`, or a gap, which has a reason in `gap`."""

    since: float
    until: float
    file: str = ""
    bytes: int = 0
    gap: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What the recorder does: `recording_since` is None while it does not record, and then
    `trouble` says why. `at` is when it was written."""

    at: float
    recording_since: float | None
    trouble: str


class Diary:
    """The diary in a camera's folder. Writing never raises, because recording is more important."""

    def __init__(self, camera: Path) -> None:
        self._folder = camera / FOLDER

    def segment(self, path: Path, since: float, until: float, size: int) -> None:
        line = {"file": path.name, "from": since, "until": until, "bytes": size}
        self._append(line, until)

    def gap(self, since: float, until: float, why: str) -> None:
        self._append({"gap": why, "from": since, "until": until}, until)

    def note(self, state: State) -> None:
        """Replaces the state, or writes over it where the disk has no room for a second file."""
        document = {
            "at": state.at, "recording_since": state.recording_since, "trouble": state.trouble
        }  # fmt: skip
        text, path = json.dumps(document).encode(), self._folder / "state.json"
        try:
            self._folder.mkdir(exist_ok=True)
            with replacing(path) as file:
                file.write(text)
        except OSError:
            with suppress(OSError), path.open("r+b", buffering=0) as file:
                file.write(text)
                file.truncate()

    def state(self) -> State | None:
        """Returns the state that was written last, or None."""
        try:
            with open_regular(self._folder / "state.json") as file:
                return State(**shaped(json.loads(file.read(4096)), State))
        except (OSError, ValueError, RecursionError):
            return None

    def day(self, seconds: float) -> list[Line]:
        """Returns the lines of the day in UTC that has this moment."""
        try:
            with open_regular(self._path(seconds)) as file:
                text = file.read(LARGEST).decode(errors="replace")
        except OSError:
            return []
        return list(_lines(text))

    def names(self, started: float) -> set[str]:
        """Returns the names of all segments that may have started in the second `started`. One that
        began then has ended on the same day or on the next one."""
        days = (started, started + 86_400.0)
        return {line.file for day in days for line in self.day(day) if line.file}

    def last_end(self) -> float | None:
        """Returns when the last segment ended that the diary knows, or None."""
        for path in sorted(self._days(), reverse=True)[:7]:
            with suppress(OSError), open_regular(path) as file:
                lines = _lines(file.read(LARGEST).decode(errors="replace"))
                if ends := [line.until for line in lines if line.file]:
                    return ends[-1]
        return None

    def tidy(self, now: float) -> None:
        """Deletes the days that nobody needs any longer."""
        oldest = self._path(now - KEPT).name
        for path in self._days():
            if path.name < oldest:
                with suppress(OSError):
                    path.unlink()

    def _days(self) -> list[Path]:
        with suppress(OSError):
            return list(self._folder.glob("????-??-??.jsonl"))
        return []

    def _append(self, line: dict[str, Any], at: float) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            with self._path(at).open("ab", buffering=0) as file:
                file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            log.warning("the diary lacks a line, because it cannot be written: %s: %s", error, line)

    def _path(self, seconds: float) -> Path:
        return self._folder / f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}.jsonl"


def _lines(text: str) -> Iterator[Line]:
    """Yields the lines that are whole: a power cut may have left half a line."""
    for one in text.splitlines():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            found = json.loads(one)
            yield Line(
                float(found["from"]), float(found["until"]), str(found.get("file", "")),
                int(found.get("bytes", 0)), str(found.get("gap", "")),
            )  # fmt: skip
