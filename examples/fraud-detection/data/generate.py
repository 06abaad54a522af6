"""Writes the synthetic card transactions under `data/training/`, one file a month.

The output is a pure function of `SEED`: the same bytes on every run. It needs the
standard library alone, because `random.Random.random()` is stable from one Python
release to the next, while NumPy's distributions may change with a NumPy release.

    python data/generate.py            # write the files
    python data/generate.py --check    # compare the files with what would be written

What makes the data learnable, and not trivially so:

* Each account has habits: a home country, an amount level, hours, favourite categories.
* Fraud comes in bursts on a taken-over card: a few quick payments, more often online
  and for goods that can be sold on. A third of the bursts imitate the account's habits.
* Honest customers travel, and now and then buy something expensive, which looks alike.
"""

import argparse
import csv
import io
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

SEED = 20240101
ACCOUNTS = 420
MONTHS = tuple(datetime(2024, month, 1, tzinfo=UTC) for month in range(1, 8))
BURSTS_PER_MONTH = 22
STEALTHY_BURSTS = 0.33

COLUMNS = (
    "transaction_id",
    "timestamp",
    "account_id",
    "account_age_days",
    "merchant_category",
    "amount",
    "country",
    "channel",
    "is_fraud",
)

COUNTRIES = {"DE": 0.30, "FR": 0.22, "NL": 0.16, "ES": 0.14, "IT": 0.10, "PL": 0.08}
FAR_COUNTRIES = {"US": 0.35, "GB": 0.30, "TH": 0.12, "BR": 0.12, "NG": 0.11}

# Category: how often it is used, and how its amounts compare with the account's level.
CATEGORIES = {
    "grocery": (0.31, 0.9),
    "restaurant": (0.19, 0.8),
    "fuel": (0.10, 1.3),
    "clothing": (0.10, 1.5),
    "pharmacy": (0.08, 0.6),
    "digital": (0.08, 0.5),
    "electronics": (0.05, 4.0),
    "gift_card": (0.03, 1.6),
    "travel": (0.04, 5.5),
    "cash": (0.02, 2.5),
}
RESOLD_CATEGORIES = {"electronics": 0.34, "gift_card": 0.30, "digital": 0.18, "travel": 0.18}
CHANNELS = {"contactless": 0.46, "chip": 0.24, "online": 0.30}


@dataclass(frozen=True)
class Account:
    """A card holder with habits that honest payments follow."""

    account_id: str
    opened: datetime
    home: str
    amount_level: float
    payments_a_day: float
    usual_hour: float
    favourites: dict[str, float]


class Transaction(NamedTuple):
    """One payment; the fields' order is the order in which equal times are sorted."""

    timestamp: datetime
    account: Account
    category: str
    amount: float
    country: str
    channel: str
    is_fraud: bool


def choose(rng: random.Random, weights: dict[str, float]) -> str:
    """Draws a key with probability proportional to its weight."""
    mark = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        mark -= weight
        if mark < 0:
            return key
    return next(reversed(weights))


def normal(rng: random.Random) -> float:
    """Draws from the standard normal, from `random()` alone (Box-Muller)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - rng.random()))
    return radius * math.cos(2.0 * math.pi * rng.random())


def between(rng: random.Random, low: float, high: float) -> float:
    """Draws uniformly from `[low, high)`."""
    return low + (high - low) * rng.random()


def open_account(rng: random.Random, number: int) -> Account:
    """Invents an account that existed before the first month."""
    return Account(
        account_id=f"A{number:04d}",
        opened=MONTHS[0] - timedelta(days=int(between(rng, 5, 2500))),
        home=choose(rng, COUNTRIES),
        amount_level=math.exp(3.1 + 0.45 * normal(rng)),
        payments_a_day=math.exp(-1.45 + 0.5 * normal(rng)),
        usual_hour=between(rng, 10.0, 19.0),
        favourites={
            name: share * math.exp(0.6 * normal(rng)) for name, (share, _) in CATEGORIES.items()
        },
    )


def price(rng: random.Random, account: Account, category: str) -> float:
    """Draws an amount typical of this account in this category."""
    return account.amount_level * CATEGORIES[category][1] * math.exp(0.55 * normal(rng))


def honest_payments(
    rng: random.Random, account: Account, start: datetime, end: datetime
) -> Iterator[Transaction]:
    """Yields a month of one account's own payments, sometimes with a journey abroad."""
    days = (end - start).days
    journey = range(0)
    abroad = account.home
    if rng.random() < 0.11:
        first = int(between(rng, 0, days))
        journey = range(first, first + 3 + int(between(rng, 0, 9)))
        abroad = choose(rng, COUNTRIES if rng.random() < 0.6 else FAR_COUNTRIES)
    for day in range(days):
        rate = account.payments_a_day * (1.8 if day in journey else 1.0)
        while rng.random() < rate / (1.0 + rate):
            category = choose(rng, account.favourites)
            hour = (account.usual_hour + 3.6 * normal(rng)) % 24.0
            channel = "atm" if category == "cash" else choose(rng, CHANNELS)
            if category == "digital":
                channel = "online"
            country = abroad if day in journey and channel != "online" else account.home
            if channel == "online" and rng.random() < 0.07:
                country = choose(rng, FAR_COUNTRIES)
            treat = between(rng, 3.0, 7.0) if rng.random() < 0.012 else 1.0
            yield Transaction(
                timestamp=start + timedelta(days=day, seconds=int(hour * 3600)),
                account=account,
                category=category,
                amount=price(rng, account, category) * treat,
                country=country,
                channel=channel,
                is_fraud=False,
            )


