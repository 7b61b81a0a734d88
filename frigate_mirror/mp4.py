"""Reads the boxes of an mp4 file: how long its video is, how it is coded, whether it is whole.

An mp4 file consists of boxes; some boxes contain others. `moov` describes the tracks, and `mdat`
has their bytes. In a fragmented file each `moof` describes a further piece of the tracks. The
boxes are those of ISO/IEC 14496-12; `esds` is from 14496-1.

ffprobe tells the same, but its start alone costs a thousand times as much. This reader expects
hostile files: it checks every length, takes at most a piece of a table into memory, and follows
only the nesting that it names.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from frigate_mirror.files import open_regular
from frigate_mirror.untrusted import plain

MOST_INDEX = 64 << 20
"""Bytes that all `moov` and `moof` boxes may have together. Two hours at 60 pictures per second
with sound need 12 MB."""
MOST_BOXES = 2_000_000  # a hostile file may consist of empty boxes
MOST_TRACKS = 100
MOST_ENTRY = 1 << 16  # bytes of a sample entry; a real one has about 200
PIECE = 1 << 16  # bytes of a table that are in memory at the same time

VIDEO, AUDIO = b"vide", b"soun"
_ENTRY_HEAD = {VIDEO: 78, AUDIO: 28}  # bytes of a sample entry before the boxes in it
_NEUTRAL = {b"btrt", b"pasp", b"colr", b"fiel", b"chan"}
"""Boxes of a sample entry that no decoder needs. `btrt` differs between any two segments."""


class Mp4Error(Exception):
    """The file is no mp4, or not a whole one. The text says what is wrong, and where."""


class TooLargeError(Mp4Error):
    """The file may be a whole one, but has more of something than this reader takes in."""


@dataclass(frozen=True, slots=True)
class Codec:
    """What a decoder must know of a track. Two files can be joined if theirs are equal.

    name    the four letters of the sample entry, such as avc1, hvc1 or mp4a
    shape   width and height in pixels, or the number of channels and samples per second
    setup   the parameters of the decoder, such as the content of avcC or hvcC
    """

    name: str
    shape: tuple[int, int]
    setup: bytes


@dataclass(frozen=True, slots=True)
class Movie:
    """A whole mp4 file. `duration` is how many seconds of video a player shows, and `length` when
    its last track ends. A track may begin after a pause, and the sound may end last.
    `media_duration` is how many seconds all pictures last, also those that the file hides."""

    duration: float
    length: float
    media_duration: float
    video: Codec
    audio: Codec | None
    fragmented: bool


def read(source: BinaryIO | Path | str) -> Movie:
    """Reads an open file or the file with this path. The position in an open file changes.

    Raises Mp4Error for a file that is cut short, or is no mp4 with video, and OSError for a file
    that cannot be read. A fragmented file that ends just behind a fragment counts as whole.
    """
    if isinstance(source, (Path, str)):
        with open_regular(source) as file:
            return _Reader(file).movie()
    return _Reader(source).movie()


class _Box(NamedTuple):
    """The content of a box is from `start` to before `end`; `at` is where its header begins."""

    kind: bytes
    at: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"the box {plain(self.kind.decode('latin-1'))!r} at byte {self.at}"


@dataclass(slots=True)
class _Track:
    """A track, as far as it is read: so many `ticks` long, of which a second has `scale`.

    elst            the list of edits, which says what a player shows, if there is one
    delay           ticks from the time at which the first sample is decoded to when it is shown
    duration, size  the defaults for each sample in a fragment
    """

    kind: bytes
    scale: int
    codec: Codec | None
    ticks: int
    elst: _Box | None
    delay: int | None
    duration: int = 0
    size: int = 0


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._boxes_left = MOST_BOXES
        self._index_left = MOST_INDEX
        self._tracks: dict[int, _Track] = {}

    def movie(self) -> Movie:
        moov: _Box | None = None
        fragmented, end = False, 0
        for box in self._boxes(0, self._size):
            if box.kind == b"moov" and moov is None:
                moov = box
            fragmented |= box.kind == b"moof"
            end = box.end
        if end != self._size:
            raise Mp4Error(f"the file breaks off in the head of a box at byte {end}")
        if moov is None:
            raise Mp4Error(f"none of the file's {self._size} bytes belong to a box 'moov'")
        self._count(moov)
        scale = self._scale(self._need(moov, b"mvhd"))
        self._read_moov(moov)
        if fragmented:
            for box in self._boxes(0, self._size):
                if box.kind == b"moof":
                    self._count(box)
                    self._read_moof(box)
        video, audio = self._first(VIDEO), self._first(AUDIO)
        if video is None or video.codec is None:
            raise Mp4Error(f"{moov} describes no video")
        fragmented |= self._find(moov, b"mvex") is not None
        sound = audio.codec if audio else None
        _, duration = self._times(video, scale)
        length = max(sum(self._times(track, scale)) for track in self._tracks.values())
        pictures = video.ticks / video.scale
        return Movie(duration, length, pictures, video.codec, sound, fragmented)

    def _first(self, kind: bytes) -> _Track | None:
        return next((one for one in self._tracks.values() if one.kind == kind), None)

    def _times(self, track: _Track, movie_scale: int) -> tuple[float, float]:
        """Returns how many seconds a player waits before it shows the track, and shows it."""
        whole = track.ticks / track.scale
        if track.elst is None:
            return 0.0, whole
        pause = shown = 0.0
        for length, tick, _ in self._table(track.elst, "Qqi" if self._long(track.elst) else "Iii"):
            seconds = length / movie_scale
            if tick < 0:
                pause += seconds
                continue
            hidden = max(0, tick - (track.delay or 0)) / track.scale
            # In a fragmented file a length of 0 stands for all that follows.
            shown += seconds or max(0.0, whole - hidden)
        return pause, min(whole, shown)

    def _count(self, box: _Box) -> None:
        """Counts the bytes of `moov` or of a `moof`."""
        self._index_left -= box.end - box.at
        if self._index_left < 0:
            raise TooLargeError(f"{box} brings the index to more than {MOST_INDEX} bytes")

    # -- boxes and numbers

    def _boxes(self, start: int, end: int) -> Iterator[_Box]:
        """Yields the boxes from `start` to `end`. Up to 7 bytes may be left at the end."""
        while end - start >= 8:
            self._boxes_left -= 1
            if self._boxes_left < 0:
                raise TooLargeError(f"the file has more than {MOST_BOXES} boxes")
            size, kind = struct.unpack(">I4s", self._read(start, 8))
            content = start + 8
            if size == 1:  # the size follows in 64 bits
                size, content = self._number(content, 8, end), start + 16
            elif size == 0:  # the last box, which ends with what it is in
                size = end - start
            box = _Box(kind, start, content, start + size)
            if box.end > end:
                raise Mp4Error(f"{box} has {size} bytes, but only {end - start} are left")
            if box.end < content:
                raise Mp4Error(f"{box} has {size} bytes, which is less than its head")
            yield box
            start = box.end

    def _find(self, box: _Box, *path: bytes) -> _Box | None:
        """Returns the first box that `path` leads to, one name for each level."""
        found: _Box | None = box
        for kind in path:
            if found is None:
                return None
            found = next((b for b in self._boxes(found.start, found.end) if b.kind == kind), None)
        return found

    def _need(self, box: _Box, *path: bytes) -> _Box:
        found = self._find(box, *path)
        if found is None:
            raise Mp4Error(f"{box} has no box {b'/'.join(path).decode()!r}")
        return found

    def _read(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(length)
        if len(data) != length:
            raise Mp4Error(f"the file became shorter than {start + length} bytes while it was read")
        return data

    def _number(self, start: int, length: int, end: int) -> int:
        """Returns the number of `length` bytes at `start`, which must lie before `end`."""
        if start + length > end:
            raise Mp4Error(f"a number of {length} bytes at byte {start} crosses the end of its box")
        return int.from_bytes(self._read(start, length), "big")

    def _rows(self, box: _Box, start: int, count: int, layout: str) -> Iterator[tuple[int, ...]]:
        """Yields `count` rows of numbers from `start` on, which must lie in `box`."""
        row = struct.Struct(f">{layout}")
        if start + count * row.size > box.end:
            raise Mp4Error(f"{box} is too small for its {count} rows")
        while count:
            now = min(count, PIECE // row.size)
            yield from row.iter_unpack(self._read(start, now * row.size))
            start += now * row.size
            count -= now

    def _table(self, box: _Box, layout: str) -> Iterator[tuple[int, ...]]:
        """Yields the rows of a box that consists of version, flags, number of rows, and rows."""
        return self._rows(box, box.start + 8, self._number(box.start + 4, 4, box.end), layout)

    # -- moov

    def _read_moov(self, moov: _Box) -> None:
        for box in self._boxes(moov.start, moov.end):
            if box.kind == b"trak":
                number, track = self._read_trak(box)
                self._tracks.setdefault(number, track)
                if len(self._tracks) > MOST_TRACKS:
                    raise TooLargeError(f"the file has more than {MOST_TRACKS} tracks")
        mvex = self._find(moov, b"mvex")
        for box in self._boxes(mvex.start, mvex.end) if mvex else ():
            if box.kind == b"trex":
                [(number, _, duration, size)] = self._rows(box, box.start + 4, 1, "4I")
                if number in self._tracks:
                    self._tracks[number].duration, self._tracks[number].size = duration, size

    def _read_trak(self, trak: _Box) -> tuple[int, _Track]:
        tkhd = self._need(trak, b"tkhd")
        number = self._number(tkhd.start + (20 if self._long(tkhd) else 12), 4, tkhd.end)
        mdia = self._need(trak, b"mdia")
        hdlr = self._need(mdia, b"hdlr")
        kind = self._number(hdlr.start + 8, 4, hdlr.end).to_bytes(4, "big")
        stbl = self._need(mdia, b"minf", b"stbl")
        ctts = self._find(stbl, b"ctts")
        track = _Track(
            kind=kind,
            scale=self._scale(self._need(mdia, b"mdhd")),
            codec=self._codec(self._need(stbl, b"stsd"), kind),
            ticks=sum(
                count * ticks for count, ticks in self._table(self._need(stbl, b"stts"), "2I")
            ),
            elst=self._find(trak, b"edts", b"elst"),
            delay=next((offset for _, offset in self._table(ctts, "Ii")), 0) if ctts else None,
        )
        self._check_chunks(stbl)
        return number, track

    def _long(self, box: _Box) -> bool:
        """Returns whether times in this box have 64 bits."""
        return self._number(box.start, 1, box.end) == 1

    def _scale(self, box: _Box) -> int:
        """Returns how many units of time a second has, from `mvhd` or `mdhd`."""
        scale = self._number(box.start + (20 if self._long(box) else 12), 4, box.end)
        if not scale:
            raise Mp4Error(f"{box} divides a second into no units")
        return scale

    def _codec(self, stsd: _Box, kind: bytes) -> Codec | None:
        """Returns the codec of the first sample entry, or None for neither video nor audio."""
        entry = next(self._boxes(stsd.start + 8, stsd.end), None)
        if entry is None or kind not in _ENTRY_HEAD:
            return None
        if entry.end - entry.start > MOST_ENTRY:
            raise TooLargeError(f"{entry} describes a codec in more than {MOST_ENTRY} bytes")
        at, layout = (24, "2H") if kind == VIDEO else (16, "H6xH2x")
        [shape] = self._rows(entry, entry.start + at, 1, layout)
        setup = b""
        for box in self._boxes(entry.start + _ENTRY_HEAD[kind], entry.end):
            if box.kind not in _NEUTRAL:
                data = self._read(box.start, box.end - box.start)
                setup += box.kind + (_decoder_setup(data) if box.kind == b"esds" else data)
        return Codec(plain(entry.kind.decode("latin-1")), (shape[0], shape[1]), setup)

    def _check_chunks(self, stbl: _Box) -> None:
        """Checks that the bytes of every sample are in the file. Samples lie in chunks: `stco` has
        where each chunk begins, `stsc` how many samples it has, `stsz` how large each one is."""
        stsz = self._need(stbl, b"stsz")
        [(same, count)] = self._rows(stsz, stsz.start + 4, 1, "2I")
        sizes = self._rows(stsz, stsz.start + 12, 0 if same else count, "I")
        runs = self._table(self._need(stbl, b"stsc"), "3I")
        stco = self._find(stbl, b"stco")
        table = stco or self._need(stbl, b"co64")
        samples, upcoming = 0, next(runs, None)
        for chunk, (offset,) in enumerate(self._table(table, "I" if stco else "Q"), start=1):
            if upcoming is not None and upcoming[0] <= chunk:
                samples, upcoming = upcoming[1], next(runs, None)
            if samples > count:
                raise Mp4Error(f"{table} has more samples than {stsz}")
            count -= samples
            size = same * samples
            if not same:
                size = sum(next(sizes)[0] for _ in range(samples))
            self._check_data(table, offset + size)
        if count:
            raise Mp4Error(f"{table} has fewer samples than {stsz}")

    def _check_data(self, box: _Box, end: int) -> None:
        if end > self._size:
            raise Mp4Error(f"{box} names data to byte {end}, but the file ends at {self._size}")

    # -- moof

    def _read_moof(self, moof: _Box) -> None:
        position = moof.at
        for traf in self._boxes(moof.start, moof.end):
            if traf.kind == b"traf":
                position = self._read_traf(moof, traf, position)

    def _read_traf(self, moof: _Box, traf: _Box, position: int) -> int:
        """Adds the samples of a fragment to its track. Their data begins at `position` unless the
        boxes say otherwise. Returns where it ends."""
        tfhd = self._need(traf, b"tfhd")
        flags = self._number(tfhd.start, 4, tfhd.end)
        number = self._number(tfhd.start + 4, 4, tfhd.end)
        if number not in self._tracks:
            raise Mp4Error(f"{traf} belongs to track {number}, which 'moov' does not have")
        track = self._tracks[number]
        fields = _Fields(self._number, tfhd.start + 8, tfhd.end, flags)
        base = fields.take(0x01, 8, moof.at if flags & 0x020000 else position)
        fields.take(0x02, 4, 0)
        duration = fields.take(0x08, 4, track.duration)
        size = fields.take(0x10, 4, track.size)
        end = base
        for trun in self._boxes(traf.start, traf.end):
            if trun.kind == b"trun":
                end = self._read_trun(trun, track, (duration, size), base, end)
                self._check_data(trun, end)
        return end

    def _read_trun(
        self, trun: _Box, track: _Track, default: tuple[int, int], base: int, position: int
    ) -> int:
        """Adds a run of samples to the track, with `default` as the duration and size of those that
        have none of their own. Returns where their data ends."""
        flags = self._number(trun.start, 4, trun.end)
        count = self._number(trun.start + 4, 4, trun.end)
        fields = _Fields(self._number, trun.start + 8, trun.end, flags)
        start = fields.take(0x01, 4, 0)
        if flags & 0x01:
            position = base + start - ((start >> 31) << 32)  # the number has a sign
        fields.take(0x04, 4, 0)
        columns = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
        duration, size = default
        if not columns:
            track.ticks += count * duration
            return position + count * size
        for row in self._rows(trun, fields.at, count, "i" * len(columns)):
            sample = dict(zip(columns, row, strict=True))
            track.ticks += sample.get(0x100, duration) & 0xFFFFFFFF
            position += sample.get(0x200, size) & 0xFFFFFFFF
            if track.delay is None:
                track.delay = sample.get(0x800, 0)
        return position


class _Fields:
    """The optional fields of a box, which follow each other from `at` on. A field is there if its
    bit is set in `flags`."""

    def __init__(
        self, number: Callable[[int, int, int], int], at: int, end: int, flags: int
    ) -> None:
        self._number = number
        self.at = at
        self._end = end
        self._flags = flags

    def take(self, bit: int, length: int, default: int) -> int:
        """Returns the next field, a number of `length` bytes, or `default` if it is not there."""
        if not self._flags & bit:
            return default
        self.at += length
        return self._number(self.at - length, length, self._end)


def _decoder_setup(esds: bytes) -> bytes:
    """Returns what a decoder needs of an `esds` box, which also holds bit rates that differ between
    any two segments: the innermost descriptor, DecoderSpecificInfo. Returns all of the box if it
    has another form."""
    at = 4
    # Each descriptor begins with a tag and a length; then come so many bytes of its own fields.
    for tag, fields in ((3, 3), (4, 13), (5, 0)):
        if esds[at : at + 1] != bytes([tag]):
            return esds
        at += 1
        while esds[at : at + 1] >= b"\x80":  # all but the last byte of a length have this bit
            at += 1
        length = esds[at] if at < len(esds) else 0
        at += 1 + fields
    return esds[at : at + length]
