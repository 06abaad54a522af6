"""Accepts that columns of a file are away from the baseline, for exactly this content.

python src/accept_drift.py --file FILE --column amount --reason "prices rose in June"

It adds an entry to configs/accepted_drift.yaml; commit that file, so that a pull request reviews
the reason. The entry ends by itself when the file changes. The check for drift prints the whole
command, with `--sha256`: the digest of the file that it looked at.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from accepted_drift import DEFAULT_PATH as DEFAULT_ACCEPTED
from accepted_drift import AcceptedDrift, Entry, digest_of, same_file, write_accepted
from check_drift import read_all
from drift import DEFAULT_CONFIG, DriftConfig, check_columns, compare, exceeded
from drift_baseline import DEFAULT_PATH as DEFAULT_BASELINE
from drift_baseline import Baseline
from drift_report import REASON, Files, measures
from model.data import DataError
from strict_config import USAGE, ConfigError


class RefusedError(ValueError):
    """There is nothing to accept, or something else than what was looked at."""


def accept(
    arguments: argparse.Namespace,
    config: DriftConfig,
    known: AcceptedDrift,
    baseline: Baseline,
) -> Entry:
    """Returns the entry; raises `RefusedError` unless each of the columns of the file drifted."""
    paths = sorted(Path().glob(config.files))
    path = next((it for it in paths if same_file(str(it), str(arguments.file))), None)
    if path is None:
        near = get_close_matches(arguments.file.name, [it.name for it in paths], n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise RefusedError(f"{arguments.file} is none of the files `{config.files}`{hint}")
    digest = digest_of(path)
    if arguments.sha256 not in (None, digest):
        raise RefusedError(
            f"{path} has the SHA-256 {digest}, not {arguments.sha256}: this is not the content"
            " that was looked at; run src/check_drift.py again"
        )
    columns = list(dict.fromkeys(arguments.column))
    moved = {it.column: it for it in compare(config, baseline, path) if exceeded(it, config)}
    if calm := [column for column in columns if column not in moved]:
        found = f"only {', '.join(moved)} did" if moved else "no column did"
        raise RefusedError(f"{path}: {', '.join(calm)} did not drift: {found}; nothing is accepted")
    for column in columns:
        print(f"{path}: `{column}`: {measures(moved[column], config)}")
    return Entry(
        file=path.as_posix(), sha256=digest, columns=columns, reason=arguments.reason.strip()
    )


def merge(known: AcceptedDrift, new: Entry) -> list[Entry]:
    """Returns all entries; earlier ones of the same columns or of other bytes give way."""
    kept = []
    for entry in known.accepted:
        if not same_file(entry.file, new.file):
            kept.append(entry)
        elif entry.sha256 == new.sha256:
            rest = [column for column in entry.columns if column not in new.columns]
            if rest:
                kept.append(
                    Entry(file=entry.file, sha256=entry.sha256, columns=rest, reason=entry.reason)
                )
        else:
            print(f"{entry.file}: the entry of its former content goes: {entry.reason}")
    return [*kept, new]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Accept that a file drifted.")
    parser.add_argument("--file", type=Path, required=True, help="the file of data")
    parser.add_argument(
        "--column", nargs="+", action="extend", required=True, help="columns that may be away"
    )
    parser.add_argument("--reason", required=True, help="why, for those who review it")
    parser.add_argument("--sha256", help="accept only if the file has this digest")
    parser.add_argument("--baseline", type=Path, default=DEFAULT_BASELINE)
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--accepted", type=Path, default=DEFAULT_ACCEPTED)
    arguments = parser.parse_args(argv)
    if arguments.reason.strip() in ("", REASON):
        parser.error('--reason must say why the drift is expected, such as "prices rose in June"')

    files = Files(arguments.baseline, arguments.config, arguments.accepted)
    try:
        config, known, baseline = read_all(files)
        check_columns(config, baseline)
        entry = accept(arguments, config, known, baseline)
    except (ConfigError, DataError, RefusedError, OSError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return USAGE if isinstance(error, ConfigError) else 1
    write_accepted(files.accepted, merge(known, entry))
    print(f"accepted in {os.fspath(files.accepted)}; commit it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
