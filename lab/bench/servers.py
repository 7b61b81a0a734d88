"""The servers: the null sink, and SeaweedFS. Each is a process of its own and can be emptied."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import uuid
from typing import Any

from lab.bench.processes import BenchError
from tests.rig import ROOT
from tests.rig.servers import ACCESS, SECRET, SeaweedFS, connect


class NullSink:
    """`lab/bench/sink.py` as a process; `nice` is 0 to 19. All connections share a line of `rate`
    bytes a second; 0 means no limit."""

    name = "null sink"

    def __init__(self, nice: int = 0, rate: float = 0.0) -> None:
        sink = ROOT / "lab" / "bench" / "sink.py"
        words = ["nice", "-n", str(nice), sys.executable, "-I", str(sink), str(rate)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self._delay = 0.0

    def bucket(self) -> str:
        """A bucket that is empty: whatever was here is forgotten."""
        self.ask(f"reset?delay={self._delay}")
        return "bench"

    def slow_down(self, delay: float) -> None:
        """Add so many seconds to each answer, from the next `bucket` on."""
        self._delay = delay

    def ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.endpoint}/-/{what}", timeout=10) as answer:
            return json.load(answer)

    def count(self, bucket: str) -> int:
        return int(self.ask("stats")["objects"])

    def when(self) -> dict[str, float]:
        """When each object had been read whole, by key, on CLOCK_MONOTONIC."""
        return {path.removeprefix("/bench/"): at for path, at in self.ask("when").items()}

    def drop(self, bucket: str) -> None:
        self.bucket()

    def stop(self) -> None:
        self._process.communicate(timeout=10)


class Weed:
    """SeaweedFS over plain http, which every rival speaks. Its volumes are as large and as many as
    is usual there."""

    name = "SeaweedFS"

    def __init__(self) -> None:
        try:
            self._server = SeaweedFS(volumes=300, volume_mb=1_000, at_once=7)
        except RuntimeError as error:
            raise BenchError(str(error)) from error
        self.endpoint = self._server.plain_endpoint
        self.client = connect(self.endpoint, signature_version="s3v4")

    def bucket(self) -> str:
        """A bucket that nobody else has, which has taken a first object already."""
        name = f"bench-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        self.client.put_object(Bucket=name, Key="first", Body=b"")
        self.client.delete_object(Bucket=name, Key="first")
        return name

    def count(self, bucket: str) -> int:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sum(len(page.get("Contents", ())) for page in pages)

    def drop(self, bucket: str) -> None:
        """Delete the bucket with all that is in it; its files on the disk go at once."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for page in pages:
            if keys := [{"Key": item["Key"]} for item in page.get("Contents", ())]:
                self.client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        self.client.delete_bucket(Bucket=bucket)

    def stop(self) -> None:
        self._server.stop()


Server = NullSink | Weed


def place(server: Server, bucket: str) -> dict[str, str]:
    """The mirror's settings for a bucket."""
    return {"S3_BUCKET": bucket, "S3_ENDPOINT_URL": server.endpoint, "S3_ACCESS_KEY": ACCESS,
            "S3_SECRET_KEY": SECRET}  # fmt: skip
