"""Where the bucket is on the network, by rules of our own that match botocore's in common cases.

In all other cases there is no endpoint here, and the requests go over boto3, which knows them all:
proxies, dual-stack, FIPS, AWS files, S3 Express, regions of other partitions.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from frigate_mirror.settings.settings import S3Settings

_REGION = re.compile(
    r"(af|ap|ca|cn|eu|il|me|mx|sa|us|us-gov)-(north|south|central)?(east|west)?-\d"
)
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_SPECIAL = re.compile(r".*(--[a-z]+-s3|-s3alias)")  # S3 Express, access points
# These variables name credentials, or do not change a request to S3. All others of AWS may.
_HARMLESS = re.compile(
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN|REGION|DEFAULT_REGION"
    r"|CA_BUNDLE|SHARED_CREDENTIALS_FILE|CONFIG_FILE|ROLE_ARN|ROLE_SESSION_NAME"
    r"|WEB_IDENTITY_TOKEN_FILE|EXECUTION_ENV|STS_REGIONAL_ENDPOINTS|(CONTAINER|METADATA|EC2_METADATA)_\w+)"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The bucket's address. `bucket_path` comes before a key: it is empty, or a slash and the
    bucket. `ca_file` contains the certificates that sign the server's; it is None over http."""

    host: str
    port: int
    bucket_path: str
    region: str
    ca_file: str | None

    @property
    def secure(self) -> bool:
        return self.ca_file is not None

    @property
    def host_header(self) -> str:
        default = 443 if self.secure else 80
        return self.host if self.port == default else f"{self.host}:{self.port}"


def endpoint_of(settings: S3Settings, environ: Mapping[str, str]) -> Endpoint | None:
    """Returns the bucket's endpoint, or None where only boto3 can find it. `environ` is what boto3
    would read besides the settings."""
    url = urlsplit(settings.endpoint_url or _aws_url(settings.region))
    host, bucket = url.netloc.partition(":")[0], settings.bucket
    if settings.endpoint_url and (
        "amazonaws" in host or not settings.endpoint_url.startswith("http")
    ):
        return None
    if not _HOST.fullmatch(host) or _SPECIAL.fullmatch(bucket) or _is_unusual(environ):
        return None
    if proxy_of(settings, environ):
        return None
    # Endpoints other than AWS's rarely have a DNS name for each bucket, so `auto` means `path`.
    style = settings.addressing_style
    virtual = style == "virtual" or (style == "auto" and not settings.endpoint_url)
    if virtual and (not _LABEL.fullmatch(bucket) or _is_address(host)):
        return None
    return Endpoint(
        host=f"{bucket}.{host}" if virtual else host,
        port=url.port or (443 if url.scheme == "https" else 80),
        bucket_path="" if virtual else f"/{bucket}",
        region=settings.region,
        ca_file=_ca_file(settings, environ) if url.scheme == "https" else None,
    )


def proxy_of(settings: S3Settings, environ: Mapping[str, str]) -> str:
    """Returns the proxy that `environ` names for requests to the endpoint, or an empty text.

    The variables are HTTP_PROXY or HTTPS_PROXY, then ALL_PROXY; NO_PROXY lists the hosts that need
    none. As in urllib, a variable in lower case wins over the same one in capitals.
    """
    names = sorted(name for name in environ if name.lower().endswith("_proxy"))
    proxies = {name.lower(): environ[name] for name in names}  # capitals come first
    url = urlsplit(settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com")
    proxy = proxies.get(f"{url.scheme}_proxy") or proxies.get("all_proxy", "")
    if not proxy:
        return ""
    # Imported here to save memory in a child without a proxy.
    from urllib.request import proxy_bypass

    return "" if proxy_bypass(url.netloc, {"no": proxies.get("no_proxy", "")}) else proxy


def _aws_url(region: str) -> str:
    """Returns AWS's endpoint, or an empty text for regions of other partitions."""
    if not _REGION.fullmatch(region):
        return ""
    if region == "us-east-1":
        return "https://s3.amazonaws.com"
    return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _is_unusual(environ: Mapping[str, str]) -> bool:
    """Whether a variable or a file of AWS may change a request."""
    if any(name.startswith("AWS_") and not _HARMLESS.fullmatch(name) for name in environ):
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


def _ca_file(settings: S3Settings, environ: Mapping[str, str]) -> str:
    """Returns the file that botocore would use. Without a setting it is botocore's own."""
    name = settings.ca_bundle or environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE")
    if name:
        return name
    package = find_spec("certifi") or find_spec("botocore")
    return str(Path(package.origin).with_name("cacert.pem")) if package and package.origin else ""
