"""What the mirror itself tells: its status, its statistics line, its file of dead letters.

A fault that asks whether the mirror says the truth reads it here, as its owner would.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

from lab.campaign.world import World

Document = dict[str, Any]
"""What `status --json` prints."""
OK = "OK"
STATISTICS = re.compile(r"S3 Upload Stats - .*Failed Events: (\d+), Health: (\w+)")
ASK_EVERY = 0.5  # seconds
LONGEST = 30.0  # seconds until the status says what is true; it is written every five


def status(world: World) -> Document:
    """The answer of `status --json`. An answer that is no JSON has the health "unreadable"."""
    said = world.command("status", "--json")
    try:
        found = json.loads(said.stdout)
    except ValueError:
        return {"health": "unreadable", "reasons": [f"{said.stdout!r:.200} {said.stderr!r:.200}"]}
    return found if isinstance(found, dict) else {"health": "unreadable", "reasons": []}


def wait_for_status(
    world: World, true: Callable[[Document], bool], what: str, within: float = LONGEST
) -> bool:
    """Ask for the status until it is as it should be; complain where it does not become so."""
    until = time.monotonic() + within
    while not true(found := status(world)):
        if time.monotonic() > until:
            world.complaints.append(
                f"not within {within:g} s: {what}; health is {found.get('health')},"
                f" because {found.get('reasons')!r:.300}"
            )
            return False
        world.lab.rest(ASK_EVERY)
    return True


def wait_until_ok(world: World, why: str) -> bool:
    """Wait until health is OK; `why` it must be is for the complaint."""
    return wait_for_status(world, lambda said: said["health"] == OK, f"health OK, since {why}")


def statistics(world: World) -> tuple[int, str]:
    """`Failed Events` and `Health` of the last statistics line; -1 and nothing before the first."""
    found = STATISTICS.findall(world.log.read_text(errors="replace"))
    return (int(found[-1][0]), found[-1][1]) if found else (-1, "")


def dead_letters(world: World) -> dict[str, str]:
    """The lines of `.s3_failed_events`, by the event id in them."""
    path = world.clips / "cache" / ".s3_failed_events"
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    fields = [line.split("\t") for line in lines]
    return {one[1].partition(":")[2]: "\t".join(one) for one in fields if len(one) > 1}


def run(world: World, *words: str) -> subprocess.CompletedProcess[str] | None:
    """A command of the mirror's that must end, and not in a traceback; None where it does not
    end."""
    try:
        said = world.command(*words)
    except subprocess.TimeoutExpired as error:
        world.complaints.append(f"`{words[0]}` did not end within {error.timeout:g} s")
        return None
    if "Traceback" in said.stderr:
        world.complaints.append(f"`{words[0]}` ended in a traceback: {said.stderr[-200:]}")
    return said


def run_well(world: World, *words: str) -> str:
    """A command that must succeed; what it printed."""
    said = run(world, *words)
    if said is not None and said.returncode != 0:
        world.complaints.append(f"`{' '.join(words)}` ended with {said.returncode}: "
                                f"{said.stdout[-200:]} {said.stderr[-200:]}")  # fmt: skip
    return said.stdout if said is not None else ""
