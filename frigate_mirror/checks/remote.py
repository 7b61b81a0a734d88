"""Checks a remote of rclone as the destination: rclone itself, its configuration, the rights at the
remote, and what is particular about Google Drive.

What the traps of Google Drive are was read from rclone's documentation of its drive backend, and
how rclone replaces its configuration from its source (fs/config/configfile).
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from frigate_mirror.checks.bucket import (
    BAIT_NAME,
    EX_CAN_DELETE,
    EX_UNPROVEN,
    PROBE_NAME,
    put_probe,
)
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.settings.settings import RcloneSettings
from frigate_mirror.sinks.rclone.chain import DRIVE, Options, chain_of
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.errors import FORBIDDEN, RcloneError, failure
from frigate_mirror.sinks.rclone.sink import RcloneSink
from frigate_mirror.sinks.sink import SinkError
from frigate_mirror.untrusted import plain

MOST_FOLDERS = 50  # that are looked into for names that exist twice
GB = 1_000_000_000  # bytes
MOUNTS = Path("/proc/self/mountinfo")
DELETES = (
    "a thief with this login can empty the remote, so keep a second copy that this machine cannot "
    "reach"
)


def remote(
    settings: RcloneSettings, environ: Mapping[str, str], *, put: bool, prove: bool
) -> Iterator[Finding]:
    """Tries the remote. With `put` it proves the right to put with a tiny file, and with `prove`
    whether the remote deletes, with another one."""
    daemon = Daemon(settings, environ)
    try:
        try:
            version = daemon.call("core/version")["version"]
        except RcloneError as error:
            yield _fault("start rclone", settings, error)
            if settings.config:
                yield from _configuration(Path(settings.config), has_token=False)
            return
        yield Finding(OK, f"rclone {plain(str(version), 40)} runs")
        chain = chain_of(daemon, settings.remote)
        if settings.remote.partition(":")[1]:
            path = Path(settings.config or str(daemon.call("config/paths")["config"]))
            if settings.config or path.exists():
                has_token = any(options.get("token") for options in chain.values())
                yield from _configuration(path, has_token=has_token)
            else:
                what = f"rclone has no configuration {path}, so it knows only remotes in variables"
                yield Finding(NOTE, what, "set RCLONE_CONFIG if it is another file")
        sink = RcloneSink(settings, environ, daemon)
        yield from _rights(sink, settings, put=put, prove=prove)
        yield from _room(daemon, settings)
        yield from _drive(daemon, settings, chain)
    finally:
        daemon.close()


def _fault(verb: str, settings: RcloneSettings, error: RcloneError) -> Finding:
    name = f"{settings.remote.partition(':')[0]}:"
    found = failure(verb, f"for {settings.remote}", error, name, settings.remote)
    return Finding(FAULT, str(found.args[0]), found.hint)


# -- the configuration


def _configuration(path: Path, *, has_token: bool) -> Iterator[Finding]:
    """Looks at the file of rclone's configuration. rclone replaces it whenever it gets a new
    token."""
    try:
        found = path.stat()
    except OSError as error:
        what = f"rclone's configuration {path} cannot be read: {error.strerror}"
        yield Finding(FAULT, what, "correct RCLONE_CONFIG, or make the file by `rclone config`")
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        what = f"rclone's configuration {path} has secrets, and others may open it (mode {mode:o})"
        yield Finding(NOTE, what, f"chmod 600 {path}")
    fault = _why_not_replaced(Path(os.path.realpath(path)))
    if not fault:
        yield Finding(OK, f"rclone's configuration {path} is there, and rclone can renew it")
    elif has_token:
        yield Finding(
            FAULT,
            f"rclone cannot write a new token into its configuration {path}: {fault}",
            "mount its folder writable, and not the file alone; otherwise the login is lost when "
            "the service gives a new token",
        )
    else:
        yield Finding(OK, f"rclone's configuration {path} is there, and has no token to renew")


def _why_not_replaced(path: Path) -> str:
    """Returns why rclone cannot put another file in the place of this one, or an empty text."""
    with suppress(OSError):
        places = [line.split()[4] for line in MOUNTS.read_text().splitlines()]
        if str(path) in (place.replace("\\040", " ") for place in places):
            return "the file is mounted by itself, so no other can take its place"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"the folder {path.parent} cannot be written"
    return ""


# -- the rights


def _rights(
    sink: RcloneSink, settings: RcloneSettings, *, put: bool, prove: bool
) -> Iterator[Finding]:
    where = f"remote {settings.remote}"
    try:
        nature = sink.nature()
        probe = sink.check()
        yield Finding(OK, f"{where} answers in {probe.took * 1000:.0f} ms and allows listing")
        if nature.digest:
            yield Finding(OK, f"each upload is proven by its {nature.digest} at the remote")
        else:
            what = "the remote tells no digest, so only the size of an upload is proven"
            yield Finding(NOTE, what)
    except SinkError as error:
        yield Finding(FAULT, f"{where}: {error.args[0]}", error.hint)
        if error.code != FORBIDDEN:  # the same fault would come again
            if prove:
                yield Finding(NOTE, "right to delete: unproven", code=EX_UNPROVEN)
            return
    yield _right_to_put(sink, put=put)
    yield _deletion(sink) if prove else _may_be_able_to_delete()


def _right_to_put(sink: RcloneSink, *, put: bool) -> Finding:
    if not put:
        what = "right to put: unproven, because it was not tried"
        return Finding(NOTE, what, "run check without --no-put")
    try:
        name = put_probe(sink, "", PROBE_NAME)
    except SinkError as error:
        return Finding(FAULT, f"right to put: {error.args[0]}", error.hint)
    return Finding(OK, f"right to put: proven with the file {name}, which stays at the remote")


def _may_be_able_to_delete() -> Finding:
    what = "the login of a remote can usually delete the files there"
    return Finding(NOTE, what, f"check --prove-no-delete tries whether it can. If so, {DELETES}")


def _deletion(sink: RcloneSink) -> Finding:
    """Tries whether the remote deletes, with a file uploaded for this purpose."""
    unproven = "right to delete: unproven"
    try:
        name = put_probe(sink, "", BAIT_NAME)
        allowed = sink.may_delete(name)
    except SinkError as error:
        return Finding(NOTE, f"{unproven}: {error.args[0]}", error.hint, EX_UNPROVEN)
    if allowed is None:
        what = f"{unproven}: the remote agreed to delete the file {name}, and still has it"
        return Finding(NOTE, what, code=EX_UNPROVEN)
    if allowed:
        what = f"the remote's login can delete (it deleted {name}, and nothing else)"
        return Finding(NOTE, what, DELETES, EX_CAN_DELETE)
    what = f"the remote's login cannot delete: the remote refused it for the file {name}"
    return Finding(OK, f"{what}, which stays")


# -- room


def _room(daemon: Daemon, settings: RcloneSettings) -> Iterator[Finding]:
    """Says how much room the remote has. Many remotes do not know."""
    try:
        about = daemon.call("operations/about", fs=settings.remote)
    except RcloneError:
        return
    free, trashed = about.get("free"), about.get("trashed")
    if isinstance(free, int) and free >= 0:
        grade = OK if free >= GB else NOTE
        advice = "" if free >= GB else "free space there, before uploads have to wait"
        yield Finding(grade, f"the remote has {free / GB:,.1f} GB free", advice)
    if isinstance(trashed, int) and trashed > 0:
        yield Finding(
            NOTE,
            f"the trash of the remote holds {trashed / GB:,.1f} GB, which count against its quota",
            f"`rclone cleanup {settings.remote.partition(':')[0]}:` empties it; with "
            "RCLONE_DRIVE_USE_TRASH=false nothing of ours goes there",
        )


# -- Google Drive


def _drive(
    daemon: Daemon, settings: RcloneSettings, chain: Mapping[str, Options]
) -> Iterator[Finding]:
    """Warns of the traps of Google Drive, if one of the remotes is on it."""
    for name, options in chain.items():
        if options.get("type") == DRIVE:
            yield from _account(name, options)
            yield from _doubles(daemon, settings)


def _account(name: str, options: Options) -> Iterator[Finding]:
    by_service = options.get("service_account_file") or options.get("service_account_credentials")
    if not by_service and not options.get("client_id"):
        yield Finding(
            NOTE,
            f"Google Drive: the remote {name} uses the client id that all users of rclone share, "
            "which Google slows down, and which rclone gives up during 2026",
            "make a client id of your own: https://rclone.org/drive/#making-your-own-client-id",
        )
    if not by_service and options.get("token"):
        yield Finding(
            NOTE,
            "Google Drive: a login ends after 7 days if its app is in testing at Google, which "
            "cannot be seen from here",
            "publish the app on the page of its consent screen at Google, and run "
            f"`rclone config reconnect {name}:` once more; or use a service account",
        )
    if str(options.get("scope") or DRIVE) == DRIVE:
        yield Finding(
            NOTE,
            f"Google Drive: the remote {name} may see and delete everything on the Drive",
            "scope = drive.file gives it only what rclone itself has stored",
        )


def _doubles(daemon: Daemon, settings: RcloneSettings) -> Iterator[Finding]:
    """Finds names that exist twice in a folder, in the first two levels. rclone sees one of two
    folders of the same name, so what lies in the other counts as missing."""
    doubles = []
    try:
        top = _entries(daemon, settings.remote, "")
        folders = sorted({str(one["Name"]) for one in top if one["IsDir"]})[:MOST_FOLDERS]
        for folder in ["", *folders]:
            inside = top if not folder else _entries(daemon, settings.remote, folder)
            counted = Counter(str(one["Name"]) for one in inside)
            doubles += [
                f"{count} entries named {plain(f'{folder}/{name}'.lstrip('/'), 100)}"
                for name, count in sorted(counted.items())
                if count > 1
            ]
    except RcloneError:
        return  # the check of the remote's rights tells why
    if doubles:
        yield Finding(
            NOTE,
            f"Google Drive: {settings.remote} contains {', '.join(doubles)}",
            f"run `rclone dedupe {settings.remote}` by hand, which joins folders of the same name",
        )
    else:
        yield Finding(OK, "Google Drive: no name exists twice in the first two levels")


def _entries(daemon: Daemon, remote: str, folder: str) -> list[dict[str, Any]]:
    options = {"noModTime": True, "noMimeType": True}
    answer = daemon.call("operations/list", fs=remote, remote=folder, opt=options)
    found: list[dict[str, Any]] = answer["list"]
    return found
