"""Turns transactions into the model's inputs.

Invariant: the features of a row depend on that row and on earlier rows of the same
account, never on later ones and never on labels. So training, the evaluation on a later
period and scoring in production compute the same numbers, given the same history.
"""

import pandas as pd

CATEGORICAL = ("merchant_category", "channel")
NUMERIC = (
    "amount",
    "amount_to_usual",
    "account_age_days",
    "hour",
    "is_weekend",
    "minutes_since_previous",
    "payments_last_hour",
    "payments_last_day",
    "spent_last_day",
    "country_familiarity",
    "category_familiarity",
)
FEATURES = NUMERIC + CATEGORICAL


def build_features(transactions: pd.DataFrame) -> pd.DataFrame:
    """Returns the columns `FEATURES`, with the index of `transactions`.

    Rows must be in order of time. What an account's first payment cannot know,
    such as the time since the previous one, is missing (NaN).
    """
    if not transactions["timestamp"].is_monotonic_increasing:
        raise ValueError("transactions must be in order of time")
    by_account = transactions.groupby("account_id", sort=False)
    earlier_payments = by_account.cumcount()
    earlier_spending = by_account["amount"].cumsum() - transactions["amount"]
    usual_amount = (earlier_spending / earlier_payments).where(earlier_payments > 0)
    timestamp = transactions["timestamp"]
    last_hour = _recent(transactions, "1h")
    last_day = _recent(transactions, "24h")

    features = pd.DataFrame(
        {
            "amount": transactions["amount"],
            "amount_to_usual": transactions["amount"] / usual_amount,
            "account_age_days": transactions["account_age_days"].astype("float64"),
            "hour": timestamp.dt.hour + timestamp.dt.minute / 60.0,
            "is_weekend": (timestamp.dt.day_of_week >= 5).astype("float64"),
            "minutes_since_previous": by_account["timestamp"].diff().dt.total_seconds() / 60.0,
            "payments_last_hour": last_hour["payments"],
            "payments_last_day": last_day["payments"],
            "spent_last_day": last_day["spent"],
            "country_familiarity": _familiarity(transactions, "country", earlier_payments),
            "category_familiarity": _familiarity(
                transactions, "merchant_category", earlier_payments
            ),
            "merchant_category": transactions["merchant_category"],
            "channel": transactions["channel"],
        }
    )
    return features[list(FEATURES)]


def _recent(transactions: pd.DataFrame, window: str) -> pd.DataFrame:
    """Counts and sums an account's payments in the time window before each payment."""
    # The window is open on the right, so a payment never counts itself.
    rolled = (
        transactions.groupby("account_id", sort=False)
        .rolling(window, on="timestamp", closed="left")["amount"]
        .agg(["count", "sum"])
    )
    # Rows come back grouped by account; a stable sort by account gives the same order.
    groups = transactions.groupby("account_id", sort=False).ngroup().to_numpy()
    rolled.index = transactions.index[groups.argsort(kind="stable")]
    rolled = rolled.reindex(transactions.index).fillna(0.0)
    return rolled.set_axis(["payments", "spent"], axis="columns")


def _familiarity(
    transactions: pd.DataFrame, column: str, earlier_payments: "pd.Series[int]"
) -> "pd.Series[float]":
    """Returns the share of the account's earlier payments with the same value."""
    same = transactions.groupby(["account_id", column], sort=False).cumcount()
    return (same / earlier_payments).where(earlier_payments > 0)