def fraud_burst(rng: random.Random, account: Account, start: datetime) -> Iterator[Transaction]:
    """Yields the payments made with a taken-over card until it is blocked."""
    stealthy = rng.random() < STEALTHY_BURSTS
    country = account.home if stealthy or rng.random() < 0.4 else choose(rng, FAR_COUNTRIES)
    at = start
    for _ in range(1 + int(between(rng, 0, 5))):
        categories = account.favourites if stealthy else RESOLD_CATEGORIES
        category = choose(rng, categories)
        factor = between(rng, 0.8, 1.8) if stealthy else between(rng, 0.6, 2.6)
        yield Transaction(
            timestamp=at,
            account=account,
            category=category,
            amount=price(rng, account, category) * factor,
            country=country,
            channel="atm"
            if category == "cash"
            else choose(rng, {"online": 0.78, "contactless": 0.22}),
            is_fraud=True,
        )
        pause = between(rng, 60.0, 10_800.0) if stealthy else between(rng, 40.0, 2_400.0)
        at += timedelta(seconds=int(pause))


def simulate() -> list[Transaction]:
    """Returns all payments of all months, in order of time."""
    rng = random.Random(SEED)
    accounts = [open_account(rng, number) for number in range(1, ACCOUNTS + 1)]
    payments: list[Transaction] = []
    for start, end in pairwise(MONTHS):
        for account in accounts:
            payments.extend(honest_payments(rng, account, start, end))
        for _ in range(BURSTS_PER_MONTH):
            victim = accounts[int(between(rng, 0, len(accounts)))]
            # Bursts start in the month and so early that they also end in it.
            seconds = (end - start).total_seconds() - 86_400.0
            begin = start + timedelta(seconds=int(between(rng, 0.0, seconds)))
            payments.extend(fraud_burst(rng, victim, begin))
    return sorted(payments, key=lambda payment: (payment.timestamp, payment.account.account_id))


def to_csv(rows: Sequence[tuple[int, Transaction]]) -> bytes:
    """Renders numbered transactions as CSV with LF line ends on every platform."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, payment in rows:
        writer.writerow(
            (
                number,
                payment.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
                payment.account.account_id,
                (payment.timestamp - payment.account.opened).days,
                payment.category,
                f"{max(payment.amount, 0.5):.2f}",
                payment.country,
                payment.channel,
                int(payment.is_fraud),
            )
        )
    return text.getvalue().encode("ascii")


def render() -> dict[str, bytes]:
    """Returns every file's name and bytes."""
    months: dict[str, list[tuple[int, Transaction]]] = {
        f"transactions-{start:%Y-%m}.csv": [] for start in MONTHS[:-1]
    }
    for number, payment in enumerate(simulate(), start=100_001):
        months[f"transactions-{payment.timestamp:%Y-%m}.csv"].append((number, payment))
    return {name: to_csv(rows) for name, rows in months.items()}


def main() -> int:
    """Writes or checks the files; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the synthetic training data.")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).resolve().parent / "training"
    )
    arguments = parser.parse_args()
    output: Path = arguments.output_dir
    stale: list[str] = []
    for name, content in render().items():
        path = output / name
        if not arguments.check:
            output.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        elif not path.is_file() or path.read_bytes() != content:
            stale.append(name)
    if stale:
        print(f"not what the generator writes: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
