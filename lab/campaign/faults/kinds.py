"""All files of an event: snapshot, thumbnail, clip and metadata.

ffmpeg misbehaves, recordings and rows change or go, the disk is full, and the mirror dies at each
of its steps. The files of an event must agree with each other, whatever happened. See `sets`.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from contextlib import closing
from dataclasses import replace
from typing import Any

from lab.campaign import mounts, rows, told
from lab.campaign.events import CAMERAS, Event
from lab.campaign.faults import Fault, Step, child, host, s3
from lab.campaign.faults.disk import CACHE, cache
from lab.campaign.last_copies import wait_until_there
from lab.campaign.mounts import MOUNTS
from lab.campaign.recordings import Segment
from lab.campaign.world import ALL_KINDS, HASTE, World
from tests.rig import event_table, processes

RECORDED = CAMERAS[:-1]
LONGEST_SET = 90.0  # seconds until all files of all events are in the bucket
LONGEST_STEP = 25.0  # seconds until the mirror comes to a step
NEEDED = ("nice", "ionice", "sh", "true")  # programs that the mirror starts besides ffmpeg
MANY = 2_000
MANY_SECONDS = 3_000
LENGTH = 4  # seconds of a segment
LONGEST_MANY = 900.0  # seconds
MOST_STRIKES = 10  # of a fault of another group
KB = 1_000

DEATHS = [
    (step, when, what)
    for step, whats in {
        "ClipMaker.make": ("",),
        "Spool.hold": ("clip:", "metadata:", "thumbnail:"),
        "Ledger.add": ("clip:", "metadata:"),
        "Ledger.wait": ("clip:",),
        "Ledger.settle": ("clip:", "metadata:"),
        "S3Sink.put": (".mp4", ".json"),
        "Spool.release": ("clip:", "metadata:"),
        "Documents.find": ("",),
        "Intake.follow": ("",),
    }.items()
    for what in whats
    for when in ("before", "after")
]
"""A step of the mirror, whether it dies before or after it, and a text in its arguments."""


def all_is_there(world: World, within: float = LONGEST_SET) -> None:
    """All files of all events arrive, and then health is OK."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    if wait_until_there(world, "after the fault", within):
        told.wait_until_ok(world, "all files are in the bucket")


def _fault(name: str, **more: Any) -> Fault:
    environ = {**ALL_KINDS, **more.pop("environ", {})}
    more = {"after": all_is_there, "bound": LONGEST_SET, "alone": True, "runs": 1, **more}
    return Fault(name=name, environ=environ, **more)


def _with_all_files(name: str) -> Fault:
    """A fault of another group, with all files of the events."""
    [found] = [one for group in (child, host, s3) for one in group.FAULTS if one.name == name]

    def after(world: World) -> None:
        found.after(world)
        all_is_there(world)

    few = min(found.strikes, MOST_STRIKES)
    return replace(found, name=f"all files: {name}", environ={**found.environ, **ALL_KINDS},
                   after=after, strikes=few, alone=True, runs=1)  # fmt: skip


def _recorded_event(world: World) -> Event:
    """Makes an event of a camera that records."""
    camera = world.rng.choice(RECORDED)
    event, picture = rows.unwritten(world)
    event = replace(event, camera=camera, file=event.file.replace(event.camera, camera, 1))
    world.write(event, picture)
    world.send(event)
    return event


# -- ffmpeg


def _ffmpeg(*how: str, **more: Any) -> Step:
    def begin(world: World) -> None:
        world.change(ffmpeg={"how": how, **more})
        _recorded_event(world)

    return begin


def _ffmpeg_works(world: World) -> None:
    world.change(ffmpeg=None)


def _has_misbehaved(world: World) -> bool:
    return (world.folder / "control.ffmpeg").exists()


def _bad_ffmpeg(name: str, *how: str, **more: Any) -> Fault:
    return _fault(
        name,
        begin=_ffmpeg(*how),
        end=_ffmpeg_works,
        met=_has_misbehaved,
        lasts=(8.0, 16.0),
        **more,
    )


def _without_ffmpeg(world: World) -> None:
    """Leaves the programs that the mirror needs besides, and no ffmpeg on the path."""
    world.ffmpeg.unlink()
    for name in NEEDED:
        os.symlink(str(shutil.which(name)), world.ffmpeg.parent / name)
    world.environ["PATH"] = str(world.ffmpeg.parent)


def _ffmpeg_away(world: World) -> None:
    world.ffmpeg.rename(world.ffmpeg.with_name("away"))


