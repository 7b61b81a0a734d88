"""The settings of the stand-in from its environment: version, differences, files and times."""

from __future__ import annotations

import os

VERSION = os.environ.get("STANDIN_VERSION", "0.17")
SHAPE = os.environ.get("STANDIN_SHAPE", "")
RAISES = os.environ.get("STANDIN_RAISE", "") == "1"
FORKS = VERSION == "0.16"
MEDIA = os.environ.get("STANDIN_MEDIA", "/media/frigate")
DATABASE = os.environ.get("STANDIN_DB", "/config/frigate.db")
EVENTS = int(os.environ.get("STANDIN_EVENTS", "5"))
GAP = float(os.environ.get("STANDIN_GAP", "0"))
LINGER = float(os.environ.get("STANDIN_LINGER", "0"))
SEGMENTS = os.environ.get("STANDIN_SEGMENTS", "")
SEED = int(os.environ.get("STANDIN_SEED", "1"))
EPOCH = float(os.environ.get("STANDIN_EPOCH") or 0)  # 0 means the current time
BROKEN_CONFIG = os.environ.get("STANDIN_CONFIG", "") == "broken"
ORPHAN_SECONDS = float(os.environ.get("STANDIN_ORPHAN_SECONDS", "5"))

if VERSION not in ("0.16", "0.17", "0.18"):
    raise SystemExit(f"STANDIN_VERSION: {VERSION!r}, expected 0.16, 0.17 or 0.18")
if SHAPE not in ("", "renamed", "extra-parameter", "async", "old"):
    raise SystemExit(f"STANDIN_SHAPE: {SHAPE!r} is unknown")
