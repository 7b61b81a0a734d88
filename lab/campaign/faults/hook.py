"""The hook, with everything after it broken at once: Frigate must not notice.

A second Frigate, with its own folders, runs beside the world's: once as if the hook did not exist,
once with it. What both write to stdout must be the same to the byte, and the memory flat.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.campaign import mounts
from lab.campaign.faults import Fault, Step
from lab.campaign.world import World
from tests.rig import STANDIN, processes

DRIVER = Path(__file__).resolve().parents[1] / "hostside" / "hook_calls.py"
MOST_GROWN = 2 << 20  # bytes, whatever the number of calls
LONGEST, LONGEST_OF_BROKEN = 300.0, 60.0  # seconds
BROKEN = ("no start", "stopped", "no state", "no disk", "all at once")


def _folder(world: World, name: str) -> Path:
    folder = world.folder / f"{name}{time.monotonic_ns()}"
    (folder / "media" / "clips").mkdir(parents=True)
    return folder


def _environ(world: World, folder: Path, *, hooked: bool) -> dict[str, str]:
    places = {
        "STANDIN_MEDIA": str(folder / "media"),
        "STANDIN_DB": str(folder / "frigate.db"),
        "STANDIN_EPOCH": "1700000000",
        "STANDIN_RAISE": "1",
        "STANDIN_EVENTS": "12",
        "FRIGATE_CLIPS_DIR": str(folder / "media" / "clips"),
        "FRIGATE_DB_PATH": str(folder / "frigate.db"),
    }
    bare = os.pathsep.join(world.environ["PYTHONPATH"].split(os.pathsep)[1:])
    return world.environ | places | ({} if hooked else {"PYTHONPATH": bare})


def _break(world: World, folder: Path, environ: dict[str, str], how: str) -> None:
    """Everything that the mirror of that folder needs, or one thing of it."""
    everything = how == "all at once"
    if how == "no start" or everything:
        control = folder / "control"
        control.write_text(json.dumps({"broken": {"module": "peewee", "how": "exit"}}))
        environ["CAMPAIGN_CONTROL"] = str(control)
    if how == "no state" or everything:
        (folder / "file").write_bytes(b"")
        environ["MIRROR_STATE_DIR"] = str(folder / "file" / "state")
        (folder / "media" / "clips" / "cache").write_bytes(b"no folder")
    elif how == "no disk":
        state = folder / "state"
        mounts.small(world, state, mounts.MB)
        mounts.fill(state)
        environ["MIRROR_STATE_DIR"] = str(state)
    environ["S3_ENDPOINT_URL"] = "http://127.0.0.1:1"


def _run(
    world: World, folder: Path, environ: dict[str, str], command: list[str], how: str
) -> tuple[int, bytes]:
    """Exit code and stdout: a file, since a mirror that is stopped would hold a pipe open."""
    out = folder / "out"
    with out.open("wb") as stdout, (folder / "err").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=STANDIN,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        if how == "stopped":
            _stop_mirror_of(process)
        ended = lambda: process.poll() is not None  # noqa: E731
        longest = LONGEST if world.lab.patience is None else LONGEST_OF_BROKEN
        world.wait_until(ended, longest, "the end of the second Frigate")
    finally:
        process.kill()
    return process.wait(), out.read_bytes()


def _stop_mirror_of(host: subprocess.Popen[bytes]) -> None:
    """Its pipe then fills up; what has ended before has no mirror any more."""
    until = time.monotonic() + 5
    while host.poll() is None and time.monotonic() < until:
        for pid in processes.child_mirrors(host.pid):
            processes.kill(pid, signal.SIGSTOP)
            return
        time.sleep(0.01)


def _compare(world: World, command: list[str], how: str) -> None:
    """`{report}` in the command stands for a file; the same to the byte, or a complaint."""
    found = []
    for hooked in (False, True):
        folder = _folder(world, "second")
        environ = _environ(world, folder, hooked=hooked)
        if hooked:
            _break(world, folder, environ, how)
        words = [word.replace("{report}", str(folder / "report")) for word in command]
        found.append(_run(world, folder, environ, words, how if hooked else ""))
        if (folder / "report").exists():
            _weigh(world, folder / "report", hooked=hooked)
        for pid in processes.marked(f"FRIGATE_DB_PATH={folder}/frigate.db\0"):
            processes.kill(pid)
    if found[0] != found[1]:
        world.complaints.append(
            f"{how}: with the hook {found[1]!r:.300}, without {found[0]!r:.300}"
        )
    if not found[0][1]:
        world.complaints.append("the second Frigate said nothing, so this run proves nothing")


def _weigh(world: World, report: Path, *, hooked: bool) -> None:
    told = json.loads(report.read_text())
    if told["armed"] is not hooked:
        world.complaints.append(
            f"the hook is {'not ' if hooked else ''}there in the second Frigate"
        )
    if told["grown"] > MOST_GROWN:
        world.complaints.append(f"memory grew by {told['grown']} bytes, hook: {hooked}")


def _same(how: str) -> Step:
    return lambda world: _compare(world, ["-m", "frigate"], how)


def _calls(count: int, how: str) -> Step:
    return lambda world: _compare(world, [str(DRIVER), str(count), "{report}"], how)


def _any_calls(count: int) -> Step:
    return lambda world: _calls(count, world.rng.choice(("stopped", "no start", "no state")))(world)


FAULTS = (
    *(
        Fault(
            name=f"behind the hook: {how}",
            strike=_same(how),
            strikes=1,
            lasts=(0, 0),
            alone=True,
            needs=mounts.MOUNTS if how == "no disk" else "",
        )
        for how in BROKEN
    ),
    Fault(
        name="100,000 calls of the hook",
        strike=_any_calls(100_000),
        strikes=1,
        lasts=(0, 0),
        alone=True,
        runs=3,
    ),
    Fault(
        name="1,000,000 calls of the hook",
        strike=_calls(1_000_000, "all at once"),
        strikes=1,
        lasts=(0, 0),
        alone=True,
    ),
)
