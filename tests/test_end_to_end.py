"""The main job with real parts: entrypoint, boot file, hook, child, SQLite, pictures and S3 server.
Only Frigate is a stand-in here. test_real_frigate.py uses the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import ROOT, STANDIN
from tests.rig.processes import kill_marked, marked
from tests.rig.servers import Bucket
from tests.rig.waiting import PATIENCE, until

EVENTS = 6
ENDINGS = {"0.16": ".jpg", "0.17": ".jpg", "0.18": "-clean.webp"}


class Frigate:
    """A stand-in for Frigate with the mirror mounted. It starts as s6 would start it."""

    def __init__(self, folder: Path, version: str, bucket: Bucket) -> None:
        self.version, self.bucket = version, bucket
        self.media, self.log_path = folder / "media", folder / "frigate.log"
        self._mark = f"STANDIN_MEDIA={self.media}"
        init = folder / "init"
        init.write_text(f'#!/bin/sh\ncd "{STANDIN}" && exec "{sys.executable}" -m frigate "$@"\n')
        init.chmod(0o755)
        for name in ("media", "config"):
            (folder / name).mkdir()
        environ = os.environ | bucket.environ
        environ |= {
            "S3_MIRROR_INIT": str(init),
            "S3_PATH_PREFIX": "frigate/snapshots",
            "MIRROR_STATS_INTERVAL": "1",
            "STANDIN_VERSION": version,
            "STANDIN_MEDIA": str(self.media),
            "STANDIN_DB": str(folder / "config" / "frigate.db"),
            "STANDIN_EVENTS": str(EVENTS),
            "STANDIN_LINGER": f"{PATIENCE:g}",
        }
        with self.log_path.open("wb") as log, (folder / "events").open("wb") as events:
            command = ["bash", str(ROOT / "entrypoint.sh")]
            self.process = subprocess.Popen(command, env=environ, stdout=events, stderr=log)
        self.events_path = folder / "events"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def pictures(self) -> dict[str, bytes]:
        """The snapshots that the stand-in has written, by event id."""
        events = [json.loads(line) for line in self.events_path.read_text().splitlines()]
        return {
            event["event"]: (self.media / "clips" / Path(event["file"]).name).read_bytes()
            for event in events
            if event.get("file")
        }

    @property
    def cache(self) -> Path:
        return self.media / "clips" / "cache"

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def processes(self) -> list[int]:
        """Returns every living process that it has started, and those started by them."""
        return marked(self._mark)

    def kill_all(self) -> None:
        """Kills it and every process that is left of it."""
        self.process.kill()
        self.process.wait()
        kill_marked(self._mark)


@pytest.fixture
def frigate(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Iterator[Frigate]:
    host = Frigate(tmp_path, request.param, bucket)
    yield host
    host.kill_all()


@pytest.mark.parametrize("frigate", list(ENDINGS), indirect=True)
def test_every_event_that_ends_with_a_picture_is_in_the_bucket_byte_for_byte(
    frigate: Frigate,
) -> None:
    bucket, ending = frigate.bucket, ENDINGS[frigate.version]
    until(lambda: "is over" in frigate.log, "the scenario's end")
    pictures = frigate.pictures
    # The event without a duration may go up twice: when it starts, and when it ends.
    line = f"Retry Queue: 0, Tracked Events: {len(pictures)}, Failed Events: 0, Health: OK"
    until(lambda: line in frigate.log, f"{line}\n{frigate.log}")
    assert frigate.stop() == 0

    objects = bucket.objects()
    assert sorted(objects.values()) == sorted(pictures.values())
    by_event = {key.split("/")[-1].rsplit("-", 1)[0]: data for key, data in objects.items()}
    assert by_event == pictures
    assert all(key.startswith("frigate/snapshots/") for key in objects)
    assert all(key.endswith(ending.rpartition(".")[2]) for key in objects)

    def uploaded_keys() -> list[str]:
        lines = (frigate.cache / ".s3_uploaded_events").read_text().splitlines()
        return sorted({line.split("\t")[2] for line in lines})

    # The child writes lines in groups, the last one when it ends. Frigate does not wait for that.
    until(lambda: uploaded_keys() == sorted(objects), f"{uploaded_keys()} to be {sorted(objects)}")
    assert (frigate.cache / ".s3_failed_events").read_text() == ""
    assert_greps_of_the_readme_find_their_lines(frigate.log)


def assert_greps_of_the_readme_find_their_lines(log: str) -> None:
    lines = log.splitlines()
    assert [line for line in lines if "S3 Upload Stats" in line and line.endswith("Health: OK")]
    assert [line for line in lines if "S3 snapshot mirror armed" in line]
    assert [line for line in lines if "S3" in line and "front_door" in line and "INFO" in line]
    assert not [line for line in lines if "Traceback" in line]


@pytest.mark.parametrize("frigate", ["0.16"], indirect=True)
def test_no_process_of_the_mirror_runs_after_frigate_has_stopped(frigate: Frigate) -> None:
    until(lambda: "S3 snapshot mirror started" in frigate.log, "the child's start")
    assert frigate.stop() == 0
    until(lambda: "S3 snapshot mirror stopped" in frigate.log, "the child's end")
    until(lambda: not frigate.processes(), "a process is left")
