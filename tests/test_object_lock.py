"""A bucket with versioning or object lock keeps its objects, whatever a thief does with the key.

The bucket is in a real SeaweedFS. The calls that docs/threat-model.md shows as commands set it up.
"""

from __future__ import annotations

import datetime
import json
import re
import shlex
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from frigate_mirror.checks import bucket as checks_bucket
from frigate_mirror.checks.finding import NOTE
from frigate_mirror.settings import settings
from s3 import S3Sink
from tests.rig import ROOT
from tests.rig.s3_sink import put, sink_for
from tests.rig.servers import WRITER_ACCESS, WRITER_SECRET, Bucket, SeaweedFS
from tests.rig.waiting import until
from tests.rig.worlds import Child, World

KEY = "door/a.jpg"
DOCUMENT = (ROOT / "docs" / "threat-model.md").read_text()

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")


def shown(subcommand: str) -> dict[str, Any]:
    """Returns the options of the `aws s3api` command of that name as the document shows it."""
    text = re.search(rf"^aws s3api ({subcommand} .*?)(?<!\\)$", DOCUMENT, re.DOTALL | re.MULTILINE)
    assert text, subcommand
    words = shlex.split(text[1].replace("\\\n", " "))[1:]
    options: dict[str, Any] = {}
    for word in words:
        if word.startswith("--"):
            options[name := "".join(part.title() for part in word[2:].split("-"))] = True
        else:
            options[name] = json.loads(word) if word.startswith("{") else _plain(word)
    return options


def _plain(word: str) -> Any:
    """Returns a word, or a dict if it is a structure in short form such as `Status=Enabled`."""
    return dict([word.split("=", 1)]) if "=" in word else word


@pytest.fixture
def versioned(seaweedfs: SeaweedFS) -> Bucket:
    bucket = seaweedfs.bucket()
    given = shown("put-bucket-versioning") | {"Bucket": bucket.name}
    bucket.client.put_bucket_versioning(**given)
    return bucket


@pytest.fixture
def locked(seaweedfs: SeaweedFS) -> Bucket:
    name = f"locked-{uuid.uuid4().hex[:12]}"
    given = shown("create-bucket")
    seaweedfs.client.create_bucket(
        Bucket=name, ObjectLockEnabledForBucket=given["ObjectLockEnabledForBucket"]
    )
    given = shown("put-object-lock-configuration") | {"Bucket": name}
    seaweedfs.client.put_object_lock_configuration(**given)
    return Bucket(name, seaweedfs.endpoint, seaweedfs.client, seaweedfs.ca_bundle)


def versions(bucket: Bucket, key: str = KEY) -> list[bytes]:
    """Returns the bytes of every version in any order. A delete leaves only a mark."""
    page = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=key)
    place = {"Bucket": bucket.name, "Key": key}
    read = bucket.client.get_object
    numbers = [version["VersionId"] for version in page.get("Versions", ())]
    return [read(**place, VersionId=number)["Body"].read() for number in numbers]


def writer(bucket: Bucket) -> dict[str, str]:
    """A key that may write. In SeaweedFS this includes deleting, which the README's key may not."""
    return bucket.environ | {"S3_ACCESS_KEY": WRITER_ACCESS, "S3_SECRET_KEY": WRITER_SECRET}


def client_of(environ: dict[str, str]) -> Any:
    session = boto3.Session(environ["S3_ACCESS_KEY"], environ["S3_SECRET_KEY"])
    config = Config(s3={"addressing_style": "path"})
    place = {"endpoint_url": environ["S3_ENDPOINT_URL"], "verify": environ["S3_CA_BUNDLE"]}
    return session.client("s3", region_name="us-east-1", config=config, **place)


def only_version(bucket: Bucket) -> str:
    page = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=KEY)
    (version,) = page["Versions"]
    return str(version["VersionId"])


