"""Pictures of which only the mirror still has a copy: in its spool, and known to its ledger alone.

Frigate's retention takes the picture of every event, and mostly its row too. What the mirror then
loses sight of is lost for good, since no sweep of Frigate's database can find it again.
"""

from __future__ import annotations

from lab.campaign import oracle, told
from lab.campaign.faults import Step
from lab.campaign.world import World

LONGEST_TAKEN = 40.0  # seconds until retention has taken a picture: its fair chance and more
LONGEST_UPLOAD = 30.0  # seconds for what is due at once, with the pauses of one failure or two


def take_everything(*, rows_too: bool = True) -> Step:
    """Let retention take every picture after its fair chance, and the event's row with it."""

    def prepare(world: World) -> None:
        world.retention.share, world.retention.rows_too = 1.0, rows_too

    return prepare


def wait_until_taken(world: World) -> None:
    """Wait until Frigate has handled all its events and deleted their pictures."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    world.wait_until(
        lambda: not _left(world), LONGEST_TAKEN, "retention to take every picture", 0.1
    )


def as_an_earlier_version_held_them(world: World) -> None:
    """Leave of the spool what version 0.1.0 of the mirror kept there: the pictures, and no word of
    what each of them is. Then the ledger alone knows."""
    for path in (world.clips / "cache" / ".s3_spool").glob("*"):
        if not oracle.ID.fullmatch(path.name.removeprefix("snapshot_")):
            path.unlink()


def _left(world: World) -> list[str]:
    """Pictures that Frigate still has."""
    return [one.file for one in world.owed().values() if (world.clips / one.file).exists()]


def missing(world: World) -> set[str]:
    """Ids of the events that are owed and not in the bucket."""
    return world.owed().keys() - world.oracle.present().keys()


def wait_until_there(world: World, when: str, within: float = LONGEST_UPLOAD) -> bool:
    """Wait until everything owed is in the bucket; `when` that must come about is for the
    complaint."""
    if world.oracle.wait(lambda: world.owed().keys(), within, world.lab.rest) is not None:
        return True
    count = len(missing(world))
    world.complaints.append(f"{count} not in the bucket after {within:g} s {when}")
    return False


def nothing_is_lost(world: World) -> None:
    """Everything owed arrives, and health says so: it knows of no loss, and of no danger."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    if wait_until_there(world, "after the fault", 60.0):
        told.wait_until_ok(world, "everything is in the bucket")
