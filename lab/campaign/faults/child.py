"""The mirror's own process: killed, stopped, starved, unable to start."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

from lab.campaign.faults import Fault, Step
from lab.campaign.world import World
from tests.rig import processes

KILLS = 26  # in one run
MINUTE = 60.0


def _signal(number: int) -> Step:
    def strike(world: World) -> None:
        if not world.mirror:  # between two lives; not always at the first moment of the next
            world.wait_until(lambda: world.mirror, 20, "a mirror to strike")
            world.pause(0.0, 0.4)
        if pid := world.mirror:
            processes.kill(pid, number)
            world.notes["struck"] = world.notes.get("struck", 0) + 1

    return strike


def living(world: World) -> int:
    """The mirror, waited for; 0, which must never become a process id, if there is none."""
    world.wait_until(lambda: world.mirror, 20, "a mirror to strike")
    return world.mirror


def _stop(world: World) -> None:
    world.notes["stopped"] = pid = living(world)
    if pid:
        processes.kill(pid, signal.SIGSTOP)


def _go_on(world: World) -> None:
    if processes.is_mirror(world.notes["stopped"]):
        processes.kill(world.notes["stopped"], signal.SIGCONT)


# -- limits, of the mirror that lives when the fault begins


def _memory(world: World) -> None:
    """No more than it has, give or take: whatever allocates next may fail."""
    if world.rng.random() < 0.6:
        world.comes_about(world.starts_told, 5)
    if pid := living(world):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        room = world.rng.choice((0, 1 << 20, 8 << 20))
        limit(world, pid, resource.RLIMIT_AS, pages * resource.getpagesize() + room)


def _descriptors(world: World) -> None:
    """All that it has stay open, and none can be opened."""
    if pid := living(world):
        limit(world, pid, resource.RLIMIT_NOFILE, world.rng.choice((0, 3, 8)))


def limit(world: World, pid: int, what: int, soft: int) -> None:
    """The soft limit only, which can be taken back."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    world.notes[str(what)] = (pid, before)


def unlimit(what: int) -> Step:
    def end(world: World) -> None:
        pid, before = world.notes.get(str(what), (0, None))
        if pid and processes.is_mirror(pid):
            resource.prlimit(pid, what, before)

    return end


# -- a start that fails


def _break(world: World, how: str) -> None:
    module = world.rng.choice(("peewee", "boto3", "frigate_mirror.ledger.ledger"))
    world.change(broken={"module": module, "how": how})
    if pid := world.mirror:
        processes.kill(pid)


def _mend(world: World) -> None:
    world.change(broken=None)


def _mend_and_restart(world: World) -> None:
    """A library that is missing is the owner's to mend, who then starts Frigate again."""
    _mend(world)
    world.stop()
    world.start()


FAULTS = (
    Fault(
        name="kill -9 at random moments",
        strike=_signal(signal.SIGKILL),
        strikes=KILLS,
        pause=(0.0, 1.6),
        lasts=(0.0, 0.0),
        runs=20,
    ),
    Fault(
        name="SIGTERM",
        strike=_signal(signal.SIGTERM),
        strikes=4,
        pause=(0.2, 2.0),
        lasts=(0.0, 0.0),
    ),
    Fault(name="SIGSTOP", begin=_stop, end=_go_on),
    Fault(name="SIGSTOP for a minute", begin=_stop, end=_go_on, lasts=(MINUTE, MINUTE)),
    Fault(
        name="out of memory",
        begin=_memory,
        end=unlimit(resource.RLIMIT_AS),
        blinds=True,
        runs=4,
    ),
    Fault(
        name="no file descriptors",
        begin=_descriptors,
        end=unlimit(resource.RLIMIT_NOFILE),
        blinds=True,
        runs=4,
    ),
    Fault(
        name="starts fail over and over",
        begin=lambda world: _break(world, world.rng.choice(("raise", "exit", "signal"))),
        end=_mend,
    ),
    Fault(
        name="a library is missing",
        begin=lambda world: _break(world, "import"),
        end=_mend_and_restart,
        alone=True,
    ),
)
