"""What the mirror asks of a recorder: which subjects exist, and which files belong to each.

A *subject* is what a file belongs to: an event of Frigate, or a segment of a recording. A *catalog*
lists the subjects; a *kind* finds one sort of file of a subject. Intake, ledger, spool and uploader
know subjects, catalogs and kinds by these protocols only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol, TypeVar

from frigate_mirror.artifact import Artifact, Opener, kind_of, open_file
from frigate_mirror.faults import PartError


class CatalogError(PartError):
    """The catalog cannot be read at the moment. A later call may succeed."""

    part = "database"


class Subject(Protocol):
    """What a file belongs to. `started` and `ended` are Unix seconds; `ended` is None while the
    subject goes on."""

    @property
    def id(self) -> str: ...
    @property
    def camera(self) -> str: ...
    @property
    def started(self) -> float: ...
    @property
    def ended(self) -> float | None: ...


S = TypeVar("S", bound=Subject)
S_co = TypeVar("S_co", bound=Subject, covariant=True)
S_contra = TypeVar("S_contra", bound=Subject, contravariant=True)


class Catalog(Protocol[S_co]):
    """Lists the subjects that a recorder knows. It is safe to use from several threads. Every
    method raises CatalogError."""

    def subjects(self, ids: Sequence[str]) -> Sequence[S_co]:
        """Returns the subjects with these ids. Ids that the recorder does not know are left out."""
        ...

    def window(self, since: float, until: float) -> Iterator[list[str]]:
        """Yields, in pages, the ids of all subjects that may have files and started from `since`
        to before `until` (Unix seconds)."""
        ...

    def ended_since(self, ended: float, since: float, most: int) -> Sequence[str]:
        """Returns the ids of the `most` subjects that ended last, among those that started from
        `since` on and ended from `ended` on."""
        ...


class Kind(Protocol[S_contra]):
    """One sort of file that a subject can have. `name` begins the ids of its artifacts."""

    @property
    def name(self) -> str: ...

    def is_final(self, subject: S_contra) -> bool:
        """Returns whether the subject has a file of this kind that will not change any more."""
        ...

    def find(self, subject: S_contra, held: str) -> Artifact | None:
        """Returns the artifact as the file is now, or None while there is no file. `held` is the
        path at which the spool may hold the file's bytes after the recorder has deleted its own.
        Raises KeyFault for a subject that can have no key."""
        ...

    def flaw(self, file: BinaryIO) -> str:
        """Returns why the bytes in `file` are incomplete, in a few words, or an empty text."""
        ...

    def why_unseen(self, subject: S_contra) -> str:
        """Returns why nobody can tell whether the file exists, for example because a disk fails.
        Returns an empty text where it is certain that there is none."""
        ...

    def open(self, artifact: Artifact) -> BinaryIO:
        """Opens the bytes of an artifact that `find` made, perhaps before a restart. Raises
        FileNotFoundError if they no longer exist, and OSError for any other failure."""
        ...


def opener_of(kinds: Iterable[Kind[Any]]) -> Opener:
    """Returns a function that opens an artifact as its kind does. A kind that is no longer mirrored
    counts as a file."""
    openers = {kind.name: kind.open for kind in kinds}
    return lambda artifact: openers.get(kind_of(artifact.id), open_file)(artifact)
