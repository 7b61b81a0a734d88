"""What an exception of an S3 client says: a code, a reason, and the region that it names.

This module looks at the shape of an exception and not at its class, so it does not import boto3. An
exception that carries an answer of the service has it parsed in `response`, as botocore's
ClientError does. All others are known by their names.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from frigate_mirror.sinks.s3.codes import CODES


@dataclass(frozen=True, slots=True)
class Cause:
    """`code` is a word for `codes.classify`; `status` is the HTTP status, if the service answered;
    `region` is the one that the answer names, or empty. All texts are short, printable and on one
    line, because a stranger may have written them and they end in a log."""

    code: str
    reason: str
    status: int | None = None
    region: str = ""


def cause_of(error: Exception) -> Cause:
    answer = _answer_in(error)
    if answer is None:
        root = _root_of(error)
        reason = getattr(root, "strerror", None) or root
        return Cause(code=_name_of(error, root), reason=_line(reason))
    # S3's longer fields repeat what was signed, and the key's id. Its message does not.
    fields, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    region = fields.get("Region") or meta.get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
    return Cause(
        code=_line(fields.get("Code", "")),
        reason=_line(fields.get("Message") or ""),  # Ceph sends none
        status=meta.get("HTTPStatusCode"),
        region=_line(region),
    )


def names_storage_class(error: Exception) -> bool:
    """Whether the service complains of the storage class. Services use many codes for this, and
    spell it in many ways."""
    fields = (_answer_in(error) or {}).get("Error", {})
    text = " ".join(str(value) for value in fields.values()).lower()
    return "storageclass" in "".join(letter for letter in text if letter.isalpha())


def _line(text: object) -> str:
    words = " ".join(str(text).split())
    return "".join(letter for letter in words if letter.isprintable())[:300]


def _answer_in(error: Exception) -> dict[str, Any] | None:
    answer = getattr(error, "response", None)
    return answer if isinstance(answer, dict) else None


def _name_of(error: Exception, root: BaseException) -> str:
    """Returns the first name among the exception's classes that the table contains, or its own."""
    names = [kind.__name__.removesuffix("Error") for kind in type(error).__mro__]
    if names[0] == "SSL":
        return _tls_name_of(root)
    # botocore checks the bucket's name with the parameters of each put, but no artifact chose it.
    if names[0] == "ParamValidation" and "bucket name" in str(error):
        return "InvalidBucketName"
    return next((name for name in names if name in CODES), names[0])


def _tls_name_of(root: BaseException) -> str:
    if isinstance(root, ssl.SSLCertVerificationError):
        return "CertificateVerifyFailed"
    unusable = isinstance(root, (FileNotFoundError, PermissionError, IsADirectoryError))
    return "CertificateFileUnusable" if unusable or "[X509" in str(root) else "SSL"


def _root_of(error: BaseException) -> BaseException:
    """Returns the lowest OSError that the client has wrapped, or `error` if there is none."""
    root, below = error, error.__cause__ or error.__context__
    while below is not None:
        root = below if isinstance(below, OSError) else root
        below = below.__cause__ or below.__context__
    return root
