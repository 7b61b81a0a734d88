"""`notify --test`, as a person runs it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
from pathlib import Path

import pytest

from frigate_mirror.notify.notice import Notice
from frigate_mirror.settings.settings import VARIABLES
from tests.rig import ROOT
from tests.rig.stub import Reply, Stub
from tests.rig.worlds import World, command

TOKEN = "verysecret"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world", {"MIRROR_NAME": "nvr"})


@pytest.fixture
def ok(stub: Stub) -> Stub:
    stub.default = Reply()
    return stub


def test_each_way_gets_a_test_and_has_a_line(world: World, ok: Stub) -> None:
    address = f"{ok.endpoint}/{TOKEN}"
    done = command(
        world, "notify", "--test", NOTIFY_WEBHOOK_URL=address, NOTIFY_NTFY_URL=address,
        NOTIFY_PING_URL=address,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "webhook              sent",
        "ntfy                 sent",
        "ping                 sent",
    ]
    assert (done.returncode, done.stderr) == (0, "")
    assert [seen.method for seen in ok.seen] == ["POST", "POST", "GET"]
    assert json.loads(ok.seen[0].body)["title"] == "Frigate mirror nvr: test"
    assert "This is a test of the notices of the mirror nvr." in ok.seen[1].body.decode()


def test_no_proxy_of_the_environment_sees_a_notice(world: World, ok: Stub) -> None:
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    none = {"no_proxy": "", "NO_PROXY": ""}
    done = command(world, "notify", "--test", NOTIFY_PING_URL=ok.endpoint, **proxies, **none)
    assert (done.returncode, len(ok.seen)) == (0, 1), done.stdout


def test_a_way_that_fails_has_its_reason_and_fails_the_command_but_no_other_way(
    world: World, ok: Stub, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}/{TOKEN}"
    (tmp_path / "topic").write_text(f"{ok.endpoint}/topic\n")
    done = command(
        world, "notify", "--test", NOTIFY_WEBHOOK_URL=closed,
        NOTIFY_NTFY_URL_FILE=str(tmp_path / "topic"),
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "webhook              NOT SENT: it cannot be reached: Connection refused",
        "ntfy                 sent",
    ]
    assert done.returncode == 1
    assert TOKEN not in done.stdout + done.stderr


def test_without_a_way_the_command_names_the_settings(world: World) -> None:
    done = command(world, "notify", "--test")
    assert done.returncode == 78
    for name in ("WEBHOOK_URL", "NTFY_URL", "PING_URL", "APPRISE_URLS"):
        assert f"NOTIFY_{name}" in done.stdout


def test_apprise_inside_frigate_and_a_wrong_address_are_faults(world: World) -> None:
    done = command(world, "notify", "--test", NOTIFY_APPRISE_URLS=f"tgram://{TOKEN}/1")
    assert done.returncode == 78 and "NOTIFY_NTFY_URL" in done.stderr
    wrong = command(world, "notify", "--test", NOTIFY_WEBHOOK_URL=TOKEN)
    assert wrong.returncode == 78 and TOKEN not in wrong.stderr


def test_the_companion_reaches_the_services_of_apprise(world: World, ok: Stub) -> None:
    pytest.importorskip("apprise")
    done = command(
        world, "notify", "--test", FRIGATE_URL="http://127.0.0.1:9", PATH=os.environ["PATH"],
        NOTIFY_APPRISE_URLS=f"{ok.endpoint.replace('http', 'json')}/{TOKEN} nosuch://{TOKEN}",
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "apprise 1 (json)     sent"
    assert done.stdout.splitlines()[1].startswith(
        "apprise 2 (nosuch)   NOT SENT: apprise does not "
    )
    assert done.returncode == 1 and TOKEN not in done.stdout + done.stderr
    assert json.loads(ok.seen[0].body)["title"] == "Frigate mirror nvr: test"


# -- the page


PAGE = (ROOT / "docs" / "notifications.md").read_text()


def test_the_page_names_every_setting_and_its_examples_are_valid() -> None:
    settings = {one for one in VARIABLES.values() if one.part == "notify"}
    assert {one.name for one in settings} | {"MIRROR_NAME"} <= set(re.findall(r"[A-Z_]{8,}", PAGE))
    examples = re.findall(r"^(NOTIFY_\w+)='?([^'\n]+)'?$", PAGE, re.MULTILINE)
    assert len(examples) >= 5
    for name, value in examples:
        assert VARIABLES[name].read(value)


def test_the_page_shows_the_fields_that_a_webhook_gets() -> None:
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    fields = [field.name for field in dataclasses.fields(Notice)]
    assert list(json.loads(example)) == fields


def test_the_command_needs_to_be_told_what_to_do(world: World) -> None:
    assert command(world, "notify").returncode == 64
