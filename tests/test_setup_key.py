"""setup_s3_mirror.sh tries the key on the bucket before it writes, and asks on a terminal."""

from __future__ import annotations

import os
import pty
import signal
from pathlib import Path

import pytest

from frigate_mirror.demo.ports import free_ports
from frigate_mirror.keys import KINDS
from frigate_mirror.settings.settings import VARIABLES
from frigate_mirror.setup import costs
from tests.rig.compose import House
from tests.rig.servers import ACCESS, SECRET, WRITER_ACCESS, WRITER_SECRET, Bucket, SeaweedFS


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def given(seaweedfs: SeaweedFS, bucket: Bucket) -> dict[str, str]:
    """Settings that work. They go over http, because S3_CA_BUNDLE names a file of the container."""
    settings = {**bucket.environ, "S3_ENDPOINT_URL": seaweedfs.plain_endpoint}
    del settings["S3_CA_BUNDLE"]
    return settings


# -- without a terminal


def test_a_key_that_works_is_tried_and_written(
    house: House, given: dict[str, str], bucket: Bucket
) -> None:
    done = house.setup("--yes", **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "right to put: proven" in done.stdout
    assert bucket.keys() == [".s3-mirror-check"]
    assert f"S3_SECRET_KEY='{SECRET}'" in house.env.read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"S3_SECRET_KEY": "wrong"},
        {"S3_BUCKET": "no-such-bucket"},
        {"S3_ACCESS_KEY": WRITER_ACCESS, "S3_SECRET_KEY": WRITER_SECRET},  # it cannot list
    ],
)
def test_settings_that_the_service_refuses_are_not_written(
    house: House, given: dict[str, str], wrong: dict[str, str]
) -> None:
    before = house.files()
    done = house.setup("--yes", **given | wrong)
    assert done.returncode == 1
    assert "FAULT" in done.stdout and "Nothing was written" in done.stderr
    assert "wrong" not in done.stdout.replace("wrong setting", "")
    assert house.files() == before


def test_a_key_that_works_is_not_replaced_by_one_that_fails(
    house: House, given: dict[str, str]
) -> None:
    house.setup("--yes", **given)
    before = house.files()
    done = house.setup("--yes", S3_SECRET_KEY="wrong")
    assert done.returncode == 1
    assert "The earlier settings stay as they are." in done.stderr
    assert house.files() == before


def test_settings_that_stay_as_they_are_are_not_tried_again(
    house: House, given: dict[str, str]
) -> None:
    house.setup("--yes", **given)
    assert "Trying the key" not in house.setup("--yes").stdout


def test_a_bucket_that_cannot_be_reached_does_not_stop_the_first_set_up(
    house: House, given: dict[str, str]
) -> None:
    away = {"S3_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}"}
    done = house.setup("--yes", **given | away)
    assert done.returncode == 0, done.stderr
    assert "note: the bucket cannot be reached, so the key is not tried." in done.stdout
    assert away["S3_ENDPOINT_URL"] in house.env.read_text()


def test_a_bucket_that_cannot_be_reached_replaces_one_only_without_a_try(
    house: House, given: dict[str, str]
) -> None:
    house.setup("--yes", **given)
    before = house.files()
    away = {"S3_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}"}
    done = house.setup("--yes", **away)
    assert (done.returncode, "--no-try" in done.stderr) == (1, True)
    assert house.files() == before
    house.written(**away)
    assert away["S3_ENDPOINT_URL"] in house.env.read_text()


