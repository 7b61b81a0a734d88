"""BUCKET edge: the S3 sink.

It knows buckets and credentials, and turns whatever goes wrong into the three kinds of
`frigate_mirror.sink`; it knows nothing of Frigate, events or the ledger. A request is tried the
short way first (`s3_short`), and whatever is not a plain yes there goes the long way, over boto3
(`s3_boto`). One layer of retry is botocore's, for seconds; the layer for minutes to weeks is above.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import parse_qsl, urlencode

from frigate_mirror.body import Body
from frigate_mirror.parse import Secret
from frigate_mirror.rights import action, denied
from frigate_mirror.s3_causes import Cause, cause_of, speaks_of_storage_class
from frigate_mirror.s3_codes import CREDENTIAL_CODES, classify
from frigate_mirror.s3_place import place_of
from frigate_mirror.s3_short import Heard, ShortWay, checksum
from frigate_mirror.s3_sign import Signer
from frigate_mirror.settings import Settings, secret_of
from frigate_mirror.sink import Probe, Receipt, SinkError, Stored

if TYPE_CHECKING:
    from frigate_mirror.s3_boto import Link

LIBRARIES = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
for _name in LIBRARIES:  # they are loaded when they are needed, but said to be missing at once
    if importlib.util.find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

log = logging.getLogger("frigate_s3.s3")
T = TypeVar("T")
ENTRY = {"Key", "Size", "LastModified"}  # of a listing
KEY_NAMES = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN")


class S3Sink:
    """A bucket as a `Sink`. Building it asks nothing of the network; the first call connects.

    `environ` is where rotated secrets are read again; the standard AWS chain, asked where
    S3_ACCESS_KEY is absent, reads the process's own environment. `attempts` counts the tries that
    botocore makes of one request; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        attempts: int = 3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._attempts = attempts
        self._clock = clock
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._storage_class = settings.storage_class
        self._place = _given(Bucket=settings.bucket, ExpectedBucketOwner=settings.bucket_owner)
        self._extras = _extras(settings)
        self._short = ShortWay(
            place_of(settings, os.environ),
            connect=settings.connect_timeout,
            read=settings.read_timeout,
        )

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Receipt:
        """See `Sink.put`. `body` must be able to seek; above 1 MiB it is read for each digest and
        each try. A fault in reading it passes as the OSError that it is."""
        source, chosen = Body(body), _given(StorageClass=self._storage_class)
        params = self._place | self._extras | {
            "Key": key,
            "ContentType": content_type,
            "Metadata": dict(metadata),
        }  # fmt: skip
        try:
            heard = self._short.put(params | chosen, source, self._signer())
            etag = (heard and heard.etag) or self._put(params, chosen, source, heard)
        finally:
            source.settle()
        # A captive portal's well-formed HTML page is to botocore a success without fields.
        if not etag:
            raise self._failure("put", key, Cause("NotS3", "a success without an ETag"))
        return Receipt(key=key, size=source.size, etag=etag.strip('"'))

    def check(self) -> Probe:
        """See `Sink.check`: one listing of at most one key, tried once, given up after 10 s."""
        # With its slash, so that a policy that allows listing `prefix/*` only is enough.
        prefix = f"{self._settings.prefix}/".lstrip("/")
        began, started = self._clock(), time.perf_counter()
        heard = self._short.check(self._place, prefix, self._signer())
        if heard and heard.lists:
            date = heard.date
        else:
            began, started = self._clock(), time.perf_counter()
            page = self._page(lambda link: link.brisk, prefix, heard, MaxKeys=1)
            date = page["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        took, there = time.perf_counter() - started, _unix(date)
        return Probe(took=took, clock_skew=None if there is None else there - (began + took / 2))

    def list(self, prefix: str) -> Iterator[Stored]:
        """See `Sink.list`. Reads 1,000 keys at a time."""
        more: dict[str, str] = {}
        while True:
            page = self._page(lambda link: link.steady, prefix, None, **more)
            for item in page.get("Contents", ()):
                yield Stored(item["Key"], item["Size"], item["LastModified"].timestamp())
            if not page["IsTruncated"]:
                return
            if not page.get("NextContinuationToken"):
                raise self._failure("list", prefix, Cause("NotS3", "the listing breaks off"))
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def may_delete(self, key: str) -> bool | None:
        """See `Prober.may_delete`."""
        one = self._place | {"Key": key}
        if denied(lambda: self._call("delete", key, lambda on: on.steady.delete_object(**one))):
            return False
        return None if any(item.key == key for item in self.list(key)) else True

    def _page(
        self, client: Callable[[Link], Any], prefix: str, heard: Heard | None, **more: Any
    ) -> dict[str, Any]:
        params = self._place | {"Prefix": prefix} | more
        what = f"{self._settings.bucket}/{prefix}"
        page: dict[str, Any]
        page = self._call("list", what, lambda link: client(link).list_objects_v2(**params), heard)
        if not ("IsTruncated" in page and all(i.keys() >= ENTRY for i in page.get("Contents", ()))):
            raise self._failure("list", what, Cause("NotS3", "a success that is no listing"))
        return page

    def _put(
        self,
        params: dict[str, Any],
        chosen: dict[str, str],
        source: Body,
        heard: Heard | None,
    ) -> str:
        """The ETag of an upload the long way; again without the storage class, `chosen`, where that
        is what the service refuses."""
        params = params | checksum(source)

        def put(link: Link) -> Any:
            try:
                return link.steady.put_object(**params, **chosen, Body=source.sendable())
            except link.steady.exceptions.ClientError as error:
                if not chosen or not speaks_of_storage_class(error):
                    raise
                self._drop_storage_class()
                return link.steady.put_object(**params, Body=source.sendable())

        etag: str = self._call("put", params["Key"], put, heard).get("ETag", "")
        if etag:
            self._short.reopen()
        return etag

    def _drop_storage_class(self) -> None:
        with self._lock:
            dropped, self._storage_class = self._storage_class, ""
        if dropped:
            log.warning("storage class %s is refused, so the service's own is used", dropped)

    def _call(
        self, verb: str, what: str, request: Callable[[Link], T], heard: Heard | None = None
    ) -> T:
        """`request` the long way; with new credentials where those in use have been replaced.
        `heard` is what became of it the short way."""
        try:
            way = self._long_way()
        except (ImportError, OSError) as error:
            raise self._failure(verb, what, cause_of(error)) from error
        try:
            link = self._connected(way)
            try:
                return link.after(heard, request)
            except way.FAILURES as error:
                known = cause_of(error).code in CREDENTIAL_CODES
                fresh = self._renewed(way, link) if known else None
                if fresh is None:
                    raise
            return request(fresh)
        except way.FAILURES as error:
            failure = self._failure(verb, what, cause_of(error))
            telling = any(word in str(error) for word in self._secrets())
            raise failure from (None if telling else error)

    def _long_way(self) -> ModuleType:
        """boto3's side of the edge. Want of descriptors may break its import half-way; then all of
        it is forgotten, since Python would keep the whole half for the next call. What is wrong
        with an import beyond that comes of want of memory, and is raised as a MemoryError."""
        with self._lock:
            try:
                from frigate_mirror import s3_boto
            except (ImportError, OSError):
                for name in [one for one in sys.modules if one.split(".")[0] in LIBRARIES]:
                    del sys.modules[name]
                raise
            except Exception as error:
                raise MemoryError(f"import of boto3: {error!r}") from error
            return s3_boto

    def _connected(self, way: ModuleType) -> Link:
        """The link in use. A failure to make one is not kept: the next call tries anew."""
        with self._lock:
            if self._link is None:
                self._link = way.connect(self._settings, self._keys(), self._attempts)
            return self._link

    def _renewed(self, way: ModuleType, stale: Link) -> Link | None:
        """A link that is not `stale`, or None where the secrets are what they were."""
        with self._lock:
            if self._link is stale:
                fresh = way.connect(self._settings, self._keys(), self._attempts)
                if fresh.first == stale.first:
                    return None
                self._link = fresh
            return self._link

    def _signer(self) -> Signer | None:
        """Who signs the short way: the link's credentials, or before there is one the settings'."""
        if self._link is not None:
            return self._link.signer()
        keys = self._settings
        access, secret, token = keys.access_key, keys.secret_key, keys.session_token
        return Signer(access.reveal(), secret.reveal(), token.reveal()) if access else None

    def _keys(self) -> tuple[Secret, ...]:
        """The secrets as they are now; those of the settings while their files are in flux."""
        try:
            access, secret, token = (secret_of(name, self._environ) for name in KEY_NAMES)
            if access and secret:
                return access, secret, token
        except ValueError:
            pass
        kept = self._settings
        return kept.access_key, kept.secret_key, kept.session_token

    def _failure(self, verb: str, what: str, cause: Cause) -> SinkError:
        """What went wrong in the owner's words, on one line, with nothing that is secret."""
        kind, hint = classify(cause.code, cause.status)
        message = f"{verb} {what}: {cause.code}: {cause.reason}"
        for word in self._secrets():
            message = message.replace(word, "***")
        hint = hint.format(action=action(verb, self._settings), region=cause.region).rstrip()
        return kind(message, code=cause.code, hint=hint)

    def _secrets(self) -> set[str]:
        kept, link = self._settings, self._link
        keys = (kept.access_key, kept.secret_key, kept.session_token, *self._keys())
        words = {*(key.reveal() for key in keys), *(link.first if link else ())}
        return {word for word in words if word and len(word) > 3}  # short ones are in other words


def _given(**values: str) -> dict[str, str]:
    """Parameters without those that are not set."""
    return {name: value for name, value in values.items() if value}


def _extras(settings: Settings) -> dict[str, str]:
    """What every put asks for beside the object itself."""
    return _given(
        ServerSideEncryption=settings.sse,
        SSEKMSKeyId=settings.sse_kms_key_id,
        # Taken apart and put together again, since a header must be percent-encoded ASCII.
        Tagging=urlencode(parse_qsl(settings.object_tags, keep_blank_values=True)),
    )


def _unix(date: str) -> float | None:
    """An HTTP date in Unix seconds; None where it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
