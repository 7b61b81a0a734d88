"""The boot file is silent in every Python, waits for one import, and disturbs no other module."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import ROOT
from tests.rig.waiting import PATIENCE

BOOT = ROOT / "boot"
Done = subprocess.CompletedProcess[str]

PATCHER = """
def arm(module):
    sys.stderr.write(f"arm {module.__name__} {len(vars(module.EventProcessor))}\\n")
"""
MAINTAINER = "class EventProcessor: pass\n"
IMPORT = "import frigate.events.maintainer; print('Frigate runs')"


def python(*words: str, path: str, cwd: Path = ROOT, stdin: str = "") -> Done:
    """Runs a Python with `path` as its PYTHONPATH."""
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def seen(done: Done) -> tuple[str, str, int]:
    return done.stdout, done.stderr, done.returncode


class House:
    """A copy of the boot file with the patcher of the test, and a Frigate beside it."""

    def __init__(self, folder: Path, patcher: str, maintainer: str) -> None:
        self.boot = folder / "ours" / "boot"
        self.frigate = folder / "opt"
        self.patcher = folder / "ours" / "frigate_s3_patcher.py"
        (self.frigate / "frigate" / "events").mkdir(parents=True)
        (self.frigate / "frigate" / "events" / "maintainer.py").write_text(maintainer)
        self.boot.mkdir(parents=True)
        shutil.copy(BOOT / "sitecustomize.py", self.boot)
        self.patcher.write_text((ROOT / self.patcher.name).read_text() + patcher)

    def run(self, code: str = IMPORT, *, boot: bool = True) -> Done:
        path = f"{self.boot}:{self.frigate}" if boot else str(self.frigate)
        return python("-c", code, path=path)


def house(folder: Path, patcher: str = PATCHER, maintainer: str = MAINTAINER) -> House:
    return House(folder, patcher, maintainer)


def neighbour(folder: Path, code: str) -> Path:
    """Returns a folder with another project's sitecustomize."""
    (folder / "neighbour").mkdir()
    (folder / "neighbour" / "sitecustomize.py").write_text(code)
    return folder / "neighbour"


