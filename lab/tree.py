"""The git tree that a report speaks of. A report names a commit, so it needs a tree that is one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.rig import ROOT


def commit(report: Path) -> str:
    """The commit that is checked out, with `-dirty` behind it where `refusal` is not empty."""
    name = _git("rev-parse", "--short", "HEAD")
    if name is None:
        return "unknown"
    return f"{name.strip()}-dirty" if refusal(report) else name.strip()


def refusal(report: Path) -> str:
    """Why no report of this tree may be written to `report`, as a sentence. Empty if it may.

    Changes of tracked files must be committed. Changes of the report itself and files that git does
    not track do not count."""
    told = _git("diff", "--name-only", "-z", "HEAD")
    if told is None:
        return f"{report} is not written: {ROOT} is not a git checkout, so it could name no commit."
    changed = [name for name in told.split("\0") if name and ROOT / name != report.resolve()]
    if not changed:
        return ""
    named = ", ".join(changed[:3]) + (" and others" if len(changed) > 3 else "")
    return f"{report} is not written: commit the changes of {named} first, then run this again."


def _git(*words: str) -> str | None:
    """What git says of this tree; None where it cannot say anything."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
