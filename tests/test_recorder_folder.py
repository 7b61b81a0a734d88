"""The camera's folder, the file that grows, and the stream that it is cut from."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from frigate_mirror import mp4
from frigate_mirror.recorder import ffmpeg, folder
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.diary import Diary, State
from frigate_mirror.recorder.ffmpeg import FORMS, Form, listing, without_secrets
from frigate_mirror.recorder.segment import Segment
from frigate_mirror.recorder.status import of_camera
from frigate_mirror.recorder.stream import Fragment, Stream, StreamError
from frigate_mirror.settings.secret import Secret
from tests.rig.ffmpeg import durations, encode, pictures, stream_of, told_length
from tests.rig.ffmpeg import ffmpeg as program
from tests.rig.waiting import PATIENCE

NOON = 1_705_579_200.0  # 2024-01-18T12:00:00Z
MP4, MATROSKA, _ = FORMS


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, a keyframe each second, with sound, and pictures that refer to later ones."""
    path = tmp_path_factory.mktemp("movie") / "movie.mp4"
    # ffmpeg does not begin a cluster with a keyframe if the one before has less than 4 KB.
    return encode(path, size="640x480", between=2, sound=True)


def cut(form: Form, data: bytes, step: int = 1_000) -> tuple[Stream, list[Fragment]]:
    stream = form.new_stream()
    found: list[Fragment] = []
    for at in range(0, len(data), step):
        found += stream.feed(data[at : at + step])
    return stream, found


def segment_of(camera: Path, stream: Stream, fragments: list[Fragment]) -> Path:
    segment = Segment(camera, NOON, stream, fragments[0])
    for fragment in fragments[1:]:
        segment.add(fragment)
    return segment.finish()


@pytest.mark.parametrize("form", [MP4, MATROSKA], ids=["mp4", "matroska"])
@pytest.mark.parametrize("step", [1, 999, 10_000_000])
def test_a_stream_is_cut_into_segments_that_begin_at_time_zero(
    movie: Path, tmp_path: Path, form: Form, step: int
) -> None:
    stream, fragments = cut(form, stream_of(form.words, movie, tmp_path / "stream"), step)
    assert sum(one.pictures for one in fragments) == 60
    keys = [number for number, one in enumerate(fragments) if one.key]
    assert keys[0] == 0 and len(keys) == 6
    camera = tmp_path / "camera"
    camera.mkdir()
    parts = [fragments[: keys[2]], fragments[keys[2] :]]
    paths = [segment_of(camera, stream, part) for part in parts]
    assert [path.name for path in paths] == [
        f"20240118_120000{form.stream.ending}", f"20240118_120000-2{form.stream.ending}"
    ]  # fmt: skip
    assert [len(pictures(path)) for path in paths] == [20, 40]
    for path, seconds in zip(paths, (2, 4), strict=True):
        *_, length = durations(path)
        assert length == pytest.approx(seconds, abs=0.3)
        assert told_length(path) == pytest.approx(seconds, abs=0.5)
    assert [one for path in paths for one in pictures(path)] == pictures(movie)


def test_the_pictures_of_a_fragment_last_as_long_as_the_file_says(
    movie: Path, tmp_path: Path
) -> None:
    stream, fragments = cut(MP4, stream_of(MP4.words, movie, tmp_path / "stream"))
    path = segment_of(tmp_path, stream, fragments)
    assert mp4.read(path).media_duration == pytest.approx(sum(one.seconds for one in fragments))