SPAWN = """
import multiprocessing, sys
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    pipe = context.Queue()
    worker = context.Process(target=print, args=("worker",), kwargs={"flush": True})
    worker.start(); worker.join()
    print(worker.exitcode)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "pass"),
        ("-c", "import frigate.events.maintainer"),
        ("-c", "import frigate.api.fastapi_app"),
        ("-c", "raise SystemExit(7)"),
        ("-m", "json.tool"),
        ("-W", "error", "-X", "dev", "-c", "print('dev')"),
        ("-",),
    ],
    ids=" ".join,
)
def test_every_other_python_program_runs_as_without_the_boot_file(words: tuple[str, ...]) -> None:
    stdin = '{"a": 1}'
    assert seen(python(*words, path=str(BOOT), stdin=stdin)) == seen(
        python(*words, path="", stdin=stdin)
    )


def test_the_boot_file_is_silent_in_forkserver_and_resource_tracker(tmp_path: Path) -> None:
    script = tmp_path / "spawn.py"
    script.write_text(SPAWN)
    assert seen(python(str(script), path=str(BOOT))) == ("worker\n0\n", "", 0)


def test_the_boot_file_imports_nothing_and_leaves_sys_path_unchanged() -> None:
    tell = "import sys; print(sorted({*sys.modules} - {'sitecustomize'}), sys.path)"
    assert seen(python("-c", tell, path=f"{BOOT}:/x")) == seen(python("-c", tell, path="/x"))


def test_the_owners_pythonpath_stays_in_the_environment() -> None:
    tell = "import os; print(os.environ['PYTHONPATH'])"
    assert python("-c", tell, path=f"{BOOT}:/x::y/").stdout == f"{BOOT}:/x::y/\n"


@pytest.mark.parametrize(
    "code",
    [
        "print(__name__, __file__, __spec__.origin, __spec__.loader is __loader__, __cached__)",
        "import sys; print(sys.modules[__name__].__dict__ is globals())",
        "raise RuntimeError('theirs')",
        "raise ImportError('theirs', name='sitecustomize')",
        "import nowhere_to_be_found",
        "import sys; sys.path.append('/theirs')",
        "syntax error",
    ],
)
def test_a_shadowed_sitecustomize_runs_as_it_would_alone(tmp_path: Path, code: str) -> None:
    other = neighbour(tmp_path, "print('once')\n" + code)
    tell = "import sys; print(sys.path, 'sitecustomize' in sys.modules)"
    together = python("-c", tell, path=f"{BOOT}:{other}")
    alone = python("-c", tell, path=str(other))
    assert seen(together) == seen(alone)
    assert together.stdout.count("once") == (code != "syntax error")


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_a_shadowed_sitecustomize_may_end_the_interpreter(tmp_path: Path, code: str) -> None:
    other = neighbour(tmp_path, "print('once')\n" + code)
    together, alone = python("-c", "", path=f"{BOOT}:{other}"), python("-c", "", path=str(other))
    assert (together.stdout, together.returncode) == ("once\n", alone.returncode)
    # The lines between them show a frame of the boot file.
    assert together.stderr.splitlines()[:2] == alone.stderr.splitlines()[:2]
    assert together.stderr.splitlines()[-1] == alone.stderr.splitlines()[-1]


def test_a_shadowed_package_may_import_its_own_parts(tmp_path: Path) -> None:
    package = tmp_path / "sitecustomize"
    package.mkdir()
    (package / "__init__.py").write_text("from . import part")
    (package / "part.py").write_text("print('part')")
    assert seen(python("-c", "pass", path=f"{BOOT}:{tmp_path}")) == ("part\n", "", 0)


def test_a_folder_named_sitecustomize_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize").mkdir()
    assert seen(python("-c", "pass", path=f"{BOOT}:{tmp_path}")) == ("", "", 0)


@pytest.mark.parametrize("again", ["{boot}", "{boot}/", "boot", "./boot/../boot", ""])
def test_the_boot_file_never_takes_itself_for_another_sitecustomize(
    tmp_path: Path, again: str
) -> None:
    other = neighbour(tmp_path, "print('once')")
    entry = again.format(boot=BOOT)
    tell = "import sys; print(str(sys.meta_path).count('<module'))"
    done = python("-c", tell, path=f"{BOOT}:{entry}:{other}", cwd=ROOT if entry else BOOT)
    assert seen(done) == ("once\n1\n", "", 0)


def test_the_interpreter_starts_even_if_the_boot_file_fails() -> None:
    code = f"""
import sys
class Path(list):
    def insert(self, *words):
        raise KeyboardInterrupt
