"""HomeSec as its users run it: `homesec run`, with the installed plugin and the stubs of tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.rig.waiting import PATIENCE, until

STUBS = Path(__file__).with_name("stubs")
NOBODY = "postgresql://nobody@127.0.0.1:1/homesec"


def config_of(
    folder: Path,
    frigate_url: str,
    broker_port: int,
    cameras: Mapping[str, Mapping[str, Any]],
    **parts: Any,
) -> dict[str, Any]:
    """Returns a configuration of HomeSec: cameras with these settings of the source, the stubs, and
    a database that is not there."""
    common = {
        "frigate_url": frigate_url,
        "mqtt_host": "127.0.0.1",
        "mqtt_port": broker_port,
        "output_dir": str(folder / "clips"),
        "max_reconnect_attempts": 0,
        "reconnect_delay_s": 1,
    }
    config = {
        "version": 1,
        "cameras": [
            {
                "name": name,
                "source": {"backend": "frigate_events", "config": {**common, **settings}},
            }
            for name, settings in cameras.items()
        ],
        "filter": {"backend": "frigate_predetection", "config": {}},
        "vlm": {
            "backend": "frigate_context",
            "trigger_classes": ["person", "car"],
            "config": {"backend": "test"},
        },
        "alert_policy": {"backend": "default", "config": {"min_risk_level": "medium"}},
        "storage": {"backend": "local", "config": {"root": str(folder / "storage")}},
        "notifiers": [{"backend": "test", "config": {"path": str(folder / "alerts")}}],
        "state_store": {"dsn": NOBODY},
        "server": {"enabled": False},
    }
    return config | parts


class HomeSec:
    """`homesec run` with this configuration, in a folder of its own."""

    def __init__(self, folder: Path, config: Mapping[str, Any], **environ: str) -> None:
        self.folder = folder
        self.config = config
        self._path = folder / "config.yaml"
        self._alerts = folder / "alerts"
        self._log = folder / "log"
        self._environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(STUBS),
            "HOME": str(folder),
            "CONSOLE_LOG_FORMAT": "%(levelname)s %(name)s %(message)s",
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._path.write_text(yaml.safe_dump(dict(self.config)), encoding="utf-8")
        self._path.chmod(0o600)
        command = [str(Path(sys.executable).with_name("homesec")), "run", f"--config={self._path}"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self._environ, stdout=log, stderr=log
            )

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kills HomeSec and its workers, and leaves them no moment to do anything."""
        assert self.process is not None
        for pid in [self.process.pid, *_children(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def alerts(self) -> list[dict[str, Any]]:
        if not self._alerts.exists():
            return []
        lines = self._alerts.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for(self, words: str) -> None:
        until(lambda: words in self._live_text, lambda: f"{words!r} in:\n{self.text[-5000:]}")

    @property
    def _live_text(self) -> str:
        assert self.is_running, f"HomeSec has ended:\n{self.text[-5000:]}"
        return self.text

    def wait_for_alerts(self, count: int) -> list[dict[str, Any]]:
        """Waits for alerts of so many different clips, and returns all alerts."""
        until(
            lambda: len({alert["clip_id"] for alert in self.alerts()}) >= count,
            lambda: f"{count} alerts; there are {len(self.alerts())}:\n{self.text[-5000:]}",
        )
        return self.alerts()


def _children(pid: int) -> list[int]:
    """Returns all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found
