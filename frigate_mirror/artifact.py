"""Artifact: one file on its way to the destination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from frigate_mirror.files import open_original


def open_file(artifact: Artifact, path: str = "") -> BinaryIO:
    """Opens the file `path`, or the one that the artifact's origin names. Raises OSError."""
    return open_original(path or artifact.origin)


Opener = Callable[["Artifact"], BinaryIO]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of one subject, on its way to one key.

    id            the artifact's name in the ledger (`keys.artifact_id`)
    started       Unix seconds at which the subject started
    origin        where the bytes come from, in words that the kind understands; often a path
    size          bytes that the file had when it was seen
    metadata      object metadata, ready for the sink
    version       changes whenever the file or its description changes
    flaw          why the bytes are incomplete, in a few words; empty where they are complete
    digest        SHA-256 in hex of the bytes that the spool holds, where it was taken
    about         what the ledger remembers of the file for as long as it knows it, ready for JSON
    bulk          whether the file is so large that it is uploaded apart from the others
    """

    id: str
    camera: str
    started: float
    key: str
    origin: str
    size: int
    content_type: str
    metadata: Mapping[str, str]
    version: str = ""
    flaw: str = ""
    digest: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    bulk: bool = False
    opener: Opener = field(default=open_file, repr=False, compare=False)

    def open(self) -> BinaryIO:
        """Opens the bytes at their origin. Raises FileNotFoundError if they no longer exist, and
        OSError for any other failure."""
        return self.opener(self)


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of an artifact in any state: `size`, `digest` and `version` are those
    of the bytes in the queue or uploaded last. `why` says why there is no file, or is empty."""

    id: str
    state: str
    key: str
    size: int
    digest: str
    version: str
    about: Mapping[str, Any]
    why: str


def subject_of(artifact_id: str) -> str:
    """Returns the id of the subject that the artifact belongs to."""
    return artifact_id.split(":")[1]


def kind_of(artifact_id: str) -> str:
    """Returns the name of the artifact's kind."""
    return artifact_id.partition(":")[0]
