"""The companion: broker, API, rclone and the companion itself fail, beside a Frigate that goes on.

All files of an event are mirrored, so the same oracle as for the group `kinds` looks at them. With
a sweep that comes once in ten minutes (`BY_MESSAGE`), an event can only be found by what the broker
says, or by a sweep that the companion itself finds necessary.
"""

from __future__ import annotations

import functools
import json
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lab.campaign import mounts, told
from lab.campaign.companions import Companion, CompanionWorld
from lab.campaign.destinations import LOCAL, S3, WEBDAV, Local, WebDav
from lab.campaign.faults import Fault, Step
from lab.campaign.faults.kinds import LONGEST_SET, all_is_there
from lab.campaign.mounts import MOUNTS
from lab.campaign.world import World
from tests.rig import processes
from tests.rig.api import Answer
from tests.rig.api import Fault as ApiFault

BY_MESSAGE = {"MIRROR_SWEEP_INTERVAL": "600"}
NO_CLIPS = {"MIRROR_KINDS": "snapshot,thumbnail,metadata"}
HOUR = 3_600.0
ALWAYS = 1e9  # times
FLOOD = 50_000  # messages
MOST_MEMORY = 120.0  # MB, of a companion in a flood
SMALL = 6 << 20  # bytes of a remote that becomes full
PLACES = (S3, LOCAL, WEBDAV)
RCLONE = (LOCAL, WEBDAV)

Act = Callable[[CompanionWorld], None]


def _fault(name: str, *companions: str, **more: Any) -> Fault:
    """A fault in a world with companions. Its steps get that world."""
    more = {"after": all_is_there, "bound": LONGEST_SET, "alone": True, "runs": 2, **more}
    return Fault(name=name, companions=companions or (S3,), **more)


def _act(act: Act) -> Step:
    """Returns the step that does this in a world with companions."""

    def step(world: World) -> None:
        assert isinstance(world, CompanionWorld)
        act(world)

    return step


def _after_it_is_told(what: str, act: Act) -> Step:
    """Returns the step that does this once health is not OK. It must say so, because files wait."""

    def step(world: CompanionWorld) -> None:
        told.wait_for_status(world, lambda said: said["health"] != told.OK, f"a fault told: {what}")
        act(world)

    return _act(step)


def _all_healthy(world: CompanionWorld) -> None:
    """Everything is there, and each companion says so."""
    all_is_there(world)
    for companion in world.companions[1:]:
        health = functools.partial(_health, world, companion)
        world.wait_until(lambda health=health: health() == told.OK, 30, "health OK of each", 0.5)


def _health(world: CompanionWorld, companion: Companion) -> str:
    try:
        return str(json.loads(world.ask(companion, "status", "--json").stdout)["health"])
    except (ValueError, KeyError):
        return "unreadable"


def _none_disturbed(world: CompanionWorld) -> None:
    """No companion has asked for a clip in the very words of another one."""
    _all_healthy(world)
    if world.api.disturbed:
        world.complaints.append(f"{world.api.disturbed} clips were cut by another companion")


# -- the broker


def _hang_for_a_while(world: CompanionWorld) -> None:
    """Lets the broker take and give nothing for a while. It keeps its connections."""
    assert world.broker.process is not None
    world.broker.process.send_signal(signal.SIGSTOP)
    world.pause(0.5, 2.5)
    world.broker.process.send_signal(signal.SIGCONT)


def _start_without_broker(world: CompanionWorld) -> None:
    world.broker.kill()
    _kill(world)
    world.pause(0.5, 3.0)
    world.broker.start()


def _flood(world: CompanionWorld) -> None:
    """Lets the broker forward so many messages while events end."""
    flood = threading.Thread(target=world.announcer.flood, args=(FLOOD, world.rng), daemon=True)
    flood.start()
    most = 0.0
    while flood.is_alive():
        world.event()
        world.pause(0.3, 1.0)
        most = max(most, processes.memory(world.mirror))
    if most > MOST_MEMORY:
        world.complaints.append(f"the companion has {most:.0f} MB in a flood of messages")


# -- the API


def _answers(path: str, fault: ApiFault, times: float = ALWAYS) -> Step:
    return _act(lambda world: world.api.fail(path, fault, times))


def _heal(world: CompanionWorld) -> None:
    world.api.heal()


def _api_away(world: CompanionWorld) -> None:
    """Ends the API: it accepts no connection, and those that are open end."""
    world.api.fail("/", ApiFault(drops=True), ALWAYS)
    world.api.stop()


def _frigate_restarts(world: CompanionWorld) -> None:
    """Kills Frigate with its API, and starts it again. Its broker tells that it is online."""
    _api_away(world)
    world.running.kill()
    world.pause(0.5, 2.0)
    world.start_api()
    world.start()


