"""The mirror's clock: eight days of outage in event time, and steps in both directions.

The clock is that of `time.time()`; requests are signed with the right time (see the shim).
"""

from __future__ import annotations

import signal
import time

from lab.campaign import rows
from lab.campaign.faults import Fault, Step
from lab.campaign.faults.child import living
from lab.campaign.world import World
from tests.rig import processes

HOUR, DAY, YEAR = 3_600.0, 86_400.0, 365 * 86_400.0


def _a_day_later(world: World) -> None:
    world.notes["day"] = world.notes.get("day", 0) + 1
    world.change(clock=world.notes["day"] * DAY)


def _step(least: float, most: float) -> Step:
    def begin(world: World) -> None:
        sign = world.rng.choice((-1, 1))
        world.change(clock=sign * world.rng.uniform(least, most))

    return begin


def _leap(world: World) -> None:
    """Another time altogether, as the next mirror starts."""
    world.change(clock=world.rng.choice((-1, 1, 1)) * world.rng.uniform(HOUR, YEAR))
    if pid := world.mirror:
        processes.kill(pid)


def _right(world: World) -> None:
    world.change(clock=0.0)


def _in_1970(world: World) -> None:
    """A machine without a battery for its clock has started, and has no network yet."""
    world.change(clock=world.rng.uniform(HOUR, DAY) - time.time())


def _to_now(world: World) -> None:
    """The clock is set while one and the same mirror lives. No hook tells of the last events before
    that, and no sweep comes between them and the jump, since the mirror is stopped meanwhile."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    pid = living(world)
    if pid:
        processes.kill(pid, signal.SIGSTOP)
    for _ in range(3):
        event = rows.make(world)
        rows.insert(world, rows.row(event))
        rows.own(world, event)
    _right(world)
    if pid:
        processes.kill(pid, signal.SIGCONT)


FAULTS = (
    Fault(
        name="clock leaps as the mirror starts",
        strike=_leap,
        strikes=8,
        pause=(0.3, 1.5),
        end=_right,
        lasts=(0.0, 0.0),
        alone=True,  # see below
    ),
    Fault(
        # Longer than the sweep looks back. Nothing is set right at its end: it is that late then.
        name="eight days of outage",
        begin=lambda world: world.proxy.refuse(),
        strike=_a_day_later,
        strikes=8,
        pause=(0.4, 0.8),
        end=lambda world: world.proxy.accept(),
        alone=True,
    ),
    Fault(
        name="the clock jumps from 1970 to now",
        prepare=_in_1970,
        strike=_to_now,
        strikes=1,
        pause=(2.0, 4.0),
        lasts=(0.0, 1.0),
        alone=True,
        runs=3,
    ),
    Fault(name="clock steps by hours", begin=_step(HOUR, 20 * HOUR), end=_right),
    # With another fault an id may be missed, and no sweep looks back by years once all is right.
    Fault(name="clock steps by years", begin=_step(YEAR, 6 * YEAR), end=_right, alone=True),
)
