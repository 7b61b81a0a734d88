"""The compose override: what Frigate's service needs so that the mirror runs inside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from frigate_mirror.setup.compose import ENTRYPOINT, MOUNT, SIGNATURE, Service


def text(ours: Path, service: Service, names: Sequence[str]) -> str:
    """Returns the override that mounts the folder `ours` and passes on the settings `names`.

    A setting without a value has its value in .env. Frigate needs up to 11 s to stop, and Docker
    allows 10, so the override gives it 30 unless the owner has chosen.
    """
    init, words = _init(service)
    lines = [
        f"{SIGNATURE}, anew in each run.",
        "services:",
        f"  {service.name}:",
        f"    entrypoint: {json.dumps([*ENTRYPOINT, *words], ensure_ascii=False)}",
    ]
    if not service.stop_grace_period:
        lines.append("    stop_grace_period: 30s")
    lines += [
        "    volumes:",
        "      - type: bind",
        f"        source: {_quoted(str(ours))}",
        f"        target: {MOUNT}",
        "        read_only: true",
    ]
    if init or names:
        lines.append("    environment:")
    if init:
        lines.append(f"      S3_MIRROR_INIT: {json.dumps(init, ensure_ascii=False)}")
    lines += [f"      {name}:" for name in names]
    return "".join(f"{line}\n" for line in lines)


def _init(service: Service) -> tuple[str, Sequence[str]]:
    """Returns the program that our entrypoint starts instead of /init, and its first arguments.

    An entrypoint of the owner is kept: our entrypoint starts its first word, and gives it the
    others. An empty one makes the container run the words of `command`, which env does too.
    """
    if service.starts_the_mirror or service.entrypoint is None:
        return "", ()
    if not service.entrypoint:
        return ("/usr/bin/env" if service.has_command else ""), ()
    return service.entrypoint[0], service.entrypoint[1:]


def _quoted(path: str) -> str:
    """Returns a text of YAML in which Compose replaces no variable."""
    return json.dumps(path.replace("$", "$$"), ensure_ascii=False)
