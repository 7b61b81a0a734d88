"""Settings have defaults, report all faults at once, and never show a secret."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import socket
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.keys import INSIDE, READABLE
from frigate_mirror.settings import parse, variables
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.settings import (
    OF_RETENTION,
    PARTS,
    VARIABLES,
    SettingsError,
    host_name,
    load,
    load_retention_access,
    secret_of,
)
from frigate_mirror.settings.variables import setting, variables_of

unhurried = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)

SECRETS = [variable.name for variable in VARIABLES.values() if variable.secret]
ALIASES = {alias: variable for variable in VARIABLES.values() for alias in variable.aliases}
NAMES = list(VARIABLES)
READ = [name for variable in VARIABLES.values() for name in variable.sources] + [
    "CREDENTIALS_DIRECTORY"
]
KEYS = {"S3_ACCESS_KEY": "AKIDEXAMPLE", "S3_SECRET_KEY": "wJalrXUtnFEMI/K7MDENG+x"}
FILTERS = ("cameras", "labels", "sub_labels", "zones", "min_score", "min_duration", "severity",
           "has_clip", "reviewed")  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {
    "process": {"enabled": True, "niceness": 10},
    "s3": {
        "bucket": "",
        "access_key": Secret(""),
        "secret_key": Secret(""),
        "session_token": Secret(""),
        "region": "us-east-1",
        "endpoint_url": "",
        "prefix": "",
        "addressing_style": "auto",
        "ca_bundle": "",
        "storage_class": "STANDARD_IA",
        "sse": "",
        "sse_kms_key_id": "",
        "object_tags": "",
        "bucket_owner": "",
        "connect_timeout": 10.0,
        "read_timeout": 60.0,
    },
    "rclone": {
        "remote": "",
        "config": "",
        "config_pass": Secret(""),
        "program": "rclone",
        "drive_use_trash": None,
    },
    "keys": {"timezone": "UTC", "template": INSIDE, "templates_old": (), "prefix": ""},
    "upload": {
        "threads": 8,
        "bandwidth": ((0, math.inf),),
        "max_tries": 3,
        "drain_seconds": 5.0,
    },
    "sweep": {"interval": 60.0, "days": 7.0, "batch_size": 50},
    "kinds": {
        "kinds": frozenset({"snapshot"}),
        "clip_padding": (5.0, 5.0),
        "clip_longest": 7200.0,
        "clip_most_mb": 5000,
        "changes_hours": 24.0,
    },
    "selection": dict.fromkeys(FILTERS),
    "clip_selection": dict.fromkeys(FILTERS),
    "spool": {"limit_mb": 2048, "clip_limit_mb": 4096},
    "report": {
        "stats_interval": 300.0,
        "check_interval": 60.0,
        "name": host_name(),
        "over_mqtt": False,
        "home_assistant": False,
        "home_assistant_prefix": "homeassistant",
        "http_port": 0,
        "http_address": "127.0.0.1",
        "log_level": "INFO",
    },
    "retention": {"policy": None, "most": 10_000},
    "notify": {
        "webhook_url": Secret(""),
        "ntfy_url": Secret(""),
        "ntfy_token": Secret(""),
        "apprise_urls": Secret(""),
        "ping_url": Secret(""),
        "after": 900.0,
        "digest_at": None,
    },
    "frigate": {
        "db_path": Path("/config/frigate.db"),
        "clips_dir": Path("/media/frigate/clips"),
        "recordings_dir": Path("/media/frigate/recordings"),
    },
    "backfill": {"api": False},
    "companion": {
        "url": "",
        "user": "",
        "password": Secret(""),
        "fingerprint": "",
        "ca_bundle": "",
        "verify": True,
        "snapshot": "auto",
        "skip_history": False,
    },
    "mqtt": {
        "host": "",
        "port": 1883,
        "user": "",
        "password": Secret(""),
        "tls": False,
        "ca_bundle": "",
        "client_cert": "",
        "client_key": "",
        "topic_prefix": "frigate",
        "client_id": "",
    },
    "state": {
        "folder": Path("/config/s3_mirror"),
        "clips_dir": Path("/media/frigate/clips"),
    },
}


@pytest.fixture(autouse=True)
def run_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder /run/secrets for this test alone."""
    folder = tmp_path / "run-secrets"
    folder.mkdir()
    monkeypatch.setattr(variables, "RUN_SECRETS", folder)
    return folder


def faults_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(environ)
    assert str(raised.value) == "; ".join(raised.value.faults)
    return raised.value.faults


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_every_setting_has_its_promised_default() -> None:
    assert dataclasses.asdict(load({})) == DEFAULTS


def test_a_value_with_blanks_around_it_is_trimmed_and_a_blank_one_is_not_set() -> None:
    loaded = load(
        {"S3_BUCKET": "  pictures\n", "MIRROR_UPLOAD_THREADS": " 16 ", "MIRROR_BATCH_SIZE": "  "}
    )
    assert (loaded.s3.bucket, loaded.upload.threads, loaded.sweep.batch_size) == (
        "pictures",
        16,
        50,
    )


