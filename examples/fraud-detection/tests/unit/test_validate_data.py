"""Tests of the validation: good data passes, and every fault of bad data is named."""

import re
import shutil
from pathlib import Path

import pytest

import validate_data
from example import EXAMPLE

CONFIG = EXAMPLE / "configs" / "data_expectations.yaml"


def validate() -> int:
    return validate_data.main(["--config", str(CONFIG), "--summary", "summary.md"])


def change(path: Path, *changes: tuple[int, str, str]) -> None:
    """Replaces text in lines, which are counted from 1."""
    lines = path.read_text().splitlines(keepends=True)
    for number, old, new in changes:
        lines[number - 1], count = re.subn(old, new, lines[number - 1], count=1)
        assert count == 1, f"`{old}` is not in line {number}"
    path.write_text("".join(lines))


def test_good_data_is_as_expected(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate() == 0
    assert capsys.readouterr().out == "20,499 rows in 6 files are as expected\n"
    assert "passed" in Path("summary.md").read_text()


def test_all_faults_are_named_at_once(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(
        data / "transactions-2024-01.csv",
        (2, "4.98", "much"),
        (3, "19.38", "-4"),
        (4, "NL", "nl"),
        (5, "^[0-9]+", "100001"),
        (7, ",[a-z]+,0$", ",fax,0"),
        (8, "2024", "20x4"),
        (9, ",0$", ","),
    )
    change(data / "transactions-2024-03.csv", (1, "amount", "price"))
    march = "data/training/transactions-2024-03.csv"
    assert validate() == 1
    found = capsys.readouterr().err
    for fault in (
        "01.csv: column `amount`: coerce_dtype('float64') fails on line 2: 'much'",
        "01.csv: column `amount`: in_range(0.01, 25000) fails on line 3: -4.0",
        "01.csv: column `country`: str_matches('^[A-Z]{2}$') fails on line 4: 'nl'",
        "`transaction_id` 100001 is not unique: data/training/transactions-2024-01.csv line 2,",
        "01.csv: column `channel`: isin(['atm', 'chip', 'contactless', 'online']) fails on line 7",
        "01.csv: column `timestamp`: coerce_dtype('datetime64[ns, UTC]') fails on line 8",
        "01.csv: column `is_fraud`: coerce_dtype('int8') fails on line 9",
        f"{march}: unknown column: price",
        f"{march}: missing column: amount",
    ):
        assert fault in found
    assert len(found.splitlines()) == 1 + 9, "no fault twice, and none that is not one"
    assert "in_range(0.01, 25000)" in Path("summary.md").read_text()


def test_faults_of_whole_files_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    april, may, june = (data / f"transactions-2024-0{month}.csv" for month in (4, 5, 6))
    april.write_text("".join(april.read_text().splitlines(keepends=True)[:300]))
    may.write_text('"')
    june.write_text("")
    assert validate() == 1
    found = capsys.readouterr().err
    assert "transactions-2024-04.csv: 299 rows, fewer than 1000" in found
    assert "transactions-2024-05.csv: cannot be read" in found
    assert "transactions-2024-06.csv: cannot be read" in found


def test_many_faults_of_a_kind_are_counted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "transactions-2024-02.csv"
    path.write_text(path.read_text().replace(",DE,", ",de,"))
    shutil.copy(data / "transactions-2024-05.csv", data / "again.csv")
    assert validate() == 1
    found = capsys.readouterr().err
    assert re.search(r"fails on lines 2?\d(, \d+){4} and \d+ more: 'de'\n", found)
    assert re.search(r"`transaction_id`: \d+ more values are not unique", found)


def test_a_share_of_frauds_that_is_no_longer_plausible(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in data.iterdir():
        path.write_text(re.sub(",1$", ",0", path.read_text(), flags=re.MULTILINE))
    assert validate() == 1
    assert "all files: 0.00% of the rows are frauds" in capsys.readouterr().err


def test_a_month_that_lost_its_labels(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "transactions-2024-03.csv"
    path.write_text(re.sub(",1$", ",0", path.read_text(), flags=re.MULTILINE))
    assert validate() == 1
    fault = "data/training/transactions-2024-03.csv: 0.00% of the rows are frauds"
    (found,) = [line for line in capsys.readouterr().err.splitlines() if "frauds" in line]
    assert fault in found


def test_no_data_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert validate() == 1
    assert "no file matches" in capsys.readouterr().err
