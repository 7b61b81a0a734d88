"""The units of systemd: one service for each camera, one that uploads, and a target for all.

systemd does not enable a pattern such as `camera-recorder-*`, so the target wants every service:
`systemctl enable --now camera-backup.target` starts all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.recorder.config import Config

FOLDER = Path("/etc/systemd/system")
USER = "camera-backup"
TARGET = "camera-backup.target"
UPLOADER = "camera-uploader.service"
OURS = re.compile(r"camera-recorder-[A-Za-z0-9_-]+\.service")
MARK = "# Written by `frigate-mirror recorder generate`"
_HEAD = (
    MARK
    + """, which replaces this file. What you want to change belongs into
# a file of your own: systemctl edit {name}
"""
)
_UNIT = """
[Unit]
Description={about}
Wants=network-online.target
After=network-online.target
PartOf={target}
RequiresMountsFor={folders}
StartLimitIntervalSec=0
"""
_CAMERA = """
[Service]
Type=notify
NotifyAccess=main
ExecStart={program} recorder run --config {config} --camera {camera}
# The recorder is ready with the first picture, and alive while its file grows.
TimeoutStartSec=infinity
WatchdogSec=60
WatchdogSignal=SIGTERM
"""
_UPLOADER = """
[Service]
Type=exec
ExecStart={program} recorder run --config {config} --uploader
Environment=HOME={home}
Nice=10
"""
_COMMON = """Restart=always
RestartSec={pause}
# Wrong settings: a new start would change nothing.
RestartPreventExitStatus=78
KillMode=mixed
TimeoutStopSec={stop}

User={user}
Group={user}
UMask=0027
WorkingDirectory=/
ReadWritePaths={folders}

AmbientCapabilities=
CapabilityBoundingSet=
DevicePolicy=closed
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources

[Install]
WantedBy={target}
"""
_TARGET = """
[Unit]
Description=Recorders of the cameras, and their uploader
Wants={wanted}
# By default a target is reached after all that it wants, so a camera that is away would keep the
# machine from finishing its boot.
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target

[Install]
WantedBy=multi-user.target
"""


def texts(config: Config, program: str, *, state: Path) -> dict[str, str]:
    """Returns the text of every unit by its file's name. `program` is the command of this package
    as an absolute path, `state` the folder of the uploader's own files."""
    cameras = {camera_unit(camera.name): camera.name for camera in config.enabled}
    values = {
        "program": _word(program), "config": _word(config.path), "target": TARGET, "user": USER,
        "home": _word(state.parent),
    }  # fmt: skip
    found = {}
    for name, camera in cameras.items():
        text = _HEAD + _UNIT + _CAMERA + _COMMON
        found[name] = text.format(
            name=name, about=f"Recorder of the camera {camera}", camera=camera, stop=20, pause=1,
            folders=_word(config.folder), **values,
        )  # fmt: skip
    found[UPLOADER] = (_HEAD + _UNIT + _UPLOADER + _COMMON).format(
        name=UPLOADER, about="Uploader of the cameras' recordings", stop=45, pause=5,
        folders=f"{_word(config.folder)} {_word(state)}", **values,
    )  # fmt: skip
    wanted = " ".join([*cameras, UPLOADER])
    found[TARGET] = (_HEAD + _TARGET).format(name=TARGET, wanted=wanted)
    return found


def _word(path: object) -> str:
    """Returns a path as one word of a unit, in quotes where it needs some."""
    text = str(path).replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w./@%$+,:=-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def camera_unit(camera: str) -> str:
    """Returns the name of a camera's service."""
    return f"camera-recorder-{camera}.service"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a file: `text` is its new content, or None if it is removed."""

    path: Path
    text: str | None
    what: str


def changes(wanted: dict[str, str], folder: Path) -> list[Change]:
    """Returns what has to change in the folder of units, so that it has exactly the wanted ones of
    ours. A file that somebody else wrote is never removed. Raises OSError."""
    found = []
    for name, text in wanted.items():
        path = folder / name
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before != text:
            found.append(Change(path, text, "write" if before is None else "replace"))
    for path in sorted(folder.glob("camera-recorder-*.service")) if folder.is_dir() else []:
        ours = OURS.fullmatch(path.name) and path.read_text(encoding="utf-8").startswith(MARK)
        if ours and path.name not in wanted:
            found.append(Change(path, None, "remove"))
    return found
