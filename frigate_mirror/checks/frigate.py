"""Checks Frigate: whether the hook fits it, and whether its cameras make what is mirrored."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from frigate_mirror.catalog import CatalogError
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.frigate import config
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.snapshots import Snapshots
from frigate_mirror.keys import CLIP, SNAPSHOT, KeyCodec, KeyFault
from frigate_mirror.report import status
from frigate_mirror.settings.settings import FrigateSettings

WEEK, SOME = 7 * 86_400.0, 20  # the events whose snapshots are looked at
SWITCHES = {SNAPSHOT: "`snapshots: enabled: true`", CLIP: "`record: enabled: true`"}
"""The setting of Frigate without which no event has a file of this kind."""


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


def needed(kinds: Collection[str]) -> str:
    """Returns which of Frigate's settings these kinds of files need."""
    switches = ", ".join(switch for kind, switch in SWITCHES.items() if kind in kinds)
    every = " and ".join(filter(None, [switches, "`detect: enabled: true`"]))
    return f"Frigate's configuration needs {every}, for all cameras or for each"


def cameras(ask: config.Ask, kinds: Collection[str]) -> Iterator[Finding]:
    """Looks at the settings of Frigate's cameras on which these kinds of files depend."""
    try:
        found = config.cameras(ask())
    except config.ConfigError as error:
        advice = f"start Frigate, whose API must be reachable from here; {needed(kinds)}"
        yield Finding(NOTE, f"Frigate's settings cannot be read: {error}", advice)
        return
    if SNAPSHOT in kinds:
        yield from _snapshots(found, needed(kinds))
    if CLIP in kinds:
        yield from _recordings(found, needed(kinds))
    if off := [camera for camera in found if not camera.detects]:
        yield Finding(NOTE, f"detection is off for the camera(s) {_names(off)}", needed(kinds))


def _snapshots(found: list[config.Camera], advice: str) -> Iterator[Finding]:
    if usable := [camera for camera in found if camera.snapshots and camera.detects]:
        what = f"Frigate takes snapshots for {len(usable)} camera(s): {_names(usable)}"
        yield Finding(OK, what)
    else:
        yield Finding(FAULT, "no camera of Frigate takes snapshots of what it detects", advice)
    if off := [camera for camera in found if not camera.snapshots]:
        what = f"snapshots are off for the camera(s) {_names(off)}"
        yield Finding(NOTE, what, advice if usable else "")
    if short := [camera for camera in found if camera.snapshots and camera.kept_days < 1]:
        what = f"Frigate deletes the snapshots of the camera(s) {_names(short)} within a day"
        yield Finding(
            NOTE,
            what,
            "raise Frigate's `snapshots: retain: default:` (in days), to allow for an outage",
        )


def _recordings(found: list[config.Camera], advice: str) -> Iterator[Finding]:
    if recording := [camera for camera in found if camera.records]:
        yield Finding(OK, f"Frigate records {len(recording)} camera(s): {_names(recording)}")
    else:
        yield Finding(FAULT, "no camera of Frigate records, so no event has a clip", advice)
    if recording and (off := [camera for camera in found if not camera.records]):
        what = f"the camera(s) {_names(off)} do not record, so their events have no clip"
        yield Finding(NOTE, what, advice)


def _names(some: list[config.Camera]) -> str:
    return ", ".join(camera.name for camera in some)


def events(where: FrigateSettings, kinds: Collection[str], now: float) -> Iterator[Finding]:
    """Looks whether Frigate has recent events and, if snapshots are mirrored, whether these have
    snapshots with files."""
    database, since = FrigateDatabase(where.db_path), now - WEEK
    try:
        total, pictured = database.recent(since)
        newest = database.subjects(database.ended_since(since, since, SOME))
    except CatalogError:
        return  # `paths` tells the fault
    if not total:
        yield Finding(NOTE, "Frigate has no event of the last 7 days", needed(kinds))
    elif SNAPSHOT not in kinds:
        yield Finding(OK, f"Frigate has {total:,} events of the last 7 days")
    elif not pictured:
        what = f"none of Frigate's {total:,} events of the last 7 days has a snapshot"
        yield Finding(NOTE, what, needed(kinds))
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
