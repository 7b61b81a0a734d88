"""The mirror's settings, read once from the environment.

Each part of the program has a part of the settings: a small frozen object. To add a part, write its
class and name it in `Settings`. Each setting stands here once, with its variable, its default as
one would write it in a compose file, and a sentence for the table in docs/settings.md. A setting about
S3 is called S3_*, one about rclone RCLONE_*, as rclone's own variables, one about notices NOTIFY_*,
and one about the mirror, for any destination, MIRROR_*. The last argument of some settings is an
older name, which still works.

A setting of the type Secret never prints. It can also be given as `NAME_FILE`, or lie as a file
`NAME` in /run/secrets or $CREDENTIALS_DIRECTORY.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from frigate_mirror.keys import INSIDE, READABLE, KeyCodec
from frigate_mirror.policy import Policy
from frigate_mirror.settings import parse
from frigate_mirror.settings.parse import Names, Timetable
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.variables import setting, variables_of

LEDGER_NAME = "ledger.db"
AUTO = "AUTO"  # the value of S3_STORAGE_CLASS that lets the sink choose by size


class SettingsError(Exception):
    """One or more settings are wrong; `faults` has a sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


# Seconds, bytes and counts are plain numbers; an empty text means "not set".
# fmt: off


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """The child process."""

    enabled: bool = setting("MIRROR_ENABLED", "true", parse.boolean, "`false` switches the mirror off", "S3_MIRROR_ENABLED")
    niceness: int = setting("MIRROR_NICENESS", "10", parse.whole(0, 19), "the mirror's priority for the CPU: 0 is Frigate's own, 19 the lowest", "S3_NICENESS")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """The bucket, and how it is reached."""

    bucket: str = setting("S3_BUCKET", "", parse.bucket, "name of the bucket; without it the mirror stays off")
    access_key: Secret = setting("S3_ACCESS_KEY", "", parse.secret, "access key id; without it the standard AWS chain gives the credentials")
    secret_key: Secret = setting("S3_SECRET_KEY", "", parse.secret, "secret access key")
    session_token: Secret = setting("S3_SESSION_TOKEN", "", parse.secret, "session token of temporary credentials")
    region: str = setting("S3_REGION", "us-east-1", parse.region, "region of the bucket")
    endpoint_url: str = setting("S3_ENDPOINT_URL", "", parse.endpoint, "endpoint of an S3-compatible service")
    prefix: str = setting("S3_PATH_PREFIX", "", parse.prefix, "prefix of every object's key")
    addressing_style: str = setting("S3_ADDRESSING_STYLE", "auto", parse.one_of("auto", "path", "virtual"), "`auto`, `path` or `virtual`")
    ca_bundle: str = setting("S3_CA_BUNDLE", "", parse.readable_file, "file of certificates to trust instead of the usual ones")
    storage_class: str = setting("S3_STORAGE_CLASS", "STANDARD_IA", parse.storage_class, "storage class; `AUTO` means `STANDARD` for files under 128 KB and `STANDARD_IA` for others; outside AWS the default and `AUTO` are the service's own class")
    sse: str = setting("S3_SSE", "", parse.one_of("", "AES256", "aws:kms"), "server-side encryption: `AES256` or `aws:kms`")
    sse_kms_key_id: str = setting("S3_SSE_KMS_KEY_ID", "", parse.token, "KMS key for `aws:kms`")
    object_tags: str = setting("S3_OBJECT_TAGS", "", parse.tags, "tags for every object, as `a=b&c=d`; needs s3:PutObjectTagging")
    bucket_owner: str = setting("S3_EXPECTED_BUCKET_OWNER", "", parse.account, "AWS account id; a bucket of any other account is refused")
    connect_timeout: float = setting("S3_CONNECT_TIMEOUT", "10", parse.seconds(0.1, 600), "seconds that the mirror waits for a connection")
    read_timeout: float = setting("S3_READ_TIMEOUT", "60", parse.seconds(0.1, 3_600), "seconds that the service may be silent; the mirror begins with 8, and allows more only if answers are slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class RcloneSettings:
    """The remote of rclone, and how rclone is run."""

    remote: str = setting("RCLONE_REMOTE", "", parse.remote, "remote of rclone's configuration, and a folder of it, as `gdrive:frigate`")
    config: str = setting("RCLONE_CONFIG", "", parse.absolute_path_or_none, "rclone's configuration; the default is rclone's own, `rclone config file` shows it")
    config_pass: Secret = setting("RCLONE_CONFIG_PASS", "", parse.password, "password of rclone's configuration if it is encrypted")
    program: str = setting("RCLONE_PATH", "rclone", parse.program, "rclone itself, 1.65 or later: its path, or its name on `PATH`")
    drive_use_trash: bool | None = setting("RCLONE_DRIVE_USE_TRASH", "", parse.optional(parse.boolean), "whether what is deleted on Google Drive goes to the trash, which counts against the quota; the default is that of rclone's configuration")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """The keys of the objects. `prefix` is S3_PATH_PREFIX; a remote of rclone has none, because it
    names a folder itself."""

    timezone: str = setting("MIRROR_KEY_TIMEZONE", "UTC", parse.timezone, "IANA time zone of the dates in keys", "S3_KEY_TIMEZONE")
    template: str = setting("MIRROR_KEY_TEMPLATE", INSIDE, parse.key_template, "how keys are made, see [Names of the files](companion.md#names-of-the-files)", companion=READABLE)
    templates_old: tuple[str, ...] = setting("MIRROR_KEY_TEMPLATES_OLD", "", parse.key_templates, "templates that were used before, with commas between them, so that `rebuild` knows the files of that time")
    prefix: str

    @property
    def codec(self) -> KeyCodec:
        return KeyCodec(self.prefix, self.timezone, self.template, self.templates_old)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettings:
    """The uploader."""

    threads: int = setting("MIRROR_UPLOAD_THREADS", "8", parse.whole(1, 64), "threads that upload whatever is due; two more upload live events only", "S3_UPLOAD_THREADS")
    bandwidth: Timetable = setting("MIRROR_BANDWIDTH_LIMIT", "off", parse.bandwidth, "bytes a second for all but live events: `2M`, or by the hour `08:00,512K 22:00,off`", "S3_BANDWIDTH_LIMIT")
    max_tries: int = setting("MIRROR_MAX_FAILED_RETRIES", "3", parse.whole(1, 1_000), "attempts until a file that the service rejects counts as failed", "S3_MAX_FAILED_RETRIES")
    drain_seconds: float = setting("MIRROR_DRAIN_SECONDS", "5", parse.seconds(0, 300), "seconds left for uploads when Frigate stops", "S3_DRAIN_SECONDS")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """The comparison of Frigate's database with the ledger."""

    interval: float = setting("MIRROR_SWEEP_INTERVAL", "60", parse.seconds(1, 86_400), "seconds between two comparisons of Frigate's events with the ledger", "S3_SWEEP_INTERVAL", companion="600")
    days: float = setting("MIRROR_SWEEP_DAYS", "7", parse.seconds(0.01, 3_650), "days that a comparison looks back; it ignores older events", "S3_SWEEP_DAYS")
    batch_size: int = setting("MIRROR_BATCH_SIZE", "50", parse.whole(1, 10_000), "events that one read of Frigate's database fetches", "S3_BATCH_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionSettings:
    """The owner's filters (`intake.selection.Filters`). None means that a filter is not set."""

    cameras: Names | None = setting("MIRROR_CAMERAS", "", parse.names, "cameras to mirror, as `front,back`, or `!garage` for all but one")
    labels: Names | None = setting("MIRROR_LABELS", "", parse.names, "labels to mirror, as `person,car`, or `!cat`")
    sub_labels: Names | None = setting("MIRROR_SUB_LABELS", "", parse.names, "sub labels to mirror, or `!name` to leave out")
    zones: Names | None = setting("MIRROR_ZONES", "", parse.names, "zones to mirror; one of an event's zones is enough; `!name` leaves an event out")
    min_score: float | None = setting("MIRROR_MIN_SCORE", "", parse.optional(parse.seconds(0, 1)), "lowest score of an event to mirror, 0 to 1")
    min_duration: float | None = setting("MIRROR_MIN_DURATION", "", parse.optional(parse.seconds(0, 86_400)), "shortest event to mirror, in seconds")
    severity: str | None = setting("MIRROR_SEVERITY", "", parse.optional(parse.one_of("alert", "detection")), "`alert` or `detection`: mirror only events of such a review item")
    has_clip: bool | None = setting("MIRROR_HAS_CLIP", "", parse.optional(parse.boolean), "`true`: only events with recordings, `false`: only events without")
    reviewed: bool | None = setting("MIRROR_REVIEWED", "", parse.optional(parse.boolean), "`true`: only events that anyone has reviewed, `false`: only the others")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSelectionSettings:
    """The owner's filters for clips. One that is set here counts instead of the general one."""

    cameras: Names | None = setting("MIRROR_CLIP_CAMERAS", "", parse.names, "cameras to mirror clips of, instead of `MIRROR_CAMERAS`")
    labels: Names | None = setting("MIRROR_CLIP_LABELS", "", parse.names, "labels to mirror clips of, instead of `MIRROR_LABELS`")
    sub_labels: Names | None = setting("MIRROR_CLIP_SUB_LABELS", "", parse.names, "sub labels to mirror clips of, instead of `MIRROR_SUB_LABELS`")
    zones: Names | None = setting("MIRROR_CLIP_ZONES", "", parse.names, "zones to mirror clips of, instead of `MIRROR_ZONES`")
    min_score: float | None = setting("MIRROR_CLIP_MIN_SCORE", "", parse.optional(parse.seconds(0, 1)), "lowest score of an event whose clip is mirrored, instead of `MIRROR_MIN_SCORE`")
    min_duration: float | None = setting("MIRROR_CLIP_MIN_DURATION", "", parse.optional(parse.seconds(0, 86_400)), "shortest event whose clip is mirrored, in seconds, instead of `MIRROR_MIN_DURATION`")
    severity: str | None = setting("MIRROR_CLIP_SEVERITY", "", parse.optional(parse.one_of("alert", "detection")), "severity of the events whose clips are mirrored, instead of `MIRROR_SEVERITY`")
    has_clip: bool | None = setting("MIRROR_CLIP_HAS_CLIP", "", parse.optional(parse.boolean), "for clips, instead of `MIRROR_HAS_CLIP`")
    reviewed: bool | None = setting("MIRROR_CLIP_REVIEWED", "", parse.optional(parse.boolean), "for clips, instead of `MIRROR_REVIEWED`")


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSettings:
    """Which files of an event are mirrored, and how clips are made."""

    kinds: frozenset[str] = setting("MIRROR_KINDS", "snapshot", parse.words("snapshot", "thumbnail", "clip", "metadata"), "files of an event to mirror, with commas between them: `snapshot`, `thumbnail`, `clip`, `metadata`", companion="snapshot,clip,metadata")
    clip_padding: tuple[float, float] = setting("MIRROR_CLIP_PADDING", "5,5", parse.padding, "seconds that a clip shows before and after its event: `5,5`, or `5` for both")
    clip_longest: float = setting("MIRROR_CLIP_MAX_LENGTH", "7200", parse.seconds(10, 86_400), "longest clip in seconds; a longer one is cut, and its metadata says so")
    clip_most_mb: int = setting("MIRROR_CLIP_MAX_MB", "5000", parse.whole(1, 50_000), "largest clip in megabytes; a larger one is cut, and its metadata says so")
    changes_hours: float = setting("MIRROR_CHANGES_HOURS", "24", parse.seconds(1, 8_760), "hours after its end for which an event is compared every 10 minutes with its metadata in the bucket; older events are compared daily")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """The files that wait for their upload."""

    limit_mb: int = setting("MIRROR_SPOOL_LIMIT_MB", "2048", parse.whole(0, 10_000_000), "megabytes that the spool may hold; 0 switches it off", "S3_SPOOL_LIMIT_MB")
    clip_limit_mb: int = setting("MIRROR_CLIP_SPOOL_MB", "4096", parse.whole(0, 10_000_000), "megabytes of clips that the spool may hold besides; when space is short, they go first")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What the owner is told, and how often."""

    stats_interval: float = setting("MIRROR_STATS_INTERVAL", "300", parse.seconds(1, 86_400), "seconds between two statistics lines", "S3_STATS_INTERVAL")
    check_interval: float = setting("MIRROR_CHECK_INTERVAL", "60", parse.seconds(1, 86_400), "seconds between two connectivity checks", "S3_CHECK_INTERVAL")
    over_mqtt: bool = setting("MIRROR_REPORT_MQTT", "false", parse.boolean, "`true` publishes a report to the broker of `MQTT_HOST`, see [Reports](report.md)", companion="true")
    home_assistant: bool = setting("MIRROR_HOME_ASSISTANT", "false", parse.boolean, "`true` makes Home Assistant show the report as a device")
    home_assistant_prefix: str = setting("MIRROR_HOME_ASSISTANT_PREFIX", "homeassistant", parse.topic, "Home Assistant's own setting for the beginning of its discovery topics")
    http_port: int = setting("MIRROR_HTTP_PORT", "0", parse.whole(0, 65_535), "port of the pages `/healthz`, `/readyz`, `/status` and `/metrics`; 0 switches them off", companion="9480")
    http_address: str = setting("MIRROR_HTTP_ADDRESS", "127.0.0.1", parse.host, "address at which the pages are served; `0.0.0.0` means all of this machine")
    log_level: str = setting("MIRROR_LOG_LEVEL", "INFO", parse.one_of("DEBUG", "INFO", "WARNING", "ERROR"), "`DEBUG`, `INFO`, `WARNING` or `ERROR`", "S3_LOG_LEVEL")
    name: str = setting("MIRROR_NAME", "", parse.mirror_name, "name of this mirror in what you are told; the default is the name of the host")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """What is deleted at the destination, and when that is too much at once."""

    policy: Policy | None = setting("MIRROR_RETENTION", "", parse.retention, "how long events stay at the destination, as `7d`, or by the event as `alert:90d label=person:30d camera=garden:3d *:7d`, and `size:500G`; a companion where it is set deletes once a day, see [Retention](retention.md)")
    most: int = setting("MIRROR_RETENTION_MAX_DELETES", "10000", parse.whole(1, 1_000_000_000), "objects that one run of the retention may delete; a run that would delete more deletes nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionAccess:
    """The credentials of the command `retention`, which may delete. The mirror never reads them, so
    they belong on another machine."""

    access_key: Secret = setting("RETENTION_S3_ACCESS_KEY", "", parse.secret, "access key id of `retention`, which may read and delete; nothing else reads this one and the four that follow")
    secret_key: Secret = setting("RETENTION_S3_SECRET_KEY", "", parse.secret, "secret access key of `retention`")
    session_token: Secret = setting("RETENTION_S3_SESSION_TOKEN", "", parse.secret, "session token of temporary credentials of `retention`")
    config: str = setting("RETENTION_RCLONE_CONFIG", "", parse.absolute_path_or_none, "rclone's configuration for `retention`, with a login that may delete")
    config_pass: Secret = setting("RETENTION_RCLONE_CONFIG_PASS", "", parse.password, "password of this configuration if it is encrypted")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """The ways on which the owner gets notices, and when."""

    webhook_url: Secret = setting("NOTIFY_WEBHOOK_URL", "", parse.secret_address, "address to which each notice is posted as JSON, see [Notifications](notifications.md)")
    ntfy_url: Secret = setting("NOTIFY_NTFY_URL", "", parse.ntfy_topic, "topic of ntfy for notices, as `https://ntfy.sh/my-topic`")
    ntfy_token: Secret = setting("NOTIFY_NTFY_TOKEN", "", parse.secret, "access token of ntfy, if the topic is protected")
    apprise_urls: Secret = setting("NOTIFY_APPRISE_URLS", "", parse.apprise_urls, "services of apprise for notices, with blanks between them; for the companion only")
    ping_url: Secret = setting("NOTIFY_PING_URL", "", parse.secret_address, "address that is asked every 2 minutes while uploads work, as healthchecks.io and Uptime Kuma want it")
    after: float = setting("NOTIFY_AFTER", "15m", parse.duration(1, 7 * 86_400), "how long something has to be wrong before you are told: `90s`, `15m`, `2h`")
    digest_at: int | None = setting("NOTIFY_DIGEST_AT", "", parse.optional(parse.minute_of_the_day), "time of day of a daily notice with what was uploaded, as `08:00`; without it there is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrigateSettings:
    """Where Frigate keeps its own files."""

    db_path: Path = setting("FRIGATE_DB_PATH", "/config/frigate.db", parse.absolute_path, "Frigate's database; inside Frigate's container the default is Frigate's own setting")
    clips_dir: Path = setting("FRIGATE_CLIPS_DIR", "/media/frigate/clips", parse.absolute_path, "Frigate's folder of snapshots")
    recordings_dir: Path = setting("FRIGATE_RECORDINGS_DIR", "/media/frigate/recordings", parse.absolute_path, "Frigate's folder of recordings, where the recording backfill reads")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillSettings:
    """The recording backfill inside Frigate."""

    api: bool = setting("RECORDINGS_BACKFILL_API", "false", parse.boolean, "`true` adds the recording backfill to Frigate's own API, see [Recording backfill](recordings.md)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionSettings:
    """How the companion reaches Frigate's HTTP API, and what it takes from there."""

    url: str = setting("FRIGATE_URL", "", parse.address, "address of Frigate for the companion, as `http://frigate:5000`, or `https://frigate:8971` with a login")
    user: str = setting("FRIGATE_USER", "", parse.text, "user of Frigate; the role viewer is enough")
    password: Secret = setting("FRIGATE_PASSWORD", "", parse.password, "password of this user")
    fingerprint: str = setting("FRIGATE_TLS_FINGERPRINT", "", parse.fingerprint, "SHA-256 fingerprint of the only certificate that is accepted, for Frigate's own one; `check` shows it")
    ca_bundle: str = setting("FRIGATE_CA_BUNDLE", "", parse.readable_file, "file of certificates to trust instead of the usual ones, if Frigate has a real certificate")
    verify: bool = setting("FRIGATE_TLS_VERIFY", "true", parse.boolean, "`false` accepts any certificate; whoever stands between can then read the password")
    snapshot: str = setting("MIRROR_SNAPSHOT", "auto", parse.one_of("auto", "jpg"), "`auto` takes the snapshot as Frigate keeps it, `jpg` asks Frigate 0.18 for a JPEG instead of its WebP")
    skip_history: bool = setting("MIRROR_SKIP_HISTORY", "false", parse.boolean, "`true` leaves out what ended before the companion's first start")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """The broker to which Frigate publishes. The companion listens there, and the report goes there."""

    host: str = setting("MQTT_HOST", "", parse.host, "host of the MQTT broker; without it the companion finds new events by its sweep only, and no report is published")
    port: int = setting("MQTT_PORT", "", parse.optional(parse.whole(1, 65_535)), "port of the broker; the default is 1883, or 8883 with TLS")
    user: str = setting("MQTT_USER", "", parse.text, "user of the broker")
    password: Secret = setting("MQTT_PASSWORD", "", parse.password, "password of this user")
    tls: bool = setting("MQTT_TLS", "false", parse.boolean, "`true`: TLS, with the usual certificates or those of `MQTT_CA_BUNDLE`")
    ca_bundle: str = setting("MQTT_CA_BUNDLE", "", parse.readable_file, "file of certificates to trust instead of the usual ones; it switches TLS on")
    client_cert: str = setting("MQTT_CLIENT_CERT", "", parse.readable_file, "file of the mirror's own certificate, if the broker wants one")
    client_key: str = setting("MQTT_CLIENT_KEY", "", parse.readable_file, "file of the key of this certificate")
    topic_prefix: str = setting("MQTT_TOPIC_PREFIX", "frigate", parse.topic, "Frigate's setting `mqtt: topic_prefix`")
    client_id: str = setting("MQTT_CLIENT_ID", "", parse.text, "client id at the broker; the default is made once and kept in the ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """Where the mirror's own files lie. `clips_dir` is Frigate's, as in FrigateSettings, or None
    for the companion: all its files lie in `folder`."""

    folder: Path = setting("MIRROR_STATE_DIR", "", parse.optional_path, "folder of the ledger; the default is `s3_mirror` beside Frigate's database, and for the companion, whose other files lie there too, `~/.local/state/frigate-mirror`", "S3_STATE_DIR")
    clips_dir: Path | None

    @property
    def dirs(self) -> tuple[Path, ...]:
        """The folders where the ledger may be: the chosen one and, for when that cannot be written,
        one under Frigate's clips folder. Without a clips folder, only the chosen one counts: its
        disk may be away. They are one if both paths lead to the same folder."""
        has_spare = self.clips_dir is not None and self.clips_dir.is_dir()
        folders = [*([self.cache_dir / ".s3_mirror"] if has_spare else []), self.folder]
        return tuple({os.path.realpath(path): path for path in folders}.values())[::-1]

    @property
    def whose(self) -> Path:
        """The folder by which two mirrors know that they mirror the same Frigate."""
        return self.clips_dir or self.folder

    @property
    def cache_dir(self) -> Path:
        """The folder of the state files that people read, and of the spool: Frigate's clips/cache,
        or the companion's own folder."""
        return self.clips_dir / "cache" if self.clips_dir else self.folder

    @property
    def status_path(self) -> Path:
        """The status file. Inside Frigate it lies in Frigate's own folder, so that every command
        finds it even if the ledger and the database are elsewhere."""
        return self.cache_dir / ".s3_status.json"

    @property
    def spool_dir(self) -> Path:
        return self.cache_dir / ".s3_spool"

    @property
    def clips_work_dir(self) -> Path:
        return self.cache_dir / ".s3_clips"

    @property
    def uploaded_file(self) -> Path:
        return self.cache_dir / ".s3_uploaded_events"

    @property
    def failed_file(self) -> Path:
        return self.cache_dir / ".s3_failed_events"


# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All parts."""

    process: ProcessSettings
    s3: S3Settings
    rclone: RcloneSettings
    keys: KeySettings
    upload: UploadSettings
    sweep: SweepSettings
    kinds: KindSettings
    selection: SelectionSettings
    clip_selection: ClipSelectionSettings
    spool: SpoolSettings
    report: ReportSettings
    retention: RetentionSettings
    notify: NotifySettings
    frigate: FrigateSettings
    backfill: BackfillSettings
    companion: CompanionSettings
    mqtt: MqttSettings
    state: StateSettings

    @property
    def destination(self) -> str:
        """Where the files go, in words."""
        return f"remote {self.rclone.remote}" if self.rclone.remote else f"bucket {self.s3.bucket}"


PARTS: dict[str, type] = get_type_hints(Settings)
OF_THE_MIRROR = {one.name: one for part, kind in PARTS.items() for one in variables_of(part, kind)}
"""The variables of all parts, by name."""
OF_RETENTION = {one.name: one for one in variables_of("retention_access", RetentionAccess)}
"""The variables that only the command `retention` reads."""
VARIABLES = OF_THE_MIRROR | OF_RETENTION


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`; raises SettingsError that names every fault, never a secret."""
    faults: list[str] = []
    values: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    companion = VARIABLES["FRIGATE_URL"].is_set(environ)
    for variable in OF_THE_MIRROR.values():
        try:
            found = variable.value(environ, companion=companion)
            values[variable.part][variable.field] = found
        except ValueError as fault:
            faults.append(str(fault))
    faults += _contradictions(values["s3"])
    if values["s3"].get("bucket") and values["rclone"].get("remote"):
        faults.append(
            "RCLONE_REMOTE: set either this or S3_BUCKET; two destinations need two mirrors"
        )
    faults += _companion_contradictions(values["companion"], values["mqtt"])
    faults += _report_contradictions(values["report"], values["mqtt"], environ)
    faults += _notify_contradictions(values["notify"], companion=companion)
    if faults:
        raise SettingsError(faults)
    _derive(values, environ)
    return Settings(**{part: kind(**values[part]) for part, kind in PARTS.items()})


def only_parts(environ: Mapping[str, str], *parts: str) -> dict[str, str]:
    """Returns `environ` without the settings of all other parts, so that `load` takes their
    defaults."""
    others = {one for variable in VARIABLES.values() if variable.part not in parts
              for one in variable.sources}  # fmt: skip
    return {name: value for name, value in environ.items() if name not in others}


def load_retention_access(environ: Mapping[str, str]) -> RetentionAccess:
    """The credentials of the command `retention`; raises SettingsError that names every fault,
    never a secret."""
    faults: list[str] = []
    values: dict[str, Any] = {}
    for variable in OF_RETENTION.values():
        try:
            values[variable.field] = variable.value(environ)
        except ValueError as fault:
            faults.append(str(fault))
    faults += _incomplete(values, "RETENTION_S3_")
    if values.get("config_pass") and values.get("config") == "":
        faults.append("RETENTION_RCLONE_CONFIG_PASS: needs RETENTION_RCLONE_CONFIG")
    if faults:
        raise SettingsError(faults)
    return RetentionAccess(**values)


def secret_of(name: str, environ: Mapping[str, str]) -> Secret:
    """The secret of the variable `name` as it is now: read again, so that a rotated file is
    noticed. Raises ValueError."""
    found: Secret = VARIABLES[name].value(environ)
    return found


def _derive(values: Mapping[str, dict[str, Any]], environ: Mapping[str, str]) -> None:
    """Fills in the values that follow from other settings."""
    s3, frigate, state, mqtt = (values[part] for part in ("s3", "frigate", "state", "mqtt"))
    chosen = VARIABLES["S3_STORAGE_CLASS"].is_set(environ) and s3["storage_class"] != AUTO
    if not chosen and not is_aws(s3["endpoint_url"]):
        s3["storage_class"] = ""
    values["keys"]["prefix"] = "" if values["rclone"]["remote"] else s3["prefix"]
    beside = bool(values["companion"]["url"])
    state["clips_dir"] = None if beside else frigate["clips_dir"]
    if state["folder"] == Path():
        own = Path(environ.get("HOME") or "/", ".local/state/frigate-mirror")
        state["folder"] = own if beside else frigate["db_path"].parent / "s3_mirror"
    report = values["report"]
    report["name"] = report["name"] or host_name()
    report["over_mqtt"] = report["over_mqtt"] and bool(mqtt["host"])
    mqtt["tls"] = mqtt["tls"] or bool(mqtt["ca_bundle"])
    mqtt["port"] = mqtt["port"] or (8883 if mqtt["tls"] else 1883)


def host_name() -> str:
    """Returns the name of this host, without what no topic of MQTT can have."""
    return re.sub(r"[+#/\s]", "-", socket.gethostname()) or "mirror"


def is_aws(endpoint_url: str) -> bool:
    """Whether AWS itself answers at this endpoint; an empty one means AWS."""
    host = urlsplit(endpoint_url).hostname or "amazonaws.com"
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn")) or host == "amazonaws.com"


def _contradictions(s3: Mapping[str, Any]) -> list[str]:
    """Returns faults of settings that do not fit together. `s3` has only valid settings."""
    faults = _incomplete(s3, "S3_")
    if s3.get("sse_kms_key_id") and s3.get("sse") != "aws:kms":
        faults.append("S3_SSE_KMS_KEY_ID: needs S3_SSE=aws:kms")
    return faults


def _incomplete(keys: Mapping[str, Any], begin: str) -> list[str]:
    """Returns faults of a key that is not whole. `begin` is what its variables begin with."""
    faults = []
    access, secret = keys.get("access_key"), keys.get("secret_key")
    if access and secret is not None and not secret:
        faults.append(f"{begin}SECRET_KEY: missing, though {begin}ACCESS_KEY is set")
    if secret and access is not None and not access:
        faults.append(f"{begin}ACCESS_KEY: missing, though {begin}SECRET_KEY is set")
    if keys.get("session_token") and access is not None and not access:
        faults.append(f"{begin}SESSION_TOKEN: needs {begin}ACCESS_KEY and {begin}SECRET_KEY")
    return faults


def _companion_contradictions(companion: Mapping[str, Any], mqtt: Mapping[str, Any]) -> list[str]:
    """Does the same for the settings of the companion."""
    faults = []
    user, password = companion.get("user"), companion.get("password")
    if user and password is not None and not password:
        faults.append("FRIGATE_PASSWORD: missing, though FRIGATE_USER is set")
    if password and user is not None and not user:
        faults.append("FRIGATE_USER: missing, though FRIGATE_PASSWORD is set")
    if companion.get("fingerprint") and companion.get("ca_bundle"):
        faults.append("FRIGATE_CA_BUNDLE: set either this or FRIGATE_TLS_FINGERPRINT, not both")
    if mqtt.get("password") and mqtt.get("user") == "":
        faults.append("MQTT_USER: missing, though MQTT_PASSWORD is set")
    if bool(mqtt.get("client_cert")) != bool(mqtt.get("client_key")):
        faults.append("MQTT_CLIENT_KEY: set both this and MQTT_CLIENT_CERT, or neither")
    return faults


def _report_contradictions(
    report: Mapping[str, Any], mqtt: Mapping[str, Any], environ: Mapping[str, str]
) -> list[str]:
    """Does the same for the settings of the report. Where nobody has asked for it, it is published
    only if there is a broker."""
    faults = []
    asked, wanted = VARIABLES["MIRROR_REPORT_MQTT"].is_set(environ), report.get("over_mqtt")
    if asked and wanted and mqtt.get("host") == "":
        faults.append("MQTT_HOST: missing, though MIRROR_REPORT_MQTT is true")
    if report.get("home_assistant") and (wanted is False or mqtt.get("host") == ""):
        faults.append("MIRROR_HOME_ASSISTANT: needs MQTT_HOST and MIRROR_REPORT_MQTT=true")
    return faults


def _notify_contradictions(notify: Mapping[str, Any], *, companion: bool) -> list[str]:
    """Does the same for the settings of the notices."""
    faults = []
    url, token = notify.get("ntfy_url"), notify.get("ntfy_token")
    if token and url is not None and not url:
        faults.append("NOTIFY_NTFY_URL: missing, though NOTIFY_NTFY_TOKEN is set")
    if notify.get("apprise_urls") and not companion:
        faults.append(
            "NOTIFY_APPRISE_URLS: only the companion can use it; inside Frigate set "
            "NOTIFY_WEBHOOK_URL or NOTIFY_NTFY_URL instead"
        )
    return faults
