"""The long way to a bucket: boto3's clients, and the credentials that they go by.

The only module that says boto3. Importing it costs 0.3 s and more memory than all the rest of the
child, so it is loaded when it is first wanted: for what the short way does not do, or could not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore import exceptions as boto
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.parsers import ResponseParserError

from frigate_mirror import __version__
from frigate_mirror.parse import Secret
from frigate_mirror.s3_short import Heard
from frigate_mirror.s3_sign import Signer
from frigate_mirror.s3_wire import Answer, ConnectTimeout
from frigate_mirror.settings import Settings

T = TypeVar("T")
Keys = tuple[Secret, Secret, Secret]
FAILURES = (boto.BotoCoreError, boto.ClientError, ResponseParserError, ValueError)  # bad dates
SMALL = 1024 * 1024  # bytes; up to here to ask whether to send costs more than sending
# Where the chain finds credentials without reading a file that may say more than them.
SHORT = {"explicit", "env", "iam-role", "container-role", "assume-role-with-web-identity"}

_heard = threading.local()


@dataclass(frozen=True, slots=True)
class Link:
    """Two clients over one set of credentials: `steady` for the work, `brisk` for the check.
    `first` are the credentials as they were when it was made."""

    steady: Any
    brisk: Any
    found: Any
    first: Signer

    def signer(self) -> Signer | None:
        """The credentials as they are now; None where only boto3 may sign."""
        if self.found.method not in SHORT:
            return None
        try:
            return _signer(self.found)
        except FAILURES:
            return None

    def after(self, heard: Heard | None, request: Callable[[Link], T]) -> T:
        """`request`, of which `heard` is what came of a first try elsewhere: botocore takes it for
        the outcome of its own first try. One signed by other credentials counts for nothing."""
        _heard.outcome = heard.outcome if heard and heard.signer == self.signer() else None
        try:
            return request(self)
        finally:
            _heard.outcome = None


def connect(settings: Settings, keys: Keys, attempts: int) -> Link:
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
        brisk=_client(session, settings, _config(settings, connect=5, read=10, attempts=1)),
        found=found,
        first=_signer(found),
    )


def _signer(found: Any) -> Signer:
    now = found.get_frozen_credentials()
    return Signer(now.access_key, now.secret_key, now.token or "")


def _client(session: boto3.Session, settings: Settings, config: Config) -> Any:
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
    for operation in ("PutObject", "ListObjectsV2"):
        events.register(f"before-send.s3.{operation}", _first_outcome)
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


def _first_outcome(request: Any, **_: object) -> AWSResponse | None:
    """What a handler of this event returns or raises is to botocore what came of its request."""
    outcome = getattr(_heard, "outcome", None)
    _heard.outcome = None
    if isinstance(outcome, Answer):
        return AWSResponse(request.url, outcome.status, HeadersDict(outcome.headers), _Raw(outcome))
    if isinstance(outcome, ConnectTimeout):
        raise boto.ConnectTimeoutError(endpoint_url=request.url, error=outcome)
    if outcome is not None:
        raise boto.ReadTimeoutError(endpoint_url=request.url, error=outcome)
    return None


class _Raw:
    """A body that has been read, for whom wants to read it."""

    def __init__(self, answer: Answer) -> None:
        self._body = answer.body

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._body


def _config(
    settings: Settings, *, attempts: int, connect: float = 600, read: float = 3_600
) -> Config:
    return Config(
        connect_timeout=min(connect, settings.connect_timeout),
        read_timeout=min(read, settings.read_timeout),
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=settings.upload_threads + 2,
        tcp_keepalive=True,
        # `auto` needs no help: with an endpoint of one's own, which rarely has a DNS name for each
        # bucket, botocore takes it for `path`.
        s3={"addressing_style": settings.addressing_style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra=f"frigate-s3-mirror/{__version__}",
    )
