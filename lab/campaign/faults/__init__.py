"""The faults. Each module here with a tuple FAULTS is a group. A new module needs no
registration."""

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
    """One fault. Whatever it does, every offered event must arrive, and none twice.

    prepare   is called before Frigate starts; `starts` is false if no mirror can start after it
    begin     is called while events happen; `end` undoes what it did
    strike    is called `strikes` times between the two, each time after `pause` seconds
    after     is called once the fault has ended, before the run waits for the bucket
    lasts     the least number of seconds between begin and end; each run draws it
    met       says whether the fault had an effect; `end` waits a while until it had one
    bound     seconds after the end within which everything must be in the bucket
    blinds    the mirror can read no picture during the fault, so retention must not delete any
    alone     the fault does not go together with another one
    runs      how often it is run alone in a campaign of scale 1
    needs     one of `mounts.NEEDS`; the fault is skipped on a machine that lacks it
    environ   settings of the mirror; {folder} stands for the world's folder
    companions  where the companions beside Frigate mirror to, one each (see `destinations`); with
              none, the mirror is the one inside Frigate
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
    companions: tuple[str, ...] = ()

    @property
    def lacks(self) -> str:
        """Why this machine cannot have the fault. Empty if it can."""
        return mounts.lacking(self.needs) if self.needs else ""


def groups() -> dict[str, tuple[Fault, ...]]:
    """The faults of each group, by the name of its module."""
    names = sorted(one.name for one in pkgutil.iter_modules(__path__))
    found = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module.FAULTS for name, module in found.items() if hasattr(module, "FAULTS")}


def by_name() -> dict[str, Fault]:
    return {fault.name: fault for faults in groups().values() for fault in faults}
