"""A real MQTT broker on loopback: rumqttd, which the package iotcore brings.

rumqttd keeps its store in memory, while other brokers keep theirs on disk. A broker that restarts
with its store is therefore one whose clients lose their connections and cannot come back for a
moment, while its process goes on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from frigate_mirror.demo.ports import answers, free_ports
from tests.rig.certificates import self_signed
from tests.rig.router import Router
from tests.rig.waiting import PATIENCE, until

NOBODY: Mapping[str, str] = MappingProxyType({})
MOST_BYTES = 2_000_000  # of a message
CONFIG = """
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v4.1]
name = "v4-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = {most}
max_inflight_count = 100
dynamic_filters = true
"""


class Broker:
    """A broker that clients reach at `host` and `port`, which stay the same for ever. `users` are
    the passwords of those who may connect, by their names; without any, everybody may. With `tls`
    it speaks TLS only, and `ca_bundle` is the file that a client has to trust.

    `environ` are the settings with which the companion reaches it, as the first of the users.
    `process` is the broker itself, and `front` the router before it, which can also be slow or
    silent.
    """

    host = "127.0.0.1"

    def __init__(self, users: Mapping[str, str] = NOBODY, *, tls: bool = False) -> None:
        self.users = users
        self._folder = Path(tempfile.mkdtemp(prefix="broker-"))
        self.port, self._inner = free_ports(2)
        config = CONFIG.format(port=self._inner, most=MOST_BYTES)
        if users:
            pairs = (f"{_quoted(name)} = {_quoted(word)}\n" for name, word in users.items())
            config += "\n[v4.1.connections.auth]\n" + "".join(pairs)
        self.ca_bundle = ""
        if tls:
            certificate, key = self_signed(self._folder)
            self.ca_bundle = str(certificate)
            paths = f"certpath = {_quoted(str(certificate))}\nkeypath = {_quoted(str(key))}\n"
            config += f"\n[v4.1.tls]\n{paths}"
        self._config = self._folder / "broker.toml"
        self._config.write_text(config, encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None
        self.front: Router | None = None

    @property
    def environ(self) -> dict[str, str]:
        found = {"MQTT_HOST": self.host, "MQTT_PORT": str(self.port)}
        for name, password in list(self.users.items())[:1]:
            found |= {"MQTT_USER": name, "MQTT_PASSWORD": password}
        if self.ca_bundle:
            found |= {"MQTT_TLS": "true", "MQTT_CA_BUNDLE": self.ca_bundle}
        return found

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the broker without a store, and returns as soon as clients can connect."""
        words = [sys.executable, "-m", "iotcore", f"--config={self._config}"]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, "--log-level=CRITICAL"], cwd=self._folder, stdout=log, stderr=log
            )
        until(self._listens, self._log)
        self._open()

    def kill(self) -> None:
        """Kills the broker. It loses its store, and nobody can connect until `start`."""
        self._close()
        assert self.process
        self.process.kill()
        self.process.wait(PATIENCE)

    def restart(self, *, forget: bool = False) -> None:
        """Ends all connections, and lets clients connect again. With `forget` the broker loses its
        store: sessions, what it keeps for clients that are away, and retained messages."""
        self.cut_off()
        if forget:
            self.kill()
            self.start()
        else:
            self.come_back()

    def cut_off(self) -> None:
        """Ends all connections, and accepts none until `come_back`. The broker keeps its store."""
        self._close()

    def come_back(self) -> None:
        self._open()

    def stop(self) -> None:
        """Ends the broker for good."""
        if self.process:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> None:
        self.front = Router(f"mqtt://{self.host}:{self._inner}", port=self.port)

    def _close(self) -> None:
        if self.front:
            self.front.close()
            self.front = None

    def _listens(self) -> bool:
        assert self.process and self.process.poll() is None, self._log()
        return answers(self._inner)

    def _log(self) -> str:
        text = (self._folder / "log").read_text(errors="replace")
        return f"the broker does not start:\n{text[-2000:]}"


def _quoted(text: str) -> str:
    """A text as it stands in TOML."""
    return json.dumps(text, ensure_ascii=False)
