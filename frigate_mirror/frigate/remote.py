"""The registry of the kinds over the HTTP API; `kinds` has those that read Frigate's files."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from frigate_mirror.artifact import Known
from frigate_mirror.catalog import Kind
from frigate_mirror.files import own_folder, remove_abandoned
from frigate_mirror.frigate.api import FrigateApi
from frigate_mirror.frigate.api_catalog import ApiCatalog
from frigate_mirror.frigate.documents import Documents
from frigate_mirror.frigate.remote_clips import RemoteClips
from frigate_mirror.frigate.remote_pictures import RemoteSnapshots, RemoteThumbnails
from frigate_mirror.keys import CLIP, METADATA, SNAPSHOT, THUMBNAIL, KeyCodec
from frigate_mirror.settings.settings import Settings


def remote_kinds_of(
    settings: Settings,
    api: FrigateApi,
    catalog: ApiCatalog,
    known: Callable[[Collection[str]], Mapping[str, Known]],
    note_digest: Callable[[str, str], None],
    frigate: str,
    clock: Callable[[], float] = time.time,
) -> list[Kind[Any]]:
    """Returns the kinds that the settings choose. See `kinds.kinds_of`. `clock` gives Unix
    seconds."""
    chosen = settings.kinds
    keys = KeyCodec(settings.s3.prefix, settings.keys.timezone)
    order = [name for name in (SNAPSHOT, THUMBNAIL, CLIP, METADATA) if name in chosen.kinds]
    remove_abandoned(settings.state.clips_work_dir)
    folder = own_folder(settings.state.clips_work_dir)
    makers: dict[str, Callable[[], Kind[Any]]] = {
        SNAPSHOT: lambda: RemoteSnapshots(
            api, folder, keys, always_jpg=settings.companion.snapshot == "jpg"
        ),
        THUMBNAIL: lambda: RemoteThumbnails(api, folder, keys),
        CLIP: lambda: RemoteClips(
            api,
            catalog,
            folder,
            keys,
            padding=chosen.clip_padding,
            longest=chosen.clip_longest,
            most_bytes=chosen.clip_most_mb * 1_000_000,
            clock=clock,
        ),
    }
    kinds = [makers[name]() for name in order if name != METADATA]
    if METADATA in chosen.kinds:
        kinds.append(Documents(catalog, keys, kinds, known, note_digest, frigate))
    return kinds
