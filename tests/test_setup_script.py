"""setup_s3_mirror.sh writes some files, keeps all others, and never shows a secret."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from frigate_mirror.settings.settings import VARIABLES
from tests.rig.compose import GIVEN, SECRET, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- what it writes


def test_setup_writes_settings_and_override_and_keeps_the_owners_compose_file(
    house: House,
) -> None:
    before = house.files()
    house.written(**GIVEN)
    keys = f"S3_ACCESS_KEY='AKIAEXAMPLE'\nS3_SECRET_KEY='{SECRET}'\n"
    assert f"S3_BUCKET='cams'\n{keys}" in house.env.read_text()
    assert '["/bin/bash", "/opt/frigate-s3-mirror/entrypoint.sh"]' in house.override.read_text()
    after = house.files()
    assert set(after) - set(before) == {".env", "docker-compose.override.yml"}
    assert before.items() <= after.items()


def test_only_the_owner_can_read_the_settings(house: House) -> None:
    house.env.write_text("THEIRS=1\n")
    house.env.chmod(0o644)
    house.written(**GIVEN)
    assert mode(house.env) == 0o600
    assert mode(house.override) == 0o644


def test_a_second_run_changes_nothing_and_needs_no_settings(house: House) -> None:
    house.written(**GIVEN)
    before = house.files()
    done = house.written()
    assert "Everything is written already." in done.stdout
    assert house.files() == before
    assert house.calls("pip").count("install") == 1


def test_a_new_value_of_a_setting_replaces_the_old_one(house: House) -> None:
    house.written(**GIVEN)
    done = house.written(S3_BUCKET="other", MIRROR_KEY_TIMEZONE="Europe/Berlin")
    assert "  -S3_BUCKET='cams'\n  +S3_BUCKET='other'\n" in done.stdout
    assert house.env.read_text().count("S3_BUCKET=") == 1
    assert "MIRROR_KEY_TIMEZONE='Europe/Berlin'\n" in house.env.read_text()


def test_a_setting_that_was_written_under_an_older_name_is_kept_under_the_newer(
    house: House,
) -> None:
    house.written(**GIVEN)
    written = house.env.read_text()
    house.env.write_text(written.replace("# <<<", "S3_UPLOAD_THREADS='16'\n# <<<"))
    house.written()
    threads = [line for line in house.env.read_text().splitlines() if "UPLOAD_THREADS" in line]
    assert threads == ["MIRROR_UPLOAD_THREADS='16'"]


def test_a_value_given_under_either_name_replaces_the_old_one(house: House) -> None:
    for given in ({"MIRROR_NICENESS": "1"}, {"S3_NICENESS": "2"}, {"MIRROR_NICENESS": "3"}):
        house.written(**GIVEN, **given)
        lines = [line for line in house.env.read_text().splitlines() if "NICENESS" in line]
        assert lines == [f"MIRROR_NICENESS='{next(iter(given.values()))}'"]


def test_the_owners_own_line_keeps_its_older_name_and_wins(house: House) -> None:
    house.written(**GIVEN, MIRROR_NICENESS="1")
    house.env.write_text(f"S3_NICENESS=2\n{house.env.read_text()}")
    house.written()
    lines = [line for line in house.env.read_text().splitlines() if "NICENESS" in line]
    assert lines == ["S3_NICENESS=2"]
    assert " S3_NICENESS:" in house.override.read_text()


def test_the_override_passes_on_only_the_settings_that_are_set(house: House) -> None:
    yaml = pytest.importorskip("yaml")
    house.env.write_text("S3_SSE=AES256\n")
    house.written(**GIVEN)
    service = yaml.safe_load(house.override.read_text())["services"]["frigate"]
    assert service["environment"] == dict.fromkeys([*GIVEN, "S3_SSE"])
    [mount] = service["volumes"]
    assert mount["source"] == str(house.ours).replace("$", "$$") and mount["read_only"] is True
    assert service["stop_grace_period"] == "30s"


def test_the_settings_of_kinds_and_clips_are_passed_on_even_from_the_image(house: House) -> None:
    """The image gets the environment of setup, and so does Frigate's container."""
    kinds = {
        name: "1"
        for name in VARIABLES
        if name.startswith("MIRROR_CLIP_") and not name.endswith(("SEVERITY", "MAX_LENGTH"))
    }
    kinds |= {"MIRROR_KINDS": "clip,snapshot", "MIRROR_CHANGES_HOURS": "2"}
    done = house.written(**GIVEN, **kinds, NO_PYTHON="1")
    assert "is not a setting" not in done.stdout
    written, override = house.env.read_text(), house.override.read_text()
    for name, value in kinds.items():
        assert f"{name}='{value}'\n" in written
        assert f"      {name}:\n" in override


