"""The settings that setup works with, and where each of them is set.

A setting may stand in the environment of this run, in a line of the owner in .env, in our block in
.env, or in the environment of Frigate's service in the owner's compose files. Setup writes only
into our block. It changes a line of the owner in .env only where the owner answers its question
with another value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import OF_THE_MIRROR
from frigate_mirror.setup.envfile import EnvFile

SOURCES = {
    name: newer for variable in OF_THE_MIRROR.values() for name, newer in variable.sources.items()
}
"""Every variable that the mirror reads, with the name that has replaced it."""
SECRETS = {name for one in OF_THE_MIRROR.values() if one.secret for name in one.sources}
KEY = ("S3_ACCESS_KEY", "S3_SECRET_KEY")
IN_CONTAINER = (
    "S3_CA_BUNDLE", "MQTT_CA_BUNDLE", "MQTT_CLIENT_CERT", "MQTT_CLIENT_KEY",
    *(name for name in SECRETS if name.endswith("_FILE")),
)  # fmt: skip
"""Settings that name a file of the container, which this machine may not have."""


@dataclass(slots=True)
class Given:
    """`values` are for .env, `theirs` is what the owner's compose files set for Frigate's service.
    `owned` are the names that the owner's own lines in .env set, `changed` the new values of such
    lines. `notes` are sentences for the owner."""

    values: dict[str, str]
    theirs: dict[str, str]
    owned: frozenset[str]
    changed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def effective(self) -> dict[str, str]:
        """The settings that the container will have."""
        return self.values | self.theirs

    @property
    def block(self) -> dict[str, str]:
        """What belongs into our block in .env."""
        return {name: self.values[name] for name in self.listed if name not in self.owned}

    @property
    def listed(self) -> list[str]:
        """The names of all values that are set, in the order of the settings."""
        return [name for name in SOURCES if self.values.get(name)]

    @property
    def has_key(self) -> bool:
        """Whether a key is set, in itself or as a file of the container."""
        return any(self.effective.get(f"{KEY[0]}{ending}") for ending in ("", "_FILE"))

    def answer(self, name: str, value: str) -> None:
        """Takes the owner's answer to a question. What the compose files set can be replaced, but
        not cleared."""
        if name in self.theirs and value in ("", self.theirs[name]):
            return
        self.theirs.pop(name, None)
        if name in self.owned and value != self.values.get(name):
            self.changed[name] = value
        self.values[name] = value


def collect(environ: Mapping[str, str], env: EnvFile, of_service: Mapping[str, str]) -> Given:
    """Returns the settings from the environment of this run, from .env, and from the environment of
    Frigate's service. A value under an older name moves to the newer one, unless a line of the
    owner sets it, or the two differ. A value that our block has, or the environment of this run,
    replaces that of the compose files."""
    own, block = env.own_values, env.block_values
    values: dict[str, str] = {}
    notes = []
    for name, newer in SOURCES.items():
        value = environ.get(name, "")
        if own.get(name):
            if value and value != own[name]:
                notes.append(
                    f".env has a line of your own for {name}, which stays; the value in the"
                    " environment is ignored"
                )
            values[name] = own[name]
        elif value:
            values[newer if values.get(newer, value) == value else name] = value
    given = {SOURCES[name] for name in values}
    for name, newer in SOURCES.items():
        if newer not in given and block.get(name):
            values.setdefault(newer, block[name])
    of_service = {name: value for name, value in of_service.items() if name in SOURCES and value}
    replaced = {SOURCES[name] for name in values if name not in own or name in block}
    theirs = {name: value for name, value in of_service.items() if SOURCES[name] not in replaced}
    left = {SOURCES[name] for name in theirs}
    values = {name: value for name, value in values.items() if SOURCES[name] not in left}
    for name, value in of_service.items():
        if name in values and value != values[name]:
            notes.append(f"{name} in .env replaces the value in your compose files")
    if theirs:
        notes.append(
            "your compose files set these for Frigate's service, so setup leaves them to it: "
            + ", ".join(theirs)
        )
    owned = frozenset(name for name in values if own.get(name))
    return Given(values, theirs, owned, notes=notes)


def faults(given: Given) -> list[str]:
    """Returns a sentence for each setting that is missing or wrong. None repeats a secret."""
    found = _unwritable(given)
    effective = given.effective
    if not effective.get("S3_BUCKET"):
        found.append("S3_BUCKET is not set: set it in the environment or in .env")
    hidden = set(IN_CONTAINER)
    if any(effective.get(name) for name in SECRETS if name.endswith("_FILE")):
        hidden |= SECRETS
        for name, other in (KEY, KEY[::-1]):
            if _is_given(effective, name) and not _is_given(effective, other):
                found.append(f"{other}: missing, though {name} is set")
    try:
        settings.load({name: text for name, text in effective.items() if name not in hidden})
    except settings.SettingsError as error:
        found += error.faults
    return found


def own_address(effective: Mapping[str, str]) -> str:
    """Returns the host of the endpoint if it means the machine itself that asks for it, such as
    localhost, or else an empty text."""
    host = urlsplit(effective.get("S3_ENDPOINT_URL", "")).hostname or ""
    return host if re.fullmatch(r"(.+\.)?localhost|127(\.\d+){3}|0\.0\.0\.0", host) else ""


def _is_given(effective: Mapping[str, str], name: str) -> bool:
    return bool(effective.get(name) or effective.get(f"{name}_FILE"))


def _unwritable(given: Given) -> list[str]:
    found = []
    for name, value in (given.block | given.changed).items():
        if any(letter in "'\\" or not letter.isprintable() for letter in value):
            way_out = f": put it into a file and set {name}_FILE" if name in SECRETS else ""
            found.append(
                f"{name} has a quote, a backslash or a line break, which cannot stand in .env"
                + way_out
            )
    return found
