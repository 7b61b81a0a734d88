"""Doctor: looks at everything the mirror needs, and says every fault at once with what to do.

Nothing is changed but one tiny object under the prefix, which proves the right to put, and the
mirror's own folders, which are made where they are missing. Whether the key can delete is tried on
request only, on a second tiny object that is put for that, and on no other.
"""

from __future__ import annotations

import ast
import difflib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.frigate.database import Catalog, CatalogError
from frigate_mirror.ledger import places
from frigate_mirror.ledger.connection import held
from frigate_mirror.settings.settings import (
    LEDGER_NAME,
    LOCK_NAME,
    VARIABLES,
    S3Settings,
    Settings,
    StateSettings,
)
from frigate_mirror.sinks.sink import Prober, Sink, SinkError

PROBE_NAME, BAIT_NAME = ".s3-mirror-check", ".s3-mirror-check-delete"
SKEW_REMARK, SKEW_FAULT = 60.0, 900.0  # seconds; S3 refuses a request from 15 minutes on
OK, NOTE, FAULT = "ok", "note", "FAULT"
OURS = ("S3_", "MIRROR_")  # what our variables begin with; FRIGATE_ is also Frigate's own


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `grade` is ok, note or FAULT; `advice` is empty where all is well."""

    grade: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        head = f"{self.grade:<6} {self.what}"
        return f"{head}\n       -> {self.advice}" if self.advice else head


def misspelt(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that look like a setting and are none."""
    known = {name: new for one in VARIABLES.values() for name, new in one.sources.items()}
    known |= {name: name for name in ("S3_MIRROR_INIT", "S3_MIRROR_FRIGATE", "S3_MIRROR_PARENT")}
    for name in sorted(environ):
        if name.startswith(OURS) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {known[near[0]]}?" if near else "no setting has this name"
            yield Finding(NOTE, f"{name} is set, but means nothing here", advice)


def credentials(settings: S3Settings) -> Finding:
    """Where the key comes from; never the key."""
    if settings.access_key:
        kind = "temporary key" if settings.session_token else "key"
        return Finding(OK, f"credentials: {kind} from S3_ACCESS_KEY and S3_SECRET_KEY")
    return Finding(OK, "credentials: none set, the standard AWS chain is asked")


def paths(settings: Settings) -> Iterator[Finding]:
    """Database readable, clips folder there, our own places writable, links possible."""
    try:
        Catalog(settings.frigate.db_path).event("0-check")
        yield Finding(OK, f"Frigate's database {settings.frigate.db_path} can be read")
    except CatalogError as error:
        yield Finding(
            FAULT, str(error), "run this inside Frigate's container, or set FRIGATE_DB_PATH"
        )
    yield _writable(settings.state.folder, "ledger")
    yield from _ledgers(settings.state)
    if not settings.frigate.clips_dir.is_dir():
        advice = "run this inside Frigate's container, or set FRIGATE_CLIPS_DIR"
        yield Finding(FAULT, f"no folder {settings.frigate.clips_dir}", advice)
        return
    yield Finding(OK, f"Frigate's clips folder {settings.frigate.clips_dir} is there")
    yield _writable(settings.state.cache_dir, "state files")
    if settings.spool.limit_mb:
        yield _linkable(settings.state)


def _writable(folder: Path, purpose: str) -> Finding:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        return Finding(OK, f"{folder} can be written ({purpose})")
    except OSError as error:
        advice = "mount it writable, or make room; MIRROR_STATE_DIR moves the ledger"
        return Finding(FAULT, f"cannot write {folder} ({purpose}): {error.strerror}", advice)


def _ledgers(settings: StateSettings) -> Iterator[Finding]:
    """Whether this Frigate has its state folder to itself, and where ledgers lie."""
    taken = any(held(folder / LOCK_NAME) for folder in settings.dirs)
    who = places.holder(settings)
    if taken and not who.ours:
        yield Finding(
            FAULT,
            f"the state folder {who.folder} is in use by {who.name}, for another clips folder",
            "set MIRROR_STATE_DIR to a folder of its own for each Frigate",
        )
    found = places.ledgers(settings)
    if found not in ([], [settings.folder / LEDGER_NAME]):
        advice = "each start takes over what waits in the one that is not used"
        yield Finding(
            NOTE, f"ledger in {' and in '.join(str(one.parent) for one in found)}", advice
        )


