"""The prices of AWS's storage classes, and what `check` says of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frigate_mirror.checks import cost as checks_cost
from frigate_mirror.checks.finding import NOTE, OK
from frigate_mirror.frigate import snapshots
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.settings.settings import LEDGER_NAME
from frigate_mirror.sinks.s3.storage import STANDARD, STANDARD_IA, StorageClass, break_even
from tests.rig import ROOT
from tests.rig.waiting import PATIENCE
from tests.rig.worlds import loaded

THOUSAND = [100_000] * 1_000


# -- the prices


def test_the_prices_of_a_thousand_pictures_are_those_of_awss_table() -> None:
    gigabytes = 1_000 * 100_000 / 2**30
    assert STANDARD.upload(THOUSAND) == pytest.approx(0.005)
    assert STANDARD_IA.upload(THOUSAND) == pytest.approx(0.01)
    assert STANDARD.month(THOUSAND) == pytest.approx(0.023 * gigabytes)


def test_a_small_object_in_standard_ia_is_billed_as_128_kb() -> None:
    assert STANDARD_IA.month([1]) == STANDARD_IA.month([100_000]) == STANDARD_IA.month([131_072])
    assert STANDARD_IA.month([131_072] * 8_192) == pytest.approx(0.0125), "that is one GB"
    assert STANDARD_IA.month([262_144]) == pytest.approx(2 * STANDARD_IA.month([131_072]))


@pytest.mark.parametrize("size", [80_000, 100_000, 131_072, 200_000, 400_000])
def test_at_the_break_even_both_classes_have_cost_the_same(size: int) -> None:
    def total(kind: StorageClass, months: float) -> float:
        return kind.upload([size]) + months * kind.month([size])

    months = break_even([size])
    assert months is not None and months > 1
    assert total(STANDARD, months) == pytest.approx(total(STANDARD_IA, months))
    assert total(STANDARD, months + 1) > total(STANDARD_IA, months + 1)


def test_tiny_objects_never_break_even_and_large_ones_do_so_within_the_least_billed_month() -> None:
    assert break_even([50_000]) is None
    assert break_even([5_000_000]) == 1


# -- what check says


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    (tmp_path / "s3_mirror").mkdir()
    return tmp_path


def write_ledger(folder: Path, sizes: list[int]) -> None:
    """Makes a ledger with uploads of these sizes; the last one is the newest."""
    ledger = Ledger(folder / "s3_mirror" / LEDGER_NAME)
    ledger.add_settled(
        (f"snapshot:{at}", "door", f"k{at}", float(at), 1.0, "uploaded", size, "")
        for at, size in enumerate(sizes)
    )
    ledger.close()


def write_clip(folder: Path, name: str, size: int, written: float) -> None:
    path = folder / "clips" / name
    path.write_bytes(b"x" * size)
    os.utime(path, (written, written))


def test_check_says_what_the_newest_thousand_uploads_cost_in_both_classes(folder: Path) -> None:
    write_ledger(folder, [9_000_000, *THOUSAND])
    first, second, third = checks_cost.cost(loaded(folder))
    assert first.what == (
        "cost: a thousand pictures like your newest 1,000 (100 KB on average) cost "
        "0.50 cents to upload and 0.21 cents a month in STANDARD"
    )
    assert second.what == (
        "cost: they cost 1.00 cents to upload and 0.15 cents a month in STANDARD_IA, "
        "where AWS bills at least 128 KB and 30 days for each"
    )
    assert "STANDARD is cheaper if you keep the pictures for less than 243 days" in third.what
    assert "us-east-1" in third.what
    assert [first.grade, second.grade, third.grade] == [OK, OK, NOTE]
    assert "S3_STORAGE_CLASS=STANDARD" in third.advice and "AUTO" in third.advice


def test_files_of_other_kinds_are_no_pictures(folder: Path) -> None:
    ledger = Ledger(folder / "s3_mirror" / LEDGER_NAME)
    ledger.add_settled(
        (f"{kind}:{at}", "door", f"k{kind}{at}", float(at), 1.0, "uploaded", size, "")
        for at in range(1_500)
        for kind, size in (("snapshot", 100_000), ("clip", 7_500_000), ("metadata", 4_096))
    )
    ledger.close()
    first, *_ = checks_cost.cost(loaded(folder, MIRROR_KINDS="snapshot,clip,metadata"))
    assert "your newest 1,000 (100 KB on average)" in first.what


def test_files_of_a_few_kb_are_noted_in_a_class_that_bills_more(folder: Path) -> None:
    kinds = {"MIRROR_KINDS": "thumbnail,metadata,clip"}
    [note] = checks_cost.cost(loaded(folder, **kinds))
    assert note.grade == NOTE and "a thumbnail or a metadata file has a few KB" in note.what
    assert "AUTO" in note.advice
    for chosen in ("AUTO", "STANDARD"):
        assert list(checks_cost.cost(loaded(folder, S3_STORAGE_CLASS=chosen, **kinds))) == []


@pytest.mark.parametrize(
    ("size", "said"),
    [(20_000, "STANDARD is cheaper, however long"), (900_000, "STANDARD_IA is cheaper if")],
)
def test_check_names_the_cheaper_class_by_the_size_of_the_pictures(
    folder: Path, size: int, said: str
) -> None:
    write_ledger(folder, [size])
    *_, verdict = checks_cost.cost(loaded(folder))
    assert said in verdict.what
    assert verdict.grade == (OK if size > 500_000 else NOTE)


@pytest.mark.parametrize("chosen", ["STANDARD", "AUTO", "GLACIER_IR"])
def test_an_owner_who_chose_another_class_gets_no_advice_about_standard_ia(
    folder: Path, chosen: str
) -> None:
    write_ledger(folder, THOUSAND)
    findings = list(checks_cost.cost(loaded(folder, S3_STORAGE_CLASS=chosen)))
    assert [(one.grade, one.advice) for one in findings] == [(OK, "")] * 3


def test_uploads_of_unknown_size_do_not_count(folder: Path) -> None:
    write_ledger(folder, [0, 100_000, 0])
    said = next(checks_cost.cost(loaded(folder))).what
    assert "your newest 1 (100 KB on average) cost 0.50 cents" in said


@pytest.mark.parametrize("ledger", ["none", "empty", "damaged"])
def test_without_uploads_the_pictures_in_frigates_folder_are_measured(
    folder: Path, ledger: str
) -> None:
    if ledger == "empty":
        write_ledger(folder, [])
    elif ledger == "damaged":
        (folder / "s3_mirror" / LEDGER_NAME).write_bytes(b"garbage" * 1_000)
    write_clip(folder, "door-1.5-a.jpg", 150_000, 1)
    before = sorted(path.name for path in folder.rglob("*"))
    assert "(150 KB on average)" in next(checks_cost.cost(loaded(folder))).what
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_check_does_not_bring_an_older_ledger_up_to_date(folder: Path) -> None:
    older = ROOT / "tests/fixtures/ledger-2.db"
    ledger = Path(shutil.copyfile(older, folder / "s3_mirror" / LEDGER_NAME))
    write_clip(folder, "door-1.5-a.jpg", 150_000, 1)
    assert "(150 KB on average)" in next(checks_cost.cost(loaded(folder))).what
    assert ledger.read_bytes() == older.read_bytes()


def test_check_makes_no_statement_about_the_cost_where_nothing_can_be_measured(
    folder: Path, tmp_path: Path
) -> None:
    assert list(checks_cost.cost(loaded(folder))) == []
    assert list(checks_cost.cost(loaded(tmp_path / "absent"))) == []


@pytest.mark.parametrize(("options", "lines"), [((), 3), (("--bucket-only",), 0)])
def test_the_command_prints_the_cost_unless_it_looks_at_the_bucket_only(
    folder: Path, options: tuple[str, ...], lines: int
) -> None:
    write_ledger(folder, THOUSAND)
    environ = {
        "S3_BUCKET": "pictures", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s",
        "FRIGATE_DB_PATH": f"{folder}/frigate.db", "FRIGATE_CLIPS_DIR": f"{folder}/clips",
        "HTTPS_PROXY": "http://127.0.0.1:1",  # so that the test never reaches AWS
    }  # fmt: skip
    command = [sys.executable, ROOT / "s3_snapshot_mirror.py", "check", "--no-put", *options]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.stdout.count(" cost: ") == lines, ended.stdout + ended.stderr
    assert "FAULT  bucket pictures at AWS" in ended.stdout


def test_check_makes_no_statement_about_the_prices_of_other_services(folder: Path) -> None:
    write_ledger(folder, THOUSAND)
    assert list(checks_cost.cost(loaded(folder, S3_ENDPOINT_URL="http://nas:9000"))) == []
    aws = "https://s3.eu-central-1.amazonaws.com"
    assert len(list(checks_cost.cost(loaded(folder, S3_ENDPOINT_URL=aws)))) == 3


def test_the_newest_snapshots_count_once_in_the_form_that_is_mirrored(folder: Path) -> None:
    write_clip(folder, "door-1.5-a.jpg", 10, 1)
    write_clip(folder, "door-1.5-a-clean.webp", 11, 1)
    write_clip(folder, "door-2.5-b-clean.webp", 20, 2)
    write_clip(folder, "door-3.5-c-clean.png", 30, 3)
    write_clip(folder, "notes.txt", 40, 4)
    (folder / "clips" / "thumbs.jpg").mkdir()
    assert snapshots.newest_sizes(folder / "clips", 10) == [30, 20, 10]
    assert snapshots.newest_sizes(folder / "clips", 2) == [30, 20]
