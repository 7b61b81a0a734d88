"""What the mirror asks of a recorder: which subjects exist, and which files belong to each.

A *subject* is what a file belongs to: an event of Frigate, or a segment of a recording. A *catalog*
lists the subjects; a *kind* finds one sort of file of a subject. Intake, ledger, spool and uploader
know subjects, catalogs and kinds by what stands here only.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

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


class NotYet(Exception):
    """The file is not there yet, but will come. `seconds` says when to look again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"look again in {seconds:g} s")
        self.seconds = seconds


class NoFile(Exception):
    """The subject has no file of this kind, and will have none. The text says why."""


class Kind(Generic[S_contra]):
    """One sort of file that a subject can have. A subclass has a name and `find`; the other methods
    suit a file that is complete as soon as its subject has ended.

    name      begins the ids of the kind's artifacts
    bulk      whether its files are large and take long to make; then they are made and uploaded
              one at a time, apart from all others
    follows   whether its file describes the subject's other files, so that it is looked at again
              whenever one of them is uploaded or turns out to be missing
    changes   whether its file can change after the upload, so that it is compared again; a bulk
              file never does
    """

    name = ""
    bulk = False
    follows = False
    changes = True

    def is_final(self, subject: S_contra) -> bool:
        """Returns whether a file of this kind, if the subject has one, will not change any more."""
        return subject.ended is not None

    def find(self, subject: S_contra, held: str) -> Artifact | None:
        """Returns the artifact as the file is now, or None while there is no file. `held` is the
        path at which the spool may hold the file's bytes after the recorder has deleted its own.
        Raises NotYet, NoFile, and KeyFault for a subject that can have no key."""
        raise NotImplementedError

    def make(self, subject: S_contra, held: str) -> AbstractContextManager[Sequence[Artifact]]:
        """Makes the file and returns its artifact, or one for each of its parts, or none while
        there is no file. The bytes stay where they are until the context ends. Raises what `find`
        raises, and OSError."""
        found = self.find(subject, held)
        return nullcontext([found] if found else [])

    def renew(self, held: Artifact, file: BinaryIO) -> Artifact | None:
        """Returns a file that describes others as it is now, by what the held one in `file` says,
        because the catalog does not know the subject any more. None if that is not possible."""
        return None

    def flaw(self, file: BinaryIO) -> str:
        """Returns why the bytes in `file` are incomplete, in a few words, or an empty text."""
        return ""

    def why_unseen(self, subject: S_contra) -> str:
        """Returns why nobody can tell whether the file exists, for example because a disk fails.
        Returns an empty text where it is certain that there is none."""
        return ""

    def open(self, artifact: Artifact) -> BinaryIO:
        """Opens the bytes of an artifact that `find` or `make` returned, perhaps before a restart.
        Raises FileNotFoundError if they no longer exist, and OSError for any other failure."""
        return open_file(artifact)

    def stop(self) -> None:
        """Ends what `make` or `open` does in another thread, because the mirror stops."""


def opener_of(kinds: Iterable[Kind[Any]]) -> Opener:
    """Returns a function that opens an artifact as its kind does. Of a kind that is no longer
    mirrored, only an origin that is a path can be opened. The function raises OSError also if the
    kind cannot read the catalog, because only this artifact has to wait for that."""
    openers = {kind.name: kind.open for kind in kinds}

    def opened(artifact: Artifact) -> BinaryIO:
        kind_opens = openers.get(kind_of(artifact.id))
        if kind_opens is None and not artifact.origin.startswith("/"):
            raise OSError(errno.ENOTSUP, "files of this kind are not mirrored any more")
        try:
            return (kind_opens or open_file)(artifact)
        except PartError as error:
            raise OSError(errno.EIO, str(error)) from error

    return opened
