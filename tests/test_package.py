"""What the wheel and the source archive contain, and the command that the wheel installs."""

from __future__ import annotations

import email
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

from frigate_mirror import __version__
from tests.rig import ROOT
from tests.rig.stub import Stub

REQUIREMENTS = ROOT / "requirements" / "child.in"
MODULES = {
    "frigate_mirror/companion.service",
    "frigate_mirror/recorder/config.example.yaml",
    "frigate_mirror/retention.service",
    "frigate_mirror/retention.timer",
    "frigate_recordings_api.py",
    "frigate_s3_patcher.py",
    "s3.py",
    "s3_snapshot_mirror.py",
    *(str(path.relative_to(ROOT)) for path in (ROOT / "frigate_mirror").rglob("*.py")),
}
CAMERAS = {f"frigate_mirror/demo/cameras/{camera}.{ending}" for camera in ("front_door", "garage")
           for ending in ("jpg", "mp4")}  # fmt: skip
# Files that an owner's or a developer's folder may contain, and that no archive may.
LITTER = (
    ".env",
    "companion/rclone.conf",
    "rclone.conf",
    "docker-compose.override.yml",
    "boot/notes.txt",
    "docs/cameras.json",
    "frigate_mirror/secret_key",
    "frigate_mirror/demo/cameras/notes.txt",
    "frigate_mirror/__pycache__/keys.cpython-311.pyc",
    "frigate_mirror/sinks/vendor/boto3.py",
    "vendor/boto3/__init__.py",
)


@dataclass(frozen=True)
class Built:
    """`mounted` is the folder of the project, as it would be mounted into Frigate's container."""

    mounted: Path
    sdist: Path
    wheel: Path
    wheel_of_sdist: Path

    def names(self) -> set[str]:
        """Every file of the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return email.message_from_bytes(archive.read(name))


def done(*words: str | Path, cwd: Path, python: str | Path = sys.executable) -> None:
    ended = subprocess.run([python, "-m", *words], cwd=cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment. Unlike the environment of the tests, it has pip."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True, with_pip=True)
    return folder


@pytest.fixture(scope="module")
def built(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both archives of a copy of this folder with litter in it, and the wheel that pip makes of the
    source archive."""
    folder = tmp_path_factory.mktemp("package")
    mounted, out, again = folder / "frigate-s3-mirror", folder / "dist", folder / "again"
    ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, mounted, ignore=ignored)
    for name in LITTER:
        (mounted / name).parent.mkdir(parents=True, exist_ok=True)
        (mounted / name).write_text("secret")
    done("hatchling", "build", "-d", out, cwd=mounted)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    pip = ("pip", "--isolated", "--python", sys.executable, "wheel", "--no-build-isolation")
    words = ("--no-deps", "--no-index", "--wheel-dir", again, sdist)
    done(*pip, *words, cwd=folder, python=fresh / "bin" / "python")
    return Built(mounted, sdist, wheel, again / wheel.name)


