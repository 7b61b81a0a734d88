"""What an S3 error code means: who has to act, and what the owner can do.

The codes are S3's own (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), those
of compatible services and of STS, and the names of botocore's exceptions without `Error` at the
end. This module does not import boto3.

A code is `Rejected`, which ends in a dead letter, only if the object itself is certainly the cause.
It is `Misconfigured` if only the owner can correct the cause. A code that is not in the table is
classified by the HTTP status: 401 and 403 are `Misconfigured`, 413 is `Rejected`, and everything
else is `Unavailable`, so the upload waits.
"""

from __future__ import annotations

from frigate_mirror.settings.settings import S3Settings
from frigate_mirror.sinks.sink import Misconfigured, Rejected, SinkError, Unavailable

Kind = type[SinkError]

_NOT_S3 = "check S3_ENDPOINT_URL: a captive portal, a proxy or a web server answers instead of S3"
_KEY = "correct S3_ACCESS_KEY and S3_SECRET_KEY: the service does not accept them"
_EXPIRED = "renew the credentials, including S3_SESSION_TOKEN: they have expired"
_NO_KEY = "set S3_ACCESS_KEY and S3_SECRET_KEY, or correct the AWS profile or role"

# `s3.py` fills in {rights}, {region} and {proxy}.
# fmt: off
_TABLE: tuple[tuple[Kind, str, str], ...] = (
    # The service cannot answer now, or the bytes were damaged on the way: a later try may succeed.
    (Unavailable, "", """
        InternalError ServiceUnavailable SlowDown Throttling ThrottlingException Throttled
        ThrottledException RequestThrottled RequestThrottledException RequestLimitExceeded
        TooManyRequests TooManyRequestsException BandwidthLimitExceeded Busy RequestTimeout
        RequestTimeoutException OperationAborted ConditionalRequestConflict BadDigest InvalidDigest
        XAmzContentChecksumMismatch XAmzContentSHA256Mismatch IncompleteBody KMS.InternalException
        KMS.KeyUnavailableException KMS.ThrottlingException IDPCommunicationError ResponseStreaming
        IncompleteRead MetadataRetrieval"""),
    (Unavailable, "check S3_ENDPOINT_URL, and whether that address can be reached from here", """
        EndpointConnection ConnectTimeout ReadTimeout ConnectionClosed HTTPClient Connection"""),
    (Unavailable,
     "check whether the HTTP proxy {proxy} can be reached from here; HTTPS_PROXY, HTTP_PROXY or "
     "ALL_PROXY names it, and NO_PROXY lists the hosts that need no proxy", "ProxyConnection"),
    (Unavailable, "free space on the service: its disks are full",
     "InsufficientStorage XMinioStorageFull"),
    (Unavailable, "correct the clock of this machine: it is wrong by more than 15 minutes",
     "RequestTimeTooSkewed RequestExpired RequestInTheFuture"),
    (Unavailable, "if this lasts, run setup_s3_mirror.sh again: a library is broken", "Import"),
    (Unavailable, _NOT_S3, "NotS3 ResponseParser"),
    (Unavailable, "check S3_ENDPOINT_URL: the server does not speak https on this port", "SSL"),
    # Authentication or authorisation failed.
    (Misconfigured, "allow {rights}", """
        AccessDenied AccessDeniedException AccessForbidden UnauthorizedAccess Forbidden
        AuthorizationError UnauthorizedOperation"""),
    (Misconfigured, _KEY, """
        InvalidAccessKeyId SignatureDoesNotMatch InvalidClientTokenId UnrecognizedClientException
        Unauthorized AuthFailure InvalidSecurity InvalidToken InvalidTokenId"""),
    (Misconfigured, _EXPIRED, "ExpiredToken ExpiredTokenException TokenRefreshRequired"),
    (Misconfigured, _NO_KEY, """
        NoCredentials PartialCredentials CredentialRetrieval ProfileNotFound NoAuthToken
        TokenRetrieval UnauthorizedSSOToken SSOTokenLoad SSO Login UnknownCredential
        UnknownTokenProvider RefreshWithMFAUnsupported InvalidIdentityToken
        InvalidIdentityTokenException MissingDependencyException"""),
    (Misconfigured, "ask the owner of the AWS account: it is closed, unpaid or barred from S3",
     "AccountProblem AllAccessDisabled NotSignedUp OptInRequired InvalidPayer"),
    # The bucket or the endpoint does not exist, or is elsewhere.
    (Misconfigured, "create the bucket, or correct S3_BUCKET and S3_ENDPOINT_URL",
     "NoSuchBucket InvalidBucketName"),
    (Misconfigured, "set S3_REGION to the bucket's region {region}", """
        AuthorizationHeaderMalformed PermanentRedirect TemporaryRedirect Redirect
        IllegalLocationConstraintException InvalidRegion NoRegion InvalidLocationConstraint"""),
    (Misconfigured, "correct S3_ENDPOINT_URL: it names a website or a console, not S3",
     "MethodNotAllowed"),
    (Misconfigured, "set S3_CA_BUNDLE to the certificate that signed the endpoint's, and check "
     "the clock of this machine", "CertificateVerifyFailed"),
    (Misconfigured, "set S3_CA_BUNDLE (or AWS_CA_BUNDLE) to a readable PEM file",
     "CertificateFileUnusable"),
    (Misconfigured, "check the AWS settings of this container: profile, config file, S3_REGION", """
        ConfigParse ConfigNotFound InvalidConfig InvalidProxiesConfig UnknownEndpoint
        EndpointProvider InvalidEndpointConfiguration EndpointVariant UnsupportedS3Configuration
        UnsupportedS3AccesspointConfiguration UnsupportedS3Arn InvalidDNSName InvalidHostLabel"""),
    # The service refuses something that every upload asks for.
    (Misconfigured, "change or remove S3_SSE, S3_OBJECT_TAGS, S3_STORAGE_CLASS or "
     "S3_EXPECTED_BUCKET_OWNER: the service does not support one of them",
     "InvalidRequest InvalidArgument NotImplemented"),
    (Misconfigured, "correct S3_STORAGE_CLASS", "InvalidStorageClass"),
    (Misconfigured, "correct S3_SSE", "InvalidEncryptionAlgorithmError"),
    (Misconfigured, "correct S3_OBJECT_TAGS", "InvalidTag InvalidTagError"),
    (Misconfigured, "enable the key that S3_SSE_KMS_KEY_ID names, or choose another", """
        KMS.NotFoundException KMS.DisabledException KMS.InvalidStateException
        KMS.KMSInvalidStateException KMS.InvalidKeyUsageException"""),
    (Misconfigured, "raise the bucket's quota, or let old objects expire: the quota is used up",
     "QuotaExceeded ServiceQuotaExceededException XMinioAdminBucketQuotaExceeded "
     "StorageCapExceeded"),
    # The service refuses this object. classify() knows a proxy's 413, which has no code.
    (Rejected, "raise the service's limit: it does not accept an object of this size",
     "EntityTooLarge RequestEntityTooLarge"),
    (Rejected, "shorten S3_PATH_PREFIX: the key is longer than 1024 bytes",
     "KeyTooLongError KeyTooLong"),
    (Rejected, "", "MetadataTooLarge XMinioInvalidObjectName XMinioParentIsObject ParamValidation"),
)
# fmt: on

