"""Tests of the drift statistics, of the baseline and of the report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

import check_drift
import drift
import make_baseline
from example import EXAMPLE
from psi import population_stability_index

CONFIG = EXAMPLE / "configs" / "drift.yaml"


@pytest.fixture(scope="session")
def baseline(generated: Path) -> Path:
    path = generated.parents[1] / "baseline.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        assert make_baseline.main(["--config", str(CONFIG), "--output", str(path)]) == 0
    return path


@pytest.fixture(autouse=True)
def known(data: Path, baseline: Path) -> None:
    shutil.copy(baseline, "baseline.json")


def check(*more: str) -> int:
    return check_drift.main(["--baseline", "baseline.json", "--config", str(CONFIG), *more])


def rewrite(path: Path, **changes: object) -> None:
    rows = pd.read_csv(path, keep_default_na=False)
    rows.assign(**changes).to_csv(path, index=False)  # type: ignore[arg-type]


def test_psi_of_known_distributions() -> None:
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5), and counts so large that the
    # half observations do not show.
    assert population_stability_index([5e9, 5e9], [6e9, 4e9]) == pytest.approx(0.040547, abs=1e-6)
    assert population_stability_index([10, 20, 30], [10, 20, 30]) == 0.0
    assert population_stability_index([3, 0], [0, 3]) == population_stability_index([0, 3], [3, 0])
    assert 0 < population_stability_index([1000, 0], [999, 1]) < 0.01, "an empty bin is finite"


def test_ks_is_that_of_the_two_samples() -> None:
    rng = np.random.default_rng(1)
    reference, moved = rng.lognormal(size=20_000), rng.lognormal(0.3, size=3_000)
    kept = drift._numeric(reference)
    exact = ks_2samp(reference, moved).statistic
    assert drift._ks(moved, kept.quantiles) == pytest.approx(exact, abs=0.01)
    assert sum(kept.counts) == 20_000
    assert len(kept.counts) == drift.PSI_BINS


def test_values_that_repeat_have_a_ks_of_their_own_sample_near_zero() -> None:
    values = np.repeat(np.arange(5000.0), 3)
    assert drift._ks(values, drift._numeric(values).quantiles) < 0.01


def test_equal_data_is_near_the_baseline(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--summary", "summary.md", "--plot", "reports/drift.png") == 0
    assert "6 files are near the baseline" in capsys.readouterr().out
    assert "### Data drift: passed" in Path("summary.md").read_text()
    assert Path("reports/drift.png").read_bytes().startswith(b"\x89PNG")


def test_larger_amounts_in_the_last_month_are_drift(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    june = data / "transactions-2024-06.csv"
    rewrite(june, amount=(pd.read_csv(june)["amount"] * 1.5).round(2))
    assert check("--summary", "summary.md", "--plot", "drift.png") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: transactions-2024-06.csv: `amount`: PSI 0.")
    assert len(lines) == 2, "one column of one file moved"
    summary = Path("summary.md").read_text()
    assert "### Data drift: failed" in summary
    assert summary.count("**drifted**") == 1
    assert Path("drift.png").is_file(), "a picture is wanted most when something moved"


def test_a_new_category_and_a_new_label_rate_are_drift(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    may = data / "transactions-2024-05.csv"
    rows = pd.read_csv(may)
    rewrite(
        may,
        channel=rows["channel"].replace("chip", "wallet"),
        is_fraud=(rows["amount"] > rows["amount"].quantile(0.8)).astype(int),
    )
    assert check() == 1
    found = capsys.readouterr().err
    assert "`channel`" in found
    assert "`is_fraud`" in found


def test_accepted_drift_becomes_the_baseline(data: Path) -> None:
    for path in data.iterdir():
        rewrite(path, amount=(pd.read_csv(path)["amount"] * 3).round(2))
    assert check() == 1
    assert make_baseline.main(["--config", str(CONFIG), "--output", "new.json"]) == 0
    assert check_drift.main(["--baseline", "new.json", "--config", str(CONFIG)]) == 0


@pytest.mark.parametrize(("kind", "column"), [("numeric", "amount"), ("categorical", "is_fraud")])
def test_a_baseline_of_other_columns_is_an_error(
    data: Path, kind: str, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(Path("baseline.json").read_text())
    kept = content[kind].pop(column)
    Path("baseline.json").write_text(json.dumps(content))
    assert check() == 1
    assert f"the baseline has the {kind} columns" in capsys.readouterr().err

    content[kind] |= {column: kept, "more": kept}
    Path("baseline.json").write_text(json.dumps(content))
    assert check() == 1
    assert f"the baseline has the {kind} columns" in capsys.readouterr().err


def test_a_changed_row_is_no_drift(data: Path) -> None:
    path = data / "transactions-2024-01.csv"
    path.write_text(path.read_text().replace("4.98", "999.99", 1))
    assert check() == 0


@pytest.mark.parametrize(
    "command",
    [check, lambda: make_baseline.main(["--config", str(CONFIG), "--output", "new.json"])],
    ids=["check", "make"],
)
def test_missing_and_unusable_data_is_an_error(
    data: Path, command: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "transactions-2024-01.csv").write_text("a,b\n1,2\n")
    assert command() == 1
    assert "has the columns" in capsys.readouterr().err
    shutil.rmtree(data)
    assert command() == 1
    assert "no file matches" in capsys.readouterr().err
