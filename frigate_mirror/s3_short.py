"""The short way of an upload and of the check: one request, tried once, without boto3.

It can say yes only. Whatever is not a plain yes is for the long way, boto3's, to try or to
interpret: `Heard` hands over what was heard, so that the same is not asked twice. That keeps all
that is known of errors in one place, and boto3, which is most of the child's memory, out of a child
that never meets one.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from frigate_mirror import __version__
from frigate_mirror.body import Body
from frigate_mirror.s3_place import Place
from frigate_mirror.s3_sign import UNSIGNED, Request, Signer
from frigate_mirror.s3_trust import Trust
from frigate_mirror.s3_wire import Answer, Wire

log = logging.getLogger("frigate_s3.s3")
AGENT = f"frigate-s3-mirror/{__version__}"
# Parameters of boto3's put_object, whose names they are, and their headers.
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
ENOUGH = 5
NO_ANSWER = Answer(0, {}, b"")


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a request that `signer` signed: an answer, or the silence that ended it."""

    signer: Signer
    outcome: Answer | TimeoutError

    @property
    def etag(self) -> str:
        """The object's, where the outcome is that the service holds it, or empty."""
        return self._success.headers.get("etag", "")

    @property
    def checked(self) -> str:
        """The SHA-256 that the service says it has checked the object's bytes against, or empty."""
        return self._success.headers.get("x-amz-checksum-sha256", "")

    @property
    def refused(self) -> bool:
        """Whether the outcome is that the service does not take a request like this. 403 says who
        finds the signature wrong since something on the way has dropped a header."""
        return isinstance(self.outcome, Answer) and self.outcome.status in (400, 403, 501)

    @property
    def lists(self) -> bool:
        """Whether the outcome is a listing of the bucket."""
        try:
            root = ElementTree.fromstring(self._success.body)
        except (ElementTree.ParseError, ValueError, LookupError):  # the latter two: its encoding
            return False
        names = [one.tag.rpartition("}")[2] for one in (root, *root)]
        return names[0] == "ListBucketResult" and "IsTruncated" in names

    @property
    def date(self) -> str:
        """The service's clock, as a success tells it."""
        return self._success.headers.get("date", "")

    @property
    def _success(self) -> Answer:
        heard = self.outcome
        return heard if isinstance(heard, Answer) and heard.status == 200 else NO_ANSWER


class ShortWay:
    """Requests to the bucket at `place`; None where only boto3 knows the way.

    Open until a request fails, and again once the long way has stored an object: an outage is not
    met twice by each upload. A way that fails again and again while the long one works is wrong for
    this service, whatever the reason, and stays closed.

    Over http the body's SHA-256 is signed. Where the service's answers tell that it checks that
    digest too, as AWS's and SeaweedFS's do, it serves as the checksum and no MD5 is made.
    """

    def __init__(self, place: Place | None, *, connect: float, read: float) -> None:
        self._place = place
        self._wire = Wire(place) if place else None
        self._connect, self._read = connect, read
        self._failures = 0  # since the last success
        self._closed = False
        self._sha256 = Trust(False if place and place.secure else None)

    def put(self, params: Mapping[str, Any], source: Body, signer: Signer | None) -> Heard | None:
        """What is heard of one put_object with `params`; None where nothing is, or nothing that
        vouches for the bytes."""
        place = self._open_to(signer)
        if place is None:
            return None
        # Before the way is tried: a fault of the file is none of the way's.
        payload = UNSIGNED if place.secure else source.digest("sha256").hex()
        with self._sha256.asked(source.size) as relied:
            asked = {} if relied is False else _sha256(source)
            digests = asked if relied else checksum(source) | asked

            def ask(place: Place, signer: Signer) -> Heard | None:
                path = f"{place.path}/{quote(params['Key'], safe='/~')}"
                request = Request("PUT", path, "", _headers(place, {**params, **digests}), payload)
                head = _head(request, place, signer, {"Content-Length": str(source.size)})
                heard = self._send(head, source, signer, self._connect, self._read)
                return self._learned(heard, asked, bool(relied)) if asked else heard

            heard = self._tried(ask, signer)
        self._note(heard is not None and bool(heard.etag))
        return heard

    def _learned(self, heard: Heard, asked: dict[str, str], relied: bool) -> Heard | None:
        """What is heard of a put that asked the service to check the SHA-256; None where it stored
        bytes that nobody has checked, or where the question may be what it refuses."""
        if heard.etag:
            self._sha256.known = heard.checked in asked.values()
            return heard if self._sha256.known or not relied else None
        if heard.refused:
            self._sha256.known = False
            return None
        return heard

    def check(self, params: Mapping[str, Any], prefix: str, signer: Signer | None) -> Heard | None:
        """What is heard of one listing of at most one key below `prefix`; None as above."""

        def ask(place: Place, signer: Signer) -> Heard:
            query = f"encoding-type=url&list-type=2&max-keys=1&prefix={quote(prefix, safe='~')}"
            request = Request("GET", place.path or "/", query, _headers(place, params), NOTHING)
            head = _head(request, place, signer)
            return self._send(head, None, signer, min(5, self._connect), min(10, self._read))

        heard = self._tried(ask, signer)
        self._note(heard is not None and heard.lists)
        return heard

    def reopen(self) -> None:
        """The long way has stored an object."""
        self._closed = self._failures >= ENOUGH

    def _open_to(self, signer: Signer | None) -> Place | None:
        return None if self._closed or signer is None else self._place

    def _tried(
        self, ask: Callable[[Place, Signer], Heard | None], signer: Signer | None
    ) -> Heard | None:
        place = self._open_to(signer)
        if place is None or signer is None:
            return None
        try:
            return ask(place, signer)
        except (OSError, ValueError, LookupError, ImportError) as error:
            log.debug("S3 short way: %s", type(error).__name__)
            return None

    def _note(self, good: bool) -> None:
        if good:
            self._failures, self._closed = 0, False
        elif not self._closed:
            self._failures, self._closed = self._failures + 1, True

    def _send(
        self, head: bytes, source: Body | None, signer: Signer, connect: float, read: float
    ) -> Heard:
        assert self._wire
        body = b"" if source is None else source.sendable()
        try:
            return Heard(signer, self._wire.exchange(head, body, connect=connect, read=read))
        except TimeoutError as silence:
            return Heard(signer, silence)


def _head(
    request: Request, place: Place, signer: Signer, more: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """The request but its body, as it goes out; nothing of `more` is signed."""
    headers = {**signer.sign(request, place.region, _stamp(int(time.time()))), **more}
    if not all(value.isprintable() for value in headers.values()):
        raise ValueError("a header that would break the line")
    target = f"{request.path}?{request.query}" if request.query else request.path
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


@lru_cache(maxsize=1)
def _stamp(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


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
    """The parameter of boto3's put_object that has any service check the bytes: their MD5, which
    every server tried looks at, or on hosts that forbid it (FIPS) their SHA-256. botocore's own
    choice goes as a chunked trailer, which some refuse and some store as the object's bytes."""
    try:
        return {"ContentMD5": _base64(source.digest("md5"))}
    except ValueError:
        return _sha256(source)


def _sha256(source: Body) -> dict[str, str]:
    return {"ChecksumSHA256": _base64(source.digest("sha256"))}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
