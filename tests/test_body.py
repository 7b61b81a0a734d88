"""A file may want to be asked before its bytes are sent."""

from __future__ import annotations

import io
import random

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.body import ASKED_PIECE
from s3 import S3Sink
from tests.rig.s3_sink import environ_for
from tests.rig.servers import Bucket
from tests.rig.stub import Stub

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
MIB = 1024 * 1024
PART = 5 * MIB  # the smallest that S3 accepts


class Asked(io.BytesIO):
    """Notes how many bytes each question was about."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int] = []

    def before_send(self, size: int) -> None:
        self.sizes.append(size)


@pytest.mark.parametrize("size", [1, 100_000, 3 * MIB + 1, 21 * MIB + 1])
def test_a_file_is_asked_before_each_piece_that_is_sent_and_for_no_digest(
    bucket: Bucket, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    body = Asked(data)
    sink = S3Sink(settings.load(bucket.environ).s3, bucket.environ, part_size=PART)
    sink.put("clip.mp4", body, content_type="video/mp4", metadata={})
    assert bucket.get("clip.mp4") == data
    assert sum(body.sizes) == size
    assert max(body.sizes) <= ASKED_PIECE


def test_nothing_is_sent_before_the_file_was_asked(stub: Stub) -> None:
    class Waits(Asked):
        def before_send(self, size: int) -> None:
            raise OSError("not yet")

    environ = environ_for(stub.endpoint)
    with pytest.raises(OSError, match="not yet"):
        S3Sink(settings.load(environ).s3, environ, attempts=1).put(
            "clip.mp4", Waits(b"x" * 100), content_type="video/mp4", metadata={}
        )
    assert all(seen.body == b"" for seen in stub.seen)
