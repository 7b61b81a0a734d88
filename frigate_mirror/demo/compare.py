"""Compares the files at a destination with what the stand-in for Frigate has sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from frigate_mirror.demo.standin import Event

KINDS = {"snapshot", "clip"}
"""What each event has besides its JSON."""
Files = Mapping[str, bytes]
"""Files by their keys."""
Sent = Mapping[str, tuple[str, str]]
"""See `Frigate.sent`."""


def files_in(folder: Path) -> dict[str, bytes]:
    """Returns the files in a folder. rclone gives a file its name when the file is whole."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".partial"
    }


def files_of(event_id: str, files: Files) -> dict[str, bytes]:
    """Returns those of the files that belong to an event."""
    return {key: body for key, body in files.items() if event_id in key}


def document_of(event_id: str, files: Files) -> dict[str, Any]:
    """Returns the JSON of an event, or an empty dictionary if it is not there, or not whole."""
    for key, body in files_of(event_id, files).items():
        if key.endswith(".json"):
            with suppress(ValueError):
                document: dict[str, Any] = json.loads(body)
                return document
    return {}


def lacking(events: Iterable[Event], files: Files) -> list[str]:
    """Returns the ids of the events whose JSON does not say yet that it is complete."""
    return [one.id for one in events if not document_of(one.id, files).get("complete")]


def faults_of(events: Iterable[Event], files: Files, sent: Sent) -> list[str]:
    """Returns what is missing or wrong, a sentence each."""
    left = dict(files)
    faults: list[str] = []
    for event in events:
        own = files_of(event.id, files)
        faults += _faults(event, own, sent)
        for key in own:
            left.pop(key)
    return faults + [f"{key}: it belongs to no event" for key in left]


def _faults(event: Event, own: Files, sent: Sent) -> Iterator[str]:
    document = document_of(event.id, own)
    if not document:
        yield f"{event.id}: it has no JSON"
        return
    if not document["complete"]:
        yield f"{event.id}: its JSON is not complete"
    row = {name: value for name, value in event.row().items() if name != "thumbnail"}
    if document["table"]["event"] != row:
        yield f"{event.id}: its JSON says something else than Frigate"
    told = {file["key"]: file for file in document["files"]}
    for kind in sorted(KINDS - {file["kind"] for file in told.values()}):
        yield f"{event.id}: it has no {kind}"
    for key in sorted(told.keys() - own.keys()):
        yield f"{key}: it is missing"
    for key, body in own.items():
        if not key.endswith(".json"):
            digest = hashlib.sha256(body).hexdigest()
            kind = told[key]["kind"] if key in told else ""
            if sent.get(digest) != (event.id, kind):
                yield f"{key}: these are not the bytes that Frigate has sent"
            elif told[key]["sha256"] != digest:
                yield f"{key}: the JSON tells another digest"
