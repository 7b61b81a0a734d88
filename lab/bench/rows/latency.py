"""Latency: from the return of Frigate's `end` handler to the object in SeaweedFS's listing.

The bench is the host, with the hook on its handler and the child below it. It writes the picture
and the row before it calls the handler, as Frigate does. The rival is one bare PUT of the same
bytes to the same server, over a warm plain HTTP connection, with a URL that was signed beforehand.
Both times end at the same look at the listing. The bench looks from the start on, which costs the
server the same for both, and at random moments, so that no regular interval distorts the result.
Events and PUTs take turns with the same pause before each, because a machine answers faster right
after other work. The limit is the least program of this kind (`lab/bench/rivals/least.py`): it
hears of the event by a pipe, reads the row, holds the picture, notes the event, computes the digest
and puts it. In a burst 50 handlers return one right after the other. It is compared with one bare
PUT, and with 50 bare PUTs at once over eight warm connections, which is the server's own limit for
such a burst.
"""

from __future__ import annotations

import http.client
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

from lab.bench.figures import Figure, at_most
from lab.bench.house import CAMERAS, Event, House
from lab.bench.lab import Lab
from lab.bench.processes import BenchError, wait_until
from lab.bench.rivals import HERE
from lab.bench.rows.hook import Host, armed
from lab.bench.servers import Weed, place

BURST, CONNECTIONS, PATIENCE = 50, 8, 30.0
KEY = re.compile(r"<Key>([^<]+)</Key>")


class Plain:
    """A warm connection for requests that were signed beforehand."""

    def __init__(self, weed: Weed, bucket: str) -> None:
        self._weed, self._bucket = weed, bucket
        self._connection = http.client.HTTPConnection(urlsplit(weed.endpoint).netloc, timeout=30)
        self.keys("nothing")

    def signed(self, what: str, **parameters: str) -> str:
        url = self._weed.client.generate_presigned_url(
            what, Params={"Bucket": self._bucket, **parameters}
        )
        return str(url).removeprefix(self._weed.endpoint)

    def warm(self) -> None:
        """Connects again, because the server closes a connection that was idle for minutes."""
        self._connection.close()
        self.keys("nothing")

    def put(self, url: str, body: bytes) -> None:
        self._ask("PUT", url, body)

    def keys(self, prefix: str) -> set[str]:
        return self.listed(self.signed("list_objects_v2", Prefix=prefix))

    def listed(self, url: str) -> set[str]:
        return {unquote(key) for key in KEY.findall(self._ask("GET", url).decode())}

    def _ask(self, verb: str, url: str, body: bytes | None = None) -> bytes:
        self._connection.request(verb, url, body)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise BenchError(f"{verb} {url[:60]}: {answer.status} {data[:200]!r}")
        return data


class Least:
    """The least program, in a house of its own, where the mirror's sweep cannot find its events."""

    def __init__(self, lab: Lab, weed: Weed) -> None:
        self.house = lab.house([])
        words = [sys.executable, "-I", str(HERE / "least.py"), str(self.house.database),
                 str(self.house.state), urlsplit(weed.endpoint).netloc]  # fmt: skip
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, bufsize=0)

    def offer(self, event: Event, url: str) -> None:
        picture = self.house.clips / f"{event.camera}-{event.id}.jpg"
        assert self._process.stdin
        self._process.stdin.write(f"{event.id} {picture} {url}\n".encode())

    def stop(self) -> None:
        try:
            self._process.communicate(timeout=30)
        finally:
            self._process.kill()
            self.house.close()


@contextmanager
def least(lab: Lab, weed: Weed) -> Iterator[Least]:
    one = Least(lab, weed)
    try:
        yield one
    finally:
        one.stop()


def run(lab: Lab) -> Iterator[Figure]:
    weed, house = lab.weed, lab.house([])
    bucket = weed.bucket()
    with armed(house, place(weed, bucket)) as host, least(lab, weed) as other:
        wait_until(lambda: (house.cache / ".s3_status.json").exists(), 30, "the mirror's start")
        scene = Scene(lab, house, host, other, weed, bucket)
        scene.one_by_one(3, 0.0)  # to warm all parts up
        yield from _single(scene, lab.size(5, 40, 200), lab.rounds)
        yield from _bursts(scene, lab.size(2, 20))
    weed.drop(bucket)
    house.close()


