"""What the mirror asks of a destination, and who has to act when that fails.

    SinkError
    ├── Unavailable     the service: everything waits, and no artifact is charged a try
    ├── Misconfigured   the owner: everything waits, and the owner is told once what to change
    └── Rejected        this artifact: it is charged a try

A sink knows only its own protocol. The uploader repeats what fails, over minutes to weeks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable


class SinkError(Exception):
    """An operation on the destination failed.

    `code` is the service's own name for the error (`SlowDown`, `AccessDenied`, `ConnectTimeout`).
    `hint` tells the owner what to do. Either may be empty.
    """

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class Unavailable(SinkError):
    """The service cannot answer now: it is unreachable, overloaded or broken, or clocks differ."""


class Misconfigured(SinkError):
    """The service answers and refuses: the key, its rights, the bucket or the endpoint is wrong."""


class Rejected(SinkError):
    """The service refuses this one object for what it is: it is too large or invalid."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The destination's confirmation that it holds the object: `size` in bytes, `etag` without
    quotes, and `sha256`, the hex digest of the bytes that were sent."""

    key: str
    size: int
    etag: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of a listing: `size` in bytes, `modified` in Unix seconds, and `etag` without
    quotes, or empty where the listing has none."""

    key: str
    size: int
    modified: float
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a check: `took` is the round trip in seconds; `clock_skew` is the service's
    clock minus ours in seconds, or None if the answer carries no date."""

    took: float
    clock_skew: float | None


class Sink(Protocol):
    """A destination for artifacts. Several threads may call its methods at the same time.

    The mirror puts, checks and lists. It neither reads nor deletes objects, so its key needs no
    right to do so.
    """

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Receipt:
        """Stores what `body` holds from its current position to its end under `key`.

        `metadata` is ASCII, at most 2 KB in all (see `metadata.encode`). Returns when the service
        has confirmed that it holds exactly these bytes, whose SHA-256 is in the receipt. A second
        put of the same key replaces the object. Raises a SinkError, and the OSError of reading
        `body`.
        """
        ...

    def check(self) -> Probe:
        """Checks whether the service answers, with a request for which the right to list is enough.
        Raises a SinkError that says why it does not."""
        ...

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yields every object whose key begins with `prefix`, in the order of the keys. Raises a
        SinkError."""
        ...


class Prober(Sink, Protocol):
    """A sink that can also try to delete, for the command `check`. The mirror never does."""

    def may_delete(self, key: str) -> bool | None:
        """Tries to delete the object `key`, which the caller has uploaded for this purpose.

        Returns True if the object is gone, False if the service says that the key has no right to
        delete, and None if it agrees and still lists the object. Raises a SinkError for every other
        refusal, which proves nothing.
        """
        ...


class Archive(Protocol):
    """What the care of a destination needs beyond a sink: to read objects and to delete them. The
    mirror has none of these rights. Several threads may read at the same time.

    `batch` is how many objects a call of `delete` should name, because more cost a further request.
    """

    batch: int

    def check(self) -> Probe:
        """See `Sink.check`."""
        ...

    def list(self, prefix: str) -> Iterator[Stored]:
        """See `Sink.list`."""
        ...

    def read(self, key: str, most: int) -> bytes | None:
        """Returns the bytes of an object, or None if it does not exist. Raises Rejected for an
        object of more than `most` bytes, and a SinkError for every other failure."""
        ...

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        """Deletes objects. Returns those that are still there, with the reason. An object that does
        not exist counts as deleted. Raises a SinkError if the right is missing or the service
        cannot answer; then nobody knows which of the objects are still there."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Removes a folder if it is empty, at destinations that have folders. Another one stays as
        it is, and a failure changes nothing else."""
        ...

    def fate(self) -> str:
        """Returns a sentence about what becomes of deleted objects, if there is something to say,
        or an empty text. Raises a SinkError."""
        ...


class Archivable(Prober, Protocol):
    """A sink whose destination can also be read and emptied."""

    def archive(self) -> Archive:
        """Returns the same destination with the same credentials as an Archive."""
        ...


@runtime_checkable
class Limiter(Protocol):
    """A sink that limits its bandwidth itself, because it does not ask before it sends."""

    def limit(self, bytes_per_second: float) -> None:
        """Limits all uploads together from now on. Infinity means no limit. Raises a SinkError."""
        ...


@runtime_checkable
class Roomy(Protocol):
    """A sink that may know how much room its destination has."""

    def free(self) -> int | None:
        """Returns how many bytes are free there, or None if the destination cannot say. It may take
        minutes. Raises a SinkError."""
        ...