def test_without_python_the_image_tries_the_key(house: House, given: dict[str, str]) -> None:
    done = house.setup("--yes", NO_PYTHON="1", **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "right to put: proven" in done.stdout


# -- on a terminal


CONTROL = ("\x04", "\x03")  # they end the input, or interrupt


def converse(
    house: House, answers: list[tuple[str, str]], *arguments: str, **environ: str
) -> tuple[str, int]:
    """Runs setup on a terminal and gives each answer when its question appears. A terminal that has
    no more answers ends the input. Returns the output and the exit code."""
    command = house.command(*arguments)
    child, screen = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores it
        os.chdir(house.project)
        os.execve(house.bin / "bash", command, house.environment({"TERM": "xterm"} | environ))
    seen, told, left = "", 0, list(answers)
    while True:
        try:
            seen += os.read(screen, 1024).decode(errors="replace")
        except OSError:  # the terminal ends with the program
            break
        while left and left[0][0] in seen[told:]:
            question, answer = left.pop(0)
            told = seen.index(question, told) + len(question)
            os.write(screen, answer.encode() if answer in CONTROL else f"{answer}\n".encode())
    os.close(screen)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert not left, f"not asked: {left[0][0]}\n{seen}"
    return seen, code


WHAT = "What to mirror, with commas between the kinds [snapshot]: "


def answers_for(
    given: dict[str, str], secret: str = SECRET, kinds: str = ""
) -> list[tuple[str, str]]:
    return [
        ("Bucket: ", given["S3_BUCKET"]), ("for AWS): ", given["S3_ENDPOINT_URL"]),
        ("Region [us-east-1]: ", ""), ("Prefix", "frigate"),
        ("Access key id", ACCESS), ("Secret access key (not shown): ", secret),
        (WHAT, kinds),
    ]  # fmt: skip


KEPT = [("Bucket [", ""), ("Endpoint", ""), ("Region", ""), ("Prefix", ""), ("key id", "")]
YES = ("Write this? [y/N] ", "y")


def test_on_a_terminal_setup_says_what_it_does_asks_and_writes(
    house: House, given: dict[str, str]
) -> None:
    seen, code = converse(house, [*answers_for(given), YES])
    assert code == 0, seen
    assert SECRET not in seen
    first = seen.replace("\r", "").splitlines()[:3]
    assert first[0].startswith("This sets up the S3 mirror for the service frigate")
    assert seen.index("This sets up") < seen.index("Bucket: ") < seen.index("Trying the key")
    assert seen.index("Trying the key") < seen.index("\033[32m  +S3_BUCKET") < seen.index("Write")
    assert "\033[32mok\033[0m     Compose starts frigate with the mirror" in seen
    written = house.env.read_text()
    assert f"S3_SECRET_KEY='{SECRET}'" in written and "S3_PATH_PREFIX='frigate'" in written
    assert "S3_REGION" not in written and "MIRROR_KINDS" not in written


def test_after_a_typing_error_setup_asks_again_in_the_same_run(
    house: House, given: dict[str, str]
) -> None:
    again = [*KEPT, ("Secret access key (not shown) [kept]: ", SECRET), YES]
    seen, code = converse(house, [*answers_for(given, "typo"), *again])
    assert code == 0, seen
    assert "does not match the signature" in seen
    assert f"S3_SECRET_KEY='{SECRET}'" in house.env.read_text()


def test_run_again_setup_asks_again_if_the_stored_key_fails(
    house: House, given: dict[str, str]
) -> None:
    house.written(**given | {"S3_SECRET_KEY": "typo"})
    keep = ("Keep these settings? [Y/n] ", "")
    again = [keep, *KEPT, ("Secret access key (not shown) [kept]: ", SECRET), YES]
    seen, code = converse(house, again)
    assert code == 0, seen
    assert f"S3_SECRET_KEY='{SECRET}'" in house.env.read_text()


def test_enter_keeps_everything_that_is_set(house: House, given: dict[str, str]) -> None:
    house.written(**given)
    before = house.files()
    seen, code = converse(house, [("Keep these settings? [Y/n] ", "")])
    assert (code, "Everything is written already." in seen) == (0, True)
    assert house.files() == before


def test_another_answer_changes_the_owners_own_line(house: House, given: dict[str, str]) -> None:
    house.env.write_text("MINE=1\nexport S3_PATH_PREFIX=old # mine\nTOO=2\n")
    house.written(**given)
    answers = [("Keep these settings?", "n"), *KEPT[:3], ("Prefix", "new"), KEPT[4],
               ("Secret access key", ""), (WHAT, ""), YES]  # fmt: skip
    seen, code = converse(house, answers)
    assert code == 0, seen
    assert house.env.read_text().startswith("MINE=1\nS3_PATH_PREFIX='new'\nTOO=2\n")


def test_an_answer_that_is_wrong_in_itself_is_asked_for_again(
    house: House, given: dict[str, str]
) -> None:
    answers = [("Bucket: ", ""), ("This is needed.", "s3://x"), ("no s3://", given["S3_BUCKET"])]
    seen, code = converse(house, [*answers, *answers_for(given)[1:], YES])
    assert code == 0, seen


def test_a_bucket_that_cannot_be_reached_is_written_if_the_owner_wants_it(
    house: House, given: dict[str, str]
) -> None:
    away = given | {"S3_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}"}
    question = "although the bucket cannot be reached from here? [y/N] "
    seen, code = converse(house, [*answers_for(away), (question, "y"), YES])
    assert code == 0, seen
    assert away["S3_ENDPOINT_URL"] in house.env.read_text()


def test_setup_offers_the_storage_class_by_size_with_the_reason_and_only_for_aws(
    house: House,
) -> None:
    answers = [
        ("Bucket: ", "cams"), ("for AWS): ", ""), ("Region", "eu-west-1"), ("Prefix", ""),
        ("Storage class (AUTO, STANDARD_IA, STANDARD, ...) [STANDARD_IA]: ", "AUTO"),
        ("Access key id", ACCESS), ("Secret access key", SECRET), (WHAT, ""), YES,
    ]  # fmt: skip
    seen, code = converse(house, answers, "--no-try")
    assert code == 0, seen
    assert "AUTO stores files under 128 KB as STANDARD, which is cheaper" in seen
    assert "S3_STORAGE_CLASS='AUTO'" in house.env.read_text()


def test_setup_offers_the_kinds_of_files_with_what_each_costs(
    house: House, given: dict[str, str]
) -> None:
    wrong = [(WHAT, "clip, film"), ("'film' is none of snapshot,", "clip,snapshot")]
    seen, code = converse(house, [*answers_for(given)[:-1], *wrong, YES])
    assert code == 0, seen
    table = seen.replace("\r", "")
    assert costs.table() in table
    assert table.index("Secret access key") < table.index(costs.table()) < table.index(WHAT)
    assert "MIRROR_KINDS='clip,snapshot'\n" in house.env.read_text()
    assert "      MIRROR_KINDS:\n" in house.override.read_text()


def test_the_table_of_the_kinds_fits_80_columns_and_names_every_kind() -> None:
    lines = costs.table().splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines[1:]} == KINDS
    assert VARIABLES["MIRROR_KINDS"].read(",".join(KINDS)) == KINDS


