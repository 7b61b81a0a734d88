"""The corner of the configuration that reaches the event thread."""

from __future__ import annotations

from dataclasses import dataclass, field

from frigate.variant import DATABASE


@dataclass(frozen=True)
class DatabaseConfig:
    path: str = DATABASE


@dataclass(frozen=True)
class FrigateConfig:
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