@pytest.mark.parametrize("kind", ["versioned", "locked"])
def test_an_object_that_a_thief_overwrites_or_deletes_keeps_its_old_version(
    request: pytest.FixtureRequest, kind: str
) -> None:
    bucket: Bucket = request.getfixturevalue(kind)
    sink = sink_for(writer(bucket))
    put(sink, KEY, b"the burglar's face")
    put(sink, KEY, b"a cat")
    thief = client_of(writer(bucket))
    thief.delete_object(Bucket=bucket.name, Key=KEY)
    assert bucket.keys() == []
    assert sorted(versions(bucket)) == [b"a cat", b"the burglar's face"]


def test_without_versioning_an_object_that_a_thief_overwrites_is_gone(bucket: Bucket) -> None:
    sink = sink_for(writer(bucket))
    put(sink, KEY, b"the burglar's face")
    put(sink, KEY, b"a cat")
    assert bucket.objects() == {KEY: b"a cat"} and len(versions(bucket)) == 1


@pytest.mark.parametrize("bypass", [False, True])
@pytest.mark.parametrize("whose", ["writer", "owner"])
def test_nobody_can_delete_a_locked_version_before_its_time(
    locked: Bucket, whose: str, bypass: bool
) -> None:
    put(sink_for(writer(locked)), KEY, b"kept")
    version = only_version(locked)
    client = locked.client if whose == "owner" else client_of(writer(locked))
    extra = {"BypassGovernanceRetention": True} if bypass else {}
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=locked.name, Key=KEY, VersionId=version, **extra)
    assert versions(locked) == [b"kept"]


def test_nobody_can_remove_the_retention_the_versioning_or_the_bucket(locked: Bucket) -> None:
    put(sink_for(writer(locked)), KEY, b"kept")
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("put_object_retention", {"Key": KEY, "VersionId": only_version(locked),
                                  "Retention": {"Mode": "COMPLIANCE", "RetainUntilDate": soon}}),
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}),
        ("delete_bucket", {}),
    ]  # fmt: skip
    for name, words in attempts:
        with pytest.raises(ClientError):
            getattr(locked.client, name)(Bucket=locked.name, **words)
    assert versions(locked) == [b"kept"]


def test_every_picture_is_locked_for_as_long_as_the_document_says(locked: Bucket) -> None:
    put(sink_for(writer(locked)), KEY)
    rule = shown("put-object-lock-configuration")["ObjectLockConfiguration"]["Rule"]
    retention = locked.client.get_object_retention(Bucket=locked.name, Key=KEY)["Retention"]
    assert retention["Mode"] == rule["DefaultRetention"]["Mode"]
    left = retention["RetainUntilDate"] - datetime.datetime.now(datetime.UTC)
    assert abs(left.total_seconds() / 86_400 - rule["DefaultRetention"]["Days"]) < 0.1


@pytest.mark.parametrize("kind", ["versioned", "locked"])
def test_the_mirror_uploads_to_a_bucket_with_versioning_or_object_lock(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    bucket: Bucket = request.getfixturevalue(kind)
    world = World(tmp_path / "world", bucket.environ)
    event_id = world.event(started=time.time() - 60)
    child = Child(world)
    try:
        until(lambda: len(world.lines(".s3_uploaded_events")) == 1)
        assert child.end() == 0
    finally:
        child.kill()
    (key,) = bucket.keys()
    assert versions(bucket, key) == [world.pictures[event_id]]
    sink = sink_for(bucket.environ)
    assert [stored.key for stored in sink.list("")] == [key]


@pytest.mark.parametrize("kind", ["versioned", "locked"])
def test_check_notes_that_the_key_can_delete_even_if_a_delete_only_hides_the_object(
    request: pytest.FixtureRequest, kind: str
) -> None:
    bucket: Bucket = request.getfixturevalue(kind)
    loaded = settings.load(bucket.environ).s3
    finding = checks_bucket.deletion(S3Sink(loaded, bucket.environ, attempts=1), loaded)
    assert finding.grade == NOTE and "can delete" in finding.what
    assert len(versions(bucket, checks_bucket.BAIT_NAME)) == 1
