"""Cuts what ffmpeg writes into its smallest playable pieces, so that the recorder can decide where
a file ends.

ffmpeg writes one endless fragmented mp4 or Matroska into a pipe: a head that describes the tracks,
then fragments (`moof` with `mdat`) or clusters. A file that has the head and any number of
fragments plays. Times in a fragment count from the start of the stream; `Fragment.move` makes them
count from the start of the file instead.

A fragment is large, and a process for each camera has to be small. So its bytes are never copied.

The boxes are those of ISO/IEC 14496-12, the elements those of RFC 8794 and RFC 9559. The first
track is the video, because ffmpeg is told so.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

LARGEST = 256 << 20  # bytes of a fragment; one has a second or two of a stream
VIDEO = 1


class StreamError(Exception):
    """What ffmpeg has written is neither a head nor a fragment."""


@dataclass(slots=True)
class Fragment:
    """A piece of the stream. `start` is when its first picture begins, in seconds of the stream, or
    that of its sound where it has no picture. Its pictures last `seconds`. `starts` says where each
    time stands in `data` that counts from the start of the stream: offset, bytes, units a second.
    `key` says whether it begins with a keyframe, and `has_key` whether it has one."""

    data: bytearray
    start: float
    seconds: float
    pictures: int
    key: bool
    has_key: bool
    starts: tuple[tuple[int, int, int], ...]

    @property
    def earliest(self) -> float:
        """The earliest time of any track, in seconds of the stream."""
        return _earliest(self.data, self.starts)

    def move(self, base: float) -> None:
        """Changes the bytes, so that the times in them count from `base`, in seconds of the
        stream. The other values stay as they are."""
        for at, length, scale in self.starts:
            ticks = int.from_bytes(self.data[at : at + length], "big") - int(base * scale)
            self.data[at : at + length] = max(0, ticks).to_bytes(length, "big")


class Stream(Protocol):
    """Takes the bytes of a stream and gives its fragments. `ending` is that of a file's name, and
    `duration_at` where the head has room for the milliseconds of the file as a double, or 0."""

    ending: str
    head: bytes
    duration_at: int

    def feed(self, data: bytes) -> Iterator[Fragment]:
        """Yields the fragments that are complete with `data`. Raises StreamError."""
        ...


def _split(buffer: bytearray, end: int) -> tuple[bytearray, bytearray]:
    """Returns the first `end` bytes, which are `buffer` itself, and a copy of the rest, which is
    short."""
    rest = buffer[end:]
    del buffer[end:]
    return buffer, rest


def _earliest(data: bytearray, places: tuple[tuple[int, int, int], ...]) -> float:
    """Returns the earliest of the times at `places`, in seconds."""
    return min(int.from_bytes(data[at : at + n], "big") / scale for at, n, scale in places)


def whole_length(file: BinaryIO, ending: str) -> int:
    """Returns up to which byte a file of this recorder is whole, after a crash or a power cut: 0 if
    it has no complete fragment."""
    size = file.seek(0, os.SEEK_END)
    at = whole = 0
    moof = False
    while size - at >= 12:
        file.seek(at)
        start = bytearray(file.read(16))
        try:
            name, end = (_mp4_piece if ending == Mp4Stream.ending else _matroska_piece)(start)
        except (StreamError, IndexError):
            break
        if name not in _PIECES or at + end > size:
            break
        at += end
        if name in (_MDAT, _CLUSTER) and (moof or name == _CLUSTER):
            whole = at
        moof = name == _MOOF
    return whole


def _mp4_piece(start: bytearray) -> tuple[int, int]:
    """Returns the name and the size of the box that begins so."""
    size, name = struct.unpack_from(">2I", start)
    if size == 1:
        [size] = struct.unpack_from(">Q", start, 8)
    if size < 8:
        raise StreamError(f"a box of {size} bytes")
    return name, size


def _matroska_piece(start: bytearray) -> tuple[int, int]:
    """Does the same for an element. The segment counts as its head, because it never ends."""
    element = _element(start, 0)
    if element is None:
        raise StreamError("no element")
    name, at, size = element
    return name, at + (0 if name == _SEGMENT else size or 0)


# -- mp4


@dataclass(slots=True)
class _Track:
    scale: int = 1
    duration: int = 0  # ticks of a sample that has none of its own
    flags: int = 0


class Mp4Stream:
    """See `Stream`."""

    ending = ".mp4"
    duration_at = 0

    def __init__(self) -> None:
        self.head = b""
        self._buffer = bytearray()
        self._moof = 0  # bytes of the moof with which the buffer begins
        self._tracks: dict[int, _Track] = {}

    def feed(self, data: bytes) -> Iterator[Fragment]:
        self._buffer += data
        while len(self._buffer) >= self._moof + 16:
            size, kind = struct.unpack_from(">I4s", self._buffer, self._moof)
            if size == 1:
                [size] = struct.unpack_from(">Q", self._buffer, self._moof + 8)
            if not 8 <= size <= LARGEST:
                raise StreamError(f"a box of {size} bytes")
            end = self._moof + size
            if len(self._buffer) < end:
                return
            if kind == b"moof":
                self._moof = end
            elif kind == b"mdat" and self._moof:
                self._moof = 0
                fragment, self._buffer = _split(self._buffer, end)
                yield self._fragment(fragment)
            else:
                if kind in (b"ftyp", b"moov"):
                    self.head += self._buffer[self._moof : end]
                if kind == b"moov":
                    self._read_moov(self._buffer[self._moof : end])
                del self._buffer[self._moof : end]

    def _read_moov(self, moov: bytearray) -> None:
        for at, end in _boxes(moov, 8, len(moov), b"trak"):
            [(tkhd, _)] = _boxes(moov, at, end, b"tkhd")
            [(mdia, mdia_end)] = _boxes(moov, at, end, b"mdia")
            [(mdhd, _)] = _boxes(moov, mdia, mdia_end, b"mdhd")
            number = _number(moov, tkhd + (20 if moov[tkhd] else 12))
            scale = _number(moov, mdhd + (20 if moov[mdhd] else 12))
            self._tracks[number] = _Track(max(1, scale))
        for at, end in _boxes(moov, 8, len(moov), b"mvex"):
            for trex, _ in _boxes(moov, at, end, b"trex"):
                number, _, duration, _, flags = struct.unpack_from(">5I", moov, trex + 4)
                if number in self._tracks:
                    self._tracks[number].duration, self._tracks[number].flags = duration, flags
        if VIDEO not in self._tracks:
            raise StreamError("there is no track 1")

    def _fragment(self, data: bytearray) -> Fragment:
        moof_end = _number(data, 0)
        starts, pictures, ticks, key = [], 0, 0, False
        start = -1.0
        for at, end in _boxes(data, 8, moof_end, b"traf"):
            [(tfhd, _)] = _boxes(data, at, end, b"tfhd")
            [(tfdt, _)] = _boxes(data, at, end, b"tfdt")
            flags, number = struct.unpack_from(">2I", data, tfhd)
            track = self._tracks.get(number)
            if track is None:
                raise StreamError(f"a fragment of track {number}, which does not exist")
            place = (tfdt + 4, 8 if data[tfdt] else 4, track.scale)
            starts.append(place)
            if number == VIDEO:
                start = _earliest(data, (place,))
                pictures, ticks, key = _samples(data, (at, end), tfhd, flags, track)
        if not starts:
            raise StreamError("a fragment without tracks")
        if start < 0:
            start = _earliest(data, tuple(starts))
        return Fragment(
            data, start, ticks / self._tracks[VIDEO].scale, pictures, key, key, tuple(starts)
        )


def _samples(
    data: bytearray, traf: tuple[int, int], tfhd: int, flags: int, track: _Track
) -> tuple[int, int, bool]:
    """Returns how many samples a traf has, how many ticks they last, and whether the first one is a
    keyframe."""
    at, duration, sample_flags = tfhd + 8, track.duration, track.flags
    for bit, length in ((0x01, 8), (0x02, 4), (0x08, 4), (0x10, 4), (0x20, 4)):
        if flags & bit:
            if bit == 0x08:
                duration = _number(data, at)
            elif bit == 0x20:
                sample_flags = _number(data, at)
            at += length
    total, ticks, first = 0, 0, sample_flags
    for trun, _ in _boxes(data, *traf, b"trun"):
        has, count = struct.unpack_from(">2I", data, trun)
        at = trun + 8 + (4 if has & 0x01 else 0)
        if has & 0x04 and not total:
            first = _number(data, at)
        at += 4 if has & 0x04 else 0
        columns = [bit for bit in (0x100, 0x200, 0x400, 0x800) if has & bit]
        row = 4 * len(columns)
        if 0x400 in columns and count and not total and not has & 0x04:
            first = _number(data, at + 4 * columns.index(0x400))
        if 0x100 in columns:
            ticks += sum(_number(data, at + row * number) for number in range(count))
        else:
            ticks += count * duration
        total += count
    return total, ticks, bool(total) and not first & 0x0001_0000  # sample_is_non_sync_sample


def _boxes(data: bytearray, at: int, end: int, kind: bytes) -> Iterator[tuple[int, int]]:
    """Yields where the content of each box of this kind begins and ends. Raises StreamError."""
    while end - at >= 8:
        size, found = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > end:
            raise StreamError("a box does not end within the one that it is in")
        if found == kind:
            yield at + 8, at + size
        at += size


def _number(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


_FTYP, _MOOV, _MOOF, _MDAT = (int.from_bytes(name, "big") for name in
                              (b"ftyp", b"moov", b"moof", b"mdat"))  # fmt: skip

# -- Matroska

_SEGMENT, _INFO, _CLUSTER = 0x18538067, 0x1549A966, 0x1F43B675
_TIMESTAMP, _SIMPLE_BLOCK, _GROUP, _BLOCK, _REFERENCE = 0xE7, 0xA3, 0xA0, 0xA1, 0xFB
_EBML, _TRACKS, _TAGS = 0x1A45DFA3, 0x1654AE6B, 0x1254C367
_DURATION = b"\x44\x89\x88"  # a double
MILLISECONDS = 1_000  # ffmpeg counts in these


class MatroskaStream:
    """See `Stream`."""

    ending = ".mkv"

    def __init__(self) -> None:
        self.head = b""
        self.duration_at = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Fragment]:
        self._buffer += data
        while element := _element(self._buffer, 0):
            name, at, size = element
            if name == _SEGMENT:  # it never ends
                self.head += bytes(self._buffer[:at])
                del self._buffer[:at]
                continue
            if size is None or size > LARGEST:
                raise StreamError(f"an element of {size} bytes")
            if len(self._buffer) < at + size:
                return
            whole, self._buffer = _split(self._buffer, at + size)
            if name == _CLUSTER:
                yield _cluster(whole, at)
            elif name == _INFO:
                self._take_info(whole[at:])
            elif name in (_EBML, _TRACKS, _TAGS):  # the others say where the elements stand
                self.head += whole

    def _take_info(self, content: bytearray) -> None:
        """Adds the element with room for the duration, which ffmpeg leaves out in a pipe."""
        content += _DURATION + struct.pack(">d", 0.0)
        size = (len(content) | 1 << 56).to_bytes(8, "big")
        self.head += _INFO.to_bytes(4, "big") + size + bytes(content)
        self.duration_at = len(self.head) - 8


def _cluster(data: bytearray, at: int) -> Fragment:
    base, place = 0, (0, 0, MILLISECONDS)
    shown: list[int] = []
    key = has_key = False
    for name, start, end in _elements(data, at, len(data)):
        if name == _TIMESTAMP:
            base, place = int.from_bytes(data[start:end], "big"), (start, end - start, 1_000)
        elif name == _SIMPLE_BLOCK:
            track, time, flags = _block(data, start)
            if track == VIDEO:
                has_key = has_key or bool(flags & 0x80)
                key = key or (not shown and has_key)
                shown.append(time)
        elif name == _GROUP:
            inner = {one: (first, last) for one, first, last in _elements(data, start, end)}
            if _BLOCK in inner:
                track, time, _ = _block(data, inner[_BLOCK][0])
                if track == VIDEO:
                    has_key = has_key or _REFERENCE not in inner
                    key = key or (not shown and has_key)
                    shown.append(time)
    if not place[1]:
        raise StreamError("a cluster without its time")
    first, last = (min(shown), max(shown)) if shown else (0, 0)
    one = (last - first) / (len(shown) - 1) if len(shown) > 1 else 0.0
    seconds = (last - first + one) / MILLISECONDS
    return Fragment(
        data, (base + first) / MILLISECONDS, seconds, len(shown), key, has_key, (place,)
    )


def _block(data: bytearray, at: int) -> tuple[int, int, int]:
    """Returns the track of a block, its time after that of its cluster, and its flags."""
    track, at = _vint(data, at)
    time, flags = struct.unpack_from(">hB", data, at)
    return track or 0, time, flags


def _elements(data: bytearray, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields the name of each element, and where its content begins and ends."""
    while at < end:
        element = _element(data, at)
        if element is None or element[2] is None or element[1] + element[2] > end:
            raise StreamError("an element does not end within the one that it is in")
        name, start, size = element
        at = start + (size or 0)
        yield name, start, at


