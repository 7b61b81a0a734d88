"""The demo's own view of the bucket. It uses boto3 and none of the mirror's code, so it shows what
anybody would see there.

    make        wait for the server, make the bucket and try it
    wait        wait until the JSON of every event says that it is complete; print the number of
                objects
    event       show the objects of the first event
    document    show what the JSON of the first event says
    all         compare every object with what the stand-in wrote; exit 1 if they differ
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WITHIN = 60  # seconds until the server must answer, and until every event must be complete
TOLERANCE = 1.5  # seconds that a clip may lack at its end; the starts of segments are whole seconds


@dataclass(frozen=True)
class Event:
    """An event as the stand-in has it in its database. Times are Unix seconds."""

    id: str
    start: float
    end: float


@dataclass(frozen=True)
class Object:
    """An object of the bucket."""

    key: str
    type: str
    body: bytes

    @property
    def event_id(self) -> str:
        """The event in its key: .../1700000000.5-abcdef-20231114_221320.jpg"""
        return "-".join(self.key.rpartition("/")[2].split("-")[:2])

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def make() -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    client, deadline = _client(), time.monotonic() + WITHIN
    bucket = os.environ["DEMO_BUCKET"]
    while True:
        try:
            client.create_bucket(Bucket=bucket)
            break
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                print(f"the S3 server did not come up: {error}", file=sys.stderr)
                return 1
            time.sleep(0.1)
    # The first object in a new bucket takes this server seconds. They are no part of the demo.
    client.put_object(Bucket=bucket, Key="first", Body=b"x")
    client.delete_object(Bucket=bucket, Key="first")
    return 0


def wait() -> int:
    deadline = time.monotonic() + WITHIN
    while True:
        objects = _objects()
        lacking = [one.id for one in _events() if not _document(objects, one.id).get("complete")]
        if not lacking:
            print(len(objects))
            return 0
        if time.monotonic() > deadline:
            print(f"not complete in the bucket: {', '.join(lacking)}", file=sys.stderr)
            return 1
        time.sleep(0.3)


def show_event() -> int:
    """Prints two lines for each object. A size is in thousands of bytes and rounded up, as in the
    log of the mirror."""
    objects, disk, first = _objects(), _digests_on_disk(), _events()[0]
    document = _document(objects, first.id)
    for found in objects:
        if found.event_id == first.id:
            print(found.key)
            print(f"    {-(-len(found.body) // 1000)} KB, {found.type}, "
                  f"{_wrong(found, document, disk) or _right(found, document)}")  # fmt: skip
    return 0


def show_document() -> int:
    """Prints some of the fields, each in a line."""
    document = _document(_objects(), _events()[0].id)
    event = {name: document["table"]["event"][name] for name in ("label", "camera", "zones")}
    seen = [{"class_type": row["class_type"]} for row in document["timeline"]]
    files = [{name: file[name] for name in ("kind", "size")} for file in document["files"]]
    fields = {"schema": document["schema"], "complete": document["complete"], "event": event,
              "timeline": seen, "reviews": document["reviews"], "files": files}  # fmt: skip
    for name, value in fields.items():
        print(f'"{name}": {json.dumps(value)}')
    return 0


def show_all() -> int:
    objects, disk, events = _objects(), _digests_on_disk(), _events()
    faults = [f"{one.key}: it belongs to no event" for one in objects
              if one.event_id not in [event.id for event in events]]  # fmt: skip
    for event in events:
        own = [one for one in objects if one.event_id == event.id]
        document = _document(own, event.id)
        faults += _faults(event, own, document, disk)
    verdict = "none of them wrong and none missing" if not faults else f"{len(faults)} faults:"
    print(f"{len(objects)} objects of {len(events)} events, {verdict}")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def _faults(
    event: Event, objects: list[Object], document: dict[str, Any], disk: set[str]
) -> Iterator[str]:
    """Yields what is wrong with the objects of an event, or missing."""
    if not document:
        yield f"{event.id}: it has no JSON"
        return
    for found in objects:
        if wrong := _wrong(found, document, disk):
            yield f"{found.key}: {wrong}"
    files = document["files"]
    for kind in {"snapshot", "thumbnail", "clip"} - {file["kind"] for file in files}:
        yield f"{event.id}: it has no {kind}"
    for key in {file["key"] for file in files} - {found.key for found in objects}:
        yield f"{key}: it is not in the bucket"
    clips = [file for file in files if file["kind"] == "clip"]
    if clips and not (
        min(clip["start"] for clip in clips) <= event.start
        and max(clip["end"] for clip in clips) >= event.end - TOLERANCE
        and clips[0]["gaps"] == []
    ):
        yield f"{event.id}: the clip does not show all of the event"


def _wrong(found: Object, document: dict[str, Any], disk: set[str]) -> str:
    """Returns what is wrong with an object, or an empty text."""
    if found.key.endswith(".json"):
        return "" if document.get("complete") else "NOT COMPLETE"
    told = _told(found, document)
    if told.get("sha256") != found.sha256:
        return "NOT THE BYTES OF WHICH THE JSON TELLS"
    made = told["kind"] == "clip" and not _is_part(found.key) and found.body[4:8] == b"ftyp"
    return "" if made or found.sha256 in disk else "NO SUCH FILE ON DISK"


def _right(found: Object, document: dict[str, Any]) -> str:
    """Returns what an object is that is not wrong."""
    if found.key.endswith(".json"):
        return f"complete, it names {len(document['files'])} files"
    duration = None if _is_part(found.key) else _told(found, document).get("duration")
    return f"{duration:.1f} s of the recording" if duration else "same bytes as on disk"


def _is_part(key: str) -> bool:
    """Returns whether the object is a recording segment as it is, for want of an ffmpeg."""
    return "-part-" in key


def _told(found: Object, document: dict[str, Any]) -> dict[str, Any]:
    """Returns what the JSON tells of an object."""
    return next((file for file in document.get("files", []) if file["key"] == found.key), {})


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=os.environ["DEMO_ENDPOINT"],
        aws_access_key_id=os.environ["DEMO_OWNER_KEY"],
        aws_secret_access_key=os.environ["DEMO_OWNER_SECRET"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def _objects() -> list[Object]:
    client, bucket = _client(), os.environ["DEMO_BUCKET"]
    found = []
    for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        answer = client.get_object(Bucket=bucket, Key=entry["Key"])
        found.append(Object(entry["Key"], answer["ContentType"], answer["Body"].read()))
    return found


def _events() -> list[Event]:
    """Returns the events that have pictures, the oldest first."""
    connection = sqlite3.connect(f"file:{os.environ['FRIGATE_DB_PATH']}?mode=ro", uri=True)
    query = "SELECT id, start_time, end_time FROM event WHERE has_snapshot ORDER BY start_time"
    events = [Event(*row) for row in connection.execute(query)]
    connection.close()
    return events


def _document(objects: list[Object], event_id: str) -> dict[str, Any]:
    """Returns the JSON of an event, or an empty dictionary if it is not in the bucket yet."""
    for found in objects:
        if found.event_id == event_id and found.key.endswith(".json"):
            document: dict[str, Any] = json.loads(found.body)
            return document
    return {}


def _digests_on_disk() -> set[str]:
    """Returns the SHA-256 of each picture and segment that the stand-in has written."""
    media = Path(os.environ["STANDIN_MEDIA"])
    files = [path for ending in ("jpg", "webp", "mp4") for path in media.rglob(f"*.{ending}")]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


COMMANDS = {"make": make, "wait": wait, "event": show_event, "document": show_document,
            "all": show_all}  # fmt: skip


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 64
    return COMMANDS[arguments[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
