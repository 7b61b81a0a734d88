"""The import of boto3, when the direct way does not succeed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.rig.s3_sink import environ_for, failure_of, put, sink_for
from tests.rig.stub import Stub, error

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
ROOT = Path(__file__).resolve().parent.parent

SHORTAGE = """
import encodings.idna, errno, io, os, sys
from frigate_mirror.settings import settings
from s3 import S3Sink

class Shortage:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == cls.unfindable:
            raise FAULT

sys.meta_path.insert(0, Shortage)
sink = S3Sink(settings.load(os.environ).s3, os.environ, attempts=1)
for Shortage.unfindable in MODULES:
    try:
        sink.put("k", io.BytesIO(b"x"), content_type="image/jpeg", metadata={})
    except BaseException as error:
        print(type(error).__name__, getattr(error, "code", ""))
"""


def put_while_imports_fail(fault: str, modules: list[str]) -> list[str]:
    """Returns the results of puts to a closed port, one for each of `modules`. If that module is to
    be imported, the import raises `fault`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        environ = os.environ | environ_for(endpoint) | {"PYTHONPATH": str(ROOT)}
        program = SHORTAGE.replace("FAULT", fault).replace("MODULES", str(modules))
        told = subprocess.run(
            [sys.executable, "-c", program],
            env=environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert told.stderr == ""
    return told.stdout.splitlines()


@pytest.mark.parametrize("fault, code", [
    ('OSError(errno.EMFILE, "Too many")', "OS"), ('ImportError("failed to map")', "Import"),
])  # fmt: skip
def test_a_failed_import_fails_this_put_and_the_next_one_imports_again(
    fault: str, code: str
) -> None:
    # By the third one boto3.utils is imported, and only the first import makes it known to boto3.
    modules = ["boto3", "botocore.client", "boto3.resources.factory"]
    told = put_while_imports_fail(fault, [*modules, "none"])
    assert told == [f"Unavailable {code}"] * 3 + ["Unavailable EndpointConnection"]


def test_an_import_that_runs_out_of_memory_raises_memory_error() -> None:
    assert put_while_imports_fail("MemoryError()", ["botocore.client"]) == ["MemoryError "]


def test_threads_that_import_boto3_together_all_get_it(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint))
    stub.default = error(403, "AccessDenied")
    codes: list[str] = []
    threads = [
        threading.Thread(target=lambda: codes.append(failure_of(lambda: put(sink)).code))
        for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert codes == ["AccessDenied"] * 8


def test_a_broken_library_is_named_with_a_hint(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "frigate_mirror.sinks.s3.boto", raising=False)
    monkeypatch.delattr("frigate_mirror.sinks.s3.boto", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)  # the import raises ImportError
    stub.default = error(403, "AccessDenied")
    caught = failure_of(lambda: put(sink_for(environ_for(stub.endpoint))))
    assert caught.code == "Import"
    assert "boto3" in str(caught)
    assert "setup_s3_mirror.sh" in caught.hint
