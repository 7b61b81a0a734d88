"""The policy of retention: how long which events stay at the destination, as its owner writes it.

    7d                                                   every event for 7 days
    alert:90d label=person:30d camera=garden:3d *:7d     by the event
    7d size:500G                                         and never more than 500 GB

A rule names the events that it fits, and an age. `*` counts only where no other rule fits; among
the others that fit, the longest one wins; an event that no rule fits is kept. `size:` deletes the
oldest events first, whatever their age. This module only parses and decides: it reads nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

DAY = 86_400
SEVERITIES = ("alert", "detection")
_AGE = re.compile(r"([1-9]\d{0,4})d")
_LONGEST = 36_500  # days
_SIZE = re.compile(r"([1-9]\d{0,8})([MGT])")
_BYTES = {"M": 10**6, "G": 10**9, "T": 10**12}
_NAME = re.compile(r"(?:[^\s%=:,;*'\"]|%[0-9A-Fa-f]{2})+")
_LOOKS = (
    "Rules look like these, with blanks between them: 7d, alert:90d, detection:30d, "
    "label=person:30d, camera=garden:3d, *:7d, size:500G"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the JSON of an event says of it. `severity` is alert, detection or empty, and `retained`
    says whether somebody has told Frigate to keep the event."""

    camera: str
    label: str
    severity: str
    retained: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `text` as the owner wrote it, and the `days` for which it keeps an event whose
    `field` (severity, label or camera) is `value`. The rule for all other events has no field."""

    text: str
    field: str
    value: str
    days: int

    @property
    def seconds(self) -> int:
        return self.days * DAY

    def fits(self, camera: str, facts: Facts | None) -> bool:
        """Returns whether the rule names this event. Without facts, only its camera is known."""
        if self.field == "camera":
            return camera == self.value
        if facts is None:
            return False
        return self.value == (facts.label if self.field == "label" else facts.severity)


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy that `text` describes: all rules, the rule for all other events, and the bytes
    that the archive may have at most."""

    text: str
    rules: tuple[Rule, ...] = ()
    other: Rule | None = None
    most_bytes: int | None = None

    @property
    def ages(self) -> tuple[Rule, ...]:
        """Every rule that has an age."""
        return (*self.rules, *([self.other] if self.other else []))

    @property
    def shortest(self) -> Rule | None:
        """The rule with the lowest age, or None if only the size counts."""
        return min(self.ages, key=lambda rule: rule.days, default=None)

    @property
    def needs_documents(self) -> bool:
        """Whether a rule asks for something that only the JSON of an event tells."""
        return any(rule.field != "camera" for rule in self.rules)

    def __str__(self) -> str:
        return self.text

    def rule_for(self, camera: str, facts: Facts | None) -> Rule | None:
        """Returns the rule that counts for an event, or None if no rule fits it. `facts` is None
        for an event without a JSON, of which only the camera is known."""
        camera = camera or (facts.camera if facts else "")
        fitting = [rule for rule in self.rules if rule.fits(camera, facts)]
        return max(fitting, key=lambda rule: rule.days, default=self.other)

    def least_seconds(self, camera: str) -> float:
        """Returns the age up to which an event of this camera is kept whatever its JSON says."""
        certain = [rule.seconds for rule in self.rules if camera and rule.fits(camera, None)]
        if certain:
            return max(certain)  # what else fits can only lengthen it
        possible = [rule for rule in self.ages if not (camera and rule.field == "camera")]
        return min((rule.seconds for rule in possible), default=math.inf)


def parse(text: str) -> Policy | None:
    """Returns the policy that `text` describes, or None if it is empty. Raises ValueError, which
    names the word that is wrong and says what was expected."""
    words = text.split()
    rules = [_rule(word) for word in words if not word.startswith("size:")]
    sizes = [_size(word) for word in words if word.startswith("size:")]
    for rule in rules:
        others = [one for one in rules if (one.field, one.value) == (rule.field, rule.value)]
        if len(others) > 1:
            raise ValueError(f"{others[0].text!r} and {others[1].text!r} are for the same events")
        if ":" not in rule.text and len(rules) > 1:
            raise ValueError(
                f"{rule.text!r} stands beside other rules: write *:{rule.text} for the events that "
                "no other rule fits"
            )
    if len(sizes) > 1:
        raise ValueError("size: stands there twice")
    if not words:
        return None
    return Policy(
        " ".join(words),
        tuple(rule for rule in rules if rule.field),
        next((rule for rule in rules if not rule.field), None),
        next(iter(sizes), None),
    )


def _rule(word: str) -> Rule:
    who, colon, age = word.rpartition(":")
    if not colon:
        who = "*"
        if "=" in word:
            raise ValueError(f"{word!r} is no rule: a colon stands before its age. {_LOOKS}")
    match = _AGE.fullmatch(age)
    if not match or int(match[1]) > _LONGEST:
        raise ValueError(
            f"{word!r} is no rule: its age must be whole days from 1d to {_LONGEST}d. {_LOOKS}"
        )
    days = int(match[1])
    if who == "*":
        return Rule(word, "", "", days)
    if who in SEVERITIES:
        return Rule(word, "severity", who, days)
    field, equals, name = who.partition("=")
    if not equals or field not in ("label", "camera"):
        raise ValueError(
            f"{word!r} is no rule: {who!r} is none of alert, detection, label=NAME, camera=NAME "
            f"and *. {_LOOKS}"
        )
    return Rule(word, field, _name(word, name), days)


def _name(word: str, text: str) -> str:
    """Returns the name of a label or camera. A blank in it is written as %20."""
    try:
        if _NAME.fullmatch(text):
            text.encode()
            return unquote(text, errors="strict")
    except UnicodeError:
        pass
    raise ValueError(
        f"{word!r} needs one name of a label or camera after the equals sign; a blank in it is "
        "written as %20"
    )


def _size(word: str) -> int:
    match = _SIZE.fullmatch(word.removeprefix("size:"))
    if not match:
        raise ValueError(
            f"{word!r} is no size: write a whole number and M, G or T, such as size:500G"
        )
    return int(match[1]) * _BYTES[match[2]]


def cutoffs(policy: Policy, now: float) -> Iterable[tuple[Rule, float]]:
    """Yields each rule with an age, and the Unix seconds before which it deletes."""
    return ((rule, now - rule.seconds) for rule in policy.ages)
