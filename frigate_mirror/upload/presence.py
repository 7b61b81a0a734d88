"""Compares the ledger with listings: does the bucket still hold what was uploaded to it?"""

from __future__ import annotations

from itertools import islice

from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.sinks.sink import Sink

SOME = 1_000  # artifacts that a daily look compares with a few requests
LONGEST_LISTING = 50_000  # objects of one camera's day that a daily look reads


def missing(
    ledger: Ledger, sink: Sink, since: float, until: float, newest: int
) -> tuple[int, list[str]]:
    """Compares the `newest` uploads whose subjects started from `since` to before `until`. Returns
    how many there are, and the ids of those that the bucket does not list or lists with another
    size. With -1 it compares all, however long the listing. Raises LedgerError and SinkError."""
    longest = None if newest < 0 else LONGEST_LISTING
    folders: dict[str, list[tuple[str, str, int]]] = {}
    uploads = ledger.uploaded_keys(since, until, newest)
    for artifact_id, key, size in uploads:
        folders.setdefault(key[: key.rfind("/") + 1], []).append((artifact_id, key, size))
    absent: list[tuple[str, str, int]] = []
    for folder, members in folders.items():
        listing = list(islice(sink.list(folder), longest))
        if len(listing) == longest:  # nobody knows what comes after the last listed key
            members = [member for member in members if member[1] <= listing[-1].key]
        sizes = {stored.key: stored.size for stored in listing}
        absent += [
            (artifact_id, key, size)
            for artifact_id, key, size in members
            if key not in sizes or (size and sizes[key] != size)
        ]
    # An artifact that was uploaded again meanwhile rightly has another size in the bucket.
    unchanged = set(ledger.uploaded_keys(since, until, newest)) if absent else set()
    return len(uploads), [upload[0] for upload in absent if upload in unchanged]
