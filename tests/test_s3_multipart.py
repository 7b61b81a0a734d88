"""Large bodies go up in parts: what the bucket holds, and what is sent again after a failure."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest

from frigate_mirror import metadata
from frigate_mirror.settings import settings
from frigate_mirror.sinks.s3.multipart import (
    MOST_PARTS,
    PART,
    REMEMBERED,
    Content,
    Journal,
    Upload,
    size_of_parts,
)
from frigate_mirror.sinks.s3.pool import Patience
from frigate_mirror.sinks.sink import Receipt, Rejected, SinkError, Unavailable
from s3 import S3Sink
from tests.rig.router import Router
from tests.rig.s3_sink import environ_for, failure_of, forbid_md5
from tests.rig.servers import Bucket, SeaweedFS, identities
from tests.rig.stub import BEGUN, Reply, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024
SMALLEST = 5 * MIB  # the smallest part that S3 accepts
SIZE = 23 * MIB  # five parts, of which the last one is smaller
MP4 = "video/mp4"


@cache
def movie(seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(SIZE)


def sink_for(
    environ: dict[str, str],
    part_size: int = SMALLEST,
    attempts: int = 1,
    journal: Path | None = None,
) -> S3Sink:
    loaded = settings.load(environ).s3
    return S3Sink(loaded, environ, attempts=attempts, part_size=part_size, journal=journal)


def put(
    sink: S3Sink, data: bytes | None = None, key: str = "clip.mp4", **described: str
) -> Receipt:
    body = io.BytesIO(movie() if data is None else data)
    return sink.put(key, body, content_type=MP4, metadata=described)


def unfinished(bucket: Bucket) -> list[str]:
    """The keys of the uploads that the bucket waits for."""
    found = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


@pytest.fixture
def routed(seaweedfs: SeaweedFS, bucket: Bucket) -> Iterator[tuple[Router, dict[str, str]]]:
    """A router to the bucket, and the settings for the way through it."""
    router = Router(seaweedfs.plain_endpoint)
    yield router, bucket.environ | {"S3_ENDPOINT_URL": router.endpoint}
    router.close()


def fail_midway(router: Router, sink: S3Sink, **described: str) -> SinkError:
    """Loses the service in the third part of a put, and brings it back."""

    def lose() -> None:
        router.refusing = True
        router.cut()

    router.when(router.passed + 12 * MIB, lose)
    failure = failure_of(lambda: put(sink, **described))
    router.refusing, router.passed = False, 0
    return failure


# -- what arrives


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("secure", [False, True])
def test_a_large_object_arrives_with_all_that_a_small_one_has(
    seaweedfs: SeaweedFS, bucket: Bucket, secure: bool
) -> None:
    endpoint = seaweedfs.endpoint if secure else seaweedfs.plain_endpoint
    more = {"S3_ENDPOINT_URL": endpoint, "S3_STORAGE_CLASS": "STANDARD_IA", "S3_OBJECT_TAGS": "a=b"}
    receipt = put(sink_for(bucket.environ | more), key="door/a é+b.mp4", label="caf%C3%A9")
    [key] = bucket.keys()
    head = bucket.head(key)
    assert bucket.get(key) == movie()
    assert receipt == Receipt(
        "door/a é+b.mp4", SIZE, head["ETag"].strip('"'), hashlib.sha256(movie()).hexdigest()
    )
    assert receipt.etag.endswith("-5")
    assert (head["ContentType"], head["Metadata"]) == (MP4, {"label": "caf%C3%A9"})
    assert head["StorageClass"] == "STANDARD_IA"
    tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
    assert tags == [{"Key": "a", "Value": "b"}]
    assert unfinished(bucket) == []


def test_a_large_body_is_put_from_its_current_position(bucket: Bucket) -> None:
    body = io.BytesIO(b"skipped" + movie())
    body.seek(7)
    sink_for(bucket.environ).put("clip.mp4", body, content_type=MP4, metadata={})
    assert bucket.get("clip.mp4") == movie()


@pytest.mark.usefixtures("each_way")
def test_a_host_that_forbids_md5_has_every_part_checked_by_its_sha256(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_md5(monkeypatch)
    put(sink_for(bucket.environ))
    assert bucket.get("clip.mp4") == movie()
    monkeypatch.setattr("frigate_mirror.sinks.body.Body.sendable", lambda body: b"x" * body.size)
    assert type(failure_of(lambda: put(sink_for(bucket.environ), key="hurt"))) is Unavailable
    assert bucket.keys() == ["clip.mp4"]


@pytest.mark.usefixtures("each_way")
def test_the_server_refuses_a_part_that_was_damaged_on_the_way(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_for(bucket.environ)
    monkeypatch.setattr("frigate_mirror.sinks.body.Body.sendable", lambda body: b"x" * body.size)
    caught = failure_of(lambda: put(sink))
    assert (type(caught), caught.code) == (Unavailable, "BadDigest")
    assert bucket.keys() == []


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("size", [0, 1, 2 * MIB, 4 * SMALLEST])
def test_a_body_of_up_to_four_parts_is_one_request(stub: Stub, size: int) -> None:
    put(sink_for(environ_for(stub.endpoint)), bytes(size))
    assert [(seen.method, urlsplit(seen.path).query) for seen in stub.seen] == [("PUT", "")]


def test_the_largest_object_of_s3_has_as_many_parts_as_s3_accepts() -> None:
    assert size_of_parts(5_000_000_000, PART) == PART
    for size in (MOST_PARTS * PART, MOST_PARTS * PART + 1, 5 * 1024**4):
        assert size / size_of_parts(size, PART) <= MOST_PARTS


PROGRAM = r"""
import os, re, sys
from pathlib import Path
from frigate_mirror.settings import settings
from s3 import S3Sink
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
sink = S3Sink(settings.load(os.environ).s3, os.environ)
sink.check()
before = peak()
with open(sys.argv[1], "rb") as body:
    receipt = sink.put("clip.mp4", body, content_type="video/mp4", metadata={})
