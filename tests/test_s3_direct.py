"""The direct way sends what boto3 would send, and recognises success only where boto3 would."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.credentials import RefreshableCredentials

from frigate_mirror.settings import settings
from frigate_mirror.sinks.body import Body
from frigate_mirror.sinks.s3 import boto
from frigate_mirror.sinks.s3.direct import MAX_FAILURES, DirectWay, is_listing
from frigate_mirror.sinks.s3.endpoint import Endpoint, endpoint_of
from frigate_mirror.sinks.s3.http1 import Answer
from frigate_mirror.sinks.s3.pool import Patience, Pool
from frigate_mirror.sinks.s3.sigv4 import Signer
from tests.rig.s3_sink import environ_for, failure_of, put, sink_for
from tests.rig.stub import CHECKSUM, COMPLETED, LISTING, Reply, Seen, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
ROOT = Path(__file__).resolve().parent.parent

# -- the request

UNLIKE = {"authorization", "x-amz-date", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}
ALL = {
    "S3_SSE": "aws:kms", "S3_SSE_KMS_KEY_ID": "key-1", "S3_OBJECT_TAGS": "a=b c&d=\u00e9",
    "S3_EXPECTED_BUCKET_OWNER": "123456789012", "S3_STORAGE_CLASS": "STANDARD_IA",
    "S3_SESSION_TOKEN": "tok", "S3_PATH_PREFIX": "n v/r",
}  # fmt: skip


def asked_of(stub: Stub, environ: dict[str, str]) -> list[Seen]:
    """Returns the requests of a put and a check, as `stub` sees them."""
    sink = sink_for(environ)
    metadata = {"camera": "front door", "label": "", "zones": "a,  b "}
    with (ROOT / "README.md").open("rb") as body:
        sink.put("a b/\u00e9+c~.jpg", body, content_type="image/jpeg", metadata=metadata)
    sink.check()
    seen, stub.seen = stub.seen, []
    return seen


def signed_names(seen: Seen) -> set[str]:
    text = seen.headers["authorization"].split("SignedHeaders=")[1].split(",")[0]
    return set(text.split(";"))


@pytest.mark.parametrize("more", [{}, ALL])
@pytest.mark.parametrize("secure", [False, True])
def test_both_ways_send_the_same_request(
    stub: Stub,
    tls_stub: Stub,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    secure: bool,
    more: dict[str, str],
) -> None:
    server = tls_stub if secure else stub
    environ = environ_for(server.endpoint, S3_CA_BUNDLE=str(certificate[0]), **more)
    direct = asked_of(server, environ)
    monkeypatch.setattr(DirectWay, "put", lambda *_: "")
    monkeypatch.setattr(DirectWay, "check", lambda *_: None)
    by_boto = asked_of(server, environ)
    assert "Boto3" in by_boto[0].headers["user-agent"]
    assert "Boto3" not in direct[0].headers["user-agent"]
    for ours, theirs in zip(direct, by_boto, strict=True):
        assert (ours.method, ours.body) == (theirs.method, theirs.body)
        assert urlsplit(ours.path).path == urlsplit(theirs.path).path
        queries = [sorted(parse_qsl(urlsplit(one.path).query, True)) for one in (ours, theirs)]
        assert queries[0] == queries[1]
        kept = [{k: v for k, v in s.headers.items() if k not in UNLIKE} for s in (ours, theirs)]
        if not secure:  # see test_s3_digests
            kept[0].pop(CHECKSUM, None)
        # botocore accepts any encoding of a GET's answer; without this header there is none.
        kept[1].pop("accept-encoding", None)
        assert kept[0] == kept[1]
        assert signed_names(ours) - {CHECKSUM} == signed_names(theirs)


# -- success and failure


def test_a_child_that_meets_no_error_never_loads_boto3(stub: Stub) -> None:
    program = (
        "import io, os, sys\nfrom frigate_mirror.settings import settings\nfrom s3 import S3Sink\n"
        "sink = S3Sink(settings.load(os.environ).s3, os.environ)\nsink.check()\n"
        "sink.put('k', io.BytesIO(b'x'), content_type='image/jpeg', metadata={})\n"
        "print(sorted({'boto3', 'botocore', 'urllib3', 'http.client'} & set(sys.modules)))"
    )
    environ = os.environ | environ_for(stub.endpoint) | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=30
    )
    assert (told.stdout, told.stderr) == ("[]\n", "")


def test_after_a_failure_this_request_and_the_next_go_over_boto3(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint), attempts=3)
    stub.default = error(503, "SlowDown")
    failure_of(lambda: put(sink))
    failure_of(lambda: put(sink))
    agents = ["Boto3" in seen.headers["user-agent"] for seen in stub.seen]
    assert agents == [False, True, True, True, True, True, True]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes every request of the direct way fail. Has one entry for each."""
    tries: list[int] = []

    def exchange(*_: object, **__: object) -> None:
        tries.append(1)
        raise ConnectionResetError

    monkeypatch.setattr(Pool, "exchange", exchange)
    monkeypatch.setattr(Pool, "probe", exchange)
    return tries


