"""Puts to S3: the bytes arrive complete, with or without a storage class and all the metadata."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

import frigate_mirror.sinks.body
from frigate_mirror import metadata
from frigate_mirror.settings import settings
from frigate_mirror.sinks.sink import Rejected, SinkError, Unavailable
from s3 import S3Sink
from tests.rig.s3_sink import environ_for, failure_of, forbid_md5, put, sink_for
from tests.rig.servers import Bucket, SeaweedFS
from tests.rig.stub import Reply, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host", "each_way")


def test_the_server_refuses_bytes_that_were_damaged_on_the_way(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurt = lambda body: b"hurt"  # noqa: E731
    sink = sink_for(bucket.environ)
    monkeypatch.setattr(frigate_mirror.sinks.body.Body, "sendable", hurt)
    caught = failure_of(lambda: put(sink, "k", b"good"))
    assert (type(caught), caught.code) == (Unavailable, "BadDigest")
    assert bucket.keys() == []


@pytest.mark.parametrize("secure", [False, True])
def test_a_host_that_forbids_md5_sends_a_sha256_that_the_server_checks(
    seaweedfs: SeaweedFS, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    endpoint = seaweedfs.endpoint if secure else seaweedfs.plain_endpoint
    sink = sink_for(bucket.environ | {"S3_ENDPOINT_URL": endpoint})
    forbid_md5(monkeypatch)
    put(sink, "fips", b"good")
    assert bucket.objects() == {"fips": b"good"}
    monkeypatch.setattr(frigate_mirror.sinks.body.Body, "sendable", lambda body: b"hurt")
    assert type(failure_of(lambda: put(sink, "fips-2", b"good"))) is Unavailable
    assert bucket.keys() == ["fips"]


def md5_of(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def test_every_put_carries_the_md5_of_its_bytes_and_over_http_signs_their_sha256(
    stub: Stub, shared: S3Sink
) -> None:
    for size in (0, 1, 100_000, 17 * 1024 * 1024):
        data = b"x" * size
        put(shared, "k", data)
        seen = stub.seen[-1]
        assert seen.body == data
        assert seen.headers["content-md5"] == md5_of(data)
        assert seen.headers["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [5, 17 * 1024 * 1024])
def test_over_https_the_body_is_sent_without_chunked_framing(
    tls_stub: Stub, certificate: tuple[Path, Path], size: int
) -> None:
    environ = environ_for(tls_stub.endpoint, S3_CA_BUNDLE=str(certificate[0]))
    put(sink_for(environ), "k", b"x" * size)
    [seen] = tls_stub.seen
    assert seen.body == b"x" * size
    assert seen.headers["content-md5"] == md5_of(seen.body)
    assert {"content-encoding", "x-amz-trailer", "transfer-encoding"}.isdisjoint(seen.headers)


def test_the_object_has_no_content_encoding(bucket: Bucket) -> None:
    assert bucket.endpoint.startswith("https:")
    put(sink_for(bucket.environ), "k", b"plain")
    assert bucket.head("k").get("ContentEncoding", "") == ""
    assert bucket.get("k") == b"plain"


def test_a_retry_sends_the_same_bytes_again(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(b"head" + b"x" * (17 * 1024 * 1024))
    stub.replies.append(error(500, "InternalError"))
    with path.open("rb") as body:
        body.seek(4)
        sink = sink_for(environ_for(stub.endpoint), attempts=2)
        sink.put("k", body, content_type="video/mp4", metadata={})
    first, second = stub.seen
    assert first.body == second.body == path.read_bytes()[4:]


class Changing(io.BytesIO):
    """A file whose size becomes `size` bytes as soon as its end has been read."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self.tell() == len(self.getbuffer()):
            position = self.tell()
            self.truncate(self._size)
            self.seek(0, 2)
            self.write(b"y" * (self._size - self.tell()))
            self.seek(position)
        return data


@pytest.mark.parametrize("before, after", [
    (10, 4), (10, 20), (17 * 1024 * 1024, 1_000), (17 * 1024 * 1024, 18 * 1024 * 1024),
])  # fmt: skip
def test_a_file_that_changes_while_it_is_read_is_not_uploaded(
    stub: Stub, shared: S3Sink, before: int, after: int
) -> None:
    body = Changing(b"x" * before, after)
    with pytest.raises(OSError, match="changed from") as caught:
        shared.put("k", body, content_type="video/mp4", metadata={})
    assert not isinstance(caught.value, SinkError)


@pytest.mark.parametrize("size", [10, 17 * 1024 * 1024])
def test_a_file_that_yields_less_than_its_size_is_not_sent(
    stub: Stub, shared: S3Sink, size: int
) -> None:
    class Short(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size)[:-1]

    with pytest.raises(OSError, match="changed from"):
        shared.put("k", Short(b"x" * size), content_type="video/mp4", metadata={})
    assert stub.seen == []


def test_a_large_body_is_read_in_pieces(stub: Stub, shared: S3Sink) -> None:
    largest = 0

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal largest
            largest = max(largest, len(data := super().read(size)))
            return data

    shared.put("k", Watched(b"x" * 2 * 1024 * 1024), content_type="video/mp4", metadata={})
    assert 0 < largest <= 1024 * 1024


