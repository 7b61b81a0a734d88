"""`settings`: every setting, for scripts and for the table of docs/settings.md."""

from __future__ import annotations

import argparse
import json

from frigate_mirror.settings.settings import VARIABLES

SHOWN = ("name", "aliases", "default", "companion", "about", "secret", "part")


def add_options(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_mutually_exclusive_group(required=True)
    for option, form, about in (
        ("--names", names, "every variable; an older name is followed by a tab and the newer name"),
        ("--table", table, "the table of docs/settings.md, in Markdown"),
        ("--json", as_json, "name, aliases, defaults, about, secret and part of each"),
    ):
        forms.add_argument(option, dest="form", action="store_const", const=form, help=about)


def main(arguments: argparse.Namespace) -> int:
    print(arguments.form())
    return 0


def names() -> str:
    """Returns every variable that the mirror reads, one a line. An older name is followed by a tab
    and the name that has replaced it."""
    sources = [pair for variable in VARIABLES.values() for pair in variable.sources.items()]
    return "\n".join(name if name == newer else f"{name}\t{newer}" for name, newer in sources)


def table() -> str:
    """Returns the table of docs/settings.md, in Markdown."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for variable in VARIABLES.values():
        default = f"`{variable.default}`" if variable.default else "(none)"
        if variable.companion != variable.default:
            default += f"; companion: `{variable.companion}`"
        rows.append(f"| `{variable.name}` | {default} | {variable.about} |")
    return "\n".join(rows)


def as_json() -> str:
    """Returns a list of all settings, one object each."""
    settings = [{key: getattr(one, key) for key in SHOWN} for one in VARIABLES.values()]
    return json.dumps(settings, indent=1)
