"""The direct way asks what boto3 would ask, and recognises success only where boto3 would."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, RefreshableCredentials
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from frigate_mirror.settings import settings
from frigate_mirror.sinks.body import Body, Window
from frigate_mirror.sinks.s3 import boto
from frigate_mirror.sinks.s3.direct import ENOUGH, DirectWay, is_listing
from frigate_mirror.sinks.s3.endpoint import Place, place_of
from frigate_mirror.sinks.s3.http1 import MOST, Answer, Connection, ReadTimeout
from frigate_mirror.sinks.s3.pool import Patience, Wire
from frigate_mirror.sinks.s3.sigv4 import UNSIGNED, Request, Signer
from frigate_mirror.sinks.sink import SinkError
from tests.rig import ROOT
from tests.rig.certificates import Certificates
from tests.rig.s3_sink import environ_for, failure_of, put, sink_for
from tests.rig.stub import CHECKSUM, LISTING, Reply, Seen, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
unhurried = hypothesis_settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# -- the signature

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
names = st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True)
moments = st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1))


@hypothesis_settings(deadline=None, max_examples=300)
@given(
    signer=st.builds(Signer, words, words, st.just("") | words),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    metadata=st.dictionaries(names, printable, max_size=8),
    body=st.none() | st.binary(max_size=3_000),
    host=st.sampled_from(["s3.example.com", "10.0.0.1:9000"]),
    region=names,
    now=moments,
)
def test_a_signature_is_botocores_own(
    signer: Signer,
    key: str,
    metadata: dict[str, str],
    body: bytes | None,
    host: str,
    region: str,
    now: datetime,
) -> None:
    headers = {"Content-MD5": "x", "User-Agent": "u"}
    headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    method, scheme = ("PUT", "http") if body is not None else ("GET", "https")
    path, query = f"/b/{quote(key, safe='/~')}", "a=%2F&b=" if body is None else ""
    theirs = AWSRequest(
        method, f"{scheme}://{host}{path}?{query}".rstrip("?"), headers, body or b""
    )
    theirs.context["has_streaming_input"] = True
    payload = UNSIGNED if body is None else hashlib.sha256(body).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: now)
        credentials = Credentials(signer.access, signer.secret, signer.token or None)
        botocore.auth.S3SigV4Auth(credentials, "s3", region).add_auth(theirs)
    ours = signer.sign(
        Request(method, path, query, {"Host": host} | headers, payload),
        region,
        now.strftime("%Y%m%dT%H%M%SZ"),
    )
    assert ours == {"Host": host} | dict(theirs.headers.items())


def test_a_signer_does_not_tell_its_secret() -> None:
    assert "secret" not in f"{Signer('access', 'secret', 'token-secret')!r}"


# -- the place


def url_of_boto(environ: dict[str, str]) -> str:
    """Where boto3 would put the key `k`."""
    asked: list[str] = []

    def stop(request: Any, **_: object) -> None:
        asked.append(request.url)
        raise SinkError("enough")

    loaded = settings.load(environ).s3
    keys = (loaded.access_key, loaded.secret_key, loaded.session_token)
    link = boto.connect(loaded, keys, 1)
    link.steady.meta.events.register("before-send.s3", stop)
    with pytest.raises(SinkError):
        link.steady.put_object(Bucket=loaded.bucket, Key="k", Body=b"")
    return asked[0]


def url_of_ours(environ: dict[str, str]) -> str | None:
    place = place_of(settings.load(environ).s3, {})
    if place is None:
        return None
    scheme = "https" if place.trust else "http"
    return f"{scheme}://{place.name}{place.path}/k"


endpoints = st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["s3.example.com", "localhost", "127.0.0.1", "minio", "S3.Example.com",
                     "s3.eu-west-1.amazonaws.com", "s3-accelerate.amazonaws.com", "[::1]",
                     "a--b.example.com", "example.com."]),
    st.sampled_from(["", ":9000", ":80", ":443"]),
)  # fmt: skip
buckets = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{2,20}", fullmatch=True) | st.sampled_from(
    ["my-bucket", "a.b.c", "my_bucket", "x--use1-az4--x-s3", "a-s3alias", "b--ol-s3", "frigate-s3",
     "10.0.0.1", "a..b", "ends-", "b" * 64]
)  # fmt: skip


@unhurried
@given(buckets, st.just("") | endpoints, st.sampled_from(["auto", "path", "virtual"]))
def test_a_bucket_is_where_boto3_looks_for_it(bucket: str, endpoint: str, style: str) -> None:
    environ = environ_for(endpoint, S3_BUCKET=bucket, S3_ADDRESSING_STYLE=style)
    ours = url_of_ours(environ)
    if ours is None:
        return  # then boto3 is asked
    theirs = urlsplit(url_of_boto(environ))
    port = {"http": ":80", "https": ":443"}[theirs.scheme]
    assert ours == f"{theirs.scheme}://{theirs.netloc.removesuffix(port)}{theirs.path}"


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_every_region_of_aws_is_where_boto3_looks_for_it(partition: str) -> None:
    regions = botocore.session.Session().get_available_regions("s3", partition)
    for region in regions:
        environ = environ_for("", S3_REGION=region, S3_BUCKET="my-bucket")
        assert url_of_ours(environ) == url_of_boto(environ), region
    assert regions


@pytest.mark.parametrize("region", ["us-iso-east-1", "eusc-de-east-1", "auto", "us-west-2-fips"])
def test_a_region_apart_is_left_to_boto3(region: str) -> None:
    assert url_of_ours(environ_for("", S3_REGION=region, S3_BUCKET="my-bucket")) is None


@pytest.mark.parametrize("name", [
    "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE",
    "AWS_NOT_YET_INVENTED",
])  # fmt: skip
def test_what_may_change_a_request_unseen_is_left_to_boto3(name: str) -> None:
    loaded = settings.load(environ_for("http://localhost:9")).s3
    assert place_of(loaded, {name: "x"}) is None


@pytest.mark.parametrize("name", [
    "AWS_ACCESS_KEY_ID", "AWS_CA_BUNDLE", "AWS_EXECUTION_ENV", "AWS_STS_REGIONAL_ENDPOINTS",
    "HTTPS_PROXY", "NO_PROXY",
])  # fmt: skip
def test_what_changes_no_request_keeps_the_direct_way_open(name: str) -> None:
    assert place_of(settings.load(environ_for("http://localhost:9")).s3, {name: "x"})


@pytest.mark.parametrize("hosts, needless", [
    ("s3.example.com", True), (".example.com", True), ("other.com, example.com", True), ("*", True),
    ("s3.example.com:9000", True), ("example.org", False), ("", False),
])  # fmt: skip
def test_a_host_that_no_proxy_names_is_reached_the_direct_way(hosts: str, needless: bool) -> None:
    loaded = settings.load(environ_for("http://s3.example.com:9000")).s3
    place = place_of(loaded, {"ALL_PROXY": "http://proxy:3128", "NO_PROXY": hosts})
    assert (place is not None) == needless


def test_an_empty_variable_in_small_letters_takes_the_proxy_away() -> None:
    loaded = settings.load(environ_for("http://s3.example.com:9000")).s3
    assert place_of(loaded, {"http_proxy": "", "HTTP_PROXY": "http://proxy:3128"})


@pytest.mark.parametrize("name", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_an_aws_file_is_left_to_boto3(tmp_path: Path, name: str) -> None:
    loaded = settings.load(environ_for("http://localhost:9")).s3
    assert place_of(loaded, {name: str(tmp_path / "none"), "HOME": "/nowhere"})
    (tmp_path / "file").write_text("[default]\ns3 =\n  use_accelerate_endpoint = true\n")
    assert place_of(loaded, {name: str(tmp_path / "file")}) is None


# -- the request

UNLIKE = {"authorization", "x-amz-date", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}
ALL = {
    "S3_SSE": "aws:kms", "S3_SSE_KMS_KEY_ID": "key-1", "S3_OBJECT_TAGS": "a=b c&d=\u00e9",
    "S3_EXPECTED_BUCKET_OWNER": "123456789012", "S3_STORAGE_CLASS": "STANDARD_IA",
    "S3_SESSION_TOKEN": "tok", "S3_PATH_PREFIX": "n v/r",
}  # fmt: skip


def asked_of(stub: Stub, environ: dict[str, str]) -> list[Seen]:
    """A put and a check, as `stub` sees them."""
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
def test_both_ways_ask_the_same(
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
        # botocore says of a GET that it takes any coding; without a word nothing is coded.
        kept[1].pop("accept-encoding", None)
        if not secure:  # see test_s3_edge
            kept[0].pop(CHECKSUM, None)
        assert kept[0] == kept[1]
        assert signed_names(ours) - {CHECKSUM} == signed_names(theirs)


# -- what it takes for success, and what becomes of the rest


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


def test_a_request_that_fails_is_asked_again_over_boto3_and_so_are_the_next(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint), attempts=3)
    stub.default = error(503, "SlowDown")
    failure_of(lambda: put(sink))
    failure_of(lambda: put(sink))
    agents = ["Boto3" in seen.headers["user-agent"] for seen in stub.seen]
    assert agents == [False, True, True, True, True, True, True]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The direct way breaks down; an entry for each try."""
    tries: list[int] = []

    def exchange(*_: object, **__: object) -> None:
        tries.append(1)
        raise ConnectionResetError

    monkeypatch.setattr(Wire, "exchange", exchange)
    monkeypatch.setattr(Wire, "probe", exchange)
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
    assert len(broken) == 2, "open again once boto3 has stored something"


