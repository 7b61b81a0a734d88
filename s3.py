"""The S3 sink: puts objects into a bucket, lists them, and checks that the bucket can be reached.

It knows buckets and credentials, and turns every failure into one of the three errors of
`sinks.sink`. It does not know Frigate, events or the ledger. A put or a check goes the direct way
first (`sinks.s3.direct`). If that does not succeed, it goes over boto3 (`sinks.s3.boto`), which
repeats a request for seconds. The uploader repeats it for minutes to weeks.

A large body goes up in parts (`sinks.s3.multipart`). If that fails, the service keeps the parts
that it holds, and the next put of the same bytes sends only the others.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import parse_qsl, quote, urlencode

from frigate_mirror import metadata as object_metadata
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.settings import AUTO, S3Settings, secret_of
from frigate_mirror.sinks.body import Body, md5_is_allowed
from frigate_mirror.sinks.s3.codes import CREDENTIAL_CODES, DENIALS, classify, required_rights
from frigate_mirror.sinks.s3.direct import DirectWay, checksum
from frigate_mirror.sinks.s3.endpoint import endpoint_of, proxy_of
from frigate_mirror.sinks.s3.exceptions import Cause, cause_of, names_storage_class
from frigate_mirror.sinks.s3.http1 import Silence
from frigate_mirror.sinks.s3.multipart import (
    LOST,
    PART,
    REMEMBERED,
    Content,
    Journal,
    Upload,
    goes_in_parts,
    is_over,
    size_of_parts,
)
from frigate_mirror.sinks.s3.pool import UPLOAD_PATIENCE, ConnectTimeout, Patience, Pool
from frigate_mirror.sinks.s3.sigv4 import Signer
from frigate_mirror.sinks.s3.storage import auto
from frigate_mirror.sinks.sink import Probe, Receipt, SinkError, Stored

if TYPE_CHECKING:
    from frigate_mirror.sinks.s3.archive import S3Archive
    from frigate_mirror.sinks.s3.boto import Clients

LIBRARIES = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
for _name in ("boto3", "botocore"):  # imported when needed, but reported at once if missing
    if importlib.util.find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

log = logging.getLogger("frigate_s3.s3")
LISTED_FIELDS = {"Key", "Size", "LastModified"}
KEY_NAMES = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN")


class S3Sink:
    """A bucket as a `Sink`. The constructor does not use the network; the first call connects.

    The sink reads rotated secrets again from `environ`. Without S3_ACCESS_KEY it uses the standard
    AWS chain, which reads the process's own environment. `attempts` is how often botocore tries a
    request; `patience` is how long the direct way waits, at most as long as `settings` say;
    `part_size` is in bytes; `journal` is a file in which uploads in parts survive a restart;
    `clock` gives Unix seconds.
    """

    def __init__(
        self,
        settings: S3Settings,
        environ: Mapping[str, str],
        *,
        attempts: int = 3,
        patience: Patience = UPLOAD_PATIENCE,
        part_size: int = PART,
        journal: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._attempts = attempts
        self._part_size = part_size
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: Clients | None = None
        self._storage_class = settings.storage_class
        self._warnings: set[str] = set()
        self._journal = Journal(journal)
        self._begun = self._journal.read()  # in parts, by key; the last one is the newest
        self._bucket = _non_empty(Bucket=settings.bucket, ExpectedBucketOwner=settings.bucket_owner)
        self._options = _options(settings)
        proxy = proxy_of(settings, os.environ)
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
        """See `Sink.put`. `body` must be seekable. Above 1 MiB it is read once for each digest and
        once for each attempt. A read may pause the upload for some seconds."""
        source = Body(body)
        sha256 = source.sha256.hex()  # before anything is sent
        storage_class = self._storage_class
        if storage_class == AUTO:
            storage_class = auto(source.size)
        params = {
            **self._bucket, **self._options, **_non_empty(StorageClass=storage_class),
            "Key": key, "ContentType": content_type, "Metadata": dict(metadata),
        }  # fmt: skip
        try:
            if goes_in_parts(source.size, self._part_size):
                etag = self._put_in_parts(params, source)
            else:
                etag = self._put_whole(params, source)
        except Silence as silence:
            raise self._silent("put", key, silence) from silence
        finally:
            source.check_unchanged()
        return Receipt(key, source.size, etag.strip('"'), sha256)

    def check(self) -> Probe:
        """See `Sink.check`. Tries once; a service that hangs is reported within 15 seconds."""
        # The slash is there for policies that allow listing `prefix/*` only.
        prefix = f"{self._settings.prefix}/".lstrip("/")
        started = time.perf_counter()

        def ask(clients: Clients) -> Any:
            nonlocal started  # the import of boto3 is no part of the round trip
            started = time.perf_counter()
            return clients.impatient.list_objects_v2(**self._bucket, Prefix=prefix, MaxKeys=1)

        try:
            date = self._direct.check(self._bucket, prefix, self._signer())
        except Silence as silence:
            raise self._silent("list", self._named(prefix), silence) from silence
        if date is None:
            page = self._page(prefix, ask)
            date = page["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        took, answered_at = time.perf_counter() - started, _unix(date)
        midway = self._clock() - took / 2
        return Probe(took, None if answered_at is None else answered_at - midway)

    def list(self, prefix: str) -> Iterator[Stored]:
        """See `Sink.list`. Reads 1,000 keys at a time."""
        params = self._bucket | {"Prefix": prefix}
        while True:
            page = self._page(prefix, lambda clients: clients.patient.list_objects_v2(**params))
            for item in page.get("Contents", ()):
                modified, etag = item["LastModified"].timestamp(), item.get("ETag", "").strip('"')
                yield Stored(item["Key"], item["Size"], modified, etag)
            if not page["IsTruncated"]:
                return
            if not page.get("NextContinuationToken"):
                raise self._failure("list", prefix, Cause("NotS3", "the listing breaks off"))
            params["ContinuationToken"] = page["NextContinuationToken"]

    def may_delete(self, key: str) -> bool | None:
        """See `Prober.may_delete`."""
        params = self._bucket | {"Key": key}
        try:
            self._call("delete", key, lambda clients: clients.patient.delete_object(**params))
        except SinkError as error:
            if error.code in DENIALS:
                return False
            raise
        return None if any(item.key == key for item in self.list(key)) else True

    def archive(self) -> S3Archive:
        """See `Archivable.archive`."""
        from frigate_mirror.sinks.s3.archive import S3Archive  # the mirror itself has none

        return S3Archive(self, self._bucket, self._call, self._failure)

    def _named(self, prefix: str) -> str:
        return f"{self._settings.bucket}/{prefix}"

    def _page(self, prefix: str, ask: Callable[[Clients], Any]) -> dict[str, Any]:
        """Returns one page of a listing over boto3. Any other answer is a failure."""
        what = self._named(prefix)
        page: dict[str, Any] = self._call("list", what, ask)
        items = page.get("Contents", ())
        if "IsTruncated" not in page or not all(item.keys() >= LISTED_FIELDS for item in items):
            raise self._failure("list", what, Cause("NotS3", "a success that is not a listing"))
        return page

    def _put_whole(self, params: dict[str, Any], source: Body) -> str:
        """Returns the ETag."""
        return self._direct.put(params, source, self._signer()) or self._over_boto3(
            "put_object", params | checksum(source), "ETag", source
        )

    def _put_in_parts(self, params: dict[str, Any], source: Body) -> str:
        """Returns the ETag. Goes on with an upload of the same content that has failed before."""
        content = Content(
            params["Key"], source.size, source.sha256, params["ContentType"], params["Metadata"]
        )
        begun = self._take(content.key)
        if begun and begun.content == content:
            try:
                return self._send_missing(begun, source)
            except SinkError as error:
                if error.code not in LOST:
                    raise
        else:
            self._give_up(begun)
        return self._send_missing(self._begin(params, content), source)

    def _begin(self, params: dict[str, Any], content: Content) -> Upload:
        if not md5_is_allowed():
            params = params | {"ChecksumAlgorithm": "SHA256"}
        upload_id = self._direct.create_upload(params, self._signer()) or self._over_boto3(
            "create_multipart_upload", params, "UploadId"
        )
        upload = Upload(content, upload_id, size_of_parts(content.size, self._part_size))
        self._journal.begun(upload)
        return upload

    def _send_missing(self, upload: Upload, source: Body) -> str:
        """Sends the parts that the service does not hold, and completes the upload. Returns the
        ETag."""
        try:
            for number, start in upload.missing():
                source.check_unchanged()
                self._send_part(upload, number, source.part(start, upload.part_size))
            source.check_unchanged()
            etag = self._complete(upload)
            self._journal.over(upload)
            return etag
        except (SinkError, Silence) as error:
            if is_over(error):
                self._give_up(upload)
            else:
                self._remember(upload)
            raise
        except OSError:  # of the file
            self._give_up(upload)
            raise

    def _send_part(self, upload: Upload, number: int, part: Body) -> None:
        digest = checksum(part)
        params = self._named_upload(upload) | {"PartNumber": number} | digest
        etag = self._direct.put_part(params, part, self._signer())
        etag = etag or self._over_boto3("upload_part", params, "ETag", part)
        digest.pop("ContentMD5", None)
        upload.held[number] = {"PartNumber": number, "ETag": etag, **digest}
        self._journal.held(upload, number)

    def _complete(self, upload: Upload) -> str:
        params = self._named_upload(upload) | {"MultipartUpload": {"Parts": upload.parts()}}
        return self._direct.complete_upload(
            params, upload.content.size, self._signer()
        ) or self._over_boto3("complete_multipart_upload", params, "ETag")

    def _named_upload(self, upload: Upload) -> dict[str, Any]:
        return {**self._bucket, "Key": upload.content.key, "UploadId": upload.id}

    def _take(self, key: str) -> Upload | None:
        """Returns the upload of `key` that has failed, for one thread only."""
        with self._lock:
            return self._begun.pop(key, None)

    def _remember(self, upload: Upload) -> None:
        """Keeps the upload for the next put. Gives up the oldest one if there are too many."""
        with self._lock:
            replaced = self._begun.pop(upload.content.key, None)
            self._begun[upload.content.key] = upload
            oldest = next(iter(self._begun)) if len(self._begun) > REMEMBERED else ""
            dropped = self._begun.pop(oldest, None)
        self._give_up(replaced)
        self._give_up(dropped)

    def _give_up(self, upload: Upload | None) -> None:
        """Aborts the upload, so that its parts cost nothing. A failure changes nothing else."""
        if upload is None:
            return
        self._journal.over(upload)
        params = self._named_upload(upload)
        try:
            self._call(
                "abort",
                upload.content.key,
                lambda clients: clients.impatient.abort_multipart_upload(**params),
            )
        except SinkError as error:
            log.debug("%s", error)
            if error.code in DENIALS:
                self._warn_once(
                    "the key may not abort a broken upload of a large file, so its parts stay and "
                    "cost until a lifecycle rule of the bucket removes them "
                    "(AbortIncompleteMultipartUpload, see docs/bucket.md)"
                )

    def _over_boto3(
        self, operation: str, params: dict[str, Any], field: str, source: Body | None = None
    ) -> str:
        """Returns the `field` that confirms the success of a client's `operation`. Repeats it
        without the storage class, or with less metadata, if the service refuses these."""

        def ask(clients: Clients) -> Any:
            nonlocal params
            while True:
                body = {"Body": source.sendable()} if source else {}
                try:
                    return getattr(clients.patient, operation)(**params, **body)
                except clients.patient.exceptions.ClientError as error:
                    fewer = self._without_refused(params, error)
                    if fewer == params:
                        raise
                    params = fewer

        confirmed: str = self._call("put", params["Key"], ask).get(field, "")
        # To botocore a captive portal's well-formed HTML page is a success without fields.
        if not confirmed:
            raise self._failure("put", params["Key"], Cause("NotS3", f"a success without {field}"))
        self._direct.reopen()
        return confirmed

    def _without_refused(self, params: dict[str, Any], error: Exception) -> dict[str, Any]:
        """Returns `params` without what `error` complains of, if an upload can do without it."""
        if "StorageClass" in params and names_storage_class(error):
            self._storage_class = ""
            refused = params["StorageClass"]
            self._warn_once(f"the service refuses storage class {refused}, so its own is used")
            return {name: value for name, value in params.items() if name != "StorageClass"}
        if "Metadata" in params and cause_of(error).code == "MetadataTooLarge":
            self._warn_once("the service accepts less metadata, so most is left out where needed")
            return params | {"Metadata": object_metadata.least(params["Metadata"])}
        return params

    def _warn_once(self, text: str) -> None:
        with self._lock:
            if text not in self._warnings:
                log.warning("%s", text)
            self._warnings.add(text)

    def _call(self, verb: str, what: str, request: Callable[[Clients], Any]) -> Any:
        """Makes a request over boto3. Repeats it once if the service refuses the credentials and
        they have been replaced."""
        try:
            boto = self._boto()
        except (ImportError, OSError) as error:
            raise self._failure(verb, what, cause_of(error)) from error
        try:
            clients = self._connected(boto)
            try:
                return request(clients)
            except boto.FAILURES as error:
                refused = cause_of(error).code in CREDENTIAL_CODES
                renewed = self._renewed(boto, clients) if refused else None
                if renewed is None:
                    raise
            return request(renewed)
        except boto.FAILURES as error:
            failure = self._failure(verb, what, cause_of(error))
            tells_secret = any(word in str(error) for word in self._secrets())
            raise failure from (None if tells_secret else error)

    def _boto(self) -> ModuleType:
        """Imports boto3. After a failure the next call imports all of it anew, because a module
        that was imported may refer to one that was not."""
        with self._lock:
            try:
                from frigate_mirror.sinks.s3 import boto
            except (ImportError, OSError):
                for name in [name for name in sys.modules if name.split(".")[0] in LIBRARIES]:
                    del sys.modules[name]
                raise
        return boto

    def _connected(self, boto: ModuleType) -> Clients:
        """Returns the clients in use. If none can be made, the next call tries again."""
        with self._lock:
            if self._clients is None:
                self._clients = boto.connect(self._settings, self._keys(), self._attempts)
            return self._clients

    def _renewed(self, boto: ModuleType, stale: Clients) -> Clients | None:
        """Returns clients with newer credentials than `stale`, or None if they have not changed."""
        with self._lock:
            if self._clients is stale:
                fresh = boto.connect(self._settings, self._keys(), self._attempts)
                if fresh.first == stale.first:
                    return None
                self._clients = fresh
            return self._clients

    def _signer(self) -> Signer | None:
        """Returns the credentials for the direct way: boto3's, or the settings' before it runs."""
        if self._clients is not None:
            return self._clients.signer()
        keys = self._settings
        access, secret, token = keys.access_key, keys.secret_key, keys.session_token
        return Signer(access.reveal(), secret.reveal(), token.reveal()) if access else None

    def _keys(self) -> tuple[Secret, ...]:
        """Returns the secrets as they are now, or the settings' own while a file is missing."""
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
        """Returns the error for the owner: on one line, without secrets, with what to do."""
        kind, hint = classify(cause.code, cause.status)
        message = f"{verb} {what}: {cause.code}" + (f": {cause.reason}" if cause.reason else "")
        for word in self._secrets():
            message = message.replace(word, "***")
        rights = required_rights(verb, self._settings)
        hint = hint.format(rights=rights, region=cause.region, proxy=self._proxy).rstrip()
        return kind(message, code=cause.code, hint=hint)

    def _secrets(self) -> set[str]:
        """Returns every text that no message may contain."""
        kept, clients = self._settings, self._clients
        keys = (kept.access_key, kept.secret_key, kept.session_token, *self._keys())
        words = {*(key.reveal() for key in keys), *(clients.first if clients else ())}
        words.add(self._proxy_password)
        return {word for word in words if word and len(word) > 3}  # short ones occur in other words


def _direct_way(settings: S3Settings, patience: Patience) -> DirectWay:
    silence = min(patience.silence, settings.read_timeout)
    longest = max(silence, settings.read_timeout)
    patience = replace(patience, connect=settings.connect_timeout, silence=silence, longest=longest)
    endpoint = endpoint_of(settings, os.environ)
    return DirectWay(Pool(endpoint, patience) if endpoint else None)


def _non_empty(**values: str) -> dict[str, str]:
    """Returns the parameters that are not empty."""
    return {name: value for name, value in values.items() if value}


def _options(settings: S3Settings) -> dict[str, str]:
    """Returns the parameters that the settings choose for every put."""
    return _non_empty(
        ServerSideEncryption=settings.sse,
        SSEKMSKeyId=settings.sse_kms_key_id,
        # Parsed and encoded again, because a header must be percent-encoded ASCII. Ceph keeps a `+`
        # as a plus; `%20` is a blank everywhere.
        Tagging=urlencode(parse_qsl(settings.object_tags, keep_blank_values=True), quote_via=quote),
    )


def _unix(date: str) -> float | None:
    """Returns an HTTP date in Unix seconds, or None if it is not one."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
