"""boto3's clients for the bucket, and the credentials that they use.

This is the only module that imports boto3. That takes 0.3 s and more memory than all the rest of
the child, so `s3.py` imports it only when the direct way fails or does not know the bucket.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError
from botocore.session import Session
from botocore.utils import parse_timestamp

from frigate_mirror import __version__
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.settings import S3Settings
from frigate_mirror.sinks.s3.endpoint import proxy_of
from frigate_mirror.sinks.s3.pool import CHECK_PATIENCE, Patience
from frigate_mirror.sinks.s3.sigv4 import Signer

Keys = tuple[Secret, Secret, Secret]
# A ValueError: a date that botocore cannot parse.
FAILURES = (boto.BotoCoreError, boto.ClientError, ResponseParserError, ValueError)
CONNECTIONS = 66  # kept open at most: one for each thread that there can be
# botocore's names for credentials that do not come from a file. A file may contain more than them.
NOT_FROM_A_FILE = {"explicit", "env", "iam-role", "container-role", "assume-role-with-web-identity"}


@dataclass(frozen=True, slots=True)
class Clients:
    """Two clients with the same credentials: `patient` for the work, `impatient` for the check.
    `first` is what `credentials` were when the clients were made."""

    patient: Any
    impatient: Any
    credentials: Any
    first: Signer

    def signer(self) -> Signer | None:
        """Returns the credentials as they are now, or None where only boto3 may sign."""
        if self.credentials.method not in NOT_FROM_A_FILE:
            return None
        try:
            return _signer(self.credentials)
        except FAILURES:
            return None


def connect(settings: S3Settings, keys: Keys, attempts: int) -> Clients:
    """Makes clients with `keys`, or with what the standard AWS chain finds if they are empty.

    Each call uses a new session, because a session remembers what it once found or did not find.
    """
    access, secret, token = (key.reveal() or None for key in keys)
    core = Session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
    session = boto3.Session(access, secret, token, botocore_session=core)
    credentials = session.get_credentials()
    if credentials is None:
        raise boto.NoCredentialsError
    usual = Patience(settings.connect_timeout, settings.read_timeout)
    return Clients(
        patient=_client(session, settings, _config(settings, usual, attempts)),
        impatient=_client(session, settings, _config(settings, CHECK_PATIENCE, 1)),
        credentials=credentials,
        first=_signer(credentials),
    )


def _time(value: Any) -> datetime:
    """Reads a time of an answer. botocore's own way takes most of the time of a listing, so it only
    reads what is not in the usual form of a listing."""
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found
    except (TypeError, ValueError):
        pass
    other: datetime = parse_timestamp(value)
    return other


def _signer(credentials: Any) -> Signer:
    now = credentials.get_frozen_credentials()
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
    events.register("before-call.s3.HeadBucket", _follow_no_further)
    events.register_last("before-call.s3", _skip_expect)
    events.register_first("choose-signer.s3.GetObject", _sign_links)
    return client


def _follow_no_further(context: dict[str, Any], **_: object) -> None:
    """Ends a chain of redirects. botocore asks by HeadBucket where a redirect leads, and if that is
    redirected too, it asks again, until the stack is full. A captive portal redirects
    everything."""
    context.get("s3_redirect", {})["redirected"] = True


def _skip_expect(params: dict[str, Any], **_: object) -> None:
    """Sends a small body without `Expect: 100-continue`, which costs a round trip. Small bodies are
    bytes, which botocore has wrapped by now; for a large one the header is worth its price."""
    if isinstance(params["body"], BytesIO):
        params["headers"].pop("Expect", None)


def _sign_links(signature_version: str, **_: object) -> str | None:
    """Signs links with Signature Version 4. botocore would take the old Version 2, which most
    services do not know."""
    usual = signature_version.endswith("-query") and not signature_version.startswith("v4a")
    return "s3v4-query" if usual else None


def _config(settings: S3Settings, patience: Patience, attempts: int) -> Config:
    proxy = proxy_of(settings, os.environ)
    return Config(
        connect_timeout=min(settings.connect_timeout, patience.connect),
        read_timeout=min(settings.read_timeout, patience.silence),
        # botocore does not know ALL_PROXY. None leaves it the variables that it does know.
        proxies={"http": proxy, "https": proxy} if proxy else None,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # For an endpoint that is not AWS's, botocore takes `auto` as `path`.
        s3={"addressing_style": settings.addressing_style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra=f"frigate-s3-mirror/{__version__}",
    )
