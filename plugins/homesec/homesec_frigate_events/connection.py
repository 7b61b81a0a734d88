"""Which Frigate, which broker and which folder a source is for, and the settings of the mirror that
follow from that."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frigate_mirror.settings.settings import Settings, SettingsError, load

FIELDS = {
    "FRIGATE_URL": "frigate_url",
    "FRIGATE_USER": "frigate_user",
    "FRIGATE_PASSWORD": "frigate_password_env",
    "FRIGATE_TLS_FINGERPRINT": "frigate_tls_fingerprint",
    "FRIGATE_CA_BUNDLE": "frigate_ca_bundle",
    "FRIGATE_TLS_VERIFY": "frigate_tls_verify",
    "MQTT_HOST": "mqtt_host",
    "MQTT_PORT": "mqtt_port",
    "MQTT_USER": "mqtt_username",
    "MQTT_PASSWORD": "mqtt_password_env",
    "MQTT_TLS": "mqtt_tls",
    "MQTT_CA_BUNDLE": "mqtt_ca_bundle",
    "MQTT_CLIENT_CERT": "mqtt_client_cert",
    "MQTT_CLIENT_KEY": "mqtt_client_key",
    "MQTT_TOPIC_PREFIX": "mqtt_topic_prefix",
    "MIRROR_SWEEP_DAYS": "catch_up_days",
}
"""The settings of the mirror that the configuration of the source gives, and their names there."""


class ConfigFault(Exception):
    """The configuration cannot be used. The text names every fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Which Frigate and which broker, and the folder for the clips. `environ` are the settings of
    the mirror; `pause` is how many seconds pass between two tries to reach the broker, and
    `attempts` how many there are in one outage, or 0 for no limit."""

    environ: Mapping[str, str] = field(repr=False)  # has passwords
    folder: Path
    client_id: str = "homesec-frigate"
    idle: float = 30.0
    pause: float = 5.0
    attempts: int = 0

    @property
    def identity(self) -> str:
        """Tells this connection from others with the same folder. A change of anything else keeps
        what the ledger knows."""
        named = ("FRIGATE_URL", "MQTT_HOST", "MQTT_PORT", "MQTT_TOPIC_PREFIX")
        words = "\n".join(self.environ.get(name, "") for name in named)
        return hashlib.sha256(words.encode()).hexdigest()[:8]

    def settings(self) -> Settings:
        """Returns the settings of the mirror. Raises ConfigFault."""
        state = self.folder.absolute() / f".homesec-frigate-events-{self.identity}"
        own = {
            "MIRROR_STATE_DIR": str(state),
            "MIRROR_KINDS": "clip",
            "MIRROR_CLIP_PADDING": "0",
            "MIRROR_REPORT_MQTT": "false",
            "MIRROR_HTTP_PORT": "0",
            "MIRROR_UPLOAD_THREADS": "1",
            "MIRROR_DRAIN_SECONDS": "1",
            "MIRROR_CHECK_INTERVAL": "10",  # of a folder, which costs nothing
        }
        try:
            return load({**own, **self.environ})
        except SettingsError as error:
            faults = "; ".join(error.faults)
            names = re.compile("|".join(FIELDS))
            raise ConfigFault(names.sub(lambda found: FIELDS[found[0]], faults)) from error