loaded = sorted({"boto3", "botocore", "urllib3", "http.client"} & set(sys.modules))
print(receipt.size, receipt.etag.partition("-")[2], loaded, peak() - before)
"""


def test_a_large_body_is_never_in_memory_and_does_not_load_boto3(
    bucket: Bucket, tmp_path: Path
) -> None:
    size = 300 * MIB
    (tmp_path / "clip").touch()
    os.truncate(tmp_path / "clip", size)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "clip"],
        env=os.environ | bucket.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    *told, grown = done.stdout.split()
    assert told == [f"{size}", "19", "[]"]
    assert float(grown) < 10
    assert bucket.head("clip.mp4")["ContentLength"] == size


# -- what is sent again


@pytest.mark.usefixtures("each_way")
def test_a_connection_that_breaks_costs_one_part(
    routed: tuple[Router, dict[str, str]], bucket: Bucket
) -> None:
    router, environ = routed
    router.when(12 * MIB, router.cut)
    put(sink_for(environ, attempts=2))
    assert bucket.get("clip.mp4") == movie()
    assert SIZE + MIB < router.passed < SIZE + 2 * SMALLEST


@pytest.mark.usefixtures("each_way")
def test_the_put_after_a_failure_sends_only_the_parts_that_are_missing(
    routed: tuple[Router, dict[str, str]], bucket: Bucket
) -> None:
    router, environ = routed
    sink = sink_for(environ)
    assert type(fail_midway(router, sink)) is Unavailable
    assert unfinished(bucket) == ["clip.mp4"]
    receipt = put(sink)
    assert bucket.get("clip.mp4") == movie()
    assert receipt.sha256 == hashlib.sha256(movie()).hexdigest()
    assert router.passed < SIZE - 2 * SMALLEST + MIB
    assert unfinished(bucket) == []


@pytest.mark.usefixtures("each_way")
def test_after_a_success_the_same_bytes_are_a_new_upload(
    routed: tuple[Router, dict[str, str]], bucket: Bucket
) -> None:
    router, environ = routed
    sink = sink_for(environ)
    fail_midway(router, sink)
    put(sink)
    bucket.client.delete_object(Bucket=bucket.name, Key="clip.mp4")
    put(sink)
    assert bucket.get("clip.mp4") == movie()


@pytest.mark.parametrize("other", [{"data": movie(2)}, {"label": "cat"}])
def test_a_put_of_other_content_starts_anew_and_aborts_the_first_upload(
    routed: tuple[Router, dict[str, str]], bucket: Bucket, other: dict[str, Any]
) -> None:
    router, environ = routed
    sink = sink_for(environ)
    fail_midway(router, sink, label="dog")
    put(sink, **{"label": "dog"} | other)
    assert bucket.get("clip.mp4") == other.get("data", movie())
    assert bucket.head("clip.mp4")["Metadata"]["label"] == other.get("label", "dog")
    assert router.passed > SIZE
    assert unfinished(bucket) == []


@pytest.mark.usefixtures("each_way")
def test_an_upload_that_the_service_has_dropped_starts_anew(
    routed: tuple[Router, dict[str, str]], bucket: Bucket
) -> None:
    router, environ = routed
    sink = sink_for(environ)
    fail_midway(router, sink)
    [left] = bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    bucket.client.abort_multipart_upload(
        Bucket=bucket.name, Key="clip.mp4", UploadId=left["UploadId"]
    )
    put(sink)
    assert bucket.get("clip.mp4") == movie()
    assert unfinished(bucket) == []


@pytest.mark.usefixtures("each_way")
def test_after_a_crash_only_the_parts_are_sent_that_the_journal_does_not_have(
    routed: tuple[Router, dict[str, str]], bucket: Bucket, tmp_path: Path
) -> None:
    """The journal is copied in the third part. So would a crash leave it."""
    router, environ = routed
    journal, left = tmp_path / "journal", tmp_path / "left"

    def crash() -> None:
        left.write_bytes(journal.read_bytes() + b'{"id": "half a li')
        router.refusing = True
        router.cut()

    router.when(router.passed + 12 * MIB, crash)
    failure_of(lambda: put(sink_for(environ, journal=journal)))
    router.refusing, router.passed = False, 0
    put(sink_for(environ, journal=left))
    assert bucket.get("clip.mp4") == movie()
    assert router.passed < SIZE - 2 * SMALLEST + MIB
    assert unfinished(bucket) == []
    router.passed = 0
    put(sink_for(environ, journal=left))
    assert router.passed > SIZE, "what is over is not remembered"


@pytest.mark.parametrize("text", ["", "{", "[]\n5\nnull", '{"id": 1}', '{"id": "x", "part": {}}',
                                  '{"id": "x", "sha256": "zz"}', "\0"])  # fmt: skip
def test_a_journal_that_is_none_costs_nothing(bucket: Bucket, tmp_path: Path, text: str) -> None:
    journal = tmp_path / "journal"
    journal.write_text(text)
    put(sink_for(bucket.environ, journal=journal))
    assert bucket.get("clip.mp4") == movie()
    journal.unlink()
    journal.mkdir()
    put(sink_for(bucket.environ, journal=journal), key="other.mp4")
    assert bucket.get("other.mp4") == movie()


def journaled(path: Path, key: str) -> Upload:
    """An upload of which the journal at `path` has the first two parts."""
    upload = Upload(Content(key, SIZE, b"digest", MP4, {"camera": "front"}), f"id-{key}", SMALLEST)
    journal = Journal(path)
    journal.begun(upload)
    for number in (1, 2):
        upload.held[number] = {"PartNumber": number, "ETag": f'"{number}"'}
        journal.held(upload, number)
    return upload


def test_the_parts_that_the_journal_has_outlast_every_restart(tmp_path: Path) -> None:
    upload = journaled(tmp_path / "journal", "clip.mp4")
    for _ in range(3):
        assert Journal(tmp_path / "journal").read() == {"clip.mp4": upload}


def test_the_journal_does_not_grow_by_uploads_that_are_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left = journaled(path, "left.mp4")
    size = path.stat().st_size
    for number in range(20):
        Journal(path).over(journaled(path, f"{number}.mp4"))
    assert Journal(path).read() == {"left.mp4": left}
    assert path.stat().st_size == size


def test_a_damaged_line_of_the_journal_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = journaled(path, "before.mp4")
    with path.open("ab") as file:
        file.write(b'{"id": "half a li\n')
    after = journaled(path, "after.mp4")
    assert Journal(path).read() == {"before.mp4": before, "after.mp4": after}


# -- a stub that tells which parts were sent

MANY = b"".join(number.to_bytes(2, "big") * 500 for number in range(1, 6))
"""Five parts of 1,000 bytes, which the stub accepts."""


def stub_sink(stub: Stub, **more: str) -> S3Sink:
    return sink_for(environ_for(stub.endpoint, **more), part_size=1_000)


def asked(stub: Stub) -> list[str]:
    """What the stub was asked since the last call: `begin`, `complete`, `abort`, or the upload and
    the number of a part."""
    names = {"POST": "complete", "DELETE": "abort"}
    found = []
    for seen in stub.seen:
        query = dict(parse_qsl(urlsplit(seen.path).query, True))
        if "uploads" in query:
            found.append("begin")
        else:
            number = query.get("partNumber", names.get(seen.method, "whole"))
            found.append(f"{query.get('uploadId', '')}:{number}")
    stub.seen = []
    return found


def refuse_part(stub: Stub, number: int, refusal: Reply, data: bytes = MANY) -> None:
    part = data[(number - 1) * 1_000 : number * 1_000]
    digest = base64.b64encode(hashlib.md5(part).digest()).decode()
    stub.refusals[f"content-md5: {digest}"] = refusal


BUSY = error(503, "SlowDown")


def test_each_of_several_uploads_goes_on_and_the_oldest_beyond_them_is_aborted(stub: Stub) -> None:
    sink = stub_sink(stub)
    keys = [f"{number}.mp4" for number in range(REMEMBERED + 1)]
    refuse_part(stub, 3, BUSY)
    for key in keys:
        failure_of(lambda: put(sink, MANY, key))  # noqa: B023
    assert [one for one in asked(stub) if "abort" in one] == ["1:abort"]
    stub.refusals = {}
    for number, key in enumerate(keys[1:], 2):
        put(sink, MANY, key)
        assert asked(stub) == [f"{number}:{part}" for part in (3, 4, 5, "complete")]
    put(sink, MANY, keys[0])
    assert asked(stub) == ["begin", *(f"6:{part}" for part in (1, 2, 3, 4, 5, "complete"))]


def test_a_part_that_the_service_refuses_for_what_it_is_ends_the_upload(stub: Stub) -> None:
    sink = stub_sink(stub)
    refuse_part(stub, 2, error(413, "EntityTooLarge"))
    assert type(failure_of(lambda: put(sink, MANY))) is Rejected
    assert asked(stub) == ["begin", "1:1", "1:2", "1:2", "1:abort"]
    stub.refusals = {}
    put(sink, MANY)
    assert asked(stub)[:2] == ["begin", "2:1"]


def test_a_success_that_contains_an_error_completes_nothing(stub: Stub) -> None:
    sink = stub_sink(stub)
    refuse_part(stub, 5, BUSY)
    failure_of(lambda: put(sink, MANY))
    asked(stub)
    stub.refusals = {}
    said = error(200, "InternalError", "We encountered an internal error. Please try again.")
    stub.replies.extend([Reply(headers={"ETag": '"e"'}), said, said])
    caught = failure_of(lambda: put(sink, MANY))
    assert (type(caught), caught.code) == (Unavailable, "InternalError")
    assert asked(stub) == ["1:5", "1:complete", "1:complete"], "the direct way, then boto3"
    assert put(sink, MANY).etag == "e-1"
    assert asked(stub) == ["1:complete"]


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidPart", "InvalidPartOrder"])
def test_an_upload_of_which_the_service_lacks_something_starts_anew(stub: Stub, code: str) -> None:
    sink = stub_sink(stub)
    refuse_part(stub, 5, BUSY)
    failure_of(lambda: put(sink, MANY))
    asked(stub)
    stub.refusals = {}
    stub.replies.extend([Reply(headers={"ETag": '"e"'}), *[error(400, code)] * 2])
    put(sink, MANY)
    assert asked(stub) == [
        "1:5", "1:complete", "1:complete", "1:abort",
        "begin", *(f"2:{part}" for part in (1, 2, 3, 4, 5, "complete")),
    ]  # fmt: skip


@pytest.mark.parametrize("at", [0, 1, 6])
def test_a_success_of_a_captive_portal_is_none(stub: Stub, shared: S3Sink, at: int) -> None:
    """It answers the request that begins, the first part, or the one that completes."""
    sink = stub_sink(stub)
    portal = Reply(body=b"<html><body>Log in</body></html>")
    begun = Reply(body=BEGUN.format("1").encode())
    healthy = [begun, *[Reply(headers={"ETag": '"e"'})] * 5]
    stub.replies.extend([*healthy[:at], portal, portal])
    assert failure_of(lambda: put(sink, MANY)).code == "NotS3"


def test_silence_in_a_part_fails_the_put_and_the_next_one_goes_on(stub: Stub) -> None:
    router = Router(stub.endpoint)
    environ = environ_for(router.endpoint, S3_CONNECT_TIMEOUT="60")
    loaded, patience = settings.load(environ).s3, Patience(silence=0.5)
    sink = S3Sink(loaded, environ, attempts=1, patience=patience, part_size=100_000)
    data = random.Random(1).randbytes(500_000)

    def lose() -> None:
        router.forgetful = True
        router.forget()

    router.when(350_000, lose)
    caught = failure_of(lambda: put(sink, data))
    assert (type(caught), caught.code) == (Unavailable, "ReadTimeout")
    router.forgetful = False
    asked(stub)
    put(sink, data)
    assert asked(stub) == ["1:4", "1:5", "1:complete"]
    router.close()


# -- what the service refuses


@pytest.mark.usefixtures("each_way")
def test_a_refused_storage_class_is_dropped(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    sink = stub_sink(stub, S3_STORAGE_CLASS="STANDARD_IA")
    stub.refusals["x-amz-storage-class: STANDARD_IA"] = error(400, "InvalidStorageClass")
    assert put(sink, MANY).etag == put(sink, MANY).etag == "e-1"
    assert "x-amz-storage-class" not in stub.seen[-1].headers
    assert caplog.text.count("refuses storage class STANDARD_IA") == 1


@pytest.mark.usefixtures("each_way")
def test_metadata_that_is_too_large_is_reduced(stub: Stub) -> None:
    stub.most_metadata = 60
    described = metadata.encode({"event-id": "1.5-a", "camera": "front", "label": "x" * 100})
    put(stub_sink(stub), MANY, **described)
    begin = [seen for seen in stub.seen if "?uploads" in seen.path][-1]
    assert begin.headers["x-amz-meta-event-id"] == "1.5-a"
    assert "x-amz-meta-label" not in begin.headers


POLICY = json.dumps({
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::*/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::*"},
        # To SeaweedFS the right to abort is a part of the right to put; elsewhere it need not be.
        {"Effect": "Deny", "Action": "s3:AbortMultipartUpload", "Resource": "arn:aws:s3:::*/*"},
    ],
})  # fmt: skip


@pytest.fixture(scope="module")
def strict() -> Iterator[SeaweedFS]:
    """A server that knows a key with the rights of the README."""
    known = identities()
    keys = [{"accessKey": "MIRRORACCESSKEY", "secretKey": "mirror-secret-key"}]
    known["identities"].append({"name": "m", "credentials": keys, "policyNames": ["readme"]})
    server = SeaweedFS(known | {"policies": [{"name": "readme", "content": POLICY}]})
    yield server
    server.stop()


def test_a_key_that_may_only_put_and_list_uploads_in_parts_and_leaves_broken_ones_to_a_rule(
    strict: SeaweedFS, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = strict.bucket()
    router = Router(strict.plain_endpoint)
    sink = sink_for(bucket.environ | {
        "S3_ENDPOINT_URL": router.endpoint, "S3_ACCESS_KEY": "MIRRORACCESSKEY",
        "S3_SECRET_KEY": "mirror-secret-key",
    })  # fmt: skip
    for _ in range(2):
        fail_midway(router, sink)
        put(sink, movie(2))
        assert bucket.get("clip.mp4") == movie(2)
    assert unfinished(bucket) == ["clip.mp4"] * 2
    said = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1 and "AbortIncompleteMultipartUpload" in said[0].getMessage()
    router.close()


def test_the_service_accepts_the_rule_of_the_pages(bucket: Bucket) -> None:
    rule = re.compile(r"--lifecycle-configuration '([^']*AbortIncomplete[^']*)'")
    [in_readme], [in_page] = (
        rule.findall((ROOT / name).read_text()) for name in ("README.md", "docs/bucket.md")
    )
    assert in_readme == in_page
    bucket.client.put_bucket_lifecycle_configuration(
        Bucket=bucket.name, LifecycleConfiguration=json.loads(in_page)
    )
    [kept] = bucket.client.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
    assert kept["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


# -- a file that changes


class Growing(io.BytesIO):
    """A file that grows as soon as a part of it is confirmed."""

    def __init__(self, data: bytes, stub: Stub, parts: int) -> None:
        super().__init__(data)
        self._stub, self._parts = stub, parts

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if len(self._stub.seen) == 1 + self._parts:
            position = self.tell()
            super().seek(0, os.SEEK_END)
            self.write(b"more")
            super().seek(position)
        return super().seek(offset, whence)


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("parts", [1, 5])
def test_a_file_that_grows_while_it_is_sent_is_not_completed(stub: Stub, parts: int) -> None:
    sink = stub_sink(stub)
    with pytest.raises(OSError, match="changed from 5000") as caught:
        sink.put("k", Growing(MANY, stub, parts), content_type=MP4, metadata={})
    assert not isinstance(caught.value, SinkError)
    sent = [f"1:{number}" for number in range(1, parts + 1)]
    assert asked(stub) == ["begin", *sent, "1:abort"]


# -- both ways

UNLIKE = {
    "authorization", "x-amz-date", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request",
    "accept-encoding",
}  # fmt: skip
ALL = {
    "S3_SSE": "aws:kms", "S3_SSE_KMS_KEY_ID": "key-1", "S3_OBJECT_TAGS": "a=b c&d=\u00e9",
    "S3_EXPECTED_BUCKET_OWNER": "123456789012", "S3_STORAGE_CLASS": "STANDARD_IA",
    "S3_SESSION_TOKEN": "tok",
}  # fmt: skip


def requests_of(stub: Stub) -> Iterator[tuple[Any, ...]]:
    for seen in stub.seen:
        url = urlsplit(seen.path)
        body: Any = seen.body
        if body.startswith(b"<"):  # the order of a part's fields means nothing
            body = [sorted((one.tag, one.text) for one in part) for part in ElementTree.XML(body)]
        headers = {name: text for name, text in seen.headers.items() if name not in UNLIKE}
        yield seen.method, url.path, sorted(parse_qsl(url.query, True)), headers, body


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("more", [{}, ALL])
def test_both_ways_send_the_same_requests(
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    more: dict[str, str],
    allowed: bool,
) -> None:
    if not allowed:
        forbid_md5(monkeypatch)
    put(stub_sink(stub, **more), MANY, "a b/\u00e9+c~.mp4", camera="front door")
    direct = list(requests_of(stub))
    assert not any("Boto3" in seen.headers["user-agent"] for seen in stub.seen)
    stub.reset()
    request.getfixturevalue("over_boto3")
    put(stub_sink(stub, **more), MANY, "a b/\u00e9+c~.mp4", camera="front door")
    assert all("Boto3" in seen.headers["user-agent"] for seen in stub.seen)
    assert list(requests_of(stub)) == direct
    assert [method for method, *_ in direct] == ["POST", *["PUT"] * 5, "POST"]
    # AWS refuses the SHA-256 of a part unless the upload was begun with that algorithm.
    assert direct[0][3].get("x-amz-checksum-algorithm") == (None if allowed else "SHA256")
    assert all(("ChecksumSHA256" in str(part)) is not allowed for part in direct[-1][4])
