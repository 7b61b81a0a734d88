"""What lies in the bucket behind the mirror's back: objects of other kinds, or nothing any more."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from lab.campaign import rows, told
from lab.campaign.events import Event
from lab.campaign.faults import Fault
from lab.campaign.faults.disk import STATE_FILES, cache, state
from lab.campaign.last_copies import (
    nothing_is_lost,
    take_everything,
    wait_until_taken,
    wait_until_there,
)
from lab.campaign.world import World

# The endings of an event's other files, as the design names them.
OTHER_KINDS = (".mp4", "-thumb.webp", "-thumb.jpg", ".json", "-part-0001.mp4")


# -- objects of other kinds


def _plant(world: World, event: Event) -> None:
    """Put objects of the event's other kinds there: all, or some."""
    for ending in world.rng.sample(OTHER_KINDS, world.rng.randint(1, len(OTHER_KINDS))):
        world.oracle.plant(_key(world, event, ending), world.rng.randbytes(100))


def _key(world: World, event: Event, ending: str) -> str:
    """{prefix}/{camera}/{date}/{event-id}-{timestamp}{ending}, in the time of the zone that is
    set."""
    zone = ZoneInfo(world.environ["MIRROR_KEY_TIMEZONE"])
    local = datetime.fromtimestamp(int(event.started), zone)
    name = f"{event.id}-{local:%Y%m%d_%H%M%S}{ending}"
    parts = (world.prefix, event.camera, f"{local:%Y-%m-%d}", name)
    return "/".join(part for part in parts if part)


def _plant_for_all(world: World) -> None:
    """Something else has uploaded the other kinds of every event so far."""
    world.burst(1, 3)
    for event in list(world.events.values()):
        _plant(world, event)


def _rebuild_without_ledger(world: World) -> None:
    """The ledger is lost with the state files, and the bucket is asked what there is. By then only
    the spool has the pictures."""
    wait_until_taken(world)
    world.stop()
    for path in [*state(world).glob("ledger.db*"), *(cache(world) / one for one in STATE_FILES)]:
        path.unlink(missing_ok=True)
    world.proxy.accept()
    told.run_well(world, "rebuild")
    world.start()


def _rebuild_beside(world: World) -> None:
    """The other kinds of an event are there before the mirror has heard of the event."""
    event = rows.make(world)
    _plant(world, event)
    told.run_well(world, "rebuild")
    world.send(event)


# -- nothing any more


def _empty(world: World) -> list[str]:
    """Delete every object, and say of which events. What Frigate has no more cannot come back."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    wait_until_there(world, "before the bucket is emptied")
    found = world.oracle.present()
    for keys in found.values():
        for key in keys:
            world.bucket.client.delete_object(Bucket=world.bucket.name, Key=key)
    for event in world.events.values():
        event.taken = event.taken or not (world.clips / event.file).exists()
    return [one for one in found if not world.events[one].taken]


def _verify(world: World) -> None:
    """The owner knows that the bucket was emptied, and asks for all of it again."""
    world.burst(2, 4)
    deleted = _empty(world)
    said = _backfill(world)
    if not re.search(rf"\b{len(deleted)}\b", said):
        world.complaints.append(f"{len(deleted)} were missing, and it said {said[-200:]!r}")
    wait_until_there(world, "after `backfill --verify`")


def _backfill(world: World) -> str:
    """Exit code 1 says that something is left or lost: what Frigate has no more."""
    said = told.run(world, "backfill", "--verify", "--since", "1d")
    lost = any(event.taken for event in world.events.values())
    if said is not None and said.returncode not in ((0, 1) if lost else (0,)):
        world.complaints.append(
            f"`backfill --verify` ended with {said.returncode}: {said.stderr[-200:]}"
        )
    return said.stdout if said is not None else ""


def _empty_between_two_lives(world: World) -> None:
    """The owner does not know it, and is told after the next start. Once all that Frigate still has
    is back, and the rest is acknowledged, health is OK again after the next look, which the next
    start brings."""
    world.burst(2, 4)
    deleted = _empty(world)
    world.stop()
    if world.rng.random() < 0.5:
        world.bucket.client.delete_bucket(Bucket=world.bucket.name)
        world.bucket.client.create_bucket(Bucket=world.bucket.name)
    world.start()
    told.wait_for_status(world, _names_missing_objects, f"a word about {len(deleted)} missing")
    _backfill(world)
    wait_until_there(world, "after `backfill --verify`")
    told.run_well(world, "acknowledge")
    world.stop()
    world.start()
    told.wait_until_ok(world, "all that Frigate still has is in the bucket")


def _names_missing_objects(status: told.Document) -> bool:
    """Whether it says so in any words, as the reason for a health that is not OK."""
    reasons = " ".join(status["reasons"])
    return status["health"] != told.OK and bool(re.search("missing|not in the bucket", reasons))


FAULTS = (
    Fault(
        name="objects of other kinds, ledger lost",
        prepare=take_everything(),
        begin=lambda world: world.proxy.refuse(),
        strike=_plant_for_all,
        strikes=2,
        end=_rebuild_without_ledger,
        after=nothing_is_lost,
        alone=True,
        runs=3,
    ),
    Fault(
        name="objects of other kinds, rebuild beside the mirror",
        strike=_rebuild_beside,
        strikes=4,
        pause=(0.0, 0.5),
        lasts=(0.0, 1.0),
        after=nothing_is_lost,
        alone=True,
    ),
    Fault(
        name="bucket emptied, then verified",
        strike=_verify,
        strikes=2,
        lasts=(0.0, 1.0),
        blinds=True,  # Frigate keeps what is to be uploaded again
        alone=True,
    ),
    Fault(
        name="bucket emptied between two lives",
        strike=_empty_between_two_lives,
        strikes=1,
        lasts=(0.0, 1.0),
        blinds=True,
        alone=True,
        runs=3,
    ),
)
