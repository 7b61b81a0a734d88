"""The kind `metadata`: one JSON document with all that Frigate knows of an event, and a list of the
event's other files. Its form is that of docs/event-1.schema.json.

It is uploaded as soon as the event has ended, and again whenever it changes: when another file of
the event is uploaded, or when Frigate changes the event, for example because somebody named a face.
`complete` says that every other file is uploaded or does not exist. So a reader of the bucket needs
nothing but the document to know whether the set is whole.

The document is a pure function of what it describes: the same event gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any, BinaryIO

from frigate_mirror.artifact import Artifact, Known, kind_of, subject_of
from frigate_mirror.catalog import Catalog, Kind, NoFile, NotYet
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.keys import KINDS, METADATA, KeyCodec, KeyFault, artifact_id, content_type

SCHEMA = "event/1"
INCOMPLETE: dict[str, Any] = {"complete": False}
"""`about` of a document that waits for other files of its event."""
MOST_PARTS = 9999
"""A key has four digits for the number of a part."""
_FLAGS = ("has_clip", "has_snapshot")
"""Columns that Frigate clears when its retention deletes a file. That is no reason to write the
document again."""


class Documents(Kind[Event]):
    """Writes the documents of events. `others` are the other kinds that are mirrored, `known` tells
    what the ledger knows of artifacts (`Ledger.known`), `note_digest` notes the digest of a file
    that was uploaded without one, and `frigate` returns Frigate's version, or an empty text."""

    name = METADATA
    follows = True

    def __init__(
        self,
        catalog: Catalog[Event],
        keys: KeyCodec,
        others: Iterable[Kind[Event]],
        known: Callable[[Collection[str]], Mapping[str, Known]],
        note_digest: Callable[[str, str], None],
        frigate: Callable[[], str],
    ) -> None:
        self._catalog = catalog
        self._keys = keys
        self._kinds = {kind.name: kind for kind in others}
        self._switched_off = sorted(KINDS.difference(self._kinds, [METADATA]))
        self._known = known
        self._note_digest = note_digest
        self._frigate = frigate

    def is_final(self, event: Event) -> bool:
        return event.has_final_files

    def find(self, event: Event, held: str) -> Artifact | None:
        event.check_names()
        own = artifact_id(METADATA, event.id)
        known = self._known([own]).get(own)
        reviews = _reviews(event, known.version if known else "")
        document = {
            "schema": SCHEMA,
            "frigate": self._frigate() or None,
            "table": {"event": event.row},
            "timeline": event.timeline,
            "reviews": [{"id": name, "severity": reviews[name]} for name in sorted(reviews)],
            **self._about_files(event.id, event),
        }
        key = self._keys.key(event.camera, event.id, event.started, ".json", event.label)
        artifact = Artifact(
            id=own,
            camera=event.camera,
            started=event.started,
            key=key,
            origin="",
            size=0,
            content_type=content_type(key),
            metadata=describe(event),
        )
        uploaded = known.version if known and known.state == "uploaded" else None
        return _written(artifact, document, reviews, uploaded)

    def renew(self, held: Artifact, file: BinaryIO) -> Artifact | None:
        try:
            document = json.load(file)
            reviews = {one["id"]: one["severity"] for one in document["reviews"]}
            document |= self._about_files(subject_of(held.id), None)
            return _written(held, document, reviews, None)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None  # other programs can write to the spool

    def _about_files(self, event_id: str, event: Event | None) -> dict[str, Any]:
        """Returns what the document says of the event's other files. The event is None if Frigate
        does not know it any more."""
        every = [artifact_id(kind, event_id) for kind in (*self._kinds, *self._switched_off)]
        known = dict(self._known(every))
        # A file that was uploaded before its kind was switched off is still in the bucket.
        first = [
            one
            for one in every
            if kind_of(one) in self._kinds
            or (one in known and known[one].state in ("uploaded", "pending"))
        ]
        further = [
            artifact_id(kind_of(one), event_id, part)
            for one in first
            if one in known
            for part in range(2, _parts(known[one]) + 1)
        ]
        if further:
            known |= self._known(further)
        files = [self._with_digest(event, known[one]) for one in [*first, *further] if one in known]
        return {
            "complete": all(
                one in known and known[one].state in ("uploaded", "gone", "unwanted")
                for one in [*first, *further]
            ),
            "files": [_file(one) for one in files if one.state in ("uploaded", "pending")],
            "missing": [
                {"kind": kind_of(one.id), "why": _why(one)}
                for one in files
                if one.state not in ("uploaded", "pending", "waiting")
            ],
        }

    def _with_digest(self, event: Event | None, known: Known) -> Known:
        """Returns `known` with its digest. A version that noted none may have uploaded it; then the
        digest is that of Frigate's file, if that still has the uploaded size."""
        kind = self._kinds.get(kind_of(known.id))
        if known.digest or known.state != "uploaded" or kind is None or kind.bulk or event is None:
            return known
        with suppress(NotYet, NoFile, OSError):
            found = kind.find(event, "")
            if found is not None and found.size == known.size:
                with found.open() as file:
                    digest = sha256(file.read()).hexdigest()
                self._note_digest(known.id, digest)
                return replace(known, digest=digest)
        return known

    def flaw(self, file: BinaryIO) -> str:
        return "" if file.read().endswith(b"}\n") else "the document breaks off"

    def open(self, artifact: Artifact) -> BinaryIO:
        """Writes the document again, because the spool does not hold it."""
        for event in self._catalog.subjects([subject_of(artifact.id)]):
            try:
                found = self.find(event, "")
            except KeyFault as error:
                raise FileNotFoundError(str(error)) from error
            if found is not None:
                return found.open()
        raise FileNotFoundError(f"Frigate does not know the event of {artifact.id} any more")


