"""The S3 sink's errors: the kind of each one, and its hint for the owner."""

from __future__ import annotations

import dataclasses
import io
import socket
import string
from pathlib import Path

import botocore.exceptions
import botocore.httpsession
import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.s3.codes import CODES, classify
from frigate_mirror.sinks.sink import Misconfigured, Rejected, SinkError, Unavailable
from s3 import S3Sink
from tests.rig.s3_sink import environ_for, failure_of, put, sink_for
from tests.rig.servers import WRITER_ACCESS, WRITER_SECRET, Bucket
from tests.rig.stub import LISTING, Reply, Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")


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
        InvalidClientTokenId UnrecognizedClientException AuthFailure InvalidSecurity InvalidTokenId
        AccountProblem AllAccessDisabled NotSignedUp OptInRequired InvalidPayer QuotaExceeded"""),
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
    (Unavailable, 409, "New"), (Unavailable, 411, "MissingContentLength"), (Unavailable, 418, "N"),
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
# Codes of our own, and those that a real server raises below.
ELSEWHERE = {
    "Import",
    "NotS3",
    "ResponseParser",
    "CertificateVerifyFailed",
    "CertificateFileUnusable",
}


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("kind, status, code", ANSWERED + UNKNOWN)
def test_each_error_of_a_service_has_its_kind(
    stub: Stub, shared: S3Sink, kind: type[SinkError], status: int, code: str
) -> None:
    stub.default = error(status, code)
    caught = failure_of(lambda: put(shared, "door/a.jpg"))
    assert (type(caught), caught.code) == (kind, code)
    assert str(caught).startswith(f"put door/a.jpg: {code}: as told")
    assert caught.hint or kind is not Misconfigured


@pytest.mark.usefixtures("over_boto3")
@pytest.mark.parametrize("kind, name", RAISED)
def test_each_exception_of_botocore_has_its_kind(
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


def test_every_code_of_the_table_has_a_test() -> None:
    tested = {code for _, _, code in ANSWERED}
    tested |= {name.removesuffix("Error") for _, name in RAISED} | ELSEWHERE
    assert set(CODES) <= tested


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("status", [301, 302, 307, 404, 500, 502, 503, 511])
def test_a_page_that_is_not_from_s3_is_unavailable_with_a_hint(
    stub: Stub, shared: S3Sink, status: int
) -> None:
    headers = {"Location": "http://login.invalid/"} if status < 400 else {}
    stub.default = Reply(status, b"<html><p>log in<br></html>", headers)
    for attempt in (lambda: put(shared), shared.check):
        caught = failure_of(attempt)
        assert type(caught) is Unavailable
        assert "captive portal" in caught.hint
    # Without our handler botocore follows redirects until the stack is full.
    assert len(stub.seen) <= 6


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("page", [
    b"", b"<html><p>log in<br></html>", b"<html><p>log in</p></html>", b"log in", b'{"ok": true}',
    b'<?xml version="1.0"?><Other/>',
])  # fmt: skip
def test_a_success_that_is_not_from_s3_is_unavailable(
    stub: Stub, shared: S3Sink, page: bytes
) -> None:
    stub.default = Reply(200, page, {"Content-Type": "text/html"})
    for attempt in (lambda: put(shared), shared.check, lambda: list(shared.list("p/"))):
        assert type(failure_of(attempt)) is Unavailable


def test_a_listing_that_breaks_off_is_unavailable(stub: Stub, shared: S3Sink) -> None:
    stub.default = Reply(200, LISTING.replace(b"false", b"true"))
    assert type(failure_of(lambda: list(shared.list("")))) is Unavailable


@pytest.mark.usefixtures("each_way")
def test_a_size_limit_of_a_proxy_rejects_the_object(stub: Stub, shared: S3Sink) -> None:
    stub.default = Reply(413, b"<html>Request Entity Too Large</html>")
    caught = failure_of(lambda: put(shared))
    assert type(caught) is Rejected
    assert "client_max_body_size" in caught.hint


@pytest.mark.usefixtures("each_way")
def test_a_closed_port_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        caught = failure_of(lambda: put(sink_for(environ_for(endpoint))))
    assert (type(caught), caught.code) == (Unavailable, "EndpointConnection")
    assert "Connection refused" in str(caught)


@pytest.mark.usefixtures("each_way")
def test_a_silent_server_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        sink = sink_for(environ_for(endpoint, S3_READ_TIMEOUT="0.2"))
        for attempt in (lambda: put(sink), sink.check):
            caught = failure_of(attempt)
            assert (type(caught), caught.code) == (Unavailable, "ReadTimeout")


@pytest.mark.usefixtures("each_way")
def test_a_server_that_accepts_no_connection_is_unavailable() -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())  # fills the backlog
        endpoint = f"http://127.0.0.1:{full.getsockname()[1]}"
        caught = failure_of(lambda: put(sink_for(environ_for(endpoint))))
    assert (type(caught), caught.code) == (Unavailable, "ConnectTimeout")


@pytest.mark.usefixtures("each_way")
def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    caught = failure_of(lambda: put(sink_for(environ_for("http://s3.nowhere.invalid"))))
    assert (type(caught), caught.code) == (Unavailable, "EndpointConnection")


@pytest.mark.usefixtures("each_way")
def test_an_untrusted_certificate_is_misconfigured(tls_stub: Stub) -> None:
    caught = failure_of(lambda: put(sink_for(environ_for(tls_stub.endpoint))))
    assert (type(caught), caught.code) == (Misconfigured, "CertificateVerifyFailed")
    assert "S3_CA_BUNDLE" in caught.hint
    assert "clock" in caught.hint
    assert tls_stub.seen == []


@pytest.mark.usefixtures("each_way")
def test_a_certificate_file_without_a_certificate_is_misconfigured(
    tls_stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    environ = environ_for(tls_stub.endpoint, S3_CA_BUNDLE=str(tmp_path / "ca.pem"))
    caught = failure_of(lambda: put(sink_for(environ)))
    assert (type(caught), caught.code) == (Misconfigured, "CertificateFileUnusable")


@pytest.mark.usefixtures("each_way")
def test_https_to_a_plain_port_is_unavailable_with_a_hint(stub: Stub) -> None:
    environ = environ_for(stub.endpoint.replace("http:", "https:"))
    caught = failure_of(lambda: put(sink_for(environ)))
    assert (type(caught), caught.code) == (Unavailable, "SSL")
    assert "https" in caught.hint


def test_an_impossible_endpoint_is_misconfigured() -> None:
    loaded = settings.load(environ_for("http://localhost")).s3
    loaded = dataclasses.replace(loaded, endpoint_url="http://no_such_host:1")
    caught = failure_of(lambda: put(S3Sink(loaded, {}, attempts=1)))
    assert (type(caught), caught.code) == (Misconfigured, "InvalidEndpointConfiguration")


@pytest.mark.usefixtures("each_way")
def test_metadata_that_no_header_can_carry_is_rejected(shared: S3Sink) -> None:
    label = {"label": "caf\u00e9"}
    caught = failure_of(
        lambda: shared.put("k", io.BytesIO(b"x"), content_type="image/jpeg", metadata=label)
    )
    assert type(caught) is Rejected


def test_a_wrong_region_is_named_in_the_hint(stub: Stub, shared: S3Sink) -> None:
    stub.default = error(400, "AuthorizationHeaderMalformed", Region="eu-west-7")
    assert failure_of(lambda: put(shared)).hint == "set S3_REGION to the bucket's region eu-west-7"


def test_a_missing_right_is_named_in_the_hint(stub: Stub) -> None:
    environ = environ_for(stub.endpoint, S3_SSE="aws:kms", S3_OBJECT_TAGS="a=b")
    sink = sink_for(environ)
    stub.default = error(403, "AccessDenied")
    rights = "s3:PutObject and s3:PutObjectTagging and kms:GenerateDataKey"
    assert failure_of(lambda: put(sink)).hint == f"allow {rights} on bkt for this key"
    assert failure_of(sink.check).hint == "allow s3:ListBucket on bkt"


def test_a_key_that_may_only_write_can_put_but_fails_the_check_with_a_hint(bucket: Bucket) -> None:
    environ = bucket.environ | {"S3_ACCESS_KEY": WRITER_ACCESS, "S3_SECRET_KEY": WRITER_SECRET}
    sink = sink_for(environ)
    put(sink, "k", b"kept")
    caught = failure_of(sink.check)
    assert (type(caught), caught.code) == (Misconfigured, "AccessDenied")
    assert "s3:ListBucket" in caught.hint
    assert bucket.objects() == {"k": b"kept"}


def test_the_text_of_a_server_cannot_break_a_log_line(stub: Stub, shared: S3Sink) -> None:
    stub.default = error(400, "Bad\nCode", "first\nsecond\u202e\x85 " + "long " * 500)
    text = str(failure_of(lambda: put(shared)))
    assert text.startswith("put k: Bad Code: first second long long")
    assert text.isprintable()
    assert len(text) < 600
    # S3 cannot send these characters, because XML forbids them.
    stub.default = error(400, "Bad\x1b[31mCode", "first\nsecond\x1b[31m " + "long " * 500)
    text = str(failure_of(lambda: put(shared)))
    assert text.isprintable()
    assert len(text) < 600


def test_a_known_code_counts_more_than_its_status() -> None:
    assert classify("RequestTimeTooSkewed", 403)[0] is Unavailable
    assert classify("", 503)[0] is Unavailable
    assert classify("", None) == (Unavailable, "")


@pytest.mark.usefixtures("each_way")
def test_an_error_without_a_message_reads_well(stub: Stub, shared: S3Sink) -> None:
    """Ceph sends such errors."""
    stub.default = Reply(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
    caught = failure_of(lambda: put(shared))
    assert str(caught) == f"put k: SignatureDoesNotMatch ({caught.hint})"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_reached_is_named_in_the_hint_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv(name, f"http://owner:password@{proxy}")
        caught = failure_of(lambda: put(sink_for(environ_for("http://s3.nowhere.invalid"))))
    assert (type(caught), caught.code) == (Unavailable, "ProxyConnection")
    assert f"the HTTP proxy {proxy} can" in caught.hint
    assert name in caught.hint
    assert "password" not in str(caught)