def test_all_faults_are_reported_at_once_each_with_the_name_of_its_variable() -> None:
    wrong = {
        "MIRROR_ENABLED": "perhaps",
        "S3_BUCKET": "s3://pictures/",
        "S3_REGION": "eu central",
        "S3_ENDPOINT_URL": "minio:9000",
        "S3_PATH_PREFIX": "a/../b",
        "MIRROR_UPLOAD_THREADS": "65",
        "MIRROR_STATS_INTERVAL": "nan",
        "MIRROR_RETENTION": "7",
        "MIRROR_KEY_TIMEZONE": "Mars/Olympus",
        "S3_CA_BUNDLE": "/no/such/file",
        "RCLONE_REMOTE": "gdrive",
        "FRIGATE_DB_PATH": "frigate.db",
        "FRIGATE_URL": "frigate:5000",
        "MQTT_PORT": "0",
        "RECORDINGS_BACKFILL_API": "maybe",
        "MIRROR_STATE_DIR": "relative",
        "NOTIFY_AFTER": "15",
        "MIRROR_SWEEP_DAYS": "0",
        "MIRROR_MIN_SCORE": "much",
        "MIRROR_CLIP_SEVERITY": "grave",
        "MIRROR_KINDS": "snapshot,film",
        "MIRROR_SPOOL_LIMIT_MB": "all",
        "S3_SECRET_KEY": "a secret with blanks",
    }
    assert {VARIABLES[name].part for name in wrong} == PARTS.keys()
    assert [fault.split(":")[0] for fault in faults_of(wrong)] == sorted(wrong, key=NAMES.index)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("S3_BUCKET", "with/slash"),
        ("S3_BUCKET", "-begins"),
        ("S3_REGION", "EU_west"),
        ("S3_ENDPOINT_URL", "ftp://example.com"),
        ("S3_ENDPOINT_URL", "https://example.com/bucket"),
        ("S3_ENDPOINT_URL", "https://example.com:0"),
        ("S3_ENDPOINT_URL", "https://example.com:port"),
        ("S3_ENDPOINT_URL", "https://minio_server:9000"),
        ("S3_ENDPOINT_URL", "https://exam\nple.com"),
        ("S3_ENDPOINT_URL", "https://[::1"),
        ("FRIGATE_URL", "http://admin:secret@frigate:5000"),
        ("FRIGATE_URL", "http://frigate:port"),
        ("FRIGATE_URL", "http://frigate:5000/?a=b"),
        ("FRIGATE_URL", "http://frigate:5000/ü"),
        ("FRIGATE_URL", "http://"),
        ("FRIGATE_USER", "a\nb"),
        ("FRIGATE_TLS_FINGERPRINT", "ab:cd"),
        ("FRIGATE_TLS_FINGERPRINT", "g" * 64),
        ("MIRROR_SNAPSHOT", "png"),
        ("S3_PATH_PREFIX", "a//b"),
        ("S3_PATH_PREFIX", "."),
        ("S3_PATH_PREFIX", "frigate\\snapshots"),
        ("S3_PATH_PREFIX", "a\x1b[31m"),
        ("S3_PATH_PREFIX", "ü" * 121),
        ("S3_ADDRESSING_STYLE", "magic"),
        ("S3_STORAGE_CLASS", "cold storage"),
        ("S3_SSE", "ROT13"),
        ("S3_SSE_KMS_KEY_ID", "a b"),
        ("S3_OBJECT_TAGS", "nothing"),
        ("S3_OBJECT_TAGS", "a=b&a=c"),
        ("S3_OBJECT_TAGS", "a=b\nc"),
        ("S3_OBJECT_TAGS", "&".join(f"t{n}=x" for n in range(11))),
        ("S3_OBJECT_TAGS", "=x"),
        ("S3_OBJECT_TAGS", f"{'k' * 129}=x"),
        ("S3_OBJECT_TAGS", f"k={'v' * 257}"),
        ("S3_EXPECTED_BUCKET_OWNER", "12345678901"),
        ("MIRROR_KEY_TIMEZONE", "../../etc/passwd"),
        ("MIRROR_KEY_TIMEZONE", "America"),
        ("MIRROR_KEY_TIMEZONE", "x" * 5000),
        ("MIRROR_UPLOAD_THREADS", "0"),
        ("MIRROR_UPLOAD_THREADS", "-1"),
        ("MIRROR_UPLOAD_THREADS", "8.0"),
        ("MIRROR_BATCH_SIZE", "10001"),
        ("MIRROR_MAX_FAILED_RETRIES", "9" * 5000),
        ("MIRROR_SWEEP_DAYS", "0"),
        ("S3_READ_TIMEOUT", "inf"),
        ("MIRROR_SPOOL_LIMIT_MB", "all"),
        ("MIRROR_LOG_LEVEL", "LOUD"),
        ("MIRROR_KINDS", "snapshots"),
        ("MIRROR_KINDS", ","),
        ("MIRROR_CLIP_PADDING", "1,2,3"),
        ("MIRROR_CLIP_PADDING", "301"),
        ("MIRROR_CLIP_PADDING", "-1"),
        ("MIRROR_STATE_DIR", "relative"),
        ("MIRROR_KEY_TEMPLATE", "{camera}/{event_id}"),
        ("MIRROR_KEY_TEMPLATES_OLD", "{event_id}{kind_ending},{camera}"),
        ("MIRROR_NAME", "nvr/front"),
        ("MIRROR_NAME", "nvr#"),
        ("MIRROR_NAME", "+"),
        ("MIRROR_NAME", "nvr\x1b[2J"),
        ("MIRROR_NAME", "n" * 65),
        ("MIRROR_REPORT_MQTT", "perhaps"),
        ("MIRROR_HOME_ASSISTANT_PREFIX", "home/+"),
        ("MIRROR_HTTP_PORT", "65536"),
        ("MIRROR_HTTP_PORT", "-1"),
        ("MIRROR_HTTP_ADDRESS", "0.0.0.0:9480"),
        ("MQTT_HOST", "mqtt://broker"),
        ("MQTT_HOST", "bro ker"),
        ("MQTT_HOST", "broker:1883"),
        ("MQTT_HOST", "127.0.0.1:1883"),
        ("MQTT_TOPIC_PREFIX", "frigate/#"),
        ("MQTT_TOPIC_PREFIX", "/frigate"),
        ("MQTT_CA_BUNDLE", "/no/such/file"),
        ("RCLONE_REMOTE", "gdrive"),
        ("RCLONE_REMOTE", "relative/folder"),
        ("RCLONE_REMOTE", "gdrive:a/../b"),
        ("RCLONE_REMOTE", "gdrive,scope=drive:"),
        ("RCLONE_CONFIG", "rclone.conf"),
        ("RCLONE_PATH", "bin/rclone"),
        ("RCLONE_DRIVE_USE_TRASH", "maybe"),
        ("FRIGATE_CLIPS_DIR", "/a\0b"),
        ("MIRROR_RETENTION", "7d alert:90d"),
        ("MIRROR_RETENTION", "label=\ud800:7d"),
        ("MIRROR_RETENTION_MAX_DELETES", "0"),
        ("MIRROR_NAME", "nvr/front"),
        ("MIRROR_NAME", "nvr\x1b[2J"),
        ("MIRROR_NAME", "n" * 65),
        ("NOTIFY_AFTER", "15"),
        ("NOTIFY_AFTER", "0s"),
        ("NOTIFY_AFTER", "8d"),
        ("NOTIFY_AFTER", "a while"),
        ("NOTIFY_DIGEST_AT", "24:00"),
        ("NOTIFY_DIGEST_AT", "8"),
    ],
)
def test_a_wrong_value_is_a_fault(name: str, text: str) -> None:
    faults = faults_of({name: text})
    assert len(faults) >= 1
    assert faults[0].startswith(f"{name}: ")
    assert all(fault.isprintable() for fault in faults)


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("MIRROR_ENABLED", "No", "process.enabled", False),
        ("MIRROR_ENABLED", "ON", "process.enabled", True),
        ("S3_ENDPOINT_URL", "http://127.0.0.1:9000/", "s3.endpoint_url", "http://127.0.0.1:9000"),
        ("S3_ENDPOINT_URL", "https://[::1]:9000", "s3.endpoint_url", "https://[::1]:9000"),
        ("S3_PATH_PREFIX", "/frigate/snapshots/", "s3.prefix", "frigate/snapshots"),
        ("S3_PATH_PREFIX", "/", "s3.prefix", ""),
        ("S3_ADDRESSING_STYLE", "PATH", "s3.addressing_style", "path"),
        ("S3_SSE", "aes256", "s3.sse", "AES256"),
        ("S3_OBJECT_TAGS", "a=b&c=d%20e", "s3.object_tags", "a=b&c=d%20e"),
        (
            "S3_OBJECT_TAGS",
            f"{'k' * 128}={'v' * 256}",
            "s3.object_tags",
            f"{'k' * 128}={'v' * 256}",
        ),
        ("S3_EXPECTED_BUCKET_OWNER", "012345678901", "s3.bucket_owner", "012345678901"),
        ("MIRROR_KEY_TIMEZONE", "Asia/Kathmandu", "keys.timezone", "Asia/Kathmandu"),
        ("MIRROR_SPOOL_LIMIT_MB", "0", "spool.limit_mb", 0),
        ("MIRROR_DRAIN_SECONDS", "0", "upload.drain_seconds", 0.0),
        ("MIRROR_LOG_LEVEL", "debug", "report.log_level", "DEBUG"),
        ("MIRROR_STATE_DIR", "/var/lib/mirror", "state.folder", Path("/var/lib/mirror")),
        ("MIRROR_STATE_DIR", "/", "state.folder", Path("/")),
        ("S3_CA_BUNDLE", __file__, "s3.ca_bundle", __file__),
        ("RCLONE_REMOTE", "gdrive:frigate/", "rclone.remote", "gdrive:frigate"),
        ("RCLONE_REMOTE", "my disk:", "rclone.remote", "my disk:"),
        ("RCLONE_REMOTE", "sftp:/", "rclone.remote", "sftp:/"),
        ("RCLONE_REMOTE", "/mnt/disk/", "rclone.remote", "/mnt/disk"),
        ("RCLONE_CONFIG", "/config/rclone.conf", "rclone.config", "/config/rclone.conf"),
        ("RCLONE_PATH", "/opt/rclone", "rclone.program", "/opt/rclone"),
        ("RCLONE_DRIVE_USE_TRASH", "no", "rclone.drive_use_trash", False),
        ("MIRROR_KINDS", "Snapshot, metadata,", "kinds.kinds", frozenset({"snapshot", "metadata"})),
        ("FRIGATE_URL", "https://nvr_1/frigate/", "companion.url", "https://nvr_1/frigate"),
        (
            "FRIGATE_TLS_FINGERPRINT",
            "SHA256:" + "AB:" * 31 + "AB",
            "companion.fingerprint",
            "ab" * 32,
        ),
        ("MQTT_HOST", "mosquitto_1", "mqtt.host", "mosquitto_1"),
        ("MQTT_HOST", "fe80::1", "mqtt.host", "fe80::1"),
        ("MQTT_TLS", "yes", "mqtt.port", 8883),
        ("MQTT_CA_BUNDLE", __file__, "mqtt.tls", True),
        ("MIRROR_KEY_TEMPLATE", READABLE, "keys.template", READABLE),
        ("MIRROR_NAME", "Maison d'été", "report.name", "Maison d'été"),
        ("NOTIFY_AFTER", "90s", "notify.after", 90.0),
        ("NOTIFY_AFTER", "1.5h", "notify.after", 5_400.0),
        ("NOTIFY_DIGEST_AT", "8:05", "notify.digest_at", 485),
        ("MIRROR_CLIP_PADDING", "3", "kinds.clip_padding", (3.0, 3.0)),
        ("MIRROR_CLIP_PADDING", "0, 12.5", "kinds.clip_padding", (0.0, 12.5)),
    ],
)
def test_a_valid_value_is_accepted(name: str, text: str, field: str, value: Any) -> None:
    assert attrgetter(field)(load({name: text})) == value


