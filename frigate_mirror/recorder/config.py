"""The recorder's configuration: a YAML file, as /etc/camera-backup/config.yaml.

What concerns the mirror becomes its settings (`settings.settings`), so that everything that is
known of them, their parsers and their secrets in files, counts here, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from frigate_mirror.recorder.camera import DEFAULT_PORTS, Camera
from frigate_mirror.recorder.yaml_reader import Faults, Section, read_file
from frigate_mirror.settings import parse, settings
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.settings import Settings, SettingsError

HOME = Path("/var/lib/camera-backup")
CONFIG = Path("/etc/camera-backup/config.yaml")
CAMERA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
PLACEHOLDER = re.compile(r"\bYOUR_[A-Z_]+|\bcamera-ip\b|//username:password@")
YEARS = 3_650  # days: a segment that lies here is looked at however old it is
OF_S3 = {
    "access_key_id": "S3_ACCESS_KEY",
    "secret_access_key": "S3_SECRET_KEY",
    "bucket": "S3_BUCKET",
    "endpoint": "S3_ENDPOINT_URL",
    "region": "S3_REGION",
    "prefix": "S3_PATH_PREFIX",
    "ca_file": "S3_CA_BUNDLE",
}
OF_RCLONE = {"remote": "RCLONE_REMOTE", "config": "RCLONE_CONFIG", "program": "RCLONE_PATH"}
OWN = {
    *OF_S3.values(), *OF_RCLONE.values(), "MIRROR_STATE_DIR", "MIRROR_SWEEP_INTERVAL",
    "MIRROR_SWEEP_DAYS", "MIRROR_SPOOL_LIMIT_MB", "MIRROR_CLIP_SPOOL_MB", "FRIGATE_URL",
}  # fmt: skip
"""Variables that the configuration sets itself."""
SECRETS = ("access_key_id", "secret_access_key")
INHERITED = re.compile(r"HOME|PATH|CREDENTIALS_DIRECTORY|AWS_.*|.*_PROXY|.*_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file. `max_size` is in bytes and `max_age` in seconds, 0 where there is no limit.
    `mirror` and `environ` are for the uploader."""

    path: Path
    folder: Path
    max_size: int
    max_age: float
    cameras: tuple[Camera, ...]
    ffmpeg: str
    delete_after_upload: bool
    mirror: Settings
    environ: Mapping[str, str] = field(repr=False)

    @property
    def enabled(self) -> tuple[Camera, ...]:
        return tuple(camera for camera in self.cameras if camera.enabled)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Returns the configuration in `path`. Raises SettingsError, which names every fault with its
    line and never a secret."""
    faults = Faults()
    file = read_file(path, faults)
    storage, recording, upload = (file.section(one) for one in ("storage", "recording", "upload"))
    local = storage.value("local_path", parse.absolute_path, str(HOME / "segments"))
    size = storage.value("max_size", _size, "0")
    age = storage.value("max_age", parse.optional(parse.duration(60, 315_360_000)), "") or 0.0
    seconds = recording.value("segment_duration", parse.whole(10, 86_400), "3600")
    ffmpeg = recording.value("ffmpeg", parse.program, "ffmpeg")
    cameras = [
        replace(camera, folder=local / camera.name, segment_seconds=seconds, ffmpeg=ffmpeg)
        for camera in _cameras(file, environ, faults)
    ]
    delete = upload.value("delete_after_upload", parse.boolean, "true")
    mirror, variables = _mirror(file, storage, upload, local, environ)
    for section in (storage, recording, upload, file):
        section.finish()
    if faults.found or mirror is None:
        raise SettingsError(faults.sentences())
    return Config(
        path=path, folder=local, max_size=size, max_age=age, cameras=tuple(cameras),
        ffmpeg=ffmpeg, delete_after_upload=delete, mirror=mirror, environ=variables,
    )  # fmt: skip


def _cameras(file: Section, environ: Mapping[str, str], faults: Faults) -> list[Camera]:
    found: list[Camera] = []
    names: dict[str, str] = {}
    for section in file.sections("cameras"):
        name = section.text("name")
        if not CAMERA.fullmatch(name):
            section.fault("name", "needs 1 to 64 letters, digits, _ or -, a letter or digit first")
        elif other := names.get(name.lower()):
            section.fault("name", f"{other} has this name already, if capitals do not count")
        names.setdefault(name.lower(), section.name)
        enabled = section.value("enabled", parse.boolean, "true")
        url = _url(section, name, enabled=enabled, environ=environ)
        ca_file = section.value("ca_file", parse.readable_file, "")
        verify = section.value("tls_verify", parse.boolean, "true")
        tls = url.reveal().lower().startswith("rtsps:")
        for key in ("ca_file", "tls_verify"):
            if section.has(key) and url and not tls:
                section.fault(key, "belongs to an address that begins with rtsps://")
        if ca_file and not verify:
            section.fault("ca_file", "does nothing while tls_verify is false; remove one of them")
        section.finish()
        found.append(
            Camera(name=name, url=url, enabled=enabled, ca_file=ca_file, tls_verify=verify)
        )
    if not found and not faults.found:
        file.fault("cameras", "name at least one camera")
    return found


def _url(section: Section, name: str, *, enabled: bool, environ: Mapping[str, str]) -> Secret:
    """Returns the address of a camera: from the file, from a file that it names, or from a
    credential of systemd."""
    text, pointer = section.text("rtsp_url"), section.text("rtsp_url_file")
    if text and pointer:
        section.fault("rtsp_url_file", "set either this or rtsp_url, not both")
    credential = Path(environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent", f"rtsp_url.{name}")
    if pointer or (not text and credential.is_file()):
        try:
            text = Path(pointer or credential).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            section.fault("rtsp_url_file", "cannot read this file")
            return Secret("")
    key = "rtsp_url_file" if pointer else "rtsp_url"
    if not text:
        section.fault(key, "missing: set the camera's address, as rtsp://user:password@host/path")
    elif enabled and PLACEHOLDER.search(text):
        section.fault(key, "still has the placeholder of the template")
    elif fault := _fault_of(text):
        section.fault(key, fault)
    return Secret(text)


def _fault_of(url: str) -> str:
    """Returns what is wrong with the address of a camera, without repeating it, or an empty
    text."""
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        return "has blanks or other characters than ASCII; write these as %20 and the like"
    if url.partition("://")[0].lower() not in DEFAULT_PORTS:
        return "must begin with rtsp:// or rtsps://"
    try:
        parts = urlsplit(url)
        sound = parts.port != 0 and bool(parse.host(parts.hostname or "?"))
    except ValueError:
        sound = False
    if not sound:
        return (
            "has no right host and port; if the password has a special character, write it as "
            "its code, for example %23 for #, %2F for / and %3F for ?"
        )
    return ""


def _mirror(
    file: Section,
    storage: Section,
    upload: Section,
    local: Path,
    environ: Mapping[str, str],
) -> tuple[Settings | None, dict[str, str]]:
    """Returns the settings of the mirror, and the variables that they are made of."""
    variables = {name: text for name, text in environ.items() if INHERITED.fullmatch(name)}
    places: dict[str, tuple[Section, str]] = {}
    s3, rclone, more = (file.section(one) for one in ("s3", "rclone", "mirror"))
    unreplaced = False
    for section, names in ((s3, OF_S3), (rclone, OF_RCLONE)):
        for key, variable in names.items():
            places[variable] = section, key
            text = section.text(key)
            if PLACEHOLDER.search(text):
                section.fault(key, "still has the placeholder of the template")
                unreplaced = True
            if text:
                variables[variable] = text
            if key in SECRETS and (pointer := section.text(f"{key}_file")):
                variables[f"{variable}_FILE"] = pointer
    if not s3.has("bucket") and not rclone.has("remote"):
        s3.fault("bucket", "missing: set the name of your bucket, or rclone.remote")
    for key in more.names:
        places[key] = more, key
        base = key.removesuffix("_FILE")
        if base in OWN or base not in settings.OF_THE_MIRROR:
            continue  # `finish` says that there is no such setting
        variables[key] = more.text(key)
    interval = upload.value("check_interval", parse.whole(1, 86_400), "300")
    state = storage.value("state_path", parse.absolute_path, str(local.parent / "mirror"))
    variables |= {
        "MIRROR_STATE_DIR": str(state), "MIRROR_SWEEP_INTERVAL": str(interval),
        "MIRROR_SWEEP_DAYS": str(YEARS),
        # The segments are the recorder's own files. It deletes none before it is uploaded.
        "MIRROR_SPOOL_LIMIT_MB": "0", "MIRROR_CLIP_SPOOL_MB": "0",
    }  # fmt: skip
    for section in (s3, rclone, more):
        section.finish()
    try:
        loaded = settings.load(variables)
    except SettingsError as error:
        for fault in error.faults:
            if not (unreplaced and PLACEHOLDER.search(fault)):  # said already
                _note(fault, places, file)
        return None, variables
    # Without a folder of clips the state folder has all of the mirror's files.
    return replace(loaded, state=replace(loaded.state, clips_dir=None)), variables


def _note(fault: str, places: Mapping[str, tuple[Section, str]], file: Section) -> None:
    """Notes a fault of the mirror's settings at the place from which the setting comes."""
    variable, _, sentence = fault.partition(": ")
    section, key = places.get(variable.removesuffix("_FILE"), (file, "mirror"))
    for name, (_, other) in places.items():  # the owner knows the names of the file
        sentence = sentence.replace(name, other)
    section.fault(key, sentence)


def _size(text: str) -> int:
    """Bytes, with a unit such as 500G."""
    match = re.fullmatch(r"(\d{1,12})([KMGT]?)", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 500G or 2T")
    return int(match[1]) * int(1024 ** " KMGT".index(match[2].upper() or " "))
