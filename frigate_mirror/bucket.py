"""Whether the bucket still holds what was uploaded to it: the ledger held against listings."""

from __future__ import annotations

from itertools import islice

from frigate_mirror.ledger import Ledger
from frigate_mirror.sink import Sink

SOME = 1_000  # artifacts, for a look that costs a few requests
LONGEST_LISTING = 50_000  # objects of one camera's day


def missing(
    ledger: Ledger, sink: Sink, since: float, until: float, newest: int
) -> tuple[int, list[str]]:
    """Of the `newest` uploaded artifacts of events that started in this span: how many there are,
    and the ids of those that the bucket does not list, or lists with another size. Raises
    LedgerError and SinkError."""
    folders: dict[str, list[tuple[str, str, int]]] = {}
    known = ledger.uploaded_keys(since, until, newest)
    for artifact_id, key, size in known:
        folders.setdefault(key[: key.rfind("/") + 1], []).append((artifact_id, key, size))
    absent: list[str] = []
    for folder, members in folders.items():
        listing = list(islice(sink.list(folder), LONGEST_LISTING))
        if len(listing) == LONGEST_LISTING:  # what comes after it is not known
            members = [one for one in members if one[1] <= listing[-1].key]
        sizes = {stored.key: stored.size for stored in listing}
        absent += [
            artifact_id
            for artifact_id, key, size in members
            if key not in sizes or (size and sizes[key] != size)
        ]
    return len(known), absent
