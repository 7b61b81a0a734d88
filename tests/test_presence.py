"""Presence compares the ledger with the bucket's listing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_mirror.artifact import Artifact
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.rows import Priority, Settled
from frigate_mirror.sinks.sink import Stored
from frigate_mirror.upload import presence
from tests.rig.sinks import MemorySink

KEYS = [f"p/cam{n % 3}/2024-01-1{n % 2}/{n}-a-20240115_143022.jpg" for n in range(12)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as opened:
        opened.add_settled(
            (f"snapshot:{n}-a", f"cam{n % 3}", key, float(n), 1.0, "uploaded", 3, "")
            for n, key in enumerate(KEYS)
        )
        yield opened


@pytest.fixture
def sink() -> MemorySink:
    made = MemorySink()
    made.objects = dict.fromkeys(KEYS, b"abc")
    return made


def test_nothing_is_missing_while_the_bucket_lists_all_of_it(
    ledger: Ledger, sink: MemorySink
) -> None:
    assert presence.missing(ledger, sink, 0.0, math.inf, -1) == (12, [])


def test_an_upload_that_is_not_listed_or_has_another_size_is_missing(
    ledger: Ledger, sink: MemorySink
) -> None:
    del sink.objects[KEYS[5]]
    sink.objects[KEYS[7]] = b"ab"
    looked, missing = presence.missing(ledger, sink, 0.0, math.inf, -1)
    assert (looked, sorted(missing)) == (12, ["snapshot:5-a", "snapshot:7-a"])


def test_only_the_newest_uploads_of_the_span_are_compared(ledger: Ledger, sink: MemorySink) -> None:
    sink.objects.clear()
    looked, missing = presence.missing(ledger, sink, 2.0, 10.0, 3)
    assert (looked, sorted(missing)) == (3, ["snapshot:7-a", "snapshot:8-a", "snapshot:9-a"])


def test_an_unknown_size_is_no_difference(ledger: Ledger, sink: MemorySink) -> None:
    ledger.add_settled([("snapshot:99-a", "c", "p/c/d/99-a-20240115_143022.jpg", 9.0, 1.0,
                         "uploaded", 0, "")])  # fmt: skip
    sink.objects["p/c/d/99-a-20240115_143022.jpg"] = b"whatever"
    assert presence.missing(ledger, sink, 0.0, math.inf, -1) == (13, [])


def test_an_upload_after_the_end_of_a_shortened_listing_is_not_missing(
    ledger: Ledger, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LONGEST_LISTING", 1)
    del sink.objects[KEYS[0]]  # the listing ends with the one after it
    assert presence.missing(ledger, sink, 0.0, math.inf, 12) == (12, ["snapshot:0-a"])


def test_an_upload_that_is_repeated_while_the_bucket_is_listed_is_not_missing(
    ledger: Ledger, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, artifact_id, listed = KEYS[5], "snapshot:5-a", sink.list
    origin = "/clips/cam2-5-a.jpg"
    changed = Artifact(artifact_id, "cam2", 5.0, key, origin, 4, "image/jpeg", {}, "2")

    def list_late(prefix: str) -> Iterator[Stored]:
        sink.objects[key] = b"abcd"
        ledger.add(changed, Priority.LIVE, 2.0)
        ledger.settle([Settled(3.0, artifact_id, key, version="2", size=4)])
        return listed(prefix)

    monkeypatch.setattr(sink, "list", list_late)
    assert presence.missing(ledger, sink, 0.0, math.inf, -1) == (12, [])


def test_all_are_compared_however_long_the_listing(
    ledger: Ledger, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LONGEST_LISTING", 1)
    last = max(KEYS)
    del sink.objects[last]
    number = last.rpartition("/")[2].partition("-")[0]
    assert presence.missing(ledger, sink, 0.0, math.inf, -1) == (12, [f"snapshot:{number}-a"])
