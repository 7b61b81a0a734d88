"""What the recorder of a camera does when ffmpeg or the camera behaves badly.

A program in place of ffmpeg gives pieces of a real stream, and hangs, ends or complains as a test
wants. `test_recorder_live.py` has the real thing.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from frigate_mirror.recorder import probe, recorder
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.diary import Diary, Line, State
from frigate_mirror.recorder.ffmpeg import FORMS, Form
from frigate_mirror.recorder.recorder import Recorder
from frigate_mirror.recorder.relay import Relay
from frigate_mirror.recorder.service import Service
from frigate_mirror.settings.secret import Secret
from tests.rig import ROOT
from tests.rig.certificates import Certificates
from tests.rig.ffmpeg import encode, pictures, stream_of
from tests.rig.waiting import PATIENCE, until

NOON = 1_705_579_200.0  # 2024-01-18T12:00:00Z
STANDIN = ROOT / "tests" / "rig" / "cameras" / "in_place_of_ffmpeg.py"
A_SECOND = 10  # pictures
REFUSED = "Could not find tag for codec pcm_alaw, codec not currently supported in container"


class Pieces:
    """The head of a stream and its fragments of a second each, in files."""

    def __init__(self, form: Form, movie: Path, folder: Path) -> None:
        stream = form.new_stream()
        data = stream_of(form.words, movie, folder / f"whole{form.stream.ending}")
        bodies = [bytes(one.data) for one in stream.feed(data)]
        # A Matroska stream has a head without the duration, for which the recorder makes room.
        start = data.index(bodies[0])
        self.all = []
        for number, body in enumerate([data[:start], *bodies]):
            path = folder / f"{form.stream.ending}{number}"
            path.write_bytes(body)
            self.all.append(str(path))


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of the stream's head and of its six fragments."""
    folder = tmp_path_factory.mktemp("stream")
    return Pieces(FORMS[0], encode(folder / "movie.mp4", size="640x480"), folder).all


@pytest.fixture(scope="module")
def matroska(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("stream")
    return Pieces(FORMS[1], encode(folder / "movie.mp4", size="640x480"), folder).all


class Recorded:
    """A recorder of one camera, whose ffmpeg does what `runs` say."""

    def __init__(
        self,
        folder: Path,
        runs: list[dict[str, Any]],
        service: Service | None = None,
        **camera: Any,
    ) -> None:
        self.folder = folder / "front"
        self.diary = Diary(self.folder)
        self.now = NOON
        plan = folder / "plan.json"
        plan.write_text(json.dumps(runs))
        self._started = plan.with_suffix(".started")
        program = folder / "ffmpeg"
        words = [sys.executable, "-IS", str(STANDIN), str(plan)]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
        url = Secret("rtsp://owner:hunter22@10.0.0.5/x")
        one = Camera(name="front", url=url, folder=self.folder, ffmpeg=str(program), **camera)
        self._stop = threading.Event()
        work = Recorder(one, service, clock=lambda: self.now).run
        self._thread = threading.Thread(target=work, args=(self._stop.is_set,))
        self._thread.start()

    def starts(self) -> list[dict[str, Any]]:
        """What each start of ffmpeg was given."""
        if not self._started.exists():
            return []
        return [json.loads(line) for line in self._started.read_text().splitlines()]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def recording(self) -> bool:
        state = self.diary.state()
        return state is not None and state.recording_since is not None

    def files(self) -> list[Path]:
        """The finished segments, in the order in which they were recorded."""
        return [self.folder / line.file for line in self.diary.day(NOON) if line.file]

    def growing(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob(".*.growing"))

    def gaps(self) -> list[Line]:
        return [line for line in self.diary.day(NOON) if line.gap]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Recorded]]:
    """Starts a recorder that waits long for a camera, unless a test says otherwise, and begins anew
    soon."""
    for name in ("SILENCE", "START", "KEYFRAME"):
        monkeypatch.setattr(recorder, name, PATIENCE)
    monkeypatch.setattr(recorder, "HOLE", recorder.HOLE / 5)
    monkeypatch.setattr(recorder, "PAUSES", tuple(one / 5 for one in recorder.PAUSES))
    made: list[Recorded] = []

    def start(*runs: dict[str, Any], **camera: Any) -> Recorded:
        made.append(Recorded(tmp_path, list(runs), **camera))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def test_at_a_stop_ffmpeg_may_give_what_it_still_has(
    record: Callable[..., Recorded], mp4: list[str]
) -> None:
    front = record({"gives": mp4[:3], "last": mp4[3:4], "hangs": True})
    until(front.recording, "it records")
    front.stop()
    [path] = front.files()
    assert len(pictures(path)) == 3 * A_SECOND
    assert front.diary.state() == State(NOON, None, "the recorder was stopped")


