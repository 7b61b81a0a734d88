"""Which digest a service checks. Over http the SHA-256 is signed anyway, so it is enough where the
service confirms that it has checked it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

import frigate_mirror.sinks.body
from tests.rig.s3_sink import environ_for, failure_of, forbid_md5, put, sink_for
from tests.rig.servers import Bucket, SeaweedFS
from tests.rig.stub import CHECKSUM, Reply, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
BOTH = {"MD5", "SHA-256"}


def digests_of(stub: Stub) -> list[set[str]]:
    """Returns which digests each request on the direct way asked the service to check."""
    names = {"content-md5": "MD5", CHECKSUM: "SHA-256"}
    direct = [seen for seen in stub.seen if "Boto3" not in seen.headers["user-agent"]]
    return [{names[name] for name in seen.headers if name in names} for seen in direct]


@pytest.mark.parametrize("data", [b"x", b"x" * 5_000_000])
def test_after_a_service_has_confirmed_the_sha256_no_md5_is_computed(
    stub: Stub, data: bytes
) -> None:
    stub.checks = True
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(3):
        put(sink, data=data)
    assert digests_of(stub) == [BOTH, {"SHA-256"}, {"SHA-256"}]
    digest = hashlib.sha256(data)
    for seen in stub.seen:
        assert seen.headers[CHECKSUM] == base64.b64encode(digest.digest()).decode()
        assert seen.headers["x-amz-content-sha256"] == digest.hexdigest()
        assert seen.body == data


def test_a_service_that_confirms_nothing_gets_an_md5_with_every_put(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(3):
        put(sink)
    assert digests_of(stub) == [BOTH, {"MD5"}, {"MD5"}]


def test_the_sha256_of_another_object_confirms_nothing(stub: Stub) -> None:
    other = base64.b64encode(hashlib.sha256(b"another object").digest()).decode()
    stub.replies.append(Reply(headers={"ETag": '"e"', CHECKSUM: other}))
    sink = sink_for(environ_for(stub.endpoint))
    put(sink)
    put(sink)
    assert digests_of(stub) == [BOTH, {"MD5"}]


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("status", [400, 403, 501])
def test_a_service_that_refuses_the_sha256_gets_only_md5s_from_then_on(
    stub: Stub, status: int, confirmed: bool
) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    if confirmed:
        stub.checks = True
        put(sink)
        stub.seen.clear()
    stub.replies.append(error(status, "InvalidArgument"))
    assert put(sink) == "e", "the same upload goes over boto3"
    for _ in range(3):
        put(sink)
    first = {"SHA-256"} if confirmed else BOTH
    assert digests_of(stub) == [first, {"MD5"}, {"MD5"}, {"MD5"}]
    assert len(stub.seen) == 5


def test_a_put_that_the_service_no_longer_confirms_is_repeated_with_an_md5(stub: Stub) -> None:
    stub.checks = True
    sink = sink_for(environ_for(stub.endpoint))
    put(sink)
    stub.checks = False  # another server has this name now
    put(sink)
    assert digests_of(stub) == [BOTH, {"SHA-256"}]
    assert "content-md5" in stub.seen[-1].headers and len(stub.seen) == 3
    put(sink)
    assert digests_of(stub)[2:] == [{"MD5"}]


def test_over_https_the_md5_is_the_only_digest(
    tls_stub: Stub, certificate: tuple[Path, Path]
) -> None:
    tls_stub.checks = True
    sink = sink_for(environ_for(tls_stub.endpoint, S3_CA_BUNDLE=str(certificate[0])))
    put(sink)
    put(sink)
    assert digests_of(tls_stub) == [{"MD5"}, {"MD5"}]


def test_a_real_server_refuses_altered_bytes_by_their_sha256_alone(
    seaweedfs: SeaweedFS, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_for(bucket.environ | {"S3_ENDPOINT_URL": seaweedfs.plain_endpoint})
    put(sink, "first", b"good")
    forbid_md5(monkeypatch)
    put(sink, "second", b"good")
    assert bucket.objects() == {"first": b"good", "second": b"good"}
    altered = lambda body: b"hurt"  # noqa: E731
    monkeypatch.setattr(frigate_mirror.sinks.body.Body, "sendable", altered)
    assert failure_of(lambda: put(sink, "third", b"good")).code == "BadDigest"
    assert bucket.keys() == ["first", "second"]
