"""The configuration of the plugin's four parts, as pydantic models.

Validation only looks at the values: HomeSec validates a configuration several times, also for
cameras that it never starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

WEEK = 604_800  # seconds; no service accepts a link that is valid for longer


class Strict(BaseModel):
    """A model that refuses names that it does not know."""

    model_config = ConfigDict(extra="forbid")


class FrigateEventsConfig(Strict):
    """The source `frigate_events`."""

    camera_name: str = Field(default="frigate", description="HomeSec's camera; HomeSec fills it in")
    frigate_camera: str | None = Field(
        default=None, description="Frigate's name for this camera (None = the same)"
    )

    # Frigate
    frigate_url: str = Field(default="", description="Address of Frigate: http://frigate:5000")
    frigate_url_env: str | None = Field(
        default=None, description="Environment variable with the address; it wins if it is set"
    )
    frigate_user: str | None = Field(default=None, description="User of Frigate, for port 8971")
    frigate_password_env: str | None = Field(
        default=None, description="Environment variable with the password of this user"
    )
    frigate_tls_fingerprint: str | None = Field(
        default=None, description="SHA-256 of the only certificate that is accepted"
    )
    frigate_ca_bundle: Path | None = Field(
        default=None, description="File of certificates to trust instead of the usual ones"
    )
    frigate_tls_verify: bool = Field(default=True, description="False accepts any certificate")

    # MQTT
    mqtt_host: str = Field(default="localhost", description="Host of the MQTT broker")
    mqtt_port: int = Field(default=1883, ge=1, le=65535, description="Port of the MQTT broker")
    mqtt_username: str | None = Field(default=None, description="User of the broker (optional)")
    mqtt_password_env: str | None = Field(
        default=None, description="Environment variable with the password of this user"
    )
    mqtt_topic_prefix: str = Field(default="frigate", description="Frigate's MQTT topic prefix")
    mqtt_client_id: str = Field(
        default="homesec-frigate", description="Beginning of the MQTT client identifier"
    )
    mqtt_tls: bool = Field(default=False, description="TLS to the broker; its port is then 8883")
    mqtt_ca_bundle: Path | None = Field(
        default=None, description="File of certificates to trust; it switches TLS on"
    )
    mqtt_client_cert: Path | None = Field(default=None, description="Certificate of our own")
    mqtt_client_key: Path | None = Field(default=None, description="Key of this certificate")

    # Which events
    cameras: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Frigate's cameras, instead of frigate_camera; ['*'] means all of them",
    )
    labels: list[str] = Field(
        default=["person"], min_length=1, description="Object labels to process"
    )
    min_score: float = Field(default=0.7, ge=0.0, le=1.0, description="Minimum score")
    zones: list[str] | None = Field(
        default=None, min_length=1, description="Only events in one of these zones (None = all)"
    )
    min_duration_s: float = Field(default=1.0, ge=0.0, description="Minimum length of an event")
    catch_up_days: float = Field(
        default=7.0, ge=0.01, le=3650, description="How far back missed events are looked for"
    )

    # Clips
    output_dir: Path = Field(
        default=Path("./frigate_clips"), description="Folder for clips, for nothing else"
    )
    clip_format: Literal["mp4", "original"] = Field(
        default="mp4", description="'mp4' for a clip that a player can begin at once, 'original'"
    )
    retain_clips: bool = Field(default=True, description="Keep clips when HomeSec is done")
    download_timeout_s: float = Field(
        default=30.0, ge=5.0, description="Seconds for which a download may stand still"
    )

    # HomeSec's pipeline
    bypass_filter: bool = Field(default=True, description="Frigate's detection is the filter's")
    include_frigate_metadata: bool = Field(
        default=True, description="Frigate's details of the event in the sidecar"
    )

    # The broker's outages
    reconnect_delay_s: float = Field(default=5.0, ge=1.0, description="Pause between two tries")
    max_reconnect_attempts: int = Field(
        default=10, ge=0, description="Tries in one outage (0 = unlimited)"
    )

    @model_validator(mode="after")
    def _check(self) -> FrigateEventsConfig:
        faults = []
        if not self.frigate_url and not self.frigate_url_env:
            faults.append("Either frigate_url or frigate_url_env must be set")
        if bool(self.frigate_user) != bool(self.frigate_password_env):
            faults.append("frigate_user and frigate_password_env: set both or neither")
        if self.frigate_tls_fingerprint and self.frigate_ca_bundle:
            faults.append("frigate_ca_bundle: set either this or frigate_tls_fingerprint")
        if self.mqtt_password_env and not self.mqtt_username:
            faults.append("mqtt_username: missing, though mqtt_password_env is set")
        if bool(self.mqtt_client_cert) != bool(self.mqtt_client_key):
            faults.append("mqtt_client_cert and mqtt_client_key: set both or neither")
        if self.frigate_camera and self.cameras:
            faults.append("cameras: set either this or frigate_camera")
        if faults:
            raise ValueError("; ".join(faults))
        return self


class Inner(Strict):
    """Another plugin of HomeSec of the same type, to which one of ours passes work on."""

    backend: str
    config: dict[str, Any] = Field(default_factory=dict)


class FrigatePredetectionConfig(Strict):
    """The filter `frigate_predetection`."""

    delegate: Inner | None = Field(
        default=None, description="The filter for clips that do not come from Frigate"
    )


class FrigateContextConfig(Inner):
    """The analyzer `frigate_context`: `backend` is the analyzer that does the work."""


class S3Config(Strict):
    """The storage `s3`."""

    bucket: str = Field(min_length=3, description="Name of the bucket")
    prefix: str = Field(default="homesec", description="What the keys of all objects begin with")
    region: str = Field(default="us-east-1", description="Region of the bucket")
    endpoint_url: str | None = Field(
        default=None, description="Endpoint of an S3-compatible service (None = AWS)"
    )
    access_key_env: str | None = Field(
        default=None, description="Environment variable with the access key id"
    )
    secret_key_env: str | None = Field(
        default=None, description="Environment variable with the secret access key"
    )
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    ca_bundle: Path | None = Field(default=None, description="File of certificates to trust")
    storage_class: str = Field(default="STANDARD", description="Storage class at AWS")
    view_url_expires_s: int = Field(
        default=WEEK, ge=0, le=WEEK, description="Seconds for which links work (0 = no links)"
    )

    @model_validator(mode="after")
    def _check(self) -> S3Config:
        if bool(self.access_key_env) != bool(self.secret_key_env):
            raise ValueError("access_key_env and secret_key_env: set both or neither")
        if not self.prefix.strip("/"):
            raise ValueError("prefix: missing, but it deletes objects, so it needs one of its own")
        return self
