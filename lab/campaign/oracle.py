"""The oracle compares the bucket with what the campaign's Frigate wrote.

It has a client of its own that does not use the proxy. All that it knows of the program is that an
event's id stands in the key of its object. Objects that a fault itself put there (`planted`) are
not the mirror's: they are not counted, but they must stay as they are.

Every event whose row was committed with a picture is owed. This is fair because retention deletes a
picture, or a row, only after its event had a fair chance (see `retention`).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.campaign.events import Event

ID = re.compile(r"\d+\.\d+-[a-z0-9]{6}")
LOOK_EVERY = 0.1


@dataclass
class Verdict:
    """`offered` counts the owed events. `lost`, `duplicated` and `wrong` are the ids of events that
    are not in the bucket, are there twice, or have other bytes. `alien` are the keys of objects
    that belong to no event or lie outside the prefix. `wrong` also has the keys of planted objects
    that have changed."""

    offered: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    alien: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong or self.alien)


class Place(Protocol):
    """Where the mirror puts files: a bucket, or a folder that a remote leads to."""

    def keys(self) -> list[str]: ...

    def tags(self) -> dict[str, str]:
        """What changes with the bytes of a file, for every key."""
        ...

    def sizes(self) -> dict[str, int]: ...

    def get(self, key: str) -> bytes: ...

    def put(self, key: str, body: bytes) -> None: ...

    def head(self, key: str) -> dict[str, Any]: ...


class Oracle:
    def __init__(self, bucket: Place, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._planted: dict[str, bytes] = {}

    def plant(self, key: str, body: bytes) -> None:
        """Puts an object there that is not the mirror's. The mirror must never write this key."""
        self._planted[key] = body
        self._bucket.put(key, body)

    def present(self) -> dict[str, list[str]]:
        """The keys by the event id in them. Keys without an id stand under the empty text."""
        found: dict[str, list[str]] = {}
        for key in self._bucket.keys():  # noqa: SIM118 (no dictionary)
            if key in self._planted:
                continue
            match = ID.search(key.rpartition("/")[2])
            found.setdefault(match[0] if match else "", []).append(key)
        return found

    def arrived(self) -> Set[str]:
        """The ids of the events of which everything is there."""
        return self.present().keys()

    def holds(self, event: Event) -> bool:
        """Whether the bucket has the event's present picture, byte for byte."""
        keys = self.present().get(event.id, [])
        return bool(keys) and all(self._is_whole(key, event) for key in keys)

    def wait(
        self,
        owed: Callable[[], Collection[str]],
        bound: float,
        rest: Callable[[float], object] = time.sleep,
    ) -> float | None:
        """Waits until everything owed is there. Returns the seconds, or None after `bound`
        seconds."""
        began = time.monotonic()
        while True:
            missing = set(owed()) - self.arrived()
            took = time.monotonic() - began
            if not missing:
                return took
            if took > bound:
                return None
            rest(LOOK_EVERY)

    def judge(self, owed: Mapping[str, Event], known: Mapping[str, Event]) -> Verdict:
        """The verdict. `known` are all events whose pictures were ever written, owed or not."""
        present = self.present()
        verdict = Verdict(offered=len(owed), lost=sorted(owed.keys() - present.keys()))
        for event_id, keys in present.items():
            if event_id not in known:
                verdict.alien += keys
                continue
            if len(keys) > 1:
                verdict.duplicated.append(event_id)
            for key in keys:
                self._judge_object(key, known[event_id], verdict)
        self._judge_planted(verdict)
        return verdict

    def _judge_planted(self, verdict: Verdict) -> None:
        there = set(self._bucket.keys())
        for key, body in self._planted.items():
            if key not in there or self._bucket.get(key) != body:
                verdict.wrong.append(key)

    def _judge_object(self, key: str, event: Event, verdict: Verdict) -> None:
        ending = event.file.rpartition(".")[2]
        camera = f"{self._prefix}{event.camera}/"
        if not (key.startswith(camera) and key.endswith(f".{ending}")):
            verdict.alien.append(key)
        if not self._is_whole(key, event):
            verdict.wrong.append(event.id)

    def _is_whole(self, key: str, event: Event) -> bool:
        return hashlib.sha256(self._bucket.get(key)).hexdigest() == event.sha256
