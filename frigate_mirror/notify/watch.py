"""Watch: decides when the owner is told that something is wrong, and that it is well again.

All lengths of time are added up from one look to the next, by a clock that nobody sets. So a change
of the computer's date causes no notice and holds none back. The time while no mirror runs does not
count, because nobody knows how it was meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from frigate_mirror.report.status import DEGRADED, DOWN, OK, UNKNOWN

DAY = 86_400.0
WELL_FOR = 300.0  # seconds of good health that end a trouble of which the owner was told
PRICE = DAY / 6  # seconds of the allowance that each notice of a trouble takes
WRONG, WELL = "wrong", "well"


@dataclass(slots=True)
class Watch:
    """What the watch remembers. It outlives the process, see `outbox`.

    A trouble begins with the first look that finds the health DEGRADED or DOWN. `since` is when
    that was, in Unix seconds, or None while there is no trouble, and `last` is the health at the
    last look. `told` is the health that the owner was told last in this trouble, or empty. The
    other fields are seconds: for how long the trouble and its last DOWN have lasted, for how long
    all has been well since, and the time since the last notice. The `allowance` bounds the notices
    of a service that comes and goes: it grows with time up to a day.
    """

    since: float | None = None
    last: str = ""
    told: str = ""
    wrong_for: float = 0.0
    down_for: float = 0.0
    well_for: float = 0.0
    quiet_for: float = 0.0
    allowance: float = DAY

    def look(self, health: str, seconds: float, *, after: float, now: float) -> str:
        """Takes note of the health at this moment, `seconds` after the last look. Returns WRONG
        or WELL if the owner is to be told so now, and otherwise an empty text. A trouble is told
        after so many seconds (`after`), then daily, and once more if DEGRADED becomes DOWN."""
        before, self.last = self.last, health
        lasted = seconds if health == before else 0.0
        self.quiet_for += seconds
        self.allowance = min(DAY, self.allowance + seconds)
        if health == UNKNOWN:
            return ""
        if health == OK:
            return self._well(lasted, after)
        if self.since is None:
            self.since = now
        self.well_for = 0.0
        self.wrong_for += seconds if before in (DEGRADED, DOWN) else 0.0
        self.down_for = self.down_for + lasted if health == DOWN else 0.0
        return self._wrong(health, after)

    def _wrong(self, health: str, after: float) -> str:
        if not self.told:
            due = self.wrong_for >= after
        else:
            worse = self.told == DEGRADED and self.down_for >= after
            due = worse or self.quiet_for >= DAY
        if not due or self.allowance < PRICE:
            return ""
        self.allowance -= PRICE
        self.told, self.quiet_for = health, 0.0
        return WRONG

    def _well(self, lasted: float, after: float) -> str:
        """Ends the trouble at once if nobody was told of it, and otherwise when it has been well
        for a while. A trouble that comes back before that is the same one."""
        self.well_for += lasted
        was_told = bool(self.told)
        if self.since is None or (was_told and self.well_for < min(after, WELL_FOR)):
            return ""
        self.since, self.told = None, ""
        self.wrong_for = self.down_for = self.well_for = 0.0
        return WELL if was_told else ""
