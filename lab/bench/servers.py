"""The servers: the null sink, and SeaweedFS. Each is a process of its own and can be emptied."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench import ROOT
from bench.processes import BenchError, wait_until

sys.path.insert(1, str(ROOT / "tests"))
from servers import ACCESS, SECRET, _answers, _free_ports, _identities, _weed


class NullSink:
    """`bench/sink.py`. `nice` 0 to 19."""

    name = "null sink"

    def __init__(self, nice: int = 0) -> None:
        words = ["nice", "-n", str(nice), sys.executable, "-I", str(ROOT / "bench" / "sink.py")]
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
    """SeaweedFS, over plain http, which every rival speaks without further ado."""

    name = "SeaweedFS"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weed-"))
        plain, master, volume, filer = self._ports = _free_ports(4)
        (self.folder / "identities.json").write_text(json.dumps(_identities()))
        (self.folder / "data").mkdir()
        flags = {
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": self.folder / "data",
            "filer": "true", "s3": "true", "s3.port": plain, "master.port": master,
            "volume.port": volume, "filer.port": filer, "volume.max": 300,
            "master.volumeSizeLimitMB": 1_000, "master.telemetry": "false",
            "filer.localSocket": self.folder / "filer.sock",
            "s3.localSocket": self.folder / "s3.sock",
            "s3.config": self.folder / "identities.json", "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        words = [_weed(), "server", *(f"-{name}={value}" for name, value in flags.items())]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        self.endpoint = f"http://127.0.0.1:{plain}"
        wait_until(lambda: _answers(self.endpoint), 30, "SeaweedFS's start")
        self.client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))  # fmt: skip
        self._warm_up()

    def _warm_up(self) -> None:
        until = time.monotonic() + 30
        while True:
            try:
                return self.drop(self.bucket())
            except Exception as error:  # it answers before it can store anything
                if time.monotonic() > until:
                    raise BenchError("SeaweedFS takes no object") from error
                time.sleep(0.1)

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
        self._process.kill()
        self._process.wait(10)
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + 10_000}.sock"):
                left.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


Server = NullSink | Weed


def place(server: Server, bucket: str) -> dict[str, str]:
    """The mirror's settings for a bucket."""
    return {"S3_BUCKET": bucket, "S3_ENDPOINT_URL": server.endpoint, "S3_ACCESS_KEY": ACCESS,
            "S3_SECRET_KEY": SECRET}  # fmt: skip
