"""The pages lead to files, headings, commands and settings that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from frigate_mirror import __version__
from frigate_mirror.checks.variables import INTERNAL
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.keys import KeyCodec
from frigate_mirror.settings.settings import VARIABLES
from s3_snapshot_mirror import COMMANDS
from tests.rig import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/*.md"))
}
# Variables that a page names and that are no settings: one is misspelt on purpose.
OTHERS = {*INTERNAL, "S3_DEMO_VENV", "S3_BUKET"}


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    """The name of each page in turn."""
    name: str = request.param
    return name


def links(name: str) -> list[str]:
    """Returns where a page's links lead, without those to other sites."""
    found = re.findall(r"\]\(([^)\s]+)\)", PAGES[name])
    return [link for link in found if "://" not in link]


def target(name: str, link: str) -> Path:
    return (ROOT / name).parent / link if link else ROOT / name


def headings(text: str) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        path = target(page, file)
        assert path.exists(), link
        if anchor:
            assert anchor in headings(path.read_text()), link


def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = re.findall(
        r"`((?:docs|demo|lab|requirements|frigate_mirror|boot)/[\w./-]+\.\w+)`", PAGES[page]
    )
    named += [f"tests/{name}" for name in re.findall(r"`(test_\w+\.py)`", PAGES[page])]
    named += re.findall(r"\b((?:setup_)?s3_\w+\.(?:sh|py))\b", PAGES[page])
    for name in named:
        assert (ROOT / name).exists(), name


def test_every_command_option_and_target_that_a_page_names_exists(page: str) -> None:
    for command in re.findall(r"s3_snapshot_mirror\.py (\w+)", PAGES[page]):
        assert command in COMMANDS
    for script in ("setup_s3_mirror.sh", "s3_monitor.sh"):
        options = set(re.findall(rf"{script} (--[\w-]+)", PAGES[page]))
        done = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True)
        assert options <= set(re.findall(r"--[\w-]+", done.stdout + done.stderr)), script
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([\w-]+)", PAGES[page])) <= set(targets)


def test_every_variable_that_a_page_names_is_a_setting(page: str) -> None:
    known = {name for variable in VARIABLES.values() for name in variable.sources}
    named = set(re.findall(r"\b(?:S3|MIRROR)_[A-Z][A-Z_0-9]*[A-Z0-9]\b", PAGES[page]))
    assert named <= known | {f"{name}_FILE" for name in known} | OTHERS


def test_the_readme_leads_to_every_page() -> None:
    seen, waiting = set(), ["README.md"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        found = [str(target(name, link.partition("#")[0]).resolve()) for link in links(name)]
        near = {str(Path(path).relative_to(ROOT)) for path in found} & PAGES.keys()
        named = {other for other in PAGES if "/" not in other and f"`{other}`" in PAGES[name]}
        waiting += (near | named) - seen
    assert seen == PAGES.keys()


def test_the_page_about_the_bucket_names_every_field_of_the_metadata() -> None:
    event = Event("1.5-a", "front", "person", "Ann", 1.5, 2.5, 0.5, ("porch",), True, True)
    table = PAGES["docs/bucket.md"].split("| field |")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", table)) == set(describe(event))


def test_the_page_about_metadata_explains_every_field_of_its_example() -> None:
    page = PAGES["docs/metadata.md"]
    [text] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    document = json.loads(text)
    assert text.split('"')[1::2] == json.dumps(document, sort_keys=True).split('"')[1::2]
    explained = set(re.findall(r"`(\w+)`", page))
    one = {"files", "reviews", "timeline"}
    fields = {*document, *(name for part in one for row in document[part] for name in row)}
    assert fields <= explained
    for file in document["files"]:
        parts = KeyCodec("frigate").parse(file["key"])
        event = document["table"]["event"]
        assert (parts.kind, parts.event_id) == (file["kind"], event["id"])
        assert (parts.camera, parts.started) == (event["camera"], int(event["start_time"]))


def test_the_newest_version_in_the_changelog_is_the_programs_and_has_a_date() -> None:
    titles = re.findall(r"^## (.*)$", PAGES["CHANGELOG.md"], re.MULTILINE)
    versions = [title for title in titles if title != "Unreleased"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", version) for version in versions)
    assert versions[0].startswith(f"{__version__} - ")