def _ffmpeg_back(world: World) -> None:
    world.ffmpeg.with_name("away").rename(world.ffmpeg)


def _as_it_is(world: World) -> None:
    """Lets ffmpeg be silent for as long as it may be in earnest."""
    world.change(constants={k: v for k, v in HASTE.items() if not k.endswith(".ffmpeg")})


def _no_ffmpeg_is_left(world: World) -> None:
    all_is_there(world)
    world.stop()
    left = lambda: [pid for pid in world.processes() if processes.runs(pid, "ffmpeg")]  # noqa: E731
    world.wait_until(lambda: not left(), 15, "the end of each ffmpeg after Frigate's")
    world.start()


# -- recordings


def _delete_recordings(world: World) -> None:
    """Deletes some segments of the last minute."""
    _recorded_event(world)
    now, share = world.now, world.rng.choice((0.2, 0.5, 1.0))

    def chosen(segment: Segment) -> bool:
        return segment.end > now - 60 and world.rng.random() < share

    world.notes["taken"] = world.notes.get("taken", 0) + world.recordings.take(chosen, world.rng)


def _take_whole_sets(world: World) -> None:
    """Retention deletes all that Frigate has of the events, whose files are all in the bucket. The
    bucket must stay as it is."""
    all_is_there(world)
    before = {key: world.bucket.head(key)["LastModified"] for key in world.bucket.keys()}  # noqa: SIM118
    _forget_everything(world)
    world.pause(6.0, 8.0)
    after = {key: world.bucket.head(key)["LastModified"] for key in world.bucket.keys()}  # noqa: SIM118
    if after != before:
        changed = sorted(key for key in after.keys() | before.keys()
                         if after.get(key) != before.get(key))  # fmt: skip
        world.complaints.append(f"{len(changed)} objects changed, such as {changed[0]}")


def _forget_everything(world: World) -> None:
    """Deletes recordings, files and rows of all present events, as retention does."""
    world.recordings.take(lambda segment: segment.end < world.now - 2, world.rng)
    ids = list(world.owed())
    marks = ", ".join("?" * len(ids))
    with closing(rows.database(world)) as database:
        for statement in (
            f"UPDATE event SET has_clip = 0, has_snapshot = 0 WHERE id IN ({marks})",
            f"DELETE FROM event WHERE id IN ({marks})",
            f"DELETE FROM timeline WHERE source_id IN ({marks})",
        ):
            with database:
                database.execute(statement, ids)
            world.pause(0.0, 1.5)
        with database:
            database.execute("DELETE FROM reviewsegment")
    for event_id in ids:
        for file in world.events[event_id].files:
            (world.clips / file).unlink(missing_ok=True)


def _outage(world: World) -> None:
    world.proxy.refuse()