def test_a_camera_that_hangs_is_noticed_and_the_gap_says_why(
    record: Callable[..., Recorded], mp4: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "SILENCE", 2.0)
    front = record(
        {"gives": mp4[:3], "hangs": True},
        {"says": "[tcp @ 0x1] no route to owner:hunter22"},
        {"gives": mp4, "hangs": True},
    )
    until(lambda: len(front.starts()) > 1, "it is tried again")
    monkeypatch.setattr(recorder, "SILENCE", PATIENCE)
    until(front.gaps, "the gap is noted")
    front.stop()
    assert [len(pictures(path)) for path in front.files()] == [2 * A_SECOND, 6 * A_SECOND]
    [gap] = front.gaps()
    assert gap.gap == (
        "the camera has sent no picture for 2 s; then the camera cannot be recorded: "
        "[tcp @ 0x1] no route to ***"
    )


def test_a_camera_that_never_sends_a_picture_is_told_and_tried_again(
    record: Callable[..., Recorded], mp4: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "START", 3.0)
    front = record({"gives": mp4[:1], "hangs": True})
    until(lambda: len(front.starts()) > 1, "it is tried again")
    state = front.diary.state()
    assert state and state.trouble == "the camera sends no picture within 3 s"
    front.stop()
    assert front.files() == []


def test_a_camera_whose_sound_mp4_does_not_take_is_recorded_as_matroska(
    record: Callable[..., Recorded], matroska: list[str]
) -> None:
    front = record({"says": REFUSED}, {"gives": matroska, "hangs": True})
    until(front.recording, "it records")
    front.stop()
    [path] = front.files()
    assert (path.suffix, len(pictures(path))) == (".mkv", 6 * A_SECOND)
    assert ["matroska" in start["words"] for start in front.starts()] == [False, True]


def test_what_is_no_stream_ends_the_run_and_spoils_no_segment(
    record: Callable[..., Recorded], mp4: list[str], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(100_000))
    front = record({"gives": [*mp4[:3], str(noise)], "hangs": True}, {"gives": mp4, "hangs": True})
    until(lambda: len(front.files()) == 1 and front.growing(), "it goes on in a new segment")
    front.stop()
    assert "ffmpeg gives what cannot be recorded: a box of 0 bytes" in caplog.text
    assert [len(pictures(path)) for path in front.files()] == [2 * A_SECOND, 6 * A_SECOND]


def test_a_hole_in_the_stream_is_a_gap(record: Callable[..., Recorded], mp4: list[str]) -> None:
    front = record({"gives": [*mp4[:2], *mp4[5:]], "hangs": True})
    until(front.gaps, "the gap is noted")
    front.stop()
    [gap] = front.gaps()
    assert gap.gap == "the stream has a hole"
    assert gap.until - gap.since == pytest.approx(3, abs=0.2)
    [path] = front.files()
    assert len(pictures(path)) == 3 * A_SECOND


