"""A remote of rclone as an `Archive`: reads files and deletes them, one by one.

Only the retention uses it. A remote has no request for many files at once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from frigate_mirror.settings.settings import RcloneSettings
from frigate_mirror.sinks.rclone.chain import DRIVE, chain_of
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.errors import (
    FORBIDDEN,
    NO_FOLDER,
    NOT_FOUND,
    OTHER,
    RcloneError,
    meaning_of,
)
from frigate_mirror.sinks.sink import Misconfigured, Probe, Rejected, Sink, SinkError, Stored

THREADS = 8
GONE = (NOT_FOUND, NO_FOLDER)
Failure = Callable[[str, str, RcloneError], SinkError]


class RcloneArchive:
    """`sink` checks and lists the same remote over the same `daemon`. `has_duplicates` says whether
    several files may have the same name in a folder, `failure` makes an error for a verb and what
    it is about, and `on_removal` is called when a folder may have been removed."""

    batch = 100

    def __init__(
        self,
        sink: Sink,
        settings: RcloneSettings,
        daemon: Daemon,
        has_duplicates: Callable[[], bool],
        failure: Failure,
        on_removal: Callable[[], None],
    ) -> None:
        self._sink = sink
        self._settings = settings
        self._daemon = daemon
        self._has_duplicates = has_duplicates
        self._failure = failure
        self._on_removal = on_removal

    def check(self) -> Probe:
        return self._sink.check()

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._sink.list(prefix)

    def read(self, key: str, most: int) -> bytes | None:
        """See `Archive.read`. rclone copies the file to a temporary one."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._daemon.call(
                    "operations/copyfile",
                    srcFs=self._settings.remote, srcRemote=key, dstFs=folder, dstRemote="read",
                )  # fmt: skip
                with open(os.path.join(folder, "read"), "rb") as file:
                    data = file.read(most + 1)
        except RcloneError as error:
            if meaning_of(error, key, self._settings.remote).code in GONE:
                return None
            raise self._failure("read", key, error) from None
        if len(data) > most:
            raise Rejected(f"read {key}: it has more than {most:,} bytes", code="TooLarge")
        return data

    def delete(self, keys: Sequence[str]) -> dict[str, str]:
        """See `Archive.delete`. Where names are not unique, one file at a time is deleted."""
        left: dict[str, str] = {}
        with ThreadPoolExecutor(1 if self._has_duplicates() else THREADS) as pool:
            waiting = {key: pool.submit(self._delete, key) for key in keys}
            for key, done in waiting.items():
                try:
                    if why := done.result():
                        left[key] = why
                except SinkError:
                    pool.shutdown(cancel_futures=True)
                    raise
        return left

    def remove_folder(self, folder: str) -> None:
        with suppress(RcloneError):  # it is not empty
            self._call("operations/rmdir", remote=folder)
            self._on_removal()

    def fate(self) -> str:
        """Says for Google Drive whether deleted files go to the trash."""
        options = chain_of(self._daemon, self._settings.remote).values()
        on_drive = [one for one in options if one.get("type") == DRIVE]
        if not on_drive:
            return ""
        uses_trash = self._settings.drive_use_trash
        if uses_trash is None:
            uses_trash = any(str(one.get("use_trash", "true")) != "false" for one in on_drive)
        if uses_trash:
            return (
                "Google Drive: deleted files go to the trash and count against the quota for 30 "
                "days more; RCLONE_DRIVE_USE_TRASH=false deletes them at once"
            )
        return "Google Drive: deleted files do not go to the trash, so nobody can get them back"

    def _delete(self, key: str) -> str:
        """Deletes a file. Returns why it is still there, or an empty text."""
        try:
            self._call("operations/deletefile", remote=key)
        except RcloneError as error:
            code = meaning_of(error, key, self._settings.remote).code
            if code in GONE:
                return ""
            failure = self._failure("delete", key, error)
            if code == OTHER:
                return str(failure)
            if code == FORBIDDEN:
                name = f"{self._settings.remote.partition(':')[0]}:"
                hint = f"allow the account of the remote {name} to delete files there"
                raise Misconfigured(str(failure.args[0]), code=code, hint=hint) from None
            raise failure from None
        return ""

    def _call(self, command: str, **parameters: Any) -> dict[str, Any]:
        return self._daemon.call(command, fs=self._settings.remote, **parameters)