def _forget_in_the_outage(world: World) -> None:
    """Everything is held by the mirror, and then Frigate forgets it."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    spool = cache(world) / ".s3_spool"

    def held() -> bool:
        clips = {path.name for path in spool.glob("clip_*~.json")}
        recorded = [one for one in world.owed().values() if one.camera in RECORDED]
        return all(f"clip_{one.id}~.json" in clips for one in recorded)

    world.wait_until(held, 40, "the clips to be held", 0.2)
    world.oracle.arrived()  # the oracle remembers the rows
    _forget_everything(world)
    world.proxy.accept()


# -- rows


def _change_rows(world: World) -> None:
    """Changes rows in a loop while the mirror reads them. The oracle waits for the last state."""
    world.change(pauses={"_with_rows": 0.03})
    stop = threading.Event()
    rng = world.rng

    def loop() -> None:
        number = 0
        while not stop.wait(0.02):
            number += 1
            with closing(rows.database(world)) as database, database:
                found = database.execute("SELECT id FROM event ORDER BY random() LIMIT 1")
                for (event_id,) in found.fetchall():
                    _change(database, event_id, number)

    def _change(database: Any, event_id: str, number: int) -> None:
        for statement, *values in rng.sample((
            ("UPDATE event SET sub_label = ? WHERE id = ?", f"name {number}", event_id),
            ("UPDATE event SET data = json_set(data, '$.description', ?) WHERE id = ?",
             f"Zoë, {number}", event_id),
            ("UPDATE event SET retain_indefinitely = ? WHERE id = ?", number % 2, event_id),
            ("UPDATE reviewsegment SET severity = ? WHERE data LIKE ?",
             ("alert", "detection")[number % 2], f"%{event_id}%"),
            ("INSERT INTO timeline (timestamp, camera, source, source_id, class_type, data) VALUES "
             "(?, 'garage', 'tracked_object', ?, 'stationary', '{}')", world.now, event_id),
        ), 2):  # fmt: skip
            database.execute(statement, values)

    thread = threading.Thread(target=loop, daemon=True)
    world.notes["change rows"] = (thread, stop)
    world.at_close(stop.set)
    thread.start()


def _rows_rest(world: World) -> None:
    thread, stop = world.notes["change rows"]
    stop.set()
    thread.join()
    world.change(pauses=None)


def _delete_a_row(world: World) -> None:
    """Deletes a row at about the moment when the mirror reads it. What comes of the event must be
    right as far as it goes."""
    event = _recorded_event(world)
    event.taken = True
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    world.pause(0.0, 0.15)
    rows.delete(world, event.id)


# -- the disk


def _small_cache(world: World) -> None:
    mounts.small(world, cache(world), CACHE[1])


def _fill_cache(world: World) -> None:
    """Leaves so little space that a clip or two do not fit, or nothing does."""
    mounts.fill(cache(world))
    ballast = cache(world) / mounts.BALLAST
    room = world.rng.choice((0, 50 * KB, 150 * KB, 400 * KB))
    os.truncate(ballast, max(0, ballast.stat().st_size - room))
    _recorded_event(world)


def _empty_cache(world: World) -> None:
    mounts.empty(cache(world))


def _clips_then_pictures(world: World) -> None:
    """Clips are held in an outage. Then the disk is full, and pictures must be held."""
    world.proxy.refuse()
    for _ in range(4):
        _recorded_event(world)
    world.pause(8.0, 10.0)
    mounts.fill(cache(world))


def _space_and_service(world: World) -> None:
    mounts.empty(cache(world))
    world.proxy.accept()


# -- the mirror dies


def _die_at_a_step(world: World) -> None:
    left = world.notes.setdefault("deaths", [])
    if not left:
        left += world.rng.sample(DEATHS, len(DEATHS))
    step, when, what = left.pop()
    _die(world, step, when, what)


def _die(world: World, step: str, when: str, what: str) -> bool:
    """Lets the mirror die there, on the way of a new event."""
    world.wait_until(lambda: world.mirror, 20, "a mirror to strike")
    death = world.folder / "control.death"
    partial = death.with_suffix(".part")
    partial.write_text(json.dumps({"step": step, "when": when, "what": what}))
    partial.replace(death)
    _recorded_event(world)
    return world.wait_until(
        lambda: not death.exists(), LONGEST_STEP, f"the mirror to come {when} {step} {what}"
    )


def _die_with_the_only_clip(world: World) -> None:
    """The mirror dies when it holds a clip and has not queued it, and Frigate deletes the
    recording."""
    event = _recorded_event(world)
    world.pause(0.0, 0.2)
    if _die(world, "Spool.hold", "after", "clip:"):
        world.recordings.take(lambda segment: segment.end < world.now - 1, world.rng)
        event.kept = True


# -- many


def _many(world: World) -> None:
    """Inserts events of the last hour, and the recordings of that hour."""
    rows.wait_for_table(world)
    first = int(world.now) - MANY_SECONDS - 200
    with closing(rows.database(world)) as database:
        database.execute("PRAGMA synchronous = off")
        for number in range(0, MANY_SECONDS + 60, LENGTH):
            world.lab.rest(0.0)
            with database:
                for camera in RECORDED:
                    _record(world, database, camera, first + number)
        for number in range(MANY):
            world.lab.rest(0.0)
            at = first + 20.0 + number * MANY_SECONDS / MANY
            event = rows.make(
                world, at, lambda one: replace(one, kind="api", started=one.ended - 3.5)
            )
            rows.insert(world, rows.row(event))
            rows.own(world, event)


def _record(world: World, database: Any, camera: str, start: int) -> None:
    movie = world.folder / "segments" / f"{camera}.mp4"
    path = event_table.add_recording(database, world.clips.parent, camera, start, LENGTH, movie)
    stored = start + LENGTH + 1
    os.utime(path, (stored, stored))


FAULTS: tuple[Fault, ...] = (
    _fault("all files, undisturbed", after=_no_ffmpeg_is_left, lasts=(5.0, 8.0)),
    _fault(
        "recordings deleted while a clip is made",
        begin=_ffmpeg("waits"),
        strike=_delete_recordings,
        strikes=6,
        pause=(0.2, 3.0),
        end=_ffmpeg_works,
        met=lambda world: world.notes.get("taken", 0) > 0,
        runs=4,
    ),
    _bad_ffmpeg("ffmpeg is killed", "killed", "really"),
    _bad_ffmpeg("ffmpeg hangs", "hung", after=_no_ffmpeg_is_left),
    _bad_ffmpeg("ffmpeg writes rubbish", "rubbish", "nothing", "empty", "cut_short", "leaves_out"),
    _bad_ffmpeg("ffmpeg fails", "fails"),
    _bad_ffmpeg(
        "ffmpeg does anything", "killed", "hung", "rubbish", "cut_short", "leaves_out", "fails",
        "floods", "waits", "really",
        runs=3,
    ),
    _fault(
        "ffmpeg hangs for its whole minute",
        prepare=_as_it_is,
        begin=_ffmpeg("hung", times=1),
        end=_ffmpeg_works,
        met=_has_misbehaved,
        lasts=(70.0, 75.0),
        runs=1,
    ),
    _fault("there is no ffmpeg", prepare=_without_ffmpeg),
    _fault("ffmpeg goes away and comes back", begin=_ffmpeg_away, end=_ffmpeg_back,
           lasts=(8.0, 12.0)),
    _fault(
        "no space for clips",
        needs=MOUNTS,
        prepare=_small_cache,
        strike=_fill_cache,
        strikes=4,
        pause=(0.5, 4.0),
        lasts=(8.0, 12.0),
        end=_empty_cache,
    ),
    _fault(
        "no space for pictures while clips are held",
        needs=MOUNTS,
        prepare=_small_cache,
        begin=_clips_then_pictures,
        end=_space_and_service,
        blinds=True,
    ),
    _fault(
        "the mirror is killed while ffmpeg works",
        begin=_ffmpeg("kills_the_mirror", "kills_the_mirror", "waits"),
        end=_ffmpeg_works,
        met=_has_misbehaved,
        lasts=(10.0, 16.0),
    ),
    _fault(
        "the mirror dies at every step",
        strike=_die_at_a_step,
        strikes=10,
        pause=(0.0, 0.5),
        lasts=(0.0, 0.0),
        runs=4,
    ),
    _fault(
        "the mirror dies at every step, without ffmpeg",
        prepare=_without_ffmpeg,
        strike=lambda world: _die(world, *world.rng.choice((
            ("Spool.hold", "before", ":2"), ("Spool.hold", "after", ":2"),
            ("Ledger.add", "before", ":2"), ("Ledger.add", "after", ":2"),
            ("S3Sink.put", "before", "-part-0002"), ("S3Sink.put", "after", "-part-0002"),
            ("Ledger.add", "after", "clip:"), ("S3Sink.put", "after", "-part-0001"),
        ))) and None,
        strikes=4,
        pause=(0.0, 0.5),
        lasts=(0.0, 0.0),
        runs=2,
    ),
    _fault(
        "the mirror dies with the only copy of a clip",
        strike=_die_with_the_only_clip,
        strikes=2,
        pause=(0.0, 0.5),
        lasts=(0.0, 0.0),
    ),
    _fault("rows change while they are read", begin=_change_rows, end=_rows_rest,
           lasts=(8.0, 12.0), runs=3),
    _fault(
        "rows are deleted while they are read",
        begin=lambda world: world.change(pauses={"_with_rows": 0.1}),
        strike=_delete_a_row,
        strikes=12,
        pause=(0.0, 0.3),
        end=lambda world: world.change(pauses=None),
        runs=3,
    ),
    _fault("Frigate deletes all of an event whose files are in the bucket",
           after=_take_whole_sets, runs=2),
    _fault(
        "Frigate deletes all of an event whose files wait in an outage",
        prepare=lambda world: setattr(world.retention, "share", 0.0),
        begin=_outage,
        end=_forget_in_the_outage,
        runs=2,
    ),
    _fault(
        f"{MANY:,} events with all files",
        begin=_many,
        after=lambda world: all_is_there(world, LONGEST_MANY),
        bound=LONGEST_MANY,
        runs=1,
        blinds=True,
        environ={"MIRROR_CLIP_PADDING": "1", "MIRROR_BATCH_SIZE": "50"},
    ),
    *map(_with_all_files, (
        "kill -9 at random moments", "SIGTERM", "SIGSTOP", "clean stop", "Frigate killed",
        "connection refused", "connection reset", "request cut in mid-body", "success answer lost",
        "503 SlowDown", "corrupted body",
    )),
)  # fmt: skip
