"""The metrics of a service that Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from carsdepo_assets.inference.connections import Connections
from carsdepo_assets.inference.reconciler import Model

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one service, in a registry of its own.

    The label `outcome` is ok, refused (4xx), unavailable (503), failed (500), or gone (the client left).
    """

    def __init__(self, stage: str, capture_lag: Callable[[], float], connections: Connections) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "carsdepo_requests_total", "Requests by outcome.", ["stage", "path", "outcome"], registry=self.registry
        )
        self.seconds = Histogram(
            "carsdepo_request_seconds",
            "From the request's head to its answer.",
            ["stage", "path"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("carsdepo_in_flight", "Requests under way.", ["stage"], registry=self.registry)
        self.photographs = Counter(
            "carsdepo_photographs_total", "Answered photographs.", ["stage", "decision"], registry=self.registry
        )
        self.repeated = Counter(
            "carsdepo_repeated_requests_total",
            "Requests that were answered as the first one under their Idempotency-Key.",
            ["stage"],
            registry=self.registry,
        )
        self._model = Gauge(
            "carsdepo_model_info", "1 for what is served.", ["stage", "digest", "version", "runtime"],
            registry=self.registry,
        )  # fmt: skip
        self.torn = Counter(
            "carsdepo_capture_torn_lines_total",
            "Unacknowledged lines dropped from segments of a service that was killed.",
            ["stage"],
            registry=self.registry,
        )
        closed = Gauge(
            "carsdepo_connections_closed",
            "Connections closed since the start: no request's head in time, displaced by a newer one, refused.",
            ["stage", "why"],
            registry=self.registry,
        )
        closed.labels(stage, "too_slow").set_function(lambda: connections.too_slow)
        closed.labels(stage, "displaced").set_function(lambda: connections.displaced)
        closed.labels(stage, "refused").set_function(lambda: connections.refused)
        lag = Gauge(
            "carsdepo_capture_lag_seconds",
            "Age of the oldest answer that ingestion cannot see yet.",
            ["stage"],
            registry=self.registry,
        )
        lag.labels(stage).set_function(capture_lag)
        self.stage = stage

    def swapped(self, model: Model) -> None:
        """Names the model that is served from now on."""
        self._model.clear()
        self._model.labels(self.stage, model.digest, str(model.version), model.loaded.runtime).set(1)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
