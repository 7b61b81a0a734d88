"""A lost or damaged ledger comes back: from the state files at once, from the bucket on demand."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

from frigate_mirror.artifacts import event_of, snapshot_id
from frigate_mirror.entries import Counts, Settled
from frigate_mirror.keys import KeyCodec, KeyFault
from frigate_mirror.ledger import Ledger
from frigate_mirror.sink import Stored
from frigate_mirror.statefiles import StateFile
from frigate_mirror.store import LedgerDamaged

log = logging.getLogger("frigate_s3.ledger")
Row = tuple[str, str, str, float, float, str]


def open_ledger(path: Path, uploaded: StateFile, failed: StateFile) -> Ledger:
    """The ledger at `path`. A damaged one is put aside, and an empty one is filled from the state
    files, so that nothing in the bucket is uploaded again. Raises LedgerError."""
    try:
        ledger = Ledger(path)
        empty = ledger.counts() == Counts()
    except LedgerDamaged as error:
        aside = put_aside(path)
        log.warning("S3 ledger damaged, kept as %s and made anew: %s", aside, error)
        ledger, empty = Ledger(path), True
    if empty:
        rows = chain(_rows(uploaded.read(), "uploaded"), _rows(failed.read(), "failed"))
        if count := ledger.add_settled(rows):
            log.info("S3 ledger rebuilt from the state files: %d artifact(s)", count)
    return ledger


def from_listing(listing: Iterable[Stored], keys: KeyCodec) -> Iterator[Row]:
    """Rows for the ledger of the objects in a bucket; what is none of ours is passed over."""
    for stored in listing:
        try:
            parts = keys.parse(stored.key)
        except KeyFault:
            continue
        yield (snapshot_id(parts.event_id), parts.camera, stored.key, float(parts.started),
               stored.modified, "uploaded")  # fmt: skip


def _rows(settled: Iterable[Settled], state: str) -> Iterator[Row]:
    for one in settled:
        camera = unquote(one.key.split("/")[-3]) if one.key.count("/") >= 2 else ""
        started = _seconds_in(event_of(one.id))
        yield one.id, camera, one.key, one.at if started is None else started, one.at, state


def _seconds_in(event_id: str) -> float | None:
    """The Unix time that Frigate's event ids begin with; None in any other id."""
    match = re.match(r"(\d{1,11}(?:\.\d+)?)-", event_id)
    return float(match[1]) if match else None


def put_aside(path: Path) -> Path:
    """Move a damaged ledger out of the way, for whoever wants to look at it: to where."""
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    with suppress(FileNotFoundError):
        path.replace(aside)
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).replace(f"{aside}{ending}")
    return aside
