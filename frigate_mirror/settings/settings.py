"""The mirror's settings: one frozen object, read once from the environment.

Every setting stands here once, with its variable, its default as one would write it in a compose
file, and a sentence for the README's table (a test holds the two together). A secret can also be
given as `NAME_FILE`, or lie as a file `NAME` in /run/secrets or $CREDENTIALS_DIRECTORY.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from frigate_mirror.settings import parse
from frigate_mirror.settings.parse import Secret, Timetable

RUN_SECRETS = Path("/run/secrets")
LEDGER_NAME = "ledger.db"
LOCK_NAME = "mirror.lock"  # in each state folder; held by the one mirror that runs


class SettingsError(Exception):
    """One or more settings are wrong; `faults` has a sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _setting(env: str, default: str, read: Callable[[str], Any], about: str) -> Any:
    """A field of Settings: its variable, its default as text, its parser, its description."""
    return field(metadata={"env": env, "default": default, "read": read, "about": about})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Seconds, bytes and counts are plain numbers; an empty text means "not set"."""

    # fmt: off
    enabled: bool = _setting("S3_MIRROR_ENABLED", "true", parse.boolean, "`false` switches the mirror off")
    bucket: str = _setting("S3_BUCKET", "", parse.bucket, "name of the bucket; without it the mirror stays off")
    access_key: Secret = _setting("S3_ACCESS_KEY", "", parse.secret, "access key id; without it the standard AWS chain is asked")
    secret_key: Secret = _setting("S3_SECRET_KEY", "", parse.secret, "secret access key")
    session_token: Secret = _setting("S3_SESSION_TOKEN", "", parse.secret, "session token of temporary credentials")
    region: str = _setting("S3_REGION", "us-east-1", parse.region, "region of the bucket")
    endpoint_url: str = _setting("S3_ENDPOINT_URL", "", parse.endpoint, "endpoint of an S3-compatible service")
    prefix: str = _setting("S3_PATH_PREFIX", "", parse.prefix, "what every key begins with")
    addressing_style: str = _setting("S3_ADDRESSING_STYLE", "auto", parse.one_of("auto", "path", "virtual"), "`auto`, `path` or `virtual`")
    ca_bundle: str = _setting("S3_CA_BUNDLE", "", parse.readable_file, "file of certificates to trust instead of the usual ones")
    storage_class: str = _setting("S3_STORAGE_CLASS", "STANDARD_IA", parse.storage_class, "storage class; with a custom endpoint the service's own unless set")
    sse: str = _setting("S3_SSE", "", parse.one_of("", "AES256", "aws:kms"), "server-side encryption: `AES256` or `aws:kms`")
    sse_kms_key_id: str = _setting("S3_SSE_KMS_KEY_ID", "", parse.token, "KMS key for `aws:kms`")
    object_tags: str = _setting("S3_OBJECT_TAGS", "", parse.tags, "tags for every object, as `a=b&c=d`; needs s3:PutObjectTagging")
    bucket_owner: str = _setting("S3_EXPECTED_BUCKET_OWNER", "", parse.account, "refuse a bucket of any other AWS account")
    key_timezone: str = _setting("S3_KEY_TIMEZONE", "UTC", parse.timezone, "IANA time zone of the dates in keys")
    upload_threads: int = _setting("S3_UPLOAD_THREADS", "8", parse.whole(1, 64), "threads that upload whatever is due; two more upload live events only")
    bandwidth: Timetable = _setting("S3_BANDWIDTH_LIMIT", "off", parse.bandwidth, "bytes a second for all but live events: `2M`, or by the hour `08:00,512K 22:00,off`")
    niceness: int = _setting("S3_NICENESS", "10", parse.whole(0, 19), "how far the mirror steps back for the CPU: 0 not at all, 19 farthest")
    batch_size: int = _setting("S3_BATCH_SIZE", "50", parse.whole(1, 10_000), "events that one read of Frigate's database fetches")
    max_failed_retries: int = _setting("S3_MAX_FAILED_RETRIES", "3", parse.whole(1, 1_000), "tries before a file that the service refuses for what it is counts as failed")
    sweep_interval: float = _setting("S3_SWEEP_INTERVAL", "60", parse.seconds(1, 86_400), "seconds between two comparisons of database and ledger")
    sweep_days: float = _setting("S3_SWEEP_DAYS", "7", parse.seconds(0.01, 3_650), "days that a comparison looks back; older events are left alone")
    stats_interval: float = _setting("S3_STATS_INTERVAL", "300", parse.seconds(1, 86_400), "seconds between two statistics lines")
    check_interval: float = _setting("S3_CHECK_INTERVAL", "60", parse.seconds(1, 86_400), "seconds between two connectivity checks")
    connect_timeout: float = _setting("S3_CONNECT_TIMEOUT", "10", parse.seconds(0.1, 600), "seconds until a connection must stand")
    read_timeout: float = _setting("S3_READ_TIMEOUT", "60", parse.seconds(0.1, 3_600), "seconds that the service may be silent; on the direct way at most 8")
    drain_seconds: float = _setting("S3_DRAIN_SECONDS", "5", parse.seconds(0, 300), "seconds left for uploads when Frigate stops")
    spool_limit_mb: int = _setting("S3_SPOOL_LIMIT_MB", "2048", parse.whole(0, 10_000_000), "megabytes that the spool may hold back from deletion; 0: no spool")
    log_level: str = _setting("S3_LOG_LEVEL", "INFO", parse.one_of("DEBUG", "INFO", "WARNING", "ERROR"), "`DEBUG`, `INFO`, `WARNING` or `ERROR`")
    db_path: Path = _setting("FRIGATE_DB_PATH", "/config/frigate.db", parse.absolute_path, "Frigate's database; in Frigate's container its own setting is taken")
    clips_dir: Path = _setting("FRIGATE_CLIPS_DIR", "/media/frigate/clips", parse.absolute_path, "Frigate's folder of snapshots")
    state_dir: Path = _setting("S3_STATE_DIR", "", parse.optional_path, "folder of ledger and status; `s3_mirror` beside Frigate's database unless set")
    # fmt: on

    @property
    def state_dirs(self) -> tuple[Path, ...]:
        """Where the ledger may be: the chosen folder, and the one for when that cannot be
        written, unless both are one."""
        places = (self.state_dir, self.cache_dir / ".s3_mirror")
        return tuple({os.path.realpath(place): place for place in reversed(places)}.values())[::-1]

    @property
    def cache_dir(self) -> Path:
        """Frigate's clips/cache: the state files that people read lie there, and the spool."""
        return self.clips_dir / "cache"

    @property
    def status_path(self) -> Path:
        """In Frigate's own folder, so that every command finds it whatever else was moved."""
        return self.cache_dir / ".s3_status.json"

    @property
    def spool_dir(self) -> Path:
        return self.cache_dir / ".s3_spool"

    @property
    def uploaded_file(self) -> Path:
        return self.cache_dir / ".s3_uploaded_events"

    @property
    def failed_file(self) -> Path:
        return self.cache_dir / ".s3_failed_events"


