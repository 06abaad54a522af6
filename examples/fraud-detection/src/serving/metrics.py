"""What the server counts. Every series carries the digest of the model that it is about."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.schemas import ModelIdentity

REQUESTS = "fraud_requests"
LATENCY = "fraud_request_seconds"
SCORES = "fraud_score"
MODEL = "fraud_model"

LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
# Most payments are honest and score close to 0, so the buckets are narrow there.
SCORE_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, identity: ModelIdentity) -> None:
        self.registry = CollectorRegistry()
        self._manifest = identity.manifest
        requests = Counter(
            REQUESTS, "Predictions by HTTP status.", ["manifest", "status"], registry=self.registry
        )
        latency = Histogram(
            LATENCY,
            "Time to answer a prediction.",
            ["manifest"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        scores = Histogram(
            SCORES,
            "Scores given to payments.",
            ["manifest"],
            buckets=SCORE_BUCKETS,
            registry=self.registry,
        )
        model = Gauge(
            MODEL, "The model that is served.", ["manifest", "fingerprint"], registry=self.registry
        )
        model.labels(identity.manifest, identity.fingerprint).set(1)
        self._requests = requests
        self._latency = latency.labels(identity.manifest)
        self._scores = scores.labels(identity.manifest)

    def observe_request(self, status: int, seconds: float) -> None:
        """Counts an answered request."""
        self._requests.labels(self._manifest, str(status)).inc()
        self._latency.observe(seconds)

    def observe_scores(self, scores: Iterable[float]) -> None:
        """Adds to the distribution of scores."""
        for score in scores:
            self._scores.observe(score)
