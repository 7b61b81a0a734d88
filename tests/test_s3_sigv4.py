"""Our signature is the same as botocore's, byte for byte."""

from __future__ import annotations

import hashlib
from datetime import datetime
from urllib.parse import quote

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from frigate_mirror.sinks.s3.sigv4 import UNSIGNED, Request, Signer

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
names = st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True)
moments = st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1))


@hypothesis_settings(deadline=None, max_examples=300)
@given(
    signer=st.builds(Signer, words, words, st.just("") | words),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    metadata=st.dictionaries(names, printable, max_size=8),
    body=st.none() | st.binary(max_size=3_000),
    host=st.sampled_from(["s3.example.com", "10.0.0.1:9000"]),
    region=names,
    now=moments,
)
def test_a_signature_is_the_same_as_botocores(
    signer: Signer,
    key: str,
    metadata: dict[str, str],
    body: bytes | None,
    host: str,
    region: str,
    now: datetime,
) -> None:
    headers = {"Content-MD5": "x", "User-Agent": "u"}
    headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    method, scheme = ("PUT", "http") if body is not None else ("GET", "https")
    path, query = f"/b/{quote(key, safe='/~')}", "a=%2F&b=" if body is None else ""
    theirs = AWSRequest(
        method, f"{scheme}://{host}{path}?{query}".rstrip("?"), headers, body or b""
    )
    theirs.context["has_streaming_input"] = True
    payload = UNSIGNED if body is None else hashlib.sha256(body).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: now)
        credentials = Credentials(signer.access, signer.secret, signer.token or None)
        botocore.auth.S3SigV4Auth(credentials, "s3", region).add_auth(theirs)
    ours = signer.sign(
        Request(method, path, query, {"Host": host} | headers, payload),
        region,
        now.strftime("%Y%m%dT%H%M%SZ"),
    )
    assert ours == {"Host": host} | dict(theirs.headers.items())


def test_a_signer_does_not_print_its_secret() -> None:
    assert "secret" not in f"{Signer('access', 'secret', 'token-secret')!r}"
