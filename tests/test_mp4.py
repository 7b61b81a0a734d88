"""How long an mp4 file is, how it is coded, and whether it is whole."""

from __future__ import annotations

import functools
import io
import struct
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frigate_mirror import mp4
from frigate_mirror.mp4 import Movie, Mp4Error
from tests.rig import ffmpeg
from tests.rig.ffmpeg import FRAGMENTS

PICTURE = 0.1  # seconds; without ffprobe the length of the last picture is not known


@pytest.fixture(scope="module")
def h264(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ffmpeg.encode(tmp_path_factory.mktemp("h264") / "h264.mp4", 3, between=2, sound=True)


@pytest.fixture(scope="module")
def hevc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ffmpeg.encode(tmp_path_factory.mktemp("hevc") / "hevc.mp4", 3, codec="libx265")


def read(data: bytes) -> Movie:
    return mp4.read(io.BytesIO(data))


# -- real files


@pytest.mark.parametrize("form", ["", "faststart", FRAGMENTS, "frag_keyframe+delay_moov"])
def test_durations_are_those_of_ffmpeg_in_every_form_and_with_every_cut(
    h264: Path, tmp_path: Path, form: str
) -> None:
    for path in ffmpeg.derive(h264, tmp_path, (form,)):
        movie = mp4.read(path)
        near = [one for one in ffmpeg.durations(path) if abs(movie.duration - one) <= PICTURE]
        assert near, f"{path.name}: {movie.duration}"
        assert movie.fragmented is form.startswith("frag")


def test_the_codec_of_h264_and_of_its_sound_is_read(h264: Path) -> None:
    movie = mp4.read(h264)
    assert (movie.video.name, movie.video.shape) == ("avc1", (160, 120))
    assert movie.video.setup.startswith(b"avcC\1")
    assert movie.audio is not None
    assert (movie.audio.name, movie.audio.shape[1]) == ("mp4a", 16_000)


def test_the_codec_of_hevc_is_read(hevc: Path) -> None:
    movie = mp4.read(hevc)
    assert movie.duration == pytest.approx(3)
    assert (movie.video.name, movie.video.shape) == ("hev1", (160, 120))
    assert movie.video.setup.startswith(b"hvcC\1")
    assert movie.audio is None


def test_the_length_includes_the_sound_and_a_pause_before_the_video(
    h264: Path, tmp_path: Path
) -> None:
    late = tmp_path / "late.mp4"
    ffmpeg.run("-itsoffset", "1.5", "-i", h264, "-i", h264, "-map", "0:v", "-map", "1:a",
               "-c", "copy", late)  # fmt: skip
    movie = mp4.read(late)
    assert (movie.duration, movie.length) == pytest.approx((3, 4.5), abs=0.01)
    short = tmp_path / "short.mp4"
    ffmpeg.run("-t", "1", "-i", h264, "-i", h264, "-map", "0:v", "-map", "1:a", "-c", "copy", short)
    movie = mp4.read(short)
    assert movie.duration < 1.5
    assert movie.length == pytest.approx(3, abs=0.1)


def test_segments_of_one_recording_have_the_same_codec(h264: Path, tmp_path: Path) -> None:
    movies = [mp4.read(path) for path in ffmpeg.record(h264, tmp_path, 1)]
    assert len(movies) == 3
    assert len({(movie.video, movie.audio) for movie in movies}) == 1


def test_another_resolution_and_another_encoder_are_other_codecs(
    h264: Path, hevc: Path, tmp_path: Path
) -> None:
    larger = ffmpeg.encode(tmp_path / "larger.mp4", 1, size="176x144", between=2)
    other = ffmpeg.encode(tmp_path / "other.mp4", 1, between=0)
    assert len({mp4.read(path).video for path in (h264, hevc, larger, other)}) == 4


@pytest.mark.parametrize("form", ["", "faststart", FRAGMENTS])
def test_a_file_that_is_cut_short_is_an_error_at_every_length(
    h264: Path, tmp_path: Path, form: str
) -> None:
    path = next(ffmpeg.derive(h264, tmp_path, (form,)))
    data = path.read_bytes()
    for size in range(0, len(data), 101):
        if data[size + 4 : size + 8] not in (b"moof", b"mfra"):  # where a fragment ends
            with pytest.raises(Mp4Error):
                read(data[:size])


def test_a_file_whose_writer_was_killed_has_no_index(h264: Path, tmp_path: Path) -> None:
    data = h264.read_bytes()
    start = data.index(b"mdat") - 4
    # ffmpeg writes the size of `mdat` at its end only.
    with pytest.raises(Mp4Error, match="moov"):
        read(data[:start] + bytes(4) + data[start + 4 : -5000])


def test_a_missing_file_and_a_folder_are_errors_of_the_system(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(OSError):
            mp4.read(path)


# -- files made by hand


def box(kind: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind.encode()) + body


def long_box(kind: str, *content: bytes) -> bytes:
    """A box whose size has 64 bits."""
    body = b"".join(content)
    return struct.pack(">I4sQ", 1, kind.encode(), len(body) + 16) + body


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


STTS = box("stts", numbers(0, 1, 30, 100))  # 30 samples of 100 ticks
MDHD = box("mdhd", numbers(0, 0, 0, 1000, 3000, 0))
LONG_MDHD = box("mdhd", numbers(1 << 24), bytes(16), numbers(1000), bytes(12))
STSZ = box("stsz", numbers(0, 20, 30))  # 20 bytes each
STSC = box("stsc", numbers(0, 2, 1, 10, 1, 2, 20, 1))  # chunks of 10 and 20 samples
AVCC = box("avcC", b"\1parameters")


def table(offset: int) -> bytes:
    return box("stco", numbers(0, 2, offset, offset + 200))


def long_table(offset: int) -> bytes:
    return box("co64", numbers(0, 2), struct.pack(">2Q", offset, offset + 200))


def moov(
    chunks: bytes, stts: bytes = STTS, mdhd: bytes = MDHD, stsz: bytes = STSZ, stsc: bytes = STSC,
    edits: bytes = b"", setup: bytes = AVCC, more: bytes = b"",
) -> bytes:  # fmt: skip
    entry = box("avc1", bytes(24), struct.pack(">HH", 640, 360), bytes(50), setup)
    stbl = box("stbl", box("stsd", numbers(0, 1), entry), stts, stsz, stsc, chunks)
    hdlr = box("hdlr", bytes(8), b"vide", bytes(12))
    mdia = box("mdia", mdhd, hdlr, box("minf", stbl))
    trak = box("trak", box("tkhd", numbers(0, 0, 0, 1, 0)), edits, mdia)
    return box("moov", box("mvhd", numbers(0, 0, 0, 1000, 0)), trak, more)


EMPTY = {"stsc": box("stsc", numbers(0, 0)), "stsz": box("stsz", numbers(0, 0, 0))}
DATA = box("mdat", bytes(600))


def test_sizes_times_and_offsets_of_64_bits_are_read() -> None:
    data = long_box("mdat", bytes(600))
    assert read(data + moov(long_table(16), mdhd=LONG_MDHD)).duration == 3.0


def test_a_last_box_without_a_size_reaches_to_the_end() -> None:
    index = moov(table(0))
    endless = numbers(0) + b"mdat"
    whole = moov(table(len(index) + 8)) + endless + bytes(600)
    assert read(whole).duration == 3.0
    with pytest.raises(Mp4Error, match="names data to byte"):
        read(whole[:-1])


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (moov(table(500)), "names data to byte 1100, but the file ends at 997"),
        (moov(table(8), stsz=box("stsz", numbers(0, 20, 31))), "fewer samples"),
        (moov(table(8), stsz=box("stsz", numbers(0, 20, 29))), "more samples"),
        (moov(table(8), stsz=box("stsz", numbers(0, 0, 30))), "too small"),
        (moov(table(8), stts=box("stts", numbers(0, 2**32 - 1))), "too small"),
        (moov(table(8), stts=b""), "has no box 'stts'"),
        (moov(table(8), mdhd=box("mdhd", numbers(0, 0, 0, 0))), "no units"),
        (moov(table(8), mdhd=box("mdhd", numbers(0, 0))), "crosses the end"),
        (moov(b""), "has no box 'co64'"),
        (moov(table(8), setup=bytes(1 << 17)), "more than 65536 bytes"),
        (moov(table(8))[:-1], "bytes are left|only"),
        (numbers(20) + b"moov" + numbers(4) + b"trak" + bytes(4), "less than its head"),
        (b"", "moov"),
        (b"\0\0\0", "head of a box at byte 608"),
    ],
)  # fmt: skip
def test_an_index_that_does_not_fit_its_file_is_an_error_that_says_where(
    index: bytes, words: str
) -> None:
    with pytest.raises(Mp4Error, match=words):
        read(DATA + index)


