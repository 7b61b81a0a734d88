"""Restores a lost or damaged ledger: from the state files at once, from the bucket on demand."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from frigate_mirror.artifact import subject_of
from frigate_mirror.keys import KeyCodec, KeyFault
from frigate_mirror.ledger.database import ENDINGS, LedgerDamaged, LedgerError
from frigate_mirror.ledger.ledger import Ledger, Row
from frigate_mirror.ledger.rows import Counts, Settled
from frigate_mirror.ledger.statefiles import StateFile
from frigate_mirror.sinks.sink import Stored

log = logging.getLogger("frigate_s3.ledger")
KEPT = 3  # damaged ledgers


def open_ledger(path: Path, uploaded: StateFile, failed: StateFile) -> Ledger:
    """Opens the ledger at `path`. A damaged one is put aside, and an empty one is filled from the
    state files, so that nothing in the bucket is uploaded again. Raises LedgerError, OSError."""
    try:
        ledger, empty = _open(path)
    except LedgerDamaged as error:
        aside = put_aside(path)
        log.warning("S3 ledger damaged, kept as %s; a new ledger replaces it: %s", aside, error)
        ledger, empty = _open(path)
    if empty:
        dead = {line.id: line for line in failed.read()}
        # A file that is in both has vanished from the bucket if its failure is the later line.
        there = (line for line in uploaded.read() if not _is_later(dead.get(line.id), line))
        count = ledger.add_settled(_rows(there, "uploaded"))
        count += ledger.add_settled(_rows(dead.values(), "failed"))
        if count:
            log.info("S3 ledger rebuilt from the state files: %d file(s)", count)
    return ledger


def _is_later(line: Settled | None, other: Settled) -> bool:
    return line is not None and line.at > other.at


def _open(path: Path) -> tuple[Ledger, bool]:
    """Returns the ledger, and whether it is empty."""
    ledger = Ledger(path)
    try:
        return ledger, ledger.counts() == Counts()
    except LedgerError:
        ledger.close()  # closing it later would delete files of the ledger that replaces it
        raise


def from_listing(listing: Iterable[Stored], keys: KeyCodec) -> Iterator[Row]:
    """Yields the ledger's rows for the objects of a bucket. Objects with other keys are left
    out."""
    for stored in listing:
        try:
            parts = keys.parse(stored.key)
        except KeyFault:
            continue
        yield (parts.artifact_id, parts.camera, stored.key, float(parts.started),
               stored.modified, "uploaded", stored.size, "")  # fmt: skip


def _rows(lines: Iterable[Settled], state: str) -> Iterator[Row]:
    for line in lines:
        camera = unquote(line.key.split("/")[-3]) if line.key.count("/") >= 2 else ""
        started = _seconds_in(subject_of(line.id))
        if started is None:
            started = line.at
        yield line.id, camera, line.key, started, line.at, state, 0, line.error


def _seconds_in(event_id: str) -> float | None:
    """Returns the Unix time that Frigate's event ids begin with, or None for any other id."""
    match = re.match(r"(\d{1,11}(?:\.\d+)?)-", event_id)
    return float(match[1]) if match else None


def put_aside(path: Path) -> Path:
    """Moves a damaged ledger into a new folder beside it, where somebody can look at it, and
    returns that folder. Keeps the newest KEPT of these folders. Raises OSError."""
    earlier = _folders_of_damaged(path)
    newest = max((int(folder.name.rpartition("-")[2]) for folder in earlier), default=0)
    aside = path.with_name(f"{path.name}.damaged-{max(int(time.time()), newest + 1)}")
    aside.mkdir(mode=0o700)
    for ending in ENDINGS:
        part = path.with_name(path.name + ending)
        # Under its own name, a folder would keep SQLite from reading the rest.
        name = f"folder{ending}" if part.is_dir() else part.name
        with suppress(FileNotFoundError):
            part.replace(aside / name)
    for folder in earlier[: 1 - KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
    return aside


def _folders_of_damaged(path: Path) -> list[Path]:
    """Returns the folders of damaged ledgers, oldest first."""
    mark = re.compile(re.escape(path.name) + r"\.damaged-(\d{1,15})")
    dated = [(mark.fullmatch(entry.name), entry) for entry in path.parent.iterdir()]
    folders = [(int(match[1]), entry) for match, entry in dated if match and entry.is_dir()]
    return [entry for _, entry in sorted(folders)]