REFUSALS = [
    error(400, "InvalidStorageClass", "The storage class you specified is not valid"),
    error(501, "NotImplemented", "Header 'x-amz-storage-class' is not implemented"),
    error(400, "InvalidArgument", "Invalid argument.", Details="Unknown storage class"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_storage_class_is_dropped_and_reported_once(
    stub: Stub, caplog: pytest.LogCaptureFixture, refusal: Reply
) -> None:
    sink = sink_for(environ_for(stub.endpoint, S3_STORAGE_CLASS="STANDARD_IA"))
    stub.refusals["x-amz-storage-class: STANDARD_IA"] = refusal
    assert put(sink) == put(sink) == "e"
    classes = [seen.headers.get("x-amz-storage-class") for seen in stub.seen]
    assert [name for name, _ in groupby(classes)] == ["STANDARD_IA", None]
    assert classes[-2:] == [None, None]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.name for record in warnings] == ["frigate_s3.s3"]
    assert "STANDARD_IA" in warnings[0].getMessage()


def test_eight_threads_that_meet_the_refusal_together_report_it_once(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    sink = sink_for(bucket.environ | {"S3_STORAGE_CLASS": "NO_SUCH_CLASS"})
    keys = [f"{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(sink, key), keys))
    assert bucket.keys() == keys
    said = [record.getMessage() for record in caplog.records if record.name == "frigate_s3.s3"]
    assert len(said) == 1
    assert "NO_SUCH_CLASS" in said[0]


def auto_sink(environ: dict[str, str]) -> S3Sink:
    """A sink that chooses the storage class, as the settings have it for AWS itself."""
    loaded = replace(settings.load(environ).s3, storage_class="AUTO")
    return S3Sink(loaded, environ, attempts=1)


@pytest.mark.parametrize(
    ("size", "chosen"),
    [(0, "STANDARD"), (131_071, "STANDARD"), (131_072, "STANDARD_IA"), (2_000_000, "STANDARD_IA")],
)
def test_auto_chooses_the_storage_class_by_the_size_of_the_object(
    bucket: Bucket, size: int, chosen: str
) -> None:
    put(auto_sink(bucket.environ), "k", b"x" * size)
    assert bucket.get("k") == b"x" * size
    assert bucket.head("k")["StorageClass"] == chosen


def test_where_a_class_that_auto_chose_is_refused_no_class_is_sent_any_more(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    sink = auto_sink(environ_for(stub.endpoint))
    stub.refusals["x-amz-storage-class: STANDARD_IA"] = REFUSALS[0]
    for data in (b"small", b"x" * 200_000, b"small"):
        assert put(sink, data=data) == "e"
    classes = [seen.headers.get("x-amz-storage-class") for seen in stub.seen]
    assert [name for name, _ in groupby(classes)] == ["STANDARD", "STANDARD_IA", None]
    assert "refuses storage class STANDARD_IA" in caplog.text


def test_an_unrelated_refusal_keeps_the_storage_class(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint, S3_STORAGE_CLASS="STANDARD_IA"))
    stub.default = error(400, "InvalidArgument", "no such key in KMS")
    failure_of(lambda: put(sink))
    stub.default = None
    put(sink)
    assert stub.seen[-1].headers["x-amz-storage-class"] == "STANDARD_IA"


CYRILLIC = [f"палисадник у калитки {number}" for number in range(36)]
VALUES = {"event-id": "1705329022.123456-abc123", "camera": "двор", "label": "person"}


def put_described(sink: S3Sink, key: str, described: dict[str, str]) -> None:
    sink.put(key, io.BytesIO(b"x"), content_type="image/jpeg", metadata=described)


def metadata_of(stub: Stub) -> dict[str, str]:
    start = "x-amz-meta-"
    headers = stub.seen[-1].headers.items()
    return {name.removeprefix(start): text for name, text in headers if name.startswith(start)}


def test_a_service_that_counts_header_names_accepts_the_metadata(stub: Stub) -> None:
    stub.most_metadata = metadata.LIMIT
    described = metadata.encode(VALUES, CYRILLIC)
    put_described(sink_for(environ_for(stub.endpoint)), "k", described)
    assert metadata_of(stub) == described
    assert len(metadata.decode(described)[1]) > 5
    assert len(stub.seen) == 1


def test_a_service_that_accepts_less_metadata_gets_the_least_and_that_is_reported_once(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    stub.most_metadata = 1_000
    sink = sink_for(environ_for(stub.endpoint))
    for key in "abc":
        put_described(sink, key, metadata.encode(VALUES, CYRILLIC))
        assert metadata_of(stub) == {
            "event-id": VALUES["event-id"], "left-out": "camera,label,zones",
        }  # fmt: skip
    said = [record.getMessage() for record in caplog.records if record.name == "frigate_s3.s3"]
    assert len(said) == 1
    assert "metadata" in said[0]
    put_described(sink, "d", metadata.encode(VALUES))
    assert metadata_of(stub) == metadata.encode(VALUES), "metadata that fits stays complete"


def test_metadata_that_is_too_large_even_at_its_least_is_rejected(stub: Stub) -> None:
    stub.most_metadata = 10
    sink = sink_for(environ_for(stub.endpoint))
    described = metadata.encode(VALUES)
    caught = failure_of(lambda: put_described(sink, "k", described))
    assert (type(caught), caught.code) == (Rejected, "MetadataTooLarge")
