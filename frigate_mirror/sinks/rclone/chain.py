"""What rclone's configuration says of a remote, and of those that it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.errors import RcloneError

DRIVE = "drive"
"""The type of a remote on Google Drive."""
Options = Mapping[str, Any]
"""What rclone's configuration says of one remote. Some of it is secret."""


def chain_of(daemon: Daemon, remote: str) -> dict[str, Options]:
    """Returns what the configuration says of the remote and of those that it stands on: a crypt
    remote encrypts for another one. The names are the keys."""
    found: dict[str, Options] = {}
    names = [remote]
    while names:
        name, colon, _ = names.pop().partition(":")
        if not colon or not name or name in found:
            continue
        try:
            options = daemon.call("config/get", name=name)
        except RcloneError:
            continue  # whoever uses the remote next tells why
        found[name] = options
        names += [str(options.get("remote", "")), *str(options.get("upstreams", "")).split()]
        names = [one.rpartition("=")[2] for one in names]  # combine has NAME=REMOTE
    return found