sys.meta_path = Path(sys.meta_path)
sys.path.insert(0, {str(BOOT)!r})
import sitecustomize
print("started")
"""
    assert seen(python("-S", "-c", code, path="")) == ("started\n", "", 0)


def test_the_import_of_the_hooked_module_arms_the_hook_once(tmp_path: Path) -> None:
    code = f"{IMPORT}; import frigate.events.maintainer as again"
    done = house(tmp_path).run(code)
    assert done.stdout == "Frigate runs\n"
    assert done.stderr.count("arm frigate.events.maintainer") == 1


def test_finding_the_module_without_an_import_does_not_disarm_the_hook(tmp_path: Path) -> None:
    look = "import importlib.util as u; u.find_spec('frigate.events.maintainer'); "
    done = house(tmp_path).run(look * 2 + IMPORT)
    assert done.stderr.count("arm frigate.events.maintainer") == 1


def test_a_module_that_is_reloaded_is_armed_again(tmp_path: Path) -> None:
    code = f"{IMPORT}; import importlib; importlib.reload(frigate.events.maintainer)"
    assert house(tmp_path).run(code).stderr.count("arm frigate.events.maintainer") == 2


@pytest.mark.parametrize("how", ["copied", "linked"])
def test_two_copies_of_the_boot_file_share_one_patcher(tmp_path: Path, how: str) -> None:
    ours = house(tmp_path)
    again = tmp_path / "again"
    shutil.copytree(ours.boot, again) if how == "copied" else again.symlink_to(ours.boot)
    done = python("-c", IMPORT, path=f"{ours.boot}:{again}:{ours.frigate}")
    assert done.stdout == "Frigate runs\n"
    assert done.stderr.count("arm frigate.events.maintainer") == 2
    assert "not armed" not in done.stderr


def test_the_import_of_frigates_http_api_is_waited_for_too(tmp_path: Path) -> None:
    ours = house(tmp_path, "def add_api(module): sys.stderr.write(f'api {module.ready}\\n')")
    (ours.frigate / "frigate" / "api").mkdir()
    (ours.frigate / "frigate" / "api" / "fastapi_app.py").write_text("ready = True\n")
    done = ours.run("import frigate.api.fastapi_app; print('Frigate runs')")
    assert seen(done) == ("Frigate runs\n", "api True\n", 0)


def test_the_module_keeps_its_source_and_its_loader(tmp_path: Path) -> None:
    code = f"{IMPORT}; import inspect; print(inspect.getsource(frigate.events.maintainer), end='')"
    assert house(tmp_path).run(code).stdout == "Frigate runs\n" + MAINTAINER


@pytest.mark.parametrize("maintainer", ["raise RuntimeError('theirs')", "import nowhere", "a b"])
def test_an_import_that_fails_looks_as_without_the_hook(tmp_path: Path, maintainer: str) -> None:
    ours = house(tmp_path, maintainer=maintainer)
    patched, plain = ours.run(), ours.run(boot=False)
    assert patched.returncode == plain.returncode == 1
    assert patched.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]
    assert "not armed" not in patched.stderr


@pytest.mark.parametrize(
    "patcher",
    [
        "syntax error",
        "raise SystemExit(3)",
        "import boto3_that_nobody_has",
        "def arm(module): raise KeyboardInterrupt",
        "def arm(module): raise ValueError('two\\nlines')",
        None,
    ],
)
def test_a_broken_patcher_logs_one_line_and_does_no_harm(
    tmp_path: Path, patcher: str | None
) -> None:
    ours = house(tmp_path, patcher or "")
    if patcher is None:
        ours.patcher.unlink()
        ours.patcher.mkdir()  # root cannot read it either
    done = ours.run()
    assert (done.stdout, done.returncode) == ("Frigate runs\n", 0)
    assert "S3 snapshot mirror not armed: " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("stderr", ["sys.stderr.close()", "sys.stderr = None", "os.close(2)"])
def test_a_broken_patcher_does_no_harm_without_a_stderr(tmp_path: Path, stderr: str) -> None:
    ours = house(tmp_path, "def arm(module): raise ValueError")
    done = ours.run(f"import os, sys; {stderr}; {IMPORT}; os._exit(sys.stdout.flush() or 0)")
    assert (done.stdout, done.returncode) == ("Frigate runs\n", 0)


def test_a_finder_of_the_old_kind_does_not_keep_the_hook_from_arming(tmp_path: Path) -> None:
    old = "import sys; sys.meta_path.insert(1, type('Old', (), {'find_module': print}))"
    done = house(tmp_path).run(f"{old}; {IMPORT}")
    assert done.stderr.count("arm frigate.events.maintainer") == 1
    assert "not armed" not in done.stderr


def test_a_finder_that_fails_is_logged_and_fails_as_without_the_hook(tmp_path: Path) -> None:
    code = f"""
import sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "frigate.events.maintainer":
            raise OSError("theirs")
sys.meta_path.append(Finder)
sys.meta_path.insert(1, Finder)
{IMPORT}
"""
    done = house(tmp_path).run(code)
    assert done.stderr.startswith("S3 snapshot mirror not armed: OSError('theirs')\n")
    assert done.stderr.endswith("OSError: theirs\n")