@pytest.fixture(scope="module")
def environment(built: Built, fresh: Path) -> Path:
    """The fresh environment with the wheel, and with the libraries of the tests' environment."""
    (packages,) = fresh.glob("lib/python3*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    pip = ("pip", "--isolated", "install", "--no-deps", "--no-index")
    done(*pip, built.wheel, cwd=fresh, python=fresh / "bin" / "python")
    return fresh


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def environ(home: Path, stub: Stub) -> dict[str, str]:
    """The whole environment of the program: an empty home and a bucket."""
    return {
        "HOME": str(home),
        "PATH": os.defpath,
        "S3_BUCKET": "bucket",
        "S3_ENDPOINT_URL": stub.endpoint,
        "S3_ACCESS_KEY": "an-access-key",
        "S3_SECRET_KEY": "a-secret-key",
        "FRIGATE_DB_PATH": str(home / "frigate.db"),
        "FRIGATE_CLIPS_DIR": str(home / "clips"),
    }


@pytest.fixture
def programs(built: Built, environment: Path) -> dict[str, list[str]]:
    """The two forms of the program, by the name that each gives itself."""
    shutil.rmtree(built.mounted / "vendor", ignore_errors=True)  # it is litter
    return {
        "frigate-mirror": [str(environment / "bin" / "frigate-mirror")],
        "s3_snapshot_mirror.py": [sys.executable, str(built.mounted / "s3_snapshot_mirror.py")],
    }


# -- the archives


def test_the_wheel_contains_the_modules_the_cameras_of_the_demo_and_no_other_file(
    built: Built,
) -> None:
    about = f"frigate_s3_mirror-{__version__}.dist-info"
    described = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert len(MODULES) > 40
    assert built.names() == MODULES | CAMERAS | {f"{about}/{name}" for name in described}


def test_the_source_archive_contains_every_file_to_build_to_mount_and_to_read(
    built: Built,
) -> None:
    with tarfile.open(built.sdist) as archive:
        executable = {
            file.name.partition("/")[2]: bool(file.mode & 0o100)
            for file in archive
            if file.isfile()
        }
    scripts = {"entrypoint.sh", "setup_s3_mirror.sh", "s3_monitor.sh",
               "scripts/backfill_recordings.py"}  # fmt: skip
    others = {".dockerignore", ".env.example", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md",
              "Dockerfile", "LICENSE", "PKG-INFO", "README.md", "SECURITY.md",
              "boot/sitecustomize.py", "docs/demo.svg", "docker-compose.after-frigate.yml",
              "docker-compose.companion.yml", "docker-compose.example.yml", "pyproject.toml",
              "requirements/prune.py"}  # fmt: skip
    installed = ("build", "child", "companion", "image", "metrics", "mqtt")
    several = {
        *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")),
        *(f"requirements/{name}.{ending}" for name in installed for ending in ("in", "lock")),
    }
    assert set(executable) == MODULES | CAMERAS | scripts | others | several
    assert scripts == {name for name in scripts if executable[name]}, (
        "setup, the container and people execute these scripts"
    )


def test_the_source_archive_builds_the_same_wheel(built: Built) -> None:
    assert built.wheel_of_sdist.read_bytes() == built.wheel.read_bytes()


def test_the_wheel_names_its_version_and_its_licence_and_contains_the_readme(built: Built) -> None:
    metadata = built.metadata()
    assert (metadata["Name"], metadata["Version"]) == ("frigate-s3-mirror", __version__)
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata.get_payload(decode=True) == (ROOT / "README.md").read_bytes()


def test_the_wheel_needs_the_libraries_that_setup_fetches(built: Built) -> None:
    needed = built.metadata().get_all("Requires-Dist", [])
    lines = REQUIREMENTS.read_text().splitlines()
    assert {requirement for requirement in needed if "extra ==" not in requirement} == {
        line for line in lines if not line.startswith("#")
    }


# -- the command


@pytest.mark.parametrize("words, status", [
    (("--version",), 0), (("--help",), 0), (("status",), 2), (("status", "--json"), 2),
    (("check",), 1), (("check", "--bucket-only"), 0), (("run", "--help"), 0), (("dance",), 64),
])  # fmt: skip
def test_the_installed_command_is_the_same_program(
    programs: dict[str, list[str]],
    environ: dict[str, str],
    home: Path,
    words: tuple[str, ...],
    status: int,
) -> None:
    outputs = []
    for name, program in programs.items():
        ended = subprocess.run(
            [*program, *words], env=environ, cwd=home, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == status, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        output = (ended.stdout + ended.stderr).replace(name, "PROGRAM")
        outputs.append(re.sub(r"in \d+ ms", "in some ms", output))
    assert outputs[0] == outputs[1] != ""


def test_the_wheel_installs_the_commands_of_the_recorder(
    environment: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    root, config = tmp_path / "root", tmp_path / "root/etc/camera-backup/config.yaml"
    programs, said = environment / "bin", {"env": environ, "text": True, "cwd": "/"}
    install = [str(programs / "camera-backup-install"), "--root", str(root)]
    assert f"write  {config}" in subprocess.check_output(install, **said)
    generate = [str(programs / "camera-backup-generate"), "--root", str(root)]
    generate += ["--config", str(config)]
    refused = subprocess.run(generate, capture_output=True, **said)
    assert refused.returncode == 78
    assert "still has the placeholder" in refused.stderr
    text = config.read_text().replace("YOUR_ACCESS_KEY_ID", "k")
    text = text.replace("YOUR_SECRET_ACCESS_KEY", "s").replace("YOUR_ENDPOINT_URL", "s3.example")
    config.write_text(text.replace("username:password@camera-ip", "user:pw@10.0.0.5"))
    subprocess.check_output(generate, **said)
    service = root / "etc/systemd/system/camera-recorder-front-door.service"
    assert f"ExecStart={programs}/frigate-mirror recorder run" in service.read_text()


def test_the_command_says_the_version_of_the_wheel(
    programs: dict[str, list[str]], environ: dict[str, str]
) -> None:
    command = [*programs["frigate-mirror"], "--version"]
    assert subprocess.check_output(command, env=environ, text=True) == f"{__version__}\n"


def test_the_installed_command_runs_the_modules_of_the_wheel(
    environment: Path, environ: dict[str, str]
) -> None:
    asking = "import frigate_mirror, s3; print(frigate_mirror.__file__, s3.__file__)"
    command = [str(environment / "bin" / "python"), "-c", asking]
    paths = subprocess.check_output(command, env=environ, text=True, cwd="/").split()
    assert [Path(path).is_relative_to(environment) for path in paths] == [True, True]


@pytest.mark.parametrize("name", ["frigate-mirror", "s3_snapshot_mirror.py"])
def test_the_bucket_learns_the_version_from_the_user_agent(
    programs: dict[str, list[str]], environ: dict[str, str], stub: Stub, name: str
) -> None:
    command = [*programs[name], "check", "--bucket-only"]
    subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60)
    agents = [seen.headers["user-agent"] for seen in stub.seen]
    assert agents and all(f"frigate-s3-mirror/{__version__}" in agent for agent in agents), agents


@pytest.mark.parametrize("name", ["frigate-mirror", "s3_snapshot_mirror.py"])
def test_the_program_ends_without_a_message_when_nobody_reads_its_output(
    programs: dict[str, list[str]], environ: dict[str, str], name: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [*programs[name], "status"]
        ended = subprocess.run(command, env=environ, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, b"")


def test_the_folder_vendor_is_used_if_it_is_beside_the_program(
    programs: dict[str, list[str]], built: Built, environ: dict[str, str]
) -> None:
    vendor = built.mounted / "vendor"
    vendor.mkdir()
    try:
        (vendor / "peewee.py").write_text("raise ImportError('this is the vendored one')")
        ended = {
            name: subprocess.run([*program, "check"], env=environ, capture_output=True)
            for name, program in programs.items()
        }
    finally:
        shutil.rmtree(vendor)
    assert ended["s3_snapshot_mirror.py"].returncode == 78
    assert b"this is the vendored one" in ended["s3_snapshot_mirror.py"].stderr
    assert ended["frigate-mirror"].returncode == 1
