"""The S3 sink's credentials: their source, their renewal, and that no text contains them."""

from __future__ import annotations

import logging
import traceback
from itertools import groupby
from pathlib import Path

import pytest

from frigate_mirror.sinks.sink import Misconfigured
from tests.rig.s3_sink import ACCESS, SECRET, environ_for, failure_of, put, sink_for
from tests.rig.stub import Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host", "each_way")


def rotating(stub: Stub, tmp_path: Path) -> dict[str, str]:
    """Returns settings whose secrets are in files."""
    environ = environ_for(stub.endpoint)
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY"):
        (tmp_path / name).write_text(environ.pop(name))
        environ[f"{name}_FILE"] = str(tmp_path / name)
    return environ


CODES = ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId"]


def signers_of(stub: Stub) -> list[str]:
    """Returns the keys that signed the requests, in order and without repetitions."""
    signed = [seen.headers["authorization"].split("Credential=")[1] for seen in stub.seen]
    return [name for name, _ in groupby(text.split("/")[0] for text in signed)]


@pytest.mark.parametrize("code", CODES)
def test_a_rotated_secret_is_noticed_within_the_same_put(
    stub: Stub, tmp_path: Path, code: str
) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    put(sink)
    (tmp_path / "S3_ACCESS_KEY").write_text("AKIDROTATED")
    stub.refusals[f"Credential={ACCESS}/"] = error(403, code)
    put(sink)
    put(sink)
    assert signers_of(stub) == [ACCESS, "AKIDROTATED"], "the old key is not tried again"


def test_a_rotated_secret_is_noticed_by_the_check(stub: Stub, tmp_path: Path) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    sink.check()
    (tmp_path / "S3_ACCESS_KEY").write_text("AKIDROTATED")
    stub.refusals[f"Credential={ACCESS}/"] = error(403, "SignatureDoesNotMatch")
    sink.check()
    assert signers_of(stub) == [ACCESS, "AKIDROTATED"]


def test_an_unchanged_secret_is_not_tried_again(stub: Stub, tmp_path: Path, each_way: str) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    put(sink)
    stub.default = error(403, "InvalidAccessKeyId")
    assert type(failure_of(lambda: put(sink))) is Misconfigured
    assert len(stub.seen) == (3 if each_way == "direct" else 2)


def test_the_old_secret_stays_in_use_while_its_file_is_missing(stub: Stub, tmp_path: Path) -> None:
    sink = sink_for(rotating(stub, tmp_path))
    put(sink)
    (tmp_path / "S3_SECRET_KEY").unlink()
    stub.default = error(403, "ExpiredToken")
    assert failure_of(lambda: put(sink)).code == "ExpiredToken"
    stub.default = None
    put(sink)


def test_without_a_key_every_put_asks_the_standard_chain_until_it_answers(
    stub: Stub, tmp_path: Path
) -> None:
    environ = environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY="")
    sink = sink_for(environ)
    caught = failure_of(lambda: put(sink))
    assert (type(caught), caught.code) == (Misconfigured, "NoCredentials")
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKIDFROMFILE\naws_secret_access_key = s\n"
    )
    put(sink)
    assert "AKIDFROMFILE" in stub.seen[-1].headers["authorization"]


def test_a_profile_of_the_credentials_file_is_used(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY="")
    monkeypatch.setenv("AWS_PROFILE", "camera")
    assert failure_of(sink_for(environ).check).code == "ProfileNotFound"
    (tmp_path / "credentials").write_text(
        "[camera]\naws_access_key_id = AKIDCAMERA\naws_secret_access_key = s\n"
        "aws_session_token = tok\n"
    )
    put(sink_for(environ))
    assert "AKIDCAMERA" in stub.seen[-1].headers["authorization"]
    assert stub.seen[-1].headers["x-amz-security-token"] == "tok"


def test_the_variables_of_aws_are_used_when_ours_are_absent(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    put(sink_for(environ_for(stub.endpoint, S3_ACCESS_KEY="", S3_SECRET_KEY="")))
    put(sink_for(environ_for(stub.endpoint)))
    signers = [seen.headers["authorization"] for seen in stub.seen]
    assert "AKIDFROMENV" in signers[0]
    assert ACCESS in signers[1]


def test_a_session_token_is_sent_with_the_request(stub: Stub) -> None:
    put(sink_for(environ_for(stub.endpoint, S3_SESSION_TOKEN="session-token")))
    assert stub.seen[0].headers["x-amz-security-token"] == "session-token"


def test_no_error_and_no_log_line_contains_a_secret(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="frigate_s3")
    secrets = (ACCESS, SECRET, "session-token")
    sink = sink_for(environ_for(stub.endpoint, S3_SESSION_TOKEN="session-token"))
    told = " ".join(secrets)
    signed = {"StringToSign": told, "AWSAccessKeyId": ACCESS}
    stub.default = error(403, "SignatureDoesNotMatch", told, **signed)
    for attempt in (lambda: put(sink), sink.check):
        caught = failure_of(attempt)
        trace = "".join(traceback.format_exception(caught))
        texts = [str(caught), repr(caught), trace, caplog.text]
        assert "***" in str(caught)
        assert not [word for word in secrets for text in texts if word in text]
