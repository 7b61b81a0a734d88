"""In the way of ledger, state files, spool and status: folders, rights, descriptors, I/O errors.

Permission denied does not bind root, as which Frigate's container runs: what takes its place is a
file that even root may not change (chattr +i), and a folder where a file should be.
"""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

from campaign import mounts, processes
from campaign.faults import Fault
from campaign.faults.disk import STATE_FILES, cache, kill_mirror, state, told
from campaign.world import World

EIO_SHIM = Path(__file__).resolve().parents[1] / "hostside" / "failing_disk"
OURS = ("s3_mirror", "/clips/")  # besides .s3_, which is in the paths of all else that it opens


def _folders_for_files(world: World) -> None:
    """Each with something in it, so that it can be neither replaced nor removed by mistake."""
    names = (*STATE_FILES, *(f"{name}.part" for name in STATE_FILES))
    world.notes["folders"] = []
    for name in world.rng.sample(names, world.rng.randint(2, len(names))):
        path = cache(world) / name
        world.notes["folders"].append(path)
        world.wait_until(lambda path=path: _in_place_of(path), 20, f"a folder for {path.name}")


def _in_place_of(path: Path) -> bool:
    """False where the mirror was faster and wrote the file anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.unlink(missing_ok=True)
        (path / "something").mkdir(parents=True)
    except (FileExistsError, NotADirectoryError):
        return False
    return True


def _remove_folders(world: World) -> None:
    for path in world.notes["folders"]:
        shutil.rmtree(path, ignore_errors=True)


def _file_for_spool(world: World) -> None:
    spool = cache(world) / ".s3_spool"
    spool.parent.mkdir(parents=True, exist_ok=True)
    if spool.exists():
        spool.rename(spool.with_name("aside"))
    spool.write_bytes(b"no folder")


def _spool_back(world: World) -> None:
    spool = cache(world) / ".s3_spool"
    aside = spool.with_name("aside")
    spool.unlink()
    if aside.exists():
        aside.rename(spool)


def _guarded(world: World) -> list[Path]:
    """What the fault makes immutable: files, or the folders that they are in."""
    files = [cache(world) / name for name in STATE_FILES]
    return [*files, cache(world) / ".s3_spool", *world.notes.get("guarded", [])]


def _guard_files(world: World) -> None:
    """What is not there cannot be guarded, so the first upload comes first."""
    needed = [cache(world) / STATE_FILES[0], cache(world) / STATE_FILES[-1]]
    world.wait_until(lambda: all(path.exists() for path in needed), 20, "the state files")
    _guard(world)


def _guard(world: World) -> None:
    mounts.at_close(world, lambda: mounts.immutable(_guarded(world), on=False))
    mounts.immutable(_guarded(world), on=True)


def _guard_ledger(world: World) -> None:
    folder = state(world)
    world.notes["guarded"] = [folder, *folder.glob("ledger.db*")]
    _guard(world)
    if world.rng.random() < 0.7:
        kill_mirror(world)


def _unguard(world: World) -> None:
    mounts.immutable(_guarded(world), on=False)


def _few_descriptors(world: World) -> None:
    """So few are left that some opens work and others do not."""
    world.wait_until(lambda: world.mirror, 20, "a mirror to strike")
    if pid := world.mirror:
        try:
            used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            soft = used + world.rng.choice((1, 2, 3, 5))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, before[1]))
        except (ProcessLookupError, FileNotFoundError):
            return
        world.notes["limited"] = (pid, before)


def _unlimit(world: World) -> None:
    pid, before = world.notes.get("limited", (0, None))
    if pid and processes.is_mirror(pid):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def _failing_shim(world: World) -> None:
    boot, *others = world.environ["PYTHONPATH"].split(os.pathsep)
    world.environ["PYTHONPATH"] = os.pathsep.join((boot, str(EIO_SHIM), *others))


def _fail(world: World) -> None:
    words = [".s3_", *world.rng.sample(OURS, world.rng.randint(0, len(OURS)))]
    world.change(eio={"in": words, "share": world.rng.choice((0.3, 0.7, 1.0))})


PLAIN = (
    Fault(
        name="folders in place of state files",
        begin=_folders_for_files,
        end=_remove_folders,
    ),
    Fault(
        name="a file in place of the spool",
        met=told("Not a directory", "File exists"),
        begin=_file_for_spool,
        end=_spool_back,
        alone=True,
    ),
    Fault(name="few file descriptors", begin=_few_descriptors, end=_unlimit, blinds=True),
    Fault(
        name="I/O errors on our files",
        met=told("Input/output error", "Errno 5"),
        prepare=_failing_shim,
        begin=_fail,
        end=lambda world: world.change(eio=None),
        blinds=True,
    ),
)
GUARDED = (
    Fault(
        name="state files and spool immutable",
        met=told("not permitted"),
        begin=_guard_files,
        end=_unguard,
        alone=True,
    ),
    Fault(
        name="ledger immutable",
        begin=_guard_ledger,
        end=_unguard,
        after=kill_mirror,
        blinds=True,
        alone=True,
    ),
)


FAULTS = (*PLAIN, *(GUARDED if mounts.possible() and shutil.which("chattr") else ()))
