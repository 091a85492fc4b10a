"""What the service counts and times, for Prometheus."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.model_file.manifest import Manifest

__all__ = ["Monitoring"]

# For models without a reference.
_OOD_BUCKETS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
_CONFIDENCE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Monitoring:
    """Counters, times and a gauge of one service, in a registry of its own.

    Args:
        photos_in_progress: gives the number of admitted photos.
        manifest: of the model; its reference has the edges of the buckets, so that a dashboard
            compares the same shares as `leafzoom drift`.
    """

    def __init__(self, photos_in_progress: Callable[[], int], manifest: Manifest) -> None:
        # A registry of its own, so that a process can have several services.
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "leafzoom_requests",
            "Answers by route and status",
            ["route", "status"],
            registry=self._registry,
        )
        self._verdicts = Counter(
            "leafzoom_photos",
            "Photos by verdict",
            ["verdict"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "leafzoom_prediction_seconds",
            "From the body's end to the answer",
            registry=self._registry,
        )

        # For drift: the scores, the confidences and the labels of the answers.
        reference = manifest.reference
        self._ood_scores = Histogram(
            "leafzoom_ood_score",
            "Out-of-distribution scores; above 1: unlike the leaves that the model knows",
            buckets=(reference and reference.ood_edges) or _OOD_BUCKETS,
            registry=self._registry,
        )
        self._confidences = Histogram(
            "leafzoom_confidence",
            "Confidences of the best answers for leaves",
            buckets=(reference and reference.confidence_edges) or _CONFIDENCE_BUCKETS,
            registry=self._registry,
        )
        self._labels = Counter(
            "leafzoom_labels",
            "Leaves by label of the best answer; a leaf may have several",
            ["label"],
            registry=self._registry,
        )
        for label in manifest.labels.names:
            self._labels.labels(label)

        # Asked for its value whenever the metrics are read.
        gauge = Gauge("leafzoom_photos_waiting", "Photos in progress", registry=self._registry)
        gauge.set_function(photos_in_progress)

    def count_request(self, route: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()

    def observe_predictions(
        self, results: Sequence[Prediction | FailedPhoto], seconds: float
    ) -> None:
        """Count a request's photos by verdict, and note the seconds that they took."""
        self._seconds.observe(seconds)
        for result in results:
            verdict = "error" if isinstance(result, FailedPhoto) else result.verdict
            self._verdicts.labels(verdict).inc()
            if isinstance(result, Prediction):
                self._observe_answer(result)

    def _observe_answer(self, prediction: Prediction) -> None:
        """Note what drift is told by, with the same meaning as in `leafzoom drift`."""
        is_leaf = prediction.verdict != "not_a_leaf"
        if prediction.ood_score is not None:
            self._ood_scores.observe(prediction.ood_score)
        elif not is_leaf:
            self._ood_scores.observe(math.inf)  # a score that is no number

        # Labels are the model's, so their number is bounded.
        if is_leaf:
            self._confidences.observe(prediction.confidence)
            for label in prediction.likely:
                self._labels.labels(label).inc()

    def exposition(self) -> bytes:
        """All values in Prometheus' text format."""
        return generate_latest(self._registry)
