"""The recorder against a real RTSP server, and what becomes of the recording when something fails.

Each test that measures a loss reads it from the segments themselves: from the names, which say when
a segment starts, and from how long its pictures last.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from frigate_mirror import mp4
from frigate_mirror.recorder import config
from frigate_mirror.recorder.recorder import Recorder
from tests.rig import network, processes, rtsp
from tests.rig.certificates import self_signed
from tests.rig.ffmpeg import pictures
from tests.rig.network import Network
from tests.rig.recording import Recording, length, span, started
from tests.rig.router import Router
from tests.rig.rtsp import PASSWORD, QUOTED, RtspServer
from tests.rig.servers import Bucket
from tests.rig.waiting import until

# They watch real cameras for seconds, so they want a machine that has nothing else to do.
WHY_NOT = rtsp.missing() if "RECORDER_LIVE" in os.environ else "`make campaign` runs these"
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")
NO_NETWORK = WHY_NOT or network.missing()
RATE = 10  # pictures a second that each camera makes


@pytest.fixture
def cameras() -> Iterator[RtspServer]:
    server = RtspServer({"front": "h264+aac"})
    yield server
    server.stop()


@pytest.fixture
def front(tmp_path: Path, cameras: RtspServer) -> Iterator[Recording]:
    """A recorder of the camera `front`, which does not run yet."""
    recording = Recording(tmp_path, {"front": cameras.url("front")})
    yield recording
    recording.end()


def test_segments_are_cut_on_the_clock_and_uploaded_by_their_start(
    tmp_path: Path, bucket: Bucket
) -> None:
    server = RtspServer({"front": "h264+aac", "yard": "h264+alaw", "hevc": "h265"})
    s3 = {
        "bucket": bucket.name, "endpoint": bucket.endpoint, "ca_file": bucket.ca_bundle,
        "access_key_id": bucket.environ["S3_ACCESS_KEY"],
        "secret_access_key": bucket.environ["S3_SECRET_KEY"],
    }  # fmt: skip
    recording = Recording(tmp_path, {name: server.url(name) for name in ("front", "yard", "hevc")},
                          s3, upload={"check_interval": 5})  # fmt: skip
    sent: dict[str, int] = {}
    process = recording.run()
    try:
        until(lambda: len(bucket.keys()) >= 9, lambda: recording.log.read_text()[-3000:])
        uploaded = bucket.objects()
        until(lambda: len(recording.files("front")) <= 1, "what is uploaded is deleted here")
        assert "front: recording" in recording.tell("status").stdout
    finally:
        recording.stop(process)
        sent |= server.stop()
    for key in uploaded:
        assert re.fullmatch(r"(front|hevc|yard)/(\d{4})/(\d\d)/(\d\d)/\2\3\4_\d{6}\.(mp4|mkv)", key)
        assert key.endswith(".mkv") == key.startswith("yard"), "mp4 does not take its sound"
    for camera in ("front", "yard", "hevc"):
        keys = sorted(key for key in bucket.sizes() if key.startswith(camera))
        paths = [tmp_path / key.rpartition("/")[2] for key in keys]
        for key, path in zip(keys, paths, strict=True):
            path.write_bytes(bucket.get(key))
        for one, following in itertools.pairwise(paths):
            assert started(following) % 10 in (0, 1), "cut at the first keyframe after the tick"
            assert abs(started(one) + length(one) - started(following)) < 3
        everything = [*paths, *recording.files(camera)]
        kept = sum(len(pictures(path)) for path in everything)
        # The start of a stream is what ffmpeg needs to find out what it is.
        assert sent[camera] - kept <= 2 * RATE, (camera, sent[camera], kept)
    metadata = bucket.head(keys[0])["Metadata"]
    assert metadata["camera"] == "hevc" and metadata["start-time"] < metadata["end-time"]


def test_the_password_of_a_camera_is_nowhere_to_be_seen(
    cameras: RtspServer, front: Recording
) -> None:
    process = front.run("--camera", "front")
    front.records("front")
    [ffmpeg] = front.ffmpegs()
    for pid in (process.pid, ffmpeg):
        for name in ("cmdline", "environ"):
            seen = Path(f"/proc/{pid}/{name}").read_bytes()
            assert PASSWORD.encode() not in seen and QUOTED.encode() not in seen
    cameras.kill()
    until(lambda: "not recorded" in front.log.read_text(), "the loss is logged")
    cameras.start({"other": "h264"})  # so that ffmpeg has something to complain of
    until(lambda: front.log.read_text().count("404") > 1, "ffmpeg complains")
    front.stop(process)
    told = front.log.read_text() + front.tell("status").stdout
    told += "".join(path.read_text() for path in front.segments.rglob("*.json*"))
    assert PASSWORD not in told and QUOTED not in told


def test_a_camera_that_comes_back_with_another_codec_is_recorded_again(
    cameras: RtspServer, front: Recording
) -> None:
    process = front.run("--camera", "front")
    front.records("front")
    cameras.kill()
    until(lambda: front.files("front") and not front.growing("front"), "the segment is finished")
    cameras.start({"front": "h265"})
    front.records("front")
    until(lambda: front.gaps("front"), "the gap is noted")
    front.stop(process)
    first, *_, last = front.files("front")
    assert all(pictures(path) for path in front.files("front"))
    assert [mp4.read(path).video.name for path in (first, last)] == ["avc1", "hev1"]
    assert "gaps today   1" in front.tell("status").stdout


def test_a_frozen_camera_is_noticed_and_recorded_again(
    cameras: RtspServer, front: Recording
) -> None:
    process = front.run("--camera", "front")
    front.records("front")
    [hung] = front.ffmpegs()
    cameras.freeze()
    frozen = time.monotonic()
    until(lambda: hung not in front.ffmpegs(), "ffmpeg is ended")
    assert time.monotonic() - frozen < 20
    until(lambda: not front.growing("front"), "the segment is finished")
    cameras.thaw()
    thawed = time.monotonic()
    until(lambda: front.growing("front"), "it is recorded again")
    assert time.monotonic() - thawed < 20
    front.stop(process)
    [gap] = front.gaps("front")
    assert gap["until"] - gap["from"] > 5
    assert all(map(length, front.files("front")))


def test_a_killed_ffmpeg_costs_seconds(front: Recording) -> None:
    process = front.run("--camera", "front")
    front.records("front")
    for pid in front.ffmpegs():
        processes.kill(pid)
    until(lambda: len(front.files("front")) == 1, "the segment is finished")
    front.records("front")
    front.stop(process)
    whole, lost = span(front.files("front"))
    assert whole > 1 and lost < 10


def test_a_killed_recorder_costs_seconds(front: Recording) -> None:
    """It is killed at any moment, six times. What it has left is finished by the next one."""
    for round_ in range(6):
        process = front.run("--camera", "front")
        front.records("front")
        time.sleep(0.4 * round_)
        process.kill()
        process.wait()
        until(lambda: not front.ffmpegs(), "ffmpeg has ended, because nobody reads what it writes")
    process = front.run("--camera", "front")
    front.records("front")
    front.stop(process)
    files = front.files("front")
    assert len(files) >= 7
    assert all(map(length, files))
    assert not list(front.segments.rglob("*.growing"))
    for one, following in itertools.pairwise(files):
        assert started(following) - started(one) - length(one) < 10
    assert len(front.gaps("front")) >= 1


def cut(recording: Recording, durable: dict[str, int]) -> tuple[Path, int] | None:
    """The file that grows, and how much of it would survive a power cut now."""
    for growing in (recording.segments / "front").glob(".*.growing"):
        if size := durable.get(str(growing)):
            return growing, size
    return None


def test_a_power_cut_costs_seconds(
    cameras: RtspServer, front: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each file only that is left which the last fdatasync covered."""
    durable: dict[str, int] = {}
    real = os.fdatasync

    def fdatasync(file: int) -> None:
        size = os.fstat(file).st_size
        real(file)
        durable[os.readlink(f"/proc/self/fd/{file}")] = size

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    loaded = config.load(front.config)
    stop = threading.Event()
    recorder = threading.Thread(target=Recorder(loaded.cameras[0]).run, args=(stop.is_set,))
    recorder.start()
    try:
        until(lambda: len(front.files("front")) == 2, "two are finished")
        until(lambda: front.growing("front") and cut(front, durable), "the growing one was synced")
        time.sleep(2)  # more of it is written, and not synced yet
        found, now = cut(front, durable), time.time()
        assert found
        growing, size = found
        left = tmp_path / "left.mp4"
        left.write_bytes(growing.read_bytes()[:size])
        assert growing.stat().st_size > size
    finally:
        stop.set()
        recorder.join()
    for path in front.files("front"):
        assert durable[str(path.with_name(f".{path.name}.growing"))] == path.stat().st_size
    assert now - (started(Path(growing.name[1:])) + length(left)) < 10


