"""What is kept of the accepted data: a file of statistics that a pull request can review."""

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import TypeAdapter, ValidationError

from strict_config import ConfigError, config

DEFAULT_PATH = Path("data/baseline_stats.json")
COMMAND = "python src/make_baseline.py --output"


@config
class NumericBaseline:
    """A distribution: counts between inner edges for PSI, quantiles for KS."""

    edges: list[float]
    counts: list[int]
    quantiles: list[float]


@config
class Baseline:
    """What is known of the data that was accepted; `files` has the rows of each file."""

    files: dict[str, int]
    numeric: dict[str, NumericBaseline]
    categorical: dict[str, dict[str, int]]

    @property
    def rows(self) -> int:
        """The rows of all files together."""
        return sum(self.files.values())

    @property
    def rows_per_file(self) -> float:
        """The rows of a usual file."""
        return float(median(self.files.values()))

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the baseline file."""
        return asdict(self)


def load_baseline(path: Path) -> Baseline:
    """Reads a baseline file; raises `ConfigError` if it is missing or not a baseline."""
    remedy = f"write it with `{COMMAND} {path}`"
    try:
        baseline = TypeAdapter(Baseline).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such baseline; {remedy}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        where = f"`{key}`: " if key else ""
        raise ConfigError(f"{path}: this is no baseline: {where}{first['msg']}; {remedy}") from None
    if not baseline.files:
        raise ConfigError(f"{path}: this is a baseline of no files; {remedy}")
    return baseline
