"""`check`: looks at everything that the mirror needs, and prints every fault with advice.

It changes nothing but one tiny object under the prefix, which proves the right to put, and the
mirror's own folders, which it makes where they are missing. On request it tries whether the key can
delete, with a second tiny object that it uploads for this purpose.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.catalog import CatalogError
from frigate_mirror.commands.loading import EX_OK, load, with_bucket
from frigate_mirror.commands.terminal import fit
from frigate_mirror.frigate import config
from frigate_mirror.frigate.database import Event, FrigateDatabase
from frigate_mirror.frigate.snapshots import Snapshots
from frigate_mirror.keys import KeyCodec, KeyFault
from frigate_mirror.ledger import folders
from frigate_mirror.ledger.lock import holder, is_locked
from frigate_mirror.report import status
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import (
    LEDGER_NAME,
    LOCK_NAME,
    VARIABLES,
    FrigateSettings,
    S3Settings,
    Settings,
    SettingsError,
    StateSettings,
)
from frigate_mirror.sinks.sink import Prober, Sink, SinkError

FRIGATE_SOURCE = Path("/opt/frigate")
PROBE_NAME, BAIT_NAME = ".s3-mirror-check", ".s3-mirror-check-delete"
SKEW_REMARK, SKEW_FAULT = 60.0, 900.0  # seconds; S3 refuses a request from 15 minutes on
WEEK, SOME = 7 * 86_400.0, 20  # the events whose snapshots are looked at
NEEDED = (
    "Frigate's configuration needs `snapshots: enabled: true` and `detect: enabled: true`, for all "
    "cameras or for each"
)
OK, NOTE, FAULT = "ok", "note", "FAULT"
EX_FAULT, EX_CAN_DELETE, EX_UNPROVEN = 1, 2, 3
OURS = ("S3_", "MIRROR_")  # how our variables begin; FRIGATE_ also begins Frigate's own
INTERNAL = ("S3_MIRROR_INIT", "S3_MIRROR_FRIGATE", "S3_MIRROR_PARENT")  # not settings


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bucket-only", action="store_true", help="check nothing of Frigate")
    tries = parser.add_mutually_exclusive_group()
    tries.add_argument("--no-put", action="store_true", help="do not upload a test object")
    tries.add_argument(
        "--prove-no-delete",
        action="store_true",
        help="upload a test object and try to delete it; then the exit code is "
        f"{EX_CAN_DELETE} if the key can delete, and {EX_UNPROVEN} if nobody can tell",
    )


def main(arguments: argparse.Namespace) -> int:
    return tell(_findings(arguments), lambda finding: print(fit(finding, 10)))


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `grade` is ok, note or FAULT; `advice` says what the owner can do;
    `code` is the exit code of `check` that only this finding leads to."""

    grade: str
    what: str
    advice: str = ""
    code: int = EX_OK

    def __str__(self) -> str:
        head = f"{self.grade:<6} {self.what}"
        return f"{head}\n       -> {self.advice}" if self.advice else head


def tell(findings: Iterator[Finding], say: Callable[[str], None]) -> int:
    """Says each finding as soon as it is made; returns the exit code."""
    faults, code = 0, EX_OK
    for finding in findings:
        say(str(finding))
        faults += finding.grade == FAULT
        code = code or finding.code
    say(f"{faults} fault(s)" if faults else "no fault found")
    return code or (EX_FAULT if faults else EX_OK)


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield from misspelt(os.environ)
    try:
        loaded = with_bucket(settings.load(os.environ)) if arguments.bucket_only else load()
    except SettingsError as error:
        for fault in error.faults:
            yield Finding(FAULT, f"setting {fault}")
        return
    yield Finding(OK, "settings: all of them are valid")
    if not loaded.process.enabled:
        yield Finding(NOTE, "MIRROR_ENABLED is false", "the hook stays off")
    if not arguments.bucket_only:
        from frigate_s3_patcher import SEAM

        yield frigate(status.read(loaded.state.status_path), FRIGATE_SOURCE, SEAM)
        yield from cameras(config.API)
        yield from paths(loaded)
        yield from events(loaded.frigate, time.time())
    yield credentials(loaded.s3)
    try:
        from s3 import S3Sink
    except ImportError as error:
        advice = "run setup_s3_mirror.sh again, it installs what is missing"
        yield Finding(FAULT, f"Failed to import S3 modules: {error}", advice)
        return
    sink = S3Sink(loaded.s3, os.environ)
    yield from bucket(sink, loaded.s3, put=not arguments.no_put)
    if arguments.prove_no_delete:
        yield deletion(sink, loaded.s3)


