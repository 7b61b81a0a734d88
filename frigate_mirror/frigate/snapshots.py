"""Which files an event's snapshot is, and the artifact that it becomes.

    Frigate to 0.17   clips/{camera}-{id}.jpg         (a -clean copy may lie beside it)
    Frigate 0.18      clips/{camera}-{id}-clean.webp  and no .jpg, but for legacy events
    before 0.17       the clean copy is a .png

Read from Frigate v0.16.4, v0.17.2, v0.18.0-beta1 (frigate.util.file, frigate.track.tracked_object).
The picture is mirrored as what it is; none is ever rendered or converted.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

from frigate_mirror import metadata
from frigate_mirror.artifact import Artifact
from frigate_mirror.files import open_regular
from frigate_mirror.frigate import pictures
from frigate_mirror.frigate.database import Event
from frigate_mirror.keys import SNAPSHOT, KeyCodec, KeyFault, artifact_id, is_event_id

_SNAPSHOT_FILES = (
    (".jpg", "image/jpeg"),
    ("-clean.webp", "image/webp"),
    ("-clean.png", "image/png"),
)
_HEADS = {b"RIFF": _SNAPSHOT_FILES[1], b"\x89PNG": _SNAPSHOT_FILES[2]}


def snapshot_id(event_id: str) -> str:
    return artifact_id(SNAPSHOT, event_id)


def snapshot_of(event: Event, clips_dir: Path, keys: KeyCodec, held: str) -> Artifact | None:
    """The artifact of the event's snapshot as it lies on disk now, None while no file is there.
    `held` is where the spool would hold it: Frigate may have deleted its own since.

    Raises KeyFault for an event that can have no key, or whose camera's name would lead out of
    the clips folder.
    """
    if not is_event_id(event.id) or "/" in event.camera or "\0" in event.camera:
        raise KeyFault(f"event {event.id!r} of camera {event.camera[:40]!r} names no file")
    name = f"{event.camera}-{event.id}"
    found = _as_frigate_wrote_it(f"{clips_dir}/{name}") or _as_it_is_held(held)
    if found is None:
        return None
    ending, size, changed, content_type = found
    source = clips_dir / f"{name}{ending}"
    return Artifact(
        id=snapshot_id(event.id),
        camera=event.camera,
        started=event.started,
        key=keys.key(event.camera, event.id, event.started, f".{ending.rpartition('.')[2]}"),
        source=source,
        size=size,
        content_type=content_type,
        metadata=describe(event),
        version=f"{size} {changed} {event.ended}",
    )


def why_unseen(event: Event, clips_dir: Path) -> str:
    """Why nobody can tell whether the event has a snapshot, as on a disk that fails; empty where it
    is certain that there is none."""
    for ending, _ in _SNAPSHOT_FILES:
        try:
            os.lstat(f"{clips_dir}/{event.camera}-{event.id}{ending}")
        except (FileNotFoundError, ValueError):
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                return f"{clips_dir} cannot be looked at: {error.strerror}"
    return "" if clips_dir.is_dir() else f"no folder {clips_dir}"


def with_flaw(artifact: Artifact, held: str) -> Artifact:
    """The artifact with what is wrong with its bytes, if they are not whole."""
    for path in (artifact.source, held):
        try:
            with open_regular(path) as file:
                return replace(artifact, flaw=pictures.fault_of(file))
        except OSError:
            continue
    return artifact


def _as_frigate_wrote_it(name: str) -> tuple[str, int, int, str] | None:
    """Ending, bytes, time of the last change in nanoseconds, and content type of the first file
    that the event has."""
    for ending, content_type in _SNAPSHOT_FILES:
        found = _regular_file(f"{name}{ending}")
        if found is not None:
            return ending, found.st_size, found.st_mtime_ns, content_type
    return None


def _as_it_is_held(held: str) -> tuple[str, int, int, str] | None:
    """The same of a file whose name in the spool no longer tells what it is; its head does."""
    found = _regular_file(held)
    if found is None:
        return None
    try:
        with open_regular(held) as file:
            head = file.read(4)
    except OSError:
        return None
    ending, content_type = _HEADS.get(head, _SNAPSHOT_FILES[0])
    return ending, found.st_size, found.st_mtime_ns, content_type


def describe(event: Event) -> dict[str, str]:
    """The event as object metadata; times are Unix seconds."""
    values = {
        "event-id": event.id,
        "camera": event.camera,
        "label": event.label,
        "start-time": repr(event.started),
        "end-time": "" if event.ended is None else repr(event.ended),
        "score": "" if event.score is None else f"{event.score:.4g}",
        "sub-label": event.sub_label,
    }
    return metadata.encode(values, event.zones)


def _regular_file(path: str) -> os.stat_result | None:
    """None for nothing, a link, a pipe, a folder, a name too long."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):  # ValueError: no file can have this name
        return None
    return found if stat.S_ISREG(found.st_mode) else None
