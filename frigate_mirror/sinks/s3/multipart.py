"""An upload in parts: how large the parts are, and which of them the service holds.

An upload that fails is remembered while this process lives, so the next put of the same bytes sends
only the parts that are missing. This module sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from frigate_mirror.sinks.sink import Rejected

PART = 16 * 1024 * 1024
"""Bytes of a part. S3 accepts parts of at least 5 MiB."""
MOST_PARTS = 10_000  # that S3 accepts in one upload
REMEMBERED = 4  # uploads that have failed; the mirror sends one large file at a time
LOST = {"NoSuchUpload", "InvalidPart", "InvalidPartOrder"}
"""The service no longer has the upload or one of its parts."""


def goes_in_parts(size: int, part_size: int) -> bool:
    """Whether a body of `size` bytes is longer than four parts."""
    return size > 4 * part_size


def size_of_parts(size: int, part_size: int) -> int:
    """Returns `part_size`, or more for a body that would have too many parts."""
    return max(part_size, -(-size // MOST_PARTS))


@dataclass(frozen=True, slots=True)
class Content:
    """What an upload is for. Only a put of the same content may go on with it."""

    key: str
    size: int
    sha256: bytes
    content_type: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun. The service calls it `id`. `held` are the parts that the service
    has confirmed, by number, as complete_multipart_upload takes them."""

    content: Content
    id: str
    part_size: int
    held: dict[int, dict[str, Any]] = field(default_factory=dict)

    def missing(self) -> Iterator[tuple[int, int]]:
        """Yields the number of each part that the service does not hold, and where it begins."""
        for number, start in enumerate(range(0, self.content.size, self.part_size), 1):
            if number not in self.held:
                yield number, start

    def parts(self) -> list[dict[str, Any]]:
        """Returns all parts in their order, as complete_multipart_upload takes them."""
        return [self.held[number] for number in sorted(self.held)]


def is_over(error: Exception) -> bool:
    """Whether an upload that failed with `error` can never be completed."""
    return isinstance(error, Rejected) or getattr(error, "code", "") in LOST