def test_a_password_of_frigate_may_have_blanks_and_needs_its_user() -> None:
    password = {"FRIGATE_PASSWORD": "a b ü"}
    loaded = load(password | {"FRIGATE_USER": "viewer"})
    assert loaded.companion.password.reveal() == "a b ü"
    assert faults_of(password) == ["FRIGATE_USER: missing, though FRIGATE_PASSWORD is set"]
    [fault] = faults_of({"FRIGATE_USER": "viewer"})
    assert fault.startswith("FRIGATE_PASSWORD: ")


def test_a_pinned_certificate_and_a_file_of_certificates_exclude_each_other() -> None:
    [fault] = faults_of({"FRIGATE_TLS_FINGERPRINT": "ab" * 32, "FRIGATE_CA_BUNDLE": __file__})
    assert fault.startswith("FRIGATE_CA_BUNDLE: ")


def test_the_companion_has_its_own_defaults_and_one_folder_for_all_its_files() -> None:
    url = {"FRIGATE_URL": "http://frigate:5000"}
    loaded = load(url | {"HOME": "/home/me", "S3_PATH_PREFIX": "p"})
    assert loaded.kinds.kinds == {"snapshot", "clip", "metadata"}
    assert (loaded.sweep.interval, loaded.keys.template) == (600.0, READABLE)
    assert loaded.keys.codec.folder == "p/"
    own = loaded.state
    assert own.dirs == (Path("/home/me/.local/state/frigate-mirror"),)
    assert {path.parent for path in (own.status_path, own.spool_dir, own.failed_file)} == {
        own.folder
    }
    chosen = load(url | {"MIRROR_STATE_DIR": "/state", "MIRROR_KINDS": "snapshot"})
    assert (chosen.state.dirs, chosen.kinds.kinds) == ((Path("/state"),), {"snapshot"})


