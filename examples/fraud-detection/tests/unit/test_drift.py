"""Tests of the drift statistics, of the baseline, of acceptances and of the report."""

import json
import math
import shlex
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, ks_2samp

import accept_drift
import check_drift
import drift
import generate
import make_baseline
from drift import DEFAULT_CONFIG as CONFIG
from drift_report import REASON
from example import EXAMPLE
from psi import population_stability_index

BASELINE = Path("data/baseline_stats.json")
ACCEPTED = Path("configs/accepted_drift.yaml")


@pytest.fixture(scope="session")
def baseline(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the baseline of the six months."""
    path = tmp_path_factory.mktemp("baseline") / "baseline.json"
    config, accepted = (str(EXAMPLE / "configs" / name) for name in (CONFIG.name, ACCEPTED.name))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(generated.parents[1])
        options = ["--config", config, "--accepted", accepted, "--output", str(path)]
        assert make_baseline.main(options) == 0
    return path


@pytest.fixture(autouse=True)
def known(data: Path, baseline: Path) -> None:
    """Makes the current directory one in which the commands run as in the example."""
    shutil.copytree(EXAMPLE / "configs", "configs")
    shutil.copy(baseline, BASELINE)


def check(*more: str) -> int:
    return check_drift.main(["--baseline", str(BASELINE), *more])


def make(*more: str) -> int:
    return make_baseline.main(["--output", str(BASELINE), *more])


def accept(file: Path, *columns: str, reason: str = "prices rose", more: Sequence[str] = ()) -> int:
    named = ["--file", str(file), "--column", *columns, "--reason", reason]
    return accept_drift.main([*named, *more])


def rewrite(path: Path, **changes: object) -> None:
    rows = pd.read_csv(path, keep_default_na=False)
    rows.assign(**changes).to_csv(path, index=False)  # type: ignore[arg-type]


def scale(path: Path, factor: float) -> None:
    rewrite(path, amount=(pd.read_csv(path)["amount"] * factor).round(2))


def relabel(path: Path, share: float) -> None:
    """Labels other rows, evenly over the file, so that this share of them are frauds."""
    rows = pd.read_csv(path)
    label = np.zeros(len(rows), dtype=int)
    label[np.linspace(0, len(rows) - 1, math.ceil(share * len(rows))).astype(int)] = 1
    rewrite(path, is_fraud=label)


def advised(text: str) -> list[str]:
    """Returns the arguments of the one command that the gate prints, with a reason."""
    (arguments,) = all_advised(text)
    return arguments


def all_advised(text: str) -> list[list[str]]:
    """Returns the arguments of each command that the gate prints, with a reason."""
    lines = [line for line in text.splitlines() if "src/accept_drift.py" in line]
    commands = [shlex.split(line) for line in lines]
    for command in commands:
        assert command[:2] == ["python", "src/accept_drift.py"]
        assert command[-2:] == ["--reason", REASON]
    return [[*command[2:-1], "prices rose"] for command in commands]


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


def test_a_rare_value_is_judged_by_its_share_and_by_chance() -> None:
    known = {"0": 9800, "1": 200}
    grown = drift.largest_share(known, {"0": 3230, "1": 170}, chance=0.001)
    assert (grown.value, grown.found, grown.expected) == ("1", 0.05, 0.02)
    assert grown.ratio == pytest.approx(2.5, abs=0.02)
    assert grown.chance < 1e-6
    # 15 of 300 are as many, but 6 are expected, and chance makes more of few.
    small = drift.largest_share(known, {"0": 285, "1": 15}, chance=1e-6)
    assert small.chance == pytest.approx(binomtest(15, 300, 0.02).pvalue, rel=0.05)
    new = drift.largest_share({"a": 1000}, {"a": 900, "b": 100}, chance=0.001)
    assert (new.value, new.expected) == ("b", 0.0)
    # A value that only chance moved far does not hide one that moved less, and surely.
    both = drift.largest_share(
        {"a": 8000, "b": 1990, "c": 10}, {"a": 700, "b": 297, "c": 3}, chance=0.001
    )
    assert both.value == "b"


def test_equal_data_is_near_the_baseline(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--summary", "summary.md", "--plot", "reports/drift.png") == 0
    assert "6 files are near the baseline" in capsys.readouterr().out
    assert "### Data drift: passed" in Path("summary.md").read_text()
    assert Path("reports/drift.png").read_bytes().startswith(b"\x89PNG")


def test_months_of_the_same_kind_are_no_drift(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "SEED", 5)
    for name, content in generate.render().items():
        (data / name).write_bytes(content)
    assert make() == 0
    later = tuple(datetime(2024, month, 1, tzinfo=UTC) for month in range(1, 10))
    monkeypatch.setattr(generate, "MONTHS", later)
    for name, content in generate.render().items():
        (data / name).write_bytes(content)
    assert len(list(data.iterdir())) == 8
    assert check() == 0


def test_larger_amounts_in_the_last_month_are_drift(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale(data / "transactions-2024-06.csv", 1.5)
    assert check("--summary", "summary.md", "--plot", "drift.png") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: data/training/transactions-2024-06.csv: `amount`: PSI 0.")
    assert "KS 0.174, beyond the limit 0.12" in lines[0]
    assert sum(line.startswith("error: ") for line in lines) == 1, "one column of one file moved"
    summary = Path("summary.md").read_text()
    assert "### Data drift: failed" in summary
    assert summary.count("**drifted**") == 1
    assert "python src/accept_drift.py --file data/training/transactions-2024-06.csv" in summary
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


@pytest.mark.parametrize("share", [0.005, 0.01, 0.03, 0.05, 0.10, 0.12])
def test_another_share_of_frauds_is_drift(
    data: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    relabel(data / "transactions-2024-04.csv", share)
    assert check("--summary", "summary.md") == 1
    (fault,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert fault.startswith("error: data/training/transactions-2024-04.csv: `is_fraud`: PSI 0.")
    assert "(limit 0.2); share of `1` " in fault, "PSI alone sees nothing"
    assert fault.endswith("the baseline's 2.00%, beyond the limit 1.4")
    assert f"`1`: 2.00% → {share:.1%}"[:-1] in Path("summary.md").read_text()


@pytest.mark.parametrize(
    ("column", "value", "other", "share"),
    [
        ("country", "GB", "DE", 1.0),
        ("country", "NG", "DE", 1.0),
        ("channel", "atm", "online", 1.0),
        ("channel", "chip", "online", 0.6),
        ("merchant_category", "cash", "grocery", 1.0),
    ],
)
def test_a_value_that_vanishes_is_drift(
    data: Path,
    column: str,
    value: str,
    other: str,
    share: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    june = data / "transactions-2024-06.csv"
    values = pd.read_csv(june, keep_default_na=False)[column]
    gone = values[values == value].sample(frac=share, random_state=1).index
    rewrite(june, **{column: values.mask(values.index.isin(gone), other)})
    assert check() == 1
    (fault,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert f"`{column}`: PSI 0." in fault
    assert f"(limit 0.2); share of `{value}` " in fault, "PSI alone sees nothing"


def test_limits_of_a_column_replace_those_of_all(data: Path) -> None:
    scale(data / "transactions-2024-06.csv", 1.5)
    text = CONFIG.read_text()
    CONFIG.write_text(f"{text}    amount: {{ psi: 0.3, ks: 0.2 }}\n")
    assert check() == 0
    CONFIG.write_text(f"{text}    amount: {{ psi: 0.1, ks: 0.2 }}\n")
    assert check() == 1


@pytest.mark.parametrize("factor", [1.5, 2, 3, 10])
def test_the_command_of_the_message_accepts_exactly_this_drift(
    data: Path, factor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    may, june = data / "transactions-2024-05.csv", data / "transactions-2024-06.csv"
    good_may, good_june = may.read_bytes(), june.read_bytes()
    scale(june, factor)
    accepted_june = june.read_bytes()
    assert check() == 1
    assert accept_drift.main(advised(capsys.readouterr().err)) == 0
    assert check("--summary", "summary.md") == 0
    found = capsys.readouterr().out
    assert "6 files are near the baseline, apart from 1 accepted drift;" in found
    assert "prices rose" in Path("summary.md").read_text(), "the reason is shown"
    assert "| accepted |" in Path("summary.md").read_text()

    scale(may, factor)  # another file
    assert check() == 1
    may.write_bytes(good_may)
    relabel(june, 0.05)  # another column, by which the file changed as well
    assert check() == 1
    june.write_bytes(good_june)
    scale(june, factor + 0.5)  # the same column of the same file, changed again
    capsys.readouterr()
    assert check() == 1
    assert "it changed after it was accepted" in capsys.readouterr().err
    june.write_bytes(accepted_june)
    assert check() == 0


def test_other_columns_of_an_accepted_file_are_still_checked(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    june = data / "transactions-2024-06.csv"
    scale(june, 2)
    relabel(june, 0.08)
    assert accept(june, "amount") == 0
    assert check() == 1
    error = capsys.readouterr().err
    assert "`is_fraud`" in error
    assert "`amount`" not in error
    assert accept_drift.main(advised(error)) == 0
    assert check() == 0
    assert ACCEPTED.read_text().count("- file:") == 2, "each column has its own reason"
    assert accept(june, "amount", "is_fraud", reason="both") == 0
    assert ACCEPTED.read_text().count("- file:") == 1
    assert check() == 0


def test_an_acceptance_of_other_bytes_says_so(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    june = data / "transactions-2024-06.csv"
    scale(june, 2)
    assert accept(june, "amount") == 0
    digest = sha256(june.read_bytes()).hexdigest()
    ACCEPTED.write_text(ACCEPTED.read_text().replace(digest, "0" * 64))
    assert check() == 1
    error = capsys.readouterr().err
    assert f"is accepted for the SHA-256 {'0' * 64}, but the file has {digest}" in error
    assert accept(june, "amount", more=["--sha256", "0" * 64]) == 1
    assert f"has the SHA-256 {digest}, not {'0' * 64}" in capsys.readouterr().err
    # The command of the message replaces the entry.
    assert accept_drift.main(advised(error)) == 0
    assert "0" * 64 not in ACCEPTED.read_text()
    assert check() == 0


def test_only_what_drifted_can_be_accepted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    june = data / "transactions-2024-06.csv"
    before = ACCEPTED.read_bytes()
    assert accept(june, "amount") == 1
    assert "amount did not drift: no column did" in capsys.readouterr().err
    scale(june, 2)
    assert accept(june, "amount", "country") == 1
    assert "country did not drift: only amount did" in capsys.readouterr().err
    assert accept(data / "transactions-2024-6.csv", "amount") == 1
    assert "did you mean `transactions-2024-06.csv`?" in capsys.readouterr().err
    for no_reason in (" ", REASON):
        with pytest.raises(SystemExit):
            accept(june, "amount", reason=no_reason)
        assert "--reason must say why" in capsys.readouterr().err
    assert ACCEPTED.read_bytes() == before


def test_entries_that_nothing_needs_are_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    june, may = data / "transactions-2024-06.csv", data / "transactions-2024-05.csv"
    good = june.read_bytes()
    for path in (may, june):
        scale(path, 2)
        assert accept(path, "amount") == 0
    june.write_bytes(good)
    may.unlink()
    assert check("--summary", "summary.md") == 0
    found = capsys.readouterr().out
    assert "needed no more: data/training/transactions-2024-06.csv: no drift in `amount`" in found
    assert "needed no more: data/training/transactions-2024-05.csv: there is no such" in found
    assert "**Needed no more in configs/accepted_drift.yaml:**" in Path("summary.md").read_text()


def test_a_baseline_leaves_out_accepted_files(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    june = data / "transactions-2024-06.csv"
    scale(june, 10)
    assert accept(june, "amount") == 0
    assert make() == 0
    assert "17,122 rows of 5 files, without transactions-2024-06.csv" in capsys.readouterr().out
    assert check() == 0
    scale(june, 2)
    assert make() == 0, "an entry of other bytes leaves nothing out"
    assert "rows of 6 files\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        make("--newest", "0")


def test_accepted_drift_becomes_the_baseline(data: Path) -> None:
    for path in data.iterdir():
        scale(path, 3)
    assert check() == 1
    assert make() == 0
    assert check() == 0


def test_the_newest_months_become_the_baseline(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(data.iterdir())
    for path in paths[3:]:
        scale(path, 3)
        assert accept(path, "amount") == 0
    assert make("--newest", "3") == 0
    capsys.readouterr()
    assert check() == 1
    error = capsys.readouterr().err
    commands = all_advised(error)
    assert len(commands) == 3, "now the older months are another kind"
    for command in commands:
        assert accept_drift.main(command) == 0
    assert check() == 0


def test_the_command_names_files_that_are_not_the_usual_ones(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale(data / "transactions-2024-06.csv", 2)
    BASELINE.rename("base line.json")
    CONFIG.rename("drift.yaml")
    ACCEPTED.rename("accepted.yaml")
    options = ["--baseline", "base line.json", "--config", "drift.yaml"]
    options += ["--accepted", "accepted.yaml"]
    assert check_drift.main(options) == 1
    assert accept_drift.main(advised(capsys.readouterr().err)) == 0
    assert check_drift.main(options) == 0


@pytest.mark.parametrize(("kind", "column"), [("numeric", "amount"), ("categorical", "is_fraud")])
def test_a_baseline_of_other_columns_is_an_error(
    data: Path, kind: str, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(BASELINE.read_text())
    kept = content[kind].pop(column)
    BASELINE.write_text(json.dumps(content))
    assert check() == 1
    assert f"the baseline has the {kind} columns" in capsys.readouterr().err

    content[kind] |= {column: kept, "more": kept}
    BASELINE.write_text(json.dumps(content))
    assert check() == 1
    assert f"the baseline has the {kind} columns" in capsys.readouterr().err


def test_a_changed_row_is_no_drift(data: Path) -> None:
    path = data / "transactions-2024-01.csv"
    path.write_text(path.read_text().replace("4.98", "999.99", 1))
    assert check() == 0


@pytest.mark.parametrize("command", [check, make])
def test_missing_and_unusable_data_is_an_error(
    data: Path, command: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "transactions-2024-01.csv").write_text("a,b\n1,2\n")
    assert command() == 1
    assert "has the columns" in capsys.readouterr().err
    shutil.rmtree(data)
    assert command() == 1
    assert "no file matches" in capsys.readouterr().err


def test_all_files_that_cannot_be_compared_are_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, fourth, fifth = sorted(data.iterdir())[:5]
    first.write_text("a,b\n1,2\n")
    second.write_text("")
    third.write_text(third.read_text().splitlines()[0] + "\n")
    fourth.write_text(fourth.read_text().replace("2024-04-01T", "01/04/2024 ", 1))
    fifth.write_text(fifth.read_text().replace("\n", "\n99999999999999999999", 1))
    assert check("--summary", "summary.md") == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 5
    for path in (first, second, third, fourth, fifth):
        assert path.name in error
        assert path.name in Path("summary.md").read_text()


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        (CONFIG, "psi: 0.2", "psy: 0.2", "drift.yaml:11: `limits.psy` is not a known key; did you"),
        (CONFIG, "ks: 0.12", "ks: 12", "`limits.ks` must be less than 1"),
        (
            CONFIG,
            "numeric: [amount",
            "numeric: [account_id",
            "is no column of numbers: `account_id`",
        ),
        (CONFIG, "files: data", "files: /data", "`files` must be a pattern below this directory"),
        (CONFIG, "share_ratio", "share_ration", "did you mean `share_ratio`?"),
        (CONFIG, "ks: 0.12", "ks: much", "`limits.ks` must be a valid number, not 'much'"),
        (
            CONFIG,
            "[amount,",
            "[amounts,",
            "is no column of the data: `amounts`; did you mean `amount`",
        ),
        (CONFIG, "is_fraud: {", "is_frod: {", "yaml:17: `limits.columns.is_frod` is no column of"),
        (CONFIG, "share_ratio: 1.4", "ks: 0.1", "categories have no `ks`"),
        (CONFIG, "is_fraud: {", "amount: {", "columns.amount.share_ratio` is for columns of `cat"),
        (CONFIG, "limits:", "limits: [", "drift.yaml:1"),
        (ACCEPTED, "[]", '[{ reason: " " }]', "`accepted[0].reason` must not be empty, not ' '"),
        (ACCEPTED, "[]", "[{ columns: [] }]", "`accepted[0].columns` must have at least 1 item,"),
        (ACCEPTED, "accepted: []", "accept: []", "did you mean `accepted`?"),
        (ACCEPTED, "[]", "[{ file: a, shasum: b }]", "`accepted[0].shasum` is not a known key"),
        (BASELINE, '"edges"', '"edge"', "this is no baseline"),
    ],
)
def test_slips_in_a_file_are_told_at_their_place(
    path: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert check("--summary", "summary.md") == 2
    error = capsys.readouterr().err
    assert f"error: {path}" in error
    assert message in error
    assert message in Path("summary.md").read_text()


def test_missing_files_are_named_together(capsys: pytest.CaptureFixture[str]) -> None:
    for path in (CONFIG, ACCEPTED, BASELINE):
        path.rename(path.with_suffix(".old"))
    assert check() == 2
    error = capsys.readouterr().err
    assert "configs/drift.yaml: there is no such file; did you mean `drift.old`?" in error
    assert "configs/accepted_drift.yaml: there is no such file" in error
    assert (
        "data/baseline_stats.json: there is no such baseline; write it with `python src/" in error
    )
    assert make() == 2
    assert accept(Path("data/training/transactions-2024-06.csv"), "amount") == 2
    BASELINE.write_text('{"files": {}, "numeric": {}, "categorical": {}}')
    assert check() == 2
    assert "this is a baseline of no files" in capsys.readouterr().err
