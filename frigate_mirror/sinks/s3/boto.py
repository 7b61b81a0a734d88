"""boto3's clients for the bucket, and the credentials that they use.

This is the only module that imports boto3. That costs 0.3 s and more memory than all the rest of
the child, so the module is imported when the direct way first fails or does not know the bucket.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from frigate_mirror import __version__
from frigate_mirror.settings.parse import Secret
from frigate_mirror.settings.settings import S3Settings
from frigate_mirror.sinks.s3.endpoint import proxy_of, url_of
from frigate_mirror.sinks.s3.pool import BRISK, Patience
from frigate_mirror.sinks.s3.sigv4 import Signer

Keys = tuple[Secret, Secret, Secret]
FAILURES = (boto.BotoCoreError, boto.ClientError, ResponseParserError, ValueError)  # bad dates
SMALL = 1024 * 1024  # bytes; up to here to ask whether to send costs more than sending
CONNECTIONS = 66  # kept open at most: one for each thread that there can be
# Where boto3 finds credentials without reading a file, which may say more than them.
OUTSIDE_FILES = {"explicit", "env", "iam-role", "container-role", "assume-role-with-web-identity"}


@dataclass(frozen=True, slots=True)
class Link:
    """Two clients with the same credentials: `steady` for the work, `brisk` for the check.
    `found` are the credentials, `first` is their state when the link was made."""

    steady: Any
    brisk: Any
    found: Any
    first: Signer

    def signer(self) -> Signer | None:
        """The credentials as they are now; None where only boto3 may sign."""
        if self.found.method not in OUTSIDE_FILES:
            return None
        try:
            return _signer(self.found)
        except FAILURES:
            return None


def connect(settings: S3Settings, keys: Keys, attempts: int) -> Link:
    """Clients over `keys`, or over what the standard AWS chain finds where they are empty.

    A new session each time, since a session keeps what it once found, or did not find.
    """
    access, secret, token = (key.reveal() or None for key in keys)
    session = boto3.Session(access, secret, token)
    found = session.get_credentials()
    if found is None:
        raise boto.NoCredentialsError
    return Link(
        steady=_client(session, settings, _config(settings, attempts=attempts)),
        brisk=_client(session, settings, _config(settings, BRISK, attempts=1)),
        found=found,
        first=_signer(found),
    )


def _signer(found: Any) -> Signer:
    now = found.get_frozen_credentials()
    return Signer(now.access_key, now.secret_key, now.token or "")


def _client(session: boto3.Session, settings: S3Settings, config: Config) -> Any:
    try:
        client = session.client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint_url or None,
            verify=settings.ca_bundle or None,  # None, unlike True, leaves AWS_CA_BUNDLE its say
            config=config,
        )
    except boto.BotoCoreError:
        raise
    except ValueError as error:
        raise boto.InvalidEndpointConfigurationError(msg=error) from error
    events = client.meta.events
    events.register("before-call.s3.HeadBucket", _end_of_redirects)
    events.register_last("before-call.s3", _expect_nothing)
    return client


def _end_of_redirects(context: dict[str, Any], **_: object) -> None:
    """botocore asks by HeadBucket where a redirect leads, and where that is redirected too, asks
    again, until the stack is full. A captive portal redirects everything."""
    context.get("s3_redirect", {})["redirected"] = True


def _expect_nothing(params: dict[str, Any], **_: object) -> None:
    """`Expect: 100-continue` costs a round trip, which a large body is worth and a small is not."""
    body = params["body"]
    if hasattr(body, "seek"):
        at = body.tell()
        if body.seek(0, os.SEEK_END) - at <= SMALL:
            params["headers"].pop("Expect", None)
        body.seek(at)


def _proxies(settings: S3Settings) -> dict[str, str] | None:
    """ALL_PROXY, which botocore does not know. None leaves it the variables that it does know."""
    proxy = proxy_of(url_of(settings), os.environ)
    return {"http": proxy, "https": proxy} if proxy else None


def _config(settings: S3Settings, patience: Patience | None = None, *, attempts: int) -> Config:
    connect, read = settings.connect_timeout, settings.read_timeout
    return Config(
        connect_timeout=min(connect, patience.connect) if patience else connect,
        read_timeout=min(read, patience.silence) if patience else read,
        proxies=_proxies(settings),
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # `auto` needs no help: with an endpoint of one's own, which rarely has a DNS name for each
        # bucket, botocore takes it for `path`.
        s3={"addressing_style": settings.addressing_style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra=f"frigate-s3-mirror/{__version__}",
    )