def _any_answer(world: CompanionWorld) -> None:
    fault = world.rng.choice((
        ApiFault(drops=True), ApiFault(cut=world.rng.randrange(2_000)), ApiFault(hangs=True),
        ApiFault(answer=Answer(500)), ApiFault(answer=Answer(503)), ApiFault(answer=Answer(401)),
        ApiFault(answer=Answer(429)), ApiFault(answer=Answer(404)),
        ApiFault(answer=Answer(200, b"<html>Sign in to the hotel</html>")),
        ApiFault(answer=Answer(302, headers={"Location": "http://127.0.0.1:9/"})),
        ApiFault(alter=lambda body: body[: len(body) // 2]),
    ))  # fmt: skip
    # A file that is not found counts as gone, so 404 is for the lists only.
    path = "/api/event_ids" if fault.answer and fault.answer.status == 404 else "/api/"
    world.api.fail(path, fault, world.rng.randint(1, 3))


def _short_clips(world: CompanionWorld) -> None:
    """Lets Frigate send the next clips as it does when its ffmpeg ends early: the answer and each
    of its boxes are whole, and the end of the clip is missing."""
    for share in world.rng.choices((0.0, 0.3, 0.6, 0.8), k=world.rng.randint(1, 3)):
        cut = functools.partial(_first, share)
        world.api.fail("clip.mp4", ApiFault(alter=cut))
    world.event()


def _first(share: float, body: bytes) -> bytes:
    """Returns such a share of a fragmented mp4, which ends after the pictures of a fragment."""
    end, at = 0, 0
    while at + 8 <= len(body) * share:
        after = at + int.from_bytes(body[at : at + 4])
        if body[at + 4 : at + 8] == b"mdat" and after <= len(body) * share:
            end = after
        at = after
    return body[:end]


def _hanging_files(world: CompanionWorld) -> None:
    for path in ("clip.mp4", "snapshot", "thumbnail", "/recordings/"):
        world.api.fail(path, ApiFault(hangs=True, cut=world.rng.choice((0, 900, 9_000))))
    world.event()


# -- rclone and what it leads to


def _signal_rclones(number: int) -> Act:
    def strike(world: CompanionWorld) -> None:
        for companion in world.companions:
            for pid in companion.rclones:
                processes.kill(pid, number)
                world.notes["struck"] = world.notes.get("struck", 0) + 1

    return strike


Kind = TypeVar("Kind", bound=object)


def _place(world: CompanionWorld, kind: type[Kind]) -> Kind:
    [found] = [one for one in world.places.values() if isinstance(one, kind)]
    return found


def _small_remote(world: CompanionWorld) -> None:
    mounts.small(world, _place(world, Local).path, SMALL)


def _fill_remote(world: CompanionWorld) -> None:
    mounts.fill(_place(world, Local).path)


def _empty_remote(world: CompanionWorld) -> None:
    mounts.empty(_place(world, Local).path)


def _expire(world: CompanionWorld) -> None:
    _place(world, WebDav).expire()


def _renew(world: CompanionWorld) -> None:
    _place(world, WebDav).renew()


# -- the companion


def _kill(world: CompanionWorld) -> None:
    """Kills each companion at a moment of its own, and starts it again as its keeper does."""
    for companion in world.companions:
        if companion.pid:
            companion.kill()
        companion.start()


def _stop_and_start(world: CompanionWorld) -> None:
    for companion in world.companions:
        if companion.pid and companion.stop() != 0:
            world.complaints.append("a companion did not end in good order")
        companion.start()


def _clips_take_time(world: CompanionWorld) -> None:
    """Lets the API answer questions for clips in short turns only, so that those of several
    companions come together."""
    over = threading.Event()
    world.at_close(over.set)
    world.notes["turns"] = over

    def turns() -> None:
        while not over.is_set():
            world.api.gate.clear()
            over.wait(1.0)
            world.api.gate.set()
            over.wait(0.1)

    threading.Thread(target=turns, daemon=True).start()


def _clips_take_no_time(world: CompanionWorld) -> None:
    world.notes["turns"].set()
    world.api.gate.set()


# -- the clock


def _step_the_clock(world: CompanionWorld) -> None:
    world.change(clock=world.rng.choice((-1, 1)) * world.rng.uniform(HOUR, 20 * HOUR))


def _leap(world: CompanionWorld) -> None:
    """The next life of the companion has another time."""
    _step_the_clock(world)
    _kill(world)


def _right(world: CompanionWorld) -> None:
    world.change(clock=0.0)


def _killed(place: str) -> Fault:
    return _fault(
        f"companion killed at random moments, {place}",
        place,
        strike=_act(_kill),
        strikes=14,
        pause=(0.1, 2.6),
        lasts=(0.0, 0.0),
        runs=5,
    )


FAULTS: tuple[Fault, ...] = (
    _fault("three companions, undisturbed", *PLACES, after=_act(_none_disturbed),
           environ=BY_MESSAGE, lasts=(5.0, 8.0)),
    _fault(
        "three companions ask for clips at the same time",
        *PLACES,
        begin=_act(_clips_take_time),
        end=_act(_clips_take_no_time),
        after=_act(_none_disturbed),
        lasts=(10.0, 14.0),
    ),
    _fault("companion stopped and started", LOCAL, strike=_act(_stop_and_start), strikes=5,
           pause=(0.5, 2.5), lasts=(0.0, 0.0)),
    *map(_killed, PLACES),
    # -- the broker
    _fault("no broker when the companion starts", strike=_act(_start_without_broker), strikes=3,
           pause=(0.5, 2.0), environ=BY_MESSAGE, lasts=(0.0, 0.0)),
    _fault(
        "broker killed",
        begin=_act(lambda world: world.broker.kill()),
        end=_after_it_is_told("the broker is away", lambda world: world.broker.start()),
        environ=BY_MESSAGE,
        lasts=(4.0, 7.0),
    ),
    _fault(
        "broker restarted without its store",
        strike=_act(lambda world: world.broker.restart(forget=True)),
        strikes=4,
        pause=(0.5, 2.5),
        environ=BY_MESSAGE,
        lasts=(0.0, 0.0),
    ),
    _fault(
        "connections to the broker cut",
        strike=_act(lambda world: world.broker.restart()),
        strikes=6,
        pause=(0.3, 2.0),
        environ=BY_MESSAGE,
        lasts=(0.0, 0.0),
    ),
    _fault("broker slow", strike=_act(_hang_for_a_while), strikes=5, environ=BY_MESSAGE),
    _fault(f"broker floods {FLOOD:,} messages", begin=_act(_flood), lasts=(0.0, 0.0)),
    # -- the API
    _fault("API down", begin=_act(_api_away),
           end=_after_it_is_told("the API is away", lambda world: world.start_api())),
    _fault("Frigate restarts with its API", strike=_act(_frigate_restarts), strikes=3,
           pause=(1.0, 3.0), environ=BY_MESSAGE),
    _fault("API ends its sessions", strike=_act(lambda world: world.api.expire()), strikes=10,
           pause=(0.3, 1.5)),
    _fault("API answers 500", begin=_answers("/api", ApiFault(answer=Answer(500, b"oh"))),
           end=_after_it_is_told("the API answers 500", _heal)),
    _fault("API answers 503", begin=_answers("/api", ApiFault(answer=Answer(503))),
           end=_after_it_is_told("the API answers 503", _heal)),
    _fault("API answers 401 after each login", begin=_answers("/api", ApiFault(answer=Answer(401))),
           end=_after_it_is_told("the API refuses us", _heal)),
    _fault("API answers anything", strike=_act(_any_answer), strikes=25, pause=(0.1, 0.7),
           end=_act(_heal), runs=4),
    _fault("clips cut short", strike=_act(_short_clips), strikes=6, pause=(0.5, 2.0),
           end=_act(_heal), runs=3),
    _fault("downloads hang", strike=_act(_hanging_files), strikes=3, pause=(0.5, 2.0),
           end=_act(_heal)),
    # -- rclone and what it leads to
    _fault("rclone killed", *RCLONE, strike=_act(_signal_rclones(signal.SIGKILL)), strikes=10,
           pause=(0.3, 1.5), after=_act(_all_healthy)),
    _fault("rclone hangs", *RCLONE, strike=_act(_signal_rclones(signal.SIGSTOP)), strikes=2,
           pause=(3.0, 5.0),
           lasts=(22.0, 26.0), after=_act(_all_healthy)),
    _fault(
        "remote full",
        LOCAL,
        needs=MOUNTS,
        prepare=_act(_small_remote),
        begin=_act(_fill_remote),
        end=_after_it_is_told("the remote is full", _empty_remote),
    ),
    _fault("token expired", WEBDAV, begin=_act(_expire),
           end=_after_it_is_told("the remote refuses us", _renew)),
    _fault("remote away", WEBDAV, begin=_act(lambda world: _place(world, WebDav).server.stop()),
           end=_after_it_is_told("the remote is away",
                                 lambda world: _place(world, WebDav).server.start())),
    _fault("bucket of the companion away", S3, begin=_act(lambda world: world.proxy.refuse()),
           end=_act(lambda world: world.proxy.accept())),
    # -- the clock. A clip is made by the clock: one that was not recorded in time is not waited for
    _fault("the companion's clock steps by hours", begin=_act(_step_the_clock), end=_act(_right),
           environ=NO_CLIPS),
    _fault("the companion's clock leaps as it starts", strike=_act(_leap), strikes=6,
           pause=(0.5, 2.0), end=_act(_right), environ=NO_CLIPS, lasts=(0.0, 0.0)),
)  # fmt: skip
