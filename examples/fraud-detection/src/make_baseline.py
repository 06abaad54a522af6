"""Writes the statistics that later data is compared with.

python src/make_baseline.py --output data/baseline_stats.json

Run it when data that moved is accepted as the new normal, and commit the result.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from drift import load_config, make_baseline
from model.data import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the drift baseline.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/drift.yaml"))
    arguments = parser.parse_args(argv)

    config = load_config(arguments.config)
    paths = sorted(Path().glob(config.files))
    if not paths:
        print(f"error: no file matches `{config.files}`", file=sys.stderr)
        return 1
    try:
        baseline = make_baseline(config, paths)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = json.dumps(baseline.to_json(), indent=1) + "\n"
    arguments.output.write_text(text, encoding="utf-8", newline="\n")
    print(f"{arguments.output}: {baseline.rows:,} rows of {len(paths)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
