"""The endpoint is where boto3 would look for the bucket, or it is left to boto3."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import botocore.session
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from frigate_mirror.settings import settings
from frigate_mirror.sinks.s3 import boto
from frigate_mirror.sinks.s3.endpoint import endpoint_of
from frigate_mirror.sinks.sink import SinkError
from tests.rig.s3_sink import environ_for

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
unhurried = hypothesis_settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def url_of_boto(environ: dict[str, str]) -> str:
    """Returns the URL to which boto3 would put the key `k`."""
    asked: list[str] = []

    def stop(request: Any, **_: object) -> None:
        asked.append(request.url)
        raise SinkError("enough")

    loaded = settings.load(environ).s3
    keys = (loaded.access_key, loaded.secret_key, loaded.session_token)
    clients = boto.connect(loaded, keys, 1)
    clients.patient.meta.events.register("before-send.s3", stop)
    with pytest.raises(SinkError):
        clients.patient.put_object(Bucket=loaded.bucket, Key="k", Body=b"")
    return asked[0]


def url_of_ours(environ: dict[str, str]) -> str | None:
    endpoint = endpoint_of(settings.load(environ).s3, {})
    if endpoint is None:
        return None
    scheme = "https" if endpoint.secure else "http"
    return f"{scheme}://{endpoint.host_header}{endpoint.bucket_path}/k"


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
        return  # the request goes over boto3
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
def test_a_region_of_another_partition_is_left_to_boto3(region: str) -> None:
    assert url_of_ours(environ_for("", S3_REGION=region, S3_BUCKET="my-bucket")) is None


@pytest.mark.parametrize("name", [
    "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE",
    "AWS_NOT_YET_INVENTED",
])  # fmt: skip
def test_a_variable_that_may_change_a_request_leaves_it_to_boto3(name: str) -> None:
    loaded = settings.load(environ_for("http://localhost:9")).s3
    assert endpoint_of(loaded, {name: "x"}) is None


@pytest.mark.parametrize("name", [
    "AWS_ACCESS_KEY_ID", "AWS_CA_BUNDLE", "AWS_EXECUTION_ENV", "AWS_STS_REGIONAL_ENDPOINTS",
    "HTTPS_PROXY", "NO_PROXY",
])  # fmt: skip
def test_a_variable_that_changes_no_request_keeps_the_direct_way_open(name: str) -> None:
    assert endpoint_of(settings.load(environ_for("http://localhost:9")).s3, {name: "x"})


@pytest.mark.parametrize("hosts, needless", [
    ("s3.example.com", True), (".example.com", True), ("other.com, example.com", True), ("*", True),
    ("s3.example.com:9000", True), ("example.org", False), ("", False),
])  # fmt: skip
def test_a_host_in_no_proxy_is_reached_the_direct_way(hosts: str, needless: bool) -> None:
    loaded = settings.load(environ_for("http://s3.example.com:9000")).s3
    endpoint = endpoint_of(loaded, {"ALL_PROXY": "http://proxy:3128", "NO_PROXY": hosts})
    assert (endpoint is not None) == needless


def test_an_empty_variable_in_lower_case_removes_the_proxy() -> None:
    loaded = settings.load(environ_for("http://s3.example.com:9000")).s3
    assert endpoint_of(loaded, {"http_proxy": "", "HTTP_PROXY": "http://proxy:3128"})


@pytest.mark.parametrize("name", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_an_aws_file_is_left_to_boto3(tmp_path: Path, name: str) -> None:
    loaded = settings.load(environ_for("http://localhost:9")).s3
    assert endpoint_of(loaded, {name: str(tmp_path / "none"), "HOME": "/nowhere"})
    (tmp_path / "file").write_text("[default]\ns3 =\n  use_accelerate_endpoint = true\n")
    assert endpoint_of(loaded, {name: str(tmp_path / "file")}) is None


def test_an_https_endpoint_has_a_certificate_file_and_a_default_port() -> None:
    endpoint = endpoint_of(settings.load(environ_for("https://s3.example.com")).s3, {})
    assert endpoint is not None
    assert endpoint.ca_file is not None
    assert Path(endpoint.ca_file).is_file()
    assert dataclasses.replace(endpoint, ca_file=None).host_header == "s3.example.com:443"
