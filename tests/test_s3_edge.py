"""What is S3's alone: whose fault each error is, integrity, credentials, and what goes over the wire."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import socket
import string
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import botocore.exceptions
import botocore.httpsession
import pytest
import urllib3.connectionpool

import frigate_mirror.body
from frigate_mirror import settings
from frigate_mirror.s3_codes import CODES, classify
from frigate_mirror.sink import Misconfigured, Rejected, SinkError, Unavailable
from s3 import S3Sink
from servers import WRITER_ACCESS, WRITER_SECRET, Bucket, SeaweedFS, self_signed
from stub import LISTING, Reply, Stub, error

ACCESS, SECRET = "AKIDSTUBSTUBSTUB", "stub-secret-key"


@pytest.fixture(autouse=True)
def _no_aws_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The standard chain finds nothing here unless a test puts it there."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                 "AWS_CA_BUNDLE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def plain() -> Iterator[Stub]:
    server = Stub()
    yield server
    server.stop()


@pytest.fixture
def stub(plain: Stub) -> Stub:
    plain.reset()
    return plain


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_stub(certificate: tuple[Path, Path]) -> Iterator[Stub]:
    server = Stub(certificate)
    yield server
    server.stop()


def environ_for(endpoint: str, **more: str) -> dict[str, str]:
    return {
        "S3_BUCKET": "bkt", "S3_ENDPOINT_URL": endpoint, "S3_ACCESS_KEY": ACCESS,
        "S3_SECRET_KEY": SECRET, "S3_CONNECT_TIMEOUT": "0.2", "S3_READ_TIMEOUT": "5",
    } | more  # fmt: skip


def sink_for(environ: dict[str, str], attempts: int = 1) -> S3Sink:
    return S3Sink(settings.load(environ), environ, attempts=attempts)


@pytest.fixture(scope="module")
def shared(plain: Stub) -> S3Sink:
    """One sink for the long tables, since making a client takes a while."""
    return sink_for(environ_for(plain.endpoint))


def put(sink: S3Sink, key: str = "k", data: bytes = b"x") -> str:
    return sink.put(key, io.BytesIO(data), content_type="image/jpeg", metadata={}).etag


def failure_of(attempt: Callable[[], object]) -> SinkError:
    with pytest.raises(SinkError) as caught:
        attempt()
    return caught.value


# --- whose fault it is -----------------------------------------------------------------------

ANSWERS = [
    (Unavailable, 500, "InternalError"),
    (Unavailable, 503, """ServiceUnavailable SlowDown Throttling ThrottlingException Throttled
        ThrottledException RequestThrottled RequestThrottledException RequestLimitExceeded
        BandwidthLimitExceeded Busy KMS.InternalException KMS.KeyUnavailableException
        KMS.ThrottlingException"""),
    (Unavailable, 507, "InsufficientStorage XMinioStorageFull"),
    (Unavailable, 429, "TooManyRequests TooManyRequestsException"),
    (Unavailable, 409, "OperationAborted ConditionalRequestConflict"),
    (Unavailable, 403, "RequestTimeTooSkewed RequestExpired RequestInTheFuture"),
    (Unavailable, 400, """BadDigest InvalidDigest XAmzContentChecksumMismatch IncompleteBody
        XAmzContentSHA256Mismatch RequestTimeout RequestTimeoutException IDPCommunicationError"""),
    (Misconfigured, 403, """AccessDenied AccessDeniedException AccessForbidden UnauthorizedAccess
        Forbidden AuthorizationError UnauthorizedOperation InvalidAccessKeyId SignatureDoesNotMatch
        InvalidClientTokenId UnrecognizedClientException AuthFailure InvalidSecurity AccountProblem
        AllAccessDisabled NotSignedUp OptInRequired InvalidPayer QuotaExceeded"""),
    (Misconfigured, 401, "Unauthorized"),
    (Misconfigured, 400, """InvalidToken ExpiredToken ExpiredTokenException TokenRefreshRequired
        InvalidIdentityToken InvalidIdentityTokenException InvalidBucketName InvalidStorageClass
        AuthorizationHeaderMalformed IllegalLocationConstraintException InvalidLocationConstraint
        InvalidRequest InvalidArgument InvalidEncryptionAlgorithmError InvalidTag InvalidTagError
        KMS.NotFoundException KMS.DisabledException KMS.InvalidStateException
        KMS.KMSInvalidStateException KMS.InvalidKeyUsageException ServiceQuotaExceededException
        XMinioAdminBucketQuotaExceeded StorageCapExceeded"""),
    (Misconfigured, 404, "NoSuchBucket"),
    (Misconfigured, 405, "MethodNotAllowed"),
    (Misconfigured, 501, "NotImplemented"),
    (Misconfigured, 301, "PermanentRedirect"),
    (Misconfigured, 307, "TemporaryRedirect Redirect"),
    (Rejected, 400, """EntityTooLarge RequestEntityTooLarge KeyTooLongError KeyTooLong
        MetadataTooLarge XMinioInvalidObjectName XMinioParentIsObject"""),
]  # fmt: skip
ANSWERED = [(kind, status, code) for kind, status, text in ANSWERS for code in text.split()]

UNKNOWN = [
    (Unavailable, 400, "SomethingNew"), (Unavailable, 404, "NoSuchKey"), (Unavailable, 408, "New"),
    (Unavailable, 409, "New"), (Unavailable, 411, "MissingContentLength"), (Unavailable, 418, "New"),
    (Unavailable, 429, "New"), (Unavailable, 500, "New"), (Unavailable, 502, "New"),
    (Unavailable, 503, "New"), (Unavailable, 599, "New"), (Misconfigured, 401, "New"),
    (Misconfigured, 403, "New"),
]  # fmt: skip

EXCEPTIONS = [
    (Unavailable, """EndpointConnectionError ConnectTimeoutError ReadTimeoutError ConnectionError
        ConnectionClosedError ProxyConnectionError HTTPClientError ResponseStreamingError
        IncompleteReadError MetadataRetrievalError SSLError"""),
    (Misconfigured, """NoCredentialsError PartialCredentialsError CredentialRetrievalError
        ProfileNotFound NoAuthTokenError TokenRetrievalError UnauthorizedSSOTokenError
        SSOTokenLoadError SSOError LoginError UnknownCredentialError UnknownTokenProviderError
        RefreshWithMFAUnsupportedError MissingDependencyException ConfigParseError ConfigNotFound
        InvalidConfigError InvalidProxiesConfigError UnknownEndpointError EndpointProviderError
        InvalidEndpointConfigurationError EndpointVariantError UnsupportedS3ConfigurationError
        UnsupportedS3AccesspointConfigurationError UnsupportedS3ArnError InvalidDNSNameError
        InvalidHostLabelError InvalidRegionError NoRegionError LoginRefreshRequired
        EndpointResolutionError"""),
    (Rejected, "ParamValidationError"),
]  # fmt: skip
RAISED = [(kind, name) for kind, text in EXCEPTIONS for name in text.split()]
# Ours alone, or proven by a real server below.
ELSEWHERE = {"NotS3", "ResponseParser", "CertificateVerifyFailed", "CertificateFileUnusable",
             "InvalidSettings"}  # fmt: skip


@pytest.mark.parametrize("kind, status, code", ANSWERED + UNKNOWN)
def test_an_error_of_the_service_is_laid_at_the_right_door(
    stub: Stub, shared: S3Sink, kind: type[SinkError], status: int, code: str
) -> None:
    stub.default = error(status, code)
    caught = failure_of(lambda: put(shared, "door/a.jpg"))
    assert (type(caught), caught.code) == (kind, code)
    assert str(caught).startswith(f"put door/a.jpg: {code}: as told")
    assert caught.hint or kind is not Misconfigured


@pytest.mark.parametrize("kind, name", RAISED)
def test_an_exception_of_botocore_is_laid_at_the_right_door(
    shared: S3Sink, monkeypatch: pytest.MonkeyPatch, kind: type[SinkError], name: str
) -> None:
    exception = getattr(botocore.exceptions, name)
    fields = {field: "x" for _, field, _, _ in string.Formatter().parse(exception.fmt) if field}

    def send(*_: object) -> None:
        raise exception(**fields)

    monkeypatch.setattr(botocore.httpsession.URLLib3Session, "send", send)
    caught = failure_of(lambda: put(shared))
    assert type(caught) is kind
    assert isinstance(caught.__cause__, exception)
    assert caught.hint or kind is not Misconfigured


def test_no_row_of_the_table_is_without_a_test() -> None:
    tested = {code for _, _, code in ANSWERED}
    tested |= {name.removesuffix("Error") for _, name in RAISED} | ELSEWHERE
    assert set(CODES) <= tested


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500, 502, 503, 511])
def test_a_page_that_is_not_s3s_is_the_ways_fault(stub: Stub, shared: S3Sink, status: int) -> None:
    headers = {"Location": "http://login.invalid/"} if status < 400 else {}
    stub.default = Reply(status, b"<html><p>log in<br></html>", headers)
    for attempt in (lambda: put(shared), shared.check):
        caught = failure_of(attempt)
        assert type(caught) is Unavailable
        assert "captive portal" in caught.hint
    # botocore alone would follow the redirects of its own question until the stack is full.
    assert len(stub.seen) <= 4


@pytest.mark.parametrize("page", [
    b"", b"<html><p>log in<br></html>", b"<html><p>log in</p></html>", b"log in", b'{"ok": true}',
    b'<?xml version="1.0"?><Other/>',
])  # fmt: skip
def test_a_success_that_s3_did_not_give_is_no_success(
    stub: Stub, shared: S3Sink, page: bytes
) -> None:
    stub.default = Reply(200, page, {"Content-Type": "text/html"})
    for attempt in (lambda: put(shared), shared.check, lambda: list(shared.list("p/"))):
        assert type(failure_of(attempt)) is Unavailable


def test_a_listing_that_breaks_off_is_not_taken_for_whole(stub: Stub, shared: S3Sink) -> None:
    stub.default = Reply(200, LISTING.replace(b"false", b"true"))
    assert type(failure_of(lambda: list(shared.list("")))) is Unavailable


def test_a_proxys_size_limit_is_charged_to_the_one_object(stub: Stub, shared: S3Sink) -> None:
    stub.default = Reply(413, b"<html>Request Entity Too Large</html>")
    caught = failure_of(lambda: put(shared))
    assert type(caught) is Rejected
    assert "client_max_body_size" in caught.hint


def test_a_closed_port_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = "http://127.0.0.1:{}".format(free.getsockname()[1])
        caught = failure_of(lambda: put(sink_for(environ_for(endpoint))))
    assert (type(caught), caught.code) == (Unavailable, "EndpointConnection")
    assert "Connection refused" in str(caught)


def test_a_server_that_says_nothing_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = "http://127.0.0.1:{}".format(silent.getsockname()[1])
        sink = sink_for(environ_for(endpoint, S3_READ_TIMEOUT="0.2"))
        for attempt in (lambda: put(sink), sink.check):
            caught = failure_of(attempt)
            assert (type(caught), caught.code) == (Unavailable, "ReadTimeout")


def test_a_server_that_lets_nobody_in_is_unavailable() -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())  # fills the queue of those who wait
        endpoint = "http://127.0.0.1:{}".format(full.getsockname()[1])
        caught = failure_of(lambda: put(sink_for(environ_for(endpoint))))
    assert (type(caught), caught.code) == (Unavailable, "ConnectTimeout")


def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    caught = failure_of(lambda: put(sink_for(environ_for("http://s3.nowhere.invalid"))))
    assert (type(caught), caught.code) == (Unavailable, "EndpointConnection")


def test_an_untrusted_certificate_is_the_owners_to_mend(tls_stub: Stub) -> None:
    caught = failure_of(lambda: put(sink_for(environ_for(tls_stub.endpoint))))
    assert (type(caught), caught.code) == (Misconfigured, "CertificateVerifyFailed")
    assert "S3_CA_BUNDLE" in caught.hint
    assert "clock" in caught.hint
    assert tls_stub.seen == []


def test_a_certificate_file_without_a_certificate_is_the_owners_to_mend(
    tls_stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    environ = environ_for(tls_stub.endpoint, S3_CA_BUNDLE=str(tmp_path / "ca.pem"))
    caught = failure_of(lambda: put(sink_for(environ)))
    assert (type(caught), caught.code) == (Misconfigured, "CertificateFileUnusable")


def test_https_to_a_plain_port_is_unavailable_with_a_hint(stub: Stub) -> None:
    environ = environ_for(stub.endpoint.replace("http:", "https:"))
    caught = failure_of(lambda: put(sink_for(environ)))
    assert (type(caught), caught.code) == (Unavailable, "SSL")
    assert "https" in caught.hint


def test_an_endpoint_that_cannot_be_one_is_the_owners_to_mend() -> None:
    caught = failure_of(lambda: put(sink_for(environ_for("http://no_such_host:1"))))
    assert (type(caught), caught.code) == (Misconfigured, "InvalidEndpointConfiguration")


def test_metadata_that_no_header_can_carry_is_the_artifacts_fault(shared: S3Sink) -> None:
    place = {"content_type": "image/jpeg", "metadata": {"label": "caf\u00e9"}}
    caught = failure_of(lambda: shared.put("k", io.BytesIO(b"x"), **place))  # type: ignore[arg-type]
    assert type(caught) is Rejected


def test_a_wrong_region_is_named_in_the_hint(stub: Stub, shared: S3Sink) -> None:
    stub.default = error(400, "AuthorizationHeaderMalformed", Region="eu-west-7")
    assert failure_of(lambda: put(shared)).hint == "set S3_REGION to the bucket's region eu-west-7"


def test_a_denied_action_is_named_in_the_hint(stub: Stub) -> None:
    environ = environ_for(stub.endpoint, S3_SSE="aws:kms", S3_OBJECT_TAGS="a=b")
    sink = sink_for(environ)
    stub.default = error(403, "AccessDenied")
    allowed = "allow s3:PutObject and s3:PutObjectTagging and kms:GenerateDataKey on bkt for this key"
    assert failure_of(lambda: put(sink)).hint == allowed
    assert failure_of(sink.check).hint == "allow s3:ListBucket on bkt"


def test_a_key_that_may_only_write_can_put_but_fails_the_check_with_a_hint(bucket: Bucket) -> None:
    environ = bucket.environ | {"S3_ACCESS_KEY": WRITER_ACCESS, "S3_SECRET_KEY": WRITER_SECRET}
    sink = sink_for(environ)
    put(sink, "k", b"kept")
    caught = failure_of(sink.check)
    assert (type(caught), caught.code) == (Misconfigured, "AccessDenied")
    assert "s3:ListBucket" in caught.hint
    assert bucket.objects() == {"k": b"kept"}


def test_a_servers_words_cannot_break_a_log_line(stub: Stub, shared: S3Sink) -> None:
    stub.default = error(400, "Bad\nCode", "first\nsecond\x1b[31m " + "long " * 500)
    text = str(failure_of(lambda: put(shared)))
    assert text.isprintable()
    assert len(text) < 600


# --- integrity -------------------------------------------------------------------------------

def test_bytes_that_were_hurt_on_the_way_are_refused_by_the_server(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurt = lambda body: b"hurt"  # noqa: E731
    sink = sink_for(bucket.environ)
    monkeypatch.setattr(frigate_mirror.body.Body, "sendable", hurt)
    caught = failure_of(lambda: put(sink, "k", b"good"))
    assert (type(caught), caught.code) == (Unavailable, "BadDigest")
    assert bucket.keys() == []


def test_a_host_that_forbids_md5_sends_a_sha256_that_the_server_checks(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_for(bucket.environ)
    forbid_md5(monkeypatch)
    put(sink, "fips", b"good")
    assert bucket.objects() == {"fips": b"good"}
    monkeypatch.setattr(frigate_mirror.body.Body, "sendable", lambda body: b"hurt")
    assert type(failure_of(lambda: put(sink, "fips-2", b"good"))) is Unavailable
    assert bucket.keys() == ["fips"]


def forbid_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr(frigate_mirror.body.hashlib, "md5", forbidden)


def test_every_put_carries_the_md5_of_its_bytes(stub: Stub, shared: S3Sink) -> None:
    for size in (0, 1, 100_000, 17 * 1024 * 1024):
        data = b"x" * size
        put(shared, "k", data)
        digest = base64.b64encode(hashlib.md5(data).digest()).decode()
        assert stub.seen[-1].headers["content-md5"] == digest
        assert stub.seen[-1].body == data


@pytest.mark.parametrize("size", [5, 17 * 1024 * 1024])
def test_over_https_the_body_is_not_framed(
    tls_stub: Stub, certificate: tuple[Path, Path], size: int
) -> None:
    put(sink_for(environ_for(tls_stub.endpoint, S3_CA_BUNDLE=str(certificate[0]))), "k", b"x" * size)
    [seen] = tls_stub.seen
    assert seen.body == b"x" * size
    assert {"content-encoding", "x-amz-trailer", "transfer-encoding"}.isdisjoint(seen.headers)


def test_nothing_of_a_chunked_upload_stays_on_the_object(bucket: Bucket) -> None:
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
    """A file that becomes `size` bytes long once its end has been read."""

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


def test_a_large_body_is_never_whole_in_memory(stub: Stub, shared: S3Sink) -> None:
    largest = 0

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal largest
            largest = max(largest, len(data := super().read(size)))
            return data

    shared.put("k", Watched(b"x" * 17 * 1024 * 1024), content_type="video/mp4", metadata={})
    assert 0 < largest <= 1024 * 1024


# --- storage class ---------------------------------------------------------------------------

REFUSALS = [
    error(400, "InvalidStorageClass", "The storage class you specified is not valid"),
    error(501, "NotImplemented", "Header 'x-amz-storage-class' is not implemented"),
    error(400, "InvalidArgument", "Invalid argument.", Details="Unknown storage class"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_storage_class_is_dropped_and_said_once(
    stub: Stub, caplog: pytest.LogCaptureFixture, refusal: Reply
) -> None:
    sink = sink_for(environ_for(stub.endpoint, S3_STORAGE_CLASS="STANDARD_IA"))
    stub.replies.append(refusal)
    assert put(sink) == put(sink) == "e"
    classes = [seen.headers.get("x-amz-storage-class") for seen in stub.seen]
    assert classes == ["STANDARD_IA", None, None]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.name for record in warnings] == ["frigate_s3.s3"]
    assert "STANDARD_IA" in warnings[0].getMessage()


def test_eight_threads_that_meet_the_refusal_together_say_it_once(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    sink = sink_for(bucket.environ | {"S3_STORAGE_CLASS": "NO_SUCH_CLASS"})
    keys = [f"{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(sink, key), keys))
    assert bucket.keys() == keys
    assert len([record for record in caplog.records if "NO_SUCH_CLASS" in record.message]) == 1


def test_an_unrelated_refusal_keeps_the_storage_class(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint, S3_STORAGE_CLASS="STANDARD_IA"))
    stub.replies.append(error(400, "InvalidArgument", "no such key in KMS"))
    failure_of(lambda: put(sink))
    put(sink)
    assert stub.seen[-1].headers["x-amz-storage-class"] == "STANDARD_IA"


# --- credentials -----------------------------------------------------------------------------

def rotating(stub: Stub, tmp_path: Path) -> dict[str, str]:
    """Settings whose secrets lie in files."""
    environ = environ_for(stub.endpoint)
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY"):
        (tmp_path / name).write_text(environ.pop(name))
        environ[f"{name}_FILE"] = str(tmp_path / name)
    return environ


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_a_rotated_secret_is_noticed_within_the_same_put(
    stub: Stub, tmp_path: Path, code: str
) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    put(sink)
    (tmp_path / "S3_ACCESS_KEY").write_text("AKIDROTATED")
    stub.replies.append(error(403, code))
    put(sink)
    signers = [seen.headers["authorization"].split("Credential=")[1] for seen in stub.seen]
    assert [text.split("/")[0] for text in signers] == [ACCESS, ACCESS, "AKIDROTATED"]


def test_a_rotated_secret_is_noticed_by_the_check(stub: Stub, tmp_path: Path) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    sink.check()
    (tmp_path / "S3_SECRET_KEY").write_text("rotated-secret")
    stub.replies.append(error(403, "SignatureDoesNotMatch"))
    sink.check()
    assert len(stub.seen) == 3


def test_a_secret_that_stayed_the_same_is_not_tried_again(stub: Stub, tmp_path: Path) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    stub.default = error(403, "InvalidAccessKeyId")
    assert type(failure_of(lambda: put(sink))) is Misconfigured
    assert len(stub.seen) == 1


def test_a_secret_file_that_is_gone_for_a_moment_keeps_the_old_one(
    stub: Stub, tmp_path: Path
) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    put(sink)
    (tmp_path / "S3_SECRET_KEY").unlink()
    stub.replies.append(error(403, "ExpiredToken"))
    assert failure_of(lambda: put(sink)).code == "ExpiredToken"
    put(sink)


def test_without_a_key_the_standard_chain_is_asked_again_until_it_answers(
    stub: Stub, tmp_path: Path
) -> None:
    environ = environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY="")
    sink = sink_for(environ)
    caught = failure_of(lambda: put(sink))
    assert (type(caught), caught.code) == (Misconfigured, "NoCredentials")
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKIDFROMFILE\naws_secret_access_key = s\n"
    )
    put(sink)
    assert "AKIDFROMFILE" in stub.seen[-1].headers["authorization"]


def test_a_profile_of_the_credentials_file_is_used(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY="")
    monkeypatch.setenv("AWS_PROFILE", "camera")
    assert failure_of(sink_for(environ).check).code == "ProfileNotFound"
    (tmp_path / "credentials").write_text(
        "[camera]\naws_access_key_id = AKIDCAMERA\naws_secret_access_key = s\n"
        "aws_session_token = tok\n"
    )
    put(sink_for(environ))
    assert "AKIDCAMERA" in stub.seen[-1].headers["authorization"]
    assert stub.seen[-1].headers["x-amz-security-token"] == "tok"


def test_the_keys_of_aws_own_variables_are_used_when_ours_are_absent(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    put(sink_for(environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY="")))
    put(sink_for(environ_for(stub.endpoint)))
    signers = [seen.headers["authorization"] for seen in stub.seen]
    assert "AKIDFROMENV" in signers[0]
    assert ACCESS in signers[1]


def test_a_session_token_goes_with_the_request(stub: Stub) -> None:
    put(sink_for(environ_for(stub.endpoint, S3_SESSION_TOKEN="session-token")))
    assert stub.seen[0].headers["x-amz-security-token"] == "session-token"


def test_no_error_and_no_log_line_tells_a_secret(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="frigate_s3")
    secrets = (ACCESS, SECRET, "session-token")
    sink = sink_for(environ_for(stub.endpoint, S3_SESSION_TOKEN="session-token"))
    told = " ".join(secrets)
    stub.default = error(403, "SignatureDoesNotMatch", told, StringToSign=told, AWSAccessKeyId=ACCESS)
    for attempt in (lambda: put(sink), sink.check):
        caught = failure_of(attempt)
        texts = [str(caught), repr(caught), "".join(traceback.format_exception(caught)), caplog.text]
        assert "***" in str(caught)
        assert not [word for word in secrets for text in texts if word in text]


# --- over the wire ---------------------------------------------------------------------------

def test_encryption_tags_and_owner_go_with_every_put_and_the_owner_with_every_listing(
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
    assert headers["x-amz-tagging"] == "source=frigate&where=g%C3%A5rd+b"
    owners = [seen["x-amz-expected-bucket-owner"] for seen in (headers, listing)]
    assert owners == ["123456789012"] * 2


def test_nothing_is_asked_for_that_was_not_set(stub: Stub, shared: S3Sink) -> None:
    put(shared)
    asked = {name for name in stub.seen[0].headers if name.startswith("x-amz-")}
    assert asked == {"x-amz-content-sha256", "x-amz-date"}


def test_the_project_names_itself_to_the_service(stub: Stub, shared: S3Sink) -> None:
    put(shared)
    assert "frigate-s3-mirror/" in stub.seen[0].headers["user-agent"]


def test_many_puts_share_one_connection(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    for _ in range(20):
        put(sink)
    assert stub.connections == 1


def test_the_pool_is_as_large_as_the_threads_so_no_connection_is_thrown_away(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    sink = sink_for(environ_for(stub.endpoint, S3_UPLOAD_THREADS="12"))
    together = threading.Barrier(12)

    def put_some(_: int) -> None:
        for _ in range(5):
            together.wait(10)
            put(sink)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(put_some, range(12)))
    assert stub.connections <= 12
    assert "pool is full" not in caplog.text


def test_connections_are_kept_alive_by_the_kernel(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    plain_connect = urllib3.connection.HTTPConnection.connect

    def connect(connection: urllib3.connection.HTTPConnection) -> None:
        plain_connect(connection)
        made.append(connection.sock)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "connect", connect)
    sink = sink_for(environ_for(stub.endpoint))
    put(sink)
    assert [sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for sock in made] == [1]


def test_botocore_tries_three_times_unless_told_otherwise(stub: Stub) -> None:
    stub.default = error(500, "InternalError")
    environ = environ_for(stub.endpoint)
    failure_of(lambda: put(S3Sink(settings.load(environ), environ)))
    assert len(stub.seen) == 3


def test_the_check_asks_once_for_one_key_under_the_prefix(stub: Stub) -> None:
    stub.default = error(500, "InternalError")
    failure_of(sink_for(environ_for(stub.endpoint, S3_PATH_PREFIX="nvr"), attempts=3).check)
    [seen] = stub.seen
    assert "max-keys=1&" in seen.path + "&"
    assert "prefix=nvr%2F" in seen.path


def test_the_check_measures_how_far_the_clocks_are_apart(stub: Stub) -> None:
    environ = environ_for(stub.endpoint)
    for ours, skew in ((1_000_000_000.0, 784_111_777 - 1_000_000_000), (784_111_777.0, 0)):
        stub.default = Reply(200, LISTING, {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"})
        sink = S3Sink(settings.load(environ), environ, attempts=1, clock=lambda now=ours: now)
        found = sink.check().clock_skew
        assert found is not None
        assert abs(found - skew) < 5


@pytest.mark.parametrize("style, line", [("auto", "/bkt/k"), ("path", "/bkt/k")])
def test_a_custom_endpoint_by_name_needs_no_name_for_each_bucket(
    stub: Stub, style: str, line: str
) -> None:
    endpoint = stub.endpoint.replace("127.0.0.1", "localhost")
    put(sink_for(environ_for(endpoint, S3_ADDRESSING_STYLE=style)))
    assert stub.seen[0].path == line


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
    assert asked == ["my-bucket.s3.example.test"]
    assert stub.seen[0].path == "/k"


def test_a_plain_seaweedfs_works_as_well_as_one_over_https(
    seaweedfs: SeaweedFS, bucket: Bucket
) -> None:
    environ = bucket.environ | {"S3_ENDPOINT_URL": seaweedfs.plain_endpoint}
    put(sink_for(environ), "k", b"plain")
    by_name = seaweedfs.plain_endpoint.replace("127.0.0.1", "localhost")
    put(sink_for(environ | {"S3_ENDPOINT_URL": by_name}), "l", b"named")
    assert bucket.objects() == {"k": b"plain", "l": b"named"}


def test_classify_knows_a_code_before_its_status() -> None:
    assert classify("RequestTimeTooSkewed", 403)[0] is Unavailable
    assert classify("", 503)[0] is Unavailable
    assert classify("", None) == (Unavailable, "")
