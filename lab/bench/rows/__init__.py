"""The rows of the report. Each is a module: its docstring describes the method, and `run` yields
the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from lab.bench.figures import Figure
from lab.bench.lab import Lab

NAMES = ("hook", "undisturbed", "latency", "live", "clips", "small", "large", "memory", "start",
         "growth", "boot", "companion", "webdav", "retention", "backfill")  # fmt: skip


def row(name: str) -> Callable[[Lab], Iterator[Figure]]:
    found: Callable[[Lab], Iterator[Figure]] = import_module(f"lab.bench.rows.{name}").run
    return found


def about(name: str) -> str:
    return (import_module(f"lab.bench.rows.{name}").__doc__ or "").strip()
