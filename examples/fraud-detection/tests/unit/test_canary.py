"""Tests of the judgement of a canary."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import generate_latest

import check_canary_metrics
from canary import Limits, Observed, compare, observe, requests_to_judge
from serving.metrics import Metrics
from serving.schemas import ModelIdentity

LIMITS = Limits(
    error_rate=0.01,
    slowdown=2.0,
    slack_seconds=0.05,
    score_psi=0.25,
    min_requests=200,
    min_scores=100,
)
GOOD = {0.001: 60, 0.01: 30, 0.1: 8, 1.0: 2}


def observed(
    requests: int = 200,
    errors: int = 0,
    latency: float = 0.05,
    scores: dict[float, int] = GOOD,
    refused: int = 0,
) -> Observed:
    return Observed(
        Counter({"200": requests - errors - refused, "500": errors, "422": refused}),
        Counter({latency / 2: 0, latency: requests}),
        Counter({bound: count * requests // 100 for bound, count in scores.items()}),
    )


@pytest.mark.parametrize(
    ("canary", "message"),
    [
        (observed(), None),
        (observed(errors=1), None),
        (observed(errors=2), None),
        (observed(errors=3), "error rate 1.50% against 0.00%"),
        (observed(refused=1), None),
        (observed(refused=3), "error rate 1.50% against 0.00%"),
        (observed(errors=1, refused=2), "error rate 1.50% against 0.00%"),
        (observed(scores={}), "canary gave 0 scores, fewer than 100"),
        (observed(scores={0.001: 29, 0.01: 20}), "canary gave 98 scores, fewer than 100"),
        (observed(latency=0.1), None),
        (observed(latency=0.25), "95th percentile of the latency"),
        (observed(latency=1.0), "95th percentile of the latency"),
        (observed(scores={0.001: 50, 0.01: 35, 0.1: 12, 1.0: 3}), None),
        (observed(scores={1.0: 100}), "scores moved by a PSI of"),
        (
            observed(requests=80, errors=1),
            "canary needs 200 requests to judge a threshold of 1%, has 80",
        ),
        (observed(requests=20, errors=20), "canary needs 200 requests"),
    ],
)
def test_a_worse_canary_must_not_go_on(canary: Observed, message: str | None) -> None:
    faults = compare(observed(requests=1800), canary, LIMITS)
    if message is None:
        assert faults == []
    else:
        assert len(faults) == 1
        assert message in faults[0]


def test_all_reasons_are_given() -> None:
    bad = observed(errors=50, latency=2.0, scores={1.0: 100})
    assert len(compare(observed(requests=1800), bad, LIMITS)) == 3


@pytest.mark.parametrize("threshold", [1.0, 0.3, 0.05, 0.03, 0.01, 0.001])
def test_one_error_among_the_fewest_requests_is_below_the_threshold(threshold: float) -> None:
    assert 1 / requests_to_judge(threshold) <= threshold / 2
    assert 1 / (requests_to_judge(threshold) - 1) > threshold / 2


def test_errors_that_the_stable_version_has_too_are_not_the_canarys() -> None:
    assert compare(observed(requests=2000, errors=100), observed(errors=10), LIMITS) == []


def test_a_silent_stable_version_cannot_be_compared_with() -> None:
    (fault,) = compare(observed(requests=3), observed(), LIMITS)
    assert "stable needs 200 requests to judge a threshold of 1%, has 3" in fault


def test_the_first_version_is_judged_by_its_errors() -> None:
    assert compare(None, observed(latency=9.0), LIMITS) == []
    assert "error rate" in compare(None, observed(errors=9), LIMITS)[0]
    assert "error rate" in compare(None, observed(refused=200), LIMITS)[0]
    assert "canary gave 0 scores" in compare(None, observed(scores={}), LIMITS)[0]


def test_refusals_that_the_stable_version_gives_too_are_not_the_canarys() -> None:
    assert compare(observed(requests=2000, refused=100), observed(refused=10), LIMITS) == []


def test_a_stable_version_without_scores_cannot_be_compared_with() -> None:
    (fault,) = compare(observed(requests=1800, scores={}), observed(), LIMITS)
    assert "stable gave 0 scores" in fault


def test_what_was_counted_before_does_not_count() -> None:
    before, now = observed(requests=500, errors=400), observed(requests=700, errors=402)
    added = now.since(before)
    assert added.requests == 200
    assert added.error_rate == 0.01
    assert added.latency.total() == 200
    assert observed(requests=30).since(before).requests == 30, "a process that began anew"


def test_the_percentile_is_estimated_within_its_bucket() -> None:
    latency = Counter({0.1: 90, 0.2: 10, float("inf"): 0})
    assert Observed(latency=latency).p95 == pytest.approx(0.15)
    assert Observed(latency=Counter({0.1: 1, float("inf"): 9})).p95 == 0.1
    assert Observed().p95 == 0.0


def export(
    directory: Path,
    name: str,
    requests: int,
    errors: int = 0,
    seconds: float = 0.02,
    scale: float = 1.0,
) -> str:
    """Writes what a server would export, and returns the file."""
    metrics = Metrics(ModelIdentity(manifest=name, fingerprint="f"))
    for number in range(requests):
        metrics.observe_request(500 if number < errors else 200, seconds)
        metrics.observe_scores([0.0015 * scale * (number % 7)])
    path = directory / name
    path.write_bytes(generate_latest(metrics.registry))
    return str(path)


def test_processes_of_a_version_are_added_up(tmp_path: Path) -> None:
    files = [export(tmp_path, "one", 10, errors=2), export(tmp_path, "two", 30)]
    total = observe(Path(file).read_text() for file in files)
    assert total.statuses == {"200": 38, "500": 2}
    assert total.latency == {0.02: 40} | dict.fromkeys(total.latency.keys() - {0.02}, 0)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    command = ["--threshold", "0.01", "--summary", str(summary), "--minutes", "0", "--wait", "0"]
    monkeypatch.setenv("STABLE_METRICS", export(tmp_path, "stable", 1800))
    monkeypatch.setenv("CANARY_METRICS", export(tmp_path, "good", 200, errors=1))
    assert check_canary_metrics.main(command) == 0
    assert "after 200 requests beside 1800" in capsys.readouterr().out
    text = summary.read_text()
    assert "### Canary: passed" in text
    assert "| model | `stable` | `good` | |" in text
    assert "| error rate | 0.00% | 0.50% | 1.00% |" in text
    assert "| requests | 1800 | 200 | at least 200 |" in text

    monkeypatch.setenv("CANARY_METRICS", export(tmp_path, "bad", 200, errors=20))
    assert check_canary_metrics.main(command) == 1
    assert "must not go on: error rate 10.00% against 0.00%" in capsys.readouterr().err
    assert "### Canary: failed" in summary.read_text()

    monkeypatch.setenv("CANARY_METRICS", export(tmp_path, "slow", 200, seconds=0.2))
    assert check_canary_metrics.main(command) == 1
    assert "95th percentile of the latency" in capsys.readouterr().err

    monkeypatch.setenv("CANARY_METRICS", export(tmp_path, "few", 199))
    assert check_canary_metrics.main(command) == 1
    few = "canary needs 200 requests to judge a threshold of 1%, has 199"
    assert few in capsys.readouterr().err
    assert f"- {few}" in summary.read_text()
    assert check_canary_metrics.main([*command, "--min-requests", "150"]) == 0

    monkeypatch.setenv("STABLE_SINCE", export(tmp_path, "before", 1780))
    assert check_canary_metrics.main(command) == 1
    assert "stable needs 200 requests" in capsys.readouterr().err

    monkeypatch.setenv("CANARY_METRICS", "http://127.0.0.1:9/metrics")
    assert check_canary_metrics.main(command) == 1
    assert "cannot read the metrics" in capsys.readouterr().err


def test_a_page_that_is_no_metrics_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page"
    page.write_text("<html><body>Sign in</body></html>\n")
    command = ["--threshold", "0.01", "--canary", str(page), "--minutes", "0"]
    assert check_canary_metrics.main(command) == 1
    assert "error: cannot read the metrics" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        check_canary_metrics.main([*command, "--min-requests", "0"])


@pytest.mark.parametrize("threshold", ["0", "-0.01", "1.5", "nan"])
def test_a_threshold_that_no_sample_can_judge_is_refused(threshold: str, tmp_path: Path) -> None:
    canary = export(tmp_path, "good", 200)
    with pytest.raises(SystemExit, match="2"):
        check_canary_metrics.main(["--threshold", threshold, "--canary", canary])


class Time:
    """A clock that passes only when somebody sleeps; others act at moments of it."""

    def __init__(self, acts: dict[float, Callable[[], object]]) -> None:
        self.now = 0.0
        self.acts = acts

    def monotonic(self) -> float:
        """Returns the seconds that were slept."""
        return self.now

    def sleep(self, seconds: float, /) -> None:
        """Lets time pass, and with it what happens then."""
        self.now += seconds
        for moment in [moment for moment in self.acts if moment <= self.now]:
            self.acts.pop(moment)()


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., tuple[int, float]]:
    """Watches a canary whose counts change at moments; returns the exit code and the seconds."""

    def run(at: dict[float, dict[str, int]], *options: str) -> tuple[int, float]:
        def acts(counts: dict[str, int]) -> Callable[[], object]:
            return lambda: export(tmp_path, "canary", **counts)

        clock = Time({moment: acts(counts) for moment, counts in at.items()})
        clock.sleep(0)
        stable = export(tmp_path, "stable", 1800)
        command = ["--threshold", "0.01", "--stable", stable, *options]
        command += ["--canary", str(tmp_path / "canary")]
        return check_canary_metrics.main(command, clock), clock.now

    return run


def test_requests_alone_do_not_end_the_watch(watch: Callable[..., tuple[int, float]]) -> None:
    # By default it is for ten minutes, however soon there are enough requests.
    assert watch({0: {"requests": 250}}) == (0, 600)
    assert watch({0: {"requests": 250}}, "--minutes", "30") == (0, 1800)


def test_time_alone_does_not_end_the_watch(watch: Callable[..., tuple[int, float]]) -> None:
    assert watch({0: {"requests": 3}, 900: {"requests": 250}}) == (0, 900)
    assert watch({0: {"requests": 3}}, "--wait", "20") == (1, 1200)


def test_a_fault_that_comes_late_is_seen(watch: Callable[..., tuple[int, float]]) -> None:
    late = {0: {"requests": 250}, 590: {"requests": 600, "errors": 50}}
    assert watch(late) == (1, 590), "errors end the watch at once"


def test_a_shift_of_scores_can_be_accepted_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stable = export(tmp_path, "stable", 1800)
    moved = export(tmp_path, "moved", 600, scale=60)
    summary = tmp_path / "summary.md"
    command = ["--threshold", "0.01", "--stable", stable, "--canary", moved, "--minutes", "0"]
    command += ["--summary", str(summary)]
    assert check_canary_metrics.main(command) == 1
    assert "scores moved by a PSI" in capsys.readouterr().err
    assert check_canary_metrics.main([*command, "--accept-score-shift", "new country"]) == 0
    assert "Accepted: scores moved by a PSI of" in summary.read_text()
    assert "Reason: new country" in summary.read_text()
    bad = export(tmp_path, "bad", 600, errors=60, scale=60)
    command[command.index(moved)] = bad
    assert check_canary_metrics.main([*command, "--accept-score-shift", "new country"]) == 1