def _element(data: bytearray, at: int) -> tuple[int, int, int | None] | None:
    """Returns the name of an element, where its content begins, and its size, which is None for an
    unknown one. None while its head is not complete."""
    if len(data) - at < 12:
        if len(data) - at < 2 or len(data) - at < _length(data[at]) + 1:
            return None
        sized = at + _length(data[at])
        if len(data) - sized < _length(data[sized]):
            return None
    end = at + _length(data[at])
    size, start = _vint(data, end)
    return int.from_bytes(data[at:end], "big"), start, size


def _length(first: int) -> int:
    """Returns how many bytes a number with this first byte has. Raises StreamError."""
    if not first:
        raise StreamError("a number of more than 8 bytes")
    return 9 - first.bit_length()


def _vint(data: bytearray, at: int) -> tuple[int | None, int]:
    """Returns a number without its marker bit, None where all bits are set, and where it ends."""
    length = _length(data[at])
    number = int.from_bytes(data[at : at + length], "big") & (1 << 7 * length) - 1
    return None if number == (1 << 7 * length) - 1 else number, at + length


_PIECES = {_FTYP, _MOOV, _MOOF, _MDAT, _EBML, _SEGMENT, _INFO, _TRACKS, _TAGS, _CLUSTER}
"""What stands beside each other in a file of this recorder."""