class Scene:
    """Times from the start of events and PUTs to the listing of their objects, in milliseconds."""

    def __init__(
        self, lab: Lab, house: House, host: Host, other: Least, weed: Weed, bucket: str
    ) -> None:
        self._files, self._house, self._host = lab.pictures(BURST), house, host
        self._least = other
        self._looking = Plain(weed, bucket)
        self._putting = [Plain(weed, bucket) for _ in range(CONNECTIONS)]
        self._number = 0

    def one_by_one(self, events: int, every: float) -> dict[str, float]:
        """The median time of each way."""
        ways = {"mirror": self.mirrored, "bare": self.bare, "least": self.least}
        found: dict[str, list[float]] = {name: [] for name in ways}
        due = time.monotonic()
        for number in range(events):
            for name, way in ways.items():
                time.sleep(max(0.0, due - time.monotonic()))
                due = time.monotonic() + every / len(ways)
                found[name] += way([self._files[number % BURST]])
        return {name: median(took) for name, took in found.items()}

    def mirrored(self, files: list[Path]) -> list[float]:
        events = []
        for file in files:
            # all of one camera, so that one page of a listing shows them
            self._number += len(CAMERAS)
            events.append(self._house.live(self._number, file))
        look = self._look(event.key for event in events)
        returned = {}
        for event in events:
            self._host.hooked(None, "end", event.camera, {"id": event.id, "has_snapshot": True})
            returned[event.key] = time.perf_counter()
        return self._until_listed(look, returned)

    def least(self, files: list[Path]) -> list[float]:
        [file] = files
        self._number += len(CAMERAS)
        event = self._least.house.live(self._number, file)
        key = f"least/{event.key}"
        look, url = self._look([key]), self._looking.signed("put_object", Key=key)
        self._least.offer(event, url)
        return self._until_listed(look, {key: time.perf_counter()})

    def bare(self, files: list[Path]) -> list[float]:
        """PUTs that begin at once, as far as there are connections."""
        self._number += 1
        keys = [f"bare/none/{self._number:06d}-{number:02d}" for number in range(len(files))]
        bodies = [file.read_bytes() for file in files]
        urls = [self._putting[0].signed("put_object", Key=key) for key in keys]
        look = self._look(keys)

        def put(lane: int) -> None:
            since.update(dict.fromkeys(keys[lane::CONNECTIONS], time.perf_counter()))
            for at in range(lane, len(urls), CONNECTIONS):
                self._putting[lane].put(urls[at], bodies[at])

        lanes = min(len(urls), CONNECTIONS)
        for plain in self._putting[1:lanes]:
            plain.warm()
        since = dict.fromkeys(keys, time.perf_counter())
        with ThreadPoolExecutor(lanes) as pool:
            put_all = [pool.submit(put, lane) for lane in range(lanes)]
            listed = self._until_listed(look, since)
            for one in put_all:
                one.result()
            return listed

    def _look(self, keys: Iterable[str]) -> str:
        """A signed URL that lists only these keys, which are the last of their folder."""
        first = min(keys)
        folder = f"{first.rpartition('/')[0]}/"
        return self._looking.signed("list_objects_v2", Prefix=folder, StartAfter=first[:-1])

    def _until_listed(self, look: str, since: dict[str, float]) -> list[float]:
        took: dict[str, float] = {}
        until = time.perf_counter() + PATIENCE
        time.sleep(random.uniform(0.0, 0.001))
        while len(took) < len(since):
            there, now = self._looking.listed(look), time.perf_counter()
            for key in (there & since.keys()) - took.keys():
                took[key] = 1000 * (now - since[key])
            if now > until:
                raise BenchError(f"{len(since) - len(took)} objects are not listed")
            time.sleep(random.uniform(0.0, 0.001))
        return list(took.values())


def _single(scene: Scene, events: int, rounds: int) -> Iterator[Figure]:
    found = [scene.one_by_one(events, 1.0) for _ in range(rounds)]
    took = {name: [one[name] for one in found] for name in found[0]}
    name = f"handler's return to listed, one a second, {rounds} x {events}"
    yield Figure(name, "ms", took["mirror"], "bare PUT", took["bare"], at_most(2))
    yield Figure(name, "ms", took["mirror"], "the least program", took["least"])
    yield Figure("the least program alone", "ms", took["least"], "bare PUT", took["bare"])


def _bursts(scene: Scene, bursts: int) -> Iterator[Figure]:
    ours, once, many = [], [], []
    for _ in range(bursts):
        ours.append(median(scene.mirrored(scene._files)))
        many.append(median(scene.bare(scene._files)))
        once.append(median(median(scene.bare([file])) for file in scene._files[:5]))
    name = f"handler's return to listed, {bursts} bursts of {BURST}"
    yield Figure(name, "ms", ours, "bare PUT", once)
    yield Figure(name, "ms", ours, f"{BURST} bare PUTs at once", many, at_most(2))
