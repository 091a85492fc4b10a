"""What the service counts and times, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from leafzoom.inference.prediction import FailedPhoto, Prediction

__all__ = ["Monitoring"]


class Monitoring:
    """Counters, times and a gauge of one service, in a registry of its own.

    Args:
        photos_in_progress: gives the number of admitted photos.
    """

    def __init__(self, photos_in_progress: Callable[[], int]) -> None:
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

    def exposition(self) -> bytes:
        """All values in Prometheus' text format."""
        return generate_latest(self._registry)
