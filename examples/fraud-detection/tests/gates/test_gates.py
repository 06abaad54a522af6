"""Every gate of the pipeline stops what it is there for.

Each test runs the pipeline's own command on a copy of the example with one thing wrong. That
the same commands let good data and a good model pass is shown by the pipeline itself.
"""

import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from example import EXAMPLE

KEPT = ("configs", "data", "src", "tests", "pyproject.toml", "requirements.txt")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Returns a copy of the example, without what was made in it."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for name in KEPT:
        source = EXAMPLE / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=unwanted)
        else:
            shutil.copy(source, tmp_path)
    return tmp_path


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=directory, capture_output=True, text=True, check=False
    )


def train_and_test(directory: Path) -> subprocess.CompletedProcess[str]:
    trained = run(directory, "src/train.py", "--config", "configs/training_config.yaml")
    assert trained.returncode == 0, trained.stderr
    return run(directory, "-m", "pytest", "-q", "tests/model")


def test_bad_data_stops_at_the_validation(copy: Path) -> None:
    path = copy / "data" / "training" / "transactions-2024-06.csv"
    path.write_text(path.read_text().replace(",grocery,", ",groceries,", 3))
    ended = run(copy, "src/validate_data.py", "--config", "configs/data_expectations.yaml")
    assert ended.returncode == 1
    assert "transactions-2024-06.csv: column `merchant_category` is none of " in ended.stderr


def test_drifted_data_stops_before_the_training(copy: Path) -> None:
    path = copy / "data" / "training" / "transactions-2024-06.csv"
    path.write_text(re.sub(r",(\d+\.\d\d),", r",1\1,", path.read_text()))
    # Each amount is plausible by itself, so the validation has nothing to say.
    ended = run(copy, "src/validate_data.py", "--config", "configs/data_expectations.yaml")
    assert ended.returncode == 0, ended.stderr
    ended = run(copy, "src/check_drift.py", "--baseline", "data/baseline_stats.json")
    assert ended.returncode == 1
    assert "transactions-2024-06.csv: `amount`: PSI" in ended.stderr


def test_the_drift_of_a_month_is_accepted_by_the_command_of_the_message(copy: Path) -> None:
    path = copy / "data" / "training" / "transactions-2024-06.csv"
    # All amounts are ten times as large, and each of them is plausible by itself.
    path.write_text(re.sub(r",(\d+)\.(\d)(\d),", r",\1\2.\g<3>0,", path.read_text()))
    ended = run(copy, "src/validate_data.py", "--config", "configs/data_expectations.yaml")
    assert ended.returncode == 0, ended.stderr
    check = "src/check_drift.py", "--baseline", "data/baseline_stats.json"
    ended = run(copy, *check)
    assert ended.returncode == 1
    (command,) = (line for line in ended.stderr.splitlines() if line.startswith("  python "))
    refused = run(copy, *shlex.split(command)[1:])
    assert refused.returncode == 2
    assert "--reason must say why the drift is expected" in refused.stderr
    accepted = run(copy, *shlex.split(command)[1:-1], "prices in another currency")
    assert accepted.returncode == 0, accepted.stderr
    ended = run(copy, *check)
    assert ended.returncode == 0, ended.stderr
    assert "apart from 1 accepted drift" in ended.stdout


def test_another_share_of_frauds_and_a_lost_month_stop(copy: Path) -> None:
    june = copy / "data" / "training" / "transactions-2024-06.csv"
    header, *rows = june.read_text().splitlines()
    # Every tenth payment is labelled, which no limit of the rows forbids.
    labelled = [row[:-1] + ("0" if number % 10 else "1") for number, row in enumerate(rows)]
    june.write_text("\n".join([header, *labelled, ""]))
    ended = run(copy, "src/validate_data.py", "--config", "configs/data_expectations.yaml")
    assert ended.returncode == 0, ended.stderr
    ended = run(copy, "src/check_drift.py", "--baseline", "data/baseline_stats.json")
    assert ended.returncode == 1
    assert "transactions-2024-06.csv: `is_fraud`: PSI 0.1" in ended.stderr
    (copy / "data" / "training" / "transactions-2024-03.csv").unlink()
    ended = run(copy, "src/validate_data.py", "--config", "configs/data_expectations.yaml")
    assert ended.returncode == 1
    assert "1 month missing before it: transactions-2024-03.csv" in ended.stderr


def test_a_model_of_shuffled_labels_stops_at_the_model_tests(copy: Path) -> None:
    shuffle = random.Random(1).shuffle
    for path in (copy / "data" / "training").iterdir():
        header, *rows = path.read_text().splitlines()
        labels = [row[-1] for row in rows]
        shuffle(labels)
        shuffled = [row[:-1] + label for row, label in zip(rows, labels, strict=True)]
        path.write_text("\n".join([header, *shuffled, ""]))
    # As a table the data is as good as before: only the model can tell.
    assert run(copy, "src/check_drift.py", "--baseline", "data/baseline_stats.json").returncode == 0
    ended = train_and_test(copy)
    assert ended.returncode == 1
    assert "FAILED tests/model/test_quality.py" in ended.stdout
    assert "FAILED tests/model/test_behaviour.py" in ended.stdout


def test_a_model_of_a_bad_configuration_stops_at_the_model_tests(copy: Path) -> None:
    path = copy / "configs" / "training_config.yaml"
    path.write_text(path.read_text().replace("num_boost_round: 120", "num_boost_round: 1"))
    ended = train_and_test(copy)
    assert ended.returncode == 1
    assert "FAILED tests/model/test_quality.py" in ended.stdout


def test_a_worse_model_stops_before_production(copy: Path) -> None:
    path = copy / "configs" / "training_config.yaml"
    shipped = path.read_text()
    for name, config in (
        ("champion", shipped),
        ("challenger", shipped.replace("max_bin: 128", "max_bin: 8")),
    ):
        path.write_text(config)
        trained = run(copy, "src/train.py", "--config", str(path), "--output-dir", name)
        assert trained.returncode == 0, trained.stderr
    compare = ("src/compare_models.py", "--champion", "champion", "--summary", "summary.md")
    ended = run(copy, *compare, "--challenger", "challenger")
    assert ended.returncode == 1
    assert "configs/promotion.yaml: limits.average_precision.max_drop)" in ended.stderr
    assert "### Champion and challenger: refused" in (copy / "summary.md").read_text()
    ended = run(copy, *compare, "--challenger", "champion")
    assert ended.returncode == 0, ended.stderr