def test_a_direct_way_that_never_works_where_boto3_does_is_given_up(
    stub: Stub, broken: list[int]
) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(2 * ENOUGH):
        put(sink)
    assert len(broken) == ENOUGH


def test_the_direct_way_is_back_after_an_error(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(2 * ENOUGH):
        stub.replies.append(error(500, "InternalError"))
        put(sink)
        put(sink)
    assert "Boto3" not in stub.seen[-1].headers["user-agent"]


@pytest.mark.parametrize("answer", [
    Reply(200, LISTING), Reply(204, b"", {"ETag": '"e"'}), Reply(200, b"<html>", {"ETag": ""}),
    Reply(302, b"", {"ETag": '"e"', "Location": "http://elsewhere.invalid/"}),
])  # fmt: skip
def test_only_200_with_an_etag_is_a_success(stub: Stub, answer: Reply) -> None:
    place = place_of(settings.load(environ_for(stub.endpoint)).s3, {})
    assert place
    stub.default = answer
    direct, signer = DirectWay(place, Wire(place)), Signer("a", "s")
    found = direct.check({}, "", signer)
    assert (found is not None) == (answer.body == LISTING)
    assert DirectWay(place, Wire(place)).put({"Key": "k"}, Body(io.BytesIO(b"x")), signer) == ""


@pytest.mark.parametrize("page", [
    b"", b"\x00", b"<a/>", b"<ListBucketResult/>", b"<a><IsTruncated/></a>", LISTING[:-9],
    LISTING.replace(b'"1.0"', b'"1.0" encoding="no such"'),
    LISTING.replace(b'"1.0"', b'"1.0" encoding="shift-jis"'),
])  # fmt: skip
def test_a_page_that_is_no_listing_is_not_taken_for_one(page: bytes) -> None:
    assert is_listing(Answer(200, {}, LISTING))
    assert not is_listing(Answer(403, {}, LISTING))
    assert not is_listing(Answer(200, {}, page))


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
        expiry = datetime.now(UTC) + timedelta(seconds=30)  # at once due again
        return {"access_key": made[-1], "secret_key": "s", "token": "t",
                "expiry_time": expiry.isoformat()}  # fmt: skip

    found = RefreshableCredentials.create_from_metadata(refresh(), refresh, "iam-role")
    link = boto.Link(None, None, found, Signer("AKID0", "s", "t"))
    signer = link.signer()
    assert signer is not None
    assert signer.access == made[-1] != "AKID0"


# -- the wire


def exchanged(data: bytes, *, end: bool = True) -> tuple[Answer, Connection, socket.socket]:
    """What is made of `data` as an answer."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    if end:
        theirs.shutdown(socket.SHUT_WR)
    connection = Connection(ours)
    try:
        return connection.exchange(b"GET / HTTP/1.1\r\n\r\n", b"", 60), connection, theirs
    except BaseException:
        theirs.close()
        raise
    finally:
        ours.close()


OK = b"HTTP/1.1 200 OK\r\n"
HEAD = b"PUT / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("data, body, reusable", [
    (OK + b"Content-Length: 3\r\n\r\nabc", b"abc", True),
    (OK + b"transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: v\r\n\r\n",
     b"abcde", True),
    (OK + b"Connection: Close\r\nContent-Length: 0\r\n\r\n", b"", False),
    (OK + b"\r\nto the end", b"to the end", False),
    (OK + b"Content-Length: 1\r\n\r\nabc", b"a", False),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", b"", True),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", b"", False),
])  # fmt: skip
def test_an_answer_ends_where_it_says(data: bytes, body: bytes, reusable: bool) -> None:
    answer, connection, theirs = exchanged(data)
    theirs.close()
    assert (answer.status, answer.body, connection.reusable) == (200, body, reusable)


def test_an_answer_without_a_body_is_not_waited_for() -> None:
    answer, connection, theirs = exchanged(b"HTTP/1.1 204 No Content\r\n\r\n", end=False)
    theirs.close()
    assert (answer.status, connection.reusable) == (204, True)


@pytest.mark.parametrize("data", [
    b"", b"HTTP/1.1 200", b"SSH-2.0\r\n\r\n", OK + b"nothing\r\n\r\n",
    OK + b"Content-Length: 3\r\n\r\nab",
    OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nabc", OK + b"Content-Length: -1\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", OK + b"Transfer-Encoding: gzip\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc", OK + b"Content-Length: 99999999999\r\n\r\n",
])  # fmt: skip
def test_an_answer_that_is_not_whole_is_none(data: bytes) -> None:
    with pytest.raises((OSError, ValueError)):
        exchanged(data)


def test_an_endless_answer_is_given_up() -> None:
    ours, theirs = socket.socketpair()

    def talk() -> None:
        with contextlib.suppress(OSError):
            while True:
                theirs.sendall(b"x" * 65536)

    thread = threading.Thread(target=talk)
    thread.start()
    with ours, pytest.raises(ValueError, match="too long"):
        Connection(ours).exchange(b"x", b"", 60)
    thread.join(60)
    theirs.close()
    assert MOST < 10_000_000


pieces = st.sampled_from([
    OK, b"HTTP/1.1 500 \r\n", b"HTTP/1.1 100 x\r\n", b"\r\n", b"abc", b":",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n", b"ETag: \"e\"\r\n", b"0x1\r\n",
])  # fmt: skip


@unhurried
@given(st.lists(pieces | st.binary(max_size=20), max_size=8).map(b"".join))
def test_any_bytes_at_all_are_an_answer_or_none(data: bytes) -> None:
    try:
        answer, _, theirs = exchanged(data)
    except (OSError, ValueError):
        return
    theirs.close()
    assert 200 <= answer.status <= 999


@pytest.mark.parametrize("head", [b"Connection: close\r\n", b""])
def test_a_connection_that_the_server_has_closed_costs_no_request(head: bytes) -> None:
    """Whether the server has said so, or has just closed it."""
    came: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            with server.accept()[0] as talk:
                came.append(talk.recv(100))
                talk.sendall(OK + head + b"Content-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        wire = Wire(Place("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", ""))
        for request in (b"one", b"two"):
            assert wire.exchange(request).status == 200
        thread.join(60)
    assert came == [b"one", b"two"]


def test_a_large_file_goes_out_as_it_is_from_where_it_was_read_to(
    stub: Stub, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(3_000_000)
    (tmp_path / "clip").write_bytes(b"head" + data)
    sink = sink_for(environ_for(stub.endpoint))
    with (tmp_path / "clip").open("rb", buffering=0) as file:
        file.seek(4)
        sink.put("k", file, content_type="video/mp4", metadata={})
    assert [seen.body == data for seen in stub.seen] == [True]


def test_a_large_file_that_becomes_shorter_while_it_is_sent_is_noticed(
    stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "clip").write_bytes(bytes(2_000_000))
    place = place_of(settings.load(environ_for(stub.endpoint)).s3, {})
    assert place
    with (tmp_path / "clip").open("r+b", buffering=0) as file:
        body = Body(file).sendable()
        file.truncate(10_000)
        head = b"PUT / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n"
        with pytest.raises(OSError, match="became shorter"):
            Wire(place).exchange(head, body)


def test_a_word_that_does_not_end_the_request_does_not_end_the_body(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(bytes(20_000_000))

    def serve() -> None:
        with server.accept()[0] as talk:
            talk.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = len(HEAD) + 20_000_000
            while left and (data := talk.recv(left)):
                left -= len(data)
            talk.sendall(OK + b"Content-Length: 0\r\n\r\n")

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        thread = threading.Thread(target=serve)
        thread.start()
        wire = Wire(Place("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", ""))
        assert wire.exchange(HEAD, Body(file).sendable()).status == 200
        thread.join(60)


def test_an_answer_that_comes_before_the_whole_file_is_sent_is_heard(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(bytes(20_000_000))
    asked = threading.Event()

    def serve() -> None:
        with server.accept()[0] as talk:
            talk.recv(100)
            talk.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            asked.wait(60)  # it reads no more, and keeps the connection

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        thread = threading.Thread(target=serve)
        thread.start()
        wire = Wire(Place("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", ""))
        answer = wire.exchange(HEAD, Body(file).sendable())
        asked.set()
        thread.join(60)
    assert answer.status == 413


def test_a_large_file_that_becomes_shorter_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(bytes(2_000_000))
    with (tmp_path / "clip").open("r+b", buffering=0) as file:
        body = Body(file).sendable()
        assert isinstance(body, Window) and len(body.read(5)) == 5
        file.truncate(1_000_000)
        with pytest.raises(OSError, match="became shorter"):
            body.read()


def test_a_service_may_take_its_time_to_store_what_is_large(tmp_path: Path) -> None:
    size, patience, slow = 64 * 1024 * 1024, 0.5, 1.0  # the size allows 4 s more
    over = threading.Event()

    def serve() -> None:
        with server.accept()[0] as talk:
            left = len(head) + size
            while left:
                left -= len(talk.recv(1 << 20))
            over.wait(slow)
            talk.sendall(OK + b"Content-Length: 0\r\n\r\n")

    (tmp_path / "clip").touch()
    os.truncate(tmp_path / "clip", size)
    head = b"PUT / HTTP/1.1\r\n\r\n"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        thread = threading.Thread(target=serve)
        thread.start()
        wire = Wire(
            Place("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", ""),
            Patience(silence=patience),
        )
        assert wire.exchange(head, Body(file).sendable()).status == 200
        thread.join(60)


@pytest.mark.parametrize("where", ["file", "memory"])
def test_whoever_stops_reading_is_given_up(tmp_path: Path, where: str) -> None:
    (tmp_path / "clip").write_bytes(bytes(20_000_000))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        place = Place("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", "")
        body = Body(file).sendable() if where == "file" else bytes(20_000_000)
        with pytest.raises(ReadTimeout, match="not acknowledged"):
            Wire(place, Patience(silence=0.3)).exchange(HEAD, body)


@pytest.mark.parametrize("which", ["wrong_host", "expired", "untrusted", "right"])
def test_nothing_is_sent_to_whoever_shows_a_wrong_certificate(tmp_path: Path, which: str) -> None:
    shown = Certificates(tmp_path)
    came: list[bytes] = []

    def serve(server: socket.socket) -> None:
        with server.accept()[0] as raw:
            try:
                with getattr(shown, which).wrap_socket(raw, server_side=True) as talk:
                    came.append(talk.recv(100))
                    talk.sendall(OK + b"Content-Length: 0\r\n\r\n")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        wire = Wire(Place("127.0.0.1", port, "/b", "us-east-1", str(shown.bundle)))
        if which == "right":
            assert wire.exchange(b"secret").status == 200
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                wire.exchange(b"secret")
        thread.join(60)
    assert came == ([b"secret"] if which == "right" else [])


# -- boto3, when it is wanted


SHORTAGE = """
import encodings.idna, errno, io, os, sys
from frigate_mirror.settings import settings
from s3 import S3Sink

class Shortage:
    left = 10**9
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        cls.left -= 1
        if cls.left < 0:
            raise faults[cls.left % len(faults)]

faults = FAULTS
sys.meta_path.insert(0, Shortage)
sink = S3Sink(settings.load(os.environ).s3, os.environ, attempts=1)
for room in [*range(0, 400, 9), 10**9]:
    Shortage.left = room
    try:
        sink.put("k", io.BytesIO(b"x"), content_type="image/jpeg", metadata={})
    except Exception as error:
        print(type(error).__name__, getattr(error, "code", ""))
"""


def imported_under(faults: str) -> list[str]:
    """What comes of puts to nowhere while the import of boto3 fails later and later."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        environ = os.environ | environ_for(endpoint) | {"PYTHONPATH": str(ROOT)}
        told = subprocess.run(
            [sys.executable, "-c", SHORTAGE.replace("FAULTS", faults)],
            env=environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert told.stderr == ""
    return told.stdout.splitlines()


def test_after_an_import_that_broke_half_way_only_a_new_process_helps() -> None:
    told = imported_under('[OSError(errno.EMFILE, "Too many"), ImportError("failed to map")]')
    assert len(told) == 46
    assert told[0] in ("Unavailable OS", "Unavailable Import")
    assert told[-1] == "MemoryError ", "which ends the process, and its keeper starts another"


def test_an_import_that_fails_beyond_reason_ends_the_process() -> None:
    told = imported_under("[MemoryError(), TypeError(), KeyError('re')]")
    assert told[:3] == ["MemoryError "] * 3


def test_threads_that_need_boto3_together_all_get_it(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    stub.default = error(403, "AccessDenied")
    codes: list[str] = []
    threads = [
        threading.Thread(target=lambda: codes.append(failure_of(lambda: put(sink)).code))
        for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert codes == ["AccessDenied"] * 8


def test_a_library_that_is_broken_is_named_with_a_hint(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "frigate_mirror.sinks.s3.boto", raising=False)
    monkeypatch.delattr("frigate_mirror.sinks.s3.boto", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)  # Python's way to say that it cannot be found
    stub.default = error(403, "AccessDenied")
    caught = failure_of(lambda: put(sink_for(environ_for(stub.endpoint))))
    assert caught.code == "Import"
    assert "boto3" in str(caught)
    assert "setup_s3_mirror.sh" in caught.hint


def test_settings_are_a_plain_place() -> None:
    place = place_of(settings.load(environ_for("https://s3.example.com")).s3, {})
    assert place is not None
    assert Path(place.trust).is_file()
    assert dataclasses.replace(place, trust="").name == "s3.example.com:443"
