"""What the mirror asks of a place that keeps objects, and whose fault it is when that fails.

    SinkError
    ├── Unavailable     the service's fault: everything waits, nothing is charged a try
    ├── Misconfigured   the owner's fault: everything waits, said once, with what to change
    └── Rejected        the artifact's own fault: charged a try

A sink knows its own protocol only: retry over minutes, queueing and pacing live above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol


class SinkError(Exception):
    """An operation on the bucket failed.

    `code` is the service's own name for it (`SlowDown`, `AccessDenied`, `ConnectTimeout`),
    `hint` what the owner can do about it; either may be empty.
    """

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class Unavailable(SinkError):
    """The service cannot answer now: unreachable, 5xx, asked to slow down, clock skew."""


class Misconfigured(SinkError):
    """The service answers, but not to us: key, rights, bucket or endpoint are wrong."""


class Rejected(SinkError):
    """The service refuses this one object for what it is: too large, invalid."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The bucket's word that it holds the object. `etag` is without quotes."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of a listing: `size` in bytes, `modified` in Unix seconds."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Probe:
    """What a connectivity check learned: `clock_skew` is the server's clock minus ours, in
    seconds, or None where the answer carried no date; `took` is the round trip in seconds."""

    took: float
    clock_skew: float | None


class Sink(Protocol):
    """A place that keeps objects. Safe to call from several threads at once."""

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Receipt:
        """Store all that `body` holds from its current position, under `key`.

        `metadata` is ASCII, at most 2 KB in all (see `metadata.encode`). Returns only when the
        service has said that it holds exactly these bytes. Putting the same key again replaces
        the object. Raises a SinkError.
        """
        ...

    def check(self) -> Probe:
        """Ask the service for a sign of life that needs no more than the right to list.

        Raises a SinkError that says why it did not come.
        """
        ...

    def list(self, prefix: str) -> Iterator[Stored]:
        """Every object whose key begins with `prefix`, in key order. Raises a SinkError."""
        ...


class Prober(Sink, Protocol):
    """A sink that can also try what the mirror itself never does: to delete. For the doctor."""

    def may_delete(self, key: str) -> bool | None:
        """Try to delete the one object `key`, which the caller has just put for that purpose.

        True if it is gone, False if the service says that this key has no right to, None if the
        service said neither: it agreed, and still lists the object. Raises a SinkError for every
        other refusal, which proves nothing.
        """
        ...
