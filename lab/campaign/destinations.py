"""Where the companions of a run mirror to: a bucket, a folder, or a folder behind WebDAV.

The oracle looks into all of them in the same way (`oracle.Place`), and past the mirror: into the
bucket with a client of its own, and into a folder on the disk.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.campaign.oracle import Place
from tests.rig.rclone import PASSWORD, USER, Config, Served, obscured

S3, LOCAL, WEBDAV = "s3", "local", "webdav"
LOOK_EVERY = 0.3  # seconds


class Folder:
    """A folder whose files are the mirror's. A key is the path of a file in it. It need not exist
    yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keys(self) -> list[str]:
        return list(self.sizes())

    def tags(self) -> dict[str, str]:
        return {
            key: f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
            for key, status in self._statuses()
        }

    def sizes(self) -> dict[str, int]:
        return {key: status.st_size for key, status in self._statuses()}

    def get(self, key: str) -> bytes:
        return (self.path / key).read_bytes()

    def put(self, key: str, body: bytes) -> None:
        path = self.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def head(self, key: str) -> dict[str, Any]:
        return {}

    def _statuses(self) -> Iterator[tuple[str, Any]]:
        for path in sorted(self.path.rglob("*")):
            try:
                if path.is_file():
                    yield path.relative_to(self.path).as_posix(), path.stat()
            except FileNotFoundError:  # it is just being replaced
                continue


class Local(Folder):
    """A remote of rclone that is a folder of this machine."""

    def __init__(self, room: Path) -> None:
        super().__init__(room / "remote" / "frigate")
        config = Config(room)
        config.add("disk", "alias", remote=room / "remote")
        self.environ: Mapping[str, str] = config.environ("disk:frigate")


class WebDav(Folder):
    """A remote of rclone that another rclone serves as WebDAV."""

    def __init__(self, room: Path) -> None:
        served = room / "remote"
        served.mkdir()
        super().__init__(served / "frigate")
        self.server = Served("webdav", served)
        config = Config(room)
        config.add("dav", "webdav", url=f"http://127.0.0.1:{self.server.port}", vendor="other",
                   user=USER, **{"pass": obscured(PASSWORD)})  # fmt: skip
        self.environ: Mapping[str, str] = config.environ("dav:frigate")

    def expire(self) -> None:
        """Lets the service answer 401, as to a token that has expired."""
        self.server.stop()
        self.server.start("another password")

    def renew(self) -> None:
        """Lets it accept the token again."""
        self.server.stop()
        self.server.start()


class Looks(threading.Thread):
    """Looks at a destination again and again, and notes how small each file has ever been.

    The metadata is left out: it is written anew, and then may be shorter than before. A WebDAV
    server shows a file while it still arrives, so there a file counts from when the metadata of its
    event says that all files are there."""

    def __init__(self, place: Place) -> None:
        super().__init__(name="looks", daemon=True)
        self._place = place
        self._only_listed = isinstance(place, WebDav)
        self._stopped = threading.Event()
        self.smallest: dict[str, int] = {}

    def run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            self._look()

    def stop(self) -> None:
        self._stopped.set()
        self.join(10)

    def short(self) -> Set[str]:
        """Returns the files that have once been there and were shorter than they are now."""
        now = self._place.sizes()
        return {key for key, size in dict(self.smallest).items() if size < now.get(key, 0)}

    def _look(self) -> None:
        # What the metadata lists was there before it, so the sizes must be newer.
        listed = set(self._listed(self._place.keys())) if self._only_listed else None
        for key, size in self._place.sizes().items():
            if not key.endswith(".json") and (listed is None or key in listed):
                self.smallest[key] = min(size, self.smallest.get(key, size))

    def _listed(self, keys: Iterable[str]) -> Iterator[str]:
        """Yields the files of which complete metadata has told."""
        for key in keys:
            if key.endswith(".json"):
                with suppress(OSError, ValueError):  # it is just being replaced
                    document = json.loads(self._place.get(key))
                    if document["complete"]:
                        yield from (one["key"] for one in document["files"])
