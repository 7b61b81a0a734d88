"""The benchmark: its arithmetic, its sink, its report, and that it notices what did not happen.

`make bench` is the whole of it; it needs the rivals, which are not installed here.
"""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from lab.bench import __main__ as command
from lab.bench import report, rows
from lab.bench.figures import Figure, at_least, at_most, below, interleaved, percentile
from lab.bench.lab import QUICK, Lab, open_lab
from lab.bench.processes import BenchError, measured
from lab.bench.rows import backfill, boot, clips, small
from lab.bench.servers import NullSink


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with open_lab(QUICK) as opened:
        yield opened


def client_of(lab: Lab) -> boto3.client:
    return boto3.client(
        "s3", endpoint_url=lab.sink.endpoint, region_name="us-east-1",
        aws_access_key_id="a", aws_secret_access_key="b",
        config=Config(s3={"addressing_style": "path"}))  # fmt: skip


def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_the_rounds() -> None:
    figure = Figure("f", "s", [1.0, 2.0, 9.0], "rival", [1.0, 4.0, 3.0], at_most(1))
    assert figure.ratio == pytest.approx(2 / 3)
    assert figure.spread == (0.5, 3.0)


@pytest.mark.parametrize(
    ("ours", "goal", "met"),
    [(2.0, at_most(2), True), (2.1, at_most(2), False), (1.0, at_least(1), True),
     (0.9, at_least(1), False), (2.0, below(2), True), (2.1, below(2), False), (1.0, None, None)],
)  # fmt: skip
def test_a_figure_says_whether_its_goal_is_met(ours: float, goal: object, met: object) -> None:
    assert Figure("f", "s", [ours], "rival", [1.0], goal).met is met  # type: ignore[arg-type]


def test_rounds_are_interleaved_and_no_measure_always_follows_the_same_one() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return 1.0

    interleaved(3, a=lambda: measure("a"), b=lambda: measure("b"))
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([float(one) for one in range(100)], 0.99) == 99
    assert percentile([7.0], 0.5) == 7


def test_the_interval_of_a_median_holds_it_and_knows_a_shift_from_noise() -> None:
    noise = [math.sin(number) for number in range(200)]
    low, high = boot.interval(noise)
    assert low < 0 < high
    low, high = boot.interval([one + 1 for one in noise])
    assert low > 0


def test_the_sink_takes_objects_and_parts_from_a_client_of_its_own(lab: Lab) -> None:
    bucket, client = lab.sink.bucket(), client_of(lab)
    client.put_object(Bucket=bucket, Key="one", Body=b"x" * 200_000)
    started = client.create_multipart_upload(Bucket=bucket, Key="two")["UploadId"]
    part = {"Bucket": bucket, "Key": "two", "UploadId": started}
    client.upload_part(**part, PartNumber=1, Body=b"y" * 100_000)
    client.complete_multipart_upload(
        **part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "1"}]}
    )
    stats = lab.sink.ask("stats")
    assert (stats["objects"], stats["requests"], stats["bytes"]) == (2, 2, 300_000)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert lab.sink.when().keys() == {"one", "two"}


def test_the_sink_waits_for_the_whole_body_and_for_its_delay(lab: Lab) -> None:
    lab.sink.slow_down(0.2)
    lab.sink.bucket()
    connection = http.client.HTTPConnection(urlsplit(lab.sink.endpoint).netloc, timeout=10)
    connection.putrequest("PUT", "/bench/slow")
    connection.putheader("Content-Length", "10")
    connection.endheaders(b"12345")
    assert lab.sink.count("bench") == 0
    connection.send(b"67890")
    assert connection.getresponse().status == 200
    connection.close()
    stats = lab.sink.ask("stats")
    assert stats["last"] - stats["first"] >= 0.2
    lab.sink.slow_down(0)


def test_all_connections_to_a_sink_with_a_rate_share_its_line() -> None:
    sink = NullSink(rate=1e6)

    def put(name: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(sink.endpoint).netloc, timeout=60)
        connection.request("PUT", f"/bench/{name}", b"x" * 300_000)
        assert connection.getresponse().status == 200
        connection.close()

    try:
        sink.bucket()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(put, ["one", "two"]))
        stats = sink.ask("stats")
    finally:
        sink.stop()
    assert stats["bytes"] == 600_000
    assert stats["last"] - stats["first"] >= 0.59


def test_clips_that_end_before_the_live_events_are_no_figure(lab: Lab) -> None:
    house, sink = lab.house([]), NullSink(rate=clips.LINE)
    clips.add_clips(house, clips.recording(lab, repeats=1))
    too_few = 1_000  # bytes; more have gone up by the end
    try:
        with pytest.raises(BenchError, match="the clips ended before the live events did"):
            clips.latencies(house, sink, lab.pictures(1), too_few)
    finally:
        sink.stop()


def test_a_drain_is_measured_whole(lab: Lab) -> None:
    house = lab.house(lab.pictures(12))
    for _ in range(2):  # the house is as new each time
        drained = small.drain(house, lab.sink, 12)
        assert drained.rate > 0 and drained.cpu > 0 and drained.peak_mb > 10


def test_a_drain_that_leaves_an_object_out_is_no_figure(lab: Lab) -> None:
    house = lab.house(lab.pictures(3))
    spooled = (house.saved / "cache" / ".s3_spool").iterdir()
    lost = next(one for one in spooled if "~" not in one.name)  # no description
    lost.unlink()
    next(house.clips.glob(f"*{lost.name.removeprefix('snapshot_')}.jpg")).unlink()
    with pytest.raises(BenchError, match="not within 3 s: 3 uploaded"):
        small.drain(house, lab.sink, 3, within=3)


