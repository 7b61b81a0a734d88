"""The rclone sink: puts files to whatever rclone reaches, such as Google Drive, SFTP or WebDAV.

It knows files of a remote, and turns every failure into one of the three errors of `sinks.sink`. It
does not know Frigate, events or the ledger. rclone does the transfers (`sinks.rclone.daemon`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from frigate_mirror.settings.settings import RcloneSettings
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.errors import (
    CONFIG_PASSWORD,
    DIFFERS,
    FORBIDDEN,
    NO_FOLDER,
    NOT_FOUND,
    RcloneError,
    failure,
    meaning_of,
)
from frigate_mirror.sinks.rclone.readable import Readable, readable
from frigate_mirror.sinks.sink import Archive, Misconfigured, Probe, Receipt, SinkError, Stored

log = logging.getLogger("frigate_s3.rclone")
HASHES = ("sha256", "sha1", "md5")  # the first one that the remote and this host have is compared
MOST_FOLDERS = 1_000
Entry = dict[str, Any]  # a file or folder as rclone describes it
Entries = list[Entry]


@dataclass(frozen=True, slots=True)
class Nature:
    """What a remote is like: the `digest` that it can tell, if any, and whether several files may
    have the same name in a folder, as on Google Drive."""

    digest: str
    duplicates: bool


class RcloneSink:
    """A remote of rclone as a `Sink`. The constructor starts nothing; the first call does.

    Several sinks may share one `daemon`. `close` ends it.
    """

    def __init__(
        self, settings: RcloneSettings, environ: Mapping[str, str], daemon: Daemon | None = None
    ) -> None:
        self._settings = settings
        self._remote = settings.remote
        self._name = f"{settings.remote.partition(':')[0]}:"
        self._daemon = daemon or Daemon(settings, environ)
        self._nature: Nature | None = None
        self._folders = Folders()
        self._told: set[str] = set()
        self.close = self._daemon.close

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Receipt:
        """See `Sink.put`. A remote has no place for `content_type` and `metadata`, so they are left
        out. `body` is read once here, and once by rclone. If it has a method `before_send`, as
        `sinks.body` describes it, that is called once, before all bytes: rclone sends them without
        asking again, and `limit` is what slows it down.

        The receipt's `etag` is the digest that the remote has told, or empty where it has none:
        there only the size is proven.
        """
        try:
            nature = self._learn()
        except RcloneError as error:
            raise self._failure("put", key, error) from None
        digests = {"sha256", nature.digest} - {""}
        with readable(body, *digests) as file:
            if hasattr(body, "before_send"):
                body.before_send(file.size)
            try:
                etag = self._put(key, file, nature)
            except RcloneError as error:
                file.check_unchanged()
                raise self._failure("put", key, error) from None
        return Receipt(key, file.size, etag, file.digests["sha256"])

    def check(self) -> Probe:
        """See `Sink.check`. A folder that does not exist yet is no error: the first put makes
        it."""
        try:
            if self._learn().duplicates:
                # Somebody may have moved a folder to the trash, and rclone would go on filling it.
                self._forget_folders()
            started = time.perf_counter()
            self._entries("")
        except RcloneError as error:
            raise self._failure("list", self._remote, error) from None
        return Probe(time.perf_counter() - started, None)

    def list(self, prefix: str) -> Iterator[Stored]:
        """See `Sink.list`. Reads one folder at a time. `modified` is the time of the upload, or on
        remotes that keep it the time of the file that was uploaded.

        Where a folder contains a name more than once, a warning tells of it. Of two files the
        newest one counts. Of two folders rclone sees one.
        """
        folder = prefix.rpartition("/")[0]
        try:
            yield from self._walk(folder, prefix)
        except RcloneError as error:
            raise self._failure("list", f"{self._remote}/{prefix}", error) from None

    def may_delete(self, key: str) -> bool | None:
        """See `Prober.may_delete`."""
        try:
            self._call("operations/deletefile", remote=key)
            return True if self._stat(key, "") is None else None
        except RcloneError as error:
            if meaning_of(error, key, self._remote).code == FORBIDDEN:
                return False
            raise self._failure("delete", key, error) from None

    def archive(self) -> Archive:
        """See `Archivable.archive`. The archive uses the same rclone."""
        from frigate_mirror.sinks.rclone.archive import RcloneArchive  # few mirrors need it

        return RcloneArchive(
            self,
            self._settings,
            self._daemon,
            lambda: self.nature().duplicates,
            self._failure,
            self._folders.forget,
        )

    def nature(self) -> Nature:
        """Returns what the remote is like. Raises a SinkError."""
        try:
            return self._learn()
        except RcloneError as error:
            raise self._failure("look at", self._remote, error) from None

    def limit(self, bytes_per_second: float) -> None:
        """Limits the bandwidth of all uploads together. Infinity means no limit. Raises a
        SinkError."""
        try:
            self._daemon.limit(bytes_per_second)
        except RcloneError as error:
            raise self._failure("limit", self._remote, error) from None

    def free(self) -> int | None:
        """See `Roomy.free`."""
        try:
            if not self._call("operations/fsinfo")["Features"].get("About"):
                return None
            free = self._call("operations/about").get("free")
        except RcloneError as error:
            raise self._failure("look at", self._remote, error) from None
        return free if isinstance(free, int) and free >= 0 else None

    # -- one upload

    def _put(self, key: str, file: Readable, nature: Nature) -> str:
        """Uploads `file` and returns the digest that the remote tells of it, or an empty text."""
        if not nature.duplicates:
            self._copy(key, file)
            # Without a digest there is nothing to ask for: rclone has compared the sizes itself.
            return self._confirmed(key, file, nature.digest) if nature.digest else ""
        try:
            return self._copy_alone(key, file, nature.digest)
        except RcloneError as error:
            if meaning_of(error, key).code not in (NOT_FOUND, NO_FOLDER):
                raise
            # Somebody may have deleted a folder that rclone remembers.
            self._forget_folders()
            return self._copy_alone(key, file, nature.digest)

    def _copy_alone(self, key: str, file: Readable, digest: str) -> str:
        """Uploads `file` to a remote where two uploads at once would make two folders of one name,
        or two files. Returns what `_put` returns."""
        folder = key.rpartition("/")[0]
        self._folders.make(folder, lambda: self._call("operations/mkdir", remote=folder))
        with self._folders.alone(folder):
            self._copy(key, file)
            return self._confirmed(key, file, digest)

    def _copy(self, key: str, file: Readable) -> None:
        self._daemon.call(
            "operations/copyfile",
            srcFs=file.folder, srcRemote=file.name, dstFs=self._remote, dstRemote=key,
        )  # fmt: skip

    def _confirmed(self, key: str, file: Readable, digest: str) -> str:
        """Returns the digest that the remote tells of the object, or an empty text. Raises
        RcloneError unless the object is there with the size and the digest of `file`."""
        stored = self._stat(key, digest)
        if stored is None:
            raise RcloneError("object not found after its upload")
        if stored["Size"] != file.size:
            raise RcloneError(f"{stored['Size']} bytes are there instead of {file.size}", DIFFERS)
        etag: str = stored.get("Hashes", {}).get(digest, "").lower()
        if etag and etag != file.digests[digest]:
            raise RcloneError(f"other bytes are there, of the {digest} {etag}", DIFFERS)
        return etag

    def _stat(self, key: str, digest: str) -> Entry | None:
        options: dict[str, Any] = {"filesOnly": True, "noModTime": True, "noMimeType": True}
        if digest:
            options |= {"showHash": True, "hashTypes": [digest]}
        found: Entry | None = self._call("operations/stat", remote=key, opt=options)["item"]
        return found

    # -- listings

    def _walk(self, folder: str, prefix: str) -> Iterator[Stored]:
        entries = self._entries(folder)
        self._tell_duplicates(folder, entries)
        for name, entry in sorted(_by_name(entries).items()):
            path = f"{folder}/{name}" if folder else name
            if name.endswith("/"):
                if path.startswith(prefix):
                    yield from self._walk(path[:-1], prefix)
            elif path.startswith(prefix):
                yield Stored(path, entry["Size"], _unix(entry["ModTime"]))

    def _entries(self, folder: str) -> Entries:
        """Returns what `folder` contains: nothing if it does not exist."""
        options = {"noMimeType": True}
        try:
            answer = self._call("operations/list", remote=folder, opt=options)
        except RcloneError as error:
            if meaning_of(error, folder).code == NO_FOLDER:
                return []
            raise
        found: Entries = answer["list"]
        return found

    def _tell_duplicates(self, folder: str, entries: Entries) -> None:
        for name, count in Counter(entry["Name"] for entry in entries).items():
            where = f"{self._remote}/{folder}".rstrip("/")
            text = f"{where} contains {count} entries named {name}"
            if count > 1 and text not in self._told:
                self._told.add(text)
                log.warning("%s: run `rclone dedupe` by hand", text)

    # -- the remote

    def _learn(self) -> Nature:
        """Returns what the remote is like. Asks it once."""
        if self._nature is None:
            info = self._call("operations/fsinfo")
            known = set(info.get("Hashes") or ())
            digest = next((name for name in HASHES if name in known and _has_digest(name)), "")
            self._nature = Nature(digest, bool(info["Features"]["DuplicateFiles"]))
        return self._nature

    def _forget_folders(self) -> None:
        """Makes rclone look up every folder anew."""
        self._folders.forget()
        self._daemon.call("fscache/clear")

    def _call(self, command: str, **parameters: Any) -> dict[str, Any]:
        return self._daemon.call(command, fs=self._remote, **parameters)

    def _failure(self, verb: str, what: str, error: RcloneError) -> SinkError:
        """Returns the error for the owner. rclone remembers the remote as it was configured, so
        what the owner corrects must be read anew."""
        found = failure(verb, what, error, self._name, self._remote)
        if found.code == CONFIG_PASSWORD:
            self._daemon.close()
        elif isinstance(found, Misconfigured) and self._daemon.pid:
            self._nature = None
            with suppress(RcloneError):
                self._forget_folders()
        return found


class Folders:
    """Which folders of the remote exist, and who writes to them: one thread at a time."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        # Two folders may lack the same parent, so only one folder is made at a time.
        self._making = threading.Lock()
        self._writing = [threading.Lock() for _ in range(64)]

    def make(self, folder: str, mkdir: Callable[[], object]) -> None:
        """Calls `mkdir` unless the folder is known to exist."""
        with self._making:
            if folder not in self._known:
                mkdir()
                if len(self._known) >= MOST_FOLDERS:
                    self._known.clear()
                self._known.add(folder)

    def forget(self) -> None:
        with self._making:
            self._known.clear()

    def alone(self, folder: str) -> threading.Lock:
        """Returns the lock of `folder`, which some other folders share."""
        return self._writing[hash(folder) % len(self._writing)]


def _by_name(entries: Entries) -> dict[str, Entry]:
    """Returns the newest entry of each name. The names of folders end in a slash, so sorting them
    gives the order of the keys."""
    entries = sorted(entries, key=lambda entry: _unix(entry["ModTime"]))
    return {entry["Name"] + "/" * entry["IsDir"]: entry for entry in entries}


def _has_digest(name: str) -> bool:
    """Whether this host computes the digest. A host with FIPS forbids MD5."""
    try:
        hashlib.new(name, usedforsecurity=False)
    except ValueError:
        return False
    return True


def _unix(time_of_rclone: str) -> float:
    """Returns a time such as 2026-11-26T13:48:54.459930920Z in Unix seconds, or 0 if there is
    none."""
    try:
        return datetime.fromisoformat(time_of_rclone).timestamp()
    except ValueError:
        return 0.0
