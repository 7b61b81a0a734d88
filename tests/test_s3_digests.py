"""Which digest vouches for the bytes of an upload: over http the SHA-256, which is signed anyway,
where the service tells that it checks it."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import pytest

import frigate_mirror.sinks.body
from tests.rig.s3_sink import environ_for, failure_of, forbid_md5, put, sink_for
from tests.rig.servers import Bucket, SeaweedFS
from tests.rig.stub import CHECKSUM, Reply, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")


def digests_of(stub: Stub) -> list[set[str]]:
    """Which checksums each request had that went the direct way."""
    names = {"content-md5": "MD5", CHECKSUM: "SHA-256"}
    direct = [seen for seen in stub.seen if "Boto3" not in seen.headers["user-agent"]]
    return [{names[name] for name in seen.headers if name in names} for seen in direct]


@pytest.mark.parametrize("data", [b"x", b"x" * 5_000_000])
def test_where_the_service_tells_that_it_checked_the_sha256_no_md5_is_made(
    stub: Stub, data: bytes
) -> None:
    stub.checks = True
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(3):
        put(sink, data=data)
    assert digests_of(stub) == [{"MD5", "SHA-256"}, {"SHA-256"}, {"SHA-256"}]
    right = hashlib.sha256(data)
    for seen in stub.seen:
        assert seen.headers[CHECKSUM] == base64.b64encode(right.digest()).decode()
        assert seen.headers["x-amz-content-sha256"] == right.hexdigest()
        assert seen.body == data


def test_where_the_service_does_not_tell_it_the_md5_stays(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(3):
        put(sink)
    assert digests_of(stub) == [{"MD5", "SHA-256"}, {"MD5"}, {"MD5"}]


def test_another_objects_sha256_is_no_word_that_ours_was_checked(stub: Stub) -> None:
    stub.replies.append(
        Reply(headers={"ETag": '"e"', CHECKSUM: "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is"})
    )
    sink = sink_for(environ_for(stub.endpoint))
    put(sink)
    put(sink)
    assert digests_of(stub) == [{"MD5", "SHA-256"}, {"MD5"}]


@pytest.mark.parametrize("relied", [False, True])
@pytest.mark.parametrize("status", [400, 403, 501])
def test_a_service_that_refuses_to_be_asked_is_not_asked_again(
    stub: Stub, status: int, relied: bool
) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    if relied:
        stub.checks = True
        put(sink)
        stub.seen.clear()
    stub.replies.append(error(status, "InvalidArgument"))
    assert put(sink) == "e", "the same upload, over boto3"
    for _ in range(3):
        put(sink)
    asked = {"SHA-256"} if relied else {"MD5", "SHA-256"}
    assert digests_of(stub) == [asked, {"MD5"}, {"MD5"}, {"MD5"}]
    assert len(stub.seen) == 5


def test_a_fault_of_the_file_does_not_close_the_direct_way(stub: Stub) -> None:
    class Short(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size)[:-1]

    sink = sink_for(environ_for(stub.endpoint))
    for size in (10, 5_000_000):
        with pytest.raises(OSError, match="changed from"):
            sink.put("k", Short(b"x" * size), content_type="image/jpeg", metadata={})
    put(sink)
    assert len(digests_of(stub)) == len(stub.seen) == 1


def test_a_success_that_nobody_checked_any_more_is_put_again_with_an_md5(stub: Stub) -> None:
    stub.checks = True
    sink = sink_for(environ_for(stub.endpoint))
    put(sink)
    stub.checks = False  # another server behind the same name
    put(sink)
    assert digests_of(stub) == [{"MD5", "SHA-256"}, {"SHA-256"}]
    assert "content-md5" in stub.seen[-1].headers and len(stub.seen) == 3
    put(sink)
    assert digests_of(stub)[2:] == [{"MD5"}]


def test_over_https_nobody_is_asked(tls_stub: Stub, certificate: tuple[Path, Path]) -> None:
    tls_stub.checks = True
    sink = sink_for(environ_for(tls_stub.endpoint, S3_CA_BUNDLE=str(certificate[0])))
    put(sink)
    put(sink)
    assert digests_of(tls_stub) == [{"MD5"}, {"MD5"}]


def test_hurt_bytes_are_refused_over_http_by_their_sha256_alone(
    seaweedfs: SeaweedFS, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_for(bucket.environ | {"S3_ENDPOINT_URL": seaweedfs.plain_endpoint})
    put(sink, "first", b"good")
    forbid_md5(monkeypatch)  # none is made, so none is missed
    put(sink, "second", b"good")
    assert bucket.objects() == {"first": b"good", "second": b"good"}
    hurt = lambda body: b"hurt"  # noqa: E731
    monkeypatch.setattr(frigate_mirror.sinks.body.Body, "sendable", hurt)
    assert failure_of(lambda: put(sink, "third", b"good")).code == "BadDigest"
    assert bucket.keys() == ["first", "second"]
