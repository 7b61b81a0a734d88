"""A camera, and all that the process which records it has to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from frigate_mirror.settings.secret import Secret

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322}


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera. `url` has its login. `ca_file` is a file of certificates to trust, or empty for
    the usual ones. Its segments are in `folder` and end every `segment_seconds` on the clock."""

    name: str
    url: Secret
    enabled: bool = True
    ca_file: str = ""
    tls_verify: bool = True
    folder: Path = Path()
    segment_seconds: int = 3_600
    ffmpeg: str = "ffmpeg"

    @property
    def tls(self) -> bool:
        return urlsplit(self.url.reveal()).scheme.lower() == "rtsps"

    @property
    def secrets(self) -> set[str]:
        """Every text that no log may have. Very short ones occur in other words."""
        parts = urlsplit(self.url.reveal())
        login = parts.netloc.rpartition("@")[0]
        user, _, password = login.partition(":")
        texts = {login, password or user}
        return {one for text in texts for one in (text, unquote(text)) if len(one) > 3}