def test_the_report_is_on_in_a_companion_with_a_broker_and_off_inside_frigate() -> None:
    url, broker = {"FRIGATE_URL": "http://frigate:5000"}, {"MQTT_HOST": "mosquitto"}
    assert load(url | broker).report.over_mqtt
    assert not load(url).report.over_mqtt
    assert not load(url | broker | {"MIRROR_REPORT_MQTT": "false"}).report.over_mqtt
    assert not load(broker).report.over_mqtt
    assert load(broker | {"MIRROR_REPORT_MQTT": "true"}).report.over_mqtt
    assert (load(url).report.http_port, load(broker).report.http_port) == (9480, 0)


def test_a_report_that_could_not_be_published_is_a_fault() -> None:
    url, broker = {"FRIGATE_URL": "http://frigate:5000"}, {"MQTT_HOST": "mosquitto"}
    [fault] = faults_of({"MIRROR_REPORT_MQTT": "true"})
    assert fault == "MQTT_HOST: missing, though MIRROR_REPORT_MQTT is true"
    for environ in (broker, url, url | broker | {"MIRROR_REPORT_MQTT": "false"}):
        [fault] = faults_of(environ | {"MIRROR_HOME_ASSISTANT": "true"})
        assert fault == "MIRROR_HOME_ASSISTANT: needs MQTT_HOST and MIRROR_REPORT_MQTT=true"
    assert load(url | broker | {"MIRROR_HOME_ASSISTANT": "true"}).report.home_assistant


def test_the_name_of_the_host_is_made_fit_for_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "nvr/a #1")
    assert load({}).report.name == "nvr-a--1"
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    assert load({}).report.name == "mirror"
    assert load({"MIRROR_NAME": "Maison d'été"}).report.name == "Maison d'été"


