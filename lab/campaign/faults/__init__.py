"""The faults. Each group is a module here with a tuple FAULTS; a new one is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lab.campaign import mounts
from lab.campaign.world import World

Step = Callable[[World], None]


def nothing(world: World) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, and what is expected of it: all offered arrive, none twice, whatever happened.

    prepare   called before Frigate starts; `starts` is false where no mirror can start after it
    begin     called while events happen; `end` takes back whatever it did
    strike    called `strikes` times between the two, after a pause of `pause` seconds each
    after     called once the fault has ended, before the bucket is awaited
    lasts     seconds between begin and end, at least; drawn anew for each run
    met       whether it has struck by now; `end` waits for that a while, lest it was no fault
    bound     seconds within which all must be in the bucket after the end
    blinds    the mirror can read no picture meanwhile, so retention must not take any
    alone     does not go together with another fault
    runs      how often it is run alone in a campaign of scale 1
    needs     what of the machine, one of `mounts.NEEDS`; where that cannot be had it is skipped
    environ   settings of the mirror; {folder} stands for the world's folder
    """

    name: str
    prepare: Step = nothing
    begin: Step = nothing
    strike: Step = nothing
    end: Step = nothing
    after: Step = nothing
    strikes: int = 0
    pause: tuple[float, float] = (0.1, 1.0)
    lasts: tuple[float, float] = (3.0, 6.0)
    met: Callable[[World], bool] = lambda world: True
    bound: float = 90.0
    starts: bool = True
    blinds: bool = False
    alone: bool = False
    runs: int = 2
    tls: bool = False
    needs: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def lacks(self) -> str:
        """Why it cannot be had on this machine; empty if it can."""
        return mounts.lacking(self.needs) if self.needs else ""


def groups() -> dict[str, tuple[Fault, ...]]:
    """The faults of each group, by the name of its module."""
    names = sorted(one.name for one in pkgutil.iter_modules(__path__))
    found = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module.FAULTS for name, module in found.items() if hasattr(module, "FAULTS")}


def by_name() -> dict[str, Fault]:
    return {fault.name: fault for faults in groups().values() for fault in faults}
