"""Nobody gets in. Secrets stay where the owner has put them, and the key can do what the README
grants and nothing else. Processes and pipe are real. A SeaweedFS enforces the README's policy."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import math
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import hypothesis
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.checks import bucket as checks_bucket
from frigate_mirror.checks.finding import NOTE, OK
from frigate_mirror.frigate.events import event_of
from frigate_mirror.frigate.snapshots import Snapshots
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger.repair import open_ledger
from frigate_mirror.ledger.rows import Counts, Priority, Settled
from frigate_mirror.ledger.statefiles import StateFile
from frigate_mirror.report import status
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import S3Settings
from frigate_mirror.sinks.s3.codes import CODES, classify
from frigate_mirror.sinks.sink import Misconfigured, Rejected, SinkError, Unavailable
from s3 import S3Sink
from tests.rig import ROOT
from tests.rig.compose import TOOLS, House
from tests.rig.s3_sink import environ_for, failure_of, put, sink_for
from tests.rig.servers import Bucket, SeaweedFS, identities
from tests.rig.sinks import MemorySink
from tests.rig.stub import LISTING, Reply, Stub, error
from tests.rig.waiting import until
from tests.rig.worlds import NOW, Child, World, command

README = (ROOT / "README.md").read_text()
POLICY = re.search(r"```json\n(.*?)```", README, re.DOTALL)[1]  # type: ignore[index]
BUCKET = re.search(r"arn:aws:s3:::([a-z-]+)\"", POLICY)[1]  # type: ignore[index]
# Words that occur nowhere else, with characters that some programs escape.
ACCESS, SECRET = "NEEDLEACCESS7QKXW", "needle/secret+7Q=kXw/hay&stack"
TOKEN = "needle/token+7Q=kXw/session"
LOOSE_ACCESS, LOOSE_SECRET = "LOOSEACCESS7QKXW", "loose/secret+7Q=kXw"
BAIT = ".s3-mirror-check-delete"
OPTIONAL = ["label", "sub_label", "end_time", "top_score", "zones", "has_snapshot", "data"]

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")


def shapes_of(word: str) -> set[bytes]:
    """Returns a word as a file may contain it: plain, escaped for a URL or JSON, in base64."""
    shapes = {word, quote(word, safe=""), quote(word), json.dumps(word)[1:-1]}
    return {shape.encode() for shape in shapes} | {base64.b64encode(word.encode())}


NEEDLES = {shape for word in (ACCESS, SECRET, TOKEN) for shape in shapes_of(word)}


def needles_in(data: bytes | str) -> list[bytes]:
    raw = data.encode() if isinstance(data, str) else data
    return [needle for needle in NEEDLES if needle in raw]


# -- a bucket that is guarded by exactly the README's policy


def with_keys_of_the_mirror() -> dict[str, Any]:
    """Returns the owner's key, a key with the README's policy, and one that may write and list."""
    config = identities()
    for name, access, secret, rights in (
        ("mirror", ACCESS, SECRET, {"policyNames": ["readme"]}),
        ("loose", LOOSE_ACCESS, LOOSE_SECRET, {"actions": ["Write", "List"]}),
    ):
        keys = [{"accessKey": access, "secretKey": secret}]
        config["identities"].append({"name": name, "credentials": keys, **rights})
    return config | {"policies": [{"name": "readme", "content": POLICY}]}


@pytest.fixture(scope="module")
def server() -> Iterator[SeaweedFS]:
    running = SeaweedFS(with_keys_of_the_mirror())
    running.client.create_bucket(Bucket=BUCKET)
    yield running
    running.stop()


@pytest.fixture
def guarded(server: SeaweedFS) -> Bucket:
    """The bucket of the README, empty. Its `client` has the key of the owner."""
    bucket = Bucket(BUCKET, server.endpoint, server.client, server.ca_bundle)
    left = bucket.keys()
    for key in left:
        bucket.client.delete_object(Bucket=BUCKET, Key=key)
    return bucket


@pytest.fixture
def world(tmp_path: Path, guarded: Bucket) -> World:
    given = guarded.environ | {"S3_ACCESS_KEY": ACCESS, "S3_SECRET_KEY": SECRET}
    return World(tmp_path / "world", given)


def mirror_client(server: SeaweedFS) -> Any:
    """Returns the client that a thief can make with the mirror's key."""
    session = boto3.Session(aws_access_key_id=ACCESS, aws_secret_access_key=SECRET)
    config = Config(s3={"addressing_style": "path"})
    place = {"endpoint_url": server.endpoint, "verify": server.ca_bundle}
    return session.client("s3", region_name="us-east-1", config=config, **place)


