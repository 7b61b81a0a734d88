"""Ledger and state files cut, flipped, replaced and deleted, while open or between two lives."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from campaign.faults import Fault
from campaign.faults.disk import STATE_FILES, cache, kill_mirror, state
from campaign.world import World

LEDGER = ("ledger.db", "ledger.db", "ledger.db-wal", "ledger.db-shm")
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


def _hurt(world: World, path: Path) -> None:
    try:
        world.rng.choice(HURTS)(world, path)
    except (FileNotFoundError, IsADirectoryError):
        pass  # not there just now, or hurt already


def _hurt_ledger(world: World) -> None:
    _hurt(world, state(world) / world.rng.choice(LEDGER))
    if world.rng.random() < 0.5:
        world.burst(0, 2)
        kill_mirror(world)


def _flip_and_restart(world: World) -> None:
    """What a bad disk or memory does to a ledger that lies still; the next mirror has to cope.
    After a clean stop all of it is in the one file, where no checksum covers it."""
    world.burst(1, 3)
    world.pause(0.5, 1.5)
    world.stop()
    with suppress(OSError):
        path = state(world) / "ledger.db"
        world.rng.choice((flip, _flip_in_header, _flip_in_words, scribble))(world, path)
    world.start()


def _flip_in_header(world: World, path: Path) -> None:
    """The first hundred bytes say how the file is to be read."""
    data = bytearray(path.read_bytes())
    data[world.rng.randrange(min(100, len(data)))] ^= 1 << world.rng.randrange(8)
    _overwrite(path, bytes(data))


def _flip_in_words(world: World, path: Path) -> None:
    """A row's state, key or metadata, which SQLite itself would never doubt."""
    data = bytearray(path.read_bytes())
    for word in (b"pending", b"uploaded", b"waiting", b"snapshot:", b"application", b'{"'):
        if (at := data.rfind(word)) >= 0:
            data[at + world.rng.randrange(len(word))] ^= 1 << world.rng.randrange(8)
    _overwrite(path, bytes(data))


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
        name="bits of the ledger flipped between two lives",
        strike=_flip_and_restart,
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
