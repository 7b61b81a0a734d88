"""The file .env beside the compose file: the owner's own lines, and a block of ours after them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BEGIN = "# >>> frigate-s3-mirror, written by setup_s3_mirror.sh >>>"
END = "# <<< frigate-s3-mirror <<<"
MODE = "# Before that, this file had the mode "
_LINE = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*[=:][ \t]*([^\r\n]*)", re.M)


@dataclass(frozen=True, slots=True)
class EnvFile:
    """`own` is the text of the owner's lines, `block` the text of ours, with its marks."""

    own: str = ""
    block: str = ""

    @property
    def own_values(self) -> dict[str, str]:
        """The values that the owner's lines set. Of several lines for one name the last counts."""
        return _values(self.own)

    @property
    def block_values(self) -> dict[str, str]:
        """The values that our block sets."""
        return _values(self.block)

    @property
    def earlier_mode(self) -> int | None:
        """The mode that the file had before we wrote it, if it was another one than ours."""
        found = re.search(rf"^{re.escape(MODE)}([0-7]+)\.", self.block, re.M)
        return int(found[1], 8) if found else None

    def text(self) -> str:
        return self.own + self.block

    def written(
        self, values: Mapping[str, str], changed: Mapping[str, str], earlier_mode: int | None
    ) -> EnvFile:
        """Returns the file with `values` in our block, and with the owner's own lines for the names
        in `changed` changed to these values."""
        own = self.own
        for name, value in changed.items():
            own = re.sub(
                rf"^[ \t]*(?:export[ \t]+)?{name}[ \t]*[=:][^\r\n]*",
                lambda _, line=f"{name}='{value}'": line,  # type: ignore[misc]
                own,
                flags=re.M,
            )
        lines = [BEGIN]
        if earlier_mode is not None:
            lines.append(f"{MODE}{earlier_mode:o}.")
        lines += [f"{name}='{value}'" for name, value in values.items()]
        return EnvFile(own, "".join(f"{line}\n" for line in (*lines, END)))


def read(path: Path) -> EnvFile:
    """Returns the file, or an empty one if there is none. A block of ours without an end may
    contain lines of the owner, so it counts as the owner's. Raises OSError."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        return EnvFile()
    own, block, inside = "", "", False
    for line in re.findall(r"[^\n]+\n?|\n", text):
        line = line if line.endswith("\n") else f"{line}\n"
        if line.rstrip("\r\n") == BEGIN:
            own, block, inside = own + block, "", True
        if inside:
            block += line
        else:
            own += line
        inside = inside and line.rstrip("\r\n") != END
    return EnvFile(own + block, "") if inside else EnvFile(own, block)


def _values(text: str) -> dict[str, str]:
    return {name: _value(rest) for name, rest in _LINE.findall(text)}


def _value(rest: str) -> str:
    """Returns the value as Compose reads it. A variable inside a value is not resolved."""
    if rest.startswith("'"):
        return rest[1:].partition("'")[0]
    if rest.startswith('"'):
        return rest[1:].partition('"')[0].replace("$$", "$")
    return re.split(r"[ \t]#", rest, maxsplit=1)[0].rstrip().replace("$$", "$")
