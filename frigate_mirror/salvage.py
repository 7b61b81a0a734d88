"""What can still be read in a ledger that was put aside: the artifacts of its queue.

Each has a checksum, so what is read is right. SQLite stops at the first page that it cannot read;
so the table is read from both its ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from frigate_mirror.artifacts import Artifact
from frigate_mirror.entries import entry_of
from frigate_mirror.schema import LEFT_FROM_ABOVE, LEFT_FROM_BELOW
from frigate_mirror.store import readable


def artifacts_in(path: Path) -> Iterator[Artifact]:
    """What the damaged ledger at `path` had neither uploaded nor given up."""
    last = ""
    for query in (LEFT_FROM_BELOW, LEFT_FROM_ABOVE):
        for row in readable(path, query, (last,)):
            with suppress(TypeError, ValueError):
                artifact = entry_of(row).artifact
                yield artifact
                if query is LEFT_FROM_BELOW:
                    last = artifact.id
