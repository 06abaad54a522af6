"""Fails when the data has moved away from the baseline, unless people accepted that.

python src/check_drift.py --baseline data/baseline_stats.json

`--summary` takes a report in Markdown, such as that of `$GITHUB_STEP_SUMMARY`, and `--plot` a
picture for people. Both are written before the command fails.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import drift_report
from accepted_drift import DEFAULT_PATH as DEFAULT_ACCEPTED
from accepted_drift import AcceptedDrift, load_accepted
from drift import DEFAULT_CONFIG, Drift, DriftConfig, check_columns, compare, load_config
from drift_baseline import Baseline, load_baseline
from drift_report import Files, Verdict, judge
from model.data import DataError
from outputs import append_summary
from strict_config import USAGE, ConfigError

Content = TypeVar("Content")


def read_all(files: Files) -> tuple[DriftConfig, AcceptedDrift, Baseline]:
    """Reads all that a comparison needs; raises `ConfigError` with the faults of all files."""
    faults: list[str] = []

    def attempt(load: Callable[[Path], Content], path: Path) -> Content | None:
        try:
            return load(path)
        except ConfigError as error:
            faults.append(str(error))
            return None

    config = attempt(load_config, files.config)
    accepted = attempt(load_accepted, files.accepted)
    baseline = attempt(load_baseline, files.baseline)
    if config is None or accepted is None or baseline is None:
        raise ConfigError("\n".join(faults))
    return config, accepted, baseline


def compare_all(config: DriftConfig, baseline: Baseline) -> list[Drift]:
    """Compares all files; raises DataError with every file that cannot be compared."""
    check_columns(config, baseline)
    drifts: list[Drift] = []
    faults: list[str] = []
    paths = sorted(Path().glob(config.files))
    for path in paths:
        try:
            drifts += compare(config, baseline, path)
        except DataError as error:
            faults.append(str(error))
        except (OSError, ValueError) as error:
            faults.append(f"`{path}` cannot be read: {error}")
    if not paths:
        faults.append(f"no file matches `{config.files}`")
    if faults:
        raise DataError("\n".join(faults))
    return drifts


def tell(config: DriftConfig, files: Files, verdict: Verdict) -> int:
    """Prints the verdict; returns the exit code."""
    for line in drift_report.accepted(config, verdict):
        print(f"accepted: {line}")
    for line in verdict.unused:
        print(f"note: an entry of {files.accepted} is needed no more: {line}")
    if verdict.failed:
        for line in drift_report.faults(config, files, verdict):
            print(f"error: {line}", file=sys.stderr)
        print(f"remedy: {drift_report.CORRECT}", file=sys.stderr)
        print(f"remedy: {drift_report.remedy(files)}", file=sys.stderr)
        for command in drift_report.commands(files, verdict):
            print(f"  {command}", file=sys.stderr)
        print(f"remedy: {drift_report.new_normal(files)}", file=sys.stderr)
        return 1
    exceptions = {drift for drift, _ in verdict.accepted}
    rest = [drift for drift in verdict.drifts if drift not in exceptions]
    largest = max(rest, key=lambda drift: drift.psi, default=None)
    near = f"{len(verdict.digests)} files are near the baseline"
    if exceptions:
        near += f", apart from {len(exceptions)} accepted drift{'s'[: len(exceptions) != 1]}"
    if largest:
        near += f"; the largest PSI is {largest.psi:.3f} (`{largest.column}`, {largest.file})"
    print(near)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare the data with the baseline.")
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--accepted", type=Path, default=DEFAULT_ACCEPTED)
    parser.add_argument("--summary", type=Path, help="append the report here, as Markdown")
    parser.add_argument("--plot", type=Path, help="write a picture here, as PNG")
    arguments = parser.parse_args(argv)

    files = Files(arguments.baseline, arguments.config, arguments.accepted)
    try:
        config, accepted, baseline = read_all(files)
        verdict = judge(config, accepted, compare_all(config, baseline))
    except (ConfigError, DataError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        lines = "".join(f"- {line}\n" for line in str(error).splitlines())
        append_summary(arguments.summary, f"### Data drift: failed\n\n{lines}\n")
        return USAGE if isinstance(error, ConfigError) else 1

    append_summary(arguments.summary, drift_report.report(config, files, verdict))
    if arguments.plot:
        from drift_plot import plot  # matplotlib loads slowly

        plot(verdict, config, arguments.plot)
    return tell(config, files, verdict)


if __name__ == "__main__":
    sys.exit(main())