def test_a_clock_that_is_set_overwrites_nothing(front: Recording, tmp_path: Path) -> None:
    """The clock goes back into the time of the first segment, and then an hour forward."""
    loaded = config.load(front.config)
    offset, stop = [0.0], threading.Event()
    recorder = threading.Thread(
        target=Recorder(loaded.cameras[0], clock=lambda: time.time() + offset[0]).run,
        args=(stop.is_set,),
    )
    recorder.start()
    try:
        front.records("front")
        for step in (-3_600.0, 0.0, 3_600.0):
            before = len(front.files("front"))
            offset[0] = step
            until(lambda before=before: len(front.files("front")) > before, "a segment ends")
            front.records("front")
        [first, *_] = sorted(front.files("front"), key=lambda path: path.stat().st_mtime)
        first.rename(tmp_path / first.name)  # as the uploader does, in effect
        offset[0] = started(first) - time.time()  # the same second comes again
        until(lambda: len(front.files("front")) > 3, "a segment ends")
        front.records("front")
    finally:
        stop.set()
        recorder.join()
    files = sorted([*front.files("front"), tmp_path / first.name], key=lambda path: path.name)
    assert len(files) >= 5
    assert all(map(length, files))
    written = [line["file"] for line in front.lines("front") if "file" in line]
    assert sorted(written) == [path.name for path in files]
    assert not front.gaps("front"), "nothing is missing"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_told_and_recorded_on_again_when_it_has_room(front: Recording) -> None:
    front.segments.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(front.segments)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        process = front.run("--camera", "front")
        front.records("front")
        filler = front.segments / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4_096)):
                pass
        until(lambda: "No space left" in front.log.read_text(), "it is told")
        told = front.tell("status").stdout
        assert "the disk refuses to take the recording: No space left on device" in told
        assert process.poll() is None
        time.sleep(3)  # so that it is a gap and not a moment
        filler.unlink()
        front.records("front")
        until(lambda: front.gaps("front"), "the gap is noted")
        front.stop(process)
        assert len(front.files("front")) >= 2
        assert all(map(length, front.files("front")))
    finally:
        front.end()
        subprocess.run(["umount", str(front.segments)], check=True)


