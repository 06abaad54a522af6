"""Decides whether a new model may take the place of the one that serves.

python src/compare_models.py --champion production --challenger models \
    --config configs/promotion.yaml --summary summary.md --report reports/comparison.json

Both models are asked about the same held-out payments. The command ends with 1 if the challenger
is worse by more than a limit, and names the limit. Where production serves no model, give
`--champion none`; where the store has lost that model, `--champion lost`. The summary is for the
person who approves a deployment: the verdict and the model card.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from model.artifact import (
    CARD_FILE,
    HELD_OUT_FILE,
    SCHEMA_FILE,
    ModelError,
    Schema,
    feature_code,
    load_model,
    read_schema,
)
from model.data import LABEL, DataError, load_transactions, read_table
from model.features import build_features
from outputs import append_summary
from promotion import Candidate, Check, Comparison, PromotionConfig
from strict_config import USAGE, ConfigError, read_config


@dataclass(frozen=True)
class Verdict:
    """What was compared, and how it ended."""

    rows: int
    frauds: int
    first: str
    last: str
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    without: str = ""  # why nothing was compared

    @property
    def failed(self) -> list[Check]:
        """The rows that went over their limit."""
        return [check for check in self.checks if not check.passed]

    @property
    def outcome(self) -> str:
        """The verdict in a word or two."""
        if self.without:
            return "nothing to compare"
        return "refused" if self.failed else "passed"


# Where there is no champion, and what the reviewer has to know of that.
WITHOUT = {
    "none": "Production serves no model yet: this is the first of all.",
    "lost": (
        "Production serves a model that the store no longer has, so this model was compared with"
        " nothing. Look at its card before you approve it."
    ),
}


def judge(champion: str, challenger_dir: Path, settings: PromotionConfig) -> Verdict:
    """Compares both models; raises `DataError` or `ModelError` where that cannot be done."""
    if not (challenger_dir / SCHEMA_FILE).is_file():
        raise ModelError(f"the challenger `{challenger_dir}` is no model: no `{SCHEMA_FILE}` there")
    new = read_schema(challenger_dir)
    if new.feature_code != feature_code():
        raise ModelError(
            f"the challenger in `{challenger_dir}` was trained by other code than this:"
            " train it again, or compare it with the code that trained it"
        )
    without = WITHOUT.get(champion, "")
    champion_dir = Path(champion)
    old = None if without else _champion_schema(champion_dir)
    transactions = load_transactions(Path(settings.held_out.directory))
    features = build_features(transactions)
    notes: list[str] = []
    rows = _held_out(transactions, settings, [new, *([old] if old else [])])
    recorded = None
    if old and old.feature_code != new.feature_code:
        recorded = _recorded_scores(champion_dir)
        rows = rows[rows["transaction_id"].isin(list(recorded))]
        notes.append(
            "The champion's features come from other code, so the scores that its training"
            f" recorded count ({HELD_OUT_FILE}), and its latency is not compared."
        )
    _check_frauds(rows, settings)
    wanted = features.loc[rows.index]
    verdict = Verdict(
        rows=len(rows),
        frauds=int(rows[LABEL].sum()),
        first=f"{rows['timestamp'].iloc[0]:%Y-%m-%d}",
        last=f"{rows['timestamp'].iloc[-1]:%Y-%m-%d}",
        notes=notes,
        without=without,
    )
    challenger = _ask(challenger_dir, wanted)
    if old is None:
        notes.append(without)
        return verdict
    if recorded is None:
        serving = _ask(champion_dir, wanted)
    else:
        scores = [recorded[number] for number in rows["transaction_id"]]
        serving = Candidate(champion_dir, np.array(scores, np.float64), old.threshold)
    comparison = Comparison(settings, rows, wanted, serving, challenger)
    verdict.checks.extend(comparison.checks())
    if comparison.too_small:
        shown = ", ".join(comparison.too_small)
        notes.append(f"Too few to be compared alone (payments, frauds): {shown}.")
    return verdict


def _champion_schema(directory: Path) -> Schema:
    try:
        return read_schema(directory)
    except (ModelError, OSError) as error:
        raise ModelError(
            f"the champion cannot be compared: {error}; where there is none, give --champion none"
        ) from None


def _held_out(
    transactions: pd.DataFrame, settings: PromotionConfig, models: list[Schema]
) -> pd.DataFrame:
    """Returns the newest payments, without all that one of the models was fitted on."""
    times = transactions["timestamp"]
    newest = times >= times.iloc[int(len(times) * (1.0 - settings.held_out.fraction))]
    for model in models:
        newest &= times > pd.Timestamp(model.fitted_until)
    rows: pd.DataFrame = transactions.loc[newest]
    return rows


def _check_frauds(rows: pd.DataFrame, settings: PromotionConfig) -> None:
    frauds = int(rows[LABEL].sum())
    if frauds < settings.held_out.min_frauds:
        raise DataError(
            f"only {frauds} frauds are among the {len(rows)} payments that neither model was fitted"
            f" on, and held_out.min_frauds is {settings.held_out.min_frauds}: there is no verdict"
        )


def _ask(directory: Path, features: pd.DataFrame) -> Candidate:
    classifier, threshold = load_model(directory)
    scores = classifier.predict_proba(features)[:, 1]
    return Candidate(directory, scores, threshold, classifier)


def _recorded_scores(directory: Path) -> dict[int, float]:
    path = directory / HELD_OUT_FILE
    try:
        table = read_table(path, {"transaction_id": "int64", "score": "float64"})
        scores = dict(zip(table["transaction_id"].tolist(), table["score"].tolist(), strict=True))
    except (ValueError, KeyError) as error:
        raise ModelError(f"`{path}` is damaged: {error}") from None
    if not all(0.0 <= score <= 1.0 for score in scores.values()):
        raise ModelError(f"`{path}` is damaged: a score does not lie between 0 and 1")
    return scores


def markdown(verdict: Verdict, settings: PromotionConfig, card: str, run_url: str | None) -> str:
    """Returns the summary."""
    lines = [
        f"### Champion and challenger: {verdict.outcome}",
        "",
        f"{verdict.rows:,} payments from {verdict.first} to {verdict.last}, {verdict.frauds} of"
        " them fraudulent; neither model was fitted on them.",
        *(note for text in verdict.notes for note in ("", text)),
        "",
    ]
    if verdict.checks:
        share = f"{settings.bootstrap.confidence:.0%}"
        lines += [
            f"| | champion | challenger | difference | {share} interval | limit | |",
            "|---|---:|---:|---:|---|---|---|",
            *map(_row, verdict.checks),
            "",
        ]
    if run_url:
        lines += [f"[The challenger's training in MLflow]({run_url})", ""]
    # Below the verdict's own heading.
    lines += [f"###{line}" if line.startswith("#") else line for line in card.splitlines()]
    return "\n".join([*lines, "", ""])


def _row(check: Check) -> str:
    digits = 1 if check.unit else 4
    values = [f"{value:.{digits}f}{check.unit}" for value in (check.champion, check.challenger)]
    interval = f"{check.interval[0]:+.3f} to {check.interval[1]:+.3f}" if check.interval else ""
    outcome = "passed" if check.passed else "**refused**"
    return (
        f"| {check.name} | {values[0]} | {values[1]} | {check.difference:+.{digits}f}{check.unit}"
        f" | {interval} | {check.limit} | {outcome} |"
    )


def _report(
    verdict: Verdict, settings: PromotionConfig, champion: str, challenger: Path, url: str | None
) -> dict[str, Any]:
    """Returns all that the verdict rests on, for machines and for the record."""
    models = {"challenger": challenger}
    if not verdict.without:
        models["champion"] = Path(champion)
    return {
        "outcome": "refused" if verdict.failed else "passed",
        "without_champion": verdict.without,
        "models": {name: read_schema(path).model.sha256 for name, path in models.items()},
        "run_url": url,
        "rows": verdict.rows,
        "frauds": verdict.frauds,
        "first": verdict.first,
        "last": verdict.last,
        "notes": verdict.notes,
        "checks": [asdict(check) | {"difference": check.difference} for check in verdict.checks],
        "configuration": asdict(settings),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare a new model with the one that serves.")
    parser.add_argument(
        "--champion",
        required=True,
        help="a model directory; `none` if production serves no model; `lost` if the store has"
        " none of it any more",
    )
    parser.add_argument("--challenger", type=Path, required=True, help="a model directory")
    parser.add_argument("--config", type=Path, default=Path("configs/promotion.yaml"))
    parser.add_argument("--summary", type=Path, help="append the outcome here, as Markdown")
    parser.add_argument("--report", type=Path, help="write the outcome here, as JSON")
    parser.add_argument("--run-url", help="the challenger's run in MLflow, to link to")
    arguments = parser.parse_args(argv)

    try:
        settings = read_config(arguments.config, PromotionConfig)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    try:
        verdict = judge(arguments.champion, arguments.challenger, settings)
        card = (arguments.challenger / CARD_FILE).read_text(encoding="utf-8")
    except (DataError, ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        failed = f"### Champion and challenger: no verdict\n\n{error}\n\n"
        append_summary(arguments.summary, failed)
        return 1

    append_summary(arguments.summary, markdown(verdict, settings, card, arguments.run_url))
    if arguments.report:
        report = _report(
            verdict, settings, arguments.champion, arguments.challenger, arguments.run_url
        )
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for check in verdict.failed:
        print(
            f"error: the challenger is refused: {check.name} {check.challenger:.4g}{check.unit},"
            f" champion {check.champion:.4g}{check.unit}; the limit is {check.limit}"
            f" ({arguments.config}: {check.key})",
            file=sys.stderr,
        )
    if verdict.failed:
        return 1
    for note in verdict.notes:
        print(f"note: {note}")
    kept = f"{len(verdict.checks)} limits are kept, " if verdict.checks else ""
    print(f"the challenger may be deployed: {kept}{verdict.rows} payments, {verdict.frauds} frauds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
