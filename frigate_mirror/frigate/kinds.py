"""The registry of the kinds: all files of an event of Frigate that the mirror can upload."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from frigate_mirror.artifact import Known
from frigate_mirror.catalog import Kind
from frigate_mirror.files import own_folder, remove_abandoned
from frigate_mirror.frigate import config
from frigate_mirror.frigate.clipmaker import ClipMaker
from frigate_mirror.frigate.clips import Clips
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.documents import Documents
from frigate_mirror.frigate.ffmpeg import Ffmpeg, find_ffmpeg
from frigate_mirror.frigate.snapshots import Snapshots
from frigate_mirror.frigate.thumbnails import Thumbnails
from frigate_mirror.keys import CLIP, METADATA, SNAPSHOT, THUMBNAIL
from frigate_mirror.settings.settings import Settings


def kinds_of(
    settings: Settings,
    database: FrigateDatabase,
    known: Callable[[Collection[str]], Mapping[str, Known]],
    note_digest: Callable[[str, str], None],
    frigate: Callable[[], str],
) -> list[Kind[Any]]:
    """Returns the kinds that the settings choose. The document comes last, because it describes the
    others. `known` and `note_digest` are those of the ledger; `frigate` returns Frigate's version,
    or an empty text."""
    chosen, clips = settings.kinds, settings.frigate.clips_dir
    keys = settings.keys.codec
    order = [name for name in (SNAPSHOT, THUMBNAIL, CLIP, METADATA) if name in chosen.kinds]
    remove_abandoned(settings.state.clips_work_dir)
    makers: dict[str, Callable[[], Kind[Any]]] = {
        SNAPSHOT: lambda: Snapshots(clips, keys),
        THUMBNAIL: lambda: Thumbnails(clips, database, keys),
        CLIP: lambda: Clips(
            database,
            keys,
            partial(_clip_maker, settings),
            padding=chosen.clip_padding,
            longest=chosen.clip_longest,
            most_bytes=chosen.clip_most_mb * 1_000_000,
        ),
    }
    kinds = [makers[name]() for name in order if name != METADATA]
    if METADATA in chosen.kinds:
        kinds.append(Documents(database, keys, kinds, known, note_digest, frigate))
    return kinds


def _clip_maker(settings: Settings) -> ClipMaker | None:
    """Returns what makes clips, or None where there is no ffmpeg. Clips are made beside the
    recordings, whose segments can then be linked."""
    path = find_ffmpeg(config.ffmpeg_path())
    if not path:
        return None
    chosen = settings.kinds
    folder = own_folder(settings.state.clips_work_dir) / "clips"
    return ClipMaker(Ffmpeg(path), folder, chosen.clip_longest, chosen.clip_most_mb * 1_000_000)
