"""The direct way of a put and of the check: requests of our own, without boto3.

It recognises success only. After anything else the same request goes over boto3, which knows all
errors; a put can be repeated, and so can each request of a put in parts. So only one module
interprets errors, and a child that meets none never loads boto3, which would be most of its memory.

Silence is the exception: it is raised, because boto3 would only wait for the same once more.
"""

from __future__ import annotations

import hashlib
import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from frigate_mirror import __version__
from frigate_mirror.sinks.body import Body
from frigate_mirror.sinks.s3.endpoint import Endpoint
from frigate_mirror.sinks.s3.http1 import STORED_PER_SECOND, Answer, Silence
from frigate_mirror.sinks.s3.pool import Pool
from frigate_mirror.sinks.s3.sigv4 import UNSIGNED, Request, Signer

log = logging.getLogger("frigate_s3.s3")
AGENT = f"frigate-s3-mirror/{__version__}"
# The parameters of boto3's put_object and of its requests for parts, and the header of each.
HEADERS = {
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
    "ContentType": "Content-Type",
    "ContentMD5": "Content-MD5",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ChecksumAlgorithm": "x-amz-checksum-algorithm",
}
NO_HEADERS = {"Bucket", "Key", "UploadId", "PartNumber", "MultipartUpload"}
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
MAX_FAILURES = 5  # in a row
NO_ANSWER = Answer(0, {}, b"")


class DirectWay:
    """Requests to the bucket over `pool`, which is None where only boto3 can find the bucket.

    The direct way closes when a request fails, and opens again when boto3 has stored an object, so
    an upload does not meet the same outage twice. After five failures in a row, with successes of
    boto3 in between, it does not suit this service and stays closed. Silence does not count.

    Over http the signature needs the SHA-256 of the body. If the service confirms that it checks
    that digest, as AWS and SeaweedFS do, puts carry no MD5, which would cost a third of their CPU.
    """

    def __init__(self, pool: Pool | None) -> None:
        self._pool = pool
        self._failures = 0  # since the last success
        self._closed = False
        self._checks_sha256: bool | None = None  # None until the service has answered

    def put(self, params: Mapping[str, Any], body: Body, signer: Signer | None) -> str:
        """Sends one put_object with `params`. Returns the ETag, or an empty text unless the service
        confirms that it holds the object. Raises Silence."""
        pool = self._pool
        if pool is None or signer is None or self._closed:
            return ""

        digests = self._digests(body, pool.endpoint)
        asked = None if pool.endpoint.secure else digests.get("ChecksumSHA256")
        answer = _answer_to(lambda: _put(pool, signer, {**params, **digests}, "", body))
        etag = _etag_of(answer)
        if asked and etag:
            confirmed = answer.headers.get(HEADERS["ChecksumSHA256"]) == asked
            if self._checks_sha256 and not confirmed:
                etag = ""  # nobody has checked these bytes
            self._checks_sha256 = confirmed
        elif asked and answer.status in (400, 403, 501):  # the digest may be what it refuses
            self._checks_sha256 = False
        self._note(bool(etag))
        return etag

    def put_part(self, params: Mapping[str, Any], part: Body, signer: Signer | None) -> str:
        """Sends one upload_part with `params`, which contain the digest of `part`. Otherwise like
        `put`."""
        pool = self._pool
        if pool is None or signer is None or self._closed:
            return ""

        query = f"partNumber={params['PartNumber']}&{_upload_query(params)}"
        etag = _etag_of(_answer_to(lambda: _put(pool, signer, params, query, part)))
        self._note(bool(etag))
        return etag

    def create_upload(self, params: Mapping[str, Any], signer: Signer | None) -> str:
        """Sends one create_multipart_upload with `params`. Returns the id of the upload, or an
        empty text unless the service confirms that it has begun one. Raises Silence."""
        fields = self._post(params, "uploads=", b"", "InitiateMultipartUploadResult", signer)
        return fields.get("UploadId", "")

    def complete_upload(self, params: Mapping[str, Any], size: int, signer: Signer | None) -> str:
        """Sends one complete_multipart_upload with `params`, for an object of `size` bytes.
        Otherwise like `put`."""
        body, query = _list_of_parts(params), _upload_query(params)
        # A service that copies the parts together needs as long as for storing them.
        storing = size / STORED_PER_SECOND
        fields = self._post(params, query, body, "CompleteMultipartUploadResult", signer, storing)
        return fields.get("ETag", "")

    def _post(
        self,
        params: Mapping[str, Any],
        query: str,
        body: bytes,
        kind: str,
        signer: Signer | None,
        more_time: float = 0,
    ) -> dict[str, str]:
        """Returns the fields of the answer, or none unless it is a success of this `kind`."""
        pool = self._pool
        if pool is None or signer is None or self._closed:
            return {}

        def send() -> Answer:
            path, headers = _path(pool.endpoint, params), _headers(pool.endpoint, params)
            request = Request("POST", path, query, headers, hashlib.sha256(body).hexdigest())
            head = _head(request, pool.endpoint, signer, len(body))
            return pool.exchange(head, body, more_time=more_time)

        fields = fields_of(_answer_to(send), kind)
        self._note(bool(fields))
        return fields

    def check(self, params: Mapping[str, Any], prefix: str, signer: Signer | None) -> str | None:
        """Lists at most one key below `prefix`, over a connection of its own. Returns the answer's
        header Date, or None if the answer is not a listing. Raises Silence."""
        pool = self._pool
        if pool is None or signer is None or self._closed:
            return None

        def send() -> Answer:
            query = f"encoding-type=url&list-type=2&max-keys=1&prefix={quote(prefix, safe='~')}"
            path, headers = pool.endpoint.bucket_path or "/", _headers(pool.endpoint, params)
            request = Request("GET", path, query, headers, EMPTY_SHA256)
            return pool.probe(_head(request, pool.endpoint, signer))

        answer = _answer_to(send)
        succeeded = is_listing(answer)
        self._note(succeeded)
        return answer.headers.get("date", "") if succeeded else None

    def _digests(self, body: Body, endpoint: Endpoint) -> dict[str, str]:
        """Returns the digests that the service shall check. Until it has confirmed the SHA-256, the
        MD5 goes with it."""
        if endpoint.secure or self._checks_sha256 is False:
            return checksum(body)
        return _sha256(body) if self._checks_sha256 else checksum(body) | _sha256(body)

    def reopen(self) -> None:
        """Opens the direct way, because boto3 has stored an object."""
        self._closed = self._failures >= MAX_FAILURES

    def _note(self, succeeded: bool) -> None:
        if succeeded:
            self._failures, self._closed = 0, False
        elif not self._closed:
            self._failures, self._closed = self._failures + 1, True


