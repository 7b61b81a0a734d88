"""How a setting is described, and how its value is found in the environment.

This module knows no particular setting; `settings` says which ones there are.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from frigate_mirror.settings.secret import Secret

RUN_SECRETS = Path("/run/secrets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """The environment variable of one setting: of the field `field` in the part `part`.

    `default` is the text that counts where nothing is set, written as in a compose file, and
    `companion` the one that counts beside Frigate, where it is another. `aliases` are older names
    of the variable. `read` turns a text into the value, or raises ValueError with
    a sentence that says what was expected. A secret may also lie in a file.
    """

    name: str
    aliases: tuple[str, ...]
    default: str
    companion: str
    about: str
    read: Callable[[str], Any]
    secret: bool
    part: str
    field: str

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that hold the value itself: the name, then its aliases."""
        return (self.name, *self.aliases)

    @property
    def sources(self) -> dict[str, str]:
        """Every variable that the setting is read from, with the name that replaces it, which is
        the name itself if it is no alias. A secret also has variables that name a file."""
        endings = ("", "_FILE") if self.secret else ("",)
        return {name + ending: self.name + ending for ending in endings for name in self.names}

    def is_set(self, environ: Mapping[str, str]) -> bool:
        """Whether one of `names` is set in `environ`."""
        return any(environ.get(name, "").strip() for name in self.names)

    def value(self, environ: Mapping[str, str], *, companion: bool = False) -> Any:
        """The value of the setting, for the mirror inside Frigate or for the companion. Raises
        ValueError with a sentence that begins with the name of the variable that was set, and never
        repeats a secret."""
        texts: dict[str, str] = {}
        name = self.name
        try:
            for name in self.names:
                if text := self._text(name, environ):
                    texts[name] = text
            default = self.companion if companion else self.default
            name, text = next(iter(texts.items()), (self.name, default))
            if len(set(texts.values())) > 1:
                others = " and ".join(list(texts)[1:])
                raise ValueError(f"{others} has another value; set only {self.name}")
            return self.read(text)
        except ValueError as fault:
            raise ValueError(f"{name}: {fault}") from None

    def _text(self, name: str, environ: Mapping[str, str]) -> str:
        """The text under one of `names`, or an empty one. Raises ValueError."""
        text = environ.get(name, "").strip()
        if not self.secret:
            return text
        pointer = environ.get(f"{name}_FILE", "").strip()
        if text and pointer:
            raise ValueError(f"set either {name} or {name}_FILE, not both")
        if text:
            return text
        if pointer:
            # The message does not name the file, since some people put the secret itself there.
            return _read_secret(pointer, f"the file that {name}_FILE names")
        for folder in (str(RUN_SECRETS), environ.get("CREDENTIALS_DIRECTORY", "").strip()):
            path = os.path.join(folder, name)
            if folder and os.path.isfile(path):
                return _read_secret(path, path)
        return ""


def setting(
    name: str,
    default: str,
    read: Callable[[str], Any],
    about: str,
    *aliases: str,
    companion: str | None = None,
) -> Any:
    """A field of a part: a dataclass field that carries the description of its variable."""
    described = {"name": name, "default": default, "read": read, "about": about}
    described["companion"] = default if companion is None else companion
    return dataclasses.field(metadata={**described, "aliases": aliases})


def variables_of(part: str, kind: type) -> list[Variable]:
    """The variables of the part `part`, whose class is `kind`, in the order of its fields. Fields
    that were not made by `setting` have none. A field of the type Secret is a secret."""
    types = get_type_hints(kind)
    return [
        Variable(**one.metadata, secret=types[one.name] is Secret, part=part, field=one.name)
        for one in dataclasses.fields(kind)
        if one.metadata
    ]


def _read_secret(path: str, called: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read {called}: {error.strerror}") from None
    except ValueError:  # no UTF-8, or no path that could exist
        raise ValueError(f"cannot read {called}: not text") from None
    if not text:
        raise ValueError(f"{called} is empty")
    return text