def misspelt(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Finds variables that look like a setting and are none."""
    known = {name: new for variable in VARIABLES.values() for name, new in variable.sources.items()}
    known |= {name: name for name in INTERNAL}
    for name in sorted(environ):
        if name.startswith(OURS) and name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.8)
            advice = f"did you mean {known[near[0]]}?" if near else "no setting has this name"
            yield Finding(NOTE, f"{name} is set, but is not a setting", advice)


def credentials(s3: S3Settings) -> Finding:
    """Says where the key comes from, and never the key."""
    if s3.access_key:
        kind = "temporary key" if s3.session_token else "key"
        return Finding(OK, f"credentials: {kind} from S3_ACCESS_KEY and S3_SECRET_KEY")
    return Finding(OK, "credentials: none set, so the standard AWS chain gives them")


def paths(loaded: Settings) -> Iterator[Finding]:
    """Looks at Frigate's database and clips folder, and at the mirror's own folders."""
    database, clips = loaded.frigate.db_path, loaded.frigate.clips_dir
    try:
        FrigateDatabase(database).subjects(["0-check"])
        yield Finding(OK, f"Frigate's database {database} can be read")
    except CatalogError as error:
        yield Finding(
            FAULT, str(error), "run this inside Frigate's container, or set FRIGATE_DB_PATH"
        )
    yield _writable(loaded.state.folder, "ledger")
    yield from _ledgers(loaded.state)
    if not clips.is_dir():
        advice = "run this inside Frigate's container, or set FRIGATE_CLIPS_DIR"
        yield Finding(FAULT, f"no folder {clips}", advice)
        return
    yield Finding(OK, f"Frigate's clips folder {clips} is there")
    yield _writable(loaded.state.cache_dir, "state files")
    if loaded.spool.limit_mb:
        yield _linkable(loaded.state)


def _writable(folder: Path, purpose: str) -> Finding:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        return Finding(OK, f"{folder} can be written ({purpose})")
    except OSError as error:
        advice = "mount it writable, or make room; MIRROR_STATE_DIR moves the ledger"
        return Finding(FAULT, f"cannot write {folder} ({purpose}): {error.strerror}", advice)


def _ledgers(state: StateSettings) -> Iterator[Finding]:
    """Finds another Frigate that uses the same state folder, and a second ledger."""
    taken = any(is_locked(folder / LOCK_NAME) for folder in state.dirs)
    other = holder(state)
    if taken and not other.ours:
        yield Finding(
            FAULT,
            f"the state folder {other.folder} is in use by {other.name}, for another clips folder",
            "set MIRROR_STATE_DIR to a folder of its own for each Frigate",
        )
    ledgers = folders.ledgers(state)
    if ledgers not in ([], [state.folder / LEDGER_NAME]):
        names = " and in ".join(str(ledger.parent) for ledger in ledgers)
        advice = "nothing to do: each start takes over what waits in the unused one"
        yield Finding(NOTE, f"there is a ledger in {names}", advice)


def _linkable(state: StateSettings) -> Finding:
    """Finds out whether the spool can hold files without a copy."""
    try:
        with tempfile.NamedTemporaryFile(dir=state.clips_dir, prefix=".s3-check-") as file:
            target = state.cache_dir / Path(file.name).name
            os.link(file.name, target)
            target.unlink()
        return Finding(OK, "the spool holds files by hard links, which cost no space")
    except OSError as error:
        return Finding(
            NOTE, f"no hard links here ({error.strerror}): the spool holds copies, which need space"
        )


def cameras(api: str) -> Iterator[Finding]:
    """Looks at the settings of Frigate's cameras on which the mirror depends."""
    try:
        found = config.cameras(api)
    except config.ConfigError as error:
        advice = f"run this inside Frigate's container while Frigate runs; {NEEDED}"
        yield Finding(NOTE, f"Frigate's settings cannot be read: {error}", advice)
        return
    usable = [camera.name for camera in found if camera.snapshots and camera.detects]
    if usable:
        names = ", ".join(usable)
        yield Finding(OK, f"Frigate takes snapshots for {len(usable)} camera(s): {names}")
    else:
        yield Finding(FAULT, "no camera of Frigate takes snapshots of what it detects", NEEDED)
    for what, some in (
        ("snapshots are off for", [camera for camera in found if not camera.snapshots]),
        ("detection is off for", [camera for camera in found if not camera.detects]),
    ):
        if some:
            yield Finding(NOTE, f"{what} the camera(s) {_names(some)}", NEEDED if usable else "")
    if short := [camera for camera in found if camera.snapshots and camera.kept_days < 1]:
        what = f"Frigate deletes the snapshots of the camera(s) {_names(short)} within a day"
        yield Finding(
            NOTE,
            what,
            "raise Frigate's `snapshots: retain: default:` (in days), to allow for an outage",
        )


def _names(some: list[config.Camera]) -> str:
    return ", ".join(camera.name for camera in some)


def events(where: FrigateSettings, now: float) -> Iterator[Finding]:
    """Looks whether Frigate's recent events have snapshots, and whether these have files."""
    database, since = FrigateDatabase(where.db_path), now - WEEK
    try:
        total, pictured = database.recent(since)
        newest = database.subjects(database.ended_since(since, since, SOME))
    except CatalogError:
        return  # `paths` tells the fault
    if not total:
        yield Finding(NOTE, "Frigate has no event of the last 7 days", NEEDED)
    elif not pictured:
        what = f"none of Frigate's {total:,} events of the last 7 days has a snapshot"
        yield Finding(NOTE, what, NEEDED)
    elif where.clips_dir.is_dir() and newest and not _any_file(newest, where.clips_dir):
        what = f"the newest {len(newest)} events with a snapshot have no file in {where.clips_dir}"
        yield Finding(FAULT, what, "set FRIGATE_CLIPS_DIR to the folder of Frigate's snapshots")
    else:
        what = f"{pictured:,} of Frigate's {total:,} events of the last 7 days have a snapshot"
        yield Finding(OK, what)


def _any_file(newest: list[Event], clips: Path) -> bool:
    kind = Snapshots(clips, KeyCodec(""))
    with suppress(KeyFault):
        return any(kind.find(event, "") for event in newest)
    return True


def bucket(sink: Sink, s3: S3Settings, *, put: bool) -> Iterator[Finding]:
    """Tries the connection, the right to list, the clock and, if `put`, the right to put."""
    where = f"bucket {s3.bucket} at {s3.endpoint_url or 'AWS ' + s3.region}"
    try:
        probe = sink.check()
        yield Finding(OK, f"{where} answers in {probe.took * 1000:.0f} ms and allows listing")
        yield from _clock(probe.clock_skew)
    except SinkError as error:
        yield Finding(FAULT, f"{where}: {error.args[0]}", error.hint)
    if not put:
        yield Finding(
            NOTE, "right to put: unproven, because it was not tried", "run check without --no-put"
        )
        return
    try:
        key = _put_probe(sink, s3, PROBE_NAME)
        yield Finding(OK, f"right to put: proven with the object {key}, which stays in the bucket")
    except SinkError as error:
        yield Finding(FAULT, f"right to put: {error.args[0]}", error.hint)


def deletion(sink: Prober, s3: S3Settings) -> Finding:
    """Tries whether the key may delete, with an object uploaded for this purpose."""
    unproven = "right to delete: unproven"
    try:
        key = _put_probe(sink, s3, BAIT_NAME)
        allowed = sink.may_delete(key)
    except SinkError as error:
        return Finding(NOTE, f"{unproven}: {error.args[0]}", error.hint, EX_UNPROVEN)
    if allowed is None:
        what = f"{unproven}: the bucket agreed to delete the object {key}, and still lists it"
        return Finding(NOTE, what, code=EX_UNPROVEN)
    if allowed:
        advice = f"remove s3:DeleteObject from its rights (it deleted {key}, and nothing else)"
        what = "the key can delete: a thief with it can empty the bucket"
        return Finding(NOTE, what, advice, EX_CAN_DELETE)
    return Finding(
        OK, f"the key cannot delete: the service refused it for the object {key}, which stays"
    )


def _put_probe(sink: Sink, s3: S3Settings, name: str) -> str:
    """Puts a tiny object under the prefix; returns its key. Raises a SinkError."""
    key = "/".join(filter(None, (s3.prefix, name)))
    body = io.BytesIO(b"The mirror's check command may put objects here.\n")
    sink.put(key, body, content_type="text/plain", metadata={})
    return key


def _clock(skew: float | None) -> Iterator[Finding]:
    if skew is None:
        yield Finding(NOTE, "clock: the bucket's answer had no date to compare with")
    elif abs(skew) > SKEW_REMARK:
        grade = FAULT if abs(skew) > SKEW_FAULT else NOTE
        yield Finding(
            grade, f"clock: {abs(skew):.0f} s off the bucket's", "set this machine's clock (NTP)"
        )
    else:
        yield Finding(OK, "clock: agrees with the bucket's")


def frigate(
    document: Mapping[str, object], source: Path, seam: Mapping[str, tuple[str, ...]]
) -> Finding:
    """Says whether the hook fits the Frigate whose source lies in `source`."""
    version = _version_in(source / "frigate" / "version.py")
    if version is None:
        return Finding(NOTE, f"no Frigate in {source}, so nothing shows whether the hook fits")
    fault = seam_fault(source / "frigate" / "events" / "maintainer.py", seam)
    if fault:
        return Finding(
            FAULT, f"Frigate {version}: {fault}", "the hook needs Frigate 0.16, 0.17 or 0.18"
        )
    running = "" if document.get("health") == status.DOWN else ", and the mirror runs"
    return Finding(OK, f"Frigate {version}: the hook fits{running}")


def seam_fault(maintainer: Path, seam: Mapping[str, tuple[str, ...]]) -> str:
    """Returns the differences between Frigate's EventProcessor and the signatures in `seam`
    (method: parameters) that the hook expects, or an empty text."""
    try:
        tree = ast.parse(maintainer.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        return f"cannot read {maintainer}: {error}"
    methods = {
        method.name: _parameters(method.args)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "EventProcessor"
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    }
    expected = {name: f"({', '.join(names)})" for name, names in seam.items()}
    faults = [
        f"{name}{methods.get(name, ' absent')}, expected {name}{wanted}"
        for name, wanted in expected.items()
        if methods.get(name) != wanted
    ]
    if (maintainer.parent / "external.py").exists():
        faults.append("events/external.py exists, expected Frigate 0.16 or later without it")
    return "; ".join(faults)


def _parameters(arguments: ast.arguments) -> str:
    """Returns the parameters as in the source, with `/`, `*` and `**`, but without annotations and
    defaults."""
    for node in ast.walk(arguments):
        if isinstance(node, ast.arg):
            node.annotation = None
    arguments.defaults, arguments.kw_defaults = [], [None for _ in arguments.kwonlyargs]
    return f"({ast.unparse(arguments)})"


def _version_in(path: Path) -> str | None:
    try:
        words = path.read_text(encoding="utf-8").replace("'", '"').split('"')
    except (OSError, ValueError):
        return None
    return words[1] if len(words) > 1 else None
