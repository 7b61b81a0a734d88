"""Whether the bucket still holds what was uploaded to it: the ledger held against listings."""

from __future__ import annotations

from itertools import islice

from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.sinks.sink import Sink

SOME = 1_000  # artifacts, for a look that costs a few requests
LONGEST_LISTING = 50_000  # objects of one camera's day, for that look


def missing(
    ledger: Ledger, sink: Sink, since: float, until: float, newest: int
) -> tuple[int, list[str]]:
    """Of the `newest` uploaded artifacts of events that started in this span: how many there are,
    and the ids of those that the bucket does not list, or lists with another size. With -1 it is
    all of them, however long the listing. Raises LedgerError and SinkError."""
    longest = None if newest < 0 else LONGEST_LISTING
    folders: dict[str, list[tuple[str, str, int]]] = {}
    known = ledger.uploaded_keys(since, until, newest)
    for artifact_id, key, size in known:
        folders.setdefault(key[: key.rfind("/") + 1], []).append((artifact_id, key, size))
    absent: list[tuple[str, str, int]] = []
    for folder, members in folders.items():
        listing = list(islice(sink.list(folder), longest))
        if len(listing) == longest:  # what comes after it is not known
            members = [one for one in members if one[1] <= listing[-1].key]
        sizes = {stored.key: stored.size for stored in listing}
        absent += [
            (artifact_id, key, size)
            for artifact_id, key, size in members
            if key not in sizes or (size and sizes[key] != size)
        ]
    # What was uploaded again since it was read has another size in the bucket by right.
    still = set(ledger.uploaded_keys(since, until, newest)) if absent else set()
    return len(known), [one[0] for one in absent if one in still]
