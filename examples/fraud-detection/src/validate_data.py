"""Checks the training data against the expectations and names every fault at once.

python src/validate_data.py --config configs/data_expectations.yaml
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from pandera.errors import SchemaErrors
from pandera.pandas import DataFrameSchema

import data_rules
from data_file import Fault, File, listed
from drift_baseline import Baseline, load_baseline
from expectations import Expectations, load_expectations, read_as_of
from model.data import TIME, read_table
from outputs import append_summary
from strict_config import USAGE, ConfigError

ABOUT_COLUMNS = {
    "column_in_schema": ("unknown column", "remove it, or add it to the schema"),
    "column_in_dataframe": ("missing column", "deliver it, or remove it from the schema"),
    "column_ordered": ("column out of order", "order the columns as in the schema"),
}
CORRECT = "correct the values at their source; if they are right, change the check in the schema"


def validate(
    expectations: Expectations, baseline: Baseline, paths: Sequence[Path], as_of: str
) -> tuple[int, list[Fault]]:
    """Returns the number of rows and all faults."""
    if not paths:
        remedy = "run the command in the directory of the example, or correct `files`"
        return 0, [Fault("files", f"no file matches `{expectations.files}`", remedy)]
    faults: list[Fault] = []
    files: list[File] = []
    schema = expectations.schema.to_pandera()
    for path in paths:
        try:
            # As text: pandera converts, so that it can name each value that does not fit.
            frame = read_table(path, str)
        except (OSError, ValueError) as error:
            faults.append(Fault(str(path), f"cannot be read: {error}", "deliver the file again"))
            files.append(File(path, pd.DataFrame(), expectations, readable=False))
            continue
        file = File(path, frame, expectations)
        files.append(file)
        faults += [*_time_faults(file), *_number_faults(file)]
        faults += _faults(path, _failures_of(file, schema))
    faults += data_rules.check(expectations, baseline, files, as_of)
    return sum(len(file.frame) for file in files), faults


def _time_faults(file: File) -> Iterator[Fault]:
    """Yields a fault if values are no times: pandera would not tell which."""
    if len(values := file.no_times):
        name = file.expectations.dataset.months.timestamp
        yield Fault(
            str(file.path),
            f"column `{name}`: no time on {_lines(values.index)}: {listed(values.map(repr))}",
            f"correct the values at their source; a time is such as {TIME}",
        )


def _number_faults(file: File) -> Iterator[Fault]:
    """Yields a fault for each column with values that only some readers take for numbers."""
    for name, values in file.odd_numbers.items():
        if len(values):
            yield Fault(
                str(file.path),
                f"column `{name}`: no plain number on {_lines(values.index)}:"
                f" {listed(values.map(repr))}",
                "correct the values at their source; a number is such as 12 or 12.5",
            )


def _failures_of(file: File, schema: DataFrameSchema) -> pd.DataFrame:
    """Returns pandera's table of failures, without those of values that are told already."""
    failures = _failures(schema, file.converted)
    told = {**file.odd_numbers, file.expectations.dataset.months.timestamp: file.no_times}
    for name, values in told.items():
        at = (failures["column"] == name) & failures["index"].isin(values.index)
        failures = failures[~at]
    # An empty value cannot be converted either.
    empty = failures["failure_case"].isna() & failures["index"].notna()
    return failures.assign(check=failures["check"].mask(empty, "not_nullable")).drop_duplicates()


def _failures(schema: DataFrameSchema, frame: pd.DataFrame) -> pd.DataFrame:
    """Returns pandera's table of failures.

    A value that cannot be converted would hide its column's other faults, so the rows
    without such values are checked by themselves.
    """
    failures = _check(schema, frame)
    unconverted = failures[failures["check"].str.startswith("coerce_dtype")]
    if unconverted.empty:
        return failures
    # Without an index, a whole column cannot be converted.
    lines = unconverted["index"].dropna().unique()
    return pd.concat([unconverted, _check(schema, frame.drop(lines))]).drop_duplicates()


def _check(schema: DataFrameSchema, frame: pd.DataFrame) -> pd.DataFrame:
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        failures: pd.DataFrame = error.failure_cases
        return failures
    return pd.DataFrame({"column": [], "check": [], "failure_case": [], "index": []}, dtype=str)


def _faults(path: Path, failures: pd.DataFrame) -> Iterator[Fault]:
    """Yields a fault for each check that failed, with its rows."""
    for (column, check), group in failures.groupby(["column", "check"], sort=False, dropna=False):
        if group["index"].isna().all():
            about, remedy = ABOUT_COLUMNS.get(str(check), (str(check), CORRECT))
            found = f"{about}: {listed(group['failure_case'].astype(str))}"
            yield Fault(str(path), found, remedy)
        else:
            values = group["failure_case"].dropna().map(repr)
            shown = f": {listed(values)}" if len(values) else ""
            found = f"column `{column}` {_in_words(str(check))} on {_lines(group['index'])}{shown}"
            yield Fault(str(path), found, CORRECT)


def _in_words(check: str) -> str:
    """Says what is wrong with a value that fails one of pandera's checks."""
    name, _, rest = check.partition("(")
    given = rest.removesuffix(")").strip("'")
    if name == "isin":
        given = given.strip("[]").replace("'", "")
    words = {
        "coerce_dtype": f"is no {given}",
        "in_range": f"is not in the range of {given}",
        "isin": f"is none of {given}",
        "not_nullable": "is empty",
        "str_matches": f"does not match {given}",
    }
    return words.get(name, f"fails `{check}`")


def _lines(rows: "pd.Series[int] | pd.Index[int]") -> str:
    """Names the lines of rows: from 1, after the header."""
    lines = pd.Series(rows).astype(int).sort_values().add(2).astype(str)
    return f"line{'s'[: len(lines) != 1]} {listed(lines)}"


def read_all(path: Path) -> tuple[Expectations, Baseline]:
    """Reads the configuration and the baseline that it names; raises `ConfigError`."""
    expectations = load_expectations(path)
    return expectations, load_baseline(Path(expectations.baseline))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check the training data.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--summary", type=Path, help="append the outcome here, as Markdown")
    parser.add_argument(
        "--as-of", help="measure freshness at this day, at `today` or at the `newest-file`"
    )
    arguments = parser.parse_args(argv)

    try:
        expectations, baseline = read_all(arguments.config)
        as_of = read_as_of(arguments.as_of or expectations.dataset.freshness.as_of)
    except ValueError as error:
        known = isinstance(error, ConfigError)
        lines = str(error).splitlines() if known else [f"`--as-of` {error}"]
        print("\n".join(f"error: {line}" for line in lines), file=sys.stderr)
        text = "".join(f"- {line}\n" for line in lines)
        append_summary(arguments.summary, f"### Data validation: failed\n\n{text}\n")
        return USAGE
    paths = sorted(Path().glob(expectations.files))
    rows, faults = validate(expectations, baseline, paths, as_of)
    if faults:
        text = "\n".join(f"- {fault.text()}\n  remedy: {fault.remedy}" for fault in faults)
        print(f"error: the data is not as expected:\n{text}", file=sys.stderr)
        text = "\n".join(f"- {fault.text()}<br>Remedy: {fault.remedy}" for fault in faults)
        append_summary(arguments.summary, f"### Data validation: failed\n\n{text}\n\n")
        return 1
    outcome = f"{rows:,} rows in {len(paths)} files are as expected"
    print(outcome)
    append_summary(arguments.summary, f"### Data validation: passed\n\n{outcome}.\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
