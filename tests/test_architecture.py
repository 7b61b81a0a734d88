"""The house's law, read from the source: who may know whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
EDGES = {"frigate_s3_patcher", "s3", "s3_snapshot_mirror"}
BOTO = "frigate_mirror/sinks/s3/boto.py"  # s3.py's other half, loaded when it is first wanted
CORE = sorted((HERE / "frigate_mirror").rglob("*.py"))
OURS = [*sorted(HERE.glob("*.py")), *CORE, HERE / "boot" / "sitecustomize.py"]
NAMES = [str(path.relative_to(HERE)) for path in OURS]
# And the boot file: the guard round the hook, the top of each own loop, an import at run time.
CATCH_ALL = {
    "frigate_s3_patcher.py": {"run", "handle_object_detection", "handle_external_detection",
                              "_keep", "exec_module"},
    "frigate_mirror/process/system.py": {"_call"},
    "frigate_mirror/upload/uploader.py": {"_run"},
}  # fmt: skip
SQL = re.compile(
    r"\b(SELECT .* FROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE \w+)\b", re.DOTALL
)


def tree_of(name: str) -> ast.Module:
    return ast.parse((HERE / name).read_text(encoding="utf-8"))


def imports_of(name: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            found |= {module} | {f"{module}.{one.name}" for one in node.names}
    return found


def roots_of(name: str) -> set[str]:
    return {one.partition(".")[0] for one in imports_of(name)}


def texts_of(name: str) -> Iterator[str]:
    """Every text in the code that is no docstring."""
    tree = tree_of(name)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def importers(root: str) -> set[str]:
    return {name for name in NAMES if root in roots_of(name)}


def test_the_law_looks_at_every_module() -> None:
    expected = {
        "s3.py",
        "frigate_s3_patcher.py",
        "s3_snapshot_mirror.py",
        "boot/sitecustomize.py",
        "frigate_mirror/ledger/ledger.py",
        "frigate_mirror/frigate/database.py",
    }
    assert expected <= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("frigate_mirror/")])
def test_the_core_knows_none_of_the_edges(name: str) -> None:
    assert not roots_of(name) & (EDGES | {"sitecustomize"})


def test_only_the_bucket_edge_says_boto() -> None:
    for root in ("boto3", "botocore", "s3transfer", "urllib3"):
        assert importers(root) <= {BOTO}
    assert "boto3" in roots_of(BOTO)
    for name in NAMES:
        if BOTO.replace("/", ".").removesuffix(".py") in imports_of(name):
            assert name == "s3.py", "whoever else imports it loads boto3"


def test_only_the_host_edge_says_frigate() -> None:
    assert importers("frigate") == set(), "even there it is found in sys.modules, not imported"
    speakers = {name for name in NAMES for text in texts_of(name) if text.startswith("frigate.")}
    assert speakers == {"frigate_s3_patcher.py", "boot/sitecustomize.py"}


def test_the_host_edge_and_the_boot_file_need_nothing_but_python() -> None:
    assert not roots_of("frigate_s3_patcher.py") & {"frigate_mirror", "sqlite3", "peewee", "s3"}
    assert roots_of("boot/sitecustomize.py") <= {"os", "sys", "importlib", "sitecustomize"}


def test_only_the_folder_of_frigate_reads_its_database() -> None:
    assert importers("peewee") == {"frigate_mirror/frigate/database.py"}


def test_only_the_folder_of_the_ledger_says_sql_about_our_state() -> None:
    speakers = {name for name in NAMES for text in texts_of(name) if SQL.search(text)}
    assert {folder_of(name) for name in speakers | importers("sqlite3")} == {"ledger"}


def test_only_the_front_door_joins_core_and_bucket() -> None:
    assert importers("s3") == {"s3_snapshot_mirror.py"}
    assert importers("s3_snapshot_mirror") == set()


def folder_of(name: str) -> str:
    """The folder of the package that a module stands in, or for a shared word its own name."""
    parts = Path(name).with_suffix("").parts
    return parts[1] if parts[0] == "frigate_mirror" and len(parts) > 1 else parts[0]


def module_of(dotted: str) -> str:
    """The file of an imported module; empty for a name within one."""
    name = f"{dotted.replace('.', '/')}.py"
    return name if name in NAMES else ""


def arrows(level: Callable[[str], str]) -> dict[str, set[str]]:
    """Who imports whom, by what `level` makes of a file's name."""
    found: dict[str, set[str]] = {}
    for name in NAMES:
        below = {level(file) for one in imports_of(name) if (file := module_of(one))}
        found.setdefault(level(name), set()).update(below - {level(name)})
    return found


@pytest.mark.parametrize("level", [str, folder_of], ids=["modules", "folders"])
def test_nothing_imports_itself_in_a_circle(level: Callable[[str], str]) -> None:
    left = arrows(level)
    while left:
        ready = {name for name, below in left.items() if not below & left.keys()}
        assert ready, f"a circle among {sorted(left)}"
        left = {name: below for name, below in left.items() if name not in ready}


def test_the_commands_and_the_process_stand_above_all_others() -> None:
    above = {"commands", "process", "mirror"}
    for folder, below in arrows(folder_of).items():
        if folder not in above | EDGES:
            assert not below & above, folder


@pytest.mark.parametrize("name", NAMES)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(tree_of(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "boot/sitecustomize.py"])
def test_every_exception_is_caught_in_the_named_places_only(name: str) -> None:
    found: set[str] = set()

    def look(node: ast.AST, within: str) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            within = node.name
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and not _raises(node):
            found.add(within)
        for child in ast.iter_child_nodes(node):
            look(child, within)

    look(tree_of(name), "module")
    assert found <= CATCH_ALL.get(name, set())


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kind = handler.type
    return kind is None or (
        isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")
    )


def _raises(handler: ast.ExceptHandler) -> bool:
    """Whether it only tidies up and lets the exception go on."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_nothing_swallows_every_exception_by_suppress() -> None:
    for name in set(NAMES) - {"frigate_s3_patcher.py"}:
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                assert not {ast.unparse(one) for one in node.args} & {"Exception", "BaseException"}
