"""Frigate's ffmpeg: where it is, and what is noticed while it runs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from frigate_mirror.frigate.ffmpeg import (
    Ffmpeg,
    FfmpegError,
    FfmpegStopped,
    NoFfmpeg,
    find_ffmpeg,
)
from tests.rig import ROOT, processes
from tests.rig.waiting import until


def script(path: Path, *lines: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/bash", *lines]))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.mp4"


def run(output: Path, *lines: str, silent: float = 120.0) -> str:
    ffmpeg = Ffmpeg(script(output.parent / "ffmpeg", *lines), silent)
    return ffmpeg.run([str(output)], output, output.parent)


# -- where it is


def test_ffmpeg_is_found_as_frigate_finds_it(tmp_path: Path) -> None:
    old, new, newest = (script(tmp_path / v / "bin" / "ffmpeg") for v in ("5.0", "7.0", "10.0"))
    own = script(tmp_path / "own" / "bin" / "ffmpeg")
    on_path = script(tmp_path / "path" / "ffmpeg")
    default = {"DEFAULT_FFMPEG_VERSION": "7.0", "PATH": str(tmp_path / "path")}

    def found(configured: str, environ: dict[str, str], bundled: Path = tmp_path) -> str:
        return find_ffmpeg(configured, environ, bundled)

    assert found("default", default) == found("", default) == new
    assert found("5.0", default) == old
    assert found(str(tmp_path / "own"), default) == own
    assert found("9.0", default) == new, "an unknown version is the default"
    assert found("", {}) == newest, "the newest, by number"
    nowhere = tmp_path / "nowhere"
    assert found("", default, nowhere) == on_path
    assert found("", {"PATH": str(nowhere)}, nowhere) == ""


def test_a_file_that_is_no_program_is_not_ffmpeg(tmp_path: Path) -> None:
    for version in ("7.0", "5.0"):
        script(tmp_path / version / "bin" / "ffmpeg")
    (tmp_path / "7.0" / "bin" / "ffmpeg").chmod(0o644)
    found = find_ffmpeg("", {"DEFAULT_FFMPEG_VERSION": "7.0"}, tmp_path)
    assert found == str(tmp_path / "5.0" / "bin" / "ffmpeg")


# -- what is noticed


def test_a_missing_ffmpeg_and_one_that_is_no_program_cannot_be_started(output: Path) -> None:
    with pytest.raises(NoFfmpeg, match="there is no program"):
        Ffmpeg(str(output.parent / "missing")).run([], output, output.parent)
    broken = output.parent / "broken"
    broken.write_bytes(b"\x7fELF and then nothing")
    broken.chmod(0o755)
    with pytest.raises(NoFfmpeg, match="cannot be started"):
        Ffmpeg(str(broken)).run([], output, output.parent)


def test_an_exit_code_and_the_last_message_are_told(output: Path) -> None:
    with pytest.raises(FfmpegError, match=r"code 7: the reason$"):
        run(output, "echo first >&2; echo the reason >&2; exit 7")


def test_a_message_cannot_control_the_terminal(output: Path) -> None:
    with pytest.raises(FfmpegError) as caught:
        run(output, r"printf '\033[2Jgone' >&2; exit 1")
    assert "\033" not in str(caught.value)


def test_an_ffmpeg_that_is_killed_is_an_error(output: Path) -> None:
    with pytest.raises(FfmpegError, match="killed by signal 9"):
        run(output, "kill -KILL $$")


def test_a_full_disk_is_an_error_of_the_disk_whatever_the_exit_code(output: Path) -> None:
    for code in (0, 1):
        with pytest.raises(OSError, match="disk is full") as caught:
            run(output, f"echo 'out.mp4: No space left on device' >&2; exit {code}")
        assert caught.value.errno == errno.ENOSPC


def test_an_ffmpeg_that_prints_without_end_is_drained_and_does_not_fill_the_memory(
    output: Path,
) -> None:
    said = run(output, "head -c 3000000 /dev/zero | tr '\\0' x >&2", "echo last >&2")
    assert said.endswith("xlast\n")
    assert len(said) == 4_096


def test_an_ffmpeg_whose_output_does_not_change_is_ended_with_all_that_it_started(
    output: Path,
) -> None:
    pids = output.parent / "pids"
    with pytest.raises(FfmpegError, match=r"wrote nothing for 0\.5 s"):
        run(output, "sleep 1000 &", f"echo $$ $! > {pids}", "kill -STOP $$", silent=0.5)
    ended(pids)


def test_an_ffmpeg_that_has_closed_its_stderr_is_still_watched(output: Path) -> None:
    with pytest.raises(FfmpegError, match="wrote nothing"):
        run(output, "exec 2>&-", "sleep 1000", silent=0.5)


def test_an_ffmpeg_whose_output_grows_is_not_hung(output: Path) -> None:
    def clock() -> float:
        """A minute, less one second, for each line of the output."""
        return 59.0 * len(output.read_bytes()) if output.exists() else 0.0

    stub = script(
        output.parent / "ffmpeg", f"for n in 1 2 3 4; do echo >> {output}; sleep 0.3; done"
    )
    assert Ffmpeg(stub, 60.0, clock).run([], output, output.parent) == ""
    assert clock() > 60


def test_stop_ends_a_run_and_all_that_it_started(output: Path) -> None:
    pids = output.parent / "pids"
    lines = ("sleep 1000 &", f"echo $$ $! > {pids}.new", f"mv {pids}.new {pids}", "wait")
    ffmpeg = Ffmpeg(script(output.parent / "ffmpeg", *lines))
    errors: list[Exception] = []

    def work() -> None:
        try:
            ffmpeg.run([], output, output.parent)
        except FfmpegError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(pids.exists)
    ffmpeg.stop()
    thread.join()
    assert isinstance(errors[0], FfmpegStopped)
    ended(pids)
    with pytest.raises(FfmpegStopped):
        ffmpeg.run([], output, output.parent)


def test_a_hung_ffmpeg_does_not_outlive_a_mirror_that_is_killed(output: Path) -> None:
    pids = output.parent / "pids"
    lines = (f"echo $$ > {pids}.new", f"mv {pids}.new {pids}", "exec sleep 1000")
    stub = script(output.parent / "ffmpeg", *lines)
    words = f"""