def test_a_segment_is_durable_before_it_gets_its_own_name_and_then_the_name_is_durable(
    movie: Path, tmp_path: Path, synced: dict[int, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, fragments = cut(MP4, stream_of(MP4.words, movie, tmp_path / "stream"))
    camera = tmp_path / "camera"
    camera.mkdir()
    real = os.replace

    def replace(growing: Path, path: Path) -> None:
        status = os.stat(growing)
        assert synced[status.st_ino] == (str(growing), status.st_size)
        synced.clear()
        real(growing, path)

    monkeypatch.setattr(os, "replace", replace)
    path = segment_of(camera, stream, fragments)
    assert path.stat().st_size > len(fragments[0].data)
    assert list(synced) == [camera.stat().st_ino]


@pytest.mark.parametrize("form", [MP4, MATROSKA], ids=["mp4", "matroska"])
def test_all_that_a_power_cut_leaves_of_a_segment_is_what_was_made_durable(
    movie: Path, tmp_path: Path, synced: dict[int, tuple[str, int]], form: Form
) -> None:
    stream, fragments = cut(form, stream_of(form.words, movie, tmp_path / "stream"))
    camera = tmp_path / "camera"
    camera.mkdir()
    segment = Segment(camera, NOON, stream, fragments[0])
    for number, fragment in enumerate(fragments[1:], start=2):
        segment.add(fragment)
        segment.sync()
        [growing] = folder.growing(camera)
        assert synced[growing.stat().st_ino] == (str(growing), growing.stat().st_size)
        left = tmp_path / f"left{number}{form.stream.ending}"
        left.write_bytes(growing.read_bytes())
        assert len(pictures(left)) == sum(one.pictures for one in fragments[:number])
        *_, length = durations(left)
        assert told_length(left) == pytest.approx(length, abs=0.5)


@pytest.mark.parametrize("form", [MP4, MATROSKA], ids=["mp4", "matroska"])
def test_what_a_crash_leaves_is_finished_behind_its_last_whole_fragment(
    movie: Path, tmp_path: Path, form: Form
) -> None:
    stream, fragments = cut(form, stream_of(form.words, movie, tmp_path / "stream"))
    whole = segment_of(tmp_path, stream, fragments).read_bytes()
    ends, at = [], len(stream.head)
    for fragment in fragments:
        at += len(fragment.data)
        ends.append(at)
    for number, (size, tail) in enumerate(
        [(ends[-1], b""), (ends[-1] - 1, b""), (ends[1] + 7, b""), (ends[1] + 30, b""),
         (ends[0], bytes(100_000)), (ends[0] - 1, b""), (len(stream.head), b""), (0, b"")]
    ):  # fmt: skip
        camera = tmp_path / f"camera{number}"
        camera.mkdir()
        left = camera / f".20240118_120000{form.stream.ending}.growing"
        left.write_bytes(whole[:size] + tail)
        os.utime(left, (NOON, NOON))
        found = folder.recover(camera)
        expected = max((end for end in ends if end <= size), default=0)
        assert [path.stat().st_size for path in found] == ([expected] if expected else [])
        assert not left.exists()
        for path in found:
            assert path.name == f"20240118_120000{form.stream.ending}"
            assert path.stat().st_mtime == NOON
            assert pictures(path)


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    for content in (b"first", b"second", b"third"):
        growing = folder.create(tmp_path, NOON, ".mp4")
        growing.write_bytes(content)
        (tmp_path / growing.name[1:].removesuffix(".growing")).exists()
        folder.finish(growing)
    (tmp_path / ".20240118_120000.mp4.growing").write_bytes(b"fourth")
    folder.finish(tmp_path / ".20240118_120000.mp4.growing")
    names = ("", "-2", "-3", "-4")
    assert [(tmp_path / f"20240118_120000{name}.mp4").read_bytes() for name in names] == [
        b"first", b"second", b"third", b"fourth"
    ]  # fmt: skip


def test_a_name_that_was_used_before_is_not_used_again_after_its_file_is_gone(
    tmp_path: Path,
) -> None:
    diary = Diary(tmp_path)
    diary.segment(tmp_path / "20240118_120000.mp4", NOON, NOON + 60, 5)
    diary.segment(tmp_path / "20240118_120000-2.mp4", NOON, NOON + 50_000, 5)  # ends the next day
    growing = folder.create(tmp_path, NOON, ".mp4", diary.names(NOON))
    assert folder.finish(growing).name == "20240118_120000-3.mp4"
    other = folder.create(tmp_path, NOON + 1, ".mp4", diary.names(NOON + 1))
    assert folder.finish(other).name == "20240118_120001.mp4"


def test_two_segments_can_grow_that_started_in_the_same_second(tmp_path: Path) -> None:
    one, other = (folder.create(tmp_path, NOON, ".mp4") for _ in range(2))
    assert one != other
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    assert [folder.finish(path).read_bytes() for path in (other, one)] == [b"2", b"1"]
    assert len(list(folder.finished(tmp_path))) == 2


def test_a_name_that_was_taken_before_a_crash_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "20240118_120000.mp4").touch()
    assert not list(folder.finished(tmp_path)), "nobody takes an empty file for a segment"
    assert folder.recover(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_segment_as_it_was(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, fragments = cut(MP4, stream_of(MP4.words, movie, tmp_path / "stream"))
    segment = Segment(tmp_path, NOON, stream, fragments[0])
    size, real = segment.size, os.pwrite

    def pwrite(file: int, data: bytes, at: int) -> int:
        if at > size:
            raise OSError(28, "No space left on device")
        return real(file, data[:100], at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space"):
        segment.add(fragments[1])
    monkeypatch.undo()
    [growing] = folder.growing(tmp_path)
    assert growing.stat().st_size == size
    segment.add(fragments[1])
    assert len(pictures(segment.finish())) == fragments[0].pictures + fragments[1].pictures


@pytest.mark.parametrize("form", [MP4, MATROSKA], ids=["mp4", "matroska"])
@pytest.mark.parametrize("data", [bytes(64), b"\xff" * 64])
def test_what_is_no_stream_is_refused(form: Form, data: bytes) -> None:
    with pytest.raises(StreamError):
        list(form.new_stream().feed(data))


def test_a_quote_in_an_address_does_not_end_it() -> None:
    assert "file 'rtsp://a'\\''b/x'\n" in listing("rtsp://a'b/x")


@pytest.mark.parametrize("login", ["ann:pa%24s%27word", "ann:hunter2", "u:p", "admin:1"])
def test_what_ffmpeg_says_is_told_without_the_login(login: str) -> None:
    url = f"rtsp://{login}@10.0.0.5/x"
    camera = Camera(name="front", url=Secret(url))
    for said in (f"Impossible to open '{url}'", f"rtsp://{login}@127.0.0.1:1/x: Connection refused",
                 f"option {unquote(login)} is wrong"):  # fmt: skip
        told = without_secrets(said, camera)
        assert len(login) < 8 or (login not in told and unquote(login) not in told)
        assert "@" not in told.replace("***@", "")
    assert without_secrets("pipe:0: Connection refused", camera) == "pipe:0: Connection refused"


def test_the_diary_survives_half_a_line_and_other_programs(tmp_path: Path) -> None:
    diary = Diary(tmp_path)
    diary.segment(tmp_path / "20240118_120000.mp4", NOON, NOON + 60, 5)
    with (tmp_path / ".diary/2024-01-18.jsonl").open("a") as file:
        file.write('{"gap": "half a li')
    assert [line.file for line in diary.day(NOON)] == ["20240118_120000.mp4"]
    (tmp_path / ".diary/2024-01-18.jsonl").write_text("[1]\n{}\n5\nnull\n")
    diary.gap(NOON, NOON + 5, "why")
    assert [line.gap for line in diary.day(NOON)] == ["why"]
    diary.note(State(NOON, None, "the camera is away"))
    assert diary.state() == State(NOON, None, "the camera is away")
    (tmp_path / ".diary/state.json").write_text('{"at": "x"}')
    assert diary.state() is None


def test_a_line_that_the_diary_does_not_take_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".diary").write_text("a file where the folder belongs")
    Diary(tmp_path).gap(NOON, NOON + 5, "the camera is away")
    assert "the diary lacks a line" in caplog.text and "the camera is away" in caplog.text


def test_the_diary_keeps_ninety_days(tmp_path: Path) -> None:
    diary = Diary(tmp_path)
    for days in (0, 89, 91, 500):
        at = NOON - days * 86_400
        diary.gap(at, at, "why")
    diary.tidy(NOON)
    assert len(list((tmp_path / ".diary").iterdir())) == 2
    assert diary.last_end() is None


@pytest.mark.usefixtures("far_zone")
def test_names_and_the_days_of_the_diary_are_in_utc_wherever_the_machine_is(tmp_path: Path) -> None:
    assert folder.stamp_of(NOON) == "20240118_120000"
    assert folder.started_of("20240118_120000.mp4") == NOON
    diary = Diary(tmp_path)
    midnight = NOON + 12 * 3_600
    diary.segment(tmp_path / "20240118_120000.mp4", NOON, midnight - 1, 5)
    diary.gap(midnight - 1, midnight, "why")
    days = sorted(path.name for path in (tmp_path / ".diary").iterdir())
    assert days == ["2024-01-18.jsonl", "2024-01-19.jsonl"]


def test_ffmpeg_gives_up_a_camera_after_so_many_seconds_of_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "NETWORK_PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        began = time.monotonic()
        camera = Camera(name="front", url=Secret(address), ffmpeg=program())
        process = ffmpeg.start(camera, MP4, address)
        with process:
            assert process.wait(PATIENCE) != 0
    assert time.monotonic() - began >= 1


def test_a_recorder_that_hangs_or_is_gone_is_not_shown_as_recording(tmp_path: Path) -> None:
    camera = Camera(name="front", url=Secret("rtsp://10.0.0.5/x"), folder=tmp_path)
    Diary(tmp_path).note(State(NOON, NOON, ""))
    growing = folder.create(tmp_path, NOON, ".mp4")
    os.utime(growing, (NOON + 60, NOON + 60))
    assert of_camera(camera, NOON + 70).since == NOON
    for now in (NOON + 200, NOON - 200):
        status = of_camera(camera, now)
        assert (status.since, status.trouble) == (None, "its recorder does not run, or hangs")
