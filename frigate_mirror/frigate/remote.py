"""The catalog and the kinds over Frigate's HTTP API; `kinds` has those that read its files."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from frigate_mirror.artifact import Known
from frigate_mirror.catalog import Kind
from frigate_mirror.files import own_folder, remove_abandoned
from frigate_mirror.frigate.api import ApiError, FrigateApi, api_of
from frigate_mirror.frigate.api_catalog import ApiCatalog
from frigate_mirror.frigate.documents import Documents
from frigate_mirror.frigate.remote_clips import RemoteClips
from frigate_mirror.frigate.remote_pictures import RemoteSnapshots, RemoteThumbnails
from frigate_mirror.keys import CLIP, METADATA, SNAPSHOT, THUMBNAIL
from frigate_mirror.settings.settings import Settings

ASK_EVERY, ASK_AGAIN = 3_600.0, 10.0  # seconds between two questions for Frigate's version


def over_api(
    settings: Settings,
    asked: Mapping[str, bool],
    since: float,
    known: Callable[[Collection[str]], Mapping[str, Known]],
    note_digest: Callable[[str, str], None],
    stopping: Callable[[], bool],
) -> tuple[ApiCatalog, list[Kind[Any]]]:
    """Returns the catalog and the kinds of the Frigate that the settings name. `asked` are the
    options of `ApiCatalog` that are true or false, by their names, and `since` is its
    `ended_from`. Once `stopping` returns true, Frigate is asked nothing more. Raises ApiError."""
    api = api_of(settings.companion, stopping=stopping)
    catalog = ApiCatalog(
        api, settings.sweep.batch_size, **asked, ended_from=since, version=Version(api)
    )
    return catalog, remote_kinds_of(settings, api, catalog, known, note_digest)


def remote_kinds_of(
    settings: Settings,
    api: FrigateApi,
    catalog: ApiCatalog,
    known: Callable[[Collection[str]], Mapping[str, Known]],
    note_digest: Callable[[str, str], None],
    clock: Callable[[], float] | None = None,
) -> list[Kind[Any]]:
    """Returns the kinds that the settings choose. See `kinds.kinds_of`. `clock` gives Unix
    seconds; by default it is Frigate's, because a clip is ready so long after the end of its event,
    and Frigate's clock tells that end."""
    chosen = settings.kinds
    keys = settings.keys.codec
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
            clock=clock or api.now,
        ),
    }
    kinds = [makers[name]() for name in order if name != METADATA]
    if METADATA in chosen.kinds:
        kinds.append(Documents(catalog, keys, kinds, known, note_digest, Version(api)))
    return kinds


class Version:
    """Frigate's version, which is asked for now and then, because somebody may update Frigate."""

    def __init__(self, api: FrigateApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._known, self._asked = "", -ASK_EVERY

    def __call__(self) -> str:
        """Returns the version, or an empty text as long as Frigate has never answered."""
        if self._clock() - self._asked >= (ASK_EVERY if self._known else ASK_AGAIN):
            self._asked = self._clock()
            with suppress(ApiError):
                self._known = self._api.version()
        return self._known
