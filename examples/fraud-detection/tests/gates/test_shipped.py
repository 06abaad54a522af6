"""The example as it is shipped: its data is the generator's, its baseline is its data's.

Its pipeline sends enough requests to judge a canary.
"""

import re
from pathlib import Path

import pytest
from scipy.stats import binom

import check_drift
import generate
import make_baseline
import validate_data
from canary import requests_to_judge
from example import EXAMPLE
from replay_traffic import requests_for

BASELINE = EXAMPLE / "data" / "baseline_stats.json"


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE)


def test_the_data_is_what_the_generator_writes() -> None:
    shipped = {path.name: path.read_bytes() for path in Path("data/training").glob("*.csv")}
    written = generate.render()
    assert shipped.keys() == written.keys()
    assert [name for name in written if written[name] != shipped[name]] == []


def test_the_data_is_as_expected(tmp_path: Path) -> None:
    config = "configs/data_expectations.yaml"
    assert validate_data.main(["--config", config, "--summary", str(tmp_path / "s.md")]) == 0


def test_the_baseline_is_that_of_the_data(tmp_path: Path) -> None:
    made = tmp_path / "baseline.json"
    assert make_baseline.main(["--config", "configs/drift.yaml", "--output", str(made)]) == 0
    assert made.read_bytes() == BASELINE.read_bytes()
    assert check_drift.main(["--baseline", str(BASELINE)]) == 0


def test_the_pipeline_sends_enough_requests_to_judge_its_canary() -> None:
    script = Path("scripts/judge-canary").read_text()
    shares = dict(re.findall(r"^  (\w+)\) .* share=([\d.]+) ;;", script, re.M))
    assert shares == {"tenth": "0.1", "half": "0.5", "all": "1"}
    assert "threshold=${CANARY_THRESHOLD:-0.01}" in script
    for threshold in (0.001, 0.01, 0.02, 0.07, 0.4):
        for share in map(float, shares.values()):
            # A balancer that chooses at random sends too few in less than one of ten thousand runs.
            sent, needed = requests_for(share, threshold), requests_to_judge(threshold)
            assert binom.cdf(needed - 1, sent, share) < 1e-4
