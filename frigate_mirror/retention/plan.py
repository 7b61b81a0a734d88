"""Plan: which events are due by which rule, what is in the way, and how that is told.

An event's JSON is read only where it can change the decision: where the event is old enough that a
rule may delete it, or where the size may. So an event is never due before its JSON has said that
nobody wants to keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from frigate_mirror.keys import utc
from frigate_mirror.policy import Facts, Policy, cutoffs
from frigate_mirror.retention.documents import Documents, Unreadable
from frigate_mirror.retention.errors import Refused, Stopped
from frigate_mirror.retention.inventory import Event, Inventory, Totals
from frigate_mirror.untrusted import plain

HOUR = 3_600.0  # seconds by which clocks may differ, and by which an event may be ahead
NAMED = 5  # events of which the JSON cannot be read
BROKEN_OFF = "an earlier run that was broken off"
Unfinished = Mapping[tuple[str, str], int]
"""The events that an earlier run was deleting when it ended, by their names, and how many files
each had."""


@dataclass
class Plan:
    """What a run would do. `by_rule` and `due` are what it would delete; `retained` is the number
    of events that somebody has told Frigate to keep, among those that would be due. `read` is the
    number of events whose JSON was read, and `fitted` are the rules that fit one of these."""

    now: float
    policy: Policy
    all: Totals
    by_rule: dict[str, Totals] = field(default_factory=dict)
    retained: int = 0
    unreadable: int = 0
    read: int = 0
    fitted: set[str] = field(default_factory=set)
    named: list[str] = field(default_factory=list)

    @property
    def due(self) -> Totals:
        parts = self.by_rule.values()
        return Totals(
            sum(part.events for part in parts),
            sum(part.objects for part in parts),
            sum(part.bytes for part in parts),
        )


def check_times(inventory: Inventory, policy: Policy, now: float) -> None:
    """Raises Refused if an event is in the future, or if no event is young enough to prove that
    events still arrive."""
    newest = inventory.newest()
    if newest is None:
        return
    named = f"the newest event {newest.id} of camera {newest.camera or '(unknown)'}"
    if newest.started > now + HOUR:
        raise Refused(
            f"{plain(named)} starts at {utc(newest.started)}, more than an hour in the future: a "
            "clock is wrong, or MIRROR_KEY_TIMEZONE is another one than that of the mirror. "
            "Correct it, and delete what has a wrong date by hand"
        )
    shortest = policy.shortest
    if shortest and newest.started < now - shortest.seconds:
        raise Refused(
            f"nothing at the destination is newer than the shortest rule {shortest.text}: "
            f"{plain(named)} started at {utc(newest.started)}. Uploads seem to have stopped, and "
            "this run would delete the rest. Correct the mirror first"
        )


def make(
    inventory: Inventory,
    documents: Documents,
    policy: Policy,
    unfinished: Unfinished,
    now: float,
    stop: Callable[[], bool] = lambda: False,
) -> Plan:
    """Marks in the inventory what is due. Raises a SinkError and Stopped."""
    plan = Plan(now, policy, inventory.all())
    planner = _Planner(inventory, documents, plan, stop)
    planner.by_unfinished(unfinished)
    planner.by_age()
    planner.by_size()
    return plan


class _Planner:
    def __init__(
        self, inventory: Inventory, documents: Documents, plan: Plan, stop: Callable[[], bool]
    ) -> None:
        self._inventory = inventory
        self._documents = documents
        self._plan = plan
        self._policy = plan.policy
        self._stop = stop

    def by_unfinished(self, unfinished: Unfinished) -> None:
        """Makes the events due of which an earlier run has deleted a part. Their rule may not fit
        any more: the archive is smaller now."""
        events = [
            event
            for name, files in unfinished.items()
            if (event := self._inventory.find(*name)) is not None and event.files < files
        ]
        for event, _ in self._deletable(events):
            self._mark(event, BROKEN_OFF)

    def by_age(self) -> None:
        policy, now = self._policy, self._plan.now
        shortest = policy.shortest
        if shortest is None:
            return
        for page in self._pages():
            old = [one for one in page if now - one.started > policy.least_seconds(one.camera)]
            for event, facts in self._deletable(old, self._is_due):
                rule = policy.rule_for(event.camera, facts)
                assert rule is not None
                self._mark(event, rule.text)
            if now - page[-1].started <= shortest.seconds:
                return  # all that follow are younger

    def by_size(self) -> None:
        most = self._policy.most_bytes
        if most is None:
            return
        excess = self._plan.all.bytes - self._plan.due.bytes - most
        rule = next(word for word in self._policy.text.split() if word.startswith("size:"))
        for page in self._pages():
            while page and excess > 0:
                some = _first_of(page, excess)
                page = page[len(some) :]
                for event, _ in self._deletable(some):
                    self._mark(event, rule)
                    excess -= event.size
            if excess <= 0:
                return

    def _pages(self) -> Iterator[list[Event]]:
        for page in self._inventory.pages():
            if self._stop():
                raise Stopped
            yield page

    def _is_due(self, event: Event, facts: Facts | None) -> bool:
        rule = self._policy.rule_for(event.camera, facts)
        return rule is not None and self._plan.now - event.started > rule.seconds

    def _deletable(
        self,
        events: Iterable[Event],
        is_due: Callable[[Event, Facts | None], bool] = lambda event, facts: True,
    ) -> Iterator[tuple[Event, Facts | None]]:
        """Yields those of the events that are due and that may be deleted, with their facts."""
        events = list(events)
        found = self._documents.facts(events)
        for event in events:
            facts = found.get(event)
            if isinstance(facts, Facts):
                self._note_fitted(event, facts)
            if isinstance(facts, Unreadable):
                self._note_unreadable(event, facts)
            elif is_due(event, facts):
                if facts and facts.retained:
                    self._note_retained(event)
                else:
                    yield event, facts

    def _mark(self, event: Event, rule: str) -> None:
        self._inventory.mark(event, rule)
        by_rule = self._plan.by_rule
        by_rule[rule] = by_rule.get(rule, Totals()).with_event(event)

    def _note_fitted(self, event: Event, facts: Facts) -> None:
        self._plan.read += 1
        self._plan.fitted.update(
            rule.text for rule in self._policy.rules if rule.fits(event.camera, facts)
        )

    def _note_unreadable(self, event: Event, found: Unreadable) -> None:
        self._inventory.keep(event)
        self._plan.unreadable += 1
        document = self._inventory.document(event)
        if document and len(self._plan.named) < NAMED:
            self._plan.named.append(f"{plain(document.key, 200)}: {found.why}")

    def _note_retained(self, event: Event) -> None:
        self._inventory.keep(event)
        self._plan.retained += 1


def _first_of(page: list[Event], excess: int) -> list[Event]:
    """Returns as many of the first events as have `excess` bytes together."""
    for number, event in enumerate(page, 1):
        excess -= event.size
        if excess <= 0:
            return page[:number]
    return page


# -- the words


def rules(policy: Policy, now: float) -> Iterator[str]:
    """Yields a line for each rule, with the time that follows from it."""
    for rule, cutoff in cutoffs(policy, now):
        others = "" if rule.field else ", of the events that no other rule fits"
        yield f"{rule.text} deletes what started before {utc(cutoff)}{others}"
    if policy.most_bytes is not None:
        yield f"size: deletes the oldest until {policy.most_bytes:,} bytes are left"
    if policy.other is None and policy.most_bytes is None:
        yield "what no rule fits is kept"


def lines(plan: Plan, inventory: Inventory) -> Iterator[str]:
    """Yields what is at the destination, and what the run would delete."""
    whole, newest, oldest = plan.all, inventory.newest(), inventory.oldest()
    span = f", from {utc(oldest.started)} to {utc(newest.started)}" if oldest and newest else ""
    yield f"there are {_count(whole)}{span}"
    if not whole.events:
        yield (
            "no name of an object is one of the mirror's: if there should be some, compare "
            "S3_PATH_PREFIX or RCLONE_REMOTE, and MIRROR_KEY_TEMPLATE, with those of the mirror"
        )
    if inventory.foreign:
        yield f"objects that are not the mirror's and are left alone: {inventory.foreign:,}"
    yield (
        "events without a JSON, of which only the camera and the age count: "
        f"{inventory.without_document():,}"
    )
    kept = "events that are kept, because"
    if misdated := inventory.misdated():
        yield f"{kept} their date is before 2018 and therefore wrong: {misdated:,}"
    if plan.retained:
        yield f"{kept} Frigate was told to keep them: {plan.retained:,}"
    if plan.unreadable:
        yield f"{kept} their JSON cannot be used: {plan.unreadable:,}, such as"
        yield from (f"    {named}" for named in plan.named)
    for rule in plan.policy.rules:
        if rule.field == "camera" and not inventory.has_camera(rule.value):
            yield f"{rule.text} fits nothing: there is no event of a camera {rule.value!r}"
        if rule.field == "label" and plan.read and rule.text not in plan.fitted:
            yield (
                f"{rule.text} fits nothing: none of the {plan.read:,} event(s) whose JSON was read "
                f"has the label {rule.value!r}"
            )
    yield f"to delete: {_count(plan.due)}" if plan.due.events else "to delete: nothing"
    for rule_text, part in plan.by_rule.items():
        yield f"    by {rule_text}: {_count(part)}"


def _count(totals: Totals) -> str:
    size = f"{totals.bytes / 10**9:,.1f} GB"
    if totals.bytes < 10**9:
        size = f"{totals.bytes / 10**6:,.1f} MB"
    return f"{of_events(totals)}, {size}"


def of_events(totals: Totals) -> str:
    """Returns numbers in words: 3 objects of 1 event."""
    objects, events = (
        f"{number:,} {noun}{'' if number == 1 else 's'}"
        for number, noun in ((totals.objects, "object"), (totals.events, "event"))
    )
    return f"{objects} of {events}"


def check_amount(plan: Plan, most: int, once: int | None) -> None:
    """Raises Refused if the run would delete too much. `once` is the limit that the owner has given
    for this run; then only that counts."""
    due, limit = plan.due, most if once is None else once
    again = (
        "Look at what it would delete (`frigate-mirror retention --dry-run`). If it is right, run "
        f"`frigate-mirror retention --max-deletes {due.objects}` once"
    )
    if due.objects > limit:
        name = "MIRROR_RETENTION_MAX_DELETES" if once is None else "--max-deletes"
        raise Refused(
            f"it would delete {due.objects:,} objects, more than {name} allows ({limit:,}). {again}"
        )
    if once is None and 2 * due.events > plan.all.events:
        raise Refused(
            f"it would delete {due.events:,} of {plan.all.events:,} events, more than half of "
            f"them. {again}"
        )
