"""What must not change a score, and in which direction some things must change it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from model.classifier import Classifier
from model.features import build_features

Score = Callable[[pd.DataFrame], npt.NDArray[np.float64]]


@pytest.fixture(scope="module")
def score(classifier: Classifier) -> Score:
    """Returns the whole way from payments to scores."""

    def scores(transactions: pd.DataFrame) -> npt.NDArray[np.float64]:
        return np.asarray(classifier.predict_proba(build_features(transactions))[:, 1])

    return scores


@pytest.fixture(scope="module")
def june(transactions: pd.DataFrame) -> pd.DataFrame:
    """Returns the last month, in which the model's work is looked at."""
    last = transactions["timestamp"] >= "2024-06-01"
    return transactions[last].reset_index(drop=True)


@pytest.fixture(scope="module")
def ordinary(features: pd.DataFrame, transactions: pd.DataFrame) -> pd.DataFrame:
    """Returns the features of honest payments of well-known accounts."""
    known = features["amount_to_usual"].between(0.5, 2.0) & (transactions["is_fraud"] == 0)
    return features[known].tail(500)


# --- Nothing changes ---------------------------------------------------------------------------


def test_the_names_of_accounts_and_payments_do_not_matter(june: pd.DataFrame, score: Score) -> None:
    renamed = june.assign(
        account_id="X" + june["account_id"].str[::-1],
        transaction_id=june["transaction_id"] * 7 + 1,
    )
    np.testing.assert_array_equal(score(renamed), score(june))


def test_the_label_is_not_looked_at(june: pd.DataFrame, score: Score) -> None:
    np.testing.assert_array_equal(score(june.assign(is_fraud=1)), score(june))


def test_the_order_of_rows_does_not_matter(features: pd.DataFrame, classifier: Classifier) -> None:
    rows = features.tail(1000)
    shuffled = rows.sample(frac=1.0, random_state=1)
    expected = pd.Series(classifier.predict_proba(rows)[:, 1], index=rows.index)
    found = pd.Series(classifier.predict_proba(shuffled)[:, 1], index=shuffled.index)
    pd.testing.assert_series_equal(found.sort_index(), expected, check_exact=True)


def test_other_accounts_do_not_matter(june: pd.DataFrame, score: Score) -> None:
    mine = june["account_id"] == june["account_id"].mode()[0]
    np.testing.assert_array_equal(score(june[mine]), score(june)[mine])


def test_the_year_does_not_matter(june: pd.DataFrame, score: Score) -> None:
    later = june.assign(timestamp=june["timestamp"] + pd.Timedelta(weeks=52))
    np.testing.assert_array_equal(score(later), score(june))


# --- Something must change ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "worse",
    [
        {"amount": 20.0, "amount_to_usual": 20.0},
        {"country_familiarity": 0.0},
        {"payments_last_hour": 4.0, "payments_last_day": 5.0},
    ],
    ids=lambda worse: "+".join(worse),
)
def test_suspicious_circumstances_raise_the_score(
    ordinary: pd.DataFrame, classifier: Classifier, worse: dict[str, float]
) -> None:
    # Amounts and ratios are multiplied, everything else is set.
    changed = ordinary.assign(
        **{
            name: ordinary[name] * value if name.startswith("amount") else value
            for name, value in worse.items()
        }
    )
    before = classifier.predict_proba(ordinary)[:, 1]
    after = classifier.predict_proba(changed)[:, 1]
    assert after.mean() > 2 * before.mean()
    assert (after >= before).mean() > 0.9


def test_goods_that_can_be_resold_are_more_suspicious_than_groceries(
    ordinary: pd.DataFrame, classifier: Classifier
) -> None:
    online = ordinary.assign(channel="online")
    gift_cards = classifier.predict_proba(online.assign(merchant_category="gift_card"))[:, 1]
    groceries = classifier.predict_proba(online.assign(merchant_category="grocery"))[:, 1]
    assert gift_cards.mean() > groceries.mean()


def test_an_unknown_category_is_scored_and_not_refused(
    ordinary: pd.DataFrame, classifier: Classifier
) -> None:
    scores = classifier.predict_proba(ordinary.assign(merchant_category="zeppelin"))[:, 1]
    assert np.isfinite(scores).all()
