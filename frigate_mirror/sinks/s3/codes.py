"""What an S3 error code means: whose fault it is, and what the owner can change.

Codes are S3's own (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), those of
compatible services and of STS, and the names of botocore's exceptions without `Error` at the end.
Knows nothing of boto: it turns words into kinds.

Two rules decide what no row does. `Rejected` stands only where the object itself is surely at
fault, since it ends in a dead letter; everything unknown waits. And what only the owner can mend is
`Misconfigured`, although waiting for it costs the same, since it is said with a hint.
"""

from __future__ import annotations

from frigate_mirror.sinks.sink import Misconfigured, Rejected, SinkError, Unavailable

Kind = type[SinkError]

_NOT_S3 = (
    "the answer is not S3's: a captive portal, a proxy, "
    "or S3_ENDPOINT_URL names something else than an S3 endpoint"
)
_KEY = "S3_ACCESS_KEY and S3_SECRET_KEY do not fit this endpoint"
_FRESH = "the credentials have expired: renew them, S3_SESSION_TOKEN included"
_CHAIN = "set S3_ACCESS_KEY and S3_SECRET_KEY, or mend the AWS profile or role"
_REGION = "set S3_REGION to the bucket's region {region}"
_KMS = "mend the key that S3_SSE_KMS_KEY_ID names, or choose another"
_TAGS = "correct S3_OBJECT_TAGS"
_SUPPORT = (
    "the service does not support one of S3_SSE, S3_OBJECT_TAGS, S3_STORAGE_CLASS "
    "and S3_EXPECTED_BUCKET_OWNER as they are set"
)
_SECRETS = "check the AWS settings of this container: profile, config file, S3_REGION"
_QUOTA = "the bucket's quota is used up: raise it, or let old objects expire"


def _rows(kind: Kind, hint: str, codes: str) -> dict[str, tuple[Kind, str]]:
    return dict.fromkeys(codes.split(), (kind, hint))