def test_a_list_of_edits_shortens_the_video() -> None:
    def shown(*edits: int) -> float:
        elst = box("edts", box("elst", numbers(0, len(edits) // 3, *edits)))
        movie = read(DATA + moov(table(8), edits=elst))
        assert movie.media_duration == 3.0, "the pictures are there all the same"
        return movie.duration

    assert shown(2500, 500, 1 << 16) == 2.5
    assert shown(400, 2**32 - 1, 1 << 16, 2000, 0, 1 << 16) == 2.0, "a pause shows nothing"
    assert shown(0, 500, 1 << 16) == 2.5, "a length of 0 is all the rest"
    assert shown(9000, 0, 1 << 16) == 3.0, "no list makes a video longer"


MVEX = box("mvex", box("trex", numbers(0, 1, 1, 50, 20, 0)))  # samples of 50 ticks, 20 bytes
HEAD = moov(box("stco", numbers(0, 0)), stts=box("stts", numbers(0, 0)), more=MVEX, **EMPTY)


def fragment(*runs: bytes, flags: int = 0x20000, own: bytes = b"", track: int = 1) -> bytes:
    """A `moof` with one track fragment for each run of samples."""
    tfhd = box("tfhd", numbers(flags, track), own)
    return box("moof", *(box("traf", tfhd, run) for run in runs))


def run(count: int, offset: int, flags: int = 0, *each: int) -> bytes:
    return box("trun", numbers(flags | 1, count, offset % 2**32, *each))


def test_samples_of_a_fragment_have_the_defaults_of_their_track_or_values_of_their_own() -> None:
    default = fragment(run(10, 100))
    for_all = fragment(run(10, 100), flags=0x20008, own=numbers(70))
    for_each = fragment(run(2, 100, 0x300, 30, 20, 40, 20))
    for moof, seconds in ((default, 0.5), (for_all, 0.7), (for_each, 0.07)):
        movie = read(HEAD + moof + DATA)
        assert movie.fragmented
        assert movie.duration == pytest.approx(seconds)


def test_a_file_that_awaits_its_first_fragment_is_fragmented_and_has_no_duration() -> None:
    movie = read(HEAD)
    assert movie.fragmented
    assert movie.duration == 0


def test_data_of_a_fragment_must_be_in_the_file_wherever_it_begins() -> None:
    def whole(moof: bytes, size: int) -> bool:
        try:
            read(HEAD + moof + box("mdat", bytes(size)))
        except Mp4Error as error:
            assert "names data to byte" in str(error)
            return False
        return True

    one = fragment(run(10, 100))
    assert whole(one, 300) and not whole(one, 100 + 200 - len(one) - 9)
    before = fragment(run(10, -50))  # an offset has a sign
    assert whole(before, 150) and not whole(before, 150 - len(before) - 9)
    sized = fragment(run(2, 100, 0x200, 20, 500))
    assert whole(sized, 620) and not whole(sized, 400)
    # Without an offset, the second run follows the first one.
    rest = box("trun", numbers(0, 10))
    two = fragment(rest, rest, flags=0)
    assert whole(two, 400) and not whole(two, 400 - len(two) - 9)
    far = fragment(rest, flags=1, own=struct.pack(">Q", 5_000))
    assert whole(far, 5_000) and not whole(far, 4_000)


def test_a_fragment_of_an_unknown_track_is_an_error() -> None:
    with pytest.raises(Mp4Error, match="belongs to track 2"):
        read(HEAD + fragment(run(1, 100), track=2) + DATA)


def test_deep_nesting_and_a_million_empty_boxes_end_soon() -> None:
    deep = b""
    for _ in range(5_000):
        deep = box("trak", deep)
    with pytest.raises(Mp4Error, match="has no box 'tkhd'"):
        read(DATA + box("moov", box("mvhd", numbers(0, 0, 0, 1000, 0)), deep))
    with pytest.raises(Mp4Error, match="more than 2000000 boxes"):
        read(box("free") * 2_000_001)


def test_an_index_of_unlikely_size_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "huge.mp4"
    with path.open("wb") as file:
        file.write(numbers(mp4.MOST_INDEX + 1) + b"moov")
        file.truncate(mp4.MOST_INDEX + 1)
    with pytest.raises(Mp4Error, match="index"):
        mp4.read(path)


# -- hostile files


def ones(count: int, *before: int) -> bytes:
    return numbers(*before, *[1] * count)


LONG = {
    "edits": moov(table(8), edits=box("edts", box("elst", ones(300_000, 0, 100_000)))),
    "times": moov(table(8), stts=box("stts", ones(200_000, 0, 100_000))),
    "chunks": moov(box("stco", ones(100_000, 0, 100_000)), **EMPTY),
    "boxes of a codec": moov(table(8), setup=box("free") * 8_000),
    "fragments": moov(table(8)) + box("moof") * 50_000,
    "samples of a run": HEAD
    + fragment(box("trun", ones(100_000, 0x100, 100_000)), flags=0x20010, own=numbers(0)),
}


@pytest.mark.parametrize("index", LONG.values(), ids=LONG)
def test_no_long_table_takes_a_megabyte_of_memory(index: bytes) -> None:
    file = io.BytesIO(DATA + index)
    tracemalloc.start()
    try:
        mp4.read(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_file_with_more_than_a_hundred_tracks_is_an_error() -> None:
    trak = moov(table(8))[36:]
    many = b"".join(trak.replace(numbers(1, 0), numbers(n, 0), 1) for n in range(1, 200))
    with pytest.raises(Mp4Error, match="more than 100 tracks"):
        read(DATA + box("moov", box("mvhd", numbers(0, 0, 0, 1000, 0)), many))


@functools.cache
def small() -> tuple[bytes, ...]:
    """A whole file in two forms."""
    with tempfile.TemporaryDirectory() as folder:
        source = ffmpeg.encode(Path(folder) / "small.mp4", 1, between=2, sound=True)
        forms = ("faststart", FRAGMENTS)
        return tuple(
            next(ffmpeg.derive(source, Path(folder), (form,))).read_bytes() for form in forms
        )


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(Mp4Error):
        read(data)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_a_file_with_wrong_bytes_is_read_or_is_an_error(draw: st.DataObject) -> None:
    data = bytearray(draw.draw(st.sampled_from(small())))
    names = [at for name in (b"moov", b"moof") for at in places(bytes(data), name)]
    for _ in range(draw.draw(st.integers(1, 4))):
        # Most bytes are pictures; those that matter lie behind the names of these two boxes.
        at = draw.draw(st.sampled_from(names)) + draw.draw(st.integers(-4, 1_500))
        wrong = draw.draw(st.binary(min_size=1, max_size=8))
        data[at : at + len(wrong)] = wrong
    try:
        movie = read(bytes(data))
    except Mp4Error:
        return
    assert movie.duration >= 0


def places(data: bytes, name: bytes) -> list[int]:
    found, at = [], data.find(name)
    while at >= 0:
        found.append(at)
        at = data.find(name, at + 1)
    return found
