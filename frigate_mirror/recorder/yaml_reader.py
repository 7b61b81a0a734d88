"""Reads a YAML file of sections, lists and plain values, and notes every fault with its line.

Every value is taken as the text that stands in the file, so that a password of digits stays what it
is, and is read by the parsers of the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import yaml

from frigate_mirror.files import open_regular
from frigate_mirror.settings.settings import SettingsError

T = TypeVar("T")
LARGEST = 1_000_000  # bytes


@dataclass
class Faults:
    """What is wrong in a file, as (line, sentence)."""

    found: list[tuple[int, str]] = field(default_factory=list)

    def note(self, line: int, sentence: str) -> None:
        self.found.append((line, sentence))

    def sentences(self) -> list[str]:
        """Returns the faults in the order of their lines, each once."""
        return [f"line {line}: {text}" for line, text in sorted(dict.fromkeys(self.found))]


class Section:
    """One mapping of the file. `name` is its path in messages, as `cameras[1]`, and `line` where it
    begins. A key that nobody asks for is a fault, see `finish`."""

    def __init__(self, node: yaml.Node | None, name: str, faults: Faults, line: int = 1) -> None:
        self.name = name
        self.line = _line(node) if node is not None else line
        self.faults = faults
        self._nodes: dict[str, yaml.Node] = {}
        self._lines: dict[str, int] = {}
        self._asked: set[str] = set()
        if isinstance(node, yaml.MappingNode):
            self._take(node)
        elif node is not None and not _is_empty(node):
            faults.note(self.line, f"{name or 'the file'}: must have names with values")

    def _take(self, node: yaml.MappingNode) -> None:
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.faults.note(_line(key), f"{self.name or 'the file'}: a name must be a word")
            elif key.value in self._nodes:
                self.faults.note(_line(key), f"{self._path(key.value)}: it stands here twice")
            else:
                self._nodes[key.value] = value
                self._lines[key.value] = _line(key)

    def text(self, key: str) -> str:
        """Returns the value of `key`, or an empty text if it is not there."""
        self._asked.add(key)
        node = self._nodes.get(key)
        if node is None or _is_empty(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.fault(key, "must be one value")
            return ""
        return str(node.value).strip()

    def value(self, key: str, read: Callable[[str], T], default: str) -> T:
        """Returns the value of `key` or else of `default`, as `read` takes it, which raises
        ValueError for a wrong one."""
        try:
            return read(self.text(key) or default)
        except ValueError as fault:
            self.fault(key, str(fault))
            return read(default)

    def section(self, key: str) -> Section:
        """Returns the section `key`, which is empty if it is not there."""
        self._asked.add(key)
        return Section(self._nodes.get(key), self._path(key), self.faults, self.line_of(key))

    def sections(self, key: str) -> Iterator[Section]:
        """Yields the sections of the list `key`."""
        self._asked.add(key)
        node = self._nodes.get(key)
        if node is None or _is_empty(node):
            return
        if not isinstance(node, yaml.SequenceNode):
            self.fault(key, "must be a list, each entry after a hyphen")
            return
        for number, entry in enumerate(node.value):
            yield Section(entry, f"{self._path(key)}[{number}]", self.faults)

    @property
    def names(self) -> list[str]:
        """The keys that stand in the section."""
        return list(self._nodes)

    def has(self, key: str) -> bool:
        """Returns whether `key` has a value."""
        return key in self._nodes and not _is_empty(self._nodes[key])

    def line_of(self, key: str) -> int:
        """Returns the line of `key`, or that of the section if it is not there."""
        return self._lines.get(key, self.line)

    def fault(self, key: str, sentence: str) -> None:
        self.faults.note(self.line_of(key), f"{self._path(key)}: {sentence}")

    def finish(self) -> None:
        """Notes a fault for every key that nobody has asked for."""
        unknown = self._nodes.keys() - self._asked
        if not unknown:
            return
        from difflib import get_close_matches  # which a right file does not need

        for key in unknown:
            near = get_close_matches(key, self._asked, 1)
            hint = f"; is it {near[0]}?" if near else ""
            self.fault(key, f"there is no such setting{hint}")

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def read_file(path: Path, faults: Faults) -> Section:
    """Returns the file as a section. Raises SettingsError if it cannot be read or is no YAML."""
    try:
        with open_regular(path) as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    try:
        text = raw.decode() if len(raw) <= LARGEST else ""
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        # Neither the context nor the snippet is shown, because they can hold a secret.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError([f"line {line}: the file is no YAML from here on"]) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise SettingsError([f"{path}: it has characters that YAML does not allow"]) from None
    if not text.strip():
        raise SettingsError([f"{path}: is empty or larger than {LARGEST} bytes"])
    return Section(node, "", faults)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
