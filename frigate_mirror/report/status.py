"""Status: the health of the mirror in one word, in one log line, and in one JSON document.

OK        everything that should be in the bucket is there or on its way
DEGRADED  the mirror uploads, but something was lost, failed, or is in danger
UNKNOWN   the bucket has not answered yet
DOWN      the bucket cannot be reached or denies access, or no mirror runs
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frigate_mirror.faults import Fault
from frigate_mirror.files import open_regular, replacing
from frigate_mirror.ledger.lock import LOCK_NAME, is_locked
from frigate_mirror.ledger.rows import Counts
from frigate_mirror.untrusted import plain, shaped

BEHIND_TOO_FAR = 900.0  # seconds that the oldest artifact may be pending
STALE_AFTER = 60.0  # seconds; a mirror with an older status counts as not running
LARGEST_DOCUMENT = 256 * 1024  # bytes; a usual one has a few thousand
TEN_YEARS = 3_650 * 86_400.0  # seconds
MOST_REASONS = 20  # people see no more than these
OK, DEGRADED, DOWN, UNKNOWN = WORDS = "OK", "DEGRADED", "DOWN", "UNKNOWN"
NOT_RUNNING = "not running"
_TO_RETRY = "see .s3_failed_events; `retry` once the cause is gone, or `acknowledge`"
_SEE_LOG = "search its log, which inside Frigate is Frigate's, for `S3 snapshot mirror`"
_TO_KNOW = "see .s3_failed_events, then `acknowledge`"  # a retry would change nothing


class _NotRunning(Exception):
    """The status file says why no mirror runs."""


@dataclass(frozen=True, slots=True)
class Status:
    """The mirror at one moment. Times are Unix seconds. `successes` and `failures` count attempts
    to upload since the start. `kept_for` is for how many seconds after its upload the ledger counts
    an artifact as uploaded; then it counts as forgotten. `behind` is how many seconds the oldest
    artifact has been in the queue. `swept_at` is when the last sweep ended that read everything,
    and `sweep_took` how many seconds it took. Each part of the mirror gives its own fields."""

    written_at: float
    started_at: float
    pid: int
    successes: int
    failures: int
    counts: Counts
    kept_for: float
    behind: float
    last_success: float | None
    last_error: Fault | None
    service_down: bool
    service_answered: bool
    service_since: float
    spool_files: int
    spool_bytes: int
    troubles: list[str] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    swept_at: float | None = None
    sweep_took: float | None = None

    @property
    def reasons(self) -> list[str]:
        """Why the health is not OK, one sentence each."""
        reasons = list(self.troubles)
        if self.service_down:
            what = "remote" if "remote" in self.target else "bucket"
            reasons.insert(0, f"the {what} cannot be reached or denies access")
        if self.behind > BEHIND_TOO_FAR:
            reasons.append(f"the oldest file in the queue has been waiting for {span(self.behind)}")
        for count, fate in (
            (self.counts.failed, "failed for good"),
            (self.counts.lost, "were lost"),
        ):
            if count:
                reasons.append(f"{count} file(s) {fate}: {_TO_RETRY}")
        if flawed := self.counts.flawed:
            fate = "are in the bucket, but incomplete or in an earlier version"
            reasons.append(f"{flawed} file(s) {fate}: {_TO_KNOW}")
        return reasons

    @property
    def health(self) -> str:
        if self.service_down:
            return DOWN
        if not self.service_answered:
            return UNKNOWN
        return DEGRADED if self.reasons else OK

    def line(self, tracked: int, failed: int) -> str:
        """Returns the statistics line, of so many events with an uploaded and with a failed file.
        Its form is fixed, because people search logs for it."""
        return (
            f"S3 Upload Stats - Success: {self.successes}, Failed: {self.failures}, "
            f"Retry Queue: {self.counts.retrying}, Tracked Events: {tracked}, "
            f"Failed Events: {failed}, Health: {self.health}"
        )

    def document(self) -> dict[str, Any]:
        """Returns the status document, which `read` understands."""
        document: dict[str, Any] = {"health": self.health, "reasons": self.reasons}
        return document | asdict(self)


def write(document: Mapping[str, Any], path: Path) -> None:
    """Replaces the status file atomically. Raises OSError."""
    with replacing(path) as file:
        file.write(json.dumps(document, indent=1, sort_keys=True).encode())


def write_why_not_running(reason: str, path: Path) -> None:
    """Writes into the status file why no mirror runs. If the file cannot be written, the log still
    says it."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        write({NOT_RUNNING: reason}, path)


def read(path: Path, now: float | None = None) -> dict[str, Any]:
    """Returns the status document, with `running`. If it is missing, unreadable or stale, or if its
    mirror has ended, the returned document says DOWN and why.

    Other programs can write to the folder of the status file. The returned document therefore has
    only the fields of `Status`, with values of the right types.
    """
    try:
        document = _trusted(path)
    except FileNotFoundError:
        return _down("no mirror has run here yet: there is no status file", path)
    except _NotRunning as told:
        return _down(str(told), path)
    except (OSError, ValueError, RecursionError) as error:
        return _down(f"the status file cannot be read: {error}", path)
    age = abs((time.time() if now is None else now) - document["written_at"])
    if document["stopped"]:
        reason = document["stopped"]
    elif age > STALE_AFTER:
        reason = f"the mirror is not running: its last status is {span(age)} old; {_SEE_LOG}"
    elif _lock_is_free(document["paths"]):
        reason = f"the mirror is not running: it died in the last {span(age)}; {_SEE_LOG}"
    else:
        return document | {"running": True}
    return document | {"running": False, "health": DOWN, "reasons": [reason]}


