"""Tests of the validation: good data passes, and every fault of bad data is named."""

import json
import re
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

import generate
import validate_data
from example import EXAMPLE

CONFIG = Path("configs/data_expectations.yaml")
BASELINE = Path("data/baseline_stats.json")


@pytest.fixture(autouse=True)
def known(data: Path) -> None:
    """Makes the current directory one in which the command runs as in the example."""
    CONFIG.parent.mkdir()
    shutil.copy(EXAMPLE / CONFIG, CONFIG)
    rows = {path.name: path.read_bytes().count(b"\n") - 1 for path in sorted(data.iterdir())}
    BASELINE.write_text(json.dumps({"files": rows, "numeric": {}, "categorical": {}}))


def validate(*more: str) -> int:
    return validate_data.main(["--config", str(CONFIG), "--summary", "summary.md", *more])


def faults(text: str) -> list[str]:
    """Returns the faults without their remedies; each must have one."""
    first, *lines = text.splitlines()
    assert first == "error: the data is not as expected:"
    found, remedies = lines[::2], lines[1::2]
    assert all(line.startswith("- ") for line in found)
    assert len(remedies) == len(found)
    assert all(line.startswith("  remedy: ") for line in remedies)
    summary = Path("summary.md").read_text()
    assert all(line in summary for line in found), "the summary is complete"
    return found


def shift(source: Path, target: Path, days: int, *, first_id: int = 200_001) -> None:
    """Writes the rows of a file once more, some days later, with other ids."""
    rows = pd.read_csv(source, keep_default_na=False)
    times = pd.to_datetime(rows["timestamp"]) + pd.Timedelta(days=days)
    rows["transaction_id"] = range(first_id, first_id + len(rows))
    rows["timestamp"] = times.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    rows["account_age_days"] += days
    rows.to_csv(target, index=False)


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
        "01.csv: column `amount` is no float64 on line 2: 'much'",
        "01.csv: column `amount` is not in the range of 0.01, 100000 on line 3: -4.0",
        "01.csv: column `country` does not match ^[A-Z]{2}$ on line 4: 'nl'",
        "`transaction_id` 100001 is not unique: data/training/transactions-2024-01.csv line 2,",
        "01.csv: column `channel` is none of atm, chip, contactless, online on line 7",
        "01.csv: column `timestamp`: no time on line 8: '20x4-01-01T07:16:53Z'",
        "01.csv: column `is_fraud` is empty on line 9",
        f"{march}: unknown column: price",
        f"{march}: missing column: amount",
    ):
        assert fault in found
    assert len(faults(found)) == 9, "no fault twice, and none that is not one"
    assert "is not in the range of 0.01, 100000" in Path("summary.md").read_text()


