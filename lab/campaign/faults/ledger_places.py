"""The ledger in two places: the chosen state folder cannot be written for one life of the mirror.

The mirror then keeps its ledger in clips/cache/.s3_mirror. Whatever waits for upload in either
place must stay in sight. To make that show, retention takes every picture and its row, so that only
the spool and one of the two ledgers still know of it.
"""

from __future__ import annotations

from lab.campaign import mounts
from lab.campaign.faults import Fault, Step
from lab.campaign.faults.disk import kill_mirror, state
from lab.campaign.last_copies import (
    as_an_earlier_version_held_them,
    nothing_is_lost,
    take_everything,
    wait_until_taken,
    wait_until_there,
)
from lab.campaign.mounts import MB, MOUNTS
from lab.campaign.world import World
from tests.rig import processes

ON_SMALL_DISK = 8 * MB


def _own_disk(world: World) -> None:
    """A file system of its own for the chosen state folder."""
    mounts.small(world, state(world), ON_SMALL_DISK)


def _full_from_the_start(world: World) -> None:
    """The very first mirror finds no ledger, and no space to make one."""
    _own_disk(world)
    mounts.fill(state(world))


def _with_last_copies(prepare: Step) -> Step:
    def both(world: World) -> None:
        take_everything()(world)
        prepare(world)

    return both


def _make_read_only(world: World) -> None:
    made = lambda: mounts.read_only(state(world))  # noqa: E731
    world.wait_until(made, 20, "the state folder to be read-only")


def _make_writable(world: World) -> None:
    mounts.writable(state(world))
    mounts.empty(state(world))


def _end_life(world: World) -> None:
    """End Frigate and the mirror: in good order, or killed, with the ledger's log left as it is."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    if world.rng.random() < 0.5:
        world.stop()
        return
    mirror = world.mirror
    world.running.kill()
    if mirror:
        processes.kill(mirror)
    world.expect_no_mirror()


def _another_life(between: Step) -> Step:
    """The next mirror starts with a state folder that has been changed `between` the two."""

    def step(world: World) -> None:
        starts = world.starts_told()
        _end_life(world)
        between(world)
        world.start()
        world.wait_for_start(starts)

    return step


def _outage_in_a_read_only_life(world: World) -> None:
    """Everything of this life is pending in the ledger of the other place."""
    world.proxy.refuse()
    _another_life(_make_read_only)(world)


def _end_of_that_life(world: World) -> None:
    wait_until_taken(world)
    _another_life(_spoilt(_make_writable))(world)
    world.proxy.accept()


def _pending_where_it_cannot_be_written(spoil: Step) -> Step:
    """The chosen ledger has pending pictures when its folder is spoilt. The bucket can be reached
    again, so they must be uploaded in that very life."""

    def begin(world: World) -> None:
        world.proxy.refuse()
        world.burst(3, 5)
        wait_until_taken(world)
        _another_life(_spoilt(spoil))(world)
        world.proxy.accept()
        wait_until_there(world, "with a state folder that cannot be written")

    return begin


def _spoilt(spoil: Step) -> Step:
    """Mostly the spool then cannot tell what it holds, so that all depends on the ledger."""

    def between(world: World) -> None:
        if world.rng.random() < 0.7:
            as_an_earlier_version_held_them(world)
        spoil(world)

    return between


def _fill(world: World) -> None:
    mounts.fill(state(world))


def _no_need_of_a_ledger(world: World) -> None:
    """Pictures go up though the chosen place has no space for a ledger."""
    world.burst(2, 4)
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    wait_until_there(world, "with no space for a ledger in the chosen place")


FAULTS = (
    Fault(
        name="state folder read-only for one life, in an outage",
        needs=MOUNTS,
        prepare=_with_last_copies(_own_disk),
        begin=_outage_in_a_read_only_life,
        end=_end_of_that_life,
        after=nothing_is_lost,
        alone=True,
        runs=4,
    ),
    Fault(
        name="the ledger becomes read-only with pending pictures",
        needs=MOUNTS,
        prepare=_with_last_copies(_own_disk),
        begin=_pending_where_it_cannot_be_written(_make_read_only),
        end=_another_life(_make_writable),
        after=nothing_is_lost,
        alone=True,
        runs=4,
    ),
    Fault(
        name="the ledger's disk is full at a start, with pending pictures",
        needs=MOUNTS,
        prepare=_with_last_copies(_own_disk),
        begin=_pending_where_it_cannot_be_written(_fill),
        end=_another_life(_make_writable),
        after=nothing_is_lost,
        alone=True,
        runs=4,
    ),
    Fault(
        name="the ledger's disk is full at the first start",
        needs=MOUNTS,
        prepare=_with_last_copies(_full_from_the_start),
        begin=_no_need_of_a_ledger,
        strike=kill_mirror,
        strikes=2,
        pause=(0.5, 1.5),
        end=_another_life(_make_writable),
        after=nothing_is_lost,
        alone=True,
    ),
)
