"""The direct way of an upload and of the check: one request of our own, without boto3.

It only recognises success. Anything else that the service answers is asked again over boto3, which
knows all errors; a put can be repeated. So all knowledge of errors is in one place, and a child
that meets no error never loads boto3, which would be most of its memory.

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
from frigate_mirror.sinks.s3.endpoint import Place
from frigate_mirror.sinks.s3.http1 import Answer, Silence
from frigate_mirror.sinks.s3.pool import Wire
from frigate_mirror.sinks.s3.sigv4 import UNSIGNED, Request, Signer

log = logging.getLogger("frigate_s3.s3")
AGENT = f"frigate-s3-mirror/{__version__}"
# The parameters of boto3's put_object, and the header of each.
HEADERS = {
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
    "ContentType": "Content-Type",
    "ContentMD5": "Content-MD5",
    "ChecksumSHA256": "x-amz-checksum-sha256",
}
NOTHING = hashlib.sha256(b"").hexdigest()
ENOUGH = 5  # failures in a row after which the direct way stays closed
NO_ANSWER = Answer(0, {}, b"")


class DirectWay:
    """Requests to the bucket over `wire`, which is None where only boto3 can find the bucket.

    The direct way closes when a request fails, and opens again when boto3 has stored an object, so
    that an upload does not meet the same outage twice. If it fails again and again while boto3
    succeeds, it does not suit this service and stays closed. Silence does not count.
    """

    def __init__(self, wire: Wire | None) -> None:
        self._wire = wire
        self._failures = 0  # since the last success
        self._closed = False

    def put(self, params: Mapping[str, Any], source: Body, signer: Signer | None) -> str:
        """The ETag of one put_object with `params`. It is empty unless the service says that it
        holds the object. Raises Silence."""
        wire = self._wire
        if wire is None or signer is None or self._closed:
            return ""

        def ask() -> Answer:
            path = f"{wire.place.path}/{quote(params['Key'], safe='/~')}"
            payload = UNSIGNED if wire.place.secure else source.sha256.hex()
            request = Request("PUT", path, "", _headers(wire.place, params), payload)
            return wire.exchange(_head(request, wire.place, signer, source), source.sendable())

        answer = _answer(ask)
        etag = answer.headers.get("etag", "") if answer.status == 200 else ""
        self._note(bool(etag))
        return etag

    def check(self, params: Mapping[str, Any], prefix: str, signer: Signer | None) -> str | None:
        """Lists at most one key below `prefix`, over a connection of its own. Returns its header
        Date, or None if the answer is no listing. Raises Silence."""
        wire = self._wire
        if wire is None or signer is None or self._closed:
            return None

        def ask() -> Answer:
            path, headers = wire.place.path or "/", _headers(wire.place, params)
            query = f"encoding-type=url&list-type=2&max-keys=1&prefix={quote(prefix, safe='~')}"
            return wire.probe(
                _head(Request("GET", path, query, headers, NOTHING), wire.place, signer)
            )

        answer = _answer(ask)
        good = is_listing(answer)
        self._note(good)
        return answer.headers.get("date", "") if good else None

    def reopen(self) -> None:
        """boto3 has stored an object."""
        self._closed = self._failures >= ENOUGH

    def _note(self, good: bool) -> None:
        if good:
            self._failures, self._closed = 0, False
        elif not self._closed:
            self._failures, self._closed = self._failures + 1, True


def _answer(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except Silence:
        raise
    except (OSError, ValueError, LookupError, ImportError) as error:
        log.debug("S3 direct way: %s", type(error).__name__)
        return NO_ANSWER


def is_listing(answer: Answer) -> bool:
    """Whether the answer is a whole listing of a bucket."""
    if answer.status != 200:
        return False
    try:
        root = ElementTree.fromstring(answer.body)
    except (ElementTree.ParseError, ValueError, LookupError):  # the latter two: its encoding
        return False
    names = [one.tag.rpartition("}")[2] for one in (root, *root)]
    return names[0] == "ListBucketResult" and "IsTruncated" in names


def _head(request: Request, place: Place, signer: Signer, source: Body | None = None) -> bytes:
    """The request without its body, as bytes."""
    headers = signer.sign(request, place.region, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if source:
        headers["Content-Length"] = str(source.size)
    if not all(value.isprintable() for value in headers.values()):
        raise ValueError("a header that would break the line")
    target = f"{request.path}?{request.query}" if request.query else request.path
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


def _headers(place: Place, params: Mapping[str, Any]) -> dict[str, str]:
    """Raises LookupError for a parameter that has no header here."""
    headers = {"Host": place.name, "User-Agent": AGENT}
    for name, value in params.items():
        if name == "Metadata":
            headers |= {f"x-amz-meta-{key}": text for key, text in value.items()}
        elif name not in ("Bucket", "Key"):
            headers[HEADERS[name]] = value
    return headers


def checksum(source: Body) -> dict[str, str]:
    """The parameter of put_object that makes the service check the bytes.

    It is their MD5, which every server we tried checks, or their SHA-256 on hosts that forbid MD5
    (FIPS). botocore's own choice goes as a chunked trailer, which some services refuse and others
    store as the object's bytes.
    """
    if source.md5:
        return {"ContentMD5": b64encode(source.md5).decode("ascii")}
    return {"ChecksumSHA256": b64encode(source.sha256).decode("ascii")}
