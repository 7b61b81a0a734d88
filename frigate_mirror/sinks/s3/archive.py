"""A bucket as an `Archive`: reads objects and deletes them, 1,000 at a time.

It is for credentials that the mirror does not have. All requests go over boto3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, BinaryIO

from frigate_mirror.sinks.s3.codes import CREDENTIAL_CODES, DENIALS
from frigate_mirror.sinks.s3.exceptions import Cause
from frigate_mirror.sinks.sink import Probe, Rejected, Sink, SinkError, Stored, Unavailable

MISSING = {"NoSuchKey", "404"}
NO_BATCHES = {"MissingContentMD5", "NotImplemented", "MethodNotAllowed", "InvalidRequest",
              "InvalidArgument", "MalformedXML", "InvalidDigest", "BadDigest",
              "XAmzContentChecksumMismatch"}  # fmt: skip
"""With these codes services refuse the request for many objects at once, some because they want an
MD5, which boto3 does not send any more."""
THREADS = 8  # that delete where a service knows no batches
TRIES = 3  # of reading an object whose bytes break off
PIECE = 1_000_000  # bytes of an object in memory
Ask = Callable[[str, str, Callable[[Any], Any]], Any]
Failure = Callable[[str, str, Cause], SinkError]


class S3Archive:
    """`sink` checks and lists the same bucket. `ask` makes a request over boto3 and `failure` makes
    an error of a cause, both for a verb and what it is about; a request is a function of
    `boto.Clients`. `bucket` are the parameters that
    every request has."""

    batch = 1_000  # the most that S3 allows

    def __init__(self, sink: Sink, bucket: Mapping[str, str], ask: Ask, failure: Failure) -> None:
        self._sink = sink
        self._bucket = bucket
        self._ask = ask
        self._failure = failure
        self._knows_batches = True

    def check(self) -> Probe:
        return self._sink.check()

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._sink.list(prefix)

    def read(self, key: str, most: int) -> bytes | None:
        """See `Archive.read`. boto3 repeats a request, but not the reading of its answer."""

        def ask(clients: Any) -> bytes | None:
            answer = clients.patient.get_object(**self._bucket, Key=key)
            with closing(answer["Body"]) as body:
                found: bytes | None = body.read() if answer["ContentLength"] <= most else None
            return found

        for left in reversed(range(TRIES)):
            try:
                found: bytes | None = self._ask("read", key, ask)
                break
            except SinkError as error:
                if error.code in MISSING:
                    return None
                if not isinstance(error, Unavailable) or not left:
                    raise
        if found is None:
            raise Rejected(f"read {key}: it has more than {most:,} bytes", code="TooLarge")
        return found

    def fetch(self, key: str, file: BinaryIO) -> bool:
        """Writes an object of any size to `file`, from the file's beginning. Returns False if it
        does not exist. Raises a SinkError, and the OSError of writing."""

        def ask(clients: Any) -> None:
            file.seek(0)
            file.truncate()
            answer = clients.patient.get_object(**self._bucket, Key=key)
            with closing(answer["Body"]) as body:
                for piece in body.iter_chunks(PIECE):
                    file.write(piece)

        for left in reversed(range(TRIES)):
            try:
                self._ask("read", key, ask)
                return True
            except SinkError as error:
                if error.code in MISSING:
                    return False
                if not isinstance(error, Unavailable) or not left:
                    raise
        raise AssertionError("the loop ends in its last round")

    def link(self, key: str, seconds: int) -> str:
        """Returns an address under which anybody can read the object for so many seconds, or for as
        long as the credentials are valid if that is shorter. It asks the service nothing. Raises a
        SinkError."""
        params = {**self._bucket, "Key": key}

        def sign(clients: Any) -> str:
            address: str = clients.patient.generate_presigned_url(
                "get_object", Params=params, ExpiresIn=seconds
            )
            return address

        address: str = self._ask("read", key, sign)
        return address

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        left: dict[str, str] = {}
        for at in range(0, len(keys), self.batch):
            some = keys[at : at + self.batch]
            left |= self._delete_batch(some) if self._knows_batches else self._delete_singly(some)
        return left

    def remove_folder(self, folder: str) -> None:
        """A bucket has no folders."""

    def fate(self) -> str:
        return ""

    def _delete_batch(self, keys: Sequence[str]) -> dict[str, str]:
        objects = {"Objects": [{"Key": key} for key in keys]}
        what = keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
        try:
            answer = self._ask(
                "delete",
                what,
                lambda clients: clients.patient.delete_objects(**self._bucket, Delete=objects),
            )
        except SinkError as error:
            if error.code not in NO_BATCHES:
                raise
            self._knows_batches = False
            return self._delete_singly(keys)
        left = dict.fromkeys(keys, "the service does not confirm that it has deleted it")
        for deleted in answer.get("Deleted", ()):
            left.pop(deleted.get("Key"), None)
        for refused in answer.get("Errors", ()):
            self._take_error(left, refused)
        return left

    def _take_error(self, left: dict[str, str], refused: Mapping[str, str]) -> None:
        """Takes the answer about one object. Raises a SinkError if it is about the credentials."""
        key, code = refused.get("Key", ""), refused.get("Code", "")
        error = self._failure("delete", key, Cause(code, refused.get("Message", "")))
        if code in DENIALS or code in CREDENTIAL_CODES:
            raise error
        if code in MISSING:
            left.pop(key, None)
        elif key in left:
            left[key] = str(error)

    def _delete_singly(self, keys: Sequence[str]) -> dict[str, str]:
        def delete(key: str) -> None:
            self._ask(
                "delete",
                key,
                lambda clients: clients.patient.delete_object(**self._bucket, Key=key),
            )

        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(delete, key) for key in keys]:
                try:
                    done.result()
                except SinkError as error:
                    if error.code not in MISSING:
                        pool.shutdown(cancel_futures=True)
                        raise
        return {}
