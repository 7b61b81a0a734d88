"""The pages say what is true: their tables, and the example, which runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from installed import NOBODY, HomeSec
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from things import camera, event, put, sidecar_of

from frigate_mirror.demo.standin import Frigate
from homesec_frigate_events import models, sidecar
from homesec_frigate_events.folder import ClipFolder
from tests.rig import ROOT
from tests.rig.broker import Broker
from tests.rig.servers import ACCESS, SECRET, Bucket

README = (ROOT / "plugins" / "homesec" / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "homesec.md").read_text(encoding="utf-8")
PARTS: dict[str, type[BaseModel]] = {
    "The source `frigate_events`": models.FrigateEventsConfig,
    "The filter `frigate_predetection`": models.FrigatePredetectionConfig,
    "The analyzer `frigate_context`": models.FrigateContextConfig,
    "The storage `s3`": models.S3Config,
}


def table(page: str, heading: str) -> list[list[str]]:
    """Returns the cells of the table below a heading, without its first two lines."""
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def example() -> str:
    found = re.findall(r"```yaml\n(version: 1\n.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    text: str = found[0]
    return text


@pytest.mark.parametrize("heading", PARTS)
def test_the_tables_have_every_field_and_its_default(heading: str) -> None:
    rows = {cells[0].strip("`"): cells[1].strip("`") for cells in table(README, heading)}
    fields = {
        name: field
        for name, field in PARTS[heading].model_fields.items()
        if name != "camera_name"  # HomeSec fills it in
    }
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True)
        told = yaml.safe_load(rows[name]) if rows[name] else None
        if name in ("frigate_camera", "cameras"):
            continue
        if isinstance(default, Path):
            default = f"./{default}"
        assert told == (None if default in (PydanticUndefined, "") else default), name


def test_the_table_of_the_sidecar_has_every_field(tmp_path: Path) -> None:
    put(ClipFolder(tmp_path, lambda: [camera(faststart=False)], lambda *_: None), event())
    [clip] = tmp_path.glob("*.mp4")
    named = {name for cells in table(README, "The sidecar") for name in cells[0].split(", ")}
    assert {name.strip("`") for name in named} == {*sidecar_of(clip), sidecar.UPLOAD_FAILED}


def test_the_example_runs_with_other_addresses_and_stubs(
    tmp_path: Path,
    frigate: Frigate,
    broker: Broker,
    bucket: Bucket,
    homesec: Callable[..., HomeSec],
) -> None:
    config: dict[str, Any] = yaml.safe_load(example())
    for one in config["cameras"]:
        source = one["source"]["config"]
        source["mqtt_host"], source["mqtt_port"] = "127.0.0.1", broker.port
        source["output_dir"] = str(tmp_path / "clips")
    config["storage"]["config"] |= {
        "bucket": bucket.name,
        "endpoint_url": bucket.endpoint,
        "ca_bundle": bucket.ca_bundle or None,
    }
    assert config["vlm"]["config"]["backend"] == "openai"
    config["vlm"]["config"] = {"backend": "test", "config": {"risk": "low"}}
    config["notifiers"] = [{"backend": "test", "config": {"path": str(tmp_path / "alerts")}}]
    running = homesec(
        config,
        FRIGATE_URL=frigate.url,
        HOMESEC_S3_ACCESS_KEY=ACCESS,
        HOMESEC_S3_SECRET_KEY=SECRET,
        DB_DSN=NOBODY,
    )
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    for words in ("FrigateEventsSource started for front_door", "started for back_yard"):
        assert words in running.text
    frigate.ends("garage", "person")  # its risk is low, and back_yard wants high
    frigate.ends("front_door", "car")
    [alert] = running.wait_for_alerts(1)
    assert alert["camera_name"] == "front_door" and "[Frigate: car" in alert["summary"]
    running.wait_for("Clip processing complete: back_yard")
    assert len(bucket.keys()) == 2
    assert len(running.alerts()) == 1
    for words in ("Downloaded clip: ", "Bypassing filter for front_door"):
        assert words in running.text


def test_homesec_accepts_the_example_as_it_is(tmp_path: Path) -> None:
    from homesec.config.loader import load_config

    path = tmp_path / "config.yaml"
    path.write_text(example())
    path.chmod(0o600)
    config = load_config(path)
    assert [one.name for one in config.cameras] == ["front_door", "back_yard"]
