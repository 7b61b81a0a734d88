"""The settings as text: names for scripts, the table of the README, and JSON."""

from __future__ import annotations

import json

from frigate_mirror.settings.settings import VARIABLES


def names() -> str:
    """Every variable that the mirror reads, one a line. After an older name stand a tab and the
    name that has taken its place."""
    sources = [pair for one in VARIABLES.values() for pair in one.sources.items()]
    return "\n".join(name if name == newer else f"{name}\t{newer}" for name, newer in sources)


def table() -> str:
    """The table of the README, in Markdown."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for one in VARIABLES.values():
        default = f"`{one.default}`" if one.default else "(none)"
        rows.append(f"| `{one.name}` | {default} | {one.about} |")
    return "\n".join(rows)


def as_json() -> str:
    """A list of all settings, an object each."""
    told = ("name", "aliases", "default", "about", "secret", "part")
    return json.dumps(
        [{key: getattr(one, key) for key in told} for one in VARIABLES.values()], indent=1
    )
