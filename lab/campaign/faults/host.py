"""Frigate itself: killed, crashed, stopped, started again, forked.

What is expected beside the bucket: of ours nothing is left running after Frigate's end, and nothing
of Frigate's is kept from ending.
"""

from __future__ import annotations

import subprocess
import sys
import time

from lab.campaign.faults import Fault, Step
from lab.campaign.world import World
from tests.rig import STANDIN, processes


def _kill(world: World) -> None:
    """Killed, and started again once nothing of the mirror is left; Frigate's orphans may be."""
    world.running.kill()
    world.expect_no_mirror()
    world.start()


def _kill_and_start_at_once(world: World) -> None:
    """The new mirror has to wait until the old one has ended."""
    world.running.kill()
    world.start()


def _stop_and_start(world: World) -> None:
    world.stop()
    world.start()


def _restart_at_once(world: World) -> None:
    """Within a second: the old mirror may still be draining."""
    if world.running.stop() != 0:
        world.complaints.append("Frigate did not end in good order within 10 s")
    world.start()


def _stumble(world: World) -> None:
    """The event thread dies of an exception, the main process lives on without it."""
    world.running.order("stumble")
    world.running.deaf = True
    world.expect_no_mirror()
    if not world.running.alive:
        world.complaints.append("Frigate's main process ended with its event thread")


def _forks(seconds: float) -> Step:
    def fork(world: World) -> None:
        seed = world.rng.random()
        world.running.order("forks", count=5, gap=0.1, seconds=seconds, seed=seed)

    return fork


def _kill_under_forks(world: World) -> None:
    """Forks that live on hold what Frigate had open, but not our pipe."""
    world.running.order("forks", count=4, gap=0.05, seconds=30, seed=world.rng.random())
    world.burst(1, 3)
    world.pause(0.1, 0.8)
    world.running.kill()
    world.expect_no_mirror()
    if not [pid for pid in world.processes() if not processes.is_mirror(pid)]:
        world.complaints.append("no fork outlived Frigate, so this run proves nothing")
    world.start()


def _kill_among_forks(world: World) -> None:
    """The next mirror starts just as Frigate forks workers, which live on."""
    if pid := world.mirror:
        processes.kill(pid)
    seed = world.rng.random()
    world.running.order("forks", count=20, gap=0.015, seconds=40, seed=seed, busy=True)


def _validate(world: World) -> None:
    """A second Frigate that only looks at its configuration: silent, and without a mirror."""
    began = time.monotonic()
    mirrors = len(_mirrors(world))
    ended = subprocess.run(
        [sys.executable, "-m", "frigate", "--validate-config"],
        cwd=STANDIN,
        env=world.environ,
        capture_output=True,
        timeout=30,
    )
    if ended.returncode != 0 or ended.stdout != b"Config is valid\n":
        world.complaints.append(f"--validate-config: {ended.returncode}, {ended.stdout[-200:]!r}")
    if b"Traceback" in ended.stderr or len(_mirrors(world)) > max(mirrors, 1):
        world.complaints.append(f"--validate-config: a mirror, or {ended.stderr[-200:]!r}")
    if time.monotonic() - began > 10:
        world.complaints.append("--validate-config took more than 10 s")


def _mirrors(world: World) -> list[int]:
    return [pid for pid in world.processes() if processes.is_mirror(pid)]


# -- a configuration that is not valid


def _break_config(world: World) -> None:
    """From 0.17 on a whole Frigate in safe mode, without cameras and retention: the mirror goes on
    with what it owes. Before, Frigate ends at once, and of the mirror there is nothing."""
    world.stop()
    world.retention.paused = True
    world.environ["STANDIN_CONFIG"] = "broken"
    (_expect_it_to_end if world.version == "0.16" else _catch_up_in_safe_mode)(world)
    world.stop()
    del world.environ["STANDIN_CONFIG"]
    world.start()
    world.retention.paused = False


def _catch_up_in_safe_mode(world: World) -> None:
    world.start()
    world.proxy.accept()
    world.wait_until(
        lambda: world.owed().keys() <= world.oracle.present().keys(), 60, "all of it in safe mode"
    )
    world.proxy.refuse()


def _expect_it_to_end(world: World) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "frigate"],
        cwd=STANDIN,
        env=world.environ,
        capture_output=True,
        timeout=30,
    )
    if ended.returncode != 1 or b"Traceback" in ended.stderr:
        world.complaints.append(f"a broken configuration: {ended.returncode}, {ended.stderr!r}")
    if _mirrors(world):
        world.complaints.append("a mirror, though Frigate ended over its configuration")


FAULTS = (
    Fault(
        name="Frigate killed",
        strike=_kill,
        strikes=3,
        pause=(0.0, 2.0),
        lasts=(0.0, 0.0),
        runs=3,
    ),
    Fault(
        name="Frigate killed and back at once",
        strike=_kill_and_start_at_once,
        strikes=3,
        pause=(0.0, 2.0),
        lasts=(0.0, 0.0),
    ),
    Fault(
        name="event thread crashes",
        strike=_stumble,
        strikes=1,
        pause=(0.5, 1.5),
        end=_stop_and_start,
        lasts=(0.0, 1.0),
    ),
    Fault(
        name="event thread crashes under forks",
        begin=_forks(40.0),
        strike=_stumble,
        strikes=1,
        pause=(1.0, 1.5),
        end=_stop_and_start,
        lasts=(0.0, 1.0),
        alone=True,
    ),
    Fault(name="clean stop", strike=_stop_and_start, strikes=2, pause=(0.0, 2.0), runs=3),
    Fault(
        name="restart within a second",
        strike=_restart_at_once,
        strikes=3,
        pause=(0.0, 1.5),
        lasts=(0.0, 0.0),
    ),
    Fault(name="forks at any moment", strike=_forks(1.0), strikes=4, runs=3),
    Fault(
        name="killed while forks live on",
        strike=_kill_under_forks,
        strikes=2,
        lasts=(0.0, 1.0),
        runs=3,
    ),
    Fault(
        name="mirror killed while Frigate forks",
        strike=_kill_among_forks,
        strikes=6,
        pause=(0.4, 0.9),
        lasts=(0.0, 0.0),
        runs=3,
        alone=True,
    ),
    Fault(name="--validate-config", strike=_validate, strikes=2, alone=True, runs=3),
    Fault(
        name="safe mode",
        begin=lambda world: world.proxy.refuse(),
        strike=_break_config,
        strikes=1,
        end=lambda world: world.proxy.accept(),
        lasts=(0.0, 0.0),
        alone=True,
        runs=3,
    ),
)
