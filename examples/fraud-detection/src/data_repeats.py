"""Finds rows that the files have twice: by key, by content, or with other times or accounts."""

from collections.abc import Iterator, Sequence

import pandas as pd

from data_file import SHOWN, Fault, File, counted, listed
from expectations import Expectations, Repeats


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
    """Looks for rows of before under new keys, also where times or accounts were changed."""
    key, rules = expectations.dataset.unique, expectations.dataset.repeats
    seen_keys: set[str] = set()
    seen: dict[int, int] = {}  # the content of a row, and the number of its first file
    seen_alike: list[dict[int, int]] = [{} for _ in rules]  # the same of each rule's runs of rows
    for number, file in enumerate(files):
        if key not in file.frame:
            continue
        # Rows whose key stands twice are told by another rule.
        fresh = ~(file.frame[key].isin(seen_keys) | file.frame[key].duplicated())
        seen_keys.update(file.frame[key].dropna())
        content = file.content[fresh].dropna()
        again = _found(seen, _hashes(content.drop(columns=key)), number)
        if again:
            yield _repeated(files, file, again, key)
        times = [name for name in [expectations.dataset.months.timestamp] if name in content]
        in_order = content.sort_values(times, kind="stable")
        faults = []
        for place, rule in enumerate(rules):
            runs = _hashes(in_order.drop(columns=rule.ignoring, errors="ignore"), rule.rows)
            alike = _found(seen_alike[place], runs, number)
            changed = {line: source for line, source in alike.items() if line not in again}
            if len(changed) > rule.max_share * len(runs):
                share = len(changed) / len(runs)
                faults.append(_alike(file, share, _sources(files, changed), place, rule))
        yield from faults[:1]  # the rules are for the same mistake


def _alike(file: File, share: float, sources: str, place: int, rule: Repeats) -> Fault:
    """Returns the fault of a file whose rows, or runs of rows, are those of other files."""
    what = "rows" if rule.rows == 1 else f"runs of {rule.rows} rows"
    return Fault(
        str(file.path),
        f"{share:.1%} of the {what} repeat those of {sources}, apart from"
        f" {', '.join(rule.ignoring)}",
        "deliver the rows of this month, or remove the file; if so many are alike by chance,"
        " raise the limit",
        f"dataset.repeats[{place}].max_share",
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


def _hashes(frame: pd.DataFrame, rows: int = 1) -> dict[int, int]:
    """Returns a number for the content of each run of rows, by the index of its first row."""
    hashes = pd.util.hash_pandas_object(frame, index=False).tolist()
    starts = frame.index[: max(0, len(hashes) - rows + 1)]
    return {int(line): hash(tuple(hashes[at : at + rows])) for at, line in enumerate(starts)}


def _found(seen: dict[int, int], runs: dict[int, int], number: int) -> dict[int, int]:
    """Returns which runs were seen before, with the file of each, and notes the others."""
    before = {}
    for line, run in runs.items():
        if run in seen:
            before[line] = seen[run]
        else:
            seen[run] = number
    return before


def _sources(files: Sequence[File], again: dict[int, int]) -> str:
    """Names the files that the rows stood in first, unless they are there by chance."""
    shares = pd.Series(again.values()).value_counts(normalize=True)
    numbers = shares[shares >= min(0.1, shares.max())].index
    return listed(pd.Series([files[int(number)].path.name for number in numbers]))
