"""Remotes of rclone of several kinds, all on this machine."""

from __future__ import annotations

from pathlib import Path

from tests.rig.drive import FRESH, Drive
from tests.rig.rclone import PASSWORD, USER, Config, Served, obscured


class Remotes:
    """A configuration with the remotes local, memory, webdav, sftp, crypt, cryptdav and drive, and
    the servers behind them. `folder` holds what they store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.drive = Drive(folder)
        self.webdav = Served("webdav", self._made("webdav"))
        self.sftp = Served("sftp", self._made("sftp"))
        # rclone waits 10 ms between two requests of a WebDAV remote.
        swift = {"RCLONE_WEBDAV_PACER_MIN_SLEEP": "1ms"}
        self.config = Config(folder, **self.drive.environ, **swift, NO_PROXY="127.0.0.1")
        login = {"user": USER, "pass": obscured(PASSWORD)}
        address = f"http://127.0.0.1:{self.webdav.port}"
        add = self.config.add
        add("local", "alias", remote=self._made("local"))
        add("memory", "memory")
        add("webdav", "webdav", url=address, vendor="other", **login)
        add("sftp", "sftp", host="127.0.0.1", port=self.sftp.port, **login)
        add("crypt", "crypt", remote=self._made("crypt"), password=login["pass"])
        add("cryptdav", "crypt", remote="webdav:crypt", password=login["pass"])
        add_drive(self.config)

    def environ(self, remote: str) -> dict[str, str]:
        return self.config.environ(remote)

    def stop(self) -> None:
        self.webdav.stop()
        self.sftp.stop()
        self.drive.stop()

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path


def add_drive(config: Config, name: str = "drive", token: str = FRESH) -> None:
    config.add(name, "drive", client_id="mine", client_secret="drive-client-secret", token=token)