def test_a_camera_whose_pictures_end_while_its_sound_goes_on_is_noticed(tmp_path: Path) -> None:
    server = RtspServer({"front": "h264-ends+aac"})
    recording = Recording(tmp_path, {"front": server.url("front")})
    process = recording.run("--camera", "front")
    try:
        recording.records("front")
        told = "the camera has sent no picture for 10 s"
        until(lambda: told in recording.log.read_text(), recording.log.read_text)
        assert any(map(length, recording.files("front")))
        recording.records("front")
        recording.stop(process)
    finally:
        recording.end()
        server.stop()


def test_a_camera_without_further_keyframes_is_noticed(tmp_path: Path) -> None:
    server = RtspServer({"front": "h264-endless"})
    recording = Recording(tmp_path, {"front": server.url("front")})
    process = recording.run("--camera", "front")
    try:
        until(lambda: "no keyframe for 15 s" in recording.log.read_text(), "it is noticed")
        recording.stop(process)
    finally:
        recording.end()
        server.stop()
    assert length(recording.files("front")[0]) > 10


def test_a_camera_over_tls_must_show_a_certificate_that_the_owner_trusts(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    server = RtspServer({"front": "h264+aac"}, tls=(certificate, key))
    url = server.url("front")
    recording = Recording(tmp_path, {
        "right": {"rtsp_url": url, "ca_file": str(certificate)},
        "wrong": url,
        "careless": {"rtsp_url": url, "tls_verify": False},
    })  # fmt: skip
    process = recording.run()
    try:
        recording.records("right")
        recording.records("careless")
        until(lambda: "wrong: not recorded: the camera's certificate is refused" in
              recording.log.read_text(), "the wrong one is refused")  # fmt: skip
        recording.stop(process)
    finally:
        recording.end()
        server.stop()
    assert length(recording.files("right")[0]) > 0
    assert not recording.files("wrong")


def test_systemd_is_told_that_the_file_grows(
    cameras: RtspServer, front: Recording, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(120)
        process = front.run("--camera", "front", NOTIFY_SOCKET=str(tmp_path / "notify"))
        told = [manager.recv(4096).decode() for _ in range(4)]
        assert told[0] == "READY=1"
        assert "STATUS=recording front" in told
        assert "WATCHDOG=1" in told
        cameras.freeze()
        while not (one := manager.recv(4096).decode()).startswith("STATUS=not recording"):
            assert one == "WATCHDOG=1"  # of what was recorded before
        front.stop(process)


def test_a_camera_is_recorded_by_one_process_at_a_time(front: Recording) -> None:
    first = front.run("--camera", "front")
    front.records("front")
    second = front.run("--camera", "front")
    until(lambda: "another process records this camera" in front.log.read_text(), "it waits")
    assert "front: recording for" in front.tell("status").stdout
    front.stop(first)
    front.records("front")
    assert front.stop(second) == 0
    assert all(map(length, front.files("front")))


@pytest.mark.parametrize("how", ["silent", "cut"])
def test_a_network_that_fails_is_noticed_and_recorded_again(
    cameras: RtspServer, tmp_path: Path, how: str
) -> None:
    router = Router(f"http://127.0.0.1:{cameras.port}")
    port = int(router.endpoint.rpartition(":")[2])
    url = cameras.url("front").replace(str(cameras.port), str(port))
    recording = Recording(tmp_path, {"front": url})
    process = recording.run("--camera", "front")
    try:
        recording.records("front")
        failed = time.monotonic()
        if how == "silent":
            router.gate.clear()
        else:
            router.cut()
        until(lambda: recording.files("front"), "it is noticed")
        assert time.monotonic() - failed < 20
        router.gate.set()
        recording.records("front")
        recording.stop(process)
    finally:
        router.close()
        recording.end()
    assert all(map(length, recording.files("front")))


@pytest.mark.skipif(bool(NO_NETWORK), reason=NO_NETWORK or "-")
def test_a_pulled_cable_is_noticed_and_recorded_again(tmp_path: Path) -> None:
    network = Network()
    network.start()
    server = RtspServer({"front": "h264+aac"}, network=network)
    recording = Recording(tmp_path, {"front": server.url("front")})
    process = recording.run("--camera", "front")
    try:
        recording.records("front")
        network.pull()
        pulled = time.monotonic()
        until(lambda: recording.files("front"), "it is noticed")
        assert time.monotonic() - pulled < 15
        until(lambda: "cannot be recorded" in recording.log.read_text(), "nobody answers")
        network.plug()
        plugged = time.monotonic()
        recording.records("front")
        assert time.monotonic() - plugged < 20
        recording.stop(process)
    finally:
        recording.end()
        server.stop()
        network.end()
    assert all(map(length, recording.files("front")))
    [gap] = recording.gaps("front")
    assert gap["gap"].startswith(
        "the camera has sent no picture for 10 s; then the camera cannot be recorded: "
    )


def test_check_says_of_each_camera_whether_it_sends_pictures(
    cameras: RtspServer, tmp_path: Path
) -> None:
    url = cameras.url("front")
    recording = Recording(tmp_path, {
        "right": url, "locked-out": url.replace(QUOTED, "wrong-password"),
        "away": url.replace(str(cameras.port), "1"),
    })  # fmt: skip
    done = recording.tell("check")
    assert done.returncode == 1
    assert "ok     camera right: sends pictures, recorded as mp4" in done.stdout
    assert re.search(r"FAULT  camera locked-out: .*401", done.stdout)
    assert re.search(r"FAULT  camera away: .*refused", done.stdout)
    assert "wrong-password" not in done.stdout and QUOTED not in done.stdout


def test_a_signal_ends_the_recorder_with_a_whole_segment(front: Recording) -> None:
    process = front.run("--camera", "front")
    front.records("front")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert front.files("front") and not front.growing("front")
    assert all(map(length, front.files("front")))