# -- places that could contain secrets


class CommandLines:
    """Collects the command lines of all processes of this machine every tenth of a second."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes())


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything_in(bucket: Bucket) -> str:
    """Returns every object with its headers, metadata, tags and owner as one text."""
    listed = bucket.client.list_objects_v2(Bucket=bucket.name, FetchOwner=True)
    contents: list[Any] = [listed]
    for key in [entry["Key"] for entry in listed["Contents"]]:
        tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
        contents += [key, bucket.head(key), tags, bucket.get(key)]
    return repr(contents)


def ours(world: World) -> list[Path]:
    """Returns every file and folder that the mirror has made, except the pictures that it holds."""
    tops = [world.state, *world.cache.glob(".s3*")]
    below = [path for top in tops if top.is_dir() for path in top.rglob("*")]
    return [path for path in [*tops, *below] if path.parent.name != ".s3_spool"]


def assert_for_the_owner_only(world: World) -> None:
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in ours(world)}
    wanted = {str(path): 0o700 if path.is_dir() else 0o600 for path in ours(world)}
    assert modes == wanted


@contextlib.contextmanager
def the_most_careless_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def in_environment(folder: Path) -> dict[str, str]:
    return {"S3_ACCESS_KEY": ACCESS, "S3_SECRET_KEY": SECRET}


def in_named_files(folder: Path) -> dict[str, str]:
    (folder / "a").write_text(f"{ACCESS}\n")
    (folder / "s").write_text(f"{SECRET}\n")
    return {"S3_ACCESS_KEY_FILE": str(folder / "a"), "S3_SECRET_KEY_FILE": str(folder / "s")}


def in_credentials_directory(folder: Path) -> dict[str, str]:
    (folder / "S3_ACCESS_KEY").write_text(ACCESS)
    (folder / "S3_SECRET_KEY").write_text(SECRET)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


WAYS = [in_environment, in_named_files, in_credentials_directory]


def keyed(world: World, way: Callable[[Path], dict[str, str]]) -> World:
    """Gives the world its key in that way, from a folder outside of the world."""
    folder = world.folder.parent / "key"
    folder.mkdir()
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY"):
        del world.environ[name]
    world.environ |= way(folder) | {"MIRROR_LOG_LEVEL": "DEBUG", "S3_OBJECT_TAGS": ""}
    return world


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_is_in_anything_that_a_successful_run_leaves(
    world: World, guarded: Bucket, way: Callable[[Path], dict[str, str]]
) -> None:
    keyed(world, way)
    world.event(started=time.time() - 60, picture=False)
    world.event(started=time.time() - 60)
    with CommandLines() as lines, the_most_careless_umask():
        child = Child(world)
        try:
            until(lambda: len(world.lines(".s3_uploaded_events")) == 1 and world.status())
            child.offer(world.event(started=time.time()))
            until(lambda: len(world.lines(".s3_uploaded_events")) == 2)
            checked = command(world, "check", "--prove-no-delete")
            assert checked.returncode == 0, checked
            assert child.end() == 0
        finally:
            child.kill()
    assert "S3 upload" in child.log
    assert any(b"s3_snapshot_mirror.py\0run" in line for line in lines.seen)
    assert any(b"s3_snapshot_mirror.py\0check" in line for line in lines.seen)
    contents = everything_under(world.folder)
    assert {"ledger.db", ".s3_status.json", ".s3_uploaded_events"} <= {
        Path(n).name for n in contents
    }
    contents |= {"bucket": everything_in(guarded).encode(), "command lines": b"".join(lines.seen)}
    contents |= {"check": (checked.stdout + checked.stderr).encode()}
    assert len(guarded.keys()) == 4
    assert {name: needles for name, data in contents.items() if (needles := needles_in(data))} == {}
    # Other programs may sign requests too, so only our command lines are searched for signatures.
    contents["command lines"] = b"".join(
        line for line in lines.seen if b"s3_snapshot_mirror" in line
    )
    assert not [name for name, data in contents.items() if b"Signature=" in data]
    assert_for_the_owner_only(world)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_printing_the_settings_shows_a_secret(
    world: World, way: Callable[[Path], dict[str, str]]
) -> None:
    loaded = settings.load(keyed(world, way).environ | {"S3_SESSION_TOKEN": TOKEN})
    assert loaded.s3.secret_key.reveal() == SECRET
    whole = dataclasses.asdict(loaded)
    shown = [repr(loaded), str(loaded), f"{loaded}", repr(whole), f"{loaded.s3.secret_key!s}"]
    assert needles_in(" ".join([*shown, *(str(part) for part in whole.values())])) == []


# -- failures, because error messages may contain secrets


@dataclass
class Failing:
    """The settings that make a run fail, and the word that its log then contains."""

    environ: dict[str, str]
    word: str


@pytest.fixture
def failing(request: pytest.FixtureRequest, stub: Stub, server: SeaweedFS) -> Failing:
    echo = f"{ACCESS} {SECRET} {TOKEN}"
    details = {"StringToSign": echo, "AWSAccessKeyId": ACCESS, "CanonicalRequest": echo}
    there = {"S3_ENDPOINT_URL": stub.endpoint, "S3_CA_BUNDLE": "", "S3_SESSION_TOKEN": TOKEN}
    if request.param == "wrong secret":
        return Failing({"S3_SECRET_KEY": f"{SECRET}x"}, "SignatureDoesNotMatch")
    if request.param == "unknown token":
        return Failing({"S3_SESSION_TOKEN": TOKEN}, "InvalidAccessKeyId")
    if request.param == "refused":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{free.getsockname()[1]}"
        return Failing(there | {"S3_ENDPOINT_URL": address}, "Connection refused")
    if request.param == "untrusted":
        return Failing({"S3_CA_BUNDLE": ""}, "CertificateVerifyFailed")
    if request.param == "redirect":
        elsewhere = {"Location": f"http://{quote(SECRET, safe='')}.invalid/?{quote(echo)}"}
        stub.default = Reply(307, error(307, "TemporaryRedirect", echo).body, elsewhere)
        return Failing(there, "TemporaryRedirect")
    stub.default = error(403, "SignatureDoesNotMatch", echo, **details)
    return Failing(there, "SignatureDoesNotMatch")


def output_of_the_check(world: World) -> Iterator[str]:
    loaded = world.settings().s3
    sink = S3Sink(loaded, world.environ, attempts=1)
    yield str(checks_bucket.credentials(loaded))
    yield from map(str, checks_bucket.bucket(sink, loaded, put=True))
    yield str(checks_bucket.deletion(sink, loaded))


@pytest.mark.parametrize(
    "failing",
    ["wrong secret", "unknown token", "refused", "untrusted", "redirect", "echo"],
    indirect=True,
)
def test_no_secret_is_in_anything_that_a_failing_run_prints_or_leaves(
    world: World, failing: Failing
) -> None:
    world.environ |= {"MIRROR_LOG_LEVEL": "DEBUG", "MIRROR_DRAIN_SECONDS": "0"} | failing.environ
    for n in range(2):
        world.event(started=time.time() - 60 - n)
    with CommandLines() as lines, the_most_careless_umask():
        child = Child(world)
        try:
            child.says("S3 service lost")
            until(lambda: "put off" in child.log)
            printed = "\n".join(output_of_the_check(world))
            assert child.end() == 0
        finally:
            child.kill()
    assert "FAULT" in printed and "unproven" in printed
    assert failing.word in child.log and failing.word in printed
    printed += status.report(status.read(world.cache / ".s3_status.json"), time.time())
    assert "last error" in printed
    assert any((world.cache / ".s3_spool").iterdir())
    contents = everything_under(world.folder) | {"check": printed.encode()}
    contents |= {"command lines": b"".join(lines.seen)}
    assert {name: needles for name, data in contents.items() if (needles := needles_in(data))} == {}
    assert_for_the_owner_only(world)


def test_a_redirect_sends_no_request_and_no_signature_to_another_host(stub: Stub) -> None:
    thief = Stub()
    try:
        for status, code in ((301, "PermanentRedirect"), (307, "TemporaryRedirect"), (302, "Found"),
                             (308, "Moved"), (400, "AuthorizationHeaderMalformed")):  # fmt: skip
            where = thief.endpoint.removeprefix("http://")
            stub.default = error(status, code, Endpoint=where, Region="eu-west-7")
            stub.default.headers["Location"] = f"{thief.endpoint}/bkt/k"
            stub.default.headers["x-amz-bucket-region"] = "eu-west-7"
            sink = sink_for(environ_for(stub.endpoint))
            for attempt in (lambda: put(sink), sink.check, lambda: list(sink.list(""))):  # noqa: B023
                failure_of(attempt)
        assert thief.seen == [] and len(stub.seen) >= 15
    finally:
        thief.stop()


def test_the_secret_itself_never_goes_over_the_wire(stub: Stub) -> None:
    sink = sink_for(environ_for(stub.endpoint, S3_ACCESS_KEY=ACCESS, S3_SECRET_KEY=SECRET))
    put(sink)
    sink.check()
    assert len(stub.seen) == 2
    sent = repr([(request.path, request.headers, request.body) for request in stub.seen]).encode()
    assert not [shape for shape in shapes_of(SECRET) if shape in sent]


# -- the setup script


def watched(house: House) -> House:
    """Makes each tool that the script may call note its command line first."""
    for tool in TOOLS:
        real = shutil.which(tool)
        (house.bin / tool).unlink()
        house.stub(tool, f'printf "%s\\n" "$0 $*" >>"$NOTES/lines"\nexec {real} "$@"\n')
    return house


def test_the_setup_script_writes_secrets_to_the_env_file_only(tmp_path: Path) -> None:
    house = watched(House(tmp_path))
    keys = {"S3_ACCESS_KEY": ACCESS, "S3_SECRET_KEY": SECRET, "S3_SESSION_TOKEN": TOKEN}
    with CommandLines() as lines, the_most_careless_umask():
        runs = [house.setup("--dry-run", S3_BUCKET="cams", **keys)]
        for name, more in (("cams", {}), ("other", {}), ("third", {"NO_PYTHON": "1"})):
            runs.append(house.setup("--yes", "--no-try", S3_BUCKET=name, **keys, **more))
    assert [run.returncode for run in runs] == [0, 0, 0, 0], runs
    assert needles_in(house.env.read_bytes()) != []
    for path in (house.env, house.project / ".env.before-s3-mirror"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "S3_SECRET_KEY:" in house.override.read_text()
    noted = (house.notes / "lines").read_bytes()
    assert b"mktemp" in noted and b"sed" in noted
    texts = [run.stdout + run.stderr for run in runs] + [house.override.read_text(), house.calls()]
    assert needles_in("".join(texts)) == []
    assert needles_in(b"".join([noted, *lines.seen])) == []


# -- a process that can write beside the pictures


def test_a_forged_line_keeps_no_picture_from_the_bucket_while_the_ledger_exists(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "world")
    world.state.mkdir(parents=True)
    path = world.state / "ledger.db"
    uploaded = StateFile(tmp_path / "uploaded", with_errors=False)
    failed = StateFile(tmp_path / "failed", with_errors=True)
    with contextlib.closing(open_ledger(path, uploaded, failed)) as ledger:
        ledger.add(world.artifact(), Priority.LIVE, NOW)
    other = world.artifact("1705328970.500000-forged")
    uploaded.append([Settled(NOW, other.id, other.key, 0, "")])
    assert [entry.id for entry in uploaded.read()] == [other.id]
    with contextlib.closing(open_ledger(path, uploaded, failed)) as ledger:
        assert ledger.counts() == Counts(pending=1)


# -- the rights of the key


def test_the_policy_of_the_readme_lets_the_mirror_upload_check_and_rebuild(
    world: World, guarded: Bucket
) -> None:
    ids = [world.event(started=time.time() - 60 - n) for n in range(3)]
    child = Child(world)
    try:
        until(lambda: len(guarded.keys()) == 3 and world.status())
        assert child.end() == 0
    finally:
        child.kill()
    assert sorted(guarded.objects().values()) == sorted(
        world.pictures[event_id] for event_id in ids
    )
    for path in (*world.state.glob("ledger*"), *world.cache.glob(".s3_*_events")):
        path.unlink()
    ended = command(world, "rebuild")
    assert ended.returncode == 0 and "3 file(s) of the bucket are new" in ended.stdout, ended
    ended = command(world, "check")
    assert ended.returncode == 0 and "right to put: proven" in ended.stdout, ended


MISDEEDS: list[tuple[str, dict[str, Any]]] = [
    ("get_object", {"Key": "a"}),
    ("head_object", {"Key": "a"}),
    ("get_object_tagging", {"Key": "a"}),
    ("delete_object", {"Key": "a"}),
    ("copy_object", {"Key": "b", "CopySource": f"{BUCKET}/a"}),
    ("put_object_acl", {"Key": "a", "ACL": "public-read"}),
    ("put_object_tagging", {"Key": "a", "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}),
    ("list_object_versions", {}),
    ("delete_bucket", {}),
    ("put_bucket_policy", {"Policy": POLICY}),
    ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}),
    ("put_bucket_lifecycle_configuration", {"LifecycleConfiguration": {"Rules": [
        {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}}),
]  # fmt: skip


@pytest.mark.parametrize(("misdeed", "words"), MISDEEDS)
def test_the_server_refuses_what_the_policy_does_not_grant(
    server: SeaweedFS, guarded: Bucket, misdeed: str, words: dict[str, Any]
) -> None:
    guarded.client.put_object(Bucket=BUCKET, Key="a", Body=b"kept")
    with pytest.raises(ClientError) as caught:
        getattr(mirror_client(server), misdeed)(Bucket=BUCKET, **words)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert guarded.objects() == {"a": b"kept"}


def test_the_key_can_neither_delete_in_bulk_nor_reach_another_bucket(
    server: SeaweedFS, guarded: Bucket
) -> None:
    guarded.client.put_object(Bucket=BUCKET, Key="a", Body=b"kept")
    client, other = mirror_client(server), server.bucket()
    answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"}]})
    assert [refusal["Code"] for refusal in answer["Errors"]] == ["AccessDenied"]
    attempts = (
        lambda: client.put_object(Bucket=other.name, Key="a", Body=b""),
        lambda: client.list_objects_v2(Bucket=other.name),
        lambda: client.create_bucket(Bucket="one-more"),
    )
    for attempt in attempts:
        with pytest.raises(ClientError, match="AccessDenied"):
            attempt()
    assert guarded.objects() == {"a": b"kept"} and other.keys() == []


# -- the proof that the key cannot delete


def loaded(**other: str) -> S3Settings:
    return settings.load({"S3_BUCKET": "pictures"} | other).s3


def test_check_proves_that_the_key_of_the_readme_cannot_delete(
    world: World, guarded: Bucket
) -> None:
    guarded.client.put_object(Bucket=BUCKET, Key="p/a.jpg", Body=b"kept")
    ended = command(world, "check", "--prove-no-delete", S3_PATH_PREFIX="p")
    assert ended.returncode == 0, ended.stdout
    assert (
        f"ok     the key cannot delete: the service refused it for the object p/{BAIT}, which stays"
        in ended.stdout
    )
    assert sorted(guarded.keys()) == ["p/.s3-mirror-check", f"p/{BAIT}", "p/a.jpg"]


def test_check_notes_a_key_that_can_delete_and_deletes_only_its_own_object(
    world: World, guarded: Bucket
) -> None:
    # In SeaweedFS the right Write includes deleting.
    for key in ("a.jpg", f"{BAIT}.jpg", f"{BAIT}/a"):
        guarded.client.put_object(Bucket=BUCKET, Key=f"p/{key}", Body=b"kept")
    world.environ |= {"S3_ACCESS_KEY": LOOSE_ACCESS, "S3_SECRET_KEY": LOOSE_SECRET}
    ended = command(world, "check", "--prove-no-delete", S3_PATH_PREFIX="p")
    assert ended.returncode == checks_bucket.EX_CAN_DELETE == 2, ended.stdout
    assert "note   the key can delete: a thief with it can empty the bucket" in ended.stdout
    assert f"-> remove s3:DeleteObject from its rights (it deleted p/{BAIT}," in ended.stdout
    kept = {"p/.s3-mirror-check", "p/a.jpg", f"p/{BAIT}.jpg", f"p/{BAIT}/a"}
    assert set(guarded.keys()) == kept


def test_check_deletes_nothing_without_the_option(world: World, guarded: Bucket) -> None:
    world.environ |= {"S3_ACCESS_KEY": LOOSE_ACCESS, "S3_SECRET_KEY": LOOSE_SECRET}
    ended = command(world, "check")
    assert guarded.keys() == [".s3-mirror-check"]
    assert "can delete" not in ended.stdout and "cannot delete" not in ended.stdout


def test_the_option_for_the_proof_needs_a_put(world: World) -> None:
    assert command(world, "check", "--no-put", "--prove-no-delete").returncode == 64


@pytest.mark.parametrize(
    ("deletable", "grade", "words", "code"),
    [
        (True, NOTE, "the key can delete", 2),
        (False, OK, "the key cannot delete", 0),
        (None, NOTE, "unproven: the bucket agreed to delete", 3),
    ],
)
@pytest.mark.parametrize(("prefix", "bait"), [("", BAIT), ("a/b", f"a/b/{BAIT}")])
def test_the_proof_tries_to_delete_only_the_object_that_it_has_put(
    deletable: bool | None, grade: str, words: str, code: int, prefix: str, bait: str
) -> None:
    sink = MemorySink()
    sink.deletable = deletable
    sink.objects = {"a/b/picture.jpg": b"kept"}
    finding = checks_bucket.deletion(sink, loaded(S3_PATH_PREFIX=prefix))
    assert (finding.grade, finding.code) == (grade, code) and words in finding.what
    assert (sink.puts, sink.deletes) == ([bait], [bait])
    assert sink.objects["a/b/picture.jpg"] == b"kept"


def test_the_proof_tries_and_claims_nothing_if_its_object_cannot_be_put() -> None:
    sink = MemorySink()
    sink.failures = [Misconfigured("put: AccessDenied", code="AccessDenied", hint="allow it")]
    finding = checks_bucket.deletion(sink, loaded())
    assert (finding.grade, finding.advice, finding.code) == (NOTE, "allow it", 3)
    assert sink.deletes == []
    assert finding.what == "right to delete: unproven: put: AccessDenied"


class Deleting(Stub):
    """A stub that also answers requests to delete."""

    def _handler(stub) -> Any:
        handler: Any = super()._handler()
        handler.do_DELETE = handler.do_PUT
        return handler


@pytest.fixture
def deleting() -> Iterator[Deleting]:
    running = Deleting()
    yield running
    running.stop()


LISTED = LISTING.replace(
    b"<KeyCount>", b"<Contents><Key>%s</Key><Size>1</Size><LastModified>2024-01-15T00:00:00Z"
    b"</LastModified></Contents><KeyCount>" % b"k",
)  # fmt: skip


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([Reply(204), Reply(200, LISTING)], True),
        ([Reply(204), Reply(200, LISTED)], None),
        ([Reply(200, b""), Reply(200, LISTED.replace(b">k<", b">kk<"))], True),
        ([error(403, "AccessDenied")], False),
        ([error(403, "AccessForbidden")], False),
    ],
)
def test_only_the_services_own_error_code_or_the_listing_is_a_proof(
    deleting: Deleting, replies: list[Reply], expected: bool | None
) -> None:
    deleting.replies.extend(replies)
    assert sink_for(environ_for(deleting.endpoint)).may_delete("k") is expected
    assert [request.method for request in deleting.seen] == ["DELETE", "GET"][: len(replies)]
    assert deleting.seen[0].path == "/bkt/k"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(403, b"<html>this firewall forbids DELETE</html>"),
        error(403, "SignatureDoesNotMatch"),
        error(403, "RequestTimeTooSkewed"),
        error(403, "Unheard"),
        error(405, "MethodNotAllowed"),
        error(404, "NoSuchBucket"),
        error(503, "SlowDown"),
        Reply(302, b"<html>log in</html>", {"Location": "http://login.invalid/"}),
    ],
)
def test_any_other_refusal_to_delete_is_no_proof(deleting: Deleting, reply: Reply) -> None:
    deleting.default = reply
    failure_of(lambda: sink_for(environ_for(deleting.endpoint)).may_delete("k"))


# -- the libraries


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "requirements").glob("*.lock"))
)
def test_every_requirement_has_one_version_and_its_hashes_and_no_source_of_its_own(
    name: str,
) -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "requirements" / name).read_text())
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    assert lines
    for line in lines:
        head, *hashes = re.split(r"\s+--hash=", line.partition(" #")[0].strip())
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+( *;.*)?", head), line
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), (
            line
        )


def test_nothing_is_installed_without_its_hash() -> None:
    places = [ROOT / "Makefile", *ROOT.glob("*.sh"), *(ROOT / "demo").glob("*.sh")]
    installs = [
        line
        for path in places
        for line in re.sub(r"\\\n", " ", path.read_text()).splitlines()
        if re.search(r"\bpip3? +install\b|\beasy_install\b|\bpipx?\b.* run\b", line)
    ]
    assert len(installs) == 7
    modules = [path for path in ROOT.glob("frigate*/**/*.py") if '"pip"' in path.read_text()]
    assert [path.name for path in modules] == ["libraries.py"]
    installs += [path.read_text() for path in modules]
    [own] = [line for line in installs if "--require-hashes" not in line]
    assert own.endswith("--no-deps --no-build-isolation --force-reinstall . ./plugins/homesec")


# -- any answer of the service

unhurried = hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
REJECTING = {code for code, (kind, _) in CODES.items() if kind is Rejected}
codes = st.sampled_from(sorted(CODES)) | st.text(max_size=30)
statuses = st.integers(100, 599) | st.sampled_from([200, 204, 301, 307, 400, 403, 404, 413, 503])


def assert_no_picture_is_given_up(kind: type[SinkError], code: str, status: int | None) -> None:
    assert kind in (Unavailable, Misconfigured, Rejected)
    assert kind is not Rejected or code in REJECTING or status == 413


@given(codes, st.none() | st.integers())
def test_every_error_code_has_a_kind_and_an_unknown_one_gives_no_picture_up(
    code: str, status: int | None
) -> None:
    kind, hint = classify(code, status)
    assert_no_picture_is_given_up(kind, code, status)
    assert hint.format(rights="x", region="y", proxy="z").isprintable()


def xml_of(code: str, message: str, region: str) -> bytes:
    inner = f"<Code>{code}</Code><Message>{message}</Message><Region>{region}</Region>"
    return f'<?xml version="1.0" encoding="UTF-8"?><Error>{inner}</Error>'.encode(errors="replace")


DAMAGES = [
    (b"2024", b"x"), (b"<Size>1", b"<Size>x"), (b"<Size>1</Size>", b""), (b"<Key>k</Key>", b""),
    (b"LastModified", b"Modified"), (b"false", b"perhaps"), (b"<IsTruncated>", b"<Is>"),
]  # fmt: skip
bodies = (
    st.binary(max_size=200)
    | st.builds(xml_of, codes, st.text(max_size=50), st.text(max_size=20))
    | st.sampled_from(
        [LISTING, LISTED, LISTED[:-20], *(LISTED.replace(*damage) for damage in DAMAGES)]
    )
)
headers = st.dictionaries(
    st.sampled_from(["etag", "date", "content-type", "location", "x-amz-bucket-region",
                     "x-amz-request-id", "content-length", "retry-after", "x-amz-error-code"]),
    st.text(st.characters(max_codepoint=255), max_size=30), max_size=4,
)  # fmt: skip


class Raw(io.BytesIO):
    """A body as botocore reads it from the connection."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.getvalue()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_listing_with_a_damaged_entry_is_refused(
    stub: Stub, shared: S3Sink, damage: tuple[bytes, bytes]
) -> None:
    stub.default = Reply(200, LISTED.replace(*damage))
    if damage[1] == b"perhaps":  # botocore takes any text but "true" for false
        assert len(list(shared.list(""))) == 1
    else:
        assert type(failure_of(lambda: list(shared.list("")))) is Unavailable


