"""Pictures that change: they are written in two halves, or written again after their upload.

The bucket must have the final picture, byte for byte. Retention does not delete it before that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from lab.campaign import events, rows
from lab.campaign.events import Event
from lab.campaign.faults import Fault
from lab.campaign.faults.disk import kill_mirror
from lab.campaign.world import World

LONGEST_MENDED = 60.0  # seconds until the whole picture is there, with a look every second
LOOK_EVERY = 0.5  # seconds between two looks
CUTS: tuple[Callable[[int], int], ...] = (
    lambda size: 0,
    lambda size: 6,  # the first marker of a JPEG and a little more
    lambda size: size // 2,
    lambda size: size - 1,
)


def _half(world: World) -> None:
    """Frigate has written one half of the picture when it announces the event, and pauses before
    the other half. Some pauses last until the fault ends, longer than the mirror may wait."""
    event, picture = rows.unwritten(world)
    event.kept = True
    cut = world.rng.choice(CUTS)(len(picture))
    events.write(world.clips, event, picture[:cut], world.version)
    world.send(event)
    world.notes.setdefault("changed", []).append(event)
    rest: list[tuple[Event, bytes]] = world.notes.setdefault("rest", [])
    rest.append((event, picture[cut:]))
    if world.rng.random() < 0.5:
        world.pause(0.0, 3.0)
        _write_rest(world)
    if world.rng.random() < 0.2:
        kill_mirror(world)


def _write_rest(world: World) -> None:
    for event, rest in world.notes.pop("rest", ()):
        with (world.clips / event.file).open("ab") as file:
            file.write(rest)


def _again(world: World) -> None:
    """Frigate writes a picture again that is already in the bucket. It truncates the file, or
    replaces it by another."""
    event = rows.make(world)
    event.kept = True
    world.send(event)
    world.notes.setdefault("changed", []).append(event)
    world.wait_until(lambda: world.oracle.holds(event), 20, "the first upload of a picture", 0.1)
    path = world.clips / event.file
    picture = events.photograph(world.rng, webp=path.suffix == ".webp")
    event.sha256 = hashlib.sha256(picture).hexdigest()
    if world.rng.random() < 0.3:
        partial = path.with_suffix(".part")
        partial.write_bytes(picture)
        partial.replace(path)
        return
    with path.open("wb", buffering=0) as file:
        half = world.rng.randrange(len(picture))
        file.write(picture[:half])
        world.pause(0.0, 2.0)
        file.write(picture[half:])


def _expect_whole(world: World) -> None:
    """Waits until the bucket has each present picture. Then retention may delete it."""
    changed: list[Event] = world.notes.get("changed", [])
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    committed = [event for event in changed if event.committed]
    whole = lambda: all(map(world.oracle.holds, committed))  # noqa: E731
    if not world.comes_about(whole, LONGEST_MENDED, LOOK_EVERY):
        wrong = [event.id for event in committed if not world.oracle.holds(event)]
        world.complaints.append(
            f"{len(wrong)} of {len(committed)} pictures are not in the bucket as they are now,"
            f" {LONGEST_MENDED:g} s after they changed: {' '.join(wrong[:5])}"
        )
    for event in changed:
        event.kept = False


FAULTS = (
    Fault(
        name="half a picture",
        strike=_half,
        strikes=6,
        pause=(0.0, 1.0),
        end=_write_rest,
        after=_expect_whole,
        alone=True,  # for the reason that stands at the next fault
        runs=3,
    ),
    Fault(
        # Another fault may move the clock out of the hour in which the mirror looks again.
        name="a picture written anew after its upload",
        strike=_again,
        strikes=4,
        pause=(0.0, 1.0),
        after=_expect_whole,
        alone=True,
        runs=3,
    ),
)
