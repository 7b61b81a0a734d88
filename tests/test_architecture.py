"""The rules of dependency, read from the source: which module may import which."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
EDGES = {"frigate_recordings_api", "frigate_s3_patcher", "s3", "s3_snapshot_mirror"}
LEVELS = (
    {"commands"},
    {"process", "setup", "checks", "demo", "recorder"},
    {"mirror"},
    {"intake", "upload", "report", "retention", "notify", "restore"},
    {"ledger"},
    {"sinks", "frigate", "sources"},
    {"settings", "spool", "part", "catalog", "broker"},
    {"artifact", "keys", "metadata", "mp4", "files", "faults", "untrusted", "policy"},
)
"""The folders and single modules of the package, from the highest level to the lowest. Each may
import from its own level and from those below it."""
BOTO = "frigate_mirror/sinks/s3/boto.py"  # imported when it is first needed
FRIGATE_DATABASE = "frigate_mirror/frigate/database.py"
RECORDINGS_TABLE = "frigate_mirror/restore/recordings_table.py"
FRIGATE_TABLES = {"event", "recordings", "reviewsegment", "timeline", "userreviewstatus"}
TEMPORARY = {
    "frigate_mirror/retention/inventory.py",
    "frigate_mirror/retention/documents.py",
}
"""These modules keep what nobody needs after a run, or what can be read again, in SQLite files."""
KINDLESS = {"intake", "ledger", "spool", "upload"}
"""These parts work for every kind of file and therefore name none."""
IN_FRIGATE = {"frigate_recordings_api.py", "frigate_s3_patcher.py"}
LOG_PREFIX = "s3 snapshot mirror"  # people search logs for it
CORE = sorted((HERE / "frigate_mirror").rglob("*.py"))
OURS = [*sorted(HERE.glob("*.py")), *CORE, HERE / "boot" / "sitecustomize.py"]
NAMES = [str(path.relative_to(HERE)) for path in OURS]
PLUGIN = "plugins/homesec/homesec_frigate_events"
OF_PLUGIN = [str(path.relative_to(HERE)) for path in sorted((HERE / PLUGIN).glob("*.py"))]
BORDER = {"register", "source", "predetection", "context", "storage"}
"""The modules of the plugin that know HomeSec."""
TESTS = [str(path.relative_to(HERE)) for path in sorted((HERE / "tests").rglob("*.py"))]
# The boot file may catch every exception, too.
CATCH_ALL = {
    "frigate_recordings_api.py": {"create_fastapi_app"},
    "frigate_s3_patcher.py": {"run", "handle_object_detection", "handle_external_detection",
                              "_keep", "exec_module"},
    "frigate_mirror/broker.py": {"_listen"},
    "frigate_mirror/process/rounds.py": {"_call"},
    "frigate_mirror/restore/listener.py": {"_talk"},
    "frigate_mirror/restore/service.py": {"_work"},
    "frigate_mirror/upload/uploader.py": {"_run"},
    # HomeSec ends with an exception of a plugin.
    "plugins/homesec/homesec_frigate_events/plugin.py": {"module"},
    "plugins/homesec/homesec_frigate_events/register.py": {"_register"},
    "plugins/homesec/homesec_frigate_events/source.py": {"_start", "_emit"},
    "plugins/homesec/homesec_frigate_events/hub.py": {"_run"},
    "plugins/homesec/homesec_frigate_events/storage.py": {"ping"},
}  # fmt: skip
SQL = re.compile(
    r"\b(SELECT .* FROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE \w+)\b", re.DOTALL
)
WRITING = re.compile(r"\b(INSERT|UPDATE|DELETE|CREATE)\b")
TABLE = re.compile(r"\b(?:FROM|INTO|JOIN|UPDATE|TABLE)\s+(\w+)")


def tree_of(name: str) -> ast.Module:
    return ast.parse((HERE / name).read_text(encoding="utf-8"))


def imports_of(name: str, *, at_once: bool = False) -> set[str]:
    """Returns the modules that a file imports, and the names that it imports from them, dotted.
    With `at_once` they are those that it needs to be imported itself."""
    modules: set[str] = set()
    tree = tree_of(name)
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            modules |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return modules


def roots_of(name: str) -> set[str]:
    return {module.partition(".")[0] for module in imports_of(name)}


def importers(root: str) -> set[str]:
    return {name for name in NAMES if root in roots_of(name)}


def texts_of(name: str) -> Iterator[str]:
    """Yields every text in the code that is not a docstring. What an f-string computes becomes a
    question mark."""
    tree = tree_of(name)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "?" for part in node.values)
            yield "".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
        ):
            yield node.value


def sql_of(name: str) -> list[str]:
    return [text for text in texts_of(name) if SQL.search(text)]


def folder_of(name: str) -> str:
    """Returns the folder of the package that a module stands in, or its own name if it stands in
    none."""
    parts = Path(name).with_suffix("").parts
    return parts[1] if parts[0] == "frigate_mirror" and len(parts) > 1 else parts[0]


def module_of(dotted: str) -> str:
    """Returns the file of an imported module, or an empty text for a name within one."""
    name = f"{dotted.replace('.', '/')}.py"
    return name if name in NAMES else ""


def arrows(level: Callable[[str], str]) -> dict[str, set[str]]:
    """Returns which part imports which others. `level` turns the name of a file into a part."""
    imports: dict[str, set[str]] = {}
    for name in NAMES:
        below = {level(file) for module in imports_of(name) if (file := module_of(module))}
        imports.setdefault(level(name), set()).update(below - {level(name)})
    return imports


def test_the_rules_look_at_every_module() -> None:
    expected = {
        "s3.py",
        "frigate_s3_patcher.py",
        "s3_snapshot_mirror.py",
        "boot/sitecustomize.py",
        "frigate_mirror/ledger/ledger.py",
        FRIGATE_DATABASE,
    }
    assert expected <= set(NAMES)


# -- down only


def test_every_part_of_the_package_has_a_level() -> None:
    parts = {folder_of(name) for name in NAMES if name.startswith("frigate_mirror/")}
    assert parts - {"__init__"} == set().union(*LEVELS)
    assert len(parts - {"__init__"}) == sum(map(len, LEVELS)), "a part has more than one level"


def test_dependencies_go_down_only() -> None:
    level_of = {part: number for number, level in enumerate(LEVELS) for part in level}
    upward = [
        f"{part} imports {other}"
        for part, below in arrows(folder_of).items()
        for other in below
        if part in level_of and other in level_of and level_of[other] < level_of[part]
    ]
    assert not upward


@pytest.mark.parametrize("level", [str, folder_of], ids=["modules", "folders"])
def test_no_module_and_no_folder_imports_itself_in_a_circle(level: Callable[[str], str]) -> None:
    left = arrows(level)
    while left:
        ready = {name for name, below in left.items() if not below & left.keys()}
        assert ready, f"a circle among {sorted(left)}"
        left = {name: below for name, below in left.items() if name not in ready}


# -- the edges


def test_only_commands_import_the_files_at_the_top() -> None:
    for edge in EDGES:
        assert {folder_of(name) for name in importers(edge)} <= {"commands"}
    assert importers("s3_snapshot_mirror") == set()
    assert importers("sitecustomize") == {"boot/sitecustomize.py"}


def test_only_one_module_imports_boto3() -> None:
    for root in ("boto3", "botocore", "s3transfer"):
        assert importers(root) <= {BOTO}
    assert "boto3" in roots_of(BOTO)
    for name in NAMES:
        if BOTO.replace("/", ".").removesuffix(".py") in imports_of(name):
            assert name == "s3.py", "this import loads boto3 where nothing needs it"


def test_only_one_module_speaks_http_to_frigate() -> None:
    assert importers("urllib3") == {"frigate_mirror/frigate/api.py"}
    inside = {"frigate_mirror/mirror.py", "frigate_mirror/frigate/kinds.py"}
    for name in inside:
        modules = imports_of(name, at_once=True)
        assert "frigate_mirror.frigate.api" not in modules, "the mirror inside Frigate asks no API"


def test_the_recording_backfill_is_imported_only_if_the_settings_ask_for_it() -> None:
    service = "frigate_mirror.restore.service"
    assert {name for name in NAMES if service in imports_of(name)} == {
        "frigate_mirror/commands/run.py"
    }
    assert service not in imports_of("frigate_mirror/commands/run.py", at_once=True)


def test_what_tells_the_status_is_imported_only_if_the_settings_ask_for_it() -> None:
    assert importers("prometheus_client") == {"frigate_mirror/report/metrics.py"}
    modules = imports_of("frigate_mirror/report/tellers.py", at_once=True)
    for name in ("publisher", "pages", "answers", "metrics"):
        assert f"frigate_mirror.report.{name}" not in modules, (
            "the child inside Frigate stays small"
        )


def test_only_what_runs_in_frigate_names_modules_of_frigate() -> None:
    assert importers("frigate") == set(), "these modules are to be found in sys.modules"
    speakers = {name for name in NAMES for text in texts_of(name) if text.startswith("frigate.")}
    assert speakers == {*IN_FRIGATE, "boot/sitecustomize.py"}


def test_what_runs_in_frigate_needs_nothing_but_python_and_what_frigate_has() -> None:
    for name in IN_FRIGATE:
        assert not roots_of(name) & {"frigate_mirror", "sqlite3", "peewee", "s3"}
    assert importers("fastapi") == {"frigate_recordings_api.py"}
    assert "fastapi" not in imports_of("frigate_recordings_api.py", at_once=True)
    assert roots_of("boot/sitecustomize.py") <= {"os", "sys", "importlib", "sitecustomize"}


# -- the plugin for HomeSec


def test_the_program_knows_nothing_of_homesec() -> None:
    for name in NAMES:
        assert "homesec" not in (HERE / name).read_text(encoding="utf-8").lower(), name


def test_only_the_border_of_the_plugin_knows_homesec() -> None:
    knowing = {Path(name).stem for name in OF_PLUGIN if "homesec" in roots_of(name)}
    assert knowing == BORDER
    for name in OF_PLUGIN:
        modules = {module.rpartition(".")[2] for module in imports_of(name)}
        if Path(name).stem not in BORDER | {"plugin"}:
            assert not modules & BORDER, name


def test_the_border_imports_the_mirror_only_when_it_needs_it() -> None:
    """So a library that is missing is no reason for HomeSec to end."""
    for name in OF_PLUGIN:
        if Path(name).stem in BORDER | {"plugin", "models", "sidecar"}:
            roots = {one.partition(".")[0] for one in imports_of(name, at_once=True)}
            assert not roots & {"frigate_mirror", "s3", "paho", "boto3"}, name


# -- which part reads which database


def test_one_module_reads_frigates_database_and_one_writes_to_it() -> None:
    assert importers("peewee") == {FRIGATE_DATABASE}
    readers = {
        name for name in NAMES for text in sql_of(name) if FRIGATE_TABLES & set(TABLE.findall(text))
    }
    assert readers == {FRIGATE_DATABASE, RECORDINGS_TABLE}
    for name in readers:
        for text in sql_of(name):
            assert set(TABLE.findall(text)) <= FRIGATE_TABLES | {"json_each"}, "another table"
    assert not any(WRITING.search(text) for text in sql_of(FRIGATE_DATABASE))
    written = [text for text in sql_of(RECORDINGS_TABLE) if WRITING.search(text)]
    assert {table for text in written for table in TABLE.findall(text)} == {"recordings"}


def test_only_the_ledger_folder_contains_sql_about_our_state() -> None:
    speakers = {name for name in NAMES if sql_of(name)} | importers("sqlite3")
    assert {
        folder_of(name) for name in speakers - {FRIGATE_DATABASE, RECORDINGS_TABLE} - TEMPORARY
    } == {"ledger"}


# -- what works for every kind of file


@pytest.mark.parametrize("name", [name for name in NAMES if folder_of(name) in KINDLESS])
def test_parts_that_work_for_every_kind_of_file_name_no_kind(name: str) -> None:
    text = (HERE / name).read_text(encoding="utf-8").lower().replace(LOG_PREFIX, "")
    assert "snapshot" not in text


# -- form


@pytest.mark.parametrize("name", NAMES + OF_PLUGIN)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(tree_of(name))


@pytest.mark.parametrize("name", [one for one in NAMES if "sitecustomize" not in one] + OF_PLUGIN)
def test_only_the_named_places_catch_every_exception(name: str) -> None:
    places: set[str] = set()

    def look(node: ast.AST, within: str) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            within = node.name
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and not _raises(node):
            places.add(within)
        for child in ast.iter_child_nodes(node):
            look(child, within)

    look(tree_of(name), "module")
    assert places <= CATCH_ALL.get(name, set())


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kind = handler.type
    return kind is None or (
        isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")
    )


def _raises(handler: ast.ExceptHandler) -> bool:
    """Returns whether the handler only tidies up and lets the exception go on."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_nothing_swallows_every_exception_by_suppress() -> None:
    for name in set(NAMES) - {"frigate_s3_patcher.py"}:
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                assert not {ast.unparse(argument) for argument in node.args} & {
                    "Exception",
                    "BaseException",
                }


# -- the tests


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("name", TESTS)
def test_tests_use_no_private_names_of_the_lab_or_of_each_other(name: str) -> None:
    nodes = list(ast.walk(tree_of(name)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").split(".")[0] in ("lab", "tests")]
    used = {part for node in ours for part in (node.module or "").split(".")}
    used |= {alias.name for node in ours for alias in node.names}
    imported = {alias.asname or alias.name for node in ours for alias in node.names}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    used |= {node.attr for node in attributes if ast.unparse(node.value) in imported}
    assert not set(filter(is_private, used))
