"""A network namespace of its own for a server, and the only cable to it, which can be pulled.

It needs root, and `ip` of Debian's iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess

NEAR, FAR = "198.18.254.1", "198.18.254.2"  # of the range for tests of networks (RFC 2544)


def missing() -> str:
    """Returns why there can be no namespace, or an empty text."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "a network namespace needs root, and `ip` (Debian: iproute2)"
    probe = Network()
    try:
        probe.start()
    except subprocess.CalledProcessError as error:
        return f"this machine makes no network namespace: {error.stderr.strip()}"
    finally:
        probe.end()
    return ""


class Network:
    """The namespace has the address `FAR`, and this machine `NEAR`. `words` run a program there."""

    address = FAR

    def __init__(self) -> None:
        self._name = f"camera{os.getpid()}"
        self._cable = f"cable{os.getpid()}"
        self.words = ["ip", "netns", "exec", self._name]

    def start(self) -> None:
        _ip("netns", "add", self._name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "end", "netns", self._name)
        _ip("address", "add", f"{NEAR}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        for words in (["address", "add", f"{FAR}/30", "dev", "end"], ["link", "set", "end", "up"]):
            _ip("-n", self._name, *words)

    def pull(self) -> None:
        """Pulls the cable: nothing arrives any longer, and nobody is told."""
        _ip("link", "set", self._cable, "down")

    def plug(self) -> None:
        _ip("link", "set", self._cable, "up")

    def end(self) -> None:
        """Removes everything, also what `start` has left half done."""
        for words in (["link", "delete", self._cable], ["netns", "delete", self._name]):
            subprocess.run(["ip", *words], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
