"""Tests of the features: their values on a small history, and that they never look ahead."""

import numpy as np
import pandas as pd
import pytest

from model.features import FEATURES, build_features

HISTORY = (
    # time, account, category, amount, country
    ("2024-01-01T10:00:00Z", "A1", "grocery", 20.0, "DE"),
    ("2024-01-01T10:30:00Z", "A2", "travel", 500.0, "US"),
    ("2024-01-01T10:50:00Z", "A1", "grocery", 40.0, "DE"),
    ("2024-01-01T11:00:00Z", "A1", "electronics", 90.0, "US"),
    ("2024-01-02T10:50:00Z", "A1", "grocery", 25.0, "DE"),
)


def transactions(history: tuple[tuple[str, str, str, float, str], ...] = HISTORY) -> pd.DataFrame:
    frame = pd.DataFrame(
        history, columns=["timestamp", "account_id", "merchant_category", "amount", "country"]
    )
    return frame.assign(
        timestamp=pd.to_datetime(frame["timestamp"]), account_age_days=30, channel="chip"
    )


def test_columns_and_index_are_those_promised() -> None:
    frame = transactions()
    frame.index = pd.Index([7, 3, 9, 1, 5])
    features = build_features(frame)
    assert list(features.columns) == list(FEATURES)
    assert list(features.index) == [7, 3, 9, 1, 5]
    assert features.loc[9, "amount"] == 40.0
    assert features.loc[9, "payments_last_hour"] == 1.0


def test_recent_payments_are_those_of_the_same_account_before_this_one() -> None:
    features = build_features(transactions())
    # The third payment of A1 is exactly an hour after the first: the window includes it.
    assert features["payments_last_hour"].tolist() == [0.0, 0.0, 1.0, 2.0, 0.0]
    assert features["payments_last_day"].tolist() == [0.0, 0.0, 1.0, 2.0, 2.0]
    assert features["spent_last_day"].tolist() == [0.0, 0.0, 20.0, 60.0, 130.0]


def test_amounts_are_compared_with_the_accounts_earlier_mean() -> None:
    ratio = build_features(transactions())["amount_to_usual"]
    assert np.isnan(ratio[0])
    assert np.isnan(ratio[1])
    assert ratio.tolist()[2:] == pytest.approx([40 / 20, 90 / 30, 25 / 50])


def test_familiarity_is_the_share_of_earlier_payments_alike() -> None:
    features = build_features(transactions())
    assert features["country_familiarity"].tolist()[2:] == pytest.approx([1.0, 0.0, 2 / 3])
    assert features["category_familiarity"].tolist()[2:] == pytest.approx([1.0, 0.0, 2 / 3])


def test_the_first_payment_of_an_account_has_no_history() -> None:
    first = build_features(transactions()).loc[1]
    unknown = ["amount_to_usual", "minutes_since_previous", "country_familiarity"]
    assert first[unknown].isna().all()
    assert first["payments_last_day"] == 0.0


@pytest.mark.parametrize("known", range(1, len(HISTORY)))
def test_later_payments_change_no_earlier_row(known: int) -> None:
    whole = build_features(transactions())
    part = build_features(transactions(HISTORY[:known]))
    pd.testing.assert_frame_equal(whole.iloc[:known], part)


def test_what_was_spent_before_the_window_leaves_no_noise_in_it() -> None:
    days = [(f"2024-01-0{day}T10:00:00Z", "A1", "grocery", 0.1 * day, "DE") for day in range(1, 8)]
    now = ("2024-01-08T09:00:00Z", "A1", "grocery", 1.0, "DE")
    spent = [build_features(transactions((*some, now))).iloc[-1] for some in (days, days[-1:])]
    assert spent[0]["spent_last_day"] == spent[1]["spent_last_day"] == 0.7


def test_simultaneous_payments_do_not_count_each_other_as_recent() -> None:
    at_once = transactions((HISTORY[0], HISTORY[0]))
    assert build_features(at_once)["payments_last_hour"].tolist() == [0.0, 0.0]


def test_rows_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order of time"):
        build_features(transactions(HISTORY[::-1]))
