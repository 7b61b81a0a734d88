"""The rules of the support code (`lab` and `tests.rig`) for imports, and the help of make."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import ROOT

PROGRAMS = ("hostside", "standin", "rivals")  # they run alone, in processes of their own
SUPPORT = [
    path
    for folder in ("lab", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not set(PROGRAMS) & set(path.relative_to(ROOT).parts[:-1])
]
NAMES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SUPPORT
}
PROGRAM = {"frigate_mirror", "frigate_recordings_api", "frigate_s3_patcher", "s3",
           "s3_snapshot_mirror"}  # fmt: skip
DEMO_PORTS = "frigate_mirror.demo.ports"  # knows nothing of the program either
KNOW_THE_PROGRAM = {"tests.rig.worlds", "tests.rig.sinks", "tests.rig.s3_sink"}


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yields each module that a file imports, with the name that it takes from it, if any."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


def modules_below(name: str) -> set[str]:
    """Returns the modules of the support code that a module imports."""
    modules = {f"{module}.{taken}" for module, taken in imports_of(NAMES[name])}
    modules |= {module for module, _ in imports_of(NAMES[name])}
    return modules & NAMES.keys() - {name}


@pytest.mark.parametrize("name", NAMES)
def test_a_module_imports_only_public_names(name: str) -> None:
    for module, taken in imports_of(NAMES[name]):
        assert not taken.startswith("_") or taken.startswith("__"), f"{module}.{taken}"


def test_the_rig_imports_only_itself_and_the_program_in_the_named_modules() -> None:
    for name in NAMES:
        if name.startswith("tests.rig"):
            below = {module for module, _ in imports_of(NAMES[name])} - {DEMO_PORTS}
            assert all(module.startswith("tests.rig") for module in modules_below(name)), name
            assert not {module.partition(".")[0] for module in below} & PROGRAM or (
                name in KNOW_THE_PROGRAM
            ), f"{name} knows the program"


def test_the_campaign_and_the_bench_import_no_test_and_not_each_other() -> None:
    for name in NAMES:
        for below in modules_below(name):
            if name.startswith("lab."):
                assert not below.startswith("tests.") or below.startswith("tests.rig"), name
            for folder, other in (("lab.campaign", "lab.bench"), ("lab.bench", "lab.campaign")):
                assert not (name.startswith(folder) and below.startswith(other)), name


def test_the_campaign_does_not_import_the_program_that_it_tests() -> None:
    for name, path in NAMES.items():
        if name.startswith("lab.campaign"):
            assert not {module.partition(".")[0] for module, _ in imports_of(path)} & PROGRAM
            assert not modules_below(name) & KNOW_THE_PROGRAM


def test_no_support_module_imports_itself_in_a_circle() -> None:
    left = {name: modules_below(name) for name in NAMES}
    while left:
        ready = {name for name, below in left.items() if not below & left.keys()}
        assert ready, f"a circle among {sorted(left)}"
        left = {name: below for name, below in left.items() if name not in ready}


def test_no_support_module_extends_the_path_of_modules() -> None:
    for name, path in NAMES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        assert "sys.path" not in used, name


def test_the_help_of_make_fits_a_screen_and_each_line_is_a_sentence() -> None:
    words = ["make", "--no-print-directory", "help"]  # make test runs this test within a make
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = printed.stdout.splitlines()
    assert len(lines) <= 23, "one line is left for the prompt"
    assert max(map(len, lines)) <= 80
    assert all(line.endswith(".") for line in lines if line)
    targets = re.search(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text())
    assert targets and set(targets[1].split()) == set(
        re.findall(r"(?m)^make (\S+)", printed.stdout)
    )
