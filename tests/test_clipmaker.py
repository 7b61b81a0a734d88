"""Clips that a real ffmpeg makes of segments like Frigate's."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_mirror import mp4
from frigate_mirror.frigate.clipmaker import Clip, ClipMaker, NoRecording
from frigate_mirror.frigate.ffmpeg import Ffmpeg, FfmpegError, FfmpegStopped, NoFfmpeg
from frigate_mirror.frigate.segments import Segment
from tests.rig import ffmpeg
from tests.rig.waiting import until

T = 1_700_000_000.0
"""When the recording begins. It has a keyframe every second, and a segment every two."""
RATE = 10  # pictures a second
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    source = ffmpeg.encode(folder / "source.mp4", 12, sound=True)
    ffmpeg.record(source, folder / "segments")
    other = ffmpeg.encode(folder / "other.mp4", 4, size="176x144")
    ffmpeg.record(other, folder / "other")
    return folder


@pytest.fixture
def recordings(sources: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    shutil.copytree(sources / "segments", folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system, to which no links are possible."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def rows(recordings: Path) -> list[Segment]:
    files = sorted(recordings.glob("*.mp4"))
    return [Segment(str(path), T + 2 * n, T + 2 * n + 2) for n, path in enumerate(files)]


def maker(
    folder: Path, program: str = "", *, longest: float = 7_200, most_bytes: int = 10**9,
    silent: float = 60.0,
) -> ClipMaker:  # fmt: skip
    program = program or ffmpeg.ffmpeg()
    return ClipMaker(Ffmpeg(program, silent), folder, longest, most_bytes)


def stub(folder: Path, *lines: str) -> str:
    """A program in place of ffmpeg. `exec $FFMPEG "$@"` becomes the real one; the last word is the
    file that it must write, and the segments are in its working folder."""
    path = folder / "stub"
    path.write_text("\n".join(["#!/bin/bash", f"FFMPEG={ffmpeg.ffmpeg()}", *lines]))
    path.chmod(0o755)
    return str(path)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def check(clip: Clip) -> None:
    """Checks what must hold for every clip."""
    for part in clip.parts:
        assert part.size == part.path.stat().st_size
        assert part.duration == mp4.read(part.path).duration
        assert len(ffmpeg.pictures(part.path)) == pytest.approx(part.duration * RATE, abs=2)
        assert part.path.read_bytes().index(b"moov") < part.path.read_bytes().index(b"mdat")
    folder = clip.parts[0].path.parent
    assert sorted(files_in(folder)) == [part.path for part in clip.parts]


# -- a clip


def test_a_clip_has_every_picture_from_the_keyframe_before_its_start(
    sources: Path, recordings: Path, folder: Path
) -> None:
    clip = maker(folder).make(rows(recordings), T + 4.5, T + 9.2)
    check(clip)
    assert (clip.gaps, clip.cut, clip.flaw) == ((), "", "")
    [part] = clip.parts
    # Rows have whole seconds, so the clip begins a second before 4.5, at the keyframe before.
    assert part.start == pytest.approx(T + 3, abs=0.11)
    assert part.end == pytest.approx(T + 9.2)
    assert part.duration == pytest.approx(6.2, abs=0.11)
    source = ffmpeg.pictures(sources / "source.mp4")
    shown = ffmpeg.pictures(part.path)
    first = source.index(shown[0])
    assert first == 30
    assert shown == source[first : first + len(shown)]


def test_a_clip_of_whole_segments_is_the_recording(
    sources: Path, recordings: Path, folder: Path
) -> None:
    clip = maker(folder).make(rows(recordings), T, T + 12)
    check(clip)
    [part] = clip.parts
    assert ffmpeg.pictures(part.path) == ffmpeg.pictures(sources / "source.mp4")
    assert mp4.read(part.path).audio == mp4.read(sources / "source.mp4").audio
    assert (part.start, part.end) == pytest.approx((T, T + 12))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_that_refer_to_later_ones_are_all_there(
    folder: Path, tmp_path: Path, codec: str
) -> None:
    source = ffmpeg.encode(tmp_path / "source.mp4", 6, codec=codec, between=2)
    known = rows(ffmpeg.record(source, tmp_path / "segments")[0].parent)
    [part] = maker(folder).make(known, T + 2.5, T + 6).parts
    assert ffmpeg.pictures(part.path) == ffmpeg.pictures(source)[10:]
    assert part.start == pytest.approx(T + 1, abs=0.3)


def test_the_same_clip_has_the_same_bytes(recordings: Path, folder: Path) -> None:
    def made() -> bytes:
        clip = maker(folder).make(rows(recordings), T + 1.5, T + 7)
        return clip.parts[0].path.read_bytes()

    first = made()
    for path in recordings.glob("*.mp4"):  # as after a restore: other times, other inodes
        path.write_bytes(path.read_bytes())
        os.utime(path, (1, 1))
    assert made() == first
    assert b"Lavf" not in first


def test_nothing_is_left_when_the_clip_is_removed(recordings: Path, folder: Path) -> None:
    clip = maker(folder).make(rows(recordings), T, T + 4)
    moved = folder.parent / "moved.mp4"
    clip.parts[0].path.rename(moved)
    clip.remove()
    assert files_in(folder) == [] and moved.exists()


def test_what_a_killed_process_has_left_is_deleted_at_the_next_start(folder: Path) -> None:
    (folder / "clip-old" / "held").mkdir(parents=True)
    (folder / "clip-old" / "held" / "000000").touch()
    maker(folder)
    assert not folder.exists()


# -- recordings that are not whole


def test_a_clip_with_a_gap_says_so(recordings: Path, folder: Path) -> None:
    known = rows(recordings)
    clip = maker(folder).make([known[0], known[1], known[4]], T, T + 12)
    check(clip)
    assert clip.gaps == ((T + 4, T + 8), (T + 10, T + 12))
    assert clip.parts[0].duration == pytest.approx(6, abs=0.2)
    assert clip.flaw == ""


def test_time_that_two_segments_show_is_shown_once(recordings: Path, folder: Path) -> None:
    first, second, third, *_ = rows(recordings)
    again = Segment(second.path, first.start + 0.2, first.start + 2.2)  # another recorder's
    clip = maker(folder).make([first, again, third], T, T + 6)
    assert clip.parts[0].duration < 5.5


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_segment_that_is_missing_is_a_gap_and_a_flaw(
    recordings: Path, folder: Path, number: int
) -> None:
    known = rows(recordings)
    Path(known[number].path).unlink()
    clip = maker(folder).make(known, T, T + 12)
    check(clip)
    assert clip.flaw == f"the segment {known[number].path} is missing"
    assert clip.gaps == ((known[number].start, known[number].end),)
    assert clip.parts[0].duration == pytest.approx(10, abs=0.2)


def test_a_segment_that_is_cut_short_is_a_gap_and_a_flaw(recordings: Path, folder: Path) -> None:
    known = rows(recordings)
    os.truncate(known[2].path, 5_000)
    os.truncate(known[4].path, 0)
    clip = maker(folder).make(known, T, T + 12)
    check(clip)
    assert clip.flaw.startswith(f"the segment {known[2].path} is damaged: ")
    assert clip.flaw.endswith("(and 1 more segments)")
    assert clip.gaps == ((T + 4, T + 6), (T + 8, T + 10))


def test_a_segment_without_a_picture_is_a_gap_and_a_flaw(
    recordings: Path, folder: Path, tmp_path: Path
) -> None:
    known = rows(recordings)
    form = tmp_path / "fragments.mp4"
    ffmpeg.run("-i", known[2].path, "-c", "copy", "-movflags", f"+{ffmpeg.FRAGMENTS}", form)
    os.truncate(form, form.read_bytes().index(b"moof") - 4)  # its writer was killed early
    form.replace(known[2].path)
    clip = maker(folder).make(known, T, T + 12)
    check(clip)
    assert clip.flaw == f"the segment {known[2].path} is damaged: it has no picture"
    assert clip.gaps == ((T + 4, T + 6),)


def test_without_any_readable_segment_there_is_no_clip(recordings: Path, folder: Path) -> None:
    known = rows(recordings)
    with pytest.raises(NoRecording, match="has no recording of this time"):
        maker(folder).make(known, T + 100, T + 110)
    for row in known:
        Path(row.path).unlink()
    with pytest.raises(NoRecording, match="is missing"):
        maker(folder).make(known, T, T + 4)
    assert files_in(folder) == []


def test_another_resolution_begins_another_part(
    sources: Path, recordings: Path, folder: Path
) -> None:
    other = sorted((sources / "other").glob("*.mp4"))
    known = rows(recordings)
    middle = [Segment(str(path), T + 4 + 2 * n, T + 6 + 2 * n) for n, path in enumerate(other)]
    mixed = [*known[:2], *middle, *known[4:]]
    clip = maker(folder).make(mixed, T + 1.2, T + 11)
    check(clip)
    assert [mp4.read(part.path).video.shape for part in clip.parts] == [
        (160, 120), (176, 144), (160, 120),
    ]  # fmt: skip
    assert [part.path.name for part in clip.parts] == [f"part-000{n}.mp4" for n in (1, 2, 3)]
    assert [part.end for part in clip.parts] == pytest.approx([T + 4, T + 8, T + 11])
    assert clip.parts[1].start == pytest.approx(T + 4)
    assert clip.gaps == ()


# -- limits


def test_a_clip_that_is_too_long_is_cut_and_says_so(recordings: Path, folder: Path) -> None:
    clip = maker(folder, longest=5).make(rows(recordings), T, T + 12)
    check(clip)
    assert clip.cut == "cut after 5 s, the limit for a clip"
    assert clip.parts[0].end == T + 5
    assert clip.parts[0].duration == pytest.approx(5, abs=0.11)
    assert clip.gaps == ()


def test_a_clip_that_is_too_large_is_cut_and_says_so(recordings: Path, folder: Path) -> None:
    known = rows(recordings)
    limit = sum(os.path.getsize(row.path) for row in known[:4]) - 1
    clip = maker(folder, most_bytes=limit).make(known, T, T + 12)
    check(clip)
    assert clip.cut == f"cut before it has more than {limit} bytes, the limit for a clip"
    assert clip.parts[0].size <= limit
    assert clip.parts[0].end == pytest.approx(T + 6)
    assert clip.gaps == ()
    with pytest.raises(NoRecording, match="more than 10 bytes"):
        maker(folder, most_bytes=10).make(known, T, T + 12)


# -- retention


def test_retention_cannot_cut_a_clip_while_it_is_made(recordings: Path, folder: Path) -> None:
    delete = stub(folder.parent, f"rm {recordings}/*.mp4", 'exec $FFMPEG "$@"')
    clip = maker(folder, delete).make(rows(recordings), T, T + 12)
    check(clip)
    assert not list(recordings.glob("*.mp4"))
    assert clip.parts[0].duration == pytest.approx(12, abs=0.2)


def test_nor_can_it_where_the_recordings_are_on_another_file_system(
    recordings: Path, folder: Path, elsewhere: Path
) -> None:
    assert elsewhere.stat().st_dev != folder.parent.stat().st_dev
    far = elsewhere / "it's far"
    shutil.copytree(recordings, far)
    near = maker(folder).make(rows(recordings), T + 1.5, T + 12)
    expected = near.parts[0].path.read_bytes()
    before = len(os.listdir("/proc/self/fd"))
    delete = stub(folder.parent, f'rm "{far}"/*.mp4', 'exec $FFMPEG "$@"')
    clip = maker(folder, delete).make(rows(far), T + 1.5, T + 12)
    check(clip)
    assert clip.parts[0].path.read_bytes() == expected
    assert len(os.listdir("/proc/self/fd")) == before, "a segment is still open"


def test_a_link_in_place_of_a_segment_is_not_followed(recordings: Path, folder: Path) -> None:
    known = rows(recordings)
    secret = folder.parent / "secret"
    Path(known[1].path).rename(secret)
    Path(known[1].path).symlink_to(secret)
    clip = maker(folder).make(known, T, T + 12)
    check(clip)
    assert clip.flaw.startswith(f"the segment {known[1].path} cannot be read")
    assert clip.gaps == ((known[1].start, known[1].end),)


# -- an ffmpeg that fails


REAL = 'exec $FFMPEG "$@"'
FAILURES = {
    "a segment goes away": (["rm 000002", REAL], "could not open one of the segments"),
    "the list is cut": (["head -4 list > new; mv new list", REAL], "instead of"),
    "rubbish": (['echo rubbish > "${@: -1}"'], "no whole mp4"),
    "half a file": (
        ['$FFMPEG "$@"; truncate -s -2000 "${@: -1}"'], "no whole mp4",
    ),
    "nothing": (["exit 0"], "no whole mp4"),
    "an empty file": (['> "${@: -1}"'], "no whole mp4"),
    "an exit code": (['$FFMPEG "$@"; echo why >&2; exit 3'], "code 3: why"),
    "a kill in the middle": (['head -c 9999 000000 > "${@: -1}"; kill -KILL $$'], "signal 9"),
    "a hang": (['echo > "${@: -1}"; kill -STOP $$'], "wrote nothing"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "words"), FAILURES.values(), ids=FAILURES)
def test_a_failure_of_ffmpeg_is_noticed_and_leaves_no_file(
    recordings: Path, folder: Path, lines: list[str], words: str
) -> None:
    with pytest.raises(FfmpegError, match=words):
        hangs = words == "wrote nothing"
        broken = maker(folder, stub(folder.parent, *lines), silent=0.5 if hangs else 600)
        broken.make(rows(recordings), T, T + 12)
    assert files_in(folder) == []
    check(maker(folder).make(rows(recordings), T, T + 12))


def test_without_ffmpeg_the_caller_learns_it(recordings: Path, folder: Path) -> None:
    with pytest.raises(NoFfmpeg):
        maker(folder, str(folder / "missing")).make(rows(recordings), T, T + 12)
    assert files_in(folder) == []


def test_stopping_ends_ffmpeg_and_leaves_no_file(recordings: Path, folder: Path) -> None:
    begun = folder.parent / "begun"
    program = Ffmpeg(stub(folder.parent, f'echo > "${{@: -1}}"; > {begun}; sleep 1000'))
    clips = ClipMaker(program, folder, 7_200, 10**9)
    errors: list[Exception] = []

    def work() -> None:
        try:
            clips.make(rows(recordings), T, T + 12)
        except FfmpegError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(begun.exists)
    program.stop()
    thread.join()
    assert isinstance(errors[0], FfmpegStopped)
    assert files_in(folder) == []


@needs_root
def test_a_full_disk_in_the_middle_of_a_clip_is_an_error_that_leaves_no_file(
    recordings: Path, folder: Path
) -> None:
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    if subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("mounting a disk is not permitted here")
    other = folder / "other"
    fill = stub(folder.parent, f'cat /dev/zero > {other}; exec $FFMPEG "$@"')
    try:
        clips = maker(folder, fill)
        for why in ("disk is full", "too little room"):
            with pytest.raises(OSError, match=why):
                clips.make(rows(recordings), T, T + 12)
            assert files_in(folder) == [other]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_long_clip_takes_little_memory_and_its_start_is_known(
    recordings: Path, folder: Path
) -> None:
    """The recording is repeated until it has 12 MB."""
    known = rows(recordings)
    size = sum(os.path.getsize(row.path) for row in known)
    many = [
        Segment(row.path, row.start + 12 * n, row.end + 12 * n)
        for n in range(12_000_000 // size + 1)
        for row in known
    ]
    clips = maker(folder)
    tracemalloc.start()
    try:
        clip = clips.make(many, T + 4.2, T + 12 * len(many))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert clip.parts[0].size > 10_000_000
    assert peak < 2_000_000
    # Sound makes each segment a little longer, which adds up to seconds. What is left are the
    # rounded times of 400 segments.
    assert clip.parts[0].start == pytest.approx(T + 3, abs=0.3)
