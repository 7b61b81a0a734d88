"""Checks the names of the environment's variables."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from frigate_mirror.checks.finding import NOTE, Finding
from frigate_mirror.settings.settings import VARIABLES

# How our variables begin. RCLONE_ begins those of rclone, too.
OURS = ("S3_", "MIRROR_", "MQTT_", "RETENTION_")
# These begin names of Frigate and of systemd, too, so only one that is nearly a setting counts.
SHARED = ("FRIGATE_", "NOTIFY_")
INTERNAL = ("S3_MIRROR_INIT", "S3_MIRROR_FRIGATE", "S3_MIRROR_PARENT")  # not settings


def misspelt(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Finds variables that look like a setting and are none."""
    known = {name: new for variable in VARIABLES.values() for name, new in variable.sources.items()}
    known |= {name: name for name in INTERNAL}
    for name in sorted(environ):
        ours = name.startswith(OURS)
        if name in known or not (ours or name.startswith(SHARED)):
            continue
        near = difflib.get_close_matches(name, known, 1, 0.8 if ours else 0.9)
        if ours or near:
            advice = f"did you mean {known[near[0]]}?" if near else "no setting has this name"
            yield Finding(NOTE, f"{name} is set, but is not a setting", advice)
