"""A lost or damaged ledger comes back: from the state files at once, from the bucket on demand."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from frigate_mirror.artifact import event_of
from frigate_mirror.keys import KeyCodec, KeyFault
from frigate_mirror.ledger.connection import ENDINGS, LedgerDamaged, LedgerError
from frigate_mirror.ledger.ledger import Ledger, Row
from frigate_mirror.ledger.rows import Counts, Settled
from frigate_mirror.ledger.statefiles import StateFile
from frigate_mirror.sinks.sink import Stored

log = logging.getLogger("frigate_s3.ledger")
KEPT = 3  # damaged ledgers


def open_ledger(path: Path, uploaded: StateFile, failed: StateFile) -> Ledger:
    """The ledger at `path`. A damaged one is put aside, and an empty one is filled from the state
    files, so that nothing in the bucket is uploaded again. Raises LedgerError, OSError."""
    try:
        ledger, empty = _open(path)
    except LedgerDamaged as error:
        aside = put_aside(path)
        log.warning("S3 ledger damaged, kept as %s and made anew: %s", aside, error)
        ledger, empty = _open(path)
    if empty:
        dead = {one.id: one for one in failed.read()}
        count = ledger.add_settled(
            # What failed after its upload has vanished from the bucket.
            _rows((one for one in uploaded.read() if not _later(dead.get(one.id), one)), "uploaded")
        )
        count += ledger.add_settled(_rows(dead.values(), "failed"))
        if count:
            log.info("S3 ledger rebuilt from the state files: %d artifact(s)", count)
    return ledger


def _later(one: Settled | None, other: Settled) -> bool:
    return one is not None and one.at > other.at


def _open(path: Path) -> tuple[Ledger, bool]:
    """The ledger, and whether it is empty."""
    ledger = Ledger(path)
    try:
        return ledger, ledger.counts() == Counts()
    except LedgerError:
        ledger.close()  # else its end would later take away the files of the next one
        raise


def from_listing(listing: Iterable[Stored], keys: KeyCodec) -> Iterator[Row]:
    """Rows for the ledger of the objects in a bucket; what is none of ours is passed over."""
    for stored in listing:
        try:
            parts = keys.parse(stored.key)
        except KeyFault:
            continue
        yield (parts.artifact_id, parts.camera, stored.key, float(parts.started),
               stored.modified, "uploaded", stored.size, "")  # fmt: skip


def _rows(settled: Iterable[Settled], state: str) -> Iterator[Row]:
    for one in settled:
        camera = unquote(one.key.split("/")[-3]) if one.key.count("/") >= 2 else ""
        started = _seconds_in(event_of(one.id))
        began = one.at if started is None else started
        yield one.id, camera, one.key, began, one.at, state, 0, one.error


def _seconds_in(event_id: str) -> float | None:
    """The Unix time that Frigate's event ids begin with; None in any other id."""
    match = re.match(r"(\d{1,11}(?:\.\d+)?)-", event_id)
    return float(match[1]) if match else None


def put_aside(path: Path) -> Path:
    """Move a damaged ledger into a folder of its own, for whoever wants to look at it: which.
    The oldest of too many are deleted. Raises OSError."""
    others = _put_aside(path)
    newest = max((int(one.name.rpartition("-")[2]) for one in others), default=0)
    aside = path.with_name(f"{path.name}.damaged-{max(int(time.time()), newest + 1)}")
    aside.mkdir(mode=0o700)
    for ending in ENDINGS:
        part = path.with_name(path.name + ending)
        # A folder would keep the rest from being read.
        name = f"folder{ending}" if part.is_dir() else part.name
        with suppress(FileNotFoundError):
            part.replace(aside / name)
    for one in others[: 1 - KEPT]:
        shutil.rmtree(one, ignore_errors=True)
    return aside


def _put_aside(path: Path) -> list[Path]:
    """The folders of damaged ledgers, oldest first."""
    mark = re.compile(re.escape(path.name) + r"\.damaged-(\d{1,15})")
    found = [(mark.fullmatch(one.name), one) for one in path.parent.iterdir() if one.is_dir()]
    return [one for _, one in sorted((int(match[1]), one) for match, one in found if match)]