def test_a_remote_of_rclone_has_no_prefix_and_excludes_a_bucket() -> None:
    remote = {"RCLONE_REMOTE": "gdrive:frigate", "S3_PATH_PREFIX": "p"}
    assert load(remote).keys.codec.folder == ""
    assert load(remote).destination == "remote gdrive:frigate"
    [fault] = faults_of(remote | {"S3_BUCKET": "pictures"})
    assert fault.startswith("RCLONE_REMOTE: set either this or S3_BUCKET")


def test_a_login_of_the_broker_is_whole() -> None:
    assert faults_of({"MQTT_PASSWORD": "secret"}) == [
        "MQTT_USER: missing, though MQTT_PASSWORD is set"
    ]
    [fault] = faults_of({"MQTT_CLIENT_CERT": __file__})
    assert fault.startswith("MQTT_CLIENT_KEY: ")


def test_a_token_of_ntfy_needs_a_topic() -> None:
    [fault] = faults_of({"NOTIFY_NTFY_TOKEN": "tk_secret"})
    assert fault == "NOTIFY_NTFY_URL: missing, though NOTIFY_NTFY_TOKEN is set"


def test_apprise_is_for_the_companion_and_inside_frigate_the_fault_names_the_other_ways() -> None:
    urls = {"NOTIFY_APPRISE_URLS": "tgram://token/chat\n discord://id/token"}
    companion = load(urls | {"FRIGATE_URL": "http://frigate:5000"})
    assert companion.notify.apprise_urls.reveal() == "tgram://token/chat discord://id/token"
    [fault] = faults_of(urls)
    assert fault.startswith("NOTIFY_APPRISE_URLS: only the companion can use it")
    assert "NOTIFY_WEBHOOK_URL" in fault and "NOTIFY_NTFY_URL" in fault


def test_the_ledger_is_beside_frigates_database_unless_a_folder_is_set() -> None:
    assert load({"FRIGATE_DB_PATH": "/db/frigate.db"}).state.dirs[0] == Path("/db/s3_mirror")
    assert load({"MIRROR_STATE_DIR": "/s"}).state.dirs[0] == Path("/s")


def test_the_status_the_spool_and_the_state_files_are_in_frigates_clips_cache() -> None:
    loaded = load({"FRIGATE_CLIPS_DIR": "/clips"}).state
    names = {loaded.status_path, loaded.spool_dir, loaded.uploaded_file, loaded.failed_file}
    assert {path.parent for path in names} == {Path("/clips/cache")}
    assert loaded.uploaded_file.name == ".s3_uploaded_events"
    assert loaded.failed_file.name == ".s3_failed_events"


@pytest.mark.parametrize(
    ("endpoint", "wanted", "storage_class"),
    [
        ("", "", "STANDARD_IA"),
        ("https://s3.eu-central-1.amazonaws.com", "", "STANDARD_IA"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "", "STANDARD_IA"),
        ("https://minio.example.com", "", ""),
        ("https://minio.example.com", "  ", ""),
        ("https://notamazonaws.com", "", ""),
        ("https://minio.example.com", "GLACIER_IR", "GLACIER_IR"),
        ("https://minio.example.com", "AUTO", ""),
        ("https://s3.eu-central-1.amazonaws.com", "AUTO", "AUTO"),
        ("", "AUTO", "AUTO"),
        ("", "STANDARD", "STANDARD"),
    ],
)
def test_a_custom_endpoint_gets_no_storage_class_unless_it_is_set(
    endpoint: str, wanted: str, storage_class: str
) -> None:
    environ = {"S3_ENDPOINT_URL": endpoint, "S3_STORAGE_CLASS": wanted}
    assert load(environ).s3.storage_class == storage_class


# -- older names


EXAMPLES = {
    "S3_MIRROR_ENABLED": "false",
    "S3_NICENESS": "5",
    "S3_KEY_TIMEZONE": "Europe/Berlin",
    "S3_UPLOAD_THREADS": "16",
    "S3_BANDWIDTH_LIMIT": "2M",
    "S3_MAX_FAILED_RETRIES": "7",
    "S3_DRAIN_SECONDS": "1",
    "S3_SWEEP_INTERVAL": "30",
    "S3_SWEEP_DAYS": "2",
    "S3_BATCH_SIZE": "100",
    "S3_SPOOL_LIMIT_MB": "0",
    "S3_STATS_INTERVAL": "10",
    "S3_CHECK_INTERVAL": "10",
    "S3_LOG_LEVEL": "DEBUG",
    "S3_STATE_DIR": "/state",
}


def test_every_older_name_still_works() -> None:
    assert EXAMPLES.keys() == ALIASES.keys()
    for alias, text in EXAMPLES.items():
        name = ALIASES[alias].name
        assert name.startswith("MIRROR_")
        assert (
            load({alias: text}) == load({name: text}) == load({alias: text, name: text}) != load({})
        )


@pytest.mark.parametrize("alias", EXAMPLES)
def test_two_values_under_two_names_are_a_fault_that_names_both(alias: str) -> None:
    newer = ALIASES[alias]
    fault = f"{newer.name}: {alias} has another value; set only {newer.name}"
    assert faults_of({alias: EXAMPLES[alias], newer.name: newer.default or "/elsewhere"}) == [fault]


def test_a_wrong_value_is_reported_under_the_name_that_was_set() -> None:
    assert faults_of({"S3_UPLOAD_THREADS": "65"})[0].startswith("S3_UPLOAD_THREADS: '65'")


