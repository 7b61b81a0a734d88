"""Single uploads that hang while the service answers all others."""

from __future__ import annotations

import asyncio

from lab.campaign import rows
from lab.campaign.exchange import Exchange
from lab.campaign.faults import Fault
from lab.campaign.mischief import is_put
from lab.campaign.proxy import Mischief
from lab.campaign.world import World

HOUR, DAY = 3_600.0, 86_400.0
HANG = "upload hangs"
HANGING = 2  # as many as the mirror has threads for the backlog
AT_ONCE = 5.0  # seconds within which a live event must be in the bucket
DEFAULTS = {"S3_CONNECT_TIMEOUT": "", "S3_READ_TIMEOUT": ""}  # and not the campaign's short ones


def _backlog(world: World) -> set[str]:
    """Ids of events of the past days, which only a sweep can find."""
    found = set()
    for _ in range(HANGING + 4):
        event = rows.make(world, world.now - world.rng.uniform(HOUR, 5 * DAY))
        rows.insert(world, rows.row(event))
        rows.own(world, event)
        found.add(event.id)
    return found


def _hanging(backlog: set[str]) -> Mischief:
    """The first uploads of the backlog get no answer for as long as the fault lasts."""
    met: list[Exchange] = []

    def fits(x: Exchange) -> bool:
        return len(met) < HANGING and is_put(x) and any(one.encode() in x.head for one in backlog)

    async def act(x: Exchange) -> None:
        met.append(x)
        await x.body()
        while x.is_on() and not x.reader.at_eof():
            await asyncio.sleep(0.05)
        x.reset()

    return Mischief(HANG, act, fits)


def _begin(world: World) -> None:
    rows.wait_for_table(world)
    world.notes[HANG] = mischief = _hanging(_backlog(world))
    world.proxy.add(mischief)
    hung = lambda: world.proxy.struck[HANG] == HANGING  # noqa: E731
    world.wait_until(hung, 30, f"{HANGING} uploads of the backlog to hang")


def _live(world: World) -> None:
    event = world.event()
    assert event is not None, "Frigate runs for as long as this fault lasts"
    there = lambda: event.id in world.oracle.present()  # noqa: E731
    world.wait_until(there, AT_ONCE, f"live event {event.id} beside uploads that hang")


FAULTS = (
    Fault(
        name="two uploads hang",
        begin=_begin,
        strike=_live,
        strikes=4,
        pause=(0.0, 0.5),
        end=lambda world: world.proxy.remove(world.notes[HANG]),
        lasts=(2.0, 4.0),
        alone=True,
        environ={"MIRROR_UPLOAD_THREADS": str(HANGING)} | DEFAULTS,
    ),
)
