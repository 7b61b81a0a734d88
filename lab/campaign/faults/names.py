"""Hostile names of cameras, labels and events, and hostile files in clips.

A canary lies outside the media folder. Its bytes must never be in the bucket, and nothing may write
to it. The oracle also checks every key, every object and every line of the log.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.campaign import events
from lab.campaign.events import Event
from lab.campaign.faults import Fault
from lab.campaign.oracle import Oracle, Verdict
from lab.campaign.world import World

CANARY = b"a canary: nobody may read this, and nobody may write here\n" * 40
FORGED = "[2031-01-01 00:00:00] frigate_s3 INFO : forged"
PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_OURS = re.compile(r"(.+)-\d{8}_\d{6}\.(?:jpg|webp|png)")
_LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ")

# Names that a file can have. Their events are owed.
CAMERAS = (
    "-", "---", "-rf", "--delete", ".", "..", "...", "a.b", "..a", "a..", ".s3_spool", "cache",
    "a b", " a ", "%2e%2e", "a%2Fb", "%", "a?b=c&d#e", "a\\b", "C:", "*", "[x]", "~",
    "$(id)", "'\"`", "<script>", "שלום", "مرحبا", "имя", "カメラ", "📷", "👨‍👩‍👧‍👦", "e\u0301",
    "\u202egpj.exe", "a\u2028b",
    f"a\n{FORGED}", f"a\r{FORGED}", "\x1b[2J\x1b]0;x\x07", "\x7f\x01", "\x85a", "\ufeffa",
    "x" * 200, "ё" * 100, "📷" * 50, "None", "null", "0",
)  # fmt: skip
# Names that lead out of clips or nowhere. {outside} is the canary's folder.
ASTRAY = (
    "../../outside/canary", "cache/../../../outside/canary", "{outside}/canary",
    "//{outside}/canary", "a/b", "/", "x\0y", "..\0", "\0", "x" * 4096, "../" * 1000, "",
)  # fmt: skip
LABELS = (*CAMERAS, "x" * 4096, "a\0b", "📷" * 1000, "../..", "{outside}/canary")
IDS = (
    "{t}-abcdef", "{t}.0-abcdef", "{t}.123456789-abcdef", "{t}e0-abcdef", "1.7e+09-{r}",
    "1e-05-{r}", "nan-{r}", "inf-{r}", "{t}.5-{r}-20260101_000000", "{t}.5", "{t}.", "0.0-{r}",
    "0-{r}", "{t}.5-ABCDEF", "{t}_{r}", "{r}", "{t}.5-{r}.jpg", "{t}.5-{r}..",
    "{t}.5-{r}-clean", "a--{r}",
)  # fmt: skip
STRANGE_IDS = (
    "-{t}.5-{r}", "-inf-{r}", "../../../outside/canary", "..", ".", "", "a/{r}", "a\\{r}",
    "{t}.5-{r}\n" + FORGED, "{t}.5-{r}\r", "\0{r}", "{t}.5-📷", "{t}.5-{r} ", "%2e%2e/{r}",
    "{t}.5-" + "x" * 4096, "\u0661\u0662.5-{r}", "\u202e{r}",
)  # fmt: skip


@dataclass
class Named(Event):
    """An event with any name. `camera` is the name that its key must have. `named` is the name in
    Frigate's messages and in the file's name."""

    named: str = ""
    labelled: str = "person"

    def message(self) -> dict[str, Any]:
        return super().message() | {"camera": self.named, "label": self.labelled}


def quoted(name: str) -> str:
    """A name as one part of a key, as docs/decisions/0006 describes it."""
    kept = "" if set(name) == {"."} else PLAIN
    parts = (chr(b) if chr(b) in kept else f"%{b:02X}" for b in name.encode())
    return name if name and set(name) <= set(kept) else "".join(parts)


class Watch(Oracle):
    """An oracle that accepts ids of any form and looks for the canary and for forged log lines."""

    def __init__(self, world: World) -> None:
        super().__init__(world.bucket, world.prefix)
        self._world = world

    def present(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key in self._bucket.keys():  # noqa: SIM118 (no dictionary)
            match = _OURS.fullmatch(key.rpartition("/")[2])
            found.setdefault(match[1] if match else "", []).append(key)
        return found

    def judge(self, owed: Mapping[str, Event], known: Mapping[str, Event]) -> Verdict:
        verdict = super().judge(owed, known)
        for key, data in self._bucket.objects().items():
            if CANARY[:50] in data or not key.startswith(self._prefix):
                verdict.alien.append(key)
        self._look_at_log()
        for path in outside(self._world).iterdir():
            if path.read_bytes() != CANARY:
                self._world.complaints.append(f"{path.name} outside was written to")
        return verdict

    def _look_at_log(self) -> None:
        """Complains of control bytes and of lines that are neither log lines nor tracebacks."""
        within = False
        for line in self._world.log.read_bytes().decode("utf-8", "replace").split("\n"):
            begun = bool(_LINE.match(line)) and not line.startswith(FORGED[:12])
            within = (within and not begun) or line.startswith("Traceback (most recent call")
            if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", line):
                self._world.complaints.append(f"control characters in the log: {line[:120]!r}")
            elif line and not begun and not (within or line.startswith((" ", "\t"))):
                self._world.complaints.append(f"forged line in the log: {line[:120]!r}")


def outside(world: World) -> Path:
    return world.folder / "outside"


def _watch(world: World) -> None:
    world.oracle = Watch(world)
    outside(world).mkdir()
    (outside(world) / "victim").write_bytes(CANARY)


def _filled(world: World, text: str) -> str:
    """Fills a template with the values of this run."""
    rest = "".join(world.rng.choices(events.LETTERS, k=6))
    second = int(world.now) - world.rng.randrange(100_000)  # no two events have the same id
    for name, value in (("t", str(second)), ("r", rest), ("outside", str(outside(world)))):
        text = text.replace(f"{{{name}}}", value)
    return text


def named(
    world: World, camera: str, event_id: str = "", label: str = "person"
) -> tuple[Named, bytes]:
    """An event with these names, and its picture, which is not written yet."""
    plain, picture = events.happen(world.rng, world.now, world.version)
    fields = vars(plain) | {"id": event_id or plain.id, "camera": quoted(camera)}
    event = Named(**fields, named=camera, labelled=label)
    return replace(event, file=f"{camera}-{event.id}{_ending(world)}"), picture


def _ending(world: World) -> str:
    return "-clean.webp" if world.version == "0.18" else ".jpg"


def _cameras(world: World) -> None:
    for camera in world.rng.sample(CAMERAS, 6):
        label = _filled(world, world.rng.choice(LABELS))
        event, picture = named(world, camera, label=label)
        (world.clips / event.file).write_bytes(picture)
        world.send(event)


def _astray(world: World) -> None:
    """The name leads to an existing file. The event is not owed."""
    for camera in world.rng.sample(ASTRAY, 4):
        event, _ = named(world, _filled(world, camera))
        _lay(world, event)
        world.send(event, known=False)


def _lay(world: World, event: Named) -> None:
    with suppress(OSError, ValueError):  # no file can have this name
        path = world.clips / event.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CANARY)
        world.at_close(lambda: path.unlink(missing_ok=True))  # it may lie outside this world


def _ids(world: World) -> None:
    for template in world.rng.sample(IDS, 5):
        event, picture = named(world, "garage", _filled(world, template))
        (world.clips / event.file).write_bytes(picture)
        world.send(event)


def _strange_ids(world: World) -> None:
    """Makes a folder `x-..`, so that `x-../../..` leads out of clips."""
    for folder in ("x-..", "x-a", "x-%2e%2e"):
        (world.clips / folder).mkdir(exist_ok=True)
    for template in world.rng.sample(STRANGE_IDS, 5):
        event, _ = named(world, "x", _filled(world, template) or "\t")
        _lay(world, event)
        world.send(event, known=False)


# -- things with the name of a picture that are no files


def _no_files(world: World) -> None:
    for lay in world.rng.sample((_link, _fifo, _directory, _socket, _loop, _swap), 4):
        event, picture = named(world, "garage")
        lay(world, world.clips / event.file, picture)
        event.taken = True
        world.send(event, known=lay is _swap)
        if lay is _swap:  # before or after the mirror looked at it
            world.pause(0.0, 0.2)
            link = world.clips / "link"
            link.symlink_to(outside(world) / "victim")
            link.replace(world.clips / event.file)


def _link(world: World, path: Path, picture: bytes) -> None:
    path.symlink_to(outside(world) / "victim")


def _fifo(world: World, path: Path, picture: bytes) -> None:
    os.mkfifo(path)


def _directory(world: World, path: Path, picture: bytes) -> None:
    path.mkdir()


def _socket(world: World, path: Path, picture: bytes) -> None:
    """Makes a socket by a short path, because the full path would be too long."""
    short = world.folder / "s"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(short))
    short.rename(path)


def _loop(world: World, path: Path, picture: bytes) -> None:
    path.symlink_to(path.name)


def _swap(world: World, path: Path, picture: bytes) -> None:
    path.write_bytes(picture)


def _laid_in_spool(world: World) -> None:
    """Something stands where the spool will put the file. The picture itself is in its place."""
    spool = world.clips / "cache" / ".s3_spool"
    spool.mkdir(parents=True, exist_ok=True)
    for lay in (_link, _fifo, _directory):
        event, picture = named(world, "garage")
        (world.clips / event.file).write_bytes(picture)
        lay(world, spool / f"snapshot_{event.id}", picture)
        world.send(event)


def _links_for_state_files(world: World) -> None:
    """Puts links in place of files. A mirror that follows them writes outside."""
    cache = world.clips / "cache"
    cache.mkdir(exist_ok=True)
    for name in (".s3_uploaded_events", ".s3_failed_events", ".s3_status.json"):
        for ending in ("", ".part"):
            (cache / f"{name}{ending}").unlink(missing_ok=True)
            lay = world.rng.choice((_link, _link, _fifo))
            with suppress(FileExistsError):  # the mirror has written it again
                lay(world, cache / f"{name}{ending}", b"")


FAULTS = (
    Fault(name="cameras and labels of any name", prepare=_watch, strike=_cameras, strikes=4,
          alone=True, runs=4),
    Fault(name="camera names that lead outside", prepare=_watch, strike=_astray, strikes=4,
          alone=True),
    Fault(name="event ids of any form", prepare=_watch, strike=_ids, strikes=4, alone=True),
    Fault(name="texts that are no event ids", prepare=_watch, strike=_strange_ids, strikes=4,
          alone=True),
    Fault(name="links and pipes for pictures", prepare=_watch, strike=_no_files, strikes=4,
          alone=True),
    Fault(name="links and pipes in the spool", prepare=_watch, strike=_laid_in_spool, strikes=2,
          alone=True),
    Fault(name="links and pipes for state files", prepare=_watch, strike=_links_for_state_files,
          strikes=3, alone=True),
)  # fmt: skip
