"""The rows of the benchmark, one module each. Its docstring says how it measures; `run` does so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from bench.figures import Figure
from bench.lab import Lab

NAMES = ("hook", "undisturbed", "latency", "live", "small", "large", "memory", "start", "growth",
         "boot")  # fmt: skip


def row(name: str) -> Callable[[Lab], Iterator[Figure]]:
    found: Callable[[Lab], Iterator[Figure]] = import_module(f"bench.rows.{name}").run
    return found


def about(name: str) -> str:
    return (import_module(f"bench.rows.{name}").__doc__ or "").strip()
