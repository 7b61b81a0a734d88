"""Intake: how the files of subjects become artifacts in the queue.

offer(subject ids)   a source says that these subjects may have files now
sweep()              compares a window of the catalog with the ledger
look_for_changes()   uploads files again that the recorder changed after their upload
look_for_waiting()   looks again, for minutes, for files that were missing or incomplete
look_for_gone()      looks again, for days, for files that were never found
look_for_selected()  looks again at what the owner's filters left out
hold()               holds files that the spool should hold and does not
follow()             looks again at files that describe others, after these were uploaded
make_next()          makes the next bulk file that is due
hold_bulk()          holds bulk files that the spool should hold and does not
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from itertools import islice
from typing import Generic, TypeVar, cast

from frigate_mirror.artifact import Artifact, kind_of, subject_of
from frigate_mirror.catalog import Catalog, CatalogError, Kind, NoFile, NotYet, S
from frigate_mirror.faults import Troubles
from frigate_mirror.keys import KeyFault, artifact_id, is_event_id
from frigate_mirror.ledger.ledger import Absent, Ledger, LedgerError
from frigate_mirror.ledger.rows import Priority, Settled
from frigate_mirror.spool import Spool

log = logging.getLogger("frigate_s3.intake")
T = TypeVar("T")
LIVE_FOR = 300.0  # seconds after its end for which a subject that a sweep finds counts as live
FILE_LOOKS = 12  # looks for a missing or incomplete file, with pauses that double from 1 s
LONGEST_LOOK = 120.0  # seconds; all looks together take about 10 minutes
LOOKS_AT_ONCE = 1000
FILES_AT_ONCE = 100  # whose subjects are in memory at the same time, which can be large
SWITCHED_OFF = "MIRROR_KINDS: it is not among them"
AFTER_FAILURE = 60.0  # seconds until a bulk file is made again after a failure


@dataclass(frozen=True, slots=True)
class Candidate(Generic[S]):
    """A file that may exist: the id of its artifact, its kind, and its subject."""

    id: str
    kind: Kind[S]
    subject: S


WhyNot = Callable[[str, S], tuple[str, str]]
"""Takes a kind's name and a subject. Returns which filter leaves this file out, and why, or two
empty texts."""


class Intake(Generic[S]):
    """Takes the files of `kinds` from `catalog`. `wake` is called after something was queued;
    `why_not` is the owner's selection (`Selection.why_not`); `clock` gives Unix seconds."""

    def __init__(
        self,
        catalog: Catalog[S],
        kinds: Iterable[Kind[S]],
        ledger: Ledger,
        spool: Spool,
        *,
        troubles: Troubles,
        wake: Callable[[], None] = lambda: None,
        why_not: WhyNot[S] = lambda kind, subject: ("", ""),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._kinds = {kind.name: kind for kind in kinds}
        self._ledger = ledger
        self._spool = spool
        self._troubles = troubles
        self._wake = wake
        self._why_not = why_not
        self._clock = clock
        self._adopted = False
        self._followers = [kind.name for kind in self._kinds.values() if kind.follows]
        self._turn = threading.Lock()
        self._to_follow: set[str] = set()
        self._followed = False
        self._shelved = False
        self._unmade: dict[str, str] = {}  # bulk artifacts, and why they cannot be made

    @property
    def describes(self) -> bool:
        """Whether a kind describes its subjects, and so changes with them."""
        return bool(self._followers)

    def offer(self, *subject_ids: str) -> bool:
        """Queues the files of these subjects. Never raises, because the sweep finds what this
        misses. Returns False if the catalog or the ledger fails, so that the caller does not wait
        for the same failure again."""
        for subject_id in {one for one in subject_ids if not is_event_id(one)}:
            log.warning("S3 snapshot mirror: %r is not an event id and is ignored", subject_id[:80])
        try:
            ids = self._unsettled(self._artifact_ids(subject_ids))
            self._admit_all(self._candidates(ids), lambda subject: Priority.LIVE)
            return True
        except (CatalogError, LedgerError) as error:
            self._troubles.note_error(error)
            return False

    def _unsettled(self, artifact_ids: Sequence[str]) -> list[str]:
        """Returns the ids without those of files that never change and are in the queue or uploaded
        already: a source may name a subject often, and each look can cost a download. If the ledger
        cannot be read, these are all of them."""
        fixed = [one for one in artifact_ids if not self._may_change(one)]
        try:
            known = self._ledger.known(fixed) if fixed else {}
        except LedgerError:
            known = {}
        settled = {one for one in known if known[one].state in ("pending", "uploaded")}
        return [one for one in artifact_ids if one not in settled]

    def lacks(self, subject_ids: Iterable[str]) -> set[str]:
        """Returns those of these subjects of which the ledger knows no file. If it cannot be read,
        these are all of them."""
        ids = set(subject_ids)
        try:
            unknown = set(self._ledger.unknown(self._artifact_ids(ids)))
        except LedgerError as error:
            self._troubles.note_error(error)
            return ids
        return {one for one in ids if unknown.issuperset(self._artifact_ids([one]))}

    def sweep(self, since: float, until: float = math.inf) -> int:
        """Queues every file of the window that the ledger does not know; returns how many. Raises
        CatalogError and LedgerError."""
        count, fault = 0, None
        for page in self._catalog.window(since, until):
            for some in _pages(self._ledger.unknown(self._artifact_ids(page))):
                try:
                    count += self._admit_all(self._candidates(some), self._priority_of, fault)
                except LedgerError as error:
                    fault = error
        if fault:
            raise fault
        return count

    def look_for_changes(self, subject_ids: Iterable[str]) -> int:
        """Queues the files of these subjects that differ from what was uploaded; returns how many.
        Raises CatalogError and LedgerError."""
        return sum(map(self._compare, _pages(self._artifact_ids(subject_ids))))

    def _compare(self, artifact_ids: Sequence[str]) -> int:
        uploaded = self._ledger.versions(artifact_ids)
        changed = []
        for candidate in self._candidates(filter(self._may_change, uploaded)):
            artifact = self._existing(candidate)
            if artifact is not None and artifact.version != uploaded[artifact.id]:
                changed.append((candidate, artifact))
        if unversioned := [artifact for _, artifact in changed if not uploaded[artifact.id]]:
            for follows in (False, True):  # a document may know less than the uploaded one
                some = [one for one in unversioned if self._follows(one.id) == follows]
                self._ledger.recognise(some, of_any_size=follows)
            uploaded |= self._ledger.versions([artifact.id for artifact in unversioned])
        count = 0
        for candidate, artifact in changed:
            if artifact.version == uploaded[artifact.id]:
                continue
            artifact = self._examined(candidate.kind, artifact)
            if not artifact.flaw:  # half a file must not replace a whole one
                count += self._queue(artifact, self._priority_of(candidate.subject))
        return count

    def look_for_gone(self, since: float) -> None:
        """Queues files that the ledger calls gone or lost and that exist now, because a disk may
        have been away. Their subjects started from `since` on. Raises CatalogError and
        LedgerError."""
        for page in self._ledger.without_file(since):
            self.look_for_files(page)

    def look_for_selected(self, since: float) -> int:
        """Queues files that the owner's filters left out and now select; returns how many. Their
        subjects started from `since` on. Raises CatalogError and LedgerError."""
        return sum(map(self.look_for_files, self._ledger.unwanted(since)))

    def look_for_files(self, artifact_ids: Iterable[str]) -> int:
        """Queues those of these artifacts that are selected and have a file; returns how many. Bulk
        files are made first, but not for the sake of a lost part: made again, the parts of a file
        can be other ones. Raises CatalogError and LedgerError."""
        return sum(self._look_for(self._candidates(page)) for page in _pages(artifact_ids))

    def _look_for(self, candidates: Sequence[Candidate[S]]) -> int:
        count, bulk = 0, []
        uploaded = self._ledger.versions([candidate.id for candidate in candidates])
        for candidate in self._selected(candidates):
            if candidate.kind.bulk:
                bulk += [candidate.id] if _is_first(candidate) else []
            elif artifact := self._existing(candidate):
                if uploaded.get(artifact.id) == artifact.version:
                    continue  # nothing is written to the disk for it
                artifact = self._examined(candidate.kind, artifact)
                count += self._queue(artifact, self._priority_of(candidate.subject))
        return count + (self._ledger.wait_again(bulk, self._clock()) if bulk else 0)

    def hold(self) -> None:
        """Holds what could not be held before, and queues files that the ledger has lost and only
        the spool still has. Raises CatalogError and LedgerError."""
        if self._spool.recount():
            self._hold_pending(lambda one: not self._is_bulk(one) and self._spool.lacks(one))
        if not self._shelved:
            self._shelve()
            self._shelved = True
        if not self._adopted:
            self._adopted = True
            try:
                self._adopt()
            except (CatalogError, LedgerError):
                self._adopted = False
                raise

    def _shelve(self) -> None:
        """Leaves out what is in the queue although its kind is not mirrored any more. What the
        spool holds is still uploaded. Raises LedgerError."""

        def unmirrored(one: str) -> bool:
            return kind_of(one) not in self._kinds and not self._spool.holds(one)

        ids = [artifact.id for artifact in self._ledger.pending(unmirrored)]
        self._ledger.shelve(ids, SWITCHED_OFF, self._clock())

    def hold_bulk(self, most: int) -> None:
        """Holds bulk files that could not be held before, at most `most`, because they take long to
        make. Raises LedgerError."""
        self._hold_pending(lambda one: self._is_bulk(one) and self._spool.lacks(one), most)

    def _hold_pending(self, wanted: Callable[[str], bool], most: int | None = None) -> None:
        for artifact in islice(self._ledger.pending(wanted), most):
            self._spool.hold(artifact)
            self._release_unless_wanted(artifact)

    def _adopt(self) -> None:
        """Queues the spool's files that the ledger does not know, as their descriptions say or,
        where one is missing, as the catalog says."""
        undescribed = []
        for orphan in self._forgotten():
            artifact = self._held(orphan)
            if artifact is not None:
                self._queue(artifact, Priority.BACKLOG)
            else:
                undescribed.append(orphan)
        for some in _pages(undescribed):
            for candidate in self._candidates(some):
                self._admit(candidate, self._priority_of(candidate.subject))

    def _forgotten(self) -> list[str]:
        """Returns the spool's orphans that the ledger does not know, or not in this version."""
        orphans: Sequence[str] = self._spool.orphans
        forgotten: list[str] = []
        for at in range(0, len(orphans), LOOKS_AT_ONCE):
            page = orphans[at : at + LOOKS_AT_ONCE]
            forgotten += self._ledger.unknown(page)
            for orphan, version in self._ledger.versions(page).items():
                artifact = self._spool.described(orphan)
                if version and artifact is not None and artifact.version != version:
                    forgotten.append(orphan)
        return forgotten

    def look_for_waiting(self) -> None:
        """Looks again for files that were missing or incomplete. Raises CatalogError and
        LedgerError."""
        now = self._clock()
        for some in _pages(self._ledger.waiting(now, LOOKS_AT_ONCE)):
            self._look_again(some, now)

    def _look_again(self, waiting: Sequence[tuple[str, str, float, int]], now: float) -> None:
        candidates = {one.id: one for one in self._candidates(row[0] for row in waiting)}
        for waiting_id, camera, started, looks in waiting:
            candidate = candidates.get(waiting_id)
            if candidate is not None and candidate.kind.bulk:
                self._ledger.wait(waiting_id, camera, started, now, bulk=True)
                continue
            last = candidate is None or looks >= FILE_LOOKS
            try:
                if candidate is None:
                    artifact = self._held(waiting_id)
                elif artifact := self._find(candidate):
                    artifact = self._examined(candidate.kind, artifact)
            except NotYet as error:
                self._ledger.wait(waiting_id, camera, started, now + error.seconds, looks)
                continue
            except NoFile as error:
                self._note_absent([(waiting_id, camera, started, str(error))])
                continue
            if artifact is not None and (last or not artifact.flaw):
                if artifact.flaw:
                    log.warning("S3 snapshot mirror: %s is uploaded incomplete: %s",
                                artifact.key, artifact.flaw)  # fmt: skip
                subject = candidate.subject if candidate else None
                self._queue(artifact, self._priority_of(subject) if subject else Priority.BACKLOG)
            elif last:
                self._give_up(waiting_id, candidate)
            else:
                due = now + _pause(looks)
                self._ledger.wait(waiting_id, camera, started, due, looks + 1)

    def _give_up(self, waiting_id: str, candidate: Candidate[S] | None) -> None:
        """Stops looking for a file. Raises LedgerError."""
        log.debug("%s has no file", waiting_id)
        unseen = candidate.kind.why_unseen(candidate.subject) if candidate else ""
        why = unseen or f"no {kind_of(waiting_id)} file"
        self._ledger.give_up(waiting_id, why, self._clock(), lost=bool(unseen))
        self._follow_later([waiting_id])

    # -- bulk files, and files that describe others

    def make_next(self) -> bool:
        """Makes the next bulk file that is due, holds and queues it. Returns whether there was one.
        Raises CatalogError and LedgerError."""
        now = self._clock()
        for waiting_id, camera, started, looks in self._ledger.waiting(now, 1, bulk=True):
            unmade = self._unmade.pop(waiting_id, "")
            try:
                if candidates := self._candidates([waiting_id]):
                    self._make(candidates[0], looks)
                elif held := self._held(waiting_id):
                    self._queue(held, Priority.BACKLOG)
                elif kind_of(waiting_id) not in self._kinds:
                    self._ledger.leave_out([(waiting_id, camera, started, SWITCHED_OFF)], now)
                elif looks < FILE_LOOKS:  # nobody would look again for a clip that was given up
                    due = now + _pause(looks)
                    self._ledger.wait(waiting_id, camera, started, due, looks + 1, bulk=True)
                else:
                    self._give_up(waiting_id, None)
            except NotYet as error:
                self._ledger.wait(
                    waiting_id, camera, started, now + error.seconds, looks, bulk=True
                )
            except NoFile as error:
                # An earlier process may have made it, and died before it could queue it.
                if held := self._held(waiting_id):
                    self._queue(held, Priority.BACKLOG)
                else:
                    self._note_absent([(waiting_id, camera, started, str(error))])
            except OSError as error:
                self._unmade[waiting_id] = str(error)
                self._ledger.wait(waiting_id, camera, started, now + AFTER_FAILURE, looks,
                                  bulk=True, error=str(error))  # fmt: skip
            except LedgerError:
                raise
            except Exception:  # it must not keep the next one from its turn
                due = now + AFTER_FAILURE
                self._ledger.wait(waiting_id, camera, started, due, looks, bulk=True)
                raise
            if unmade or self._unmade:
                self._tell_unmade()
            return True
        return False

    def _tell_unmade(self) -> None:
        count = len(self._unmade)
        last = next(reversed(self._unmade.values()), "")
        trouble = f"{count} clip(s) cannot be made and are tried again every minute: {last}"
        self._troubles.note("making files", trouble if count else "")

    def _make(self, candidate: Candidate[S], looks: int) -> None:
        """Raises NotYet, NoFile, OSError, CatalogError and LedgerError."""
        subject = candidate.subject
        priority = self._priority_of(subject)
        try:
            with candidate.kind.make(subject, self._spool.path(candidate.id)) as artifacts:
                # The first part comes last: after a crash it still waits, so all are made again.
                for artifact in reversed(artifacts):
                    self._queue(artifact, priority)
        except KeyFault as fault:
            self._refuse(candidate, fault)
            return
        if not artifacts and looks < FILE_LOOKS:
            raise NotYet(_pause(looks))
        if all(artifact.id != candidate.id for artifact in artifacts):
            self._give_up(candidate.id, candidate)  # or it would be made again without end

    def note_settled(self, batch: Iterable[Settled]) -> None:
        """Remembers to look again at the files that describe these uploads."""
        self._follow_later(one.id for one in batch)

    def _follow_later(self, artifact_ids: Iterable[str]) -> None:
        if self._followers:
            self._to_follow.update(map(subject_of, artifact_ids))

    def follow(self) -> bool:
        """Looks again at files that describe others of their subject, of FILES_AT_ONCE subjects.
        After a start it begins with those whose others may have been uploaded before a crash.
        Returns whether more subjects wait. Raises CatalogError and LedgerError."""
        if not self._followers:
            return False
        if not self._followed:
            self._to_follow.update(map(subject_of, self._ledger.unfinished()))
            self._followed = True
        subjects: list[str] = []
        while self._to_follow and len(subjects) < FILES_AT_ONCE:
            subjects.append(self._to_follow.pop())
        ids = [artifact_id(kind, subject) for subject in subjects for kind in self._followers]
        try:
            candidates = self._candidates(ids)
            self._look_for(candidates)
            found = {candidate.id for candidate in candidates}
            self._renew([one for one in ids if one not in found])
        except (CatalogError, LedgerError):
            self._to_follow.update(subjects)
            raise
        return bool(self._to_follow)

    def _renew(self, artifact_ids: Iterable[str]) -> None:
        """Brings held files that describe others up to date, of subjects that the catalog does not
        know any more. Marks those that cannot be brought up to date. Raises LedgerError."""
        for held_id in artifact_ids:
            held, renewed = self._spool.described(held_id), None
            if held is not None:
                with suppress(OSError), self._spool.open_held(held_id) as file:
                    renewed = self._kinds[kind_of(held_id)].renew(held, file)
            if renewed is None:
                why = "its event was deleted before all files were uploaded"
                self._ledger.mark([held_id], why)
            elif not self._is_known(renewed):
                self._queue(renewed, Priority.BACKLOG)

    def _is_known(self, artifact: Artifact) -> bool:
        """Returns whether this version is uploaded or in the queue."""
        known = self._ledger.known([artifact.id]).get(artifact.id)
        if known is None or known.state not in ("uploaded", "pending"):
            return False
        return known.version == artifact.version

    # -- from a candidate to the queue

    def _artifact_ids(self, subject_ids: Iterable[str]) -> list[str]:
        """Returns the ids of all artifacts that these subjects may have."""
        return [artifact_id(kind, subject_id) for subject_id in subject_ids for kind in self._kinds]

    def _candidates(self, artifact_ids: Iterable[str]) -> list[Candidate[S]]:
        """Returns those of the artifacts whose kind is mirrored and whose subject the catalog
        knows. Raises CatalogError."""
        ids = [one for one in artifact_ids if kind_of(one) in self._kinds]
        subject_ids = dict.fromkeys(filter(is_event_id, map(subject_of, ids)))
        subjects = {subject.id: subject for subject in self._catalog.subjects(list(subject_ids))}
        return [
            Candidate(one, self._kinds[kind_of(one)], subjects[subject_of(one)])
            for one in ids
            if subject_of(one) in subjects
        ]

    @staticmethod
    def _is_final(candidate: Candidate[S]) -> bool:
        return candidate.kind.is_final(candidate.subject)

    def _admit_all(
        self,
        candidates: Iterable[Candidate[S]],
        priority_of: Callable[[S], Priority],
        fault: LedgerError | None = None,
    ) -> int:
        """Admits those of the candidates whose file is final; returns how many. Once the ledger has
        failed, with `fault` or now, the remaining files are only held, so that they survive until
        the ledger can be written again. Then it raises LedgerError."""
        final, left_out = self._chosen(filter(self._is_final, candidates))
        absent: list[Absent] = []
        try:
            if left_out and fault is None:
                self._ledger.leave_out(left_out, self._clock())
        except LedgerError as error:
            fault = error
        for candidate in final:
            try:
                if fault is None:
                    absent += self._admit(candidate, priority_of(candidate.subject))
                else:
                    self._hold_only(candidate)
            except LedgerError as error:
                fault = error
                self._orphan(candidate.id)
        if absent and fault is None:
            self._note_absent(absent)
        if fault:
            raise fault
        return len(final) - len(absent)

    def _note_absent(self, absent: list[Absent]) -> None:
        """Remembers files that will never exist. Raises LedgerError."""
        self._ledger.note_absent(absent, self._clock())
        self._follow_later(row[0] for row in absent)

    def _selected(self, candidates: Iterable[Candidate[S]]) -> list[Candidate[S]]:
        """Returns the candidates that the owner's filters select. The ledger remembers the others,
        so that the sweep does not ask about them again. Raises LedgerError."""
        selected, left_out = self._chosen(candidates)
        if left_out:
            self._ledger.leave_out(left_out, self._clock())
        return selected

    def _chosen(
        self, candidates: Iterable[Candidate[S]]
    ) -> tuple[list[Candidate[S]], list[Absent]]:
        """Returns the candidates that the owner's filters select, and the others as rows for
        `Ledger.leave_out`. It needs no ledger: a file that is left out must never be held."""
        selected, left_out = [], []
        for candidate in candidates:
            name, reason = self._why_not(candidate.kind.name, candidate.subject)
            if name:
                subject = candidate.subject
                row = (candidate.id, subject.camera, subject.started, f"{name}: {reason}")
                left_out.append(row)
            else:
                selected.append(candidate)
        return selected, left_out

    def _hold_only(self, candidate: Candidate[S]) -> None:
        """Raises LedgerError for a subject that can have no key."""
        if candidate.kind.bulk or self._spool.holds(candidate.id):
            return
        with suppress(NotYet, NoFile):
            if artifact := self._find(candidate):
                self._spool.hold(self._examined(candidate.kind, artifact))
                self._orphan(candidate.id)

    def _admit(self, candidate: Candidate[S], priority: Priority) -> list[Absent]:
        """Queues the file, or remembers to look for it again. Returns a row for it if there will
        never be one. Raises LedgerError."""
        subject, now = candidate.subject, self._clock()
        looks = FILE_LOOKS if priority is Priority.BACKLOG else 1
        due = now + 1.0
        try:
            if candidate.kind.bulk:
                looks, due = 1, max(now, subject.ended or now)  # an end can lie in the future
            elif artifact := self._find(candidate):
                artifact = self._examined(candidate.kind, artifact)
                if not artifact.flaw:
                    self._queue(artifact, priority)
                    return []
                self._spool.hold(artifact)  # the recorder may be writing it at this moment
        except NotYet as error:
            due = now + error.seconds
        except NoFile as error:
            return [(candidate.id, subject.camera, subject.started, str(error))]
        self._ledger.wait(candidate.id, subject.camera, subject.started, due, looks,
                          priority=priority, bulk=candidate.kind.bulk)  # fmt: skip
        return []

    def _priority_of(self, subject: S) -> Priority:
        """Returns LIVE for a subject that ended a short time ago, or started then and has no
        end."""
        age = self._clock() - (subject.started if subject.ended is None else subject.ended)
        return Priority.LIVE if abs(age) < LIVE_FOR else Priority.BACKLOG

    def _find(self, candidate: Candidate[S]) -> Artifact | None:
        """Returns the artifact as its file is now. A subject that can have no key becomes a dead
        letter. Raises NotYet, NoFile and LedgerError."""
        try:
            return candidate.kind.find(candidate.subject, self._spool.path(candidate.id))
        except KeyFault as fault:
            self._refuse(candidate, fault)
            return None

    def _existing(self, candidate: Candidate[S]) -> Artifact | None:
        """Returns the artifact if its file is final and exists now. Raises LedgerError."""
        with suppress(NotYet, NoFile):
            return self._find(candidate) if self._is_final(candidate) else None
        return None

    def _refuse(self, candidate: Candidate[S], fault: KeyFault) -> None:
        subject = candidate.subject
        self._ledger.refuse(
            candidate.id, subject.camera, subject.started, str(fault), self._clock()
        )

    def _may_change(self, artifact_id: str) -> bool:
        kind = self._kinds.get(kind_of(artifact_id))
        return kind is not None and kind.changes and not kind.bulk

    def _is_bulk(self, artifact_id: str) -> bool:
        kind = self._kinds.get(kind_of(artifact_id))
        return kind is not None and kind.bulk

    def _follows(self, artifact_id: str) -> bool:
        return kind_of(artifact_id) in self._followers

    def _held(self, artifact_id: str) -> Artifact | None:
        """Returns the artifact of a held file from its description, with the flaw that its bytes
        have now: the recorder may have completed the file after it was held."""
        artifact = self._spool.described(artifact_id)
        kind = self._kinds.get(kind_of(artifact_id))
        return self._examined(kind, artifact) if artifact and kind else artifact

    def _examined(self, kind: Kind[S], artifact: Artifact) -> Artifact:
        """Returns the artifact with its flaw, if its bytes are incomplete."""
        for opened in (artifact.open, partial(self._spool.open_held, artifact.id)):
            with suppress(OSError), opened() as file:
                return replace(artifact, flaw=kind.flaw(file))
        return artifact

    def _queue(self, artifact: Artifact, priority: Priority) -> bool:
        """Holds and queues the artifact; returns whether it is new to the queue. Raises
        LedgerError."""
        follows = self._follows(artifact.id)
        # Two threads may describe the same subject. The held bytes must be those of the row.
        with self._turn if follows else nullcontext():
            # In this order a crash between the two only leaves a held file without a row, which
            # `hold` adopts. In the other order it could leave a row whose file Frigate has deleted.
            self._spool.hold(artifact)
            if self._followers and not follows:
                artifact = replace(artifact, digest=self._digest(artifact.id))
            try:
                now = self._clock()
                # The backlog goes from the oldest event on, and then what describes it, which is
                # mostly complete by then, so that it need not be uploaded twice.
                first = priority is Priority.BACKLOG and not follows
                due = min(artifact.started, now) if first else now
                new = self._ledger.add(artifact, priority, now, due)
            except LedgerError:
                self._orphan(artifact.id)
                raise
        if new or self._release_unless_wanted(artifact):
            self._wake()
        return new

    def _digest(self, artifact_id: str) -> str:
        """Returns the SHA-256 of the held bytes in hex, or an empty text if they are not held."""
        try:
            with self._spool.open_held(artifact_id) as file:
                return hashlib.file_digest(cast(FileIO, file), "sha256").hexdigest()
        except OSError:
            return ""

    def _orphan(self, orphan: str) -> None:
        """Notes that the ledger does not know of a held file, so that `hold` adds it later."""
        self._spool.orphan(orphan)
        self._adopted = False

    def _release_unless_wanted(self, artifact: Artifact) -> bool:
        """Returns whether the held file is still to be read. Otherwise releases it: the artifact
        may have been uploaded at this very moment."""
        wanted = self._ledger.wants_file(artifact.id)
        if not wanted:
            self._spool.release(artifact.id, artifact.version)
        return wanted


def _pause(looks: int) -> float:
    """Returns the seconds between this look for a file and the next one."""
    return min(2.0**looks, LONGEST_LOOK)


def _is_first(candidate: Candidate[S]) -> bool:
    """Returns whether the candidate is a whole file or its first part."""
    return candidate.id == artifact_id(candidate.kind.name, candidate.subject.id)


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while page := list(islice(source, FILES_AT_ONCE)):
        yield page
