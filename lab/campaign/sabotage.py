"""The program broken on purpose, in ways in which programs of this kind are often broken.

Each row replaces exact texts; a text that does not stand in its file exactly once is an error. A
row names the faults or tests that should notice, the likeliest one first. A test is named as in
pytest: "tests/test_keys.py::test_such_and_such". The names of the rows complete the words "The
program was broken so that ...", and stand in the published report.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.rig import ROOT

UPLOADER, LEDGER, MIRROR, DATABASE, SNAPSHOTS, FILES, INTAKE, SWEEP, SPOOL, FOLDERS, STATUS = (
    f"frigate_mirror/{one}.py"
    for one in (
        "upload/uploader", "ledger/ledger", "mirror", "frigate/database", "frigate/snapshots",
        "files", "intake/intake", "intake/sweep", "spool", "ledger/folders", "report/status",
    )
)  # fmt: skip
EVENTS = "frigate_mirror/frigate/events.py"
HOOK, DIRECT = "frigate_s3_patcher.py", "frigate_mirror/sinks/s3/direct.py"
MQTT, RCLONE = "frigate_mirror/sources/mqtt.py", "frigate_mirror/sinks/rclone/daemon.py"
BACKFILL, UNDO, TABLE_OF_RECORDINGS, FOLDER_OF_RECORDINGS = (
    f"frigate_mirror/restore/{one}.py"
    for one in ("backfill", "undo", "recordings_table", "recordings_folder")
)
TRIAL = "tests/test_campaign_backfill.py::test_each_row_is_right_and_each_run_tells_the_truth"
LEFT_OUT = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "vendor")
KILLS, LOST = "kill -9 at random moments", "success answer lost"


class PatchError(Exception):
    """A text of the table does not stand in its file exactly once."""


@dataclass(frozen=True)
class Sabotage:
    """One way to break the program. `patches` are (file, text, the text that replaces it).
    `noticed_by` names faults, `A + B` for a pair, and tests."""

    name: str
    patches: tuple[tuple[str, str, str], ...]
    noticed_by: tuple[str, ...]


def _one(name: str, file: str, old: str, new: str, *noticed_by: str) -> Sabotage:
    return Sabotage(name, ((file, old, new),), noticed_by)


TABLE = (
    _one("an upload is settled before the put returns", UPLOADER,
         "            receipt = self._sink.put(\n",
         "            self._ledger.settle([Settled(0.0, artifact.id, artifact.key,\n"
         "                                         version=artifact.version)])\n"
         "            receipt = self._sink.put(\n",
         "connection reset"),
    Sabotage("a crash forgets what was being uploaded", (
        (LEDGER, "                        self._claimed.add(artifact_id)\n",
         "                        self._claimed.add(artifact_id)\n"
         "                        self._database._sql.execute(\"UPDATE artifact SET "
         "state = 'failed' WHERE id = ?\", (artifact_id,))\n"),
        (LEDGER, "            self._claimed.difference_update(artifact_ids)\n",
         "            self._claimed.difference_update(artifact_ids)\n"
         "            for one in artifact_ids:\n"
         "                self._database._sql.execute(\"UPDATE artifact SET state = 'pending' "
         "WHERE id = ? AND state = 'failed'\", (one,))\n"),
        (LEDGER, 'self._decide(artifact_id, "pending", change, due,',
         "self._decide(artifact_id, \"failed\", \"state = 'pending', \" + change, due,"),
    ), (f"{KILLS} + black hole", KILLS)),
    _one("the sweep sees only events that start after the sweep before", SWEEP,
         "sum(self._intake.sweep(*span) for span in self._window.spans(now))",
         "self._intake.sweep(getattr(self, 'cursor', now)); self.cursor = now",
         "a library is missing", KILLS),
    _one("there is no sweep, only the hook", SWEEP,
         "sum(self._intake.sweep(*span) for span in self._window.spans(now))", "0",
         "a library is missing", KILLS),
    _one("an upload that failed is given up", UPLOADER,
         "        self._ledger.defer(entry.artifact.id, due, fault.message, charged=charged)\n",
         "        self._ledger.lose(entry.artifact.id, fault.message, due)\n",
         "connection reset"),
    _one("an outage costs the pictures their tries", UPLOADER,
         "        except Rejected as error:\n", "        except SinkError as error:\n",
         "503 SlowDown", "500 InternalError"),
    _one("an unknown error counts as the picture's fault", "frigate_mirror/sinks/s3/codes.py",
         "    return Unavailable, hint\n", "    return Rejected, hint\n",
         "unheard-of code", "wrong XML"),
    _one("nothing is held in the spool", SPOOL,
         "        if not room.limit:\n            return\n", "        return\n",
         "black hole", "1 KB/s"),
    _one("the key contains the time of the upload", UPLOADER,
         "                artifact.key,\n                body,\n",
         "                f'-{time.time():.0f}.'.join(artifact.key.rsplit('.', 1)),\n"
         "                body,\n",
         LOST, KILLS),
    _one("any answer with status 200 counts as stored", "s3.py",
         "        if not confirmed:\n", "        if False:\n",
         "captive portal"),
    Sabotage("the body is sent without a digest", (
        (DIRECT, 'return {"ContentMD5": b64encode(body.md5).decode("ascii")}', "return {}"),
        (DIRECT, 'return {"ChecksumSHA256": b64encode(body.sha256).decode("ascii")}', "return {}"),
    ), ("corrupted body",)),
    Sabotage("certificates are not verified", (
        ("frigate_mirror/sinks/s3/boto.py", "verify=settings.ca_bundle or None,", "verify=False,"),
        ("frigate_mirror/sinks/s3/pool.py",
         "ssl.create_default_context(cafile=self.endpoint.ca_file)",
         "ssl._create_unverified_context()"),
    ), ("certificate nobody trusts", "certificate expired")),
    _one("replaced credentials are never read", "s3.py",
         "if fresh.first == stale.first:\n", "if True:\n",
         "credentials rotated"),
    _one("the stop marks everything as uploaded", MIRROR,
         "        self.uploader.stop(max(0.0, until - time.monotonic()))\n",
         "        self.uploader.stop(max(0.0, until - time.monotonic()))\n"
         "        self.ledger._database.change(\"UPDATE artifact SET state = 'uploaded'\", ())\n",
         "connection refused + clean stop"),
    _one("at the start everything counts as uploaded", MIRROR,
         "        self.uploader.start(self._settings.upload.threads)\n",
         "        self.uploader.start(self._settings.upload.threads)\n"
         "        ids = [one for page in self.catalog.window(0.0) for one in page]\n"
         "        self.ledger.add_settled((f'snapshot:{one}', 'c', 'k', 9e9, 9e9, "
         "'uploaded', 0, '') "
         "for one in ids)\n",
         "Frigate killed", KILLS),
    _one("a silent service is given up only after the settings' longest time", "s3.py",
         "silence = min(patience.silence, settings.read_timeout)",
         "silence = settings.read_timeout",
         "a kept connection dies silently"),
    _one("half of the picture is sent", "s3.py",
         "source = Body(body)\n",
         "source = Body(__import__('io').BytesIO(body.read()[: 1 << 15]))\n",
         "SIGTERM"),
    _one("the clean copy is taken for the snapshot", SNAPSHOTS,
         '    (".jpg", "image/jpeg"),\n    ("-clean.webp", "image/webp"),\n',
         '    ("-clean.webp", "image/webp"),\n    (".jpg", "image/jpeg"),\n',
         "SIGTERM", "clean stop", "SIGSTOP"),
    _one("keys leave out the prefix", "frigate_mirror/keys.py",
         "            prefix=self.prefix,\n", '            prefix="",\n',
         "SIGTERM", "clean stop", "SIGSTOP"),
    _one("Frigate's end is not noticed", "frigate_mirror/process/child.py",
         "return self._pipe.ended or self.is_gone",
         "return bool(self._pipe.ended and __import__('time').sleep(0.5)) or self.stop.wanted",
         "clean stop"),
    _one("the hook does not write its last line", HOOK, "os.write(writing, END)", "pass",
         "event thread crashes under forks"),
    _one("a forked process of Frigate delays the next start of the mirror", HOOK,
         "        child = os.posix_spawnp(",
         "        import subprocess as s\n"
         "        return s.Popen(command, stdin=reading, env=environment).wait()\n"
         "        child = os.posix_spawnp(",
         "mirror killed while Frigate forks"),
    _one("Frigate waits for the mirror", HOOK,
         "        self._stopping.set()\n", "        self._stopping.set()\n        time.sleep(15)\n",
         "clean stop"),
    _one("no thread is reserved for live events", UPLOADER,
         "LIVE_THREADS = 2\n", "LIVE_THREADS = 0\n",
         "two uploads hang"),
    # -- the disk
    Sabotage("a row that the ledger refused counts as queued", (
        (LEDGER, "        row = (*row_of(artifact), priority, now if ",
         "        self.__dict__.setdefault('seen', set()).add(artifact.id)\n"
         "        row = (*row_of(artifact), priority, now if "),
        (LEDGER, "        return [artifact_id for artifact_id in artifact_ids if ",
         "        known |= self.__dict__.get('seen', set())\n"
         "        return [artifact_id for artifact_id in artifact_ids if "),
    ), ("no space for the ledger", "no space at all")),
    _one("a held file is never opened", SPOOL,
         "return open_regular(self.path(artifact_id))",
         "raise FileNotFoundError",
         "black hole", "connection refused"),
    _one("a picture that only the spool still holds is not found", SNAPSHOTS,
         " or _in_spool(held)", "",
         "tests/test_intake.py::test_the_spool_is_adopted_as_soon_as_the_database_can_be_read"),
    _one("a picture that cannot be read is given up", UPLOADER,
         "        except OSError as error:\n            self._unreadable(entry, error)\n"
         "        else:\n",
         "        except OSError:\n            self._lose(entry)\n        else:\n",
         "tests/test_uploader.py::test_a_picture_that_cannot_be_read_now_stays_in_the_queue"),
    # -- Frigate's database and its rows
    _one("a read asks for a column that is missing", DATABASE,
         "return present.intersection(COLUMNS)",
         "return frozenset(COLUMNS)",
         "a column dropped and added"),
    _one("a database that was away is never read again", DATABASE,
         "            self._failed = True\n",
         "            self._failed = True\n            self._path = Path('/nowhere')\n",
         "database replaced while open", "a needed column missing"),
    _one("invalid JSON in one row ends the sweep", EVENTS,
         "        except (TypeError, ValueError, RecursionError):\n            value = None\n",
         "        except TypeError:\n            value = None\n",
         "malformed rows"),
    _one("a late picture is given up at once", INTAKE,
         "looks = FILE_LOOKS if priority is Priority.BACKLOG else 1", "looks = FILE_LOOKS",
         "tests/test_intake.py::test_a_picture_that_is_written_late_is_looked_for_and_found"),
    _one("an event without an end is ignored", EVENTS,
         "return self.ended is not None or not self.tracked",
         "return self.ended is not None",
         "times of any kind"),
    _one("the picture of a tracked object is taken before its event has ended", EVENTS,
         "return self.ended is not None or not self.tracked",
         "return True",
         "times of any kind"),
    # -- names
    Sabotage("symbolic links are followed", (
        (FILES, "        status = os.lstat(path)\n", "        status = os.stat(path)\n"),
        (FILES, "os.O_RDONLY | os.O_NOFOLLOW | ", "os.O_RDONLY | "),
    ), ("links and pipes for pictures",)),
    _one("opening a named pipe waits for its writer", FILES,
         "os.O_NOFOLLOW | os.O_NONBLOCK | ", "os.O_NOFOLLOW | ",
         "tests/test_spool.py::test_a_pipe_or_a_folder_swapped_in_is_refused_and_not_waited_for"),
    _one("a slash in a camera's name is allowed", EVENTS,
         ' or "/" in self.camera or ', " or ",
         "camera names that lead outside"),
    _one("keys contain camera names as they are", "frigate_mirror/keys.py",
         '    quoted = quote(camera, safe="", errors="surrogatepass")\n', "    quoted = camera\n",
         "cameras and labels of any name"),
    _one("the log contains camera names as they are", UPLOADER,
         "camera, kb = quote_camera(artifact.camera), ",
         "camera, kb = artifact.camera, ",
         "cameras and labels of any name"),
    # -- what hides
    _one("every object of an event is taken for its snapshot", "frigate_mirror/ledger/repair.py",
         "        yield (parts.artifact_id, ", "        yield (f'snapshot:{parts.event_id}', ",
         "objects of other kinds, ledger lost"),
    _one("a newer ledger counts as damaged", "frigate_mirror/ledger/database.py",
         "            raise LedgerNewer(\n", "            raise LedgerDamaged(\n",
         "a ledger of a newer version"),
    _one("the migration leaves out the queue of an older ledger", "frigate_mirror/ledger/schema.py",
         'FROM old")', "FROM old WHERE state != 'pending'\")",
         "a ledger of the first version, with pending pictures"),
    _one("the ledger in the other state folder is ignored", FOLDERS,
         "        if folder == state.folder or not os.path.exists(other):\n", "        if True:\n",
         "state folder read-only for one life, in an outage",
         "the ledger becomes read-only with pending pictures"),
    _one("a command replaces the ledger of a running mirror", FOLDERS,
         "        ledger = Ledger(folder / LEDGER_NAME, alone=False)\n",
         "        ledger = _open_in(folder, settings)\n",
         "tests/test_folders.py::test_a_command_beside_a_running_mirror_never_puts_its_ledger_aside"),
    _one("the last hour's events are never compared with what was uploaded", SWEEP,
         "self._tell_changed(self._intake.look_for_changes(recent))", "pass",
         "a picture written anew after its upload"),
    _one("`backfill --verify` compares and uploads nothing", "frigate_mirror/commands/backfill.py",
         "    again = mirror.intake.look_for_files(absent)\n", "    again = len(absent)\n",
         "bucket emptied, then verified"),
    _one("the status does not say that the bucket was emptied", "frigate_mirror/upload/checks.py",
         'self._troubles.note("bucket", trouble if missing else "")',
         'self._troubles.note("bucket", "")',
         "bucket emptied between two lives"),
    _one("events from before a jump of the clock are never swept",
         "frigate_mirror/intake/window.py",
         "        if last < since and not any(", "        if last < 0 and not any(",
         "the clock jumps from 1970 to now"),
    _one("losses do not change the health", STATUS,
         '            (self.counts.lost, "were lost"),\n', "",
         "spool full while retention takes pictures"),
    _one("the statistics line leaves out what was lost", LEDGER,
         "counts.uploaded, counts.failed + counts.lost", "counts.uploaded, counts.failed",
         "spool full while retention takes pictures"),
    _one("acknowledged dead letters still keep health from OK", LEDGER,
         "SET acknowledged = 1 WHERE", "SET acknowledged = acknowledged WHERE",
         "spool full while retention takes pictures",
         "refused for good, then acknowledged or tried again"),
    # -- the companion
    _one("nobody looks whether rclone still lives", RCLONE,
         "                self._check_alive()\n", "                pass\n",
         "rclone hangs"),
    _one("a clip of the API is not measured", "frigate_mirror/frigate/remote_clips.py",
         "            if movie.duration >= planned - TOLERANCE:\n", "            if True:\n",
         "clips cut short"),
    _one("all companions ask for a clip in the same words",
         "frigate_mirror/frigate/remote_clips.py",
         "EARLIER = 0.01 ", "EARLIER = 0.0 ",
         "three companions ask for clips at the same time"),
    Sabotage("the companion does not catch up when the broker is back", (
        (MQTT, "        self._catch_up()  # from now on no message is missed; "
               "before, some may have been\n", ""),
        (MQTT, "            self._acknowledge(message)\n            self._catch_up()\n",
         "            self._acknowledge(message)\n"),
    ), ("broker killed",)),
    _one("the companion does not read the end of an event", MQTT,
         '[after["id"]] if document["type"] == "end" else []', "[]",
         "three companions, undisturbed"),
    # -- the backfill of recordings
    Sabotage("rows are added before the undo file has them", (
        (BACKFILL, "        self._undo.note(rows)  # before they are there, so that a kill loses "
                   "none of them\n", ""),
        (BACKFILL, "        return _patiently(lambda: self._table.add(camera, rows, measured))\n",
         "        added = _patiently(lambda: self._table.add(camera, rows, measured))\n"
         "        self._undo.note(rows)\n"
         "        return added\n"),
    ), (f"{TRIAL}[killed at random moments]",)),
    _one("rows that could not be added count as added", BACKFILL,
         "        return _patiently(lambda: self._table.add(camera, rows, measured))\n",
         "        try:\n"
         "            return _patiently(lambda: self._table.add(camera, rows, measured))\n"
         "        except TableError:\n"
         "            return {row.path for row in rows}\n",
         f"{TRIAL}[disk full]"),
    _one("half a line stays in an undo file when the disk is full", UNDO,
         "                os.ftruncate(self._file, self._size)\n", "                pass\n",
         f"{TRIAL}[disk full, undo files only]",
         "tests/test_backfill.py::test_a_line_that_a_full_disk_has_cut_does_not_spoil_later_ones"),
    _one("a database that was replaced is written to all the same", TABLE_OF_RECORDINGS,
         "            if _inode(self._path) != self._inode:\n", "            if False:\n",
         f"{TRIAL}[database replaced]"),
    _one("a lock of Frigate's database ends the backfill", BACKFILL,
         "            if time.monotonic() > until:\n", "            if True:\n",
         "tests/test_backfill.py::test_a_database_that_is_locked_is_waited_for"),
    _one("recordings that are unmounted count as no recordings", BACKFILL,
         "        self._folder.check()\n", "",
         f"{TRIAL}[recordings folder vanishes]"),
    _one("a folder that vanishes ends the backfill", FOLDER_OF_RECORDINGS,
         "            except FileNotFoundError:\n                continue\n"
         "            except OSError as error:\n                yield Strange(place, ",
         "            except IsADirectoryError as error:\n                yield Strange(place, ",
         f"{TRIAL}[recordings folder changes]"),
    _one("links lead the backfill out of the recordings folder", FOLDER_OF_RECORDINGS,
         "        if not os.path.islink(place) or self._is_inside(os.path.realpath(place)):\n",
         "        if True:\n",
         f"{TRIAL}[hostile names]"),
    _one("the backfill prints names as they are", BACKFILL,
         "plain(outcome.file_path), outcome.status", "outcome.file_path, outcome.status",
         f"{TRIAL}[hostile names]"),
    # -- the hook
    _one("the hook keeps every id in memory", HOOK,
         "        if self._writing < 0:\n            return\n",
         "        self.__dict__.setdefault('ids', []).append(event_id)\n"
         "        if self._writing < 0:\n            return\n",
         "100,000 calls of the hook"),
    _one("the hook prints to the standard output", HOOK,
         "        if self._writing < 0:\n            return\n",
         "        print(event_id)\n        if self._writing < 0:\n            return\n",
         "behind the hook: no start"),
    _one("the hook waits while the pipe is full", HOOK,
         "        os.set_blocking(self._writing, False)\n", "",
         "100,000 calls of the hook"),
)  # fmt: skip


def broken_copy(sabotage: Sabotage, folder: Path) -> Path:
    """Makes a broken copy of the project in `folder`. Raises PatchError."""
    broken = broken_files(sabotage)
    copy(folder)
    for file, text in broken.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def broken_files(sabotage: Sabotage) -> dict[str, str]:
    """The new text of every file that the sabotage changes. Raises PatchError."""
    broken: dict[str, str] = {}
    for file, old, new in sabotage.patches:
        text = broken.get(file) or (ROOT / file).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise PatchError(f"{sabotage.name}: {text.count(old)} times in {file}: {old!r}")
        broken[file] = text.replace(old, new)
    return broken


def copy(folder: Path) -> None:
    """Copies the whole project: the program, its tests, and the files that these read."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    if (ROOT / "vendor").is_dir():
        os.symlink((ROOT / "vendor").resolve(), folder / "vendor")


def is_test(name: str) -> bool:
    """Whether a name of `noticed_by` is that of a test."""
    return "::" in name
