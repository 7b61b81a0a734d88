"""Intake: how events become artifacts in the queue.

offer(event ids)   push for speed: the hook saw an event end
sweep()            pull for truth: a window of Frigate's events minus the ledger, never a cursor
look_for_changes() pictures that Frigate changed after their upload go up again
tend()             events whose picture was not there yet, or not whole, are looked at again
hold()             pictures that the spool should hold and does not
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from frigate_mirror.artifact import Artifact, event_of
from frigate_mirror.faults import Troubles
from frigate_mirror.frigate.database import Catalog, CatalogError, Event
from frigate_mirror.frigate.snapshots import snapshot_id, snapshot_of, why_unseen, with_flaw
from frigate_mirror.keys import KeyCodec, KeyFault, is_event_id
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Priority
from frigate_mirror.spool import Spool

log = logging.getLogger("frigate_s3.intake")
LIVE_FOR = 300.0  # seconds after its end in which an event that a sweep finds still counts as live
FILE_LOOKS = 12  # for a picture that is not there or whole, doubling from 1 s: about 10 minutes
LONGEST_LOOK = 120.0
LOOKS_AT_ONCE = 1000


class Intake:
    """`wake` is called when something was queued; `clock` gives Unix seconds."""

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        spool: Spool,
        *,
        clips_dir: Path,
        keys: KeyCodec,
        troubles: Troubles,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._spool = spool
        self._clips_dir = clips_dir
        self._keys = keys
        self._troubles = troubles
        self._wake = wake
        self._clock = clock
        self._adopted = False

    def offer(self, *event_ids: str) -> bool:
        """These events may have their pictures now. Never raises: the sweep finds what this misses.
        False where database or ledger fail, which the next event would have to wait for too."""
        good = [one for one in event_ids if is_event_id(one)]
        if len(good) < len(event_ids):
            for one in set(event_ids).difference(good):
                log.warning("S3 snapshot mirror: %r is no event id, passed over", one[:80])
        try:
            self._admit_all(self._catalog.events(good), lambda event: Priority.LIVE)
            return True
        except CatalogError as error:
            self._troubles.note("database", str(error))
        except LedgerError as error:
            self._troubles.note("ledger", str(error))
        return False

    def sweep(self, since: float, until: float = math.inf) -> int:
        """Queue every snapshot of the window that the ledger does not know; returns how many
        events were new. Raises CatalogError and LedgerError."""
        found, fault = 0, None
        for page in self._catalog.window(since, until):
            unknown = map(event_of, self._ledger.unknown([snapshot_id(one) for one in page]))
            events = self._catalog.events([one for one in unknown if is_event_id(one)])
            try:
                found += self._admit_all(events, self._priority_of, fault)
            except LedgerError as error:
                fault = error
        if fault:
            raise fault
        return found

    def look_for_changes(self, event_ids: Iterable[str]) -> int:
        """Queue the pictures of these events that are no longer what was uploaded; returns how
        many. Raises CatalogError and LedgerError."""
        changed, found = 0, []
        ids = [one for one in event_ids if is_event_id(one)]
        uploaded = self._ledger.versions([snapshot_id(one) for one in ids])
        for event in self._catalog.events([one for one in ids if snapshot_id(one) in uploaded]):
            artifact = self._snapshot(event) if event.picture_is_final else None
            if artifact is not None and artifact.version != uploaded[artifact.id]:
                found.append((event, artifact))
        nameless = [artifact for _, artifact in found if not uploaded[artifact.id]]
        if nameless:
            self._ledger.recognise(nameless)
            uploaded |= self._ledger.versions([one.id for one in nameless])
        for event, artifact in found:
            if artifact.version == uploaded[artifact.id]:
                continue
            artifact = self._with_flaw(artifact)
            if not artifact.flaw:  # never half a picture in the place of a whole one
                changed += self._queue(artifact, self._priority_of(event))
        return changed

    def look_again(self, since: float) -> None:
        """Queue the pictures of events from `since` on that had no file and have one now: a disk
        may have been away. Raises CatalogError and LedgerError."""
        for page in self._ledger.without_file(since):
            self.look_for_files(page)

    def look_for_files(self, artifact_ids: Iterable[str]) -> int:
        """Queue those of these artifacts that Frigate has a file of; returns how many. Raises
        CatalogError and LedgerError."""
        found = 0
        for event in self._catalog.events([event_of(one) for one in artifact_ids]):
            artifact = self._snapshot(event) if event.picture_is_final else None
            if artifact is not None:
                found += self._queue(self._with_flaw(artifact), self._priority_of(event))
        return found

    def hold(self) -> None:
        """Hold what could not be held before, and queue what only the spool still has of an
        event: the ledger may have been lost. Raises CatalogError and LedgerError."""
        if self._spool.recount():
            for artifact in self._ledger.pending(self._spool.lacks):
                self._spool.hold(artifact)
                self._let_go_unless_wanted(artifact)
        if not self._adopted:
            self._adopted = True
            try:
                self._adopt()
            except (CatalogError, LedgerError):
                self._adopted = False
                raise

    def _adopt(self) -> None:
        """Queue the files of the spool that the ledger does not know, as their descriptions have
        them or, where there is none, as Frigate does."""
        undescribed = []
        for artifact_id in self._forgotten():
            artifact = self._described(artifact_id)
            if artifact is not None:
                self._queue(artifact, Priority.BACKLOG)
            elif is_event_id(event_of(artifact_id)):
                undescribed.append(event_of(artifact_id))
        for event in self._catalog.events(undescribed):
            self._admit(event, self._priority_of(event))

    def _forgotten(self) -> list[str]:
        """Ids of the spool's orphans that the ledger does not know, or not in this version."""
        held: Sequence[str] = self._spool.orphans
        found: list[str] = []
        for at in range(0, len(held), LOOKS_AT_ONCE):
            page = held[at : at + LOOKS_AT_ONCE]
            found += self._ledger.unknown(page)
            for one, version in self._ledger.versions(page).items():
                artifact = self._spool.described(one)
                if version and artifact is not None and artifact.version != version:
                    found.append(one)
        return found

    def tend(self) -> None:
        """Look again for the pictures that were not there, or not whole. Raises CatalogError,
        LedgerError."""
        now = self._clock()
        waiting = self._ledger.waiting(now, LOOKS_AT_ONCE)
        events = {
            one.id: one for one in self._catalog.events([event_of(row[0]) for row in waiting])
        }
        for artifact_id, camera, started, looks in waiting:
            event = events.get(event_of(artifact_id))
            last = event is None or looks >= FILE_LOOKS
            artifact = self._snapshot(event) if event else self._described(artifact_id)
            if artifact is not None:
                artifact = self._with_flaw(artifact)
            if artifact is not None and (last or not artifact.flaw):
                if artifact.flaw:
                    log.warning("S3 snapshot mirror: %s: %s; uploaded as it is",
                                artifact.key, artifact.flaw)  # fmt: skip
                self._queue(artifact, self._priority_of(event) if event else Priority.BACKLOG)
            elif last:
                log.debug("event %s has no snapshot file", event_of(artifact_id))
                unseen = why_unseen(event, self._clips_dir) if event else ""
                why = unseen or "no snapshot file"
                self._ledger.give_up(artifact_id, why, now, lost=bool(unseen))
            else:
                due = now + min(2.0**looks, LONGEST_LOOK)
                self._ledger.wait(artifact_id, camera, started, due, looks + 1)

    def _admit_all(
        self,
        events: Iterable[Event],
        priority_of: Callable[[Event], Priority],
        fault: LedgerError | None = None,
    ) -> int:
        """Admit those of the events whose picture is final; returns how many. Once the ledger has
        failed, with `fault` or now, the others' pictures are only held, lest Frigate deletes them
        before it can be written again. Raises LedgerError then."""
        final = [event for event in events if event.picture_is_final]
        for event in final:
            try:
                if fault is None:
                    self._admit(event, priority_of(event))
                else:
                    self._hold_only(event)
            except LedgerError as error:
                fault = error
                self._spool.orphan(snapshot_id(event.id))
                self._adopted = False
        if fault:
            raise fault
        return len(final)

    def _hold_only(self, event: Event) -> None:
        """Raises LedgerError for an event that can have no key."""
        if self._spool.holds(snapshot_id(event.id)):
            return
        artifact = self._snapshot(event)
        if artifact is not None:
            self._spool.hold(self._with_flaw(artifact))
            self._spool.orphan(artifact.id)
            self._adopted = False

    def _admit(self, event: Event, priority: Priority) -> None:
        """Queue the event's snapshot, or remember to look for it again. Raises LedgerError."""
        artifact = self._snapshot(event)
        if artifact is not None:
            artifact = self._with_flaw(artifact)
            if not artifact.flaw:
                self._queue(artifact, priority)
                return
            self._spool.hold(artifact)  # Frigate may be writing it at this moment
        if is_event_id(event.id):
            looks = FILE_LOOKS if priority is Priority.BACKLOG else 1
            due = self._clock() + 1.0
            self._ledger.wait(snapshot_id(event.id), event.camera, event.started, due, looks)

    def _priority_of(self, event: Event) -> Priority:
        """Of an event that no hook told of. A manual one need not have ended yet."""
        age = self._clock() - (event.started if event.ended is None else event.ended)
        return Priority.LIVE if abs(age) < LIVE_FOR else Priority.BACKLOG

    def _snapshot(self, event: Event) -> Artifact | None:
        """The event's snapshot as it is now. An event that can have no key is a dead letter."""
        try:
            held = self._spool.path(snapshot_id(event.id))
            return snapshot_of(event, self._clips_dir, self._keys, held)
        except KeyFault as fault:
            if is_event_id(event.id):
                now = self._clock()
                one = snapshot_id(event.id)
                self._ledger.refuse(one, event.camera, event.started, str(fault), now)
            return None

    def _described(self, artifact_id: str) -> Artifact | None:
        """What the spool's description says of a held file. Others may have written it, so its
        source can only be a file in Frigate's folder of snapshots."""
        found = self._spool.described(artifact_id)
        return found and replace(found, source=self._clips_dir / found.source.name)

    def _with_flaw(self, artifact: Artifact) -> Artifact:
        return with_flaw(artifact, self._spool.path(artifact.id))

    def _queue(self, artifact: Artifact, priority: Priority) -> bool:
        """Whether it is new to the queue. Raises LedgerError."""
        # Held first: between the two a crash leaves a file too many, never one too few.
        self._spool.hold(artifact)
        try:
            new = self._ledger.add(artifact, priority, self._clock())
        except LedgerError:
            self._spool.orphan(artifact.id)
            self._adopted = False
            raise
        if new or self._let_go_unless_wanted(artifact):
            self._wake()
        return new

    def _let_go_unless_wanted(self, artifact: Artifact) -> bool:
        """Whether its file is still to be read; it may have been uploaded this very moment."""
        wanted = self._ledger.wants_file(artifact.id)
        if not wanted:
            self._spool.release(artifact.id, artifact.version)
        return wanted
