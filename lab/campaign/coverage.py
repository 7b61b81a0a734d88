"""The situations that the campaign must test, and the faults or groups of faults that do so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lab.campaign.faults import groups

TRIED = "## The situations to test, and the faults that test them\n"
EVERYWHERE = "every run"  # the world or the oracle checks it, whatever the fault is

ASKED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "The child": {
        "kill -9 at random moments, at least 500 times": ("kill -9 at random moments",),
        "SIGTERM": ("SIGTERM",),
        "SIGSTOP for a minute": ("SIGSTOP for a minute", "SIGSTOP"),
        "out of memory": ("out of memory",),
        "no file descriptors left": ("no file descriptors", "few file descriptors"),
        "its start fails again and again": ("starts fail over and over", "a library is missing"),
    },
    "Frigate": {
        "kill -9": ("Frigate killed", "Frigate killed and back at once"),
        "a crash in its event thread": (
            "event thread crashes", "event thread crashes under forks"),
        "a clean stop within the 10 s that Docker allows": ("clean stop", EVERYWHERE),
        "a restart within a second": ("restart within a second",),
        "a fork of its main process at any moment (0.16)": (
            "forks at any moment", "killed while forks live on",
            "mirror killed while Frigate forks"),
        "forkserver (0.17 and later)": ("clean stop", EVERYWHERE),
        "`--validate-config`": ("--validate-config",),
        "safe mode": ("safe mode",),
        "no process of the mirror stays, and none of Frigate's is kept from ending": (EVERYWHERE,),
    },
    "The hook": {
        "no child": ("behind the hook: no start",),
        "a full pipe": (
            "behind the hook: stopped", "100,000 calls of the hook",
            "1,000,000 calls of the hook"),
        "a state folder that cannot be written": ("behind the hook: no state",),
        "a full disk": ("behind the hook: no disk",),
        "all of these at once: the host has the same results, order, exceptions and stdout": (
            "behind the hook: all at once", "1,000,000 calls of the hook"),
        "1,000,000 calls do not make memory grow": ("1,000,000 calls of the hook",),
    },
    "S3": {
        "connection refused": ("connection refused",),
        "connection reset": ("connection reset",),
        "an endpoint that takes connections and never answers": ("black hole",),
        "a kept connection dies silently": ("a kept connection dies silently",),
        "request or answer cut within its body": ("request cut in mid-body", "answer cut"),
        "a slow line (1 KB/s)": ("1 KB/s", "answers trickle"),
        "500": ("500 InternalError", "uploads fail, listing works"),
        "503 SlowDown": ("503 SlowDown",),
        "429": ("429 TooManyRequests",),
        "wrong XML": ("wrong XML", "XML that breaks off, with a 500"),
        "HTML from a captive portal": ("captive portal",),
        "redirect to another region": ("redirect to another region",),
        "403 AccessDenied": ("403 AccessDenied",),
        "SignatureDoesNotMatch": ("SignatureDoesNotMatch",),
        "RequestTimeTooSkewed": ("RequestTimeTooSkewed",),
        "ExpiredToken": ("ExpiredToken",),
        "InvalidAccessKeyId": ("InvalidAccessKeyId",),
        "NoSuchBucket": ("NoSuchBucket",),
        "EntityTooLarge": ("EntityTooLarge, then retry",),
        "InvalidStorageClass": ("InvalidStorageClass",),
        "a corrupted body, which the checksum must reveal": ("corrupted body",),
        "a success whose answer is lost": ("success answer lost",),
        "no name service": ("name service gone",),
        "TLS certificate wrong or expired": (
            "certificate of another host", "certificate expired", "certificate nobody trusts"),
        "bucket deleted and made again": ("bucket deleted and made again",),
        "credentials rotated while running": ("credentials rotated",),
        "an outage of eight days of event time": ("eight days of outage",),
        "two uploads hang while live events go on": ("two uploads hang",),
        "any error, now and then": ("flapping", "unheard-of code"),
    },
    "Disk": {
        "ENOSPC": (
            "no space for the ledger", "no space for spool and state files", "no space at all",
            "no space where the pictures are"),
        "EIO": ("I/O errors on our files", "the ledger's disk dies"),
        "EROFS": ("ledger on a read-only disk", "clips/cache read-only", "everything read-only"),
        "EMFILE": ("few file descriptors", "no file descriptors"),
        "permission denied": (
            "permission denied", "state files and spool immutable", "ledger immutable"),
        "media on another file system than the spool": (
            "spool on another disk, connection refused",),
        "ledger or state file truncated, or with flipped bits": ("damage",),
        "ledger or state file replaced by a directory": (
            "damage", "folders in place of state files", "a file in place of the spool"),
        "ledger or state file deleted while open": ("damage",),
        "the clock jumps by hours and years, in both directions": (
            "clock steps by hours", "clock steps by years", "clock leaps as the mirror starts",
            "the clock jumps from 1970 to now"),
    },
    "Frigate's database": {
        "locked for a minute": ("database locked for a minute", "database locked"),
        "another program writes all the time": ("busy writer",),
        "migrated or replaced while open": ("event table rebuilt", "database replaced while open"),
        "a column missing": ("a column dropped and added", "a needed column missing"),
        "an additional column": ("columns added",),
        "rows deleted before we read them": ("rows deleted before they are read",),
        "a malformed row": ("malformed rows", "an event id that is no text"),
        "1,000,000 events in the window": (
            "1,000,000 events in the window", "20,000 events in the window"),
        "`has_snapshot` without a file": ("has_snapshot without a file",),
        "retention of 0 days": ("retention of 0 days",),
        "an event that ends before our child is up": ("events end before the mirror is up",),
        "end_time in the future, NULL, backdated": (
            "times of any kind", "an event older than the window ends"),
    },
    "Names": {
        "cameras and labels with any name, allowed or not": (
            "cameras and labels of any name", "camera names that lead outside"),
        "event ids of every form that a number can have": (
            "event ids of any form", "texts that are no event ids"),
        "symlinks and FIFOs in clips": (
            "links and pipes for pictures", "links and pipes in the spool",
            "links and pipes for state files"),
        "the mirror reads no file outside the media folder, writes no key outside the prefix, "
        "and nobody can forge a line of its log": ("names",),
    },
    "Every loss is told": {
        "a ledger of an older version with a queue": (
            "a ledger of the first version, with pending pictures",),
        "a ledger of a newer version is refused and kept": ("a ledger of a newer version",),
        "a state folder that is read-only or full from one start to the next": ("ledger_places",),
        "`backfill` beside a running mirror whose ledger is sound, damaged or deleted": ("beside",),
        "objects of other kinds in the bucket": (
            "objects of other kinds, ledger lost",
            "objects of other kinds, rebuild beside the mirror"),
        "a new or emptied bucket": (
            "bucket emptied, then verified", "bucket emptied between two lives"),
        "half a snapshot, and a snapshot that Frigate writes again": ("pictures",),
        "a loss shows in health until it is acknowledged or retried": ("losses",),
        "health is never OK while an offered event is missing": (EVERYWHERE,),
    },
    "All files of an event": {
        "snapshot, thumbnail, clip and metadata agree with each other and with Frigate": (
            "kinds",),
        "recordings deleted while a clip is made": ("recordings deleted while a clip is made",),
        "ffmpeg killed": ("ffmpeg is killed",),
        "ffmpeg hung": ("ffmpeg hangs", "ffmpeg hangs for its whole minute"),
        "ffmpeg missing": ("there is no ffmpeg", "ffmpeg goes away and comes back"),
        "ffmpeg writes rubbish": (
            "ffmpeg writes rubbish", "ffmpeg fails", "ffmpeg does anything"),
        "a full disk in the middle of a clip": (
            "no space for clips", "no space for pictures while clips are held"),
        "the child killed at every step": (
            "the mirror dies at every step", "the mirror dies at every step, without ffmpeg",
            "the mirror dies with the only copy of a clip",
            "the mirror is killed while ffmpeg works"),
        "event rows changed or deleted while they are read": (
            "rows change while they are read", "rows are deleted while they are read"),
        "retention deletes rows, recordings and pictures": (
            "Frigate deletes all of an event whose files are in the bucket",
            "Frigate deletes all of an event whose files wait in an outage"),
        "2,000 events": ("2,000 events with all files",),
    },
    "The companion": {
        "broker killed": ("broker killed", "no broker when the companion starts"),
        "broker restarted without its store": (
            "broker restarted without its store", "connections to the broker cut"),
        "broker slow": ("broker slow",),
        "broker floods 50,000 messages": ("broker floods 50,000 messages",),
        "API down": ("API down", "Frigate restarts with its API"),
        "401 again and again": ("API ends its sessions", "API answers 401 after each login"),
        "500 and 503": ("API answers 500", "API answers 503", "API answers anything"),
        "truncated clips": ("clips cut short",),
        "hanging downloads": ("downloads hang",),
        "rclone killed": ("rclone killed",),
        "rclone hung": ("rclone hangs",),
        "remote full": ("remote full",),
        "token expired": ("token expired",),
        "the destination is away": ("remote away", "bucket of the companion away"),
        "companion killed at random moments, 200 times": (
            "companion killed at random moments, s3", "companion killed at random moments, local",
            "companion killed at random moments, webdav"),
        "companion stopped in good order": ("companion stopped and started", EVERYWHERE),
        "several companions on one Frigate, each with its destination": (
            "three companions, undisturbed", "three companions ask for clips at the same time"),
        "the clock jumps": (
            "the companion's clock steps by hours", "the companion's clock leaps as it starts"),
        "no file at a destination is shorter than its source, at any look": ("companion",),
    },
}  # fmt: skip


def named() -> set[str]:
    """Every fault that the table names, also those of its groups."""
    return {fault for lines in ASKED.values() for names in lines.values() for fault in _all(names)}


def _all(names: Iterable[str]) -> list[str]:
    """The faults with these names; the name of a group stands for all faults of the group."""
    known = groups()
    return [
        fault for name in names
        for fault in ([one.name for one in known[name]] if name in known else [name])
    ]  # fmt: skip


def markdown(runs: Mapping[str, int], skipped: Mapping[str, str]) -> str:
    """The table. `runs` counts the runs of each fault alone. `skipped` says why there were none."""
    lines = [TRIED, "| situation | faults that test it | runs of one fault |", "|---|---|---:|"]
    for area, asked in ASKED.items():
        lines.append(f"| **{area}** | | |")
        for line, names in asked.items():
            faults = [one for one in _all(names) if one != EVERYWHERE]
            told = ", ".join(f"{name} (whole group)" if name in groups() else name
                             for name in names)  # fmt: skip
            count = sum(runs.get(one, 0) for one in faults)
            number = str(count) if faults else ""
            left = sorted({skipped[one] for one in faults if one in skipped})
            said = f"{number} (skipped in part: {', '.join(left)})" if left else number
            lines.append(f"| {line} | {told} | {said} |")
    return "\n".join(lines) + "\n"