def test_an_outage_is_met_once_by_the_direct_way(stub: Stub, broken: list[int]) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    stub.default = error(500, "InternalError")
    for _ in range(3):
        failure_of(lambda: put(sink))
        failure_of(sink.check)
    assert len(broken) == 1
    stub.default = None
    put(sink)
    assert len(broken) == 1
    put(sink)
    assert len(broken) == 2, "it opens when boto3 has stored an object"


def test_an_error_of_the_file_does_not_close_the_direct_way(stub: Stub) -> None:
    class Short(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size)[:-1]

    sink = sink_for(environ_for(stub.endpoint))
    for size in (10, 5_000_000):
        with pytest.raises(OSError, match="changed from"):
            sink.put("k", Short(b"x" * size), content_type="image/jpeg", metadata={})
    put(sink)
    assert len(stub.seen) == 1
    assert "Boto3" not in stub.seen[0].headers["user-agent"]


def test_a_direct_way_that_fails_while_boto3_succeeds_is_given_up(
    stub: Stub, broken: list[int]
) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(2 * MAX_FAILURES):
        put(sink)
    assert len(broken) == MAX_FAILURES


def test_the_direct_way_is_used_again_after_an_error(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(2 * MAX_FAILURES):
        stub.replies.append(error(500, "InternalError"))
        put(sink)
        put(sink)
    assert "Boto3" not in stub.seen[-1].headers["user-agent"]


@pytest.mark.parametrize("answer", [
    Reply(200, LISTING), Reply(204, b"", {"ETag": '"e"'}), Reply(200, b"<html>", {"ETag": ""}),
    Reply(302, b"", {"ETag": '"e"', "Location": "http://elsewhere.invalid/"}),
])  # fmt: skip
def test_only_200_with_an_etag_is_a_success(stub: Stub, answer: Reply) -> None:
    endpoint = endpoint_of(settings.load(environ_for(stub.endpoint)).s3, {})
    assert endpoint
    stub.default = answer
    direct, signer = DirectWay(Pool(endpoint)), Signer("a", "s")
    found = direct.check({}, "", signer)
    assert (found is not None) == (answer.body == LISTING)
    assert DirectWay(Pool(endpoint)).put({"Key": "k"}, Body(io.BytesIO(b"x")), signer) == ""


@pytest.mark.parametrize("page", [
    b"", b"\x00", b"<a/>", b"<ListBucketResult/>", b"<a><IsTruncated/></a>", LISTING[:-9],
    LISTING.replace(b'"1.0"', b'"1.0" encoding="no such"'),
    LISTING.replace(b'"1.0"', b'"1.0" encoding="shift-jis"'),
])  # fmt: skip
def test_only_a_complete_listing_is_a_listing(page: bytes) -> None:
    assert is_listing(Answer(200, {}, LISTING))
    assert not is_listing(Answer(403, {}, LISTING))
    assert not is_listing(Answer(200, {}, page))


def test_a_service_has_more_time_to_put_a_large_object_together() -> None:
    over = threading.Event()

    def serve() -> None:
        with server.accept()[0] as talk:
            talk.recv(65536)
            over.wait(1.0)
            length = len(COMPLETED)
            talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + COMPLETED)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = Endpoint("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", None)
        direct = DirectWay(Pool(endpoint, Patience(silence=0.5)))
        params = {"Key": "k", "UploadId": "1", "MultipartUpload": {"Parts": []}}
        size = 5 * 16 * 1024 * 1024  # allows 5 s more
        assert direct.complete_upload(params, size, Signer("a", "s")) == '"e-1"'
        thread.join(60)


# -- credentials


def test_credentials_of_the_chain_sign_the_direct_way_once_they_are_found(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "tok")
    sink = sink_for(environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY=""))
    put(sink)
    put(sink)
    first, second = (seen.headers for seen in stub.seen)
    assert "Boto3" in first["user-agent"] and "Boto3" not in second["user-agent"]
    assert "Credential=AKIDFROMENV/" in second["authorization"]
    assert second["x-amz-security-token"] == "tok"


def test_credentials_of_a_file_are_left_to_boto3(stub: Stub, tmp_path: Path) -> None:
    sink = sink_for(environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY=""))
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKIDFROMFILE\naws_secret_access_key = s\n"
    )
    put(sink)
    put(sink)
    assert all("Boto3" in seen.headers["user-agent"] for seen in stub.seen)


def test_credentials_that_expire_are_refreshed_before_they_sign() -> None:
    made: list[str] = []

    def refresh() -> dict[str, str]:
        made.append(f"AKID{len(made)}")
        expiry = datetime.now(UTC) + timedelta(seconds=30)  # due again at once
        return {"access_key": made[-1], "secret_key": "s", "token": "t",
                "expiry_time": expiry.isoformat()}  # fmt: skip

    found = RefreshableCredentials.create_from_metadata(refresh(), refresh, "iam-role")
    clients = boto.Clients(None, None, found, Signer("AKID0", "s", "t"))
    signer = clients.signer()
    assert signer is not None
    assert signer.access == made[-1] != "AKID0"
