"""Sinks without a server, for tests of what stands above a sink."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from frigate_mirror.sinks.sink import Probe, Receipt, Rejected, SinkError, Stored


class MemorySink:
    """A sink that keeps objects in a dictionary. It first raises its `failures`, one per call. It
    allows no deletion unless it is `deletable`."""

    def __init__(self) -> None:
        self.deletable: bool | None = False
        self.deletes: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.content_types: dict[str, str] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.puts: list[str] = []
        self.failures: list[SinkError] = []

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Receipt:
        self.puts.append(key)
        if self.failures:
            raise self.failures.pop(0)
        data = body.read()
        self.objects[key] = data
        self.content_types[key] = content_type
        self.metadata[key] = dict(metadata)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        sha256 = hashlib.sha256(data).hexdigest()
        return Receipt(key=key, size=len(data), etag=etag, sha256=sha256)

    def check(self) -> Probe:
        if self.failures:
            raise self.failures[0]
        return Probe(took=0.0, clock_skew=0.0)

    def list(self, prefix: str) -> Iterator[Stored]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield Stored(key=key, size=len(self.objects[key]), modified=0.0)

    def may_delete(self, key: str) -> bool | None:
        self.deletes.append(key)
        if self.failures:
            raise self.failures.pop(0)
        if self.deletable:
            del self.objects[key]
        return self.deletable

    def open(self, key: str) -> BinaryIO:
        """The stored bytes of `key`; KeyError where there are none."""
        return io.BytesIO(self.objects[key])


class FaultySink(MemorySink):
    """Calls `before` and then `fault` in each put. What `fault` raises is the result of the put."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[str], None] = lambda key: None
        self.before: Callable[[str], None] = lambda key: None

    def put(
        self, key: str, body: BinaryIO, *, content_type: str, metadata: Mapping[str, str]
    ) -> Receipt:
        self.before(key)
        try:
            self.fault(key)
        except BaseException:
            self.puts.append(key)
            raise
        return super().put(key, body, content_type=content_type, metadata=metadata)


class MemoryArchive(MemorySink):
    """The same dictionary as an `Archive`. `before` is called before each operation with its name
    and what it is about, and may raise. `reads` are the keys that were read, `removed` the folders
    that somebody wanted to remove, and `undeletable` are keys that stay, with the reason."""

    def __init__(self, batch: int = 1_000) -> None:
        super().__init__()
        self.batch = batch
        self.clock_skew: float | None = 0.0
        self.reads: list[str] = []
        self.removed: list[str] = []
        self.undeletable: dict[str, str] = {}
        self.before: Callable[[str, str], None] = lambda operation, what: None

    def check(self) -> Probe:
        return Probe(took=0.0, clock_skew=self.clock_skew)

    def list(self, prefix: str) -> Iterator[Stored]:
        for stored in list(super().list(prefix)):
            self.before("list", stored.key)
            etag = hashlib.md5(self.objects[stored.key], usedforsecurity=False).hexdigest()
            yield Stored(stored.key, stored.size, stored.modified, etag)

    def read(self, key: str, most: int) -> bytes | None:
        self.before("read", key)
        self.reads.append(key)
        data = self.objects.get(key)
        if data is not None and len(data) > most:
            raise Rejected(f"read {key}: too large")
        return data

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        for key in keys:
            self.before("delete", key)
            if key not in self.undeletable:
                self.objects.pop(key, None)
        return {key: self.undeletable[key] for key in keys if key in self.undeletable}

    def remove_folder(self, folder: str) -> None:
        self.before("remove", folder)
        self.removed.append(folder)

    def fate(self) -> str:
        return ""

    def archive(self) -> MemoryArchive:
        return self