CODES = {code: (kind, hint) for kind, hint, codes in _TABLE for code in codes.split()}
CREDENTIAL_CODES = {code for code in CODES if CODES[code][1] in (_KEY, _EXPIRED, _NO_KEY)}
"""Other credentials may help: the sink reads its secrets again."""
DENIALS = {code for code in CODES if "{rights}" in CODES[code][1]}
"""The key has no right to do this, and the code says nothing else."""


def classify(code: str, status: int | None) -> tuple[Kind, str]:
    """The kind of error and the hint for `code`, with the HTTP `status` if there is one.

    botocore gives a code of digits, or none, for an answer that contains no S3 error.
    """
    if code in CODES:
        return CODES[code]
    hint = _NOT_S3 if status and (code.isdigit() or not code) else ""
    if status in (401, 403):
        return Misconfigured, hint or "check the key and its rights"
    if status == 413:
        return Rejected, (
            "raise the size limit of the service or of a proxy before it (client_max_body_size)"
        )
    return Unavailable, hint


def required_rights(verb: str, settings: S3Settings) -> str:
    """The rights that `verb` (put, abort, list, read, delete) needs, as a policy names them."""
    if verb == "list":
        return f"s3:ListBucket on {settings.bucket}"
    if verb == "read":
        return f"s3:GetObject on {settings.bucket}"
    if verb == "delete":
        return f"s3:DeleteObject on {settings.bucket}"
    if verb == "abort":
        return f"s3:AbortMultipartUpload on {settings.bucket} for this key"
    tagging = " and s3:PutObjectTagging" if settings.object_tags else ""
    kms = " and kms:GenerateDataKey" if settings.sse == "aws:kms" else ""
    return f"s3:PutObject{tagging}{kms} on {settings.bucket} for this key"
