"""Where a bucket is on the network, by our own rules, which are botocore's in the common cases.

There is no place in all other cases: proxies, dual-stack, FIPS, AWS files, S3 Express, regions of
other partitions. Then the requests go over boto3, which knows them all.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from frigate_mirror.settings.settings import S3Settings

_REGION = re.compile(
    r"(af|ap|ca|cn|eu|il|me|mx|sa|us|us-gov)-(north|south|central)?(east|west)?-\d"
)
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_SPECIAL = re.compile(r".*(--[a-z]+-s3|-s3alias)")  # S3 Express, access points
# Variables that name credentials, or do not change a request to S3. All others of AWS may.
_HARMLESS = re.compile(
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN|REGION|DEFAULT_REGION"
    r"|CA_BUNDLE|SHARED_CREDENTIALS_FILE|CONFIG_FILE|ROLE_ARN|ROLE_SESSION_NAME"
    r"|WEB_IDENTITY_TOKEN_FILE|EXECUTION_ENV|STS_REGIONAL_ENDPOINTS|(CONTAINER|METADATA|EC2_METADATA)_\w+)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """`path` is what stands before a key: empty, or a slash and the bucket. `trust` is the file of
    certificates to trust, empty where the scheme is http."""

    host: str
    port: int
    path: str
    region: str
    trust: str

    @property
    def secure(self) -> bool:
        return bool(self.trust)

    @property
    def name(self) -> str:
        """The value of the header Host."""
        return (
            self.host if self.port == (443 if self.secure else 80) else f"{self.host}:{self.port}"
        )


def place_of(settings: S3Settings, environ: Mapping[str, str]) -> Place | None:
    """The bucket's place; `environ` is what boto3 would read beside the settings."""
    url = urlsplit(settings.endpoint_url or _aws(settings.region))
    host, bucket = url.netloc.partition(":")[0], settings.bucket
    if settings.endpoint_url and (
        "amazonaws" in host or not settings.endpoint_url.startswith("http")
    ):
        return None
    if not _HOST.fullmatch(host) or _SPECIAL.fullmatch(bucket) or _unusual(environ):
        return None
    if proxy_of(url_of(settings), environ):
        return None
    # An endpoint of one's own rarely has a name for each bucket, so `auto` is `path` there.
    style = settings.addressing_style
    virtual = style == "virtual" or (style == "auto" and not settings.endpoint_url)
    if virtual and (not _LABEL.fullmatch(bucket) or _is_address(host)):
        return None
    return Place(
        host=f"{bucket}.{host}" if virtual else host,
        port=url.port or (443 if url.scheme == "https" else 80),
        path="" if virtual else f"/{bucket}",
        region=settings.region,
        trust=_trusted(settings, environ) if url.scheme == "https" else "",
    )


def _aws(region: str) -> str:
    """AWS's endpoint; empty for regions that stand apart."""
    if not _REGION.fullmatch(region):
        return ""
    if region == "us-east-1":
        return "https://s3.amazonaws.com"
    return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def url_of(settings: S3Settings) -> str:
    """The URL to which a proxy would be asked to pass our requests on."""
    return settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com"


def proxy_of(url: str, environ: Mapping[str, str]) -> str:
    """The proxy that `environ` names for requests to `url`, or an empty text.

    The variables are HTTP_PROXY or HTTPS_PROXY, then ALL_PROXY; NO_PROXY names hosts that need
    none. Each may also be written in small letters, and then that one counts, as in urllib.
    """
    names = [name for name in sorted(environ) if name.lower().endswith("_proxy")]
    named = {name.lower(): environ[name] for name in names}  # capitals come first
    there = urlsplit(url)
    proxy = named.get(f"{there.scheme}_proxy") or named.get("all_proxy", "")
    if not proxy:
        return ""
    # Imported here since it loads http.client, which a child without a proxy never needs.
    from urllib.request import proxy_bypass

    bypassed = proxy_bypass(there.netloc, {"no": named.get("no_proxy", "")})
    return "" if bypassed else proxy


def _unusual(environ: Mapping[str, str]) -> bool:
    for name in environ:
        if name.startswith("AWS_") and not _HARMLESS.fullmatch(name):
            return True
    files = (
        environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    return any(os.path.exists(os.path.expanduser(name)) for name in files)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _trusted(settings: S3Settings, environ: Mapping[str, str]) -> str:
    """The file that botocore would take; its own comes with it."""
    named = settings.ca_bundle or environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE")
    if named:
        return named
    for package in ("certifi", "botocore"):
        found = importlib.util.find_spec(package)
        if found and found.origin:
            return str(Path(found.origin).with_name("cacert.pem"))
    return "missing"