def test_nothing_is_kept_before_the_first_keyframe(
    record: Callable[..., Recorded], mp4: list[str], tmp_path: Path
) -> None:
    """A camera may begin in the middle. What nobody could show is not in the file."""
    movie = encode(tmp_path / "movie.mp4", size="640x480", keyframes=30)
    pieces = Pieces(FORMS[0], movie, tmp_path).all
    front = record({"gives": [pieces[0], *pieces[2:]], "hangs": True})
    until(front.recording, "it records")
    front.stop()
    [path] = front.files()
    assert len(pictures(path)) == 3 * A_SECOND
    kept = [pieces[0], *pieces[4:]]
    assert path.stat().st_size == sum(Path(piece).stat().st_size for piece in kept)


def test_the_address_is_only_on_the_standard_input_of_ffmpeg(
    record: Callable[..., Recorded], mp4: list[str]
) -> None:
    front = record({"gives": mp4, "hangs": True})
    until(front.recording, "it records")
    front.stop()
    [start] = front.starts()
    assert "file 'rtsp://owner:hunter22@10.0.0.5/x'\n" in start["list"]
    assert "hunter22" not in str(start["words"])


def test_a_clock_that_is_set_back_begins_a_new_segment(
    record: Callable[..., Recorded], mp4: list[str], tmp_path: Path
) -> None:
    rest = tmp_path / "rest"
    os.mkfifo(rest)
    front = record({"gives": [*mp4[:3], str(rest)], "hangs": True})
    until(lambda: front.growing() == sum(Path(one).stat().st_size for one in mp4[:3]), "it grows")
    front.now = NOON - 7_200
    rest.write_bytes(Path(mp4[3]).read_bytes())
    until(front.files, "the first segment is finished")
    front.stop()
    assert [path.name for path in front.files()] == ["20240118_115959.mp4", "20240118_095959.mp4"]
    assert [len(pictures(path)) for path in front.files()] == [2 * A_SECOND, A_SECOND]


def test_a_camera_with_few_keyframes_gets_twice_the_time_for_the_next_one(
    record: Callable[..., Recorded], mp4: list[str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(recorder, "KEYFRAME", 0.25)
    front = record({"gives": mp4[:2], "hangs": True})
    for seconds in ("0.25", "0.5", "1"):
        until(lambda s=seconds: f"no keyframe for {s} s" in caplog.text, f"{seconds} s have passed")
    front.stop()


def test_after_a_recording_the_pauses_between_two_starts_are_short_again(
    record: Callable[..., Recorded], mp4: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "PAUSES", (0.0, 0.0, 2 * PATIENCE))
    front = record({"says": "no"}, {"gives": mp4}, {"says": "no"}, {"gives": mp4, "hangs": True})
    until(lambda: len(front.starts()) == 4, "it is started for the fourth time")
    front.stop()


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = Secret(f"rtsps://127.0.0.1:{server.getsockname()[1]}/x")
        relay = Relay(Camera(name="front", url=url, ca_file=str(certificates.bundle)))
        with socket.create_connection(("127.0.0.1", urlsplit(relay.address).port or 0)):
            far, _ = server.accept()
            with far, pytest.raises(ssl.SSLError):
                certificates.wrong_host.wrap_socket(far, server_side=True).close()
        relay.close()
    assert "the camera's certificate is refused: IP address mismatch" in relay.fault


def test_the_manager_of_services_is_told_that_the_file_grows(
    record: Callable[..., Recorded],
    mp4: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "SYNC", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        service = Service({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        front = record({"gives": mp4, "hangs": True}, service=service)
        told = [manager.recv(4096)]
        while told[-1] != b"WATCHDOG=1":
            told.append(manager.recv(4096))
        front.stop()
    assert told[0] == b"READY=1"


def test_check_gives_up_a_camera_that_sends_nothing_and_of_which_ffmpeg_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 0.5)
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nexec sleep {1.25 * PATIENCE}\n")
    program.chmod(0o755)
    camera = Camera(name="front", url=Secret("rtsp://10.0.0.5/x"), ffmpeg=str(program))
    began = time.monotonic()
    assert "it sends no picture" in str(probe.of_camera(camera))
    assert time.monotonic() - began < PATIENCE
