"""The estimator."""

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from model.config import GridValue, TrainingConfig
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


def set_parameters(pipeline: Pipeline, parameters: dict[str, GridValue]) -> Pipeline:
    """Sets the classifier's parameters, by the names that the configuration uses."""
    return pipeline.set_params(
        **{f"{CLASSIFIER}__{name}": value for name, value in parameters.items()}
    )
