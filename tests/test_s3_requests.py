"""The S3 sink's requests: their headers and URLs, their number, and their connections."""

from __future__ import annotations

import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.awsrequest
import botocore.exceptions
import botocore.httpsession
import pytest
import urllib3.util.connection

from frigate_mirror.settings import settings
from frigate_mirror.sinks.s3 import boto
from s3 import S3Sink
from tests.rig.s3_sink import environ_for, failure_of, put, sink_for
from tests.rig.servers import Bucket, SeaweedFS
from tests.rig.stub import CHECKSUM, LISTING, Reply, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")


@pytest.mark.usefixtures("each_way")
def test_every_put_has_encryption_tags_and_owner_and_every_listing_the_owner(
    stub: Stub,
) -> None:
    sink = sink_for(environ_for(
        stub.endpoint, S3_SSE="aws:kms", S3_SSE_KMS_KEY_ID="key-1",
        S3_OBJECT_TAGS="source=frigate&where=g\u00e5rd b", S3_EXPECTED_BUCKET_OWNER="123456789012",
    ))  # fmt: skip
    put(sink)
    sink.check()
    headers, listing = stub.seen[0].headers, stub.seen[1].headers
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    assert headers["x-amz-tagging"] == "source=frigate&where=g%C3%A5rd%20b"
    owners = [seen["x-amz-expected-bucket-owner"] for seen in (headers, listing)]
    assert owners == ["123456789012"] * 2


@pytest.mark.usefixtures("each_way")
def test_a_put_without_settings_has_no_further_headers(stub: Stub, shared: S3Sink) -> None:
    put(shared)
    asked = {name for name in stub.seen[0].headers if name.startswith("x-amz-")} - {CHECKSUM}
    assert asked == {"x-amz-content-sha256", "x-amz-date"}


@pytest.mark.usefixtures("each_way")
def test_the_user_agent_names_the_project(stub: Stub, shared: S3Sink) -> None:
    put(shared)
    assert "frigate-s3-mirror/" in stub.seen[0].headers["user-agent"]


