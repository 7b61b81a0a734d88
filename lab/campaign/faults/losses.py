"""Pictures that cannot be saved: the loss must show, by name, until the owner acknowledges it."""

from __future__ import annotations

from dataclasses import replace

from lab.campaign import told
from lab.campaign.faults import Fault
from lab.campaign.last_copies import missing, nothing_is_lost, take_everything, wait_until_taken
from lab.campaign.mischief import error, is_put
from lab.campaign.world import World

LONGEST_LISTED = 60.0  # seconds until each loss stands in the file of dead letters
LOOK_EVERY = 0.3  # seconds
STATISTICS_WITHIN = 30.0  # seconds; the line comes every five
MANY = 16  # events whose pictures together are larger than the spool may become

_TOO_LARGE = replace(error("400 Bad Request", "EntityTooLarge"), fits=is_put)


# -- the spool is full, and retention is faster than the bucket


def _outage(world: World) -> None:
    world.proxy.refuse()


def _too_much(world: World) -> None:
    world.burst(MANY, MANY)


def _back(world: World) -> None:
    wait_until_taken(world)
    world.proxy.accept()


def _losses_are_told(world: World) -> None:
    """Each picture is in the bucket, or is named among the dead letters; none is just gone."""
    _wait_until_all_are_listed(world)
    listed = told.dead_letters(world).keys()
    if saved := listed & world.oracle.present().keys():
        world.complaints.append(f"{len(saved)} are listed as lost and in the bucket")
    if not missing(world):
        world.complaints.append("nothing was lost, so this run proves nothing")
        return
    lost = missing(world) & listed
    for event_id in lost:
        world.events[event_id].taken = True
    _until_acknowledged(world, lost)


def _wait_until_all_are_listed(world: World) -> None:
    """Wait until everything that is not in the bucket stands among the dead letters."""
    world.wait_until(
        lambda: missing(world) <= told.dead_letters(world).keys(),
        LONGEST_LISTED,
        "each picture in the bucket or in .s3_failed_events",
        LOOK_EVERY,
    )


def _until_acknowledged(world: World, lost: set[str]) -> None:
    """Status and statistics tell of the losses until `acknowledge`; the file does so for longer."""
    told.wait_for_status(
        world, lambda said: said["health"] != told.OK and bool(said["reasons"]), "a word of losses"
    )
    world.wait_until(
        lambda: (
            told.statistics(world)[0] >= max(1, len(lost)) and told.statistics(world)[1] != told.OK
        ),
        STATISTICS_WITHIN,
        f"statistics with {len(lost)} failed events and a health that is not OK",
        LOOK_EVERY,
    )
    told.run_well(world, "acknowledge")
    told.wait_until_ok(world, "the losses are acknowledged")
    world.wait_until(
        lambda: told.statistics(world) == (0, told.OK),
        STATISTICS_WITHIN,
        "statistics without them",
        LOOK_EVERY,
    )
    if unlisted := lost - told.dead_letters(world).keys():
        world.complaints.append(f"{len(unlisted)} are no longer listed once acknowledged")


# -- refused for good


def _refused_for_good(world: World) -> None:
    """What the service refuses is a loss as well, until a retry succeeds."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    _wait_until_all_are_listed(world)
    refused = missing(world)
    world.proxy.remove(_TOO_LARGE)
    if world.rng.random() < 0.5:
        _until_acknowledged(world, refused)
    else:
        told.wait_for_status(
            world, lambda said: said["health"] != told.OK, "a health that tells of the refusals"
        )
    told.run_well(world, "retry")
    nothing_is_lost(world)


FAULTS = (
    Fault(
        name="spool full while retention takes pictures",
        prepare=take_everything(),
        begin=_outage,
        strike=_too_much,
        strikes=1,
        end=_back,
        after=_losses_are_told,
        environ={"MIRROR_SPOOL_LIMIT_MB": "1"},
        alone=True,
        runs=3,
    ),
    Fault(
        # No retention: only a picture that Frigate or the spool has can be tried again.
        name="refused for good, then acknowledged or tried again",
        begin=lambda world: world.proxy.add(_TOO_LARGE),
        end=_refused_for_good,
        met=lambda world: world.proxy.struck["put"] > 0,
        blinds=True,
        alone=True,
        runs=4,
    ),
)
