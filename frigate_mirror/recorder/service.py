"""What systemd is told: that the service works, and what it does (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Service:
    """Tells the manager of services that started this process, if there is one."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._told = ""

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        """Says that the work goes on. Without this for WatchdogSec the service is started anew."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Shows a line in `systemctl status`."""
        if text != self._told:
            self._told = text
            self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), self._address)
