"""BUCKET edge: the S3 sink, over boto3.

The only module that says boto3. It knows buckets, credentials and boto's errors, which it turns
into the three kinds of `frigate_mirror.sink`; it knows nothing of Frigate, events or the ledger.
One layer of retry is botocore's, for seconds; the layer for minutes to weeks is above.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, TypeVar
from urllib.parse import parse_qsl, urlencode

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from frigate_mirror import __version__
from frigate_mirror.body import Body
from frigate_mirror.parse import Secret
from frigate_mirror.rights import action, denied
from frigate_mirror.s3_causes import Cause, cause_of, speaks_of_storage_class
from frigate_mirror.s3_codes import CREDENTIAL_CODES, classify
from frigate_mirror.settings import Settings, secret_of
from frigate_mirror.sink import Probe, Receipt, SinkError, Stored

log = logging.getLogger("frigate_s3.s3")
T = TypeVar("T")
Keys = tuple[Secret, Secret, Secret]
ENTRY = {"Key", "Size", "LastModified"}  # of a listing
KEY_NAMES = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN")
BotoFailure = (boto.BotoCoreError, boto.ClientError, ResponseParserError, ValueError)  # bad dates
# MD5 is the one digest that every server tried checks; botocore's own default goes as a chunked
# trailer, which some refuse and some store as the object's bytes.
DIGESTS = {"md5": "ContentMD5", "sha256": "ChecksumSHA256"}


@dataclass(frozen=True, slots=True)
class Link:
    """Two clients over one set of credentials: `steady` for the work, `brisk` for the check."""

    steady: Any
    brisk: Any
    credentials: tuple[str | None, ...]


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

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Receipt:
        """See `Sink.put`. `body` must be able to seek, and is read twice above 16 MiB. A fault in
        reading it passes as the OSError that it is."""
        source = Body(body)
        params = self._place | self._extras | {
            "Key": key,
            "ContentType": content_type,
            "Metadata": dict(metadata),
            DIGESTS[source.algorithm]: source.digest,
        }  # fmt: skip
        try:
            answer = self._call("put", key, lambda link: self._put(link.steady, params, source))
        finally:
            source.settle()
        # A captive portal's well-formed HTML page is to botocore a success without fields.
        if not answer.get("ETag"):
            raise self._failure("put", key, Cause("NotS3", "a success without an ETag"))
        return Receipt(key=key, size=source.size, etag=answer["ETag"].strip('"'))

    def check(self) -> Probe:
        """See `Sink.check`: one listing of at most one key, tried once, given up after 10 s."""
        began, started = self._clock(), time.perf_counter()
        # With its slash, so that a policy that allows listing `prefix/*` only is enough.
        prefix = f"{self._settings.prefix}/".lstrip("/")
        page = self._page(lambda link: link.brisk, prefix, MaxKeys=1)
        took = time.perf_counter() - started
        date = _unix(page["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
        return Probe(took=took, clock_skew=None if date is None else date - (began + took / 2))

    def list(self, prefix: str) -> Iterator[Stored]:
        """See `Sink.list`. Reads 1,000 keys at a time."""
        more: dict[str, str] = {}
        while True:
            page = self._page(lambda link: link.steady, prefix, **more)
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

    def _page(self, client: Callable[[Link], Any], prefix: str, **more: Any) -> dict[str, Any]:
        params = self._place | {"Prefix": prefix} | more
        what = f"{self._settings.bucket}/{prefix}"
        page: dict[str, Any]
        page = self._call("list", what, lambda link: client(link).list_objects_v2(**params))
        if not ("IsTruncated" in page and all(i.keys() >= ENTRY for i in page.get("Contents", ()))):
            raise self._failure("list", what, Cause("NotS3", "a success that is no listing"))
        return page

    def _put(self, client: Any, params: dict[str, Any], source: Body) -> dict[str, Any]:
        """One upload; again without the storage class where that is what the service refuses."""
        chosen = _given(StorageClass=self._storage_class)
        try:
            answer: dict[str, Any] = client.put_object(**params, **chosen, Body=source.sendable())
        except boto.ClientError as error:
            if not chosen or not speaks_of_storage_class(error):
                raise
            self._drop_storage_class()
            answer = client.put_object(**params, Body=source.sendable())
        return answer

    def _drop_storage_class(self) -> None:
        with self._lock:
            dropped, self._storage_class = self._storage_class, ""
        if dropped:
            log.warning("storage class %s is refused, so the service's own is used", dropped)

    def _call(self, verb: str, what: str, request: Callable[[Link], T]) -> T:
        """`request` over the link; over a new one where its credentials have been replaced."""
        try:
            link = self._connected()
            try:
                return request(link)
            except BotoFailure as error:
                fresh = self._renewed(link) if cause_of(error).code in CREDENTIAL_CODES else None
                if fresh is None:
                    raise
            return request(fresh)
        except BotoFailure as error:
            failure = self._failure(verb, what, cause_of(error))
            telling = any(word in str(error) for word in self._secrets())
            raise failure from (None if telling else error)

    def _connected(self) -> Link:
        """The link in use. A failure to make one is not kept: the next call tries anew."""
        with self._lock:
            if self._link is None:
                self._link = _connect(self._settings, self._keys(), self._attempts)
            return self._link

    def _renewed(self, stale: Link) -> Link | None:
        """A link that is not `stale`, or None where the secrets are what they were."""
        with self._lock:
            if self._link is stale:
                fresh = _connect(self._settings, self._keys(), self._attempts)
                if fresh.credentials == stale.credentials:
                    return None
                self._link = fresh
            return self._link

    def _keys(self) -> Keys:
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
        used = self._link.credentials if self._link else ()
        words = {*used, *(key.reveal() for key in self._keys())}
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


def _connect(settings: Settings, keys: Keys, attempts: int) -> Link:
    """Clients over `keys`, or over what the standard AWS chain finds where they are empty.

    A new session each time, since a session keeps what it once found, or did not find.
    """
    access, secret, token = (key.reveal() or None for key in keys)
    session = boto3.Session(access, secret, token)
    found = session.get_credentials()
    if found is None:
        raise boto.NoCredentialsError
    used = found.get_frozen_credentials()
    return Link(
        steady=_client(session, settings, _config(settings, attempts=attempts)),
        brisk=_client(session, settings, _config(settings, connect=5, read=10, attempts=1)),
        credentials=(used.access_key, used.secret_key, used.token),
    )


def _client(session: boto3.Session, settings: Settings, config: Config) -> Any:
    try:
        client = session.client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint_url or None,
            verify=settings.ca_bundle or None,  # None, unlike True, leaves AWS_CA_BUNDLE its say
            config=config,
        )
    except boto.BotoCoreError:
        raise
    except ValueError as error:
        raise boto.InvalidEndpointConfigurationError(msg=error) from error
    client.meta.events.register("before-call.s3.HeadBucket", _end_of_redirects)
    return client


def _end_of_redirects(context: dict[str, Any], **_: object) -> None:
    """botocore asks by HeadBucket where a redirect leads, and where that is redirected too, asks
    again, until the stack is full. A captive portal redirects everything."""
    context.get("s3_redirect", {})["redirected"] = True


def _config(
    settings: Settings, *, attempts: int, connect: float = 600, read: float = 3_600
) -> Config:
    return Config(
        connect_timeout=min(connect, settings.connect_timeout),
        read_timeout=min(read, settings.read_timeout),
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=settings.upload_threads + 2,
        tcp_keepalive=True,
        # `auto` needs no help: with an endpoint of one's own, which rarely has a DNS name for each
        # bucket, botocore takes it for `path`.
        s3={"addressing_style": settings.addressing_style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra=f"frigate-s3-mirror/{__version__}",
    )


def _unix(date: str) -> float | None:
    """An HTTP date in Unix seconds; None where it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
