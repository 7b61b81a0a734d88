"""The README describes what the code does, and its first two commands work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

import frigate_s3_patcher
from frigate_mirror.keys import KeyCodec
from frigate_mirror.settings.settings import VARIABLES
from frigate_mirror.setup import costs
from frigate_mirror.sinks.s3.storage import STANDARD
from lab import picture
from tests.rig import ROOT

README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
BUCKET = (ROOT / "docs" / "bucket.md").read_text()
PICTURE = ROOT / "docs" / "demo.svg"
SVG = "{http://www.w3.org/2000/svg}"
PREFIX = "frigate/snapshots"  # of the keys in the README
SEED_VARIABLES = {
    "S3_BUCKET": "",
    "S3_ACCESS_KEY": "",
    "S3_SECRET_KEY": "",
    "S3_REGION": "us-east-1",
    "S3_PATH_PREFIX": "",
    "S3_ENDPOINT_URL": "",
    "S3_UPLOAD_THREADS": "8",
    "S3_BATCH_SIZE": "50",
    "S3_STORAGE_CLASS": "STANDARD_IA",
    "S3_MAX_FAILED_RETRIES": "3",
}


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def rows(page: str, head: str) -> list[list[str]]:
    """Returns the cells of the table whose first line begins with `head`, without that line."""
    table = page.split(f"\n{head}", 1)[1].split("\n\n")[0]
    return [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


# -- the first screen


def test_the_first_screen_has_the_two_commands() -> None:
    first, second = [block.strip() for block in fenced("bash")[:2]]
    assert (first, second) == ("./setup_s3_mirror.sh demo", "make test")
    assert len(README.split("```bash")[0].splitlines()) < 25


def test_the_versions_are_those_whose_code_the_hook_was_made_for() -> None:
    tried = [row[0] for row in rows(README, "| Frigate |")]
    read = re.findall(r"v(\d+\.\d+\.\d+(?:-\w+)?)", frigate_s3_patcher.__doc__ or "")
    assert len(read) == 3
    assert [version for version in tried if not version.startswith("dev")] == read


def test_the_picture_shows_keys_of_the_mirror_and_good_health() -> None:
    text = "\n".join("".join(line.itertext()) for line in ElementTree.parse(PICTURE).getroot())
    keys = re.findall(r"((\S+)/[^/\s]+/\d{4}-\d\d-\d\d/\S+)", text)
    kinds = sorted(KeyCodec(prefix).parse(key).kind for key, prefix in keys)
    assert kinds == ["clip", "metadata", "snapshot", "thumbnail"]
    assert "S3 mirror: OK" in text


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the demo prints. It fails here if the demo does or leaves files behind."""
    folder = tmp_path_factory.mktemp("demo")
    environ = os.environ | {"S3_DEMO_VENV": sys.prefix, "TMPDIR": str(folder)}
    done = subprocess.run(
        ["./setup_s3_mirror.sh", "demo"], cwd=ROOT, env=environ, capture_output=True, timeout=120
    )
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert list(folder.iterdir()) == []
    return output


def test_the_demo_brings_every_file_into_the_bucket_and_cleans_up(demo: str) -> None:
    assert "objects of 5 events, none of them wrong and none missing" in demo
    assert max(map(len, demo.splitlines())) <= 100
    assert "\033" not in demo
    assert "Health: OK" in demo


def test_the_picture_shows_what_the_demo_prints(demo: str) -> None:
    lines = picture.chosen(demo)
    drawn = ElementTree.fromstring(picture.svg(lines)).iter(f"{SVG}text")
    assert [text.text for text in drawn] == [picture.plain(line).strip() for line in lines if line]
    assert sum("application/json, complete" in line for line in lines) == 1


def test_a_picture_shows_any_character_in_its_column_and_its_colour() -> None:
    lines = ["\x1b[2m \x1b[0m   <all> \x1b[1;32m& well\x1b[0m"]
    first, second = ElementTree.fromstring(picture.svg(lines)).iter(f"{SVG}text")
    assert (first.text, first.get("fill"), second.text, second.get("fill")) == (
        "<all>", None, "& well", "#7ee787",
    )  # fmt: skip
    column = (float(second.get("x", "")) - float(first.get("x", ""))) / picture.ADVANCE
    assert round(column) == len("<all> ")
    assert float(first.get("x", "")) == pytest.approx(picture.MARGIN + 4 * picture.ADVANCE, abs=0.1)


