"""Notice: what the owner is told, in words for people and in fields for programs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from frigate_mirror.notify.watch import WELL, WRONG
from frigate_mirror.report.status import DEGRADED, DOWN, Status, span
from frigate_mirror.untrusted import plain

DIGEST, TEST = "digest", "test"  # kinds of notices that the watch does not know
MOST_REASONS = 5
LONGEST = 300  # characters of a reason
OURS = "notices: "  # begins what the mirror's troubles say of the notices themselves
_WHAT_TO_DO = (
    "`status` shows more, and `check` looks at everything that the mirror needs and says how to "
    "correct each fault"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notice. No two have the same `id`, so a receiver that gets one twice can tell.

    `kind` is WRONG, WELL, DIGEST or TEST. `mirror` is the owner's name for this mirror. `at` is
    when the notice was made and `since` when its trouble began, both in Unix seconds. `text` has
    several lines, and says what the other fields say.
    """

    id: str
    kind: str
    mirror: str
    health: str
    at: float
    since: float | None
    title: str
    text: str
    reasons: list[str] = field(default_factory=list)
    what_to_do: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether the mirror is not well. A digest can be bad news, too."""
        return self.health in (DEGRADED, DOWN)


@dataclass(frozen=True, slots=True)
class View:
    """How the mirror is at a moment. `reasons` say why it is not well, `hint` says what the owner
    can do, and `figures` is a sentence with the most important numbers. `uploaded` counts all
    uploads since the ledger was made."""

    health: str
    reasons: Sequence[str]
    hint: str = ""
    figures: str = ""
    uploaded: int | None = None


def view_of(status: Status, now: float) -> View:
    """Returns the view of a status. It leaves out what is wrong with the notices themselves, which
    would otherwise hold back the notice that all is well again."""
    others = [trouble for trouble in status.troubles if not trouble.startswith(OURS)]
    status = replace(status, troubles=others)
    reasons, hint = status.reasons, _WHAT_TO_DO
    error, counts = status.last_error, status.counts
    if status.service_down and error:
        reasons.insert(1, f"the last error: {error.message}")
        hint = error.hint or hint
    uploaded = counts.uploaded + counts.forgotten
    return View(status.health, reasons, hint, _figures(status, now), uploaded)


def blind(why: str) -> View:
    """Returns the view of a mirror whose status cannot be had."""
    return View(DEGRADED, [why], _WHAT_TO_DO)


def _figures(status: Status, now: float) -> str:
    counts = status.counts
    oldest = held = ""
    if counts.pending:
        oldest = f", the oldest for {span(status.behind)}"
    if counts.pending and status.spool_files:
        held = (
            f" The spool keeps {status.spool_files:,} file(s) ({status.spool_bytes / 1e6:,.1f} MB) "
            "for that, even if Frigate deletes its own."
        )
    upload = "There was no upload yet"
    if status.last_success is not None:
        upload = f"The last upload was {span(now - status.last_success)} ago"
    return (
        f"{counts.pending:,} file(s) wait for their upload{oldest}; {counts.failed:,} have failed "
        f"for good and {counts.lost:,} are lost.{held} {upload}."
    )


def wrong(mirror: str, view: View, since: float, now: float, *, again: bool) -> Notice:
    """Returns the notice of the trouble that began at `since`. `again` says that the owner knows of
    it already."""
    still = "still " if again else ""
    what = "does not reach its destination" if view.health == DOWN else "needs your attention"
    text = [
        f"The mirror {mirror} {still}{what}. Its health is {view.health}, and the trouble began at "
        f"{when(since)}.",
        *_reasons(view),
        f"What to do: {view.hint}.",
        view.figures,
    ]
    made = _made(WRONG, mirror, view, now, f"{still}{view.health}", text)
    return replace(made, since=since, what_to_do=plain(view.hint))


def well(mirror: str, view: View, since: float, now: float) -> Notice:
    """Returns the notice that the trouble which began at `since` is over."""
    told = f"The mirror {mirror} is well again. The trouble had begun at {when(since)}."
    made = _made(WELL, mirror, view, now, "well again", [told, view.figures])
    return replace(made, since=since)


def digest(mirror: str, view: View, uploaded: int, since: float, now: float) -> Notice:
    """Returns the digest of the time since `since`, in which so many files were uploaded."""
    told = (
        f"The mirror {mirror} has uploaded {uploaded:,} file(s) since {when(since)}. Its health is "
        f"{view.health}."
    )
    title = f"{uploaded:,} file(s) uploaded, {view.health}"
    return _made(DIGEST, mirror, view, now, title, [told, *_reasons(view), view.figures])


def test(mirror: str, now: float) -> Notice:
    """Returns a notice that only tries a way."""
    told = f"This is a test of the notices of the mirror {mirror}. You need not do anything."
    return _made(TEST, mirror, View("", []), now, "test", [told])


def _reasons(view: View) -> list[str]:
    shown = [f"- {plain(reason, LONGEST)}" for reason in view.reasons[:MOST_REASONS]]
    more = len(view.reasons) - len(shown)
    return [*shown, f"- and {more} more"] if more else shown


def _made(
    kind: str, mirror: str, view: View, now: float, title: str, text: Sequence[str]
) -> Notice:
    lines = [*text, f"Written at {when(now)}."]  # it may arrive much later
    return Notice(
        id=secrets.token_hex(8),
        kind=kind,
        mirror=mirror,
        health=view.health,
        at=now,
        since=None,
        title=plain(f"Frigate mirror {mirror}: {title}", 120),
        text="\n".join(plain(line) for line in lines if line),
        reasons=[plain(reason, LONGEST) for reason in view.reasons[:MOST_REASONS]],
    )


def when(at: float) -> str:
    """Returns a moment in the owner's time."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(at))
