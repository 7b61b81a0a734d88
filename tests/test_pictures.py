"""Whether a picture is complete."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.frigate.pictures import flaw
from tests.rig import STANDIN

FOLDER = STANDIN / "pictures"
JPEGS = [path.read_bytes() for path in sorted(FOLDER.glob("*.jpg"))]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


HEADER = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
PNG = (
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HEADER) + chunk(b"IDAT", b"x" * 99) + chunk(b"IEND", b"")
)
WEBP = b"RIFF" + struct.pack("<I", 4 + 8 + 300) + b"WEBPVP8 " + struct.pack("<I", 300) + b"v" * 300
PICTURES = [*JPEGS, PNG, WEBP]


def flaw_of(data: bytes) -> str:
    return flaw(io.BytesIO(data))


@pytest.mark.parametrize("picture", PICTURES)
def test_a_complete_picture_has_no_flaw(picture: bytes) -> None:
    assert flaw_of(picture) == ""


@given(st.sampled_from(PICTURES), st.floats(0, 1, exclude_max=True))
def test_no_beginning_of_a_picture_is_complete(picture: bytes, share: float) -> None:
    size = int(len(picture) * share)
    assert flaw_of(picture[:size]), f"{size} of {len(picture)} bytes"


@pytest.mark.parametrize("size", [0, 6])
def test_an_empty_file_and_one_of_six_bytes_are_not_complete(size: int) -> None:
    assert flaw_of(JPEGS[0][:size])


def test_the_end_mark_of_a_small_picture_within_the_headers_is_not_the_end() -> None:
    small = b"\xff\xd8small\xff\xd9"
    within = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    picture = JPEGS[0][:2] + within + JPEGS[0][2:]
    assert flaw_of(picture) == ""
    assert flaw_of(picture[: 2 + len(within)])
    assert flaw_of(picture[:-2] + b"\0" * 5000)


@pytest.mark.parametrize("more", [b"12", b"\0" * 100, b"notes" * 5000])
@pytest.mark.parametrize("picture", [JPEGS[0], WEBP])
def test_what_other_programs_append_to_a_picture_is_no_flaw(picture: bytes, more: bytes) -> None:
    assert flaw_of(picture + more) == ""


def test_a_file_of_zeros_which_a_power_cut_can_leave_is_not_complete() -> None:
    assert flaw_of(b"\0" * 9000)


def test_a_picture_of_an_unknown_form_has_no_flaw() -> None:
    assert flaw_of(b"AVIF or whatever comes") == ""


def test_the_file_is_left_at_its_beginning() -> None:
    for picture in PICTURES:
        file = io.BytesIO(picture)
        flaw(file)
        assert file.tell() == 0


@pytest.mark.parametrize("data", range(65_533, 65_538))
def test_an_end_mark_is_found_wherever_it_stands_before_appended_bytes(data: int) -> None:
    picture = b"\xff\xd8\xff\xda" + b"\x01" * data
    assert flaw_of(picture + b"\xff\xd9" + b"\0" * 5000) == ""
    assert flaw_of(picture + b"\0" * 5000) != ""