def test_output_without_a_section_gives_no_picture() -> None:
    with pytest.raises(ValueError, match="no section whose title contains 'the files of'"):
        picture.chosen("1. The monitor\n  S3 mirror: OK\n\n2. The end\n")


# -- the bucket


def test_the_policy_grants_nothing_but_put_and_list() -> None:
    policy = json.loads(fenced("json")[0])
    actions = {statement["Action"] for statement in policy["Statement"]}
    assert actions == {"s3:PutObject", "s3:ListBucket"}


def test_the_example_of_a_key_is_a_key_of_the_mirror() -> None:
    (key,) = re.findall(rf"^{PREFIX}/.*$", README, re.MULTILINE)
    parts = KeyCodec(PREFIX).parse(key)
    assert (parts.camera, parts.ending) == ("front_door", ".jpg")
    folder = f"{PREFIX}/{parts.camera}/2024-01-15"
    assert key.startswith(folder)
    assert README.count(folder) == 3, "the commands that get pictures back take the same folder"


def test_the_costs_follow_from_the_prices() -> None:
    names = re.findall(r"`(\w+)`", BUCKET.split("| | ")[1].splitlines()[0])
    prices = {
        row[0]: [float(cell.split(",")[0]) for cell in row[1:]] for row in rows(BUCKET, "| | ")
    }
    pictures, checks = 30 * 200, 30 * 24 * 60
    table = rows(README, "| 6,000 pictures of |")
    assert len(table) == 4
    for size, name, *told in table:
        column = names.index(name)
        smallest = 128 if name == "STANDARD_IA" else 0
        kilobytes = max(int(size.removesuffix(" KB")), smallest)
        storing = pictures * kilobytes / 1024**2 * prices["a GB for a month"][column]
        uploading = pictures / 1000 * prices["1,000 uploads"][column]
        listing = checks / 1000 * prices["1,000 listings"][column]
        computed = [f"${value:.3f}" for value in (storing, uploading, listing)]
        assert told == [*computed, f"${storing + uploading + listing:.2f}"], (size, name)


def test_the_costs_of_each_kind_follow_from_the_prices_and_from_what_setup_shows() -> None:
    shown = {kind.kind: kind for kind in costs.KINDS}
    table = rows(README, "| kind |")
    assert [row[0].split("`")[0] for row in table] == [
        "snapshot", "thumbnail", "clip", "clip", "metadata",
    ]  # fmt: skip
    for name, _, size, uploads, told in table:
        kind, _, camera = name.partition("` of a camera with ")
        number, unit = size.split()
        megabits = re.fullmatch(r"(\d) Mbit/s", camera)
        if megabits:  # 20 s and 5 s before and after
            assert float(number) * 8 == 30 * int(megabits[1])
        if camera != "4 Mbit/s":
            assert (shown[kind].bytes, shown[kind].uploads) == (size, int(uploads))
            assert told == f"${shown[kind].month:.2f}"
        events = 100 * 30
        gigabytes = events * float(number) * {"KB": 1024, "MB": 1_000_000}[unit] / 2**30
        money = gigabytes * STANDARD.gb_month + events * int(uploads) * STANDARD.put
        assert told == f"${money:.2f}", name


# -- the settings


def test_the_settings_table_is_what_the_command_prints() -> None:
    table = SETTINGS.split("<!-- settings: begin -->\n")[1].split("<!-- settings: end -->")[0]
    command = [sys.executable, ROOT / "s3_snapshot_mirror.py", "settings", "--table"]
    assert table == subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_settings_that_were_promised_first_have_their_names_and_defaults() -> None:
    defaults = {
        name: variable.default for variable in VARIABLES.values() for name in variable.names
    }
    assert {name: defaults.get(name) for name in SEED_VARIABLES} == SEED_VARIABLES
