"""The corner of the configuration that reaches the event thread, and what becomes of a broken one.

Up to 0.16 Frigate ends then. From 0.17 on it starts in safe mode: without cameras and without
retention, with the owner's database.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from frigate.variant import BROKEN_CONFIG, DATABASE, VERSION


@dataclass(frozen=True)
class DatabaseConfig:
    path: str = DATABASE


@dataclass(frozen=True)
class FrigateConfig:
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    safe_mode: bool = False


def load() -> FrigateConfig:
    """The configuration; ends the process where Frigate does."""
    if not BROKEN_CONFIG:
        return FrigateConfig()
    print("The configuration is not valid", flush=True)
    if VERSION == "0.16":
        sys.exit(1)
    print("Safe mode", flush=True)
    return FrigateConfig(safe_mode=True)
