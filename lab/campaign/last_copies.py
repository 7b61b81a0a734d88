"""Pictures of which only the mirror still has a copy, in its spool, and which only its ledger
knows.

Frigate's retention deletes the picture of every event, and usually its row too. If the mirror then
loses track of a picture, it is lost for good, because no sweep of Frigate's database can find it.
"""

from __future__ import annotations

from lab.campaign import oracle, told
from lab.campaign.faults import Step
from lab.campaign.world import World

LONGEST_TAKEN = 40.0  # seconds until retention has deleted a picture: its fair chance and more
# seconds for uploads that are due now, with the pauses after a failure or two
LONGEST_UPLOAD = 30.0


def take_everything(*, rows_too: bool = True) -> Step:
    """Makes retention delete every picture after its fair chance, together with the event's row."""

    def prepare(world: World) -> None:
        world.retention.share, world.retention.rows_too = 1.0, rows_too

    return prepare


def wait_until_taken(world: World) -> None:
    """Waits until Frigate has handled all its events and deleted their pictures."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    world.wait_until(
        lambda: not _left(world), LONGEST_TAKEN, "retention to take every picture", 0.1
    )


def as_an_earlier_version_held_them(world: World) -> None:
    """Leaves in the spool only what version 0.1.0 of the mirror kept there: the pictures, without
    descriptions. Then only the ledger knows what each picture is."""
    for path in (world.clips / "cache" / ".s3_spool").glob("*"):
        if not oracle.ID.fullmatch(path.name.removeprefix("snapshot_")):
            path.unlink()


def _left(world: World) -> list[str]:
    """The pictures that Frigate still has."""
    return [one.file for one in world.owed().values() if (world.clips / one.file).exists()]


def missing(world: World) -> set[str]:
    """The ids of owed events that are not in the bucket."""
    return world.owed().keys() - world.oracle.arrived()


def wait_until_there(world: World, when: str, within: float = LONGEST_UPLOAD) -> bool:
    """Waits until everything owed is in the bucket. The complaint names `when` this must be."""
    if world.oracle.wait(lambda: world.owed().keys(), within, world.lab.rest) is not None:
        return True
    count = len(missing(world))
    world.complaints.append(f"{count} not in the bucket after {within:g} s {when}")
    return False


def nothing_is_lost(world: World) -> None:
    """Everything owed arrives. Then health becomes OK, because nothing is lost or in danger."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    if wait_until_there(world, "after the fault", 60.0):
        told.wait_until_ok(world, "everything is in the bucket")
