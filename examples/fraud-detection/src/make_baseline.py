"""Writes the statistics that later data is compared with.

python src/make_baseline.py --output data/baseline_stats.json

Files whose drift is accepted are exceptions, so they are left out. Once the newest months are the
new normal, `--newest 3` makes the baseline of them alone. Commit the result.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from accepted_drift import DEFAULT_PATH as DEFAULT_ACCEPTED
from accepted_drift import AcceptedDrift, digest_of, load_accepted, same_file
from drift import DEFAULT_CONFIG, load_config, make_baseline
from model.data import DataError
from strict_config import USAGE, ConfigError


def choose(paths: Sequence[Path], accepted: AcceptedDrift, newest: int | None) -> list[Path]:
    """Returns the newest files, or without a number all whose drift nobody had to accept."""
    if newest:
        return list(paths[-newest:])
    return [
        path
        for path in paths
        if not any(
            same_file(entry.file, str(path)) and entry.sha256 == digest_of(path)
            for entry in accepted.accepted
        )
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the drift baseline.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--accepted", type=Path, default=DEFAULT_ACCEPTED)
    parser.add_argument("--newest", type=int, metavar="N", help="take the last N files alone")
    arguments = parser.parse_args(argv)
    if arguments.newest is not None and arguments.newest < 1:
        parser.error("--newest must be at least 1")

    try:
        config = load_config(arguments.config)
        paths = sorted(Path().glob(config.files))
        if not paths:
            raise DataError(f"no file matches `{config.files}`")
        chosen = choose(paths, load_accepted(arguments.accepted), arguments.newest)
        if not chosen:
            raise DataError(f"{arguments.accepted} accepts the drift of every file; take --newest")
        baseline = make_baseline(config, chosen)
    except (ConfigError, DataError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return USAGE if isinstance(error, ConfigError) else 1
    text = json.dumps(baseline.to_json(), indent=1) + "\n"
    arguments.output.write_text(text, encoding="utf-8", newline="\n")
    left_out = [path.name for path in paths if path not in chosen]
    without = f", without {', '.join(left_out)}" if left_out else ""
    print(f"{arguments.output}: {baseline.rows:,} rows of {len(chosen)} files{without}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
