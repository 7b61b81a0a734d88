"""What an exception from an S3 client says: the code, the reason, and where it points.

Goes by shape, not by class: an exception that carries an answer of the service has it parsed in
`response`, as botocore's ClientError does, and all others are known by their names. So it needs no
boto, and a table of codes needs no exceptions.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from frigate_mirror.sinks.s3.codes import CODES


@dataclass(frozen=True, slots=True)
class Cause:
    """`code` is a word for `codes.classify`, `status` the HTTP status where there was an answer,
    `region` the one that the answer names, or empty. All texts are short, on one line, printable:
    whoever answered wrote them, and they end in a log."""

    code: str
    reason: str
    status: int | None = None
    region: str = ""


def cause_of(error: Exception) -> Cause:
    answer = _answer(error)
    if answer is None:
        root = _root(error)
        reason = getattr(root, "strerror", None) or root
        return Cause(code=_name(error, root), reason=_line(reason))
    # S3's longer fields repeat what was signed, and the key id; its message does not.
    said, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    region = said.get("Region") or meta.get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
    return Cause(
        code=_line(said.get("Code", "")),
        reason=_line(said.get("Message") or ""),  # Ceph sends none
        status=meta.get("HTTPStatusCode"),
        region=_line(region),
    )


def _line(text: object) -> str:
    words = " ".join(str(text).split())
    return "".join(letter for letter in words if letter.isprintable())[:300]


def speaks_of_storage_class(error: Exception) -> bool:
    """Services refuse a class under many codes, and spell it in many ways."""
    said = (_answer(error) or {}).get("Error", {})
    text = " ".join(str(value) for value in said.values()).lower()
    return "storageclass" in "".join(letter for letter in text if letter.isalpha())


def _answer(error: Exception) -> dict[str, Any] | None:
    answer = getattr(error, "response", None)
    return answer if isinstance(answer, dict) else None


def _name(error: Exception, root: BaseException) -> str:
    """The first name among the exception's classes that the table knows, or its own."""
    names = [kind.__name__.removesuffix("Error") for kind in type(error).__mro__]
    if names[0] == "SSL":
        return _tls_name(root)
    # Checked with the parameters of a put, but no artifact has chosen the bucket.
    if names[0] == "ParamValidation" and "bucket name" in str(error):
        return "InvalidBucketName"
    return next((name for name in names if name in CODES), names[0])


def _tls_name(root: BaseException) -> str:
    if isinstance(root, ssl.SSLCertVerificationError):
        return "CertificateVerifyFailed"
    unusable = isinstance(root, (FileNotFoundError, PermissionError, IsADirectoryError))
    return "CertificateFileUnusable" if unusable or "[X509" in str(root) else "SSL"


def _root(error: BaseException) -> BaseException:
    """The operating system's own word at the bottom of what the client has wrapped, or `error`."""
    found = error
    below: BaseException | None = error
    while below is not None:
        found = below if isinstance(below, OSError) else found
        below = below.__cause__ or below.__context__
    return found
