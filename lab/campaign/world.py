"""The world of one run: a Frigate with its folders, a bucket, the proxy before it, and the mirror.

The world makes events and remembers what it wrote. All its files lie in one folder, all its
processes have one mark in their environment, and `close` removes everything.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lab.campaign import events
from lab.campaign.events import Event
from lab.campaign.host import Host, Tail
from lab.campaign.lab import Lab
from lab.campaign.oracle import Oracle
from lab.campaign.proxy import Proxy
from lab.campaign.recordings import Recordings
from lab.campaign.retention import Retention
from lab.campaign.sets import SetOracle
from tests.rig import STANDIN, event_table, ffmpeg, processes

log = logging.getLogger("campaign")
SHIM = Path(__file__).resolve().parent / "hostside" / "shim"
VERSIONS = ("0.16", "0.17", "0.18")
STARTED = "S3 snapshot mirror started"
DRAIN = 2
SHORT = {"MIRROR_SWEEP_INTERVAL": "1", "MIRROR_CHECK_INTERVAL": "1", "S3_CONNECT_TIMEOUT": "1",
         "S3_READ_TIMEOUT": "2", "MIRROR_STATS_INTERVAL": "5", "MIRROR_DRAIN_SECONDS": str(DRAIN),
         "MIRROR_BATCH_SIZE": "4"}  # fmt: skip
LOOK_EVERY = 0.02  # seconds between two looks
ALL_KINDS = {"MIRROR_KINDS": "snapshot,thumbnail,clip,metadata"}
FFMPEG = Path(__file__).resolve().parent / "hostside" / "ffmpeg.py"
LATEST = 10.0
HASTE: dict[str, dict[str, Any]] = {
    "frigate_mirror.frigate.readiness": {"LATEST": LATEST, "STILL_TAIL": 6.0, "LOOK_AGAIN": 0.5},
    "frigate_mirror.frigate.clips": {"AFTER_FAILURE": 1.0},
    "frigate_mirror.frigate.ffmpeg": {"Ffmpeg": {"silent": 2.0}},
    "frigate_mirror.intake.intake": {"AFTER_FAILURE": 1.0},
    "frigate_mirror.intake.sweep": {"COMPARE_EVERY": 2.0},
}  # fmt: skip
"""Waits of the mirror, in seconds, that would otherwise make a run take minutes."""
STEPS = {
    "frigate_mirror.frigate.clipmaker": ["ClipMaker.make"],
    "frigate_mirror.frigate.database": ["_with_rows"],
    "frigate_mirror.frigate.documents": ["Documents.find"],
    "frigate_mirror.intake.intake": ["Intake.follow"],
    "frigate_mirror.ledger.ledger": ["Ledger.add", "Ledger.settle", "Ledger.wait"],
    "frigate_mirror.spool": ["Spool.hold", "Spool.release"],
    "s3": ["S3Sink.put"],
}
"""Steps on the way of an event's files at which the mirror can be made to die."""
PAUSES = "0.05 0.1 0.2"


