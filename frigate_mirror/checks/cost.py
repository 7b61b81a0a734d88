"""Says what the newest pictures cost in two storage classes of AWS, and which files are too small
for one of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from frigate_mirror.artifact import kind_of
from frigate_mirror.checks.finding import NOTE, OK, Finding
from frigate_mirror.frigate import snapshots
from frigate_mirror.keys import KINDS, METADATA, SNAPSHOT, THUMBNAIL
from frigate_mirror.ledger import folders
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.settings.settings import Settings, is_aws
from frigate_mirror.sinks.s3.storage import PRICES_OF, STANDARD, STANDARD_IA, break_even

SAMPLE = 1_000  # pictures
SMALL = (THUMBNAIL, METADATA)  # kinds whose files have a few KB


def cost(loaded: Settings) -> Iterator[Finding]:
    """Says what the files of the owner's kinds cost on AWS. Other services have other prices."""
    if not is_aws(loaded.s3.endpoint_url):
        return
    if SNAPSHOT in loaded.kinds.kinds:
        yield from _pictures(loaded)
    small = [kind for kind in SMALL if kind in loaded.kinds.kinds]
    if small and loaded.s3.storage_class == STANDARD_IA.name:
        yield Finding(
            NOTE,
            f"cost: a {' or a '.join(small)} file has a few KB, and AWS bills at least 128 KB for "
            "it in STANDARD_IA",
            "S3_STORAGE_CLASS=AUTO stores small files as STANDARD",
        )


def _pictures(loaded: Settings) -> Iterator[Finding]:
    """Says what the newest pictures cost in two storage classes of AWS, and which is cheaper."""
    sizes = newest_sizes(loaded)
    if not sizes:
        return
    for sentence in prices(sizes):
        yield Finding(OK, sentence)
    if loaded.s3.storage_class == STANDARD_IA.name and break_even(sizes) != 1:
        advice = "S3_STORAGE_CLASS=STANDARD chooses it; AUTO chooses for each file by its size"
        yield Finding(NOTE, verdict(sizes), advice)
    else:
        yield Finding(OK, verdict(sizes))


def newest_sizes(loaded: Settings) -> list[int]:
    """Returns the sizes in bytes of the newest thousand pictures: of those that the ledger knows
    as uploaded, or else of those in Frigate's clips folder. Returns none if neither can be read."""
    for path in folders.ledgers(loaded.state):
        try:
            ledger = Ledger(path, alone=False)
            try:
                rows = ledger.uploaded_keys(-math.inf, math.inf, len(KINDS) * SAMPLE)
            finally:
                ledger.close()
        except LedgerError:
            continue
        # A size of 0 is unknown.
        if sizes := [size for one, _, size in rows if size and kind_of(one) == SNAPSHOT]:
            return sizes[:SAMPLE]
    try:
        return snapshots.newest_sizes(loaded.frigate.clips_dir, SAMPLE)
    except OSError:
        return []


def prices(sizes: list[int]) -> list[str]:
    """Returns a sentence for each class: what a thousand pictures of these sizes cost in it."""
    average = -(-sum(sizes) // len(sizes) // 1_000)
    cents = 100 * 1_000 / len(sizes)
    standard, infrequent = (
        f"{kind.upload(sizes) * cents:.2f} cents to upload and {kind.month(sizes) * cents:.2f} "
        f"cents a month in {kind.name}"
        for kind in (STANDARD, STANDARD_IA)
    )
    return [
        f"cost: a thousand pictures like your newest {len(sizes):,} ({average} KB on average) cost "
        f"{standard}",
        f"cost: they cost {infrequent}, where AWS bills at least 128 KB and 30 days for each",
    ]


def verdict(sizes: list[int]) -> str:
    """Returns a sentence that says which of the two classes is cheaper."""
    months = break_even(sizes)
    if months is None:
        cheaper = "STANDARD is cheaper, however long you keep the pictures"
    elif months == 1:
        cheaper = "STANDARD_IA is cheaper if you keep the pictures for 30 days or longer"
    else:
        days = f"{months * 30:,.0f} days"
        cheaper = f"STANDARD is cheaper if you keep the pictures for less than {days}"
    return f"cost: {cheaper} (AWS's prices, {PRICES_OF})"
