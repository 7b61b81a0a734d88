"""The disks under ledger, state files, spool and status: full, read-only, failing.

All of it is real, on small file systems of the run's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.campaign import mounts
from lab.campaign.faults import Fault, Step
from lab.campaign.mounts import LOOP, MB, MOUNTS
from lab.campaign.world import World
from tests.rig import processes

STATE_FILES = (".s3_uploaded_events", ".s3_failed_events", ".s3_status.json")


def state(world: World) -> Path:
    """The folder of ledger and lock."""
    return world.database.parent / "s3_mirror"


def cache(world: World) -> Path:
    """Frigate's clips/cache, with state files, status and spool."""
    return world.clips / "cache"


def kill_mirror(world: World) -> None:
    if pid := world.mirror:
        processes.kill(pid, signal.SIGKILL)


def told(*words: str) -> Callable[[World], bool]:
    """Whether the mirror has said one of these, so that the fault was none in name only."""
    return lambda world: any(word in world.log.read_text(errors="replace") for word in words)


# -- full and read-only


def _on_small(*places: tuple[str, int]) -> Step:
    def prepare(world: World) -> None:
        for place, size in places:
            mounts.small(world, _place(world, place), size)

    return prepare


def _place(world: World, name: str) -> Path:
    return {"state": state(world), "cache": cache(world), "clips": world.clips}[name]


def _fill(*places: str) -> Step:
    def fill(world: World) -> None:
        for place in places:
            mounts.fill(_place(world, place))

    return fill


def _empty(*places: str) -> Step:
    def empty(world: World) -> None:
        for place in places:
            mounts.empty(_place(world, place))

    return empty


def _full_for_a_moment(world: World) -> None:
    """Frigate cannot write pictures then either, so events come before and after."""
    world.burst(1, 3)
    mounts.fill(world.clips)
    world.pause(0.5, 2.0)
    mounts.empty(world.clips)


def _read_only(*places: str) -> Step:
    """A file that is open keeps a file system writable, so the mirror has to go first."""

    def begin(world: World) -> None:
        for place in places:
            folder = _place(world, place)

            def closed(folder: Path = folder) -> bool:
                if folder == state(world):
                    kill_mirror(world)
                return mounts.read_only(folder)

            world.wait_until(closed, 20, f"{place} to be read-only")

    return begin


def _writable(*places: str) -> Step:
    def end(world: World) -> None:
        for place in places:
            mounts.writable(_place(world, place))

    return end


def _on_dying_disk(world: World) -> None:
    world.notes["disk"] = mounts.dying(world, state(world), 4 * MB)


def _no_space(name: str, *words: str, on: list[tuple[str, int]], **more: Any) -> Fault:
    places = [place for place, _ in on]
    return Fault(
        name=name,
        needs=MOUNTS,
        met=told(*words),
        prepare=_on_small(*on),
        begin=_fill(*places),
        strike=_fill(*places),
        strikes=3,
        end=_empty(*places),
        **more,
    )


STATE, CACHE = ("state", 8 * MB), ("cache", 32 * MB)
FAULTS = (
    _no_space("no space for the ledger", "disk is full", on=[STATE], blinds=True),
    _no_space("no space for spool and state files", "No space left", on=[CACHE], alone=True),
    _no_space("no space at all", "disk is full", "No space left", on=[STATE, CACHE], blinds=True),
    Fault(
        name="no space where the pictures are",
        needs=MOUNTS,
        prepare=_on_small(("clips", 64 * MB)),
        strike=_full_for_a_moment,
        strikes=3,
        end=_empty("clips"),
        alone=True,
    ),
    Fault(
        # The mirror that starts meanwhile takes another ledger; the first is back with the next.
        name="ledger on a read-only disk",
        needs=MOUNTS,
        met=lambda world: (cache(world) / ".s3_mirror" / "ledger.db").exists(),
        prepare=_on_small(STATE),
        begin=_read_only("state"),
        end=_writable("state"),
        after=kill_mirror,
        blinds=True,
        alone=True,
    ),
    Fault(
        name="clips/cache read-only",
        needs=MOUNTS,
        met=told("Read-only file system"),
        prepare=_on_small(CACHE),
        begin=_read_only("cache"),
        end=_writable("cache"),
        alone=True,
    ),
    Fault(
        name="everything read-only",
        needs=MOUNTS,
        met=told("cannot start"),
        prepare=_on_small(STATE, CACHE),
        begin=_read_only("state", "cache"),
        end=_writable("state", "cache"),
        blinds=True,
        alone=True,
    ),
    Fault(
        name="spool on another disk, connection refused",
        needs=MOUNTS,
        prepare=_on_small(CACHE),
        begin=lambda world: world.proxy.refuse(),
        end=lambda world: world.proxy.accept(),
        lasts=(4.0, 8.0),
    ),
    Fault(
        name="the ledger's disk dies",
        needs=LOOP,
        met=told("disk I/O error", "disk is full"),
        prepare=_on_dying_disk,
        begin=lambda world: mounts.fill(world.notes["disk"]),
        strike=lambda world: os.sync(),
        strikes=2,
        end=lambda world: mounts.empty(world.notes["disk"]),
        after=kill_mirror,
        blinds=True,
        alone=True,
    ),
)