@pytest.mark.usefixtures("each_way")
def test_many_puts_share_one_connection(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(20):
        put(sink)
    assert stub.connections == 1


@pytest.mark.usefixtures("each_way")
def test_every_thread_keeps_its_connection(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_for(environ_for(stub.endpoint, MIRROR_UPLOAD_THREADS="12"))
    together = threading.Barrier(12)

    def put_some(_: int) -> None:
        for _ in range(5):
            together.wait(10)
            put(sink)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(put_some, range(12)))
    assert stub.connections <= 12
    assert "pool is full" not in caplog.text


@pytest.mark.usefixtures("each_way")
def test_connections_have_keepalive_and_no_delay(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []

    def noted(connect: Any) -> Any:
        def create_connection(*args: Any, **more: Any) -> socket.socket:
            made.append(connect(*args, **more))
            return made[-1]

        return create_connection

    for module in (socket, urllib3.util.connection):
        monkeypatch.setattr(module, "create_connection", noted(module.create_connection))
    sink = sink_for(environ_for(stub.endpoint))
    put(sink)
    [sock] = made
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.usefixtures("over_boto3")
def test_botocore_tries_three_times_unless_told_otherwise(stub: Stub) -> None:
    stub.default = error(500, "InternalError")
    environ = environ_for(stub.endpoint)
    failure_of(lambda: put(S3Sink(settings.load(environ).s3, environ)))
    assert len(stub.seen) == 3


def test_the_check_lists_one_key_below_the_prefix_once_on_each_way(
    stub: Stub, each_way: str
) -> None:
    stub.default = error(500, "InternalError")
    failure_of(sink_for(environ_for(stub.endpoint, S3_PATH_PREFIX="nvr"), attempts=3).check)
    assert len(stub.seen) == (2 if each_way == "direct" else 1)
    for seen in stub.seen:
        assert "max-keys=1&" in seen.path + "&"
        assert "prefix=nvr%2F" in seen.path


@pytest.mark.usefixtures("each_way")
def test_the_check_measures_the_clock_skew(stub: Stub) -> None:
    environ = environ_for(stub.endpoint)
    for ours, skew in ((1_000_000_000.0, 784_111_777 - 1_000_000_000), (784_111_777.0, 0)):
        stub.default = Reply(200, LISTING, {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"})
        sink = S3Sink(settings.load(environ).s3, environ, attempts=1, clock=lambda now=ours: now)
        found = sink.check().clock_skew
        assert found is not None
        assert abs(found - skew) < 5


@pytest.mark.parametrize("style, line", [("auto", "/bkt/k"), ("path", "/bkt/k")])
def test_a_custom_endpoint_has_the_bucket_in_its_path(stub: Stub, style: str, line: str) -> None:
    endpoint = stub.endpoint.replace("127.0.0.1", "localhost")
    put(sink_for(environ_for(endpoint, S3_ADDRESSING_STYLE=style)))
    assert stub.seen[0].path == line


@pytest.mark.usefixtures("each_way")
def test_virtual_addressing_puts_the_bucket_into_the_hosts_name(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def to_loopback(host: str, *more: object, **options: object) -> object:
        asked.append(host)
        return resolve("127.0.0.1", *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", to_loopback)
    endpoint = stub.endpoint.replace("127.0.0.1", "s3.example.test")
    put(sink_for(environ_for(endpoint, S3_ADDRESSING_STYLE="virtual", S3_BUCKET="my-bucket")))
    assert set(asked) - {"127.0.0.1"} == {"my-bucket.s3.example.test"}
    assert stub.seen[0].path == "/k"


@pytest.mark.usefixtures("each_way")
def test_a_plain_seaweedfs_works_as_well_as_one_over_https(
    seaweedfs: SeaweedFS, bucket: Bucket
) -> None:
    environ = bucket.environ | {"S3_ENDPOINT_URL": seaweedfs.plain_endpoint}
    put(sink_for(environ), "k", b"plain")
    by_name = seaweedfs.plain_endpoint.replace("127.0.0.1", "localhost")
    put(sink_for(environ | {"S3_ENDPOINT_URL": by_name}), "l", b"named")
    assert bucket.objects() == {"k": b"plain", "l": b"named"}


@pytest.mark.usefixtures("over_boto3")
def test_on_aws_the_bucket_is_in_the_hosts_name_and_the_class_is_standard_ia(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str]] = []

    def send(_: object, request: botocore.awsrequest.AWSPreparedRequest) -> None:
        asked.append((request.url, request.headers["x-amz-storage-class"].decode()))
        raise botocore.exceptions.ConnectionClosedError(endpoint_url=request.url)

    monkeypatch.setattr(botocore.httpsession.URLLib3Session, "send", send)
    environ = environ_for("", S3_REGION="eu-north-1", S3_BUCKET="my-bucket")
    failure_of(lambda: put(sink_for(environ)))
    assert asked == [("https://my-bucket.s3.eu-north-1.amazonaws.com/k", "STANDARD_IA")]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_used(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, stub.endpoint)
    sink = sink_for(environ_for("http://s3.nowhere.invalid"))
    put(sink)
    sink.check()
    assert stub.seen[0].path == "http://s3.nowhere.invalid/bkt/k"
    assert stub.seen[1].path.startswith("http://s3.nowhere.invalid/bkt?")


def test_the_password_of_a_proxy_is_hidden_even_if_its_answer_repeats_it(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", stub.endpoint.replace("//", "//me:geheim-99@"))
    stub.default = error(403, "AccessDenied", "me:geheim-99 may not pass")
    sink = sink_for(environ_for("http://s3.nowhere.invalid"))
    for attempt in (lambda: put(sink), sink.check):
        caught = failure_of(attempt)
        trace = "".join(traceback.format_exception(caught))
        assert "me:*** may not pass" in str(caught) and "geheim-99" not in trace


@pytest.mark.usefixtures("each_way")
def test_a_host_in_no_proxy_is_reached_without_the_proxy(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    put(sink_for(environ_for(stub.endpoint)))
    assert stub.seen[0].path == "/bkt/k"


@pytest.mark.usefixtures("over_boto3")
def test_the_import_of_boto3_does_not_count_as_clock_skew(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.default = Reply(200, LISTING, {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"})
    connect, now = boto.connect, [784_111_677.0]

    def slowly(*arguments: Any) -> boto.Clients:
        now[0] += 100
        return connect(*arguments)

    monkeypatch.setattr(boto, "connect", slowly)
    environ = environ_for(stub.endpoint)
    found = S3Sink(settings.load(environ).s3, environ, clock=lambda: now[0]).check().clock_skew
    assert found is not None
    assert abs(found) < 60