@pytest.mark.usefixtures("over_boto3")
@unhurried
@given(st.lists(st.tuples(statuses, headers, bodies), min_size=1, max_size=3))
def test_any_answer_at_all_is_a_success_or_a_sink_error(
    shared: S3Sink, monkeypatch: pytest.MonkeyPatch, answers: list[tuple[int, Any, bytes]]
) -> None:
    given: list[tuple[int, Any, bytes]] = []

    def send(_: object, request: Any) -> AWSResponse:
        given.append(answers[min(len(given), len(answers) - 1)])
        status, fields, body = given[-1]
        return AWSResponse(request.url, status, HeadersDict(fields), Raw(body))

    monkeypatch.setattr(URLLib3Session, "send", send)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: put(shared), shared.check, lambda: list(shared.list("p/")),
        lambda: shared.may_delete("k"),
    )  # fmt: skip
    for attempt in attempts:
        given.clear()
        try:
            attempt()
        except SinkError as caught:
            assert_no_picture_is_given_up(type(caught), caught.code, given[-1][0])
            assert str(caught).isprintable() and len(str(caught)) < 900


texts = st.text(max_size=20)
values = st.none() | st.integers() | st.floats() | texts | st.binary(max_size=20)
rows = st.fixed_dictionaries(
    {"id": texts, "camera": texts, "start_time": st.sampled_from([math.inf, "inf", 1]) | values},
    optional={name: values | st.integers(10**300, 10**400) for name in OPTIONAL},
)


@given(rows | st.dictionaries(st.sampled_from(["id", "camera", "start_time"]), values))
def test_any_row_of_frigates_table_is_a_valid_event_or_none(row: dict[str, Any]) -> None:
    event = event_of(row)
    if event is not None:
        assert isinstance(event.id, str) and isinstance(event.camera, str)
        assert math.isfinite(event.started)
        assert Snapshots(Path("/"), KeyCodec("")).is_final(event) in (True, False)
