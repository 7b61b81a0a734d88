"""The part of the configuration that reaches the event thread.

With a broken configuration, Frigate up to 0.16 ends. From 0.17 on it starts in safe mode, which has
the owner's database and neither cameras nor retention.
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
    """Returns the configuration. Ends the process where Frigate does."""
    if not BROKEN_CONFIG:
        return FrigateConfig()
    print("The configuration is not valid", flush=True)
    if VERSION == "0.16":
        sys.exit(1)
    print("Safe mode", flush=True)
    return FrigateConfig(safe_mode=True)
