"""A real RTSP server with made-up cameras: that of GStreamer, which the system's Python runs.

PACKAGES has the names of Debian's packages for it.
"""

from __future__ import annotations

import functools
import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from frigate_mirror.demo.ports import free_ports
from tests.rig.network import Network
from tests.rig.waiting import PATIENCE

PROGRAM = Path(__file__).with_name("cameras") / "rtsp_server.py"
PYTHON = "/usr/bin/python3"
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)
USER, PASSWORD = "viewer", "pa$s'w@rd/1"
QUOTED = "pa%24s'w%40rd%2F1"  # as it stands in an address


@functools.cache
def missing() -> str:
    """Returns why there can be no server, or an empty text."""
    try:
        done = subprocess.run(
            [PYTHON, str(PROGRAM), "--needs"], capture_output=True, text=True, timeout=PATIENCE
        )
    except OSError as error:
        return f"there is no {PYTHON}: {error}"
    if done.returncode:
        return f"the RTSP server of GStreamer is missing, install {PACKAGES}"
    return ""


class RtspServer:
    """A server of these cameras, by name: their codecs are those of `rtsp_server.py`. With a
    certificate and its key it speaks TLS. It runs in `network`, or on this machine."""

    def __init__(
        self,
        cameras: Mapping[str, str],
        tls: tuple[Path, Path] | None = None,
        network: Network | None = None,
    ) -> None:
        [self.port] = free_ports(1)
        self._tls = tls
        self._address = network.address if network else "127.0.0.1"
        self._words = [*(network.words if network else ()), PYTHON, str(PROGRAM)]
        self.start(cameras)

    def start(self, cameras: Mapping[str, str]) -> None:
        """Starts it, also again on the same port with other cameras."""
        words = [*self._words, "--address", self._address, "--port", str(self.port)]
        words += ["--login", f"{USER}:{PASSWORD}"]
        if self._tls:
            words += ["--tls", *map(str, self._tls)]
        words += [f"{name}={codecs}" for name, codecs in cameras.items()]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline().strip() == str(self.port)

    def url(self, camera: str) -> str:
        scheme = "rtsps" if self._tls else "rtsp"
        return f"{scheme}://{USER}:{QUOTED}@{self._address}:{self.port}/{camera}"

    def freeze(self) -> None:
        """Hangs like a camera whose program hangs: its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it like a cut of its power."""
        self.process.kill()
        self._reap()

    def stop(self) -> dict[str, int]:
        """Ends it; returns how many pictures each camera has made for its clients."""
        if self.process.poll() is not None:
            return {}
        self.thaw()
        self.process.terminate()
        assert self.process.stdout
        told = self.process.stdout.readline()
        self._reap()
        pictures: dict[str, int] = json.loads(told)
        return pictures

    def _reap(self) -> None:
        self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
