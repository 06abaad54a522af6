"""Scores transactions with a trained model and lists the alerts.

python src/predict.py --input data/training/transactions-2024-06.csv

The input has to hold the recent history of its accounts, because features look back.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.artifact import ModelError, load_model
from model.data import DataError, read_transactions
from model.features import build_features


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="List suspicious payments.")
    parser.add_argument("--model-dir", type=Path, default=Path("models"))
    parser.add_argument("--input", type=Path, required=True, nargs="+", metavar="CSV")
    parser.add_argument("--top", type=int, default=10, help="how many alerts to print")
    arguments = parser.parse_args(argv)

    try:
        classifier, threshold = load_model(arguments.model_dir)
        transactions = read_transactions(arguments.input)
    except (DataError, OSError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    scores = classifier.predict_proba(build_features(transactions))[:, 1]
    scored = transactions.assign(score=scores.round(4))
    alerts = scored[scores >= threshold].sort_values("score", ascending=False, kind="stable")
    columns = ["transaction_id", "account_id", "merchant_category", "amount", "country", "score"]
    print(f"{len(alerts)} of {len(scored)} payments are suspicious; the first {arguments.top}:")
    print(alerts[columns].head(arguments.top).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
