"""Finds rows that the files have twice: by their key, by their content, or shifted in time."""

from collections.abc import Iterator, Sequence

import pandas as pd

from data_file import SHOWN, Fault, File, counted, listed
from expectations import Expectations


def check_unique(expectations: Expectations, files: Sequence[File]) -> Iterator[Fault]:
    """Looks for keys that stand twice in all files."""
    key = expectations.dataset.unique
    places: dict[str, list[str]] = {}
    for file in files:
        if key in file.frame:
            for row, value in enumerate(file.frame[key].fillna("")):
                places.setdefault(value, []).append(f"{file.path} line {row + 2}")
    repeated = {value: where for value, where in places.items() if value and len(where) > 1}
    remedy = "remove the copies, or give each row its own key at its source"
    for value in list(repeated)[:SHOWN]:
        where = ", ".join(repeated[value][:SHOWN])
        yield Fault(
            f"`{key}` {value} is not unique", where, remedy, "dataset.unique", "allows each once"
        )
    if len(repeated) > SHOWN:
        found = f"{len(repeated) - SHOWN:,} more values are not unique"
        yield Fault(f"`{key}`", found, remedy, "dataset.unique", "allows each once")


def check_repeats(expectations: Expectations, files: Sequence[File]) -> Iterator[Fault]:
    """Looks for rows of before under new keys, also where all their times were shifted."""
    key, rule = expectations.dataset.unique, expectations.dataset.repeats
    seen_keys: set[str] = set()
    seen: dict[int, int] = {}  # the content of a row, and the number of its first file
    seen_alike: dict[int, int] = {}  # the same without the ignored columns
    for number, file in enumerate(files):
        if key not in file.frame:
            continue
        # Rows whose key stands twice are told by another rule.
        fresh = ~(file.frame[key].isin(seen_keys) | file.frame[key].duplicated())
        seen_keys.update(file.frame[key].dropna())
        content = file.content[fresh].dropna()
        rows = _hashes(content.drop(columns=key))
        again = {line: seen[row] for line, row in rows.items() if _seen_before(seen, row, number)}
        if again:
            yield _repeated(files, file, again, key)
        alike = _hashes(content.drop(columns=rule.ignoring, errors="ignore"))
        shifted = {
            line: seen_alike[row]
            for line, row in alike.items()
            if _seen_before(seen_alike, row, number) and line not in again
        }
        if len(content) and len(shifted) > rule.max_share * len(content):
            yield Fault(
                str(file.path),
                f"{len(shifted) / len(content):.1%} of the rows repeat rows of"
                f" {_sources(files, shifted)}, apart from {', '.join(rule.ignoring)}",
                "deliver the rows of this month, or remove the file",
                "dataset.repeats.max_share",
                f"allows {rule.max_share:.1%}",
            )


def _repeated(files: Sequence[File], file: File, again: dict[int, int], key: str) -> Fault:
    lines = pd.Series(again.keys()).add(2).astype(str)
    plural = "s"[: len(again) != 1]
    return Fault(
        str(file.path),
        f"{counted(len(again), 'row')} under new ids repeat rows of"
        f" {_sources(files, again)}, on line{plural} {listed(lines)}",
        "remove the copies",
        "dataset.unique",
        f"allows no rows that differ in `{key}` alone",
    )


def _hashes(frame: pd.DataFrame) -> dict[int, int]:
    """Returns a number for the content of each row, by the row's index."""
    hashes = pd.util.hash_pandas_object(frame, index=False)
    return {int(line): int(value) for line, value in zip(frame.index, hashes, strict=True)}


def _seen_before(seen: dict[int, int], row: int, number: int) -> bool:
    """Tells whether a row was seen before, and notes it."""
    if row in seen:
        return True
    seen[row] = number
    return False


def _sources(files: Sequence[File], again: dict[int, int]) -> str:
    """Names the files that the rows stood in first, unless they are there by chance."""
    shares = pd.Series(again.values()).value_counts(normalize=True)
    numbers = shares[shares >= min(0.1, shares.max())].index
    return listed(pd.Series([files[int(number)].path.name for number in numbers]))
