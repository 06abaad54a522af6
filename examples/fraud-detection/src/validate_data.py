"""Checks the training data against the expectations and names every fault at once.

python src/validate_data.py --config configs/data_expectations.yaml
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandera.errors import SchemaErrors
from pandera.io.pandas_io import from_yaml
from pandera.pandas import DataFrameSchema

from model.data import LABEL
from outputs import append_summary

SHOWN = 5  # rows and values that a message names before it only counts

ABOUT_COLUMNS = {
    "column_in_schema": "unknown column",
    "column_in_dataframe": "missing column",
    "column_ordered": "column out of order",
}


@dataclass(frozen=True)
class Expectations:
    """The configuration file."""

    files: str
    schema: DataFrameSchema
    unique: str
    min_rows_per_file: int
    fraud_share: tuple[float, float]


def load_expectations(path: Path) -> Expectations:
    """Reads the configuration; a missing key is an error."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    dataset = content["dataset"]
    return Expectations(
        files=content["files"],
        schema=from_yaml(yaml.safe_dump(content["schema"], sort_keys=False)),
        unique=dataset["unique"],
        min_rows_per_file=dataset["min_rows_per_file"],
        fraud_share=(dataset["fraud_share"]["min"], dataset["fraud_share"]["max"]),
    )


def validate(expectations: Expectations, paths: Sequence[Path]) -> tuple[int, list[str]]:
    """Returns the number of rows and all faults."""
    if not paths:
        return 0, [f"no file matches `{expectations.files}`"]
    faults: list[str] = []
    frames: dict[Path, pd.DataFrame] = {}
    for path in paths:
        try:
            # As text: pandera converts, so that it can name each value that does not fit.
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        except (OSError, ValueError) as error:
            faults.append(f"{path}: cannot be read: {error}")
            continue
        if len(frame) < expectations.min_rows_per_file:
            faults.append(f"{path}: {len(frame)} rows, fewer than {expectations.min_rows_per_file}")
        frames[path] = frame
        faults += [f"{path}: {fault}" for fault in _faults(_failures(expectations.schema, frame))]
    faults += _dataset_faults(expectations, frames)
    return sum(map(len, frames.values())), faults


def _failures(schema: DataFrameSchema, frame: pd.DataFrame) -> pd.DataFrame:
    """Returns pandera's table of failures.

    A value that cannot be converted would hide its column's other faults, so the rows
    without such values are checked by themselves.
    """
    failures = _check(schema, frame)
    unconverted = failures[failures["check"].str.startswith("coerce_dtype")]
    if unconverted.empty:
        return failures
    return pd.concat([unconverted, _check(schema, frame.drop(unconverted["index"].unique()))])


def _check(schema: DataFrameSchema, frame: pd.DataFrame) -> pd.DataFrame:
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        failures: pd.DataFrame = error.failure_cases
        return failures
    return pd.DataFrame({"column": [], "check": [], "failure_case": [], "index": []}, dtype=str)


def _faults(failures: pd.DataFrame) -> Iterator[str]:
    """Yields one line for each check that failed, with its rows."""
    for (column, check), group in failures.groupby(["column", "check"], sort=False, dropna=False):
        if group["index"].isna().all():
            about = ABOUT_COLUMNS.get(str(check), str(check))
            yield f"{about}: {_listed(group['failure_case'].astype(str))}"
        else:
            lines = (group["index"].astype(int) + 2).astype(str)  # from 1, after the header
            yield (
                f"column `{column}`: {check} fails on line{'s'[: len(lines) != 1]}"
                f" {_listed(lines)}: {_listed(group['failure_case'].map(repr))}"
            )


def _dataset_faults(expectations: Expectations, frames: dict[Path, pd.DataFrame]) -> Iterator[str]:
    key = expectations.unique
    places: dict[str, list[str]] = {}
    for path, frame in frames.items():
        if key in frame:
            for row, value in enumerate(frame[key].fillna("")):
                places.setdefault(value, []).append(f"{path} line {row + 2}")
    repeated = {value: where for value, where in places.items() if value and len(where) > 1}
    for value in list(repeated)[:SHOWN]:
        yield f"`{key}` {value} is not unique: {', '.join(repeated[value][:SHOWN])}"
    if len(repeated) > SHOWN:
        yield f"`{key}`: {len(repeated) - SHOWN} more values are not unique"

    labels = {str(path): frame[LABEL] for path, frame in frames.items() if LABEL in frame}
    if labels:
        # Each file by itself as well: in the whole, a month that lost its labels does not show.
        for name, column in [*labels.items(), ("all files", pd.concat(labels.values()))]:
            low, high = expectations.fraud_share
            if len(column) and not low <= (share := (column == "1").mean()) <= high:
                yield f"{name}: {share:.2%} of the rows are frauds, not {low:.2%} to {high:.2%}"


def _listed(items: "pd.Series[str]") -> str:
    """Joins the first distinct items and counts the rest."""
    distinct = items.drop_duplicates()
    text = ", ".join(distinct.head(SHOWN))
    return text if len(distinct) <= SHOWN else f"{text} and {len(distinct) - SHOWN} more"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check the training data.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--summary", type=Path, help="append the outcome here, as Markdown")
    arguments = parser.parse_args(argv)

    expectations = load_expectations(arguments.config)
    paths = sorted(Path().glob(expectations.files))
    rows, faults = validate(expectations, paths)
    if faults:
        text = "\n".join(f"- {fault}" for fault in faults)
        print(f"error: the data is not as expected:\n{text}", file=sys.stderr)
        append_summary(arguments.summary, f"### Data validation: failed\n\n{text}\n\n")
        return 1
    outcome = f"{rows:,} rows in {len(paths)} files are as expected"
    print(outcome)
    append_summary(arguments.summary, f"### Data validation: passed\n\n{outcome}.\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
