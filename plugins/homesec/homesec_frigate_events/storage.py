"""The storage `s3`: HomeSec's clips in a bucket, or in a service that is compatible with S3.

It uploads as the mirror does, in parts if the file is large, and with a digest that the service
checks. All objects lie below a prefix of its own, and it touches nothing else in the bucket.
"""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from homesec.interfaces import StorageBackend
from homesec.models.storage import StorageUploadResult

from homesec_frigate_events import sidecar
from homesec_frigate_events.models import S3Config

if TYPE_CHECKING:
    from s3 import S3Sink

log = logging.getLogger("homesec_frigate_events")
SCHEME = "s3://"


class S3Storage(StorageBackend):
    """See the module."""

    config_cls = S3Config

    @classmethod
    def create(cls, config: S3Config) -> StorageBackend:
        return cls(config, sink_of(config, os.environ))

    def __init__(self, config: S3Config, sink: S3Sink) -> None:
        self._sink = sink
        self._archive = sink.archive()
        self._expires = config.view_url_expires_s
        self._begin = f"{SCHEME}{config.bucket}/"
        self._prefix = config.prefix.strip("/")
        self._closed = False

    async def put_file(self, local_path: Path, dest_path: str) -> StorageUploadResult:
        """Raises a SinkError, the OSError of reading, and ValueError for a path that leads
        elsewhere."""
        self._check_open()
        key = f"{self._prefix}/{relative(dest_path)}"
        await asyncio.to_thread(self._put, local_path, key)
        uri = f"{self._begin}{key}"
        return StorageUploadResult(storage_uri=uri, view_url=await self.get_view_url(uri))

    async def get_view_url(self, storage_uri: str) -> str | None:
        """Returns a link that works for some days, or None for an object of another storage."""
        try:
            key = self._key(storage_uri)
        except ValueError:
            return None
        if not self._expires:
            return None
        return await asyncio.to_thread(self._archive.link, key, self._expires)

    async def get(self, storage_uri: str, local_path: Path) -> None:
        """Raises FileNotFoundError for an object that does not exist."""
        self._check_open()
        key = self._key(storage_uri)
        local_path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._get, key, local_path)

    async def exists(self, storage_uri: str) -> bool:
        self._check_open()
        try:
            key = self._key(storage_uri)
        except ValueError:
            return False
        return await asyncio.to_thread(
            lambda: any(stored.key == key for stored in self._sink.list(key))
        )

    async def delete(self, storage_uri: str) -> None:
        """Deletes an object. One that does not exist counts as deleted."""
        self._check_open()
        key = self._key(storage_uri)
        left = await asyncio.to_thread(self._archive.delete, [key])
        if left:
            raise OSError(f"delete {key}: {left[key]}")

    async def ping(self) -> bool:
        try:
            await asyncio.to_thread(self._sink.check)
        except Exception as error:  # whatever it is, the storage cannot be reached
            log.warning("the storage s3 cannot be reached: %s", error)
            return False
        return True

    async def shutdown(self, timeout: float | None = None) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("Storage has been shut down")

    def _key(self, storage_uri: str) -> str:
        """Returns the key of an object of ours. Raises ValueError."""
        key = storage_uri.removeprefix(self._begin)
        if key == storage_uri or not key.startswith(f"{self._prefix}/"):
            raise ValueError(f"{storage_uri} is no object of {self._begin}{self._prefix}/")
        relative(key)
        return key

    def _put(self, path: Path, key: str) -> None:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        failed = True
        try:
            with path.open("rb") as body:
                self._sink.put(key, body, content_type=kind, metadata={})
            failed = False
        finally:
            sidecar.note_upload(path, failed)

    def _get(self, key: str, path: Path) -> None:
        partial = path.with_name(f".{path.name}.part")
        try:
            with partial.open("w+b") as file:
                if not self._archive.fetch(key, file):
                    raise FileNotFoundError(f"no object {self._begin}{key}")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def relative(path: str) -> str:
    """Returns the path if it leads to below the folder where it begins. Raises ValueError."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or {"..", "."} & set(path.split("/")):
        raise ValueError(f"invalid dest_path: {path!r}")
    return path


def sink_of(config: S3Config, environ: Mapping[str, str]) -> S3Sink:
    """Returns the bucket. Raises ValueError for settings that cannot be used."""
    from frigate_mirror.settings.settings import SettingsError, load
    from s3 import S3Sink

    unset = [
        f"{field}: the environment variable {name} is not set"
        for field in ("access_key_env", "secret_key_env")
        if (name := getattr(config, field)) and not environ.get(name)
    ]
    if unset:
        raise ValueError(f"storage s3: {'; '.join(unset)}")
    values = {
        "S3_BUCKET": config.bucket,
        "S3_PATH_PREFIX": config.prefix,
        "S3_REGION": config.region,
        "S3_ENDPOINT_URL": config.endpoint_url,
        "S3_ADDRESSING_STYLE": config.addressing_style,
        "S3_CA_BUNDLE": config.ca_bundle,
        "S3_STORAGE_CLASS": config.storage_class,
        "S3_ACCESS_KEY": environ.get(config.access_key_env or "", ""),
        "S3_SECRET_KEY": environ.get(config.secret_key_env or "", ""),
    }
    told = {name: str(value) for name, value in values.items() if value}
    try:
        return S3Sink(load(told).s3, told)
    except SettingsError as error:
        raise ValueError(f"storage s3: {'; '.join(error.faults)}") from error
