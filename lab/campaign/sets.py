"""The oracle for runs that mirror all files of an event: snapshot, thumbnail, clip and metadata.

It compares what is in the bucket with Frigate's database, pictures and recordings, and the files
of one event with each other. Of the program it knows what docs/metadata.md and
docs/event-1.schema.json promise. ffmpeg and ffprobe tell what a clip shows.

An event has arrived when its document says that it is complete, and has the row as it is now.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sqlite3
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastjsonschema

from lab.campaign import events
from lab.campaign.events import Event
from lab.campaign.oracle import ID, Oracle, Place, Verdict
from lab.campaign.recordings import Recordings, seconds, within, without
from tests.rig import ROOT, ffmpeg

Document = dict[str, Any]
ENDING = r"(\.\w+|-thumb\.\w+|-part-\d{{4}}\.mp4)"
INSIDE = r"{camera}/\d{{4}}-\d\d-\d\d/{id}-\d{{8}}_\d{{6}}" + ENDING
BESIDE = r"{camera}/\d{{4}}-\d\d-\d\d/\d\d-\d\d-\d\d-{label}-{id}" + ENDING
"""What stands behind the prefix in the keys of the mirror inside Frigate and of the companion."""
KINDS = frozenset({"snapshot", "thumbnail", "clip", "metadata"})
RETENTIONS = {"has_clip", "has_snapshot"}
"""Columns that Frigate's retention clears. The document keeps what it was."""
ABSENT = re.compile(
    r"Frigate has no recording of this event|Frigate recorded nothing of this event|no clip file"
    r"|.* is missing(?: \(and \d+ more segments\))?"
)
CLOSE = 2.7
"""Seconds by which a clip may differ from what it should show: rows have whole seconds, a gap of
1.5 s is none, and a picture lasts 0.2 s."""
MOST_DECODED = 60  # clips of one run


@dataclass
class Truth:
    """What Frigate's database has said of events, the last time that it had their rows."""

    rows: dict[str, Document] = field(default_factory=dict)
    timelines: dict[str, list[Document]] = field(default_factory=dict)
    reviews: dict[str, dict[str, str]] = field(default_factory=dict)

    def look(self, path: Path) -> None:
        with closing(sqlite3.connect(path, timeout=20)) as database, database:
            database.row_factory = sqlite3.Row
            database.execute("BEGIN")
            self.rows |= {row["id"]: row for row in _rows(database, "event")}
            timelines: dict[str, list[Document]] = {}
            for row in _rows(database, "timeline"):
                timelines.setdefault(row["source_id"], []).append(row)
            self.timelines |= timelines
            for row in _rows(database, "reviewsegment"):
                for event_id in row["data"]["detections"]:
                    self.reviews.setdefault(event_id, {})[row["id"]] = row["severity"]

    def differences(self, event_id: str, document: Document) -> Iterator[str]:
        """Yields what a document of the right form says otherwise than the database."""
        row, told = self.rows.get(event_id, {}), document["table"]["event"]
        for name in (row.keys() | told.keys()) - RETENTIONS - {"thumbnail"}:
            if row.get(name) != told.get(name) or (name in row) != (name in told):
                yield f"{name} is {told.get(name)!r:.80} instead of {row.get(name)!r:.80}"
        if _sorted(document["timeline"]) != _sorted(self.timelines.get(event_id, [])):
            yield "another timeline"
        reviews = {one["id"]: one["severity"] for one in document["reviews"]}
        if reviews != self.reviews.get(event_id, {}):
            yield "other review items"