def _trusted(path: Path) -> dict[str, Any]:
    """Reads a file that any program may have written. Raises _NotRunning if it says why no mirror
    runs; OSError, ValueError or RecursionError if no mirror of this version can have written it."""
    with open_regular(path) as file:
        raw = file.read(LARGEST_DOCUMENT + 1)
    if len(raw) > LARGEST_DOCUMENT:
        raise ValueError("it is too large")
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise ValueError("it is not JSON") from error
    if isinstance(found, dict) and isinstance(found.get(NOT_RUNNING), str):
        raise _NotRunning(found[NOT_RUNNING])
    try:
        document: dict[str, Any] = shaped(found, Status)
        document["reasons"] = shaped(found.get("reasons"), list[str])
        document["stopped"] = shaped(found.get("stopped", ""), str)
    except ValueError as error:
        raise ValueError(f"another version of the mirror wrote it ({error})") from error
    if found.get("health") not in WORDS:
        raise ValueError("its health is none of OK, DEGRADED, UNKNOWN and DOWN")
    # Paths are opened, and shown in messages.
    paths = {name: path for name, path in document["paths"].items() if _is_path(path)}
    return document | {"health": found["health"], "paths": paths}


def _is_path(text: str) -> bool:
    return text.startswith("/") and text.isprintable()


def _lock_is_free(paths: Mapping[str, str]) -> bool:
    """Returns whether the lock that a running mirror holds is certainly free."""
    return "state" in paths and is_locked(Path(paths["state"]) / LOCK_NAME) is False


def _down(reason: str, path: Path) -> dict[str, Any]:
    return {"running": False, "health": DOWN, "reasons": [f"{reason} ({path})"]}


def report(document: Mapping[str, Any], now: float) -> str:
    """Returns the status document, as `read` returned it, as text for a terminal. Each figure has
    the name that it has in the document."""
    lines = [f"S3 mirror: {document['health']}"]
    lines += [f"  because      {reason}" for reason in document["reasons"][:MOST_REASONS]]
    if "counts" in document:
        lines += _details(document, now)
    return "\n".join(map(plain, lines))


def _lately(seconds: float) -> str:
    """Returns how long the ledger remembers an upload. The recorder's remembers all."""
    return f" in the last {span(seconds)}" if seconds < TEN_YEARS else ""


def _details(document: Mapping[str, Any], now: float) -> list[str]:
    counts, target, paths = document["counts"], document["target"], document["paths"]
    number = {name: f"{count:,}" for name, count in counts.items() if name != "kinds"}
    megabytes = f"{document['spool_bytes'] / 1e6:,.1f} MB"
    lines = [
        f"  {_where(target)}, {_service(document, now)}",
        f"  uploaded     {number['uploaded']}{_lately(document['kept_for'])}, "
        f"the last one {_ago(document['last_success'], now)}",
        f"  pending      {number['pending']} (retrying {number['retrying']}), "
        f"behind by {span(document['behind'])}",
        f"  waiting      {number['waiting']} for a file that is not there yet or incomplete",
        f"  failed       {number['failed']} for good, lost {number['lost']}, "
        f"flawed {number['flawed']}, acknowledged {number['acknowledged']}",
        f"  gone         {number['gone']} without a file",
        f"  attempts     successes {document['successes']:,}, failures {document['failures']:,} "
        f"since the start {_ago(document['started_at'], now)}",
        f"  spool        {document['spool_files']:,} files, {megabytes}",
    ]
    if counts["forgotten"]:
        told = "older uploads, which the ledger no longer remembers"
        lines.insert(2, f"  forgotten    {number['forgotten']} {told}")
    if document["source"]:
        lines.insert(0, f"  source       {document['source']}")
    if counts["unwanted"]:
        lines.append(f"  unwanted     {number['unwanted']} left out by your filters")
    if len(counts["kinds"]) > 1:
        lines += [
            f"  {kind:<12} " + ", ".join(f"{count:,} {state}" for state, count in states.items())
            for kind, states in counts["kinds"].items()
        ]
    if not document["running"]:
        lines.insert(
            0, f"  last status  {_ago(document['written_at'], now)}; everything below is from then"
        )
    if error := document["last_error"]:
        lines.append(f"  last error   {_ago(error['at'], now)}: {error['message']}")
        if error["hint"]:
            lines.append(f"  what to do   {error['hint']}")
    lines.append(f"  ledger       {paths.get('ledger', '?')}")
    if other := paths.get("other ledger"):
        lines.append(f"               and {other}, which cannot be written")
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return [*lines, f"  versions     {versions}"]


def _where(target: Mapping[str, str]) -> str:
    if "remote" in target:
        return f"remote       {target['remote']}"
    return f"bucket       {target.get('bucket', '?')} at {target.get('endpoint', '?')}"


def _service(document: Mapping[str, Any], now: float) -> str:
    """Returns in words how the bucket is, or was when a mirror that has ended looked last."""
    answered = "up" if document["service_answered"] else "no answer yet"
    state = "down" if document["service_down"] else answered
    if document["running"]:
        return f"{state} for {span(now - document['service_since'])}"
    return f"{state} then"


def _ago(at: float | None, now: float) -> str:
    """Returns in words how long ago `at` was."""
    return "never" if at is None else f"{span(now - at)} ago"


def span(seconds: float) -> str:
    """Returns a length of time in its two largest units: 3 d 4 h, 12 min 5 s."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])
