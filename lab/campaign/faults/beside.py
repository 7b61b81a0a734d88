"""Commands beside a running mirror while pictures are pending, and while its ledger is damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from lab.campaign import mischief, told
from lab.campaign.faults import Fault, Step
from lab.campaign.faults.damage import cut, delete, flip, folder, scribble
from lab.campaign.faults.disk import state
from lab.campaign.last_copies import nothing_is_lost, take_everything, wait_until_taken
from lab.campaign.world import World

LONGEST_COMMAND = 70.0  # seconds; `world.command` itself gives up after 60


def _swallow(world: World) -> None:
    """Nothing gets through to the bucket, and nothing comes back."""
    world.proxy.add(mischief.BLACK_HOLE)
    world.burst(3, 5)


def _backfill(world: World) -> None:
    """It waits for what is pending, so it can only end once the bucket is back."""
    thread = threading.Thread(
        target=told.run, args=(world, "backfill", "--since", "1d"), daemon=True
    )
    world.notes.setdefault("commands", []).append(thread)
    thread.start()


def _backfill_beside_pending(world: World) -> None:
    wait_until_taken(world)
    _backfill(world)


def _backfill_beside_damage(*hurts: Callable[[World, Path], None]) -> Step:
    """One of these befalls the ledger a moment before. The mirror that has it open may not have
    noticed, but whoever opens it does."""

    def strike(world: World) -> None:
        wait_until_taken(world)
        world.rng.choice(hurts)(world, state(world) / "ledger.db")
        _backfill(world)

    return strike


def _back_and_restart(world: World) -> None:
    world.proxy.remove(mischief.BLACK_HOLE)
    for thread in world.notes.get("commands", ()):
        thread.join(LONGEST_COMMAND)
    world.stop()
    world.start()


def _beside(name: str, strike: Step, *, rows_too: bool, runs: int) -> Fault:
    return Fault(
        name=name,
        prepare=take_everything(rows_too=rows_too),
        begin=_swallow,
        strike=strike,
        strikes=1,
        end=_back_and_restart,
        after=nothing_is_lost,
        met=lambda world: world.proxy.struck["put"] > 0,
        lasts=(2.0, 4.0),
        alone=True,
        runs=runs,
    )


FAULTS = (
    _beside("backfill beside pending pictures", _backfill_beside_pending, rows_too=True, runs=2),
    _beside(
        "backfill beside a damaged ledger",
        _backfill_beside_damage(cut, flip, scribble),
        rows_too=True,
        runs=2,
    ),
    _beside(
        "backfill beside a ledger that is deleted or replaced",
        _backfill_beside_damage(delete, folder),
        rows_too=True,
        runs=3,
    ),
)