def test_credentials_of_the_retention_do_not_reach_frigates_container(house: House) -> None:
    house.env.write_text("RETENTION_S3_ACCESS_KEY=AKIDKEEPER\n")
    done = house.written(**GIVEN, RETENTION_S3_SECRET_KEY="of-the-keeper")
    assert "RETENTION" not in house.override.read_text()
    assert "of-the-keeper" not in house.env.read_text() + done.stdout


@pytest.mark.parametrize("python", [{}, {"NO_PYTHON": "1"}], ids=["here", "in the image"])
def test_the_settings_of_notices_are_passed_on(house: House, python: dict[str, str]) -> None:
    ways = {
        "NOTIFY_WEBHOOK_URL": "http://homeassistant:8123/api/webhook/a?b=c&d=",
        "NOTIFY_NTFY_URL": "https://ntfy.sh/topic",
        "NOTIFY_NTFY_TOKEN": "tk_verysecret",
        "NOTIFY_PING_URL": "https://hc-ping.com/5bf66975",
        "NOTIFY_AFTER": "1h",
        "NOTIFY_DIGEST_AT": "08:00",
        "MIRROR_NAME": "garage",
    }
    done = house.written(**GIVEN, **ways, **python)
    written, override = house.env.read_text(), house.override.read_text()
    for name, value in ways.items():
        assert f"{name}='{value}'\n" in written
        assert f"      {name}:\n" in override
    assert "tk_verysecret" not in done.stdout and "is not a setting" not in done.stdout


def test_apprise_inside_frigate_is_a_problem_before_anything_is_written(house: House) -> None:
    done = house.setup("--yes", **GIVEN, NOTIFY_APPRISE_URLS="tgram://hidden/1")
    assert done.returncode == 1 and not house.env.exists()
    assert "set NOTIFY_WEBHOOK_URL or NOTIFY_NTFY_URL" in done.stderr
    assert "hidden" not in done.stdout + done.stderr


def test_without_an_answer_setup_leaves_the_kinds_at_their_default(house: House) -> None:
    done = house.written(**GIVEN)
    assert "MIRROR_KINDS" not in done.stdout + house.env.read_text() + house.override.read_text()


def test_the_folder_can_be_named(house: House, tmp_path: Path) -> None:
    house.project.rename(tmp_path / "moved")
    house.project.mkdir()
    house.written("--dir", str(tmp_path / "moved"), **GIVEN)
    assert (tmp_path / "moved" / ".env").exists() and not house.env.exists()


# -- what it keeps


def test_the_owners_lines_stay_as_they_are(house: House) -> None:
    theirs = "# mine\nFRIGATE_RTSP_PASSWORD=geheim\r\nS3_REGION=eu-central-1\n"
    house.env.write_bytes(theirs.encode())
    done = house.written(S3_REGION="us-west-2", **GIVEN)
    assert house.env.read_bytes().startswith(theirs.encode())
    assert house.env.read_text().count("S3_REGION") == 1
    assert ".env has a line of your own for S3_REGION" in done.stdout