# `{action}`, `{region}` and `{proxy}` are filled in by `s3.py`, which knows them.
CODES: dict[str, tuple[Kind, str]] = {
    # The service cannot now, or the bytes were hurt on their way: the next try may well succeed.
    **_rows(
        Unavailable,
        "",
        """
        InternalError ServiceUnavailable SlowDown Throttling ThrottlingException Throttled
        ThrottledException RequestThrottled RequestThrottledException RequestLimitExceeded
        TooManyRequests TooManyRequestsException BandwidthLimitExceeded Busy
        RequestTimeout RequestTimeoutException OperationAborted ConditionalRequestConflict
        BadDigest InvalidDigest XAmzContentChecksumMismatch XAmzContentSHA256Mismatch IncompleteBody
        KMS.InternalException KMS.KeyUnavailableException KMS.ThrottlingException
        IDPCommunicationError ResponseStreaming IncompleteRead MetadataRetrieval""",
    ),
    **_rows(
        Unavailable,
        "is S3_ENDPOINT_URL right, and can it be reached from this container?",
        """
        EndpointConnection ConnectTimeout ReadTimeout ConnectionClosed HTTPClient Connection""",
    ),
    **_rows(
        Unavailable,
        "can the HTTP proxy {proxy} be reached from this container? HTTPS_PROXY, HTTP_PROXY or "
        "ALL_PROXY names it, and NO_PROXY names hosts that need none",
        "ProxyConnection",
    ),
    **_rows(
        Unavailable, "the disks of the service are full", "InsufficientStorage XMinioStorageFull"
    ),
    **_rows(
        Unavailable,
        "set the clock of this machine: it is more than 15 minutes wrong",
        "RequestTimeTooSkewed RequestExpired RequestInTheFuture",
    ),
    **_rows(
        Unavailable, "if it stays so, run setup_s3_mirror.sh again: a library is broken", "Import"
    ),
    **_rows(Unavailable, _NOT_S3, "NotS3 ResponseParser"),
    **_rows(Unavailable, "does S3_ENDPOINT_URL speak https on this port?", "SSL"),
    # Authentication or authorisation failed.
    **_rows(
        Misconfigured,
        "allow {action}",
        """
        AccessDenied AccessDeniedException AccessForbidden UnauthorizedAccess Forbidden
        AuthorizationError UnauthorizedOperation""",
    ),
    **_rows(
        Misconfigured,
        _KEY,
        """
        InvalidAccessKeyId SignatureDoesNotMatch InvalidClientTokenId UnrecognizedClientException
        Unauthorized AuthFailure InvalidSecurity InvalidToken InvalidTokenId""",
    ),
    **_rows(
        Misconfigured,
        _FRESH,
        """
        ExpiredToken ExpiredTokenException TokenRefreshRequired""",
    ),
    **_rows(
        Misconfigured,
        _CHAIN,
        """
        NoCredentials PartialCredentials CredentialRetrieval ProfileNotFound NoAuthToken
        TokenRetrieval UnauthorizedSSOToken SSOTokenLoad SSO Login UnknownCredential
        UnknownTokenProvider RefreshWithMFAUnsupported InvalidIdentityToken
        InvalidIdentityTokenException MissingDependencyException""",
    ),
    **_rows(
        Misconfigured,
        "the AWS account is closed, unpaid or barred from S3: ask its owner",
        "AccountProblem AllAccessDisabled NotSignedUp OptInRequired InvalidPayer",
    ),
    # The bucket or the endpoint does not exist, or is not where the settings say.
    **_rows(
        Misconfigured,
        "create the bucket, or correct S3_BUCKET and S3_ENDPOINT_URL",
        "NoSuchBucket InvalidBucketName",
    ),
    **_rows(
        Misconfigured,
        _REGION,
        """
        AuthorizationHeaderMalformed PermanentRedirect TemporaryRedirect Redirect
        IllegalLocationConstraintException InvalidRegion NoRegion InvalidLocationConstraint""",
    ),
    **_rows(
        Misconfigured,
        "S3_ENDPOINT_URL names a website or a console, not the S3 endpoint",
        "MethodNotAllowed",
    ),
    **_rows(
        Misconfigured,
        "set S3_CA_BUNDLE to the certificate that signed the endpoint's, "
        "and check this machine's clock",
        "CertificateVerifyFailed",
    ),
    **_rows(
        Misconfigured,
        "S3_CA_BUNDLE (or AWS_CA_BUNDLE) must name a readable PEM file",
        "CertificateFileUnusable",
    ),
    **_rows(
        Misconfigured,
        _SECRETS,
        """
        ConfigParse ConfigNotFound InvalidConfig InvalidProxiesConfig UnknownEndpoint
        EndpointProvider InvalidEndpointConfiguration EndpointVariant UnsupportedS3Configuration
        UnsupportedS3AccesspointConfiguration UnsupportedS3Arn InvalidDNSName InvalidHostLabel""",
    ),
    # The service refuses what every one of our uploads asks for, not one object.
    **_rows(Misconfigured, _SUPPORT, "InvalidRequest InvalidArgument NotImplemented"),
    **_rows(Misconfigured, "correct S3_STORAGE_CLASS", "InvalidStorageClass"),
    **_rows(Misconfigured, "correct S3_SSE", "InvalidEncryptionAlgorithmError"),
    **_rows(Misconfigured, _TAGS, "InvalidTag InvalidTagError"),
    **_rows(
        Misconfigured,
        _KMS,
        """
        KMS.NotFoundException KMS.DisabledException KMS.InvalidStateException
        KMS.KMSInvalidStateException KMS.InvalidKeyUsageException""",
    ),
    **_rows(
        Misconfigured,
        _QUOTA,
        """
        QuotaExceeded ServiceQuotaExceededException XMinioAdminBucketQuotaExceeded
        StorageCapExceeded""",
    ),
    # One object, for what it is. A proxy's bare 413 is in classify().
    **_rows(
        Rejected,
        "the object is larger than the service takes in one upload",
        "EntityTooLarge RequestEntityTooLarge",
    ),
    **_rows(
        Rejected,
        "the key is longer than 1024 bytes: shorten S3_PATH_PREFIX",
        "KeyTooLongError KeyTooLong",
    ),
    **_rows(
        Rejected,
        "",
        """
        MetadataTooLarge XMinioInvalidObjectName XMinioParentIsObject ParamValidation""",
    ),
}

# With these, other credentials may help, so the edge reads its secrets again.
CREDENTIAL_CODES = frozenset(
    code for code, (_, hint) in CODES.items() if hint in (_KEY, _FRESH, _CHAIN)
)


def classify(code: str, status: int | None) -> tuple[Kind, str]:
    """The kind of error and the hint for `code`, with the HTTP `status` where there was one.

    A code of digits, or none, is botocore's way of saying that the answer had no S3 error in it.
    """
    if code in CODES:
        return CODES[code]
    hint = _NOT_S3 if status and (code.isdigit() or not code) else ""
    if status in (401, 403):
        return Misconfigured, hint or "check the key and its rights"
    if status == 413:
        return Rejected, "too large for the service or a proxy before it (client_max_body_size)"
    return Unavailable, hint
