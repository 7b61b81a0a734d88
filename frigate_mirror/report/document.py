"""The report: one JSON document for machines, made of the newest status and the survey's figures.

It goes to the broker and to the page /status. docs/report-1.schema.json describes it. Names and
reasons come from other programs, so every text in it is one printable line, and every list is
bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from frigate_mirror.artifact import kind_of
from frigate_mirror.keys import utc
from frigate_mirror.ledger.rows import Dead
from frigate_mirror.report.status import DEGRADED, DOWN, MOST_REASONS, Status
from frigate_mirror.report.survey import Figures
from frigate_mirror.untrusted import plain

SCHEMA = 1
MOST_CAMERAS = 50  # the others are summed up
OTHERS = "(others)"
LONGEST_REASON = 300  # letters
_STATES = ("pending", "waiting", "uploaded", "failed", "lost", "gone", "unwanted")
_SUMS = ("retrying", "flawed", "acknowledged", "forgotten")


def report_of(status: Status, figures: Figures, name: str) -> dict[str, Any]:
    """Returns the report of the mirror `name`. Times are texts such as 2026-11-26T19:23:56Z, sizes
    are bytes, and lengths of time are seconds. What is unknown is None."""
    counts = status.counts
    reasons = [plain(reason, LONGEST_REASON) for reason in status.reasons[:MOST_REASONS]]
    return {
        "schema": SCHEMA,
        "name": name,
        "version": status.versions.get("mirror", ""),
        "written_at": utc(status.written_at),
        "started_at": utc(status.started_at),
        "status": status.health,
        "problem": status.health in (DEGRADED, DOWN),
        "reasons": reasons,
        "last_sync": _time(status.swept_at),
        "duration": None if status.sweep_took is None else round(status.sweep_took, 3),
        "last_upload": _time(status.last_success),
        "behind": round(status.behind, 1),
        "backlog": counts.pending + counts.waiting,
        "failed": counts.failed,
        "lost": counts.lost,
        "counts": {state: getattr(counts, state) for state in (*_STATES, *_SUMS)},
        "kinds": {kind: whole(states) for kind, states in counts.kinds.items()},
        "cameras": cameras_of(figures.cameras),
        "attempts": {"successes": status.successes, "failures": status.failures},
        "today": {"date": figures.day or None, "bytes": figures.bytes_today},
        "errors": [_error(dead) for dead in figures.dead],
        "last_error": _last_error(status),
        "storage": {
            "destination": {
                **{name: plain(text) for name, text in status.target.items()},
                "answers": status.service_answered and not status.service_down,
                "free": figures.remote_free,
            },
            "spool": {
                "files": status.spool_files,
                "bytes": status.spool_bytes,
                "free": figures.spool_free,
            },
        },
        "source": plain(status.source),
    }


def cameras_of(cameras: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Returns the counts of the cameras with most artifacts by their printable names, and the sum
    of all others, so that no number of cameras makes a report too large."""
    summed: dict[str, Counter[str]] = {}
    by_size = sorted(cameras, key=lambda camera: (-sum(cameras[camera].values()), camera))
    for rank, camera in enumerate(by_size):
        name = plain(camera, 100) if rank < MOST_CAMERAS else OTHERS
        summed.setdefault(name, Counter()).update(cameras[camera])
    return {name: whole(states) for name, states in summed.items()}


def whole(states: Mapping[str, int]) -> dict[str, int]:
    """Returns the counts of all states, also of those that nothing is in: a graph needs a zero."""
    return {state: states.get(state, 0) for state in _STATES}


def _error(dead: Dead) -> dict[str, str]:
    return {
        "kind": plain(kind_of(dead.id), 100),
        "event": plain(dead.id.partition(":")[2], 100),
        "camera": plain(dead.camera, 100),
        "started": utc(dead.started),
        "fate": "flawed" if dead.state == "uploaded" else dead.state,
        "reason": plain(dead.reason, LONGEST_REASON),
    }


def _last_error(status: Status) -> dict[str, str] | None:
    error = status.last_error
    if error is None:
        return None
    message = plain(error.message, LONGEST_REASON)
    return {"at": utc(error.at), "message": message, "hint": plain(error.hint, LONGEST_REASON)}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else utc(seconds)