class World:
    """`version` is the version of Frigate. `environ` are further settings of this run. With
    ALL_KINDS among them, Frigate records, events have thumbnails, and the oracle looks at all files
    of an event."""

    def __init__(
        self,
        lab: Lab,
        seed: str,
        version: str,
        *,
        tls: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.lab, self.version, self.rng = lab, version, random.Random(seed)
        self.events: dict[str, Event] = {}
        self.complaints: list[str] = []
        self.notes: dict[str, Any] = {}
        self.host: Host | None = None
        self._hosts = 0
        self._shim: dict[str, Any] = {}
        self._undoings: list[Callable[[], object]] = []
        self.all_kinds = "MIRROR_KINDS" in (environ or {})
        self._make_folder()
        self._make_bucket(tls)
        self.environ = self._environ(tls)
        for name, value in (environ or {}).items():
            self.environ[name] = value.replace("{folder}", str(self.folder))
        if self.all_kinds:
            self._make_recorder()
        self._make_retention()

    def _make_folder(self) -> None:
        self.folder = self.lab.room()
        self._mark = f"CAMPAIGN_WORLD={self.folder}\0"
        self.clips = self.folder / "media" / "clips"
        self.database = self.folder / "config" / "frigate.db"
        for path in (self.clips, self.database.parent, self.folder / "tmp"):
            path.mkdir(parents=True)
        self.log = self.folder / "log"
        self.log.touch()
        self._log_tail, self._starts = Tail(self.log), 0
        self._counting = threading.Lock()
        self.change()

    def _make_bucket(self, tls: bool) -> None:
        self.bucket = self.lab.server.bucket()
        context = self.lab.certificates.right if tls else None
        own = random.Random(self.rng.random())
        self.proxy = Proxy(self.lab.server.plain_endpoint, own, context)
        self.proxy.latency = (0.0, self.rng.choice((0.0, 0.02, 0.1)))
        self.prefix = self.rng.choice(("", "frigate", "frigate/snapshots"))
        self.recordings = Recordings(self.database)
        self.oracle = (
            SetOracle(self.bucket, self.prefix, self.database, self.recordings, LATEST)
            if self.all_kinds
            else Oracle(self.bucket, self.prefix)
        )

    def _make_recorder(self) -> None:
        """Lets all cameras but the last one record, and puts an ffmpeg that can misbehave in the
        mirror's way."""
        segments = self.folder / "segments"
        segments.mkdir()
        movies = list(event_table.SEGMENTS.values())
        for number, camera in enumerate(events.CAMERAS[:-1]):
            shutil.copy(movies[number % len(movies)], segments / f"{camera}.mp4")
        self.ffmpeg = self.folder / "bin" / "ffmpeg"
        self.ffmpeg.parent.mkdir()
        words = f'{sys.executable} -IS {FFMPEG} {ffmpeg.ffmpeg()} "$@"'
        self.ffmpeg.write_text(f"#!/bin/sh\nexec {words}\n")
        self.ffmpeg.chmod(0o755)
        self.environ["STANDIN_SEGMENTS"] = str(segments)
        self.environ["PATH"] = f"{self.ffmpeg.parent}:{self.environ['PATH']}"
        self.change(constants=HASTE, steps=STEPS)

    def _make_retention(self) -> None:
        drawn = self.rng.choice((0.0, 0.5, 0.9))
        share = drawn if self.lab.share is None else self.lab.share
        own = random.Random(self.rng.random())
        rows_too = self.rng.random() < 0.4
        self.retention = Retention(
            # A clip takes longer than the fair chance, and the last document longer than a clip.
            self, own, share, rows_too=rows_too and not self.all_kinds, flags=self.all_kinds
        )  # fmt: skip

    def _environ(self, tls: bool) -> dict[str, str]:
        """The environment of Frigate's container, without this machine's own settings."""
        root = self.lab.root
        choices = {
            "S3_PATH_PREFIX": self.prefix,
            "MIRROR_UPLOAD_THREADS": str(self.rng.choice((1, 2, 8))),
            "MIRROR_KEY_TIMEZONE": self.rng.choice(("UTC", "Europe/Berlin", "America/New_York")),
        }
        places = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": os.pathsep.join(map(str, (root / "boot", SHIM, STANDIN))),
            "FRIGATE_CLIPS_DIR": str(self.clips),
            "STANDIN_MEDIA": str(self.clips.parent),
            "STANDIN_DB": str(self.database),
            "STANDIN_VERSION": self.version,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CAMPAIGN_CONTROL": str(self.folder / "control"),
            "CAMPAIGN_PAUSES": PAUSES,
            "CAMPAIGN_WORLD": str(self.folder),
        }
        found: dict[str, str] = self.bucket.environ | {"S3_ENDPOINT_URL": self.proxy.endpoint}
        trusted = {"S3_CA_BUNDLE": str(self.lab.certificates.bundle)} if tls else {}
        return found | trusted | SHORT | choices | places

    # -- Frigate

    def start(self) -> None:
        """Starts Frigate, which starts the mirror. Does not wait for the mirror."""
        self._hosts += 1
        self.host = Host(self.folder, f"host{self._hosts}", self.log, self.environ)
        self.wait_until(self._is_ready, 20, "Frigate's start")
        if self.retention.ident is None:
            self.retention.start()

    @property
    def running(self) -> Host:
        assert self.host is not None, "Frigate has not been started"
        return self.host

    @property
    def mirror(self) -> int:
        """The mirror's process id, 0 while there is none."""
        return self.host.mirror() if self.host is not None and self.host.alive else 0

    def starts_told(self) -> int:
        """How often a mirror has said that it started."""
        with self._counting:
            self._starts += sum(STARTED in line for line in self._log_tail.lines())
            return self._starts

    def event(self) -> Event | None:
        """Makes one event, from its picture to its last message. None while Frigate is down."""
        if self.host is None or not self.host.alive:
            return None
        event, picture = events.happen(self.rng, self.now, self.version)
        self.write(event, picture)
        self.send(event)
        return event

    def write(self, event: Event, picture: bytes) -> None:
        """Writes the event's picture, and its thumbnail if this run looks at thumbnails."""
        events.write(self.clips, event, picture, self.version)
        if self.all_kinds:
            events.write_thumbnail(self.clips, event)

    def send(self, event: Event, *, known: bool = True) -> None:
        """Lets Frigate handle an event whose picture is there already. The event is owed once its
        handler returns. If it is not `known` it must never be in the bucket."""
        if known:
            self.events[event.id] = event
            event.host = self._hosts
        self.running.order("event", kind=event.kind, data=event.message())

    def burst(self, fewest: int, most: int) -> None:
        for _ in range(self.rng.randint(fewest, most)):
            self.event()

    @property
    def now(self) -> float:
        """The time as Frigate and the mirror see it, in Unix seconds."""
        return time.time() + float(self._shim.get("clock", 0.0))

    def change(self, **differently: Any) -> None:
        """Changes what the shim makes different for the mirror. Its module lists the keys."""
        self._shim = {k: v for k, v in (self._shim | differently).items() if v}
        partial = self.folder / "control.part"
        partial.write_text(json.dumps(self._shim))
        partial.replace(self.folder / "control")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the mirror beside it, as a person does."""
        return subprocess.run(
            [sys.executable, str(self.lab.root / "s3_snapshot_mirror.py"), *words],
            env=self.environ | {"PYTHONPATH": "", "FRIGATE_DB_PATH": str(self.database)},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )

    # -- what is known of it

    def _is_ready(self) -> bool:
        self._hear()
        return self.running.ready

    def _hear(self) -> None:
        """Notes which rows are committed, because their handler has returned."""
        for message, event_id in self.host.handled() if self.host is not None else ():
            event = self.events.get(event_id)
            if event is not None and message == event.last_word:
                event.committed = True

    def quiet(self) -> bool:
        """Whether Frigate has handled every event that it was sent, or never will."""
        self._hear()
        sent = (one for one in self.events.values() if one.host == self._hosts)
        host = self.host
        return host is None or not host.alive or host.deaf or all(one.committed for one in sent)

    def owed(self) -> dict[str, Event]:
        """Every event that must be in the bucket. The module `oracle` explains which."""
        self._hear()
        return {k: one for k, one in self.events.items() if one.committed and not one.taken}

    def look_into_database(self) -> None:
        """Also notes the rows of events whose host was killed before it could report them. Rows
        with other ids are the work of a fault and no events of this world."""
        if self.database.exists():
            with closing(sqlite3.connect(self.database, timeout=20)) as database:
                database.text_factory = lambda raw: str(raw, "utf-8", "replace")
                for (event_id,) in database.execute("SELECT id FROM event WHERE has_snapshot"):
                    if event_id in self.events:
                        self.events[event_id].committed = True

    def wait_until(
        self, true: Callable[[], Any], within: float, what: str, every: float = LOOK_EVERY
    ) -> bool:
        """Waits until it is `true` and looks `every` so many seconds. Complains if it does not come
        about, and goes on."""
        found = self.comes_about(true, within, every)
        if not found:
            self.complaints.append(f"not within {within:g} s: {what}")
        return found

    def comes_about(
        self, true: Callable[[], Any], within: float, every: float = LOOK_EVERY
    ) -> bool:
        """Waits until it is `true`. Does not complain, because another fault may prevent it."""
        until = time.monotonic() + within
        while not (found := bool(true())) and time.monotonic() < until:
            self.lab.rest(every)
        return found

    def wait_for_start(self, after: int, within: float = 30.0) -> bool:
        """Waits until mirrors have said more than `after` times that they started."""
        return self.wait_until(lambda: self.starts_told() > after, within, "the mirror's start")

    def pause(self, least: float, most: float) -> None:
        self._hear()
        self.lab.rest(self.rng.uniform(least, most))

    # -- its end

    def stop(self) -> None:
        """Stops Frigate as docker does. The mirror must end with it and must not delay its end."""
        if self.host is None or not self.host.alive:
            return
        if self.host.stop() != 0:
            self.complaints.append("Frigate did not end in good order within 10 s")
        self.expect_no_mirror()

    def expect_no_mirror(self) -> None:
        """Waits until no mirror is left. A mirror that another fault has stopped does not count."""

        def gone() -> bool:
            left = filter(processes.is_mirror, self.processes())
            return all(processes.state(pid) == "T" for pid in left)

        self.wait_until(gone, DRAIN + 8, "the end of the mirror after Frigate's")

    def processes(self) -> list[int]:
        return processes.marked(self._mark)

    def at_close(self, undo: Callable[[], object]) -> None:
        """Calls `undo` when the world ends, wherever the run fails. The last one is called
        first."""
        self._undoings.append(undo)

    def close(self) -> None:
        """Removes everything: processes, mounts, ports, the folder, the bucket."""
        mine = (self._end_processes, *reversed(self._undoings), self.proxy.close,
                self._delete_bucket, lambda: shutil.rmtree(self.folder))  # fmt: skip
        for undo in mine:
            try:
                undo()
            except Exception:  # the others must be undone all the same
                log.exception("%s: not undone", self.folder)

    def _end_processes(self) -> None:
        if self.retention.is_alive():
            self.retention.stop()
        if self.host is not None and self.host.alive:
            self.host.kill()
        processes.kill_marked(self._mark)

    def _delete_bucket(self) -> None:
        """Deletes the bucket, unless a fault that was interrupted has done so."""
        with suppress(self.bucket.client.exceptions.NoSuchBucket):
            self.bucket.client.delete_bucket(Bucket=self.bucket.name)