def _rows(database: sqlite3.Connection, table: str) -> Iterator[Document]:
    kinds = {name: kind for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")}
    for row in database.execute(f"SELECT * FROM {table}"):
        yield {
            name: json.loads(row[name]) if kinds[name] == "JSON" and row[name] else row[name]
            for name in row.keys()  # noqa: SIM118 (a row is no dictionary)
        }


def _sorted(rows: list[Document]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@functools.cache
def _schema() -> Any:
    return fastjsonschema.compile(json.loads((ROOT / "docs" / "event-1.schema.json").read_text()))


def _malformed(body: bytes) -> str:
    """Why the bytes are no document of the schema. Empty if they are one."""
    try:
        _schema()(json.loads(body))
    except (ValueError, fastjsonschema.JsonSchemaException) as error:
        return str(error)
    return ""


class SetOracle(Oracle):
    """`database` is Frigate's, and `recordings` knows what was recorded. A segment that Frigate
    stored more than `latest` seconds after an event's end may be missing in its clip. `kinds` are
    mirrored, under keys of the form `keys`."""

    def __init__(
        self,
        bucket: Place,
        prefix: str,
        database: Path,
        recordings: Recordings,
        latest: float,
        *,
        kinds: Set[str] = KINDS,
        keys: str = INSIDE,
    ) -> None:
        super().__init__(bucket, prefix)
        self.kinds = kinds
        self._keys = keys
        self._database = database
        self._recordings = recordings
        self._latest = latest
        self._truth = Truth()
        self._documents: dict[str, tuple[str, str, Document]] = {}
        self._malformed: dict[str, str] = {}

    def arrived(self) -> Set[str]:
        self._truth.look(self._database)
        return {
            event_id
            for event_id, document in self._read_documents().items()
            if document["complete"] and not any(self._truth.differences(event_id, document))
        }

    def why_not(self, event_id: str) -> str:
        """Why an event has not arrived."""
        document = self._read_documents().get(event_id)
        if document is None:
            return self._malformed.get(event_id, "no document")
        if not document["complete"]:
            there = [f"{one['kind']} {one['key'][-12:]}" for one in document["files"]]
            return f"not complete, with {', '.join(there)}, without {document['missing']}"
        return "; ".join(self._truth.differences(event_id, document))

    def _read_documents(self) -> dict[str, Document]:
        """Returns every document of the right form by the id of its event, and reads those that
        have changed."""
        self._malformed.clear()
        found = {}
        for key, tag in self._bucket.tags().items():
            match = ID.search(key.rpartition("/")[2])
            if key in self._planted or not key.endswith(".json") or match is None:
                continue
            if self._documents.get(key, ("",))[0] != tag:
                try:
                    body = self._bucket.get(key)
                except FileNotFoundError:  # it is just being replaced
                    continue
                why = _malformed(body)
                self._documents[key] = (tag, why, {} if why else json.loads(body))
            _, why, document = self._documents[key]
            if why:
                self._malformed[match[0]] = why
            else:
                found[match[0]] = document
        return found

    def judge(self, owed: Mapping[str, Event], known: Mapping[str, Event]) -> Verdict:
        """The verdict. Each id of `lost` and `wrong` has the reason behind it."""
        arrived, present = self.arrived(), self.present()
        self._recordings.look()
        documents = self._read_documents()
        lost = sorted(owed.keys() - arrived)
        verdict = Verdict(len(owed), [f"{one} ({self.why_not(one)})" for one in lost])
        decoded = 0
        for event_id, keys in present.items():
            if event_id not in known:
                verdict.alien += keys
                continue
            event = known[event_id]
            stray = [key for key in keys if not self._is_own(key, event)]
            verdict.alien += stray
            if event_id in self._malformed:
                verdict.wrong.append(f"{event_id} ({self._malformed[event_id]})")
            if event_id in documents:
                decoded += 1
                judge = _Set(self, event, documents[event_id], decode=decoded <= MOST_DECODED)
                reasons = list(judge.faults([key for key in keys if key not in stray]))
                if reasons:
                    verdict.wrong.append(f"{event_id} ({'; '.join(reasons)})")
        self._judge_planted(verdict)
        return verdict

    def _is_own(self, key: str, event: Event) -> bool:
        names = {"camera": event.camera, "label": event.label, "id": event.id}
        pattern = self._keys.format(**{name: re.escape(text) for name, text in names.items()})
        return key.startswith(self._prefix) and bool(
            re.fullmatch(pattern, key.removeprefix(self._prefix))
        )


class _Set:
    """The files of one event, and what is wrong with them."""

    def __init__(self, oracle: SetOracle, event: Event, document: Document, decode: bool) -> None:
        self._bucket = oracle._bucket
        self._recordings = oracle._recordings
        self._event = event
        self._document = document
        # A start of Frigate may have ended the event.
        self._ended: float = document["table"]["event"].get("end_time") or event.ended
        self._in_time = self._ended + oracle._latest
        self._kinds = oracle.kinds
        self._decode = decode
        self._bodies: dict[str, bytes] = {}

    def faults(self, keys: list[str]) -> Iterator[str]:
        if self._document["table"]["event"]["id"] != self._event.id:
            yield "the row of another event"
        if self._event.taken or not self._document["complete"]:
            return  # files of it may be missing
        own = [key for key in keys if key.endswith(".json")]
        listed = [one["key"] for one in self._document["files"]]
        if len(own) != 1:
            yield f"{len(own)} documents"
        if sorted([*own, *listed]) != sorted(keys):
            yield f"it lists {sorted(listed)}, but there are {sorted(set(keys) - set(own))}"
            return
        for one in self._document["files"]:
            yield from self._agrees(one)
        by_kind: dict[str, list[Document]] = {"snapshot": [], "thumbnail": [], "clip": []}
        for one in self._document["files"]:
            by_kind.setdefault(one["kind"], []).append(one)
        thumbnail = hashlib.sha256(events.thumbnail_of(self._event)).hexdigest()
        for kind, digest in (("snapshot", self._event.sha256), ("thumbnail", thumbnail)):
            wanted = [digest] if kind in self._kinds else []
            if [self._digest(one["key"]) for one in by_kind[kind]] != wanted:
                yield f"the {kind} is not as Frigate wrote it"
        for one in self._document["missing"]:
            if one["kind"] != "clip" or not ABSENT.fullmatch(one["why"]):
                yield f"no {one['kind']}, because {one['why']}"
        if "clip" not in self._kinds:
            return
        missing = {one["kind"] for one in self._document["missing"]}
        if ("clip" in missing) == bool(by_kind["clip"]):
            yield "a clip is either there or missing"
        yield from self._clip(sorted(by_kind["clip"], key=lambda one: str(one["key"])))

    def _agrees(self, file: Document) -> Iterator[str]:
        body, head = self._body(file["key"]), self._bucket.head(file["key"])
        if file["size"] != len(body) or file["sha256"] != self._digest(file["key"]):
            yield f"{file['key']} has another size or digest than the document says"
        known = head.get("ContentType", file["type"])  # a file has none
        if file["type"] != known:
            yield f"{file['key']} is {known} and not {file['type']}"

    def _body(self, key: str) -> bytes:
        if key not in self._bodies:
            self._bodies[key] = self._bucket.get(key)
        return self._bodies[key]

    def _digest(self, key: str) -> str:
        return hashlib.sha256(self._body(key)).hexdigest()

    # -- the clip

    def _clip(self, files: list[Document]) -> Iterator[str]:
        """Yields what is wrong with the clip. It must show what is recorded of the event, and say
        what it does not show."""
        names = [one["key"][-14:] for one in files]
        numbered = [f"-part-{number:04}.mp4"[-14:] for number in range(1, len(files) + 1)]
        if names != numbered and (len(names) != 1 or "-part-" in names[0]):
            yield f"parts {names}"
        ever = self._recordings.of(self._event.camera, deleted=True)
        sure = [
            one.span
            for one in self._recordings.of(self._event.camera, deleted=False)
            if one.stored < self._in_time
        ]
        event = (self._event.started, self._ended)
        told = [(one["start"], one["end"]) for one in files]
        shown = without(told, [tuple(gap) for one in files for gap in one.get("gaps", ())])
        if (left := seconds(without(within(sure, *event), shown))) > CLOSE:
            yield f"{left:.1f} s of the event are recorded and not in the clip"
        untrue = seconds(without(within(shown, *event), [one.span for one in ever]))
        if untrue > CLOSE:
            yield f"the clip is said to show {untrue:.1f} s that nobody has recorded"
        raw = {one.sha256: one for one in ever}
        played = 0.0
        for one in files:
            original = raw.get(self._digest(one["key"]))
            if original is None:
                played += yield from self._movie(one)
            elif original.span == (one["start"], one["end"]):
                played += seconds([original.span])
            else:
                yield f"{one['key']} is a segment of {original.span}"
        # What is not sure to be recorded before and after the event may be missing untold.
        vague = seconds(without(without(shown, [event]), sure))
        short = seconds(shown) - played
        if files and not -CLOSE < short < CLOSE + vague:
            yield f"the clip plays {played:.1f} s instead of {seconds(shown):.1f} s"

    def _movie(self, file: Document) -> Generator[str, None, float]:
        """Returns the seconds that an mp4 plays, and yields what is wrong with it."""
        with tempfile.NamedTemporaryFile(suffix=".mp4") as copy:
            copy.write(self._body(file["key"]))
            copy.flush()
            length = [*ffmpeg.durations(Path(copy.name))][-1]
            if self._decode:
                words = [ffmpeg.ffmpeg(), "-v", "error", "-i", copy.name, "-f", "null", "-"]
                said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
                if said:
                    yield f"{file['key']} does not play: {said:.100}"
        if abs(length - file["duration"]) > 0.3:
            yield f"{file['key']} has {length:.1f} s and not {file['duration']:.1f} s"
        return length
