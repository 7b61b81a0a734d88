"""The S3 sink: puts objects into a bucket, lists them, and checks that the bucket can be reached.

It knows buckets and credentials, and turns every failure into one of the three kinds of
`sinks.sink`; it knows nothing of Frigate, events or the ledger. A request goes the direct way first
(`sinks.s3.direct`); if that does not succeed, it is asked again over boto3 (`sinks.s3.boto`). boto3
repeats a request for seconds; the uploader does so for minutes to weeks.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from frigate_mirror import metadata as object_metadata
from frigate_mirror.settings.parse import Secret
from frigate_mirror.settings.settings import S3Settings, secret_of
from frigate_mirror.sinks.body import Body
from frigate_mirror.sinks.s3.codes import CREDENTIAL_CODES, classify
from frigate_mirror.sinks.s3.direct import DirectWay, checksum
from frigate_mirror.sinks.s3.endpoint import place_of, proxy_of, url_of
from frigate_mirror.sinks.s3.exceptions import Cause, cause_of, speaks_of_storage_class
from frigate_mirror.sinks.s3.http1 import Silence
from frigate_mirror.sinks.s3.permissions import action, denied
from frigate_mirror.sinks.s3.pool import USUAL, ConnectTimeout, Patience, Wire
from frigate_mirror.sinks.s3.sigv4 import Signer
from frigate_mirror.sinks.sink import Probe, Receipt, SinkError, Stored

if TYPE_CHECKING:
    from frigate_mirror.sinks.s3.boto import Link

LIBRARIES = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
for _name in LIBRARIES:  # imported when they are needed, but reported at once if one is missing
    if importlib.util.find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

log = logging.getLogger("frigate_s3.s3")
T = TypeVar("T")
ENTRY = {"Key", "Size", "LastModified"}  # of a listing
KEY_NAMES = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN")


class S3Sink:
    """A bucket as a `Sink`. Building it does not use the network; the first call connects.

    `environ` is where rotated secrets are read again; the standard AWS chain, which is used where
    S3_ACCESS_KEY is absent, reads the process's own environment. `attempts` is how often botocore
    tries a request; `patience` is how long the direct way waits, at most as long as `settings` say;
    `clock` gives Unix seconds.
    """

    def __init__(
        self,
        settings: S3Settings,
        environ: Mapping[str, str],
        *,
        attempts: int = 3,
        patience: Patience = USUAL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._attempts = attempts
        self._clock = clock
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._half_imported = False
        self._storage_class = settings.storage_class
        self._said: set[str] = set()
        self._place = _given(Bucket=settings.bucket, ExpectedBucketOwner=settings.bucket_owner)
        self._extras = _extras(settings)
        proxy = proxy_of(url_of(settings), os.environ)
        login, _, self._proxy = proxy.rpartition("//")[2].rpartition("@")
        self._proxy_password = login.partition(":")[2]
        self._direct = _direct_way(settings, patience)

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Receipt:
        """See `Sink.put`. `body` must be seekable; above 1 MiB it is read for each digest and each
        attempt. An error of reading it passes as the OSError that it is."""
        source, chosen = Body(body), _given(StorageClass=self._storage_class)
        params = self._place | self._extras | {
            "Key": key,
            "ContentType": content_type,
            "Metadata": dict(metadata),
        }  # fmt: skip
        try:
            etag = self._direct.put(params | chosen, source, self._signer())
            etag = etag or self._put(params | chosen, source)
        except Silence as silence:
            raise self._silent("put", key, silence) from silence
        finally:
            source.settle()
        # A captive portal's well-formed HTML page is to botocore a success without fields.
        if not etag:
            raise self._failure("put", key, Cause("NotS3", "a success without an ETag"))
        return Receipt(key=key, size=source.size, etag=etag.strip('"'))

    def check(self) -> Probe:
        """See `Sink.check`: one listing of at most one key, tried once. A service that hangs is
        reported within 15 seconds."""
        # With its slash, so that a policy that allows listing `prefix/*` only is enough.
        prefix = f"{self._settings.prefix}/".lstrip("/")
        began, started = self._clock(), time.perf_counter()

        def ask(link: Link) -> Any:
            nonlocal began, started  # the import of boto3 is no part of the round trip
            began, started = self._clock(), time.perf_counter()
            return link.brisk.list_objects_v2(**self._place, Prefix=prefix, MaxKeys=1)

        try:
            date = self._direct.check(self._place, prefix, self._signer())
        except Silence as silence:
            raise self._silent("list", self._named(prefix), silence) from silence
        if date is None:
            page = self._page(prefix, ask)
            date = page["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        took, there = time.perf_counter() - started, _unix(date)
        return Probe(took=took, clock_skew=None if there is None else there - (began + took / 2))

    def list(self, prefix: str) -> Iterator[Stored]:
        """See `Sink.list`. Reads 1,000 keys at a time."""
        asked = self._place | {"Prefix": prefix}
        while True:
            page = self._page(prefix, lambda link: link.steady.list_objects_v2(**asked))
            for item in page.get("Contents", ()):
                yield Stored(item["Key"], item["Size"], item["LastModified"].timestamp())
            if not page["IsTruncated"]:
                return
            if not page.get("NextContinuationToken"):
                raise self._failure("list", prefix, Cause("NotS3", "the listing breaks off"))
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def may_delete(self, key: str) -> bool | None:
        """See `Prober.may_delete`."""
        one = self._place | {"Key": key}
        if denied(lambda: self._call("delete", key, lambda on: on.steady.delete_object(**one))):
            return False
        return None if any(item.key == key for item in self.list(key)) else True

    def _named(self, prefix: str) -> str:
        return f"{self._settings.bucket}/{prefix}"

    def _page(self, prefix: str, ask: Callable[[Link], Any]) -> dict[str, Any]:
        """One page of a listing over boto3; an answer that is none is a failure."""
        what = self._named(prefix)
        page: dict[str, Any] = self._call("list", what, ask)
        if not ("IsTruncated" in page and all(i.keys() >= ENTRY for i in page.get("Contents", ()))):
            raise self._failure("list", what, Cause("NotS3", "a success that is no listing"))
        return page

    def _put(self, params: dict[str, Any], source: Body) -> str:
        """The ETag of an upload over boto3. Repeats it without the storage class, or with less
        metadata, if that is what the service refuses."""
        asked = params | checksum(source)

        def put(link: Link) -> Any:
            nonlocal asked
            while True:
                try:
                    return link.steady.put_object(**asked, Body=source.sendable())
                except link.steady.exceptions.ClientError as error:
                    less = self._with_less(asked, error)
                    if less == asked:
                        raise
                    asked = less

        etag: str = self._call("put", params["Key"], put).get("ETag", "")
        if etag:
            self._direct.reopen()
        return etag

    def _with_less(self, asked: dict[str, Any], error: Exception) -> dict[str, Any]:
        """`asked` without what `error` complains of, if one can do without it."""
        if "StorageClass" in asked and speaks_of_storage_class(error):
            self._storage_class = ""
            refused = asked["StorageClass"]
            self._say_once(f"storage class {refused} is refused, so the service's own is used")
            return {name: value for name, value in asked.items() if name != "StorageClass"}
        if cause_of(error).code == "MetadataTooLarge":
            self._say_once("the service takes less metadata, so large ones are mostly left out")
            return asked | {"Metadata": object_metadata.least(asked["Metadata"])}
        return asked

    def _say_once(self, text: str) -> None:
        with self._lock:
            if text not in self._said:
                log.warning("%s", text)
            self._said.add(text)

    def _call(self, verb: str, what: str, request: Callable[[Link], T]) -> T:
        """Makes a request over boto3; once more if it fails and the credentials were replaced."""
        try:
            boto = self._boto()
        except (ImportError, OSError) as error:
            raise self._failure(verb, what, cause_of(error)) from error
        try:
            link = self._connected(boto)
            try:
                return request(link)
            except boto.FAILURES as error:
                known = cause_of(error).code in CREDENTIAL_CODES
                fresh = self._renewed(boto, link) if known else None
                if fresh is None:
                    raise
            return request(fresh)
        except boto.FAILURES as error:
            failure = self._failure(verb, what, cause_of(error))
            telling = any(word in str(error) for word in self._secrets())
            raise failure from (None if telling else error)

    def _boto(self) -> ModuleType:
        """Imports boto3's side. An import that fails is repeated by the next call. If that
        succeeds, some modules still refer to lost halves of others and only a new process helps, so
        this one ends as it does when there is no memory left."""
        with self._lock:
            try:
                from frigate_mirror.sinks.s3 import boto
            except (ImportError, OSError):
                self._half_imported = True
                raise
            except Exception as error:
                raise MemoryError(f"import of boto3: {error!r}") from error
            if self._half_imported:
                raise MemoryError("boto3 was imported in two halves")
            return boto

    def _connected(self, boto: ModuleType) -> Link:
        """The link in use. If none can be made, the next call tries again."""
        with self._lock:
            if self._link is None:
                self._link = boto.connect(self._settings, self._keys(), self._attempts)
            return self._link

    def _renewed(self, boto: ModuleType, stale: Link) -> Link | None:
        """A link with newer credentials than `stale`, or None if they have not changed."""
        with self._lock:
            if self._link is stale:
                fresh = boto.connect(self._settings, self._keys(), self._attempts)
                if fresh.first == stale.first:
                    return None
                self._link = fresh
            return self._link

    def _signer(self) -> Signer | None:
        """The credentials for the direct way: the link's, or the settings' before there is one."""
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

    def _silent(self, verb: str, what: str, silence: Silence) -> SinkError:
        code = "ConnectTimeout" if isinstance(silence, ConnectTimeout) else "ReadTimeout"
        return self._failure(verb, what, Cause(code, str(silence)))

    def _failure(self, verb: str, what: str, cause: Cause) -> SinkError:
        """What went wrong, for the owner, on one line and without secrets."""
        kind, hint = classify(cause.code, cause.status)
        message = f"{verb} {what}: {cause.code}" + (f": {cause.reason}" if cause.reason else "")
        for word in self._secrets():
            message = message.replace(word, "***")
        rights = action(verb, self._settings)
        hint = hint.format(action=rights, region=cause.region, proxy=self._proxy).rstrip()
        return kind(message, code=cause.code, hint=hint)

    def _secrets(self) -> set[str]:
        kept, link = self._settings, self._link
        keys = (kept.access_key, kept.secret_key, kept.session_token, *self._keys())
        words = {*(key.reveal() for key in keys), *(link.first if link else ())}
        words.add(self._proxy_password)
        return {word for word in words if word and len(word) > 3}  # short ones are in other words


def _direct_way(settings: S3Settings, patience: Patience) -> DirectWay:
    silence = min(patience.silence, settings.read_timeout)
    longest = max(silence, settings.read_timeout)
    patience = replace(patience, connect=settings.connect_timeout, silence=silence, longest=longest)
    place = place_of(settings, os.environ)
    return DirectWay(place, Wire(place, patience) if place else None)


def _given(**values: str) -> dict[str, str]:
    """The parameters that are set."""
    return {name: value for name, value in values.items() if value}


def _extras(settings: S3Settings) -> dict[str, str]:
    """The parameters that are the same for every put."""
    return _given(
        ServerSideEncryption=settings.sse,
        SSEKMSKeyId=settings.sse_kms_key_id,
        # Taken apart and put together again, since a header must be percent-encoded ASCII. A blank
        # as `+` stays a plus on Ceph; `%20` is right everywhere.
        Tagging=urlencode(parse_qsl(settings.object_tags, keep_blank_values=True), quote_via=quote),
    )


def _unix(date: str) -> float | None:
    """An HTTP date in Unix seconds, or None if it is not one."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