@pytest.mark.parametrize("text", ["04/06/2024 10:00:00", "9999-06-01T04:10:17Z", "now", "2024"])
def test_a_time_of_another_form_is_named_and_hides_nothing(
    data: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(
        data / "transactions-2024-06.csv",
        (3, "2024-06-01T04:10:17Z", text),
        (3, "49.49", "-4"),
        (4, "Z,", ","),
        (5, "^[0-9]+", "many"),
    )
    assert validate() == 1
    error = capsys.readouterr().err
    assert "a time is such as 2024-06-01T10:00:00Z" in error
    time, number, amount = faults(error)
    assert time.endswith(f"06.csv: column `timestamp`: no time on line 3: '{text}'")
    assert "column `transaction_id` is no int64 on line 5: 'many'" in number
    assert "column `amount` is not in the range of 0.01, 100000 on line 3: -4.0" in amount


def test_times_are_read_in_every_form_of_the_standard(data: Path) -> None:
    june = data / "transactions-2024-06.csv"
    change(june, (3, "T04:10:17Z", " 04:10:17Z"), (4, "Z,", ","), (5, "Z,", ".5+00:00,"))
    assert validate() == 0
    text = june.read_text().replace("Z,", ",").replace("\n", "\r\n")
    june.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert validate() == 0


def test_faults_of_whole_files_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    april, may, june = (data / f"transactions-2024-0{month}.csv" for month in (4, 5, 6))
    april.write_text("".join(april.read_text().splitlines(keepends=True)[:300]))
    may.write_text('"')
    june.write_text("")
    assert validate() == 1
    found = capsys.readouterr().err
    assert (
        "transactions-2024-04.csv: 299 rows; `dataset.rows_per_file` allows 2,732 to 4,268,"
        " because a usual file of the baseline has 3,415" in found
    )
    assert "2024-04.csv: no row for 656.0 hours, from 2024-04-03 15:58 to 2024-05-01 00:00" in found
    assert "transactions-2024-05.csv: cannot be read" in found
    assert "transactions-2024-06.csv: cannot be read" in found


def test_many_faults_of_a_kind_are_counted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "transactions-2024-02.csv"
    path.write_text(path.read_text().replace(",DE,", ",de,"))
    shutil.copy(data / "transactions-2024-05.csv", data / "again.csv")
    assert validate() == 1
    found = capsys.readouterr().err
    assert re.search(r"on lines 2?\d(, \d+){4} and \d+ more: 'de'\n", found)
    assert re.search(r"`transaction_id`: 3,466 more values are not unique", found)


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


def test_months_that_follow_are_as_expected(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    months = tuple(datetime(2024, month, 1, tzinfo=UTC) for month in range(1, 10))
    monkeypatch.setattr(generate, "MONTHS", months)
    for name, content in generate.render().items():
        (data / name).write_bytes(content)
    assert len(list(data.iterdir())) == 8
    assert validate() == 0
    assert validate("--as-of", "2024-09-01") == 0


@pytest.mark.parametrize("name", ["transactions-2024-03.csv", "transactions-2024-01.csv"])
def test_a_missing_month_is_named(
    data: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / name).unlink()
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    if "03" in name:
        assert fault == (
            "- data/training/transactions-2024-04.csv: 1 month missing before it:"
            " transactions-2024-03.csv; `dataset.months` allows no month without a file"
        )
    else:
        assert fault == (
            "- data/training/transactions-2024-01.csv: the file is missing;"
            " `baseline` has it in data/baseline_stats.json"
        )


def test_a_file_of_2031_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    june, late = data / "transactions-2024-06.csv", data / "transactions-2031-06.csv"
    name = "data/training/transactions-2031-06.csv"
    june.rename(late)
    assert validate() == 1
    gap, rows = faults(capsys.readouterr().err)
    assert gap.startswith(
        f"- {name}: 84 months missing before it: transactions-2024-06.csv to"
        " transactions-2031-05.csv;"
    )
    assert rows.startswith(f"- {name}: 3,377 rows of other months, from 2024-06-01 03:30 to")
    assert "on lines 2, 3, 4, 5, 6 and 3,372 more" in rows

    late.rename(june)
    shift(june, late, 2556)
    june.write_text("".join(june.read_text().splitlines(keepends=True)[:-200]))
    assert validate() == 1
    found = faults(capsys.readouterr().err)
    assert any("83 months missing before it" in fault for fault in found)


def test_rows_of_another_month_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(data / "transactions-2024-05.csv", (4, "2024-", "2031-"))
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "transactions-2024-05.csv: 1 row of other months, from 2031-05-01" in fault
    assert fault.endswith("on line 4; `dataset.months.file_name` demands rows of 2024-05")


def test_a_name_without_a_month_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "transactions-2024-06.csv").rename(data / "transactions-2024-6.csv")
    assert validate() == 1
    found = faults(capsys.readouterr().err)
    assert any(
        "2024-6.csv: its name has no month; `dataset.months.file_name`" in it for it in found
    )
    assert any("2024-06.csv: the file is missing" in it for it in found)


@pytest.mark.parametrize("days", [0, 30, 37])
def test_june_again_as_july_is_named(
    data: Path, days: int, capsys: pytest.CaptureFixture[str]
) -> None:
    july = data / "transactions-2024-07.csv"
    shift(data / "transactions-2024-06.csv", july, days)
    assert validate() == 1
    found = [fault for fault in faults(capsys.readouterr().err) if "repeat" in fault]
    (fault,) = found
    assert fault.startswith("- data/training/transactions-2024-07.csv: ")
    if days:
        assert "100.0% of the rows repeat those of transactions-2024-06.csv, apart from" in fault
        assert fault.endswith("; `dataset.repeats[0].max_share` allows 2.0%")
    else:
        assert "3,377 rows under new ids repeat rows of transactions-2024-06.csv" in fault


def test_june_again_with_other_accounts_is_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    july = data / "transactions-2024-07.csv"
    shift(data / "transactions-2024-06.csv", july, 30)
    text = re.sub(r"A(\d{4})", lambda found: f"A{9999 - int(found[1]):04}", july.read_text())
    header, *rows = text.splitlines(keepends=True)
    july.write_text("".join([header, *reversed(rows)]))
    assert validate() == 1
    (fault,) = [fault for fault in faults(capsys.readouterr().err) if "repeat" in fault]
    assert "99.7% of the runs of 2 rows repeat those of transactions-2024-06.csv" in fault
    assert fault.endswith("account_id; `dataset.repeats[1].max_share` allows 2.0%")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("transaction_id", "0100001", "column `transaction_id`: no plain number on line 3: '0100"),
        ("account_age_days", "1_000", "column `account_age_days`: no plain number on line 3: '1_0"),
        ("amount", "1_5.93", "column `amount`: no plain number on line 3: '1_5.93'"),
        ("is_fraud", " 1", "column `is_fraud`: no plain number on line 3: ' 1'"),
        ("account_age_days", "", "column `account_age_days` is empty on line 3"),
        ("country", "", "column `country` is empty on line 3"),
    ],
)
def test_values_that_readers_take_in_different_ways_are_named(
    data: Path, column: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "transactions-2024-06.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows.loc[1, column] = value
    rows.to_csv(path, index=False)
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert f"2024-06.csv: {message}" in fault


def test_a_column_that_lost_its_values_is_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "transactions-2024-06.csv"
    path.write_text(re.sub(r"A\d{4}", "A0001", path.read_text()))
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert fault.endswith("2024-06.csv: column `account_id`: every row has 'A0001'")


@pytest.mark.parametrize(
    ("column", "partner"),
    [
        ("account_id", "account_age_days"),
        ("account_age_days", "account_id"),
        ("merchant_category", "amount"),
        ("amount", "merchant_category"),
        ("country", "account_id"),
        ("channel", "merchant_category"),
    ],
)
def test_a_column_whose_values_were_shuffled_is_named(
    data: Path, column: str, partner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "transactions-2024-03.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows[column] = rows[column].sample(frac=1, random_state=1).to_numpy()
    rows.to_csv(path, index=False)
    assert validate() == 1
    found = [line for line in faults(capsys.readouterr().err) if "depend on each other" in line]
    assert any({f"`{column}`", f"`{partner}`"} <= set(line.split()) for line in found), found
    assert all("transactions-2024-03.csv" in line for line in found), "no other file is accused"


@pytest.mark.parametrize(("column", "value"), [("country", "US"), ("channel", "online")])
def test_a_part_of_a_month_that_moved_is_a_matter_of_drift(
    data: Path, column: str, value: str
) -> None:
    path = data / "transactions-2024-06.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows.loc[rows.index % 4 == 0, column] = value
    rows["amount"] = (rows["amount"].astype(float) * 3).round(2)
    rows.to_csv(path, index=False)
    assert validate() == 0, "another gate tells it, and people may accept it there"


@pytest.mark.parametrize("limits", [(0, 100), (5, 10**6)])
def test_amounts_that_were_cut_off_are_named(
    data: Path, limits: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "transactions-2024-06.csv"
    rows = pd.read_csv(path, keep_default_na=False)
    rows["amount"] = rows["amount"].clip(*limits)
    rows.to_csv(path, index=False)
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    value = limits[1] if limits[0] == 0 else limits[0]
    assert "06.csv: column `amount`: " in fault
    assert f"of the rows have '{value}.0'; `dataset.max_share_of_a_value.amount` allows" in fault


def test_a_number_counts_whatever_its_text(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "transactions-2024-06.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows["amount"] = ["5", "5.0"] * (len(rows) // 2) + ["5"] * (len(rows) % 2)
    rows.to_csv(path, index=False)
    assert validate() == 1
    found = faults(capsys.readouterr().err)
    assert any("column `amount`: 100.0% of the rows have '5';" in fault for fault in found)


def test_values_of_a_short_file_are_no_pile(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "transactions-2024-06.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:41]))
    assert validate() == 1
    assert "max_share_of_a_value" not in capsys.readouterr().err


def test_a_value_in_nearly_all_rows_depends_on_nothing(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "transactions-2024-06.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows.loc[rows.index % 20 != 0, "account_age_days"] = "0"
    rows.loc[0, "amount"] = "inf"
    rows.to_csv(path, index=False)
    assert validate() == 1
    found = faults(capsys.readouterr().err)
    assert any("`account_id` and `account_age_days` depend on each other by" in it for it in found)


def test_any_check_of_pandera_can_fail(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CONFIG.write_text(
        CONFIG.read_text().replace('str_matches: "^[A-Z]{2}$', 'str_contains: "^[A-Z]{2}$')
    )
    change(data / "transactions-2024-06.csv", (3, ",[A-Z]{2},", ",nl,"))
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "column `country` fails `str_contains('^[A-Z]{2}$')` on line 3: 'nl'" in fault


def test_rows_with_more_fields_than_the_header_are_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "transactions-2024-05.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{row},0" for row in rows)]) + "\n")
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "2024-05.csv: cannot be read: its rows have more fields than the 9 of its" in fault


def test_rows_copied_under_new_ids_are_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    may = data / "transactions-2024-05.csv"
    header, first, second, *rest = may.read_text().splitlines()
    copy = second.replace("113653,", "300000,").replace("9.85,", "9.850,")
    assert copy != second
    may.write_text("\n".join([header, first, second, *rest, copy, ""]))
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert (
        "2024-05.csv: 1 row under new ids repeat rows of transactions-2024-05.csv, on line 3473;"
    ) in fault


def test_times_without_rows_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "transactions-2024-02.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "2024-02-10" not in line))
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "2024-02.csv: no row for 24.2 hours, from 2024-02-09" in fault
    assert fault.endswith("`dataset.months.max_gap_hours` allows 24")


def test_more_rows_than_usual_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(BASELINE.read_text())
    content["files"] = {name: rows // 2 for name, rows in content["files"].items()}
    BASELINE.write_text(json.dumps(content))
    assert validate() == 1
    found = faults(capsys.readouterr().err)
    assert len(found) == 6
    assert all("rows; `dataset.rows_per_file` allows 1,366 to 2,133" in fault for fault in found)


def test_old_data_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate("--as-of", "2024-07-01") == 0
    capsys.readouterr()
    assert validate("--as-of", "2024-07-10") == 1
    (fault,) = faults(capsys.readouterr().err)
    assert fault == (
        "- data/training/transactions-2024-06.csv: the newest row, of 2024-06-30 23:44, is"
        " 10.0 days older than the end of 2024-07-10; `dataset.freshness.max_age_days` allows 2"
    )
    assert validate("--as-of", "2024-06-15") == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "rows of the future, up to 2024-06-30 23:44; `dataset.freshness.as_of` is" in fault
    path = data / "transactions-2024-06.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not re.search("2024-06-(2[6-9]|30)", line)))
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "is 5.0 days older than the end of its month" in fault


def test_freshness_today_is_that_of_the_clock(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CONFIG.write_text(CONFIG.read_text().replace("as_of: newest-file", "as_of: today"))
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "days older than the end of " in fault
    since = date.today() - date(2024, 6, 30)
    days = f"max_age_days: {since / timedelta(days=1) + 2:g}"
    CONFIG.write_text(CONFIG.read_text().replace("max_age_days: 2", days))
    assert validate() == 0


def test_a_file_without_rows_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "transactions-2024-06.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert validate() == 1
    (fault,) = faults(capsys.readouterr().err)
    assert "transactions-2024-06.csv: 0 rows;" in fault


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("greater_than:", "greater_then:", "yaml:14: `schema.columns.transaction_id.checks."),
        ("greater_than:", "greater_then:", "is not a known key; did you mean `greater_than`?"),
        ("max_share", "max_shar", "`dataset.repeats[0].max_shar` is not a known key; did you mean"),
        ("dtype: int8", "dtype: int9", "is no type: `int9`; did you mean `int8`?"),
        ('"^[A-Z]{2}$"', '"[A-Z"', "is no regular expression: `[A-Z`"),
        ("%Y-%m", "latest", "must have `%Y` and `%m`"),
        ("as_of: newest-file", "as_of: newest", "must be `newest-file`, `today` or a day"),
        ("unique: transaction_id", "unique: transaction", "did you mean `transaction_id`?"),
        ("unique: transaction_id", "unique: id", "yaml:46: `dataset.unique` is no column of"),
        ("[transaction_id,", "[id,", "yaml:59: `dataset.repeats[0].ignoring[0]` is no column of"),
        ("{ min: 0.005, max: 0.25 }", "{ min: 0.25, max: 0.005 }", "yaml:48: `dataset.fraud_share"),
        ("max: 0.25", "max: 0.001", "`dataset.fraud_share.min` must not be above `max`: 0.005"),
        ("max_of_baseline: 1.25", "max_of_baseline: 0.5", "`dataset.rows_per_file.min_of_baseline"),
        ("min_value: 0.01", "min_value: 200000", "amount.checks.in_range.min_value` must not be"),
        (
            "timestamp: timestamp",
            "timestamp: amount",
            "months.timestamp` is no column of times: `am",
        ),
        ("files: data/", "files: /data/", "`files` must be a pattern below this directory"),
        ("training/*.csv", "**.csv", "`files` must be a pattern below this directory, such as"),
        ("isin: [0, 1]", "isin: []", "`schema.columns.is_fraud.checks.isin` must"),
        ("rows: 2", "rows: 1000", "`dataset.repeats[1].rows` must be less than or equal to 100"),
        ("[transaction_id, timestamp, account_age_days]", "[timestamp]", "must have `transaction_"),
        (
            "[account_id, country]",
            "[account, country]",
            "`dataset.together.pairs[1][0]` is no colu",
        ),
        ("[account_id, country]", "[country]", "`dataset.together.pairs[1][1]` is missing"),
        ("[account_id, country]", "[country, amount, channel]", "pairs[1]` must have at most 2"),
        ("[account_id, country]", "[country, country]", "must be two columns, not `country`"),
        ("{ amount: 0.02 }", "0.02", "`dataset.max_share_of_a_value` must be a mapping"),
        ("min_of_others: 0.5", "min_of_others: 1", "`dataset.together.min_of_others` must be less"),
        ("{ amount: 0.02 }", "{ amounts: 0.02 }", "did you mean `amount`?"),
        ("strict: true", "strict: perhaps", "`schema.strict` must be a valid boolean"),
        ("  unique:", "#", "`dataset.unique` is missing"),
        ("baseline: data/", "baseline: date/", "there is no such baseline; write it with"),
    ],
)
def test_slips_in_the_configuration_are_told_at_their_place(
    old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CONFIG.read_text()
    assert old in text
    CONFIG.write_text(text.replace(old, new, 1))
    assert validate() == 2
    assert message in capsys.readouterr().err
    assert message in Path("summary.md").read_text()


def test_a_missing_configuration_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    CONFIG.rename(CONFIG.with_name("data_expectation.yaml"))
    assert validate() == 2
    assert (
        "configs/data_expectations.yaml: there is no such file;"
        " did you mean `data_expectation.yaml`?" in capsys.readouterr().err
    )
    assert validate("--as-of", "soon") == 2


def test_no_data_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(data)
    assert validate() == 1
    assert "no file matches" in capsys.readouterr().err
    assert validate("--as-of", "soon") == 2
    assert "`--as-of` must be `newest-file`, `today` or a day" in capsys.readouterr().err