SECRETS = frozenset({"S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN"})


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`; raises SettingsError that names every fault, never a secret."""
    faults: list[str] = []
    values: dict[str, Any] = {}
    for item in dataclasses.fields(Settings):
        name = item.metadata["env"]
        try:
            text = _text_of(name, environ) or item.metadata["default"]
            values[item.name] = item.metadata["read"](text)
        except ValueError as fault:
            faults.append(f"{name}: {fault}")
    faults += _contradictions(values)
    if faults:
        raise SettingsError(faults)
    if values["state_dir"] == Path():
        values["state_dir"] = values["db_path"].parent / "s3_mirror"
    if not environ.get("S3_STORAGE_CLASS", "").strip() and not _is_aws(values["endpoint_url"]):
        values["storage_class"] = ""
    return Settings(**values)


def _is_aws(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or "amazonaws.com"
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn")) or host == "amazonaws.com"


def secret_of(name: str, environ: Mapping[str, str]) -> Secret:
    """A secret as it is now: read again, so that a rotated file is noticed. Raises ValueError."""
    return parse.secret(_text_of(name, environ))


def _text_of(name: str, environ: Mapping[str, str]) -> str:
    text = environ.get(name, "").strip()
    if name not in SECRETS:
        return text
    pointer = environ.get(f"{name}_FILE", "").strip()
    if text and pointer:
        raise ValueError(f"set either {name} or {name}_FILE, not both")
    if text:
        return text
    if pointer:
        # Not by its name: some put the secret itself there.
        return _read_secret(pointer, f"the file that {name}_FILE names")
    for folder in (str(RUN_SECRETS), environ.get("CREDENTIALS_DIRECTORY", "").strip()):
        path = os.path.join(folder, name)
        if folder and os.path.isfile(path):
            return _read_secret(path, path)
    return ""


def _read_secret(path: str, called: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read {called}: {error.strerror}") from None
    except ValueError:  # no UTF-8, or no path that could exist
        raise ValueError(f"cannot read {called}: not text") from None
    if not text:
        raise ValueError(f"{called} is empty")
    return text


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Faults that only two settings together make."""
    faults = []
    access, secret = values.get("access_key"), values.get("secret_key")
    if access and secret is not None and not secret:
        faults.append("S3_SECRET_KEY: missing, though S3_ACCESS_KEY is set")
    if secret and access is not None and not access:
        faults.append("S3_ACCESS_KEY: missing, though S3_SECRET_KEY is set")
    if values.get("session_token") and access is not None and not access:
        faults.append("S3_SESSION_TOKEN: needs S3_ACCESS_KEY and S3_SECRET_KEY")
    if values.get("sse_kms_key_id") and values.get("sse") != "aws:kms":
        faults.append("S3_SSE_KMS_KEY_ID: needs S3_SSE=aws:kms")
    return faults
