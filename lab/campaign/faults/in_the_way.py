"""Obstacles for ledger, state files, spool and status: folders, rights, descriptors, I/O errors.

Root ignores the rights of files, and Frigate's container runs as root. So for these faults the
mirror is started without that privilege. A file that even root may not change (chattr +i) stops it,
too.
"""

from __future__ import annotations

import os
import resource
import shutil
from contextlib import suppress
from pathlib import Path

from lab.campaign import mounts
from lab.campaign.faults import Fault
from lab.campaign.faults.child import limit, living, unlimit
from lab.campaign.faults.disk import STATE_FILES, cache, kill_mirror, state, told
from lab.campaign.mounts import CHATTR
from lab.campaign.world import World

EIO_SHIM = Path(__file__).resolve().parents[1] / "hostside" / "failing_disk"
OURS = ("s3_mirror", "/clips/")  # the paths of its other files have .s3_


def _folders_for_files(world: World) -> None:
    """Puts folders in place of files. Each has something in it, so that no rename or rmdir removes
    it."""
    names = (*STATE_FILES, *(f"{name}.part" for name in STATE_FILES))
    world.notes["folders"] = []
    for name in world.rng.sample(names, world.rng.randint(2, len(names))):
        path = cache(world) / name
        world.notes["folders"].append(path)
        world.wait_until(lambda path=path: _in_place_of(path), 20, f"a folder for {path.name}")


def _in_place_of(path: Path) -> bool:
    """False if the mirror was faster and wrote the file again."""
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
    world.notes["asides"] = []
    world.wait_until(lambda: _file_in_place_of(spool, world.notes["asides"]), 20, "a file there")


def _file_in_place_of(folder: Path, asides: list[Path]) -> bool:
    """False if the mirror was faster and made the folder again."""
    if folder.is_dir():
        asides.append(folder.with_name(f"aside{len(asides)}"))
        folder.rename(asides[-1])
    try:
        folder.write_bytes(b"no folder")
    except IsADirectoryError:
        return False
    return True


def _spool_back(world: World) -> None:
    spool = cache(world) / ".s3_spool"
    spool.unlink()
    for aside in world.notes["asides"]:
        spool.mkdir(mode=0o700, exist_ok=True)
        for file in aside.iterdir():
            file.rename(spool / file.name)
        aside.rmdir()


def _guarded(world: World) -> list[Path]:
    """The paths that the fault makes immutable: files, or their folders."""
    files = [cache(world) / name for name in STATE_FILES]
    return [*files, cache(world) / ".s3_spool", *world.notes.get("guarded", [])]


def _guard_files(world: World) -> None:
    """Waits for the first upload, because a missing file cannot be made immutable."""
    needed = [cache(world) / STATE_FILES[0], cache(world) / STATE_FILES[-1]]
    world.wait_until(lambda: all(path.exists() for path in needed), 20, "the state files")
    _guard(world)


def _guard(world: World) -> None:
    world.at_close(lambda: mounts.immutable(_guarded(world), on=False))
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
    """Leaves so few descriptors that some opens work and others do not."""
    if pid := living(world):
        with suppress(ProcessLookupError, FileNotFoundError):
            used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
            limit(world, pid, resource.RLIMIT_NOFILE, used + world.rng.choice((1, 2, 3, 5)))


def _failing_shim(world: World) -> None:
    boot, *others = world.environ["PYTHONPATH"].split(os.pathsep)
    world.environ["PYTHONPATH"] = os.pathsep.join((boot, str(EIO_SHIM), *others))


def _fail(world: World) -> None:
    words = [".s3_", *world.rng.sample(OURS, world.rng.randint(0, len(OURS)))]
    world.change(eio={"in": words, "share": world.rng.choice((0.3, 0.7, 1.0))})


def _bind_by_rights(world: World) -> None:
    world.environ["CAMPAIGN_BOUND_BY_RIGHTS"] = "1"


def _deny(world: World) -> None:
    """Takes the rights of some of ledger, state files, status and spool. Open files stay open until
    the next life."""
    ours = [cache(world) / name for name in (*STATE_FILES, ".s3_spool")]
    world.wait_until(ours[0].exists, 20, "the first upload")
    ours += [state(world), *state(world).glob("ledger.db*")]
    world.notes["rights"] = {
        path: path.stat().st_mode for path in world.rng.sample(ours, 4) if path.exists()
    }
    for path in world.notes["rights"]:
        path.chmod(world.rng.choice((0, 0o444)))
    if world.rng.random() < 0.7:
        kill_mirror(world)


def _permit(world: World) -> None:
    for path, mode in world.notes["rights"].items():
        with suppress(FileNotFoundError):  # the mirror has replaced it
            path.chmod(mode)


PLAIN = (
    Fault(
        name="folders in place of state files",
        begin=_folders_for_files,
        end=_remove_folders,
    ),
    Fault(
        name="a file in place of the spool",
        met=told("S3 spool cannot hold"),
        begin=_file_for_spool,
        end=_spool_back,
        alone=True,
    ),
    Fault(
        name="few file descriptors",
        begin=_few_descriptors,
        end=unlimit(resource.RLIMIT_NOFILE),
        blinds=True,
    ),
    Fault(
        name="I/O errors on our files",
        met=told("Input/output error", "Errno 5"),
        prepare=_failing_shim,
        begin=_fail,
        end=lambda world: world.change(eio=None),
        blinds=True,
    ),
    Fault(
        name="permission denied",
        prepare=_bind_by_rights,
        begin=_deny,
        end=_permit,
        after=kill_mirror,
        blinds=True,
        alone=True,
        runs=4,
    ),
)
GUARDED = (
    Fault(
        name="state files and spool immutable",
        needs=CHATTR,
        met=told("not permitted"),
        begin=_guard_files,
        end=_unguard,
        alone=True,
    ),
    Fault(
        name="ledger immutable",
        needs=CHATTR,
        begin=_guard_ledger,
        end=_unguard,
        after=kill_mirror,
        blinds=True,
        alone=True,
    ),
)


FAULTS = (*PLAIN, *GUARDED)
