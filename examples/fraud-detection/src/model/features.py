"""Turns transactions into the model's inputs.

Invariant: the features of a row depend on that row and on earlier rows of the same
account, never on later ones and never on labels. So training, the evaluation on a later
period and scoring in production compute the same numbers, given the same history.

The rows are walked through one by one: for the twenty rows of a request, pandas' groups and
windows take thirty milliseconds, and a loop takes one. For all of the data both take the same.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple

import numpy as np
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

MINUTE = 60_000_000_000  # in nanoseconds
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Past(NamedTuple):
    """The features of a payment that its account's earlier payments make."""

    amount_to_usual: float
    minutes_since_previous: float
    payments_last_hour: int
    payments_last_day: int
    spent_last_day: float
    country_familiarity: float
    category_familiarity: float


@dataclass
class Account:
    """What is known of an account before a payment."""

    times: list[int] = field(default_factory=list)
    spent: list[float] = field(default_factory=lambda: [0.0])  # in all, before each of them
    countries: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)

    def describe(self, time: int, amount: float, country: str, category: str) -> Past:
        """Looks from the account's next payment at those before it."""
        # Payments of the same instant are not before this one, and an hour ago is recent.
        now = bisect_left(self.times, time)
        hour_ago = bisect_left(self.times, time - HOUR)
        day_ago = bisect_left(self.times, time - DAY)
        known = len(self.times)
        return Past(
            amount_to_usual=amount / (self.spent[-1] / known) if known else nan,
            minutes_since_previous=(time - self.times[-1]) / 1e9 / 60.0 if known else nan,
            payments_last_hour=now - hour_ago,
            payments_last_day=now - day_ago,
            # Without the noise of the subtraction, which depends on what came before the window.
            spent_last_day=round(self.spent[now] - self.spent[day_ago], 4),
            country_familiarity=self.countries[country] / known if known else nan,
            category_familiarity=self.categories[category] / known if known else nan,
        )

    def add(self, time: int, amount: float, country: str, category: str) -> None:
        """Makes a payment one of the earlier ones."""
        self.times.append(time)
        self.spent.append(self.spent[-1] + amount)
        self.countries[country] += 1
        self.categories[category] += 1


def build_features(transactions: pd.DataFrame) -> pd.DataFrame:
    """Returns the columns `FEATURES`, with the index of `transactions`.

    Rows must be in order of time. What an account's first payment cannot know,
    such as the time since the previous one, is missing (NaN).
    """
    timestamp = transactions["timestamp"]
    if not timestamp.is_monotonic_increasing:
        raise ValueError("transactions must be in order of time")
    times = timestamp.dt.as_unit("ns").astype("int64").to_numpy()  # since 1970, a Thursday
    minutes = times % DAY // MINUTE
    accounts: dict[str, Account] = {}
    rows = []
    for name, time, amount, country, category in zip(
        transactions["account_id"].tolist(),
        times.tolist(),
        transactions["amount"].tolist(),
        transactions["country"].tolist(),
        transactions["merchant_category"].tolist(),
        strict=True,
    ):
        account = accounts.setdefault(name, Account())
        rows.append(account.describe(time, amount, country, category))
        account.add(time, amount, country, category)
    past = np.array(rows, dtype=np.float64).reshape(-1, len(Past._fields))
    columns = {
        "amount": transactions["amount"].array,
        "account_age_days": transactions["account_age_days"].to_numpy("float64"),
        "hour": minutes // 60 + minutes % 60 / 60.0,
        "is_weekend": ((times // DAY + 3) % 7 >= 5).astype("float64"),
        "merchant_category": transactions["merchant_category"].array,
        "channel": transactions["channel"].array,
        **dict(zip(Past._fields, past.T, strict=True)),
    }
    return pd.DataFrame({name: columns[name] for name in FEATURES}, index=transactions.index)