def test_an_older_name_that_is_blank_is_not_set() -> None:
    assert load({"S3_UPLOAD_THREADS": " ", "MIRROR_UPLOAD_THREADS": "4"}).upload.threads == 4


# -- secrets


def test_only_reveal_shows_a_secret() -> None:
    loaded = load({**KEYS, "S3_SESSION_TOKEN": "FwoGZXIvYXdzEXAMPLE"})
    assert loaded.s3.secret_key.reveal() == KEYS["S3_SECRET_KEY"]
    key = loaded.s3.secret_key
    for shown in (repr(loaded), str(loaded), f"{key}", f"{key!r:>40}",
                  repr(dataclasses.asdict(loaded)),
                  repr(copy.copy(loaded))):  # fmt: skip
        for secret in (*KEYS.values(), "FwoGZXIvYXdzEXAMPLE"):
            assert secret not in shown


def test_secrets_compare_by_their_values() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert (bool(Secret("")), repr(Secret(""))) == (False, "Secret()")


@pytest.mark.parametrize(
    "broken", ["sec ret-hidden", "sec\nret-hidden", "sécret-hidden", "\0hidden"]
)
def test_a_secret_that_no_header_can_contain_is_refused_and_not_shown(broken: str) -> None:
    for name in (*KEYS, "S3_SESSION_TOKEN"):
        assert "hidden" not in str(faults_of({**KEYS, name: broken}))


def test_a_password_may_have_blanks_and_any_letters_but_no_line_ends() -> None:
    loaded = load({"RCLONE_CONFIG_PASS": "correct horse é"})
    assert loaded.rclone.config_pass == Secret("correct horse é")
    assert "horse" not in repr(loaded)
    (fault,) = faults_of({"RCLONE_CONFIG_PASS": "sec\nret-hidden"})
    assert "hidden" not in fault


def test_a_remote_with_options_in_its_name_is_refused_and_not_shown() -> None:
    (fault,) = faults_of({"RCLONE_REMOTE": ":webdav,user=me,pass=hidden:folder"})
    assert fault.startswith("RCLONE_REMOTE: is not a remote") and "hidden" not in fault


def test_a_secret_given_as_a_file_name_is_not_shown() -> None:
    faults = faults_of({"S3_ACCESS_KEY": "AKID", "S3_SECRET_KEY_FILE": KEYS["S3_SECRET_KEY"]})
    assert KEYS["S3_SECRET_KEY"] not in str(faults)
    assert faults[0].startswith("S3_SECRET_KEY: cannot read the file that S3_SECRET_KEY_FILE names")


@pytest.mark.parametrize("address", ["https://me:hidden@s3.example.com", "https://me:1/hidden@x"])
def test_a_password_in_the_endpoint_is_refused_and_not_shown(address: str) -> None:
    (fault,) = faults_of({"S3_ENDPOINT_URL": address})
    assert "hidden" not in fault


@pytest.mark.parametrize("name", ["NOTIFY_WEBHOOK_URL", "NOTIFY_PING_URL", "NOTIFY_NTFY_URL"])
@pytest.mark.parametrize(
    "text", ["hidden", "ftp:/hidden", "https://[hidden", "https://x/hidden é", "http:///hidden"]
)
def test_an_address_that_is_none_is_refused_and_not_shown(name: str, text: str) -> None:
    (fault,) = faults_of({name: text})
    assert fault.startswith(f"{name}: is not ") and "hidden" not in fault


@pytest.mark.parametrize(
    "text", ["hidden", "tgram:/hidden", "tgram://a/b hidden", "tgram://hiddené", "a://hidden " * 17]
)
def test_an_address_that_apprise_cannot_know_is_refused_and_not_shown(text: str) -> None:
    urls = {"NOTIFY_APPRISE_URLS": text, "FRIGATE_URL": "http://frigate:5000"}
    (fault,) = faults_of(urls)
    assert fault.startswith("NOTIFY_APPRISE_URLS: is not a list") and "hidden" not in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NOTIFY_WEBHOOK_URL", "https://me:hidden@host/"),
        ("NOTIFY_WEBHOOK_URL", "https://host/#hidden"),
        ("NOTIFY_WEBHOOK_URL", "https://host:0/hidden"),
        ("NOTIFY_WEBHOOK_URL", "https://host:hidden/"),
        ("NOTIFY_NTFY_URL", "https://ntfy.sh/"),
        ("NOTIFY_NTFY_URL", "https://ntfy.sh/hidden.topic"),
    ],
)
def test_an_address_that_could_not_be_used_is_refused_and_not_shown(name: str, text: str) -> None:
    (fault,) = faults_of({name: text})
    assert fault.startswith(f"{name}: ") and "hidden" not in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NOTIFY_WEBHOOK_URL", "http://home_assistant:8123/api/webhook/hidden?to=me@example.com"),
        ("NOTIFY_PING_URL", "https://kuma.example.com/api/push/hidden?status=up&msg=OK&ping="),
        ("NOTIFY_NTFY_URL", "https://example.com/ntfy/hidden-topic"),
    ],
)
def test_the_address_of_a_way_is_a_secret(name: str, text: str) -> None:
    assert VARIABLES[name].secret
    loaded = load({name: text})
    assert attrgetter(f"notify.{VARIABLES[name].field}")(loaded).reveal() == text
    assert "hidden" not in repr(loaded)