def test_a_backfill_that_leaves_a_file_out_is_no_figure(lab: Lab) -> None:
    folder = backfill.Folder(lab, 20)
    try:
        assert folder.backfill(20, "--dry-run").peak_mb > 10
        folder.paths[7].unlink()
        with pytest.raises(BenchError, match="19 of 20 files got a row"):
            folder.backfill(20, "--dry-run")
    finally:
        folder.close()


def test_a_rival_that_fails_is_no_figure(lab: Lab) -> None:
    with pytest.raises(BenchError, match="ended with 3: oh"):
        measured(["/bin/sh", "-c", "echo oh; exit 3"], lab.folder)


def test_what_a_command_costs_is_its_own_and_its_childrens(lab: Lab) -> None:
    burn = "import time; began = time.process_time()\nwhile time.process_time() - began < 0.3: pass"
    cost = measured(["/bin/sh", "-c", f"python3 -c '{burn}'; true"], lab.folder)
    assert 0.3 <= cost.cpu < 3


def test_every_row_can_be_named_and_says_how_it_measures() -> None:
    for name in rows.NAMES:
        assert callable(rows.row(name))
        assert len(rows.about(name)) > 100


def test_a_row_that_is_measured_replaces_its_own_results_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: Path
) -> None:
    def one(lab: Lab) -> Iterator[Figure]:
        yield Figure("speed", "1/s", [3.0], "rival", [2.0], at_least(2), note="a note")

    monkeypatch.setattr(command.rows, "row", lambda name: one)
    monkeypatch.setattr(command.rivals, "missing", list)
    results, page = tmp_path / "r.json", tmp_path / "p.md"
    for name in ("boot", "small", "boot"):
        assert command.main(["--only", name, "--json", str(results), "--report", str(page)]) == 0
    assert set(json.loads(results.read_text())) == {"boot", "small"}
    text = page.read_text()
    expected = "| speed | 3 1/s | rival | 2 | 1.50 (1.50..1.50) | ratio ≥ 2 | **not met** |"
    assert text.count(expected) == 2
    assert "- speed: a note" in text


def test_the_report_begins_with_a_few_sentences_that_have_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: Path
) -> None:
    def one(lab: Lab) -> Iterator[Figure]:
        yield Figure("objects/s, null sink", "1/s", [9.0], "s5cmd", [8.0])
        yield Figure("objects/s, SeaweedFS, 2,000 a round", "1/s", [3.0], "s5cmd", [2.0])

    monkeypatch.setattr(command.rows, "row", lambda name: one)
    monkeypatch.setattr(command.rivals, "missing", list)
    page = tmp_path / "p.md"
    assert command.main(["--only", "small", "--report", str(page)]) == 0
    title, first, *_ = filter(None, page.read_text().splitlines())
    assert title == "# Performance"
    sentence = "A backlog goes into SeaweedFS at 3 snapshots a second; s5cmd manages 2."
    assert first == f"- {sentence}"


def test_every_sentence_at_the_head_of_the_report_finds_its_figure() -> None:
    text = report.PAGE.read_text()
    for name, beginning in report.IN_SHORT:
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        assert f"\n| {beginning}" in section


def test_a_row_that_fails_is_said_in_the_report_and_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: Path
) -> None:
    def one(lab: Lab) -> Iterator[Figure]:
        yield Figure("speed", "1/s", [3.0])
        raise BenchError("the drain did not end")

    monkeypatch.setattr(command.rows, "row", lambda name: one)
    monkeypatch.setattr(command.rivals, "missing", list)
    results, page = tmp_path / "r.json", tmp_path / "p.md"
    assert command.main(["--only", "boot", "--json", str(results), "--report", str(page)]) == 1
    assert "Not measured to the end: the drain did not end" in page.read_text()
    assert report.number(1234.5) == "1,234"


def test_no_report_is_written_from_a_dirty_tree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clean_tree: Path
) -> None:
    measured: list[str] = []

    def one(lab: Lab) -> Iterator[Figure]:
        measured.append("once")
        (clean_tree / "program.py").write_text("changed while it was measured\n")
        yield Figure("speed", "1/s", [3.0])

    monkeypatch.setattr(command.rows, "row", lambda name: one)
    monkeypatch.setattr(command.rivals, "missing", list)
    page = clean_tree / "report.md"
    for _ in range(2):  # the change comes too late for the first, and in time for the second
        assert command.main(["--only", "boot", "--report", str(page)]) == 1
        assert "commit the changes of program.py first" in capsys.readouterr().err
        assert page.read_text() == "as committed\n"
    assert measured == ["once"]


def test_a_report_that_is_not_committed_itself_can_be_written_again(
    monkeypatch: pytest.MonkeyPatch, clean_tree: Path
) -> None:
    monkeypatch.setattr(command.rows, "row", lambda name: lambda lab: [Figure("f", "s", [1.0])])
    monkeypatch.setattr(command.rivals, "missing", list)
    page = clean_tree / "report.md"
    for name in ("boot", "small"):
        assert command.main(["--only", name, "--report", str(page)]) == 0
    assert "## boot" in page.read_text() and "## small" in page.read_text()
    assert "-dirty" not in page.read_text()


@pytest.mark.parametrize("words", [["--only", "nonsense"]])
def test_a_row_that_does_not_exist_is_refused(words: list[str]) -> None:
    assert command.main(words) == command.EX_USAGE