def checksum(body: Body) -> dict[str, str]:
    """Returns the parameter of put_object or upload_part that makes the service check the bytes.

    It is their MD5, which every server that we tested checks, or their SHA-256 on a host that
    forbids MD5 (FIPS). botocore would send its own choice as a chunked trailer, which some services
    refuse and others store as the object's bytes.
    """
    if body.md5:
        return {"ContentMD5": b64encode(body.md5).decode("ascii")}
    return _sha256(body)


def _sha256(body: Body) -> dict[str, str]:
    return {"ChecksumSHA256": b64encode(body.sha256).decode("ascii")}


def is_listing(answer: Answer) -> bool:
    """Whether the answer is a complete listing of a bucket."""
    return "IsTruncated" in fields_of(answer, "ListBucketResult")


def fields_of(answer: Answer, kind: str) -> dict[str, str]:
    """Returns the texts of an XML answer by their names, or none unless it is a success of this
    `kind`."""
    if answer.status != 200:
        return {}
    try:
        root = ElementTree.fromstring(answer.body)
    except (ElementTree.ParseError, ValueError, LookupError):  # the last two: its encoding
        return {}
    name, *names = [element.tag.rpartition("}")[2] for element in (root, *root)]
    texts = [element.text or "" for element in root]
    return dict(zip(names, texts, strict=True)) if name == kind else {}


def _answer_to(send: Callable[[], Answer]) -> Answer:
    try:
        return send()
    except Silence:
        raise
    except (OSError, ValueError, LookupError, ImportError) as error:
        log.debug("S3 direct way: %s", type(error).__name__)
        return NO_ANSWER


def _etag_of(answer: Answer) -> str:
    return answer.headers.get("etag", "") if answer.status == 200 else ""


def _put(pool: Pool, signer: Signer, params: Mapping[str, Any], query: str, body: Body) -> Answer:
    path, headers = _path(pool.endpoint, params), _headers(pool.endpoint, params)
    payload = UNSIGNED if pool.endpoint.secure else body.sha256.hex()
    request = Request("PUT", path, query, headers, payload)
    return pool.exchange(_head(request, pool.endpoint, signer, body.size), body.sendable())


def _path(endpoint: Endpoint, params: Mapping[str, Any]) -> str:
    return f"{endpoint.bucket_path}/{quote(params['Key'], safe='/~')}"


def _upload_query(params: Mapping[str, Any]) -> str:
    return f"uploadId={quote(params['UploadId'], safe='~')}"


def _list_of_parts(params: Mapping[str, Any]) -> bytes:
    """Returns the body of complete_multipart_upload."""
    root = ElementTree.Element("CompleteMultipartUpload", xmlns=NAMESPACE)
    for part in params["MultipartUpload"]["Parts"]:
        element = ElementTree.SubElement(root, "Part")
        for name, value in part.items():
            ElementTree.SubElement(element, name).text = str(value)
    return ElementTree.tostring(root)


def _head(request: Request, endpoint: Endpoint, signer: Signer, size: int | None = None) -> bytes:
    """Returns the request without its body of `size` bytes, as bytes."""
    headers = signer.sign(request, endpoint.region, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if size is not None:
        headers["Content-Length"] = str(size)
    if not all(value.isprintable() for value in headers.values()):
        raise ValueError("a header contains a character that would break its line")
    target = f"{request.path}?{request.query}" if request.query else request.path
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


def _headers(endpoint: Endpoint, params: Mapping[str, Any]) -> dict[str, str]:
    """Returns the headers before they are signed. Raises LookupError for a parameter that has no
    header here."""
    headers = {"Host": endpoint.host_header, "User-Agent": AGENT}
    for name, value in params.items():
        if name == "Metadata":
            headers |= {f"x-amz-meta-{key}": text for key, text in value.items()}
        elif name not in NO_HEADERS:
            headers[HEADERS[name]] = value
    return headers