def test_a_secret_is_read_from_the_file_that_the_variable_names(tmp_path: Path) -> None:
    path = written(tmp_path / "key", f"{KEYS['S3_SECRET_KEY']}\n")
    loaded = load({"S3_ACCESS_KEY": "AKID", "S3_SECRET_KEY_FILE": path})
    assert loaded.s3.secret_key.reveal() == KEYS["S3_SECRET_KEY"]


def test_a_secret_is_read_from_run_secrets_or_the_credentials_directory(
    run_secrets: Path, tmp_path: Path
) -> None:
    written(run_secrets / "S3_ACCESS_KEY", "AKID-run")
    written(tmp_path / "S3_SECRET_KEY", "secret-credentials")
    written(tmp_path / "S3_ACCESS_KEY", "AKID-credentials")
    loaded = load({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert loaded.s3.access_key.reveal() == "AKID-run"
    assert loaded.s3.secret_key.reveal() == "secret-credentials"
    assert load(KEYS).s3.access_key.reveal() == KEYS["S3_ACCESS_KEY"], "the variable wins"


def test_a_setting_that_is_no_secret_is_not_read_from_a_file(
    run_secrets: Path, tmp_path: Path
) -> None:
    written(run_secrets / "S3_BUCKET", "elsewhere")
    assert load({"S3_BUCKET_FILE": written(tmp_path / "b", "elsewhere")}).s3.bucket == ""


def test_a_secret_and_its_file_at_once_are_a_fault(tmp_path: Path) -> None:
    faults = faults_of({**KEYS, "S3_SECRET_KEY_FILE": written(tmp_path / "key", "other")})
    assert faults == ["S3_SECRET_KEY: set either S3_SECRET_KEY or S3_SECRET_KEY_FILE, not both"]


def test_an_unreadable_secret_file_is_a_fault_with_its_reason(
    run_secrets: Path, tmp_path: Path
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfehidden")
    written(run_secrets / "S3_SESSION_TOKEN", "\n")
    faults = faults_of(
        {"S3_ACCESS_KEY_FILE": str(tmp_path), "S3_SECRET_KEY_FILE": str(tmp_path / "bytes")}
    )
    assert [fault.rpartition(": ")[2] for fault in faults] == [
        "Is a directory",
        "not text",
        f"{run_secrets / 'S3_SESSION_TOKEN'} is empty",
    ]
    assert "hidden" not in str(faults)


def test_an_impossible_credentials_directory_is_ignored() -> None:
    for folder in ("x" * 5000, "/a\0b", "/dev/null", "\udcff", "\ud800"):
        assert not load({"CREDENTIALS_DIRECTORY": folder}).s3.access_key


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A part of the settings that is in no list of secrets."""

    user: str = setting("MQTT_USER", "", parse.token, "user")
    password: Secret = setting("MQTT_PASSWORD", "", parse.secret, "password", "BROKER_PASSWORD")


def test_a_setting_is_a_secret_by_its_type(run_secrets: Path, tmp_path: Path) -> None:
    user, password = variables_of("broker", Broker)
    assert (user.secret, password.secret) == (False, True)
    assert list(user.sources) == ["MQTT_USER"]
    assert list(password.sources) == [
        "MQTT_PASSWORD", "BROKER_PASSWORD", "MQTT_PASSWORD_FILE", "BROKER_PASSWORD_FILE"
    ]  # fmt: skip
    for name in password.names:
        environ = {f"{name}_FILE": written(tmp_path / "file", "from-file")}
        assert password.value(environ) == Secret("from-file")
    written(run_secrets / "MQTT_PASSWORD", "from-run")
    assert password.value({}) == Secret("from-run")
    with pytest.raises(ValueError, match=r"^MQTT_PASSWORD: BROKER_PASSWORD has another") as raised:
        password.value({"BROKER_PASSWORD": "other"})
    assert "other;" not in str(raised.value) and "from-run" not in str(raised.value)
    assert "from-run" not in repr(Broker(user="me", password=password.value({})))


def test_a_rotated_secret_file_is_read_anew(tmp_path: Path) -> None:
    environ = {"S3_SECRET_KEY_FILE": written(tmp_path / "key", "first")}
    assert secret_of("S3_SECRET_KEY", environ) == Secret("first")
    written(tmp_path / "key", "second")
    assert secret_of("S3_SECRET_KEY", environ) == Secret("second")
    (tmp_path / "key").unlink()
    with pytest.raises(ValueError, match="cannot read"):
        secret_of("S3_SECRET_KEY", environ)


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"S3_ACCESS_KEY": "AKID"}, "S3_SECRET_KEY: missing, though S3_ACCESS_KEY is set"),
        ({"S3_SECRET_KEY": "x"}, "S3_ACCESS_KEY: missing, though S3_SECRET_KEY is set"),
        ({"S3_SESSION_TOKEN": "x"}, "S3_SESSION_TOKEN: needs S3_ACCESS_KEY and S3_SECRET_KEY"),
        ({"S3_SSE_KMS_KEY_ID": "k"}, "S3_SSE_KMS_KEY_ID: needs S3_SSE=aws:kms"),
        ({"S3_SSE_KMS_KEY_ID": "k", "S3_SSE": "AES256"}, "S3_SSE_KMS_KEY_ID: needs S3_SSE=aws:kms"),
    ],
)
def test_settings_that_contradict_each_other_are_a_fault(
    environ: dict[str, str], fault: str
) -> None:
    assert faults_of(environ) == [fault]


def test_settings_that_belong_together_are_no_fault() -> None:
    load({**KEYS, "S3_SESSION_TOKEN": "t", "S3_SSE": "aws:kms", "S3_SSE_KMS_KEY_ID": "arn:aws:k"})


words = st.text(max_size=40) | st.text(st.characters(max_codepoint=127), max_size=12)
shapes = st.builds("".join, st.lists(words | st.sampled_from(
    ["http://", "https://", "/", ":", "@", "[", "]", "%", "=", "&", "..", "1", "-", "é", "\ud800"]
), max_size=6))  # fmt: skip


@unhurried
@given(st.dictionaries(st.sampled_from(READ), words | shapes, max_size=5))
def test_any_text_for_any_variable_either_loads_or_is_a_settings_error(
    environ: dict[str, str],
) -> None:
    try:
        loaded = load(environ)
    except SettingsError as error:
        assert error.faults
        assert all(fault.isprintable() for fault in error.faults)
    else:
        assert loaded.s3.endpoint_url.isprintable() and loaded.s3.prefix.isprintable()
        assert all(map(str.isprintable, map(str, dataclasses.asdict(loaded.frigate).values())))


# -- the credentials of the retention

RETENTION = {"RETENTION_S3_ACCESS_KEY": "AKIDRETENTION", "RETENTION_S3_SECRET_KEY": "hidden-key"}


def retention_faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load_retention_access(environ)
    return raised.value.faults


def test_the_mirror_reads_no_credentials_of_the_retention(run_secrets: Path) -> None:
    for name in OF_RETENTION:
        written(run_secrets / name, "of-a-file")
    wrong = {"RETENTION_S3_SECRET_KEY_FILE": "/no/such/file", "RETENTION_RCLONE_CONFIG": "relative"}
    for environ in (RETENTION, wrong, {"RETENTION_S3_ACCESS_KEY": "a b"}):
        assert load(environ) == load({})
        assert "of-a-file" not in repr(dataclasses.asdict(load(environ)))


def test_the_retention_has_credentials_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path / "token", "the-token\n")
    found = load_retention_access(
        RETENTION | {"RETENTION_S3_SESSION_TOKEN_FILE": path, "RETENTION_RCLONE_CONFIG": "/r.conf"}
    )
    assert found.secret_key.reveal() == "hidden-key"
    assert (found.session_token.reveal(), found.config) == ("the-token", "/r.conf")
    assert "hidden" not in repr(found) and "the-token" not in repr(found)
    assert not load_retention_access({**KEYS}).access_key


def test_credentials_of_the_retention_that_are_not_whole_are_a_fault() -> None:
    key, secret = RETENTION
    assert retention_faults({key: "AKID"}) == [f"{secret}: missing, though {key} is set"]
    assert retention_faults({secret: "x"}) == [f"{key}: missing, though {secret} is set"]
    faults = retention_faults({"RETENTION_RCLONE_CONFIG_PASS": "hidden", secret: "hid\nden"})
    assert [fault.split(":")[0] for fault in faults] == [secret, "RETENTION_RCLONE_CONFIG_PASS"]
    assert "hid" not in str(faults)


# -- the command


def listed(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command under a Python that has the standard library and nothing else."""
    command = Path(__file__).resolve().parent.parent / "s3_snapshot_mirror.py"
    return subprocess.run(
        [sys.executable, "-S", command, "settings", *words], capture_output=True, text=True
    )


def test_names_lists_every_variable_and_the_newer_name_of_each_older_one() -> None:
    lines = [line.split("\t") for line in listed("--names").stdout.splitlines()]
    assert [name for name, *_ in lines] == READ[:-1]
    newer = {name: new for name, *news in lines for new in news}
    assert newer == {alias: variable.name for alias, variable in ALIASES.items()}
    assert ["S3_SECRET_KEY_FILE"] in lines


def test_table_has_a_row_for_each_setting() -> None:
    head, _, *rows = listed("--table").stdout.splitlines()
    assert head == "| variable | default | what it is |"
    assert [row.split("`")[1] for row in rows] == NAMES
    assert "| `S3_REGION` | `us-east-1` | region of the bucket |" in rows
    assert all(row.count("|") == 4 for row in rows)


def test_json_describes_each_setting_in_full() -> None:
    described = {entry["name"]: entry for entry in json.loads(listed("--json").stdout)}
    assert list(described) == NAMES
    assert described["MIRROR_UPLOAD_THREADS"] == {
        "name": "MIRROR_UPLOAD_THREADS",
        "aliases": ["S3_UPLOAD_THREADS"],
        "default": "8",
        "companion": "8",
        "about": VARIABLES["MIRROR_UPLOAD_THREADS"].about,
        "secret": False,
        "part": "upload",
    }
    assert [name for name in described if described[name]["secret"]] == SECRETS


@pytest.mark.parametrize("words", [(), ("--names", "--json"), ("--else",)])
def test_settings_takes_exactly_one_form_of_output(words: tuple[str, ...]) -> None:
    assert listed(*words).returncode == 64
