"""The estimator and the search for its parameters."""

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from model.config import TrainingConfig
from model.features import CATEGORICAL, NUMERIC

CLASSIFIER = "classifier"


def build_pipeline(config: TrainingConfig) -> Pipeline:
    """Returns an unfitted pipeline that takes the columns of `build_features`.

    An unknown category is encoded as none of the known ones; missing numbers
    reach the trees as they are, because trees can split on missingness.
    """
    encode = ColumnTransformer(
        [
            (
                "categorical",
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                list(CATEGORICAL),
            ),
            ("numeric", "passthrough", list(NUMERIC)),
        ],
        verbose_feature_names_out=False,
    )
    classifier = HistGradientBoostingClassifier(
        max_iter=config.model.max_iter,
        max_bins=config.model.max_bins,
        # Its own early stopping would hold out random rows, against the split by time.
        early_stopping=False,
        random_state=config.seed,
    )
    return Pipeline([("encode", encode), (CLASSIFIER, classifier)])


def build_search(config: TrainingConfig, jobs: int) -> GridSearchCV:
    """Returns an unfitted grid search; `jobs` changes its speed, not its result."""
    grid: dict[str, list[Any]] = {
        f"{CLASSIFIER}__{name}": list(values) for name, values in config.search.grid.items()
    }
    return GridSearchCV(
        build_pipeline(config),
        grid,
        scoring=config.search.scoring,
        cv=TimeSeriesSplit(n_splits=config.search.folds),
        n_jobs=jobs,
        error_score="raise",
    )


def best_parameters(search: GridSearchCV) -> dict[str, int | float | str]:
    """Returns the winner's parameters under the names that the configuration uses."""
    return {
        name.removeprefix(f"{CLASSIFIER}__"): value for name, value in search.best_params_.items()
    }
