"""Pictures that change: written in two halves, or written anew after they were uploaded.

What counts is the picture as it is in the end, to the byte. Retention leaves each alone until then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from lab.campaign import events, rows
from lab.campaign.events import Event
from lab.campaign.faults import Fault
from lab.campaign.faults.disk import kill_mirror
from lab.campaign.world import World

LONGEST_MENDED = 60.0  # seconds until the whole picture is there: many looks, one a second
LOOK_EVERY = 0.5  # seconds
CUTS: tuple[Callable[[int], int], ...] = (
    lambda size: 0,
    lambda size: 6,  # the first mark of a JPEG and a little more
    lambda size: size // 2,
    lambda size: size - 1,
)


def _half(world: World) -> None:
    """Frigate has written one half when it tells of the event, and pauses before the other. Some
    pauses last until the fault ends, which is longer than the mirror may want to wait."""
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
    """Frigate writes a picture anew that is in the bucket already: it truncates the file first, or
    puts another in its place."""
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
    """The bucket has each as it is now; then retention may take it."""
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
        alone=True,  # see the next one
        runs=3,
    ),
    Fault(
        # With another fault the clock may leave the hour in which the mirror looks at it again.
        name="a picture written anew after its upload",
        strike=_again,
        strikes=4,
        pause=(0.0, 1.0),
        after=_expect_whole,
        alone=True,
        runs=3,
    ),
)
