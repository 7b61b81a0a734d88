"""Shared by the tests of the S3 sink: a sink for a stub or a bucket, and calls of its methods."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.sink import SinkError
from s3 import S3Sink

ACCESS, SECRET = "AKIDSTUBSTUBSTUB", "stub-secret-key"


def environ_for(endpoint: str, **more: str) -> dict[str, str]:
    return {
        "S3_BUCKET": "bkt", "S3_ENDPOINT_URL": endpoint, "S3_ACCESS_KEY": ACCESS,
        "S3_SECRET_KEY": SECRET, "S3_CONNECT_TIMEOUT": "0.2", "S3_READ_TIMEOUT": "5",
    } | more  # fmt: skip


def sink_for(environ: dict[str, str], attempts: int = 1) -> S3Sink:
    return S3Sink(settings.load(environ).s3, environ, attempts=attempts)


def put(sink: S3Sink, key: str = "k", data: bytes = b"x") -> str:
    return sink.put(key, io.BytesIO(data), content_type="image/jpeg", metadata={}).etag


def failure_of(attempt: Callable[[], object]) -> SinkError:
    with pytest.raises(SinkError) as caught:
        attempt()
    return caught.value


def forbid_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this host forbid MD5, as FIPS does."""
    new = hashlib.new

    def some(name: str, **more: bool) -> Any:
        if name == "md5":
            raise ValueError("disabled for FIPS")
        return new(name, **more)

    monkeypatch.setattr(hashlib, "new", some)
