"""The companion: from Frigate's API to a remote of rclone on the disk.

2,000 events have a snapshot of 30 to 300 KB and their metadata, and 200 of them a clip of 3 MB. A
time of ours runs from the start of the companion's process to the moment when the last file is at
the destination and each event's metadata says that it is complete. It contains the start of Python
and of rclone. The metadata of most events goes up twice: at once, and when everything else of the
event is there. A time of the rivals runs from the start of their first process to the end of their
last one. Frigate is the stand-in of the tests, which makes clips with ffmpeg, in a process of its
own. All of it shares this machine.

From the spool: everything is held already, and goes up. The rival is one `rclone copy` of the same
files with as many transfers as the companion has threads. The whole way: nothing is known yet, and
a sweep finds the events. The rival downloads the same files with one `curl`, one after the other,
and then runs one `rclone copy`. For each file: the seconds for an event's snapshot and metadata,
against a script that runs `curl` and `rclone copyto` for each file, as such scripts do.

The memory is the peak (VmHWM) of the companion's Python after the whole way; rclone is a process of
its own. The latency runs from the publishing of an event's end on a real broker (rumqttd) to the
moment when its snapshot, or its first metadata, has its name at a destination on the disk.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from lab.bench.companion import LOCAL, Companion, Frigate, Remote, copy_state
from lab.bench.figures import Figure, at_least, at_most, below, interleaved
from lab.bench.house import Event
from lab.bench.lab import Lab
from lab.bench.processes import measured, wait_until
from tests.rig.broker import Broker
from tests.rig.rclone import program

THREADS = 8  # of the companion, and transfers of rclone
MEMORY = 60  # MB
SCRIPTED = 10  # events of the script
PICTURES = {"MIRROR_KINDS": "snapshot,metadata"}
Measure = Callable[[Lab, Frigate, Remote, Path], Iterator[Figure]]


def run(lab: Lab) -> Iterator[Figure]:
    # The latency comes last, because it adds events.
    yield from measures(lab, (LOCAL, of_remote), (LOCAL, _latency))


def measures(lab: Lab, *measures: tuple[str, Measure]) -> Iterator[Figure]:
    """Takes these measures, each at a remote of its own."""
    events, clips = lab.size(100, 2_000), lab.size(10, 200)
    frigate = Frigate(lab.room("frigate"), events, clips)
    try:
        for kind, measure in measures:
            room = lab.room("remote")
            remote = Remote(kind, room)
            try:
                yield from measure(lab, frigate, remote, room)
            finally:
                remote.stop()
                shutil.rmtree(room)
    finally:
        frigate.stop()


def of_remote(lab: Lab, frigate: Frigate, remote: Remote, room: Path) -> Iterator[Figure]:
    rounds = lab.size(1, 2)
    held, files = room / "held", room / "files"
    _hold(frigate, remote, room, held)
    memories: list[float] = []
    _whole_way(frigate, remote, room, memories)
    shutil.copytree(remote.folder / "frigate", files)
    found = interleaved(
        rounds,
        ours=lambda: _from_the_spool(frigate, remote, room, held),
        rclone=lambda: _copy(remote, files, room),
        whole=lambda: _whole_way(frigate, remote, room, memories),
        by_hand=lambda: _curl(frigate, room) + _copy(remote, room / "downloads", room),
    )
    count = f"{len(frigate.events):,} events, {remote.kind}"
    yield Figure(f"from the spool, {count}", "s", found["ours"], "rclone copy", found["rclone"],
                 at_most(1.3))  # fmt: skip
    yield Figure(f"the whole way, {count}", "s", found["whole"], "curl, then rclone copy",
                 found["by_hand"], at_most(1.3))  # fmt: skip
    yield Figure(f"peak of the companion's own memory, {count}", "MB", memories,
                 goal=below(MEMORY))  # fmt: skip
    each = interleaved(
        rounds,
        ours=lambda: _events_a_second(frigate, remote, room),
        script=lambda: _script(frigate, remote, room),
    )
    yield Figure(f"events/s with snapshot and metadata, {remote.kind}", "1/s", each["ours"],
                 "curl and rclone copyto for each file", each["script"], at_least(5))  # fmt: skip


# -- ours


def _hold(frigate: Frigate, remote: Remote, room: Path, held: Path) -> None:
    """Makes a state folder in which everything waits for its upload. There is none yet."""
    state = room / "state"
    remote.forbid()
    with Companion(frigate, remote, state, {}) as companion:
        companion.wait_for_pending(2 * len(frigate.events) + len(frigate.recorded))
        companion.stop()
    remote.allow()
    copy_state(state, held)


def _from_the_spool(frigate: Frigate, remote: Remote, room: Path, held: Path) -> float:
    copy_state(held, room / "state")
    remote.empty()
    with Companion(frigate, remote, room / "state", {}) as companion:
        took = companion.wait_for(len(frigate.events), len(frigate.recorded))
        companion.stop()
    return took


def _whole_way(frigate: Frigate, remote: Remote, room: Path, memories: list[float]) -> float:
    with _fresh(frigate, remote, room, {}) as companion:
        took = companion.wait_for(len(frigate.events), len(frigate.recorded))
        memories.append(companion.memory())
        companion.stop()
    return took


def _events_a_second(frigate: Frigate, remote: Remote, room: Path) -> float:
    with _fresh(frigate, remote, room, PICTURES) as companion:
        took = companion.wait_for(len(frigate.events), 0)
        companion.stop()
    return len(frigate.events) / took


def _fresh(frigate: Frigate, remote: Remote, room: Path, environ: dict[str, str]) -> Companion:
    """Starts a companion that knows nothing yet."""
    shutil.rmtree(room / "state", ignore_errors=True)
    remote.empty()
    return Companion(frigate, remote, room / "state", environ)


# -- the rivals


def _copy(remote: Remote, files: Path, room: Path) -> float:
    remote.empty()
    words = [program(), "copy", str(files), "there:frigate", f"--transfers={THREADS}"]
    return measured(words, room, remote.environ).took


def _curl(frigate: Frigate, room: Path) -> float:
    """Downloads every file with one curl, one after the other."""
    downloads = room / "downloads"
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir()
    lines = [
        f'url = "{address}"\noutput = "{downloads}/{event.camera}-{event.id}{ending}"\n'
        for event in frigate.events
        for address, ending in frigate.addresses(event)
    ]
    (room / "curl.conf").write_text("".join(lines))
    return measured(["curl", "--silent", "--fail", "--config", f"{room}/curl.conf"], room).took


def _script(frigate: Frigate, remote: Remote, room: Path) -> float:
    """Returns the events per second of a script that starts two programs for each file."""
    remote.empty()
    lines = ["set -e"]
    for event in frigate.events[-SCRIPTED:]:
        for address, ending in frigate.addresses(event):
            name = f"{event.id}{ending}"
            lines.append(f"curl --silent --fail --output '{room}/{name}' '{address}'")
            lines.append(
                f"'{program()}' copyto '{room}/{name}' 'there:frigate/{event.camera}/{name}'"
            )
    (room / "script.sh").write_text("\n".join(lines))
    took = measured(["bash", str(room / "script.sh")], room, remote.environ).took
    return SCRIPTED / took


# -- one event


def _latency(lab: Lab, frigate: Frigate, remote: Remote, room: Path) -> Iterator[Figure]:
    count = lab.size(5, 100)
    rng = random.Random(2)
    found: dict[str, list[float]] = {".jpg": [], ".json": []}
    with Broker() as broker:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(broker.host, broker.port)
        client.loop_start()
        with _fresh(frigate, remote, room, PICTURES | broker.environ) as companion:
            companion.wait_for(len(frigate.events), 0)
            for number in range(count):
                time.sleep(rng.uniform(0.3, 0.7))
                event = frigate.happen(10_000_000 + number, rng)
                began = time.monotonic()
                client.publish("frigate/events", _end_of(event), 1)
                for ending, seconds in found.items():
                    path = _path_of(remote, event, ending)
                    wait_until(path.exists, 30, str(path), 0.001)
                    seconds.append(time.monotonic() - began)
            companion.stop()
        client.disconnect()
        client.loop_stop()
    for ending, what in ((".jpg", "snapshot"), (".json", "metadata")):
        yield Figure(f"from the broker's message to the {what}, median of {count}", "ms",
                     [1000 * median(found[ending])])  # fmt: skip
        yield Figure(f"from the broker's message to the {what}, slowest of {count}", "ms",
                     [1000 * max(found[ending])], goal=below(1000))  # fmt: skip


def _end_of(event: Event) -> str:
    about = {"id": event.id, "camera": event.camera, "start_time": event.started,
             "end_time": event.ended}  # fmt: skip
    return json.dumps({"type": "end", "before": about, "after": about})


def _path_of(remote: Remote, event: Event, ending: str) -> Path:
    """Returns where the companion puts a file of an event by its default template."""
    at = datetime.fromtimestamp(int(event.started), UTC)
    name = f"{at:%H-%M-%S}-person-{event.id}{ending}"
    return remote.folder / "frigate" / event.camera / f"{at:%Y-%m-%d}" / name