def _written(
    artifact: Artifact,
    document: Mapping[str, Any],
    reviews: Mapping[str, str],
    uploaded: str | None,
) -> Artifact:
    """Returns the artifact with the document as its bytes. `uploaded` is that of `_version`. Raises
    KeyFault."""
    try:
        data, version = _dump(document), _version(document, uploaded)
    except (ValueError, RecursionError) as error:
        raise KeyFault(f"the row of {artifact.id} cannot be written as JSON") from error
    return replace(
        artifact,
        size=len(data),
        version=f"{version} {json.dumps(reviews, sort_keys=True)}",
        about={} if document["complete"] else INCOMPLETE,
        opener=lambda artifact: BytesIO(data),
    )


def _reviews(event: Event, version: str) -> dict[str, str]:
    """Returns the severity of each review item of the event by its id. It also has those that an
    earlier document of this `version` had, because Frigate deletes review items before events."""
    try:
        earlier = json.loads(version.split(" ", 3)[3])
    except (ValueError, IndexError):
        earlier = None
    return (earlier if isinstance(earlier, dict) else {}) | dict(event.reviews)


def _version(document: Mapping[str, Any], uploaded: str | None) -> str:
    """Returns three digests: of the event, of what is known of its files, and of their names.

    `uploaded` is the version of the uploaded document, an empty text if it is unknown, or None if
    there is none. An upload whose version is unknown, after the ledger was lost, counts as today's
    document and has a question mark as its second digest. Then only the names of the files count,
    because the uploaded document may know more of them than the new ledger does.
    """
    row = {k: v for k, v in document["table"]["event"].items() if k not in _FLAGS}
    event = {"row": row, "timeline": document["timeline"], "reviews": document["reviews"]}
    files = {name: document[name] for name in ("complete", "files", "missing")}
    names = {"complete": document["complete"], "keys": [one["key"] for one in document["files"]]}
    of_event, of_files, of_names = (
        sha256(_dump(one)).hexdigest()[:16] for one in (event, files, names)
    )
    unsure = f"{of_event} ? {of_names}"
    if uploaded == "" or (uploaded or "").startswith(unsure):
        return unsure
    return f"{of_event} {of_files} {of_names}"


def _parts(known: Known) -> int:
    """Returns how many parts the file has. What the ledger says of it can come from a description
    in the spool, where other programs can write."""
    parts = known.about.get("parts", 1)
    return parts if isinstance(parts, int) and parts <= MOST_PARTS else 1


def _file(known: Known) -> dict[str, Any]:
    told = {name: value for name, value in known.about.items() if name != "parts"}
    return told | {
        "kind": kind_of(known.id),
        "key": known.key,
        "size": known.size,
        "sha256": known.digest or None,
        "type": content_type(known.key),
    }


def _why(known: Known) -> str:
    return f"left out by {known.why}" if known.state == "unwanted" else known.why or known.state


def _dump(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"
