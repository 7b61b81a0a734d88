"""Checks Frigate's database and folders, and the mirror's own folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frigate_mirror.catalog import CatalogError
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.keys import CLIP
from frigate_mirror.ledger import folders
from frigate_mirror.ledger.lock import LOCK_NAME, holder, is_locked
from frigate_mirror.mirror import target_of
from frigate_mirror.settings.settings import LEDGER_NAME, Settings, StateSettings
from frigate_mirror.untrusted import plain

MB = 1_000_000  # bytes


def paths(loaded: Settings) -> Iterator[Finding]:
    """Looks at Frigate's database and clips folder, and at the mirror's own folders."""

    database, clips = loaded.frigate.db_path, loaded.frigate.clips_dir
    try:
        FrigateDatabase(database).subjects(["0-check"])
        yield Finding(OK, f"Frigate's database {database} can be read")
    except CatalogError as error:
        yield Finding(
            FAULT, str(error), "run this inside Frigate's container, or set FRIGATE_DB_PATH"
        )
    yield _writable(loaded.state.folder, "ledger")
    yield from _ledgers(loaded.state)
    if not clips.is_dir():
        advice = "run this inside Frigate's container, or set FRIGATE_CLIPS_DIR"
        yield Finding(FAULT, f"no folder {clips}", advice)
        return
    yield Finding(OK, f"Frigate's clips folder {clips} is there")
    yield _writable(loaded.state.cache_dir, "state files")
    if loaded.spool.limit_mb:
        yield _linkable(loaded.state)


def companion(loaded: Settings, status: Mapping[str, Any]) -> Iterator[Finding]:
    """Looks at the companion's only folder. `status` is that of the companion that uses it."""
    folder = loaded.state.folder
    yield _writable(folder, "state")
    yield from _other_companion(loaded, status)
    yield from _room(loaded)


def _other_companion(loaded: Settings, status: Mapping[str, Any]) -> Iterator[Finding]:
    """Finds a companion that runs with this folder and has another destination."""
    if not is_locked(loaded.state.folder / LOCK_NAME):
        return
    other = holder(loaded.state)
    told, ours = status.get("target"), target_of(loaded)
    if told and told != ours:
        theirs = ", ".join(map(str, told.values()))
        yield Finding(
            FAULT,
            f"the state folder {loaded.state.folder} is in use by {other.name}, whose destination "
            f"is {plain(theirs)}",
            "set MIRROR_STATE_DIR to a folder of its own for each destination",
        )
    else:
        yield Finding(OK, f"the companion runs: {other.name}")


def _room(loaded: Settings) -> Iterator[Finding]:
    """Finds out whether the disk has room for all that may wait for its upload."""
    limits = {"MIRROR_SPOOL_LIMIT_MB": loaded.spool.limit_mb}
    if CLIP in loaded.kinds.kinds:
        limits["MIRROR_CLIP_SPOOL_MB"] = loaded.spool.clip_limit_mb
    most = sum(limits.values())
    folder = loaded.state.folder
    try:
        free = shutil.disk_usage(folder).free // MB
    except OSError:
        return  # `_writable` tells it
    named = " and ".join(limits)
    what = f"the disk of {folder} has {free:,} MB free, and {named} allow {most:,}"
    if free < most:
        yield Finding(
            NOTE, what, f"make room, or lower {named}, so that waiting files cannot fill it"
        )
    else:
        yield Finding(OK, what)


def _writable(folder: Path, purpose: str) -> Finding:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        return Finding(OK, f"{folder} can be written ({purpose})")
    except OSError as error:
        advice = "make it writable, or make room, or set MIRROR_STATE_DIR to another folder"
        return Finding(FAULT, f"cannot write {folder} ({purpose}): {error.strerror}", advice)


def _ledgers(state: StateSettings) -> Iterator[Finding]:
    """Finds another Frigate that uses the same state folder, and a second ledger."""
    taken = any(is_locked(folder / LOCK_NAME) for folder in state.dirs)
    other = holder(state)
    if taken and not other.ours:
        yield Finding(
            FAULT,
            f"the state folder {other.folder} is in use by {other.name}, for another clips folder",
            "set MIRROR_STATE_DIR to a folder of its own for each Frigate",
        )
    ledgers = folders.ledgers(state)
    if ledgers not in ([], [state.folder / LEDGER_NAME]):
        names = " and in ".join(str(ledger.parent) for ledger in ledgers)
        advice = "nothing to do: each start takes over what waits in the unused one"
        yield Finding(NOTE, f"there is a ledger in {names}", advice)


def _linkable(state: StateSettings) -> Finding:
    """Finds out whether the spool can hold files without a copy."""
    try:
        with tempfile.NamedTemporaryFile(dir=state.clips_dir, prefix=".s3-check-") as file:
            target = state.cache_dir / Path(file.name).name
            os.link(file.name, target)
            target.unlink()
        return Finding(OK, "the spool holds files by hard links, which cost no space")
    except OSError as error:
        return Finding(
            NOTE, f"no hard links here ({error.strerror}): the spool holds copies, which need space"
        )