def test_run_again_setup_says_what_is_mirrored_and_what_else_is_possible(
    house: House, given: dict[str, str]
) -> None:
    house.written(**given, MIRROR_KINDS="clip,snapshot")
    seen, code = converse(house, [("Keep these settings? [Y/n] ", "")])
    assert (code, "Everything is written already." in seen) == (0, True)
    told = " ".join(seen.split())
    assert "These files of an event are mirrored: clip,snapshot." in told
    assert "Other kinds are possible: thumbnail, metadata." in told


def test_the_kinds_that_are_set_are_kept_by_enter_and_cleared_by_a_hyphen(
    house: House, given: dict[str, str]
) -> None:
    house.written(**given, MIRROR_KINDS="clip")
    answers = [("Keep these settings?", "n"), *KEPT, ("Secret access key", "")]
    question = "What to mirror, with commas between the kinds [clip]: "
    seen, code = converse(house, [*answers, (question, "")])
    assert (code, "Everything is written already." in seen) == (0, True), seen
    seen, code = converse(house, [*answers, (question, "-"), YES])
    assert code == 0, seen
    assert "MIRROR_KINDS" not in house.env.read_text()


@pytest.mark.parametrize("last", [("Write this? [y/N] ", ""), ("Write this? [y/N] ", "\x04")])
def test_on_a_terminal_setup_writes_only_after_a_yes(
    house: House, given: dict[str, str], last: tuple[str, str]
) -> None:
    before = house.files()
    seen, code = converse(house, [*answers_for(given), last])
    assert (code, "Nothing was changed." in seen) == (1, True)
    assert house.files() == before


def test_what_is_typed_during_the_download_answers_no_later_question(
    house: House, given: dict[str, str]
) -> None:
    answers = [*answers_for(given), ("Downloading", "y"), ("Write this? [y/N] ", "")]
    seen, code = converse(house, answers, PIP_WAITS="1")
    assert (code, "Nothing was changed." in seen) == (1, True)


@pytest.mark.parametrize("key", ["\x04", "\x03"], ids=["end of input", "interrupt"])
def test_the_end_of_the_input_stops_the_questions(house: House, key: str) -> None:
    seen, code = converse(house, [("Bucket: ", key)])
    assert (code, "Nothing was changed." in seen, "Traceback" in seen) == (1, True, False)


def test_without_python_the_image_asks_on_the_same_terminal(
    house: House, given: dict[str, str]
) -> None:
    seen, code = converse(house, [*answers_for(given), YES], NO_PYTHON="1")
    assert code == 0, seen
    assert "setup runs in ghcr.io/blakeblackshear/frigate:0.17.2" in seen and SECRET not in seen
    assert "--interactive --tty" in house.calls()
    assert f"S3_SECRET_KEY='{SECRET}'" in house.env.read_text()


def test_the_option_yes_asks_no_question(house: House, given: dict[str, str]) -> None:
    seen, code = converse(house, [], "--yes", **given)
    assert (code, "[y/N]" in seen) == (0, False), seen


def test_there_is_no_colour_if_no_color_is_set(house: House, given: dict[str, str]) -> None:
    seen, _ = converse(house, [], "--yes", NO_COLOR="1", **given)
    assert "+S3_BUCKET" in seen and "\033[" not in seen


def test_on_a_terminal_uninstall_asks_first(house: House, given: dict[str, str]) -> None:
    house.written(**given)
    before = house.files()
    _, code = converse(house, [("Remove this? [y/N] ", "")], "--uninstall")
    assert (code, house.files()) == (1, before)
    _, code = converse(house, [("Remove this? [y/N] ", "y")], "--uninstall")
    assert (code, house.override.exists()) == (0, False)