from pathlib import Path
from frigate_mirror.frigate.ffmpeg import Ffmpeg
Ffmpeg({stub!r}).run([], Path({str(output)!r}), Path({str(output.parent)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", words], cwd=ROOT) as mirror:
        until(pids.exists)
        mirror.kill()
    ended(pids)


def test_what_ffmpeg_prints_just_before_it_ends_is_read(output: Path) -> None:
    pid = output.parent / "pid"

    def clock() -> float:
        """It is read before the first message is, and then waits until ffmpeg has ended."""
        until(lambda: pid.exists() and not processes.state(int(pid.read_text())))
        return 0.0

    lines = (f"echo $$ > {pid}.new; mv {pid}.new {pid}", "echo the reason >&2; exit 7")
    with pytest.raises(FfmpegError, match="the reason"):
        Ffmpeg(script(output.parent / "ffmpeg", *lines), 60.0, clock).run([], output, output.parent)


def test_ffmpeg_runs_at_the_lowest_priority(output: Path) -> None:
    seen = output.parent / "seen"
    run(output, f"nice > {seen}; ionice >> {seen} || true")
    assert seen.read_text().splitlines() in (["19"], ["19", "idle"])


def test_ffmpeg_cannot_read_what_is_meant_for_the_mirror(output: Path) -> None:
    seen = output.parent / "seen"
    before = os.dup(0)
    ours, theirs = os.pipe()
    os.write(theirs, b"meant for the mirror\n")
    os.dup2(ours, 0)
    try:
        run(output, f"head -1 > {seen}")
    finally:
        os.dup2(before, 0)
        for descriptor in (before, ours, theirs):
            os.close(descriptor)
    assert seen.read_bytes() == b""


def test_ffmpeg_gets_no_open_file_but_those_it_is_given(output: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    given, other = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    os.set_inheritable(other, True)
    try:
        ffmpeg = Ffmpeg(script(tmp_path / "ffmpeg", f"ls /proc/$$/fd > {seen}"))
        ffmpeg.run([], output, tmp_path, [given])
    finally:
        os.close(given)
        os.close(other)
    listed = seen.read_text().split()
    assert str(given) in listed and str(other) not in listed


def ended(pids: Path) -> None:
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not processes.state(pid), f"the end of process {pid}")