def _linkable(settings: StateSettings) -> Finding:
    """Whether the spool can hold files without a copy."""
    try:
        with tempfile.NamedTemporaryFile(dir=settings.clips_dir, prefix=".s3-check-") as file:
            target = settings.cache_dir / Path(file.name).name
            os.link(file.name, target)
            target.unlink()
        return Finding(OK, "pictures are held back by hard links, which cost no space")
    except OSError as error:
        return Finding(
            NOTE, f"no hard links here ({error.strerror}): pictures are copied until uploaded"
        )


def bucket(sink: Sink, settings: S3Settings, *, put: bool) -> Iterator[Finding]:
    """The way there, the right to list, the clock, and (if `put`) the right to put."""
    where = f"bucket {settings.bucket} at {settings.endpoint_url or 'AWS ' + settings.region}"
    try:
        probe = sink.check()
        yield Finding(OK, f"{where} answers in {probe.took * 1000:.0f} ms and lets us list")
        yield from _clock(probe.clock_skew)
    except SinkError as error:
        yield Finding(FAULT, f"{where}: {error.args[0]}", error.hint)
    if not put:
        yield Finding(NOTE, "right to put: not tried, so unproven", "run check without --no-put")
        return
    try:
        key = _put_probe(sink, settings, PROBE_NAME)
        yield Finding(OK, f"right to put: proven with {key}, which stays (the key need not delete)")
    except SinkError as error:
        yield Finding(FAULT, f"right to put: {error.args[0]}", error.hint)


def deletion(sink: Prober, settings: S3Settings) -> Finding:
    """Whether who has the key can delete: tried on an object put for it. A note where he can."""
    unproven = "right to delete: unproven"
    try:
        key = _put_probe(sink, settings, BAIT_NAME)
        allowed = sink.may_delete(key)
    except SinkError as error:
        return Finding(NOTE, f"{unproven}: {error.args[0]}", error.hint)
    if allowed is None:
        return Finding(NOTE, f"{unproven}: the bucket agreed to delete {key}, and still lists it")
    if allowed:
        advice = f"remove s3:DeleteObject from its rights (it deleted {key}, and nothing else)"
        what = "the key can delete: a thief with it can empty the bucket"
        return Finding(NOTE, what, advice)
    return Finding(OK, f"the key cannot delete: refused for {key}, which stays")


def _put_probe(sink: Sink, settings: S3Settings, name: str) -> str:
    """Put a tiny object under the prefix; its key. Raises a SinkError."""
    key = "/".join(filter(None, (settings.prefix, name)))
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
    """Whether the hook fits: by the word of the mirror that Frigate runs, or by its source."""
    version = _version_in(source / "frigate" / "version.py")
    if version is None:
        return Finding(NOTE, f"no Frigate in {source}, its version and seam were not looked at")
    fault = seam_fault(source / "frigate" / "events" / "maintainer.py", seam)
    if fault:
        return Finding(
            FAULT, f"Frigate {version}: {fault}", "the hook needs Frigate 0.16, 0.17 or 0.18"
        )
    running = "" if document.get("health") == "DOWN" else ", and the mirror runs"
    return Finding(OK, f"Frigate {version}: the hook fits{running}")


def seam_fault(maintainer: Path, seam: Mapping[str, tuple[str, ...]]) -> str:
    """What the source of `EventProcessor` has otherwise than `seam` (method: parameters) says."""
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
        faults.append("events/external.py, expected Frigate 0.16 or later, which has none")
    return "; ".join(faults)


def _parameters(given: ast.arguments) -> str:
    """The names as in the source, with `/`, `*` and `**`; annotations and defaults do not count."""
    for one in ast.walk(given):
        if isinstance(one, ast.arg):
            one.annotation = None
    given.defaults, given.kw_defaults = [], [None for _ in given.kwonlyargs]
    return f"({ast.unparse(given)})"


def _version_in(path: Path) -> str | None:
    try:
        words = path.read_text(encoding="utf-8").replace("'", '"').split('"')
    except (OSError, ValueError):
        return None
    return words[1] if len(words) > 1 else None


def tell(findings: Iterator[Finding], say: Callable[[str], None]) -> int:
    """Say each finding as it is made; returns how many are faults."""
    faults = 0
    for finding in findings:
        say(str(finding))
        faults += finding.grade == FAULT
    say(f"{faults} fault(s)" if faults else "no fault found")
    return faults