def test_the_owners_lines_may_contain_all_settings(house: House) -> None:
    house.env.write_text("export S3_BUCKET=\"cams\"\nS3_ACCESS_KEY=a # key\nS3_SECRET_KEY='b'\n")
    house.written()
    for name in ("S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        assert f"      {name}:\n" in house.override.read_text()


def test_a_block_without_an_end_counts_as_the_owners_lines(house: House) -> None:
    house.written(**GIVEN)
    damaged = house.env.read_text().rsplit("# <<<", 1)[0] + "THEIRS=1\n"
    house.env.write_text(damaged)
    house.written()
    assert house.env.read_text().startswith(damaged)


def test_lines_after_our_block_stay_even_if_all_lines_end_as_on_windows(house: House) -> None:
    house.written(**GIVEN)
    house.env.write_bytes(house.env.read_bytes().replace(b"\n", b"\r\n") + b"MINE=1\r\n")
    house.setup("--uninstall", "--yes")
    assert house.env.read_bytes() == b"MINE=1\r\n"


def test_a_copy_of_env_as_it_was_is_kept_for_the_owner_alone(house: House) -> None:
    house.env.write_text("THEIRS=1\n")
    done = house.written(**GIVEN)
    copy = house.project / ".env.before-s3-mirror"
    assert (copy.read_text(), mode(copy)) == ("THEIRS=1\n", 0o600)
    assert f"{copy} is a copy of .env as it was." in done.stdout


def test_a_link_to_the_settings_stays_a_link(house: House, tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("THEIRS=1\n")
    house.env.symlink_to(tmp_path / "secrets")
    house.written(**GIVEN)
    assert house.env.is_symlink() and "S3_BUCKET='cams'" in (tmp_path / "secrets").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_what_root_writes_belongs_to_the_owner_of_the_compose_file(house: House) -> None:
    compose = house.project / "docker-compose.yml"
    os.chown(compose, 1234, 1235)
    house.written(**GIVEN)
    for path in (house.env, house.override):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)
    os.chown(house.env, 4321, 4322)
    house.written(MIRROR_NICENESS="3")
    assert (house.env.stat().st_uid, house.env.stat().st_gid) == (4321, 4322)


# -- problems


def test_all_problems_are_reported_at_once_and_nothing_is_written(house: House) -> None:
    (house.project / "docker-compose.yml").unlink()
    (house.ours / "boot" / "sitecustomize.py").unlink()
    done = house.setup("--yes", S3_ACCESS_KEY="half", S3_ENDPOINT_URL="minio:9000")
    assert done.returncode == 1
    for problem in ("no compose file", "boot/sitecustomize.py is missing", "S3_BUCKET is not set",
                    "S3_SECRET_KEY: missing", "S3_ENDPOINT_URL: "):  # fmt: skip
        assert problem in done.stderr
    assert house.files() == {}
    assert not house.vendor.exists()


def test_every_wrong_setting_is_a_problem_before_anything_is_written(house: House) -> None:
    wrong = {"S3_BUCKET": "s3://x/y", "MIRROR_UPLOAD_THREADS": "abc", "S3_CA_BUNDLE": "/inside"}
    done = house.setup("--yes", **GIVEN | wrong)
    assert done.returncode == 1
    assert "S3_BUCKET: 's3://x/y'" in done.stderr and "MIRROR_UPLOAD_THREADS: 'abc'" in done.stderr
    assert "S3_CA_BUNDLE" not in done.stderr
    assert not house.env.exists()


@pytest.mark.parametrize("secret", ["it's", "back\\slash", "two\nlines"])
def test_a_secret_that_env_cannot_hold_is_refused_with_advice(house: House, secret: str) -> None:
    done = house.setup("--yes", **GIVEN | {"S3_SECRET_KEY": secret})
    assert done.returncode == 1
    assert "S3_SECRET_KEY_FILE" in done.stderr and secret not in done.stderr


def test_a_secret_in_a_file_counts_as_given(house: House) -> None:
    given = {"S3_ACCESS_KEY_FILE": "/s/a", "S3_SECRET_KEY_FILE": "/s/b"}
    done = house.setup("--yes", S3_BUCKET="cams", **given)
    assert done.returncode == 0, done.stderr
    assert "S3_SECRET_KEY_FILE='/s/b'" in house.env.read_text()
    assert "_KEY_FILE names a file of the container, so the key is tried only there" in done.stdout


def test_setup_accepts_that_no_keys_are_given(house: House) -> None:
    done = house.setup("--yes", S3_BUCKET="cams")
    assert done.returncode == 0
    assert "the AWS credentials are of the container" in done.stdout


@pytest.mark.parametrize("wrong", ["--what", "--service", "--service=a b", "--dir=/no/such"])
def test_a_wrong_command_line_of_setup_exits_with_64(house: House, wrong: str) -> None:
    before = house.files()
    done = house.setup("--yes", *wrong.split("="), **GIVEN)
    assert done.returncode == 64
    assert "usage: setup_s3_mirror.sh" in done.stderr or "--dir" in done.stderr
    assert house.files() == before


@pytest.mark.parametrize("arguments", [(), ("--uninstall",)])
def test_without_a_terminal_setup_needs_the_option_yes(
    house: House, arguments: tuple[str, ...]
) -> None:
    before = house.files()
    done = house.setup(*arguments, **GIVEN)
    assert (done.returncode, "Use --yes" in done.stderr) == (64, True)
    assert house.files() == before and not house.vendor.exists()


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_misspelt_setting_is_named_with_the_right_name(house: House, where: str) -> None:
    if where == ".env":
        house.env.write_text("S3_BUKET=cams\nMIRROR_SWEEP_DAY=3\n")
        done = house.setup("--dry-run", **GIVEN)
    else:
        done = house.setup("--dry-run", **GIVEN, S3_BUKET="cams", MIRROR_SWEEP_DAY="3")
    assert "S3_BUKET is set, but is not a setting: did you mean S3_BUCKET?" in done.stdout
    assert "did you mean MIRROR_SWEEP_DAYS?" in done.stdout


# -- secrets


def test_a_secret_is_neither_printed_nor_on_a_command_line(house: House) -> None:
    outputs = []
    for arguments in (["--dry-run"], ["--yes"], ["--uninstall", "--dry-run"]):
        done = house.setup("--no-try", *arguments, **GIVEN)
        outputs += [done.stdout, done.stderr]
    assert "S3_SECRET_KEY='********'" in "".join(outputs)
    for text in (*outputs, house.calls(), house.calls("pip")):
        assert SECRET not in text and "AKIAEXAMPLE" not in text


def test_a_change_of_secrets_alone_is_shown_as_such(house: House) -> None:
    house.written(**GIVEN)
    done = house.written(S3_SECRET_KEY="another")
    assert "(only secrets change)" in done.stdout
    assert "another" in house.env.read_text() and "another" not in done.stdout


def test_the_owners_other_secrets_do_not_appear_in_the_difference(house: House) -> None:
    house.env.write_text("FRIGATE_RTSP_PASSWORD=geheim")
    assert "geheim" not in house.written(**GIVEN).stdout


# -- dry run and uninstall


def test_a_dry_run_shows_everything_and_does_nothing(house: House) -> None:
    before = house.files()
    done = house.setup("--dry-run", **GIVEN)
    assert done.returncode == 0
    assert "+S3_BUCKET='cams'" in done.stdout and "entrypoint.sh" in done.stdout
    assert "neither tries the key nor writes anything" in done.stdout
    assert house.files() == before and not house.vendor.exists()
    calls = house.calls().splitlines()
    assert calls and all(" config " in call for call in calls)


def test_a_dry_run_of_what_is_set_up_says_that_everything_is_written(house: House) -> None:
    house.written(**GIVEN)
    assert house.setup("--dry-run").stdout.endswith("\n\nEverything is written already.\n")


def test_a_difference_fits_80_columns(house: House) -> None:
    lines = house.setup("--dry-run", **GIVEN).stdout.splitlines()
    shown = [line for line in lines if line.startswith("  +")]
    assert shown and max(map(len, shown)) <= 80


def test_uninstall_removes_what_setup_has_written_and_nothing_else(house: House) -> None:
    house.env.write_text("THEIRS=1\n")
    house.env.chmod(0o640)
    before = house.files()
    house.written(**GIVEN)
    house.written(MIRROR_NICENESS="3")
    done = house.setup("--uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert house.files() == before
    assert mode(house.env) == 0o640
    assert not house.vendor.exists()


def test_uninstall_removes_an_env_file_that_held_nothing_else(house: House) -> None:
    before = house.files()
    house.written(**GIVEN)
    house.setup("--uninstall", "--yes")
    assert house.files() == before


def test_uninstall_keeps_an_override_of_the_owner(house: House) -> None:
    house.override.write_text("services: {}\n")
    done = house.setup("--uninstall", "--yes")
    assert house.override.exists()
    assert "Nothing of the mirror is set up" in done.stdout


def test_uninstall_in_a_folder_that_was_never_set_up_keeps_the_libraries(house: House) -> None:
    house.setup("--vendor-only")
    done = house.setup("--uninstall", "--yes")
    assert "Nothing of the mirror is set up" in done.stdout
    assert house.vendor.exists()


def test_uninstall_has_a_dry_run(house: House) -> None:
    house.written(**GIVEN)
    before = house.files()
    done = house.setup("--uninstall", "--dry-run")
    assert "-S3_BUCKET='cams'" in done.stdout
    assert house.files() == before and house.vendor.exists()


def test_uninstall_leaves_the_libraries_while_a_container_uses_them(house: House) -> None:
    house.written(**GIVEN)
    house.runs_a_container(with_mirror=True)
    done = house.setup("--uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert house.vendor.exists() and not house.override.exists()
    assert "stays, because the running container home-frigate-1\n  uses it" in done.stdout


def test_uninstall_removes_the_libraries_if_the_container_does_not_use_them(house: House) -> None:
    house.written(**GIVEN)
    house.runs_a_container(with_mirror=False)
    house.setup("--uninstall", "--yes")
    assert not house.vendor.exists()


# -- the libraries


def test_libraries_are_downloaded_by_hash_as_wheels_and_replaced_as_a_whole(house: House) -> None:
    (house.vendor / "library").mkdir(parents=True)
    (house.vendor / "library" / "old").touch()
    done = house.setup("--vendor-only")
    assert (done.returncode, "vendor/ has the libraries now." in done.stdout) == (0, True)
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(
        house.calls("pip").split()
    )
    assert [path.name for path in (house.vendor / "library").iterdir()] == ["new"]
    assert not list(house.ours.glob("vendor.*"))


def test_a_failed_download_of_the_libraries_changes_nothing(house: House) -> None:
    before = house.files()
    house.vendor.mkdir()
    (house.vendor / "old").touch()
    done = house.setup("--yes", "--no-try", PIP_STATUS="1", **GIVEN)
    assert done.returncode == 1 and "could not be downloaded" in done.stderr
    assert (house.vendor / "old").exists() and not list(house.ours.glob("vendor.*"))
    assert house.files() == before


def test_a_changed_lock_file_makes_setup_download_the_libraries_again(house: House) -> None:
    house.setup("--vendor-only")
    with (house.ours / "requirements" / "child.lock").open("a") as lock:
        lock.write("# newer\n")
    house.setup("--vendor-only")
    assert house.calls("pip").count("install") == 2


@pytest.mark.parametrize(
    ("asked", "locks"),
    [
        ({}, {"child"}),
        ({"MQTT_HOST": "mosquitto"}, {"child"}),
        ({"MQTT_HOST": "mosquitto", "MIRROR_REPORT_MQTT": "true"}, {"child", "mqtt"}),
        ({"MIRROR_HTTP_PORT": "9480"}, {"child", "metrics"}),
        ({"MIRROR_HTTP_PORT": "0", "MIRROR_REPORT_MQTT": "false"}, {"child"}),
    ],
)
def test_setup_downloads_a_library_only_if_the_settings_ask_for_what_it_does(
    house: House, asked: dict[str, str], locks: set[str]
) -> None:
    house.written(**GIVEN, **asked)
    found = re.findall(r"/requirements/(\w+)\.lock", house.calls("pip"))
    assert set(found) == locks
    override = house.override.read_text()
    assert all(f"      {name}:" in override for name in asked)


def test_libraries_that_are_wanted_only_now_are_downloaded_and_others_stay(house: House) -> None:
    house.written(**GIVEN)
    more = {"MQTT_HOST": "mosquitto", "MIRROR_REPORT_MQTT": "true"}
    house.written(**GIVEN, **more)
    assert house.calls("pip").count("install") == 2
    house.written(**GIVEN, **more)
    house.written(**GIVEN, **(more | {"MIRROR_REPORT_MQTT": "false"}))
    assert house.calls("pip").count("install") == 2


def test_the_libraries_alone_are_those_that_the_file_env_asks_for(house: House) -> None:
    house.env.write_text("MIRROR_HTTP_PORT=9480\n")
    house.setup("--vendor-only")
    assert "/requirements/metrics.lock" in house.calls("pip")


def test_certificates_for_the_broker_are_files_of_the_container(house: House) -> None:
    asked = {"MQTT_HOST": "mosquitto", "MIRROR_REPORT_MQTT": "true", "MQTT_CA_BUNDLE": "/config/ca"}
    house.written(**GIVEN, **asked)
    assert "MQTT_CA_BUNDLE='/config/ca'" in house.env.read_text()


def test_every_run_compiles_the_code_because_the_mount_is_read_only(house: House) -> None:
    compiled = house.ours / "__pycache__"
    for command in (("--vendor-only",), ("--yes", "--no-try")):
        house.setup(*command, **GIVEN)
        for path in compiled.iterdir():
            path.unlink()
        house.setup(*command, **GIVEN)
        assert any(path.name.startswith("frigate_s3_patcher.") for path in compiled.iterdir())


def test_frigates_own_python_compiles_the_code_if_its_image_is_present(house: House) -> None:
    house.written(**GIVEN, NO_IMAGE="0")
    assert "ghcr.io/blakeblackshear/frigate:0.17.2 -m compileall -q -l" in house.calls()
    assert f"source={house.ours},target={house.ours}" in house.calls()


# -- without Python


def test_without_python_setup_runs_in_the_frigate_image_of_the_owner(house: House) -> None:
    done = house.written(**GIVEN, NO_PYTHON="1", MQTT_HOST="mosquitto", MIRROR_REPORT_MQTT="true")
    assert "/requirements/mqtt.lock" in house.calls("pip")
    assert "setup runs in ghcr.io/blakeblackshear/frigate:0.17.2" in done.stderr
    assert f"S3_SECRET_KEY='{SECRET}'" in house.env.read_text()
    assert "Compose starts frigate with the mirror" in done.stdout
    [run] = [line for line in house.calls().splitlines() if line.startswith("docker run")]
    for folder in (house.ours, house.project):
        assert f"type=bind,source={folder},target={folder}" in run
    assert SECRET not in run and "--env S3_SECRET_KEY " in run
    assert not list(house.ours.glob(".setup.*"))
    assert (house.vendor / "library" / "new").exists()


def test_the_exit_code_comes_out_of_the_container(house: House) -> None:
    assert house.setup("--yes", "--no-try", NO_PYTHON="1", CHECK="1", **GIVEN).returncode == 3
    assert house.setup("--what", NO_PYTHON="1").returncode == 64


def test_the_image_can_be_named(house: House) -> None:
    house.written("--image", "mine:1", NO_PYTHON="1", **GIVEN)
    assert "python3 mine:1 " in house.calls()


def test_without_python_and_without_docker_nothing_can_be_set_up(house: House) -> None:
    before = house.files()
    done = house.setup("--yes", NO_PYTHON="1", NO_DAEMON="1", **GIVEN)
    assert (done.returncode, "apt install python3-pip" in done.stderr) == (1, True)
    assert house.files() == before


def test_a_python_without_pip_suffices_once_the_libraries_are_there(house: House) -> None:
    house.setup("--vendor-only")
    (house.modules / "pip" / "__init__.py").write_text("raise ImportError\n")
    house.written(**GIVEN)
    assert "docker run" not in house.calls()
    (house.vendor / "requirements.lock").unlink()
    house.setup("--yes", "--no-try", **GIVEN)
    assert "docker run" in house.calls()


def test_an_incomplete_copy_of_the_project_is_a_problem(house: House) -> None:
    (house.ours / "s3_snapshot_mirror.py").unlink()
    done = house.setup("--yes", **GIVEN)
    assert (done.returncode, "download the whole project again" in done.stderr) == (1, True)


# -- the demo


def test_demo_runs_its_own_script(house: House) -> None:
    (house.ours / "demo").mkdir()
    (house.ours / "demo" / "demo.sh").write_text('echo demo "$@"; exit 5\n')
    done: subprocess.CompletedProcess[str] = house.setup("demo", "--keep")
    assert (done.stdout, done.returncode) == ("demo --keep\n", 5)
