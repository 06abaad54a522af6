"""Fails when the data has moved away from the baseline.

python src/check_drift.py --baseline data/baseline_stats.json

`--summary` takes a report in Markdown, such as that of `$GITHUB_STEP_SUMMARY`, and `--plot` a
picture for people. Both are written before the command fails.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from drift import Baseline, Drift, DriftConfig, check_columns, compare, is_too_far, load_config
from model.data import DataError
from outputs import append_summary


def report(drifts: Sequence[Drift], config: DriftConfig) -> str:
    """Returns the report: each column with the file that moved furthest."""
    far = [drift for drift in drifts if is_too_far(drift, config)]
    lines = [
        f"### Data drift: {'failed' if far else 'passed'}",
        "",
        f"Limits: PSI {config.max_psi:g}, KS {config.max_ks:g}. The largest of all files:",
        "",
        "| column | PSI | in | KS | in | |",
        "|---|---:|---|---:|---|---|",
    ]
    for column in dict.fromkeys(drift.column for drift in drifts):
        of_column = [drift for drift in drifts if drift.column == column]
        psi = max(of_column, key=lambda drift: drift.psi)
        row = f"| {column} | {psi.psi:.3f} | {psi.file} |"
        if psi.ks is None:
            row += " - | - |"
        else:
            ks = max(of_column, key=lambda drift: drift.ks or 0.0)
            row += f" {ks.ks:.3f} | {ks.file} |"
        moved = any(drift.column == column for drift in far)
        lines.append(f"{row} {'**drifted**' if moved else 'stable'} |")
    return "\n".join([*lines, "", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare the data with the baseline.")
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/drift.yaml"))
    parser.add_argument("--summary", type=Path, help="append the report here, as Markdown")
    parser.add_argument("--plot", type=Path, help="write a picture here, as PNG")
    arguments = parser.parse_args(argv)

    config = load_config(arguments.config)
    baseline = Baseline.from_json(json.loads(arguments.baseline.read_text(encoding="utf-8")))
    paths = sorted(Path().glob(config.files))
    if not paths:
        print(f"error: no file matches `{config.files}`", file=sys.stderr)
        return 1
    try:
        check_columns(config, baseline)
        drifts = [drift for path in paths for drift in compare(baseline, path)]
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    append_summary(arguments.summary, report(drifts, config))
    if arguments.plot:
        from drift_plot import plot  # matplotlib loads slowly

        plot(drifts, config, arguments.plot)
    far = [drift for drift in drifts if is_too_far(drift, config)]
    for drift in far:
        ks = "" if drift.ks is None else f", KS {drift.ks:.3f}"
        print(f"error: {drift.file}: `{drift.column}`: PSI {drift.psi:.3f}{ks}", file=sys.stderr)
    if far:
        print(
            f"error: the data moved beyond PSI {config.max_psi:g} or KS {config.max_ks:g};"
            " if this is the new normal, run src/make_baseline.py and commit its result",
            file=sys.stderr,
        )
        return 1
    largest = max(drifts, key=lambda drift: drift.psi)
    print(
        f"{len(paths)} files are near the baseline;"
        f" the largest PSI is {largest.psi:.3f} (`{largest.column}`, {largest.file})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
