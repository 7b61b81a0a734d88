"""An upload in parts: how large the parts are, and which of them the service holds.

An upload that fails is remembered, so the next put of the same bytes sends only the parts that are
missing: while this process lives, and with a journal also after a crash. This module sends nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frigate_mirror.files import open_regular, replacing
from frigate_mirror.sinks.sink import Rejected

log = logging.getLogger("frigate_s3.s3")

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


class Journal:
    """Uploads that were begun and are not over, in the file `path`. Each line is a JSON document:
    an upload, a part that the service holds, or the end of an upload. Without a path it keeps
    nothing. A failure costs a repeated transfer at most, so nothing here raises."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> dict[str, Upload]:
        """Returns the uploads by key, and writes the file anew with these only."""
        uploads: dict[str, Upload] = {}
        if self._path is None:
            return {}
        with suppress(FileNotFoundError):
            try:
                with open_regular(self._path) as file:
                    lines = file.read().splitlines()
                for line in lines:
                    with suppress(ValueError, LookupError, TypeError, AttributeError):
                        _replay(json.loads(line), uploads)
                with replacing(self._path) as file:
                    for upload in uploads.values():
                        file.write(_line(_begun(upload)))
                        for part in upload.held.values():
                            file.write(_line({"id": upload.id, "part": part}))
            except FileNotFoundError:
                raise
            except OSError as error:
                log.warning("uploads in parts begin anew after a restart: %s", error)
        return {upload.content.key: upload for upload in uploads.values()}

    def begun(self, upload: Upload) -> None:
        self._append(_begun(upload))

    def held(self, upload: Upload, number: int) -> None:
        self._append({"id": upload.id, "part": upload.held[number]})

    def over(self, upload: Upload) -> None:
        self._append({"id": upload.id, "over": True})

    def _append(self, document: dict[str, Any]) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(_line(document))
        except OSError as error:
            log.debug("the journal of uploads cannot be written: %s", error)


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _begun(upload: Upload) -> dict[str, Any]:
    content = upload.content
    return {
        "id": upload.id, "part_size": upload.part_size, "key": content.key, "size": content.size,
        "sha256": content.sha256.hex(), "content_type": content.content_type,
        "metadata": content.metadata,
    }  # fmt: skip


def _replay(line: dict[str, Any], uploads: dict[str, Upload]) -> None:
    """Applies one line of a journal to the uploads by id. Raises LookupError, ValueError and the
    like for a line that no journal has."""
    if "over" in line:
        uploads.pop(line["id"], None)
    elif "part" in line:
        part = line["part"]
        uploads[line["id"]].held[int(part["PartNumber"])] = part
    else:
        content = Content(
            str(line["key"]), int(line["size"]), bytes.fromhex(line["sha256"]),
            str(line["content_type"]), dict(line["metadata"]),
        )  # fmt: skip
        uploads[line["id"]] = Upload(content, str(line["id"]), int(line["part_size"]))


def is_over(error: Exception) -> bool:
    """Whether an upload that failed with `error` can never be completed."""
    return isinstance(error, Rejected) or getattr(error, "code", "") in LOST
