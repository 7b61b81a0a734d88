"""Artifact: one file on its way to the destination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from frigate_mirror.files import open_original


def open_file(artifact: Artifact) -> BinaryIO:
    """Opens an artifact whose origin is the path of a file. Raises OSError."""
    return open_original(artifact.origin)


Opener = Callable[["Artifact"], BinaryIO]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of one subject, on its way to one key.

    id            `{kind}:{subject id}`, the artifact's name in the ledger
    started       Unix seconds at which the subject started
    origin        where the bytes come from, in words that the kind understands; often a path
    size          bytes that the file had when it was seen
    metadata      object metadata, ready for the sink
    version       changes whenever the file or its description changes
    flaw          why the bytes are incomplete, in a few words; empty where they are complete
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
    opener: Opener = field(default=open_file, repr=False, compare=False)

    def open(self) -> BinaryIO:
        """Opens the bytes at their origin. Raises FileNotFoundError if they no longer exist, and
        OSError for any other failure."""
        return self.opener(self)


def subject_of(artifact_id: str) -> str:
    """Returns the id of the subject that the artifact belongs to."""
    return artifact_id.partition(":")[2]


def kind_of(artifact_id: str) -> str:
    """Returns the name of the artifact's kind."""
    return artifact_id.partition(":")[0]
