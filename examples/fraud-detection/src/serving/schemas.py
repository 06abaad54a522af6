"""The server's requests and answers."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Payment(BaseModel):
    """A payment, with the columns of the training data but the label."""

    model_config = ConfigDict(extra="forbid")

    transaction_id: int
    timestamp: AwareDatetime
    account_id: Annotated[str, Field(min_length=1)]
    account_age_days: Annotated[int, Field(ge=0)]
    merchant_category: Annotated[str, Field(min_length=1)]
    amount: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    channel: Annotated[str, Field(min_length=1)]


class PredictRequest(BaseModel):
    """Payments to score, and earlier payments of their accounts, which features look at."""

    model_config = ConfigDict(extra="forbid")

    payments: Annotated[list[Payment], Field(min_length=1, max_length=1000)]
    history: Annotated[list[Payment], Field(max_length=20_000)] = []


class Prediction(BaseModel):
    """The score of one payment; an alert is a score that reaches the model's threshold."""

    transaction_id: int
    score: float
    alert: bool


class ModelIdentity(BaseModel):
    """Which model answers, by the digests under which ml-cache keeps it."""

    manifest: str
    fingerprint: str


class PredictResponse(BaseModel):
    """The answer to a request, in the order of its payments."""

    model: ModelIdentity
    predictions: list[Prediction]
