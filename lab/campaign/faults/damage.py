"""Ledger and state files cut, flipped, replaced and deleted, while open or between two lives."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from lab.campaign.faults import Fault
from lab.campaign.faults.disk import STATE_FILES, cache, kill_mirror, state
from lab.campaign.world import World

LEDGER = ("ledger.db", "ledger.db", "ledger.db-wal", "ledger.db-shm")
PAGE = 4096  # bytes
Hurt = Callable[[World, Path], None]
CHANCE = 3.5  # seconds; more than the fair chance of `retention`


def cut(world: World, path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(
            world.rng.choice((0, size // 2, max(0, size - 1), world.rng.randint(0, size)))
        )


def flip(world: World, path: Path) -> None:
    """Single bits."""
    data = bytearray(path.read_bytes())
    for _ in range(world.rng.choice((1, 8, 64)) if data else 0):
        data[world.rng.randrange(len(data))] ^= 1 << world.rng.randrange(8)
    _overwrite(path, bytes(data))


def scribble(world: World, path: Path) -> None:
    """A sector of something else."""
    data = path.read_bytes()
    at = world.rng.randrange(max(1, len(data) - 511))
    _overwrite(path, data[:at] + world.rng.randbytes(512) + data[at + 512 :])


def lose_page(world: World, path: Path) -> None:
    """A page of the ledger that was never written."""
    data = path.read_bytes()
    at = world.rng.randrange(max(1, len(data) // PAGE)) * PAGE
    _overwrite(path, data[:at] + bytes(PAGE) + data[at + PAGE :])


def _overwrite(path: Path, data: bytes) -> None:
    """In place: whoever has the file open has it too."""
    with path.open("r+b") as file:
        file.write(data)


def delete(world: World, path: Path) -> None:
    path.unlink()


def folder(world: World, path: Path) -> None:
    path.unlink()
    path.mkdir()


HURTS = (cut, flip, scribble, delete, folder)
"""Of a state file. The ledger knows nothing of single bits that flip within a text."""
HURTS_OF_LEDGER = (cut, lose_page, delete, folder)


def _hurt(world: World, path: Path, hurts: tuple[Hurt, ...] = HURTS) -> None:
    try:
        world.rng.choice(hurts)(world, path)
    except (FileNotFoundError, IsADirectoryError):
        pass  # not there just now, or hurt already


def _hurt_ledger(world: World) -> None:
    _hurt(world, state(world) / world.rng.choice(LEDGER), HURTS_OF_LEDGER)
    if world.rng.random() < 0.5:
        world.burst(0, 2)
        kill_mirror(world)


def _page_lost_in_a_crash(world: World) -> None:
    """What a power cut does to a ledger that was open. It is read through at its next opening, as
    any that was not closed in good order."""
    world.burst(1, 3)
    world.pause(0.5, 1.5)
    world.stop()
    path = state(world) / "ledger.db"
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("INSERT OR REPLACE INTO note VALUES ('open', '')")
    with suppress(OSError):
        world.rng.choice((lose_page, cut))(world, path)
    world.start()


def _hurt_state_file(world: World) -> None:
    _hurt(world, cache(world) / world.rng.choice(STATE_FILES))


def _remove_folders(world: World) -> None:
    for name in STATE_FILES:
        path = cache(world) / name
        if path.is_dir():
            shutil.rmtree(path)


def _lose_ledger(world: World) -> None:
    """Between two lives, so that the next one has the state files alone."""
    for path in state(world).glob("ledger.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    kill_mirror(world)


def _lose_all_state(world: World) -> None:
    _remove_folders(world)
    _lose_ledger(world)


def _refuse(world: World) -> None:
    """Whoever deletes the row too takes the camera's name, without which there is no key."""
    world.retention.rows_too = False
    world.proxy.refuse()


def _outage_with_loss(world: World) -> None:
    """Until retention has had its turn, the spool has the only copy of some pictures."""
    world.pause(CHANCE, CHANCE + 2)
    _lose_ledger(world)


def _newest_last(world: World) -> None:
    """What people edit by hand: lines out of order, doubled, without an end."""
    path = cache(world) / STATE_FILES[0]
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    world.rng.shuffle(lines)
    path.write_bytes(b"".join([*lines, *lines[:3]]).rstrip(b"\n"))


FAULTS = (
    Fault(
        name="ledger damaged while open",
        strike=_hurt_ledger,
        strikes=4,
        pause=(0.3, 1.5),
        after=kill_mirror,
        alone=True,
        runs=6,
    ),
    Fault(
        name="a page of the ledger lost in a crash",
        strike=_page_lost_in_a_crash,
        strikes=4,
        lasts=(0.0, 1.0),
        alone=True,
        runs=6,
    ),
    Fault(
        name="state files damaged, ledger lost",
        strike=_hurt_state_file,
        strikes=4,
        end=_lose_all_state,
        alone=True,
        runs=4,
    ),
    Fault(
        name="state file edited, ledger lost",
        strike=_newest_last,
        strikes=2,
        end=_lose_ledger,
        alone=True,
    ),
    Fault(
        name="ledger deleted while open",
        strike=_lose_ledger,
        strikes=2,
        pause=(0.5, 2.0),
        alone=True,
    ),
    Fault(
        name="ledger lost in an outage",
        begin=_refuse,
        strike=_outage_with_loss,
        strikes=2,
        end=lambda world: world.proxy.accept(),
        alone=True,
        runs=4,
    ),
)
