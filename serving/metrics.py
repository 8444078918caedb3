"""Prometheus metrics of one replica. Their names are an interface: the router's judges and the dashboard read them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper edges in seconds; 1 s, the latency budget of a release, must be one of them."""


class Metrics:
    """All metrics, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "banana_requests_total", "Requests answered.", ["route", "status", "traffic"], registry=registry
        )
        self.duration = Histogram(
            "banana_request_duration_seconds",
            "From the request's body received to its answer sent.",
            ["route", "traffic"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.inference = Histogram(
            "banana_inference_seconds", "Time in the network.", buckets=DURATION_BUCKETS, registry=registry
        )
        self.queue_depth = Gauge("banana_queue_depth", "Images waiting for a worker.", registry=registry)
        self.overload = Counter(
            "banana_overload_total", "Predictions refused with 503 and Retry-After.", ["traffic"], registry=registry
        )
        self.unfinished = Counter(
            "banana_unfinished_uploads_total",
            "Predictions asked for by a client that went away before it had sent the whole body.",
            ["traffic", "late"],
            registry=registry,
        )
        self.log_dropped = Counter(
            "banana_prediction_log_dropped_total", "Predictions that could not be logged.", registry=registry
        )
        self._model_info = Gauge(
            "banana_model_info",
            "1 for the model being served.",
            ["version", "digest", "environment", "colour"],
            registry=registry,
        )
        self._device_info = Gauge(
            "banana_device_info", "1 for what the network runs on: cuda or cpu.", ["device"], registry=registry
        )

    def describe_device(self, device: str) -> None:
        """Publishes what the network runs on."""
        self._device_info.clear()
        self._device_info.labels(device).set(1)

    def describe_model(self, version: str, digest: str, environment: str, colour: str) -> None:
        """Publishes what is served."""
        self._model_info.labels(version, digest, environment, colour).set(1)

    def watch_queue(self, depth: Callable[[], float]) -> None:
        """Reads the queue's depth from `depth` whenever metrics are scraped."""
        self.queue_depth.set_function(depth)

    def render(self) -> bytes:
        """Returns everything in Prometheus' text format."""
        return generate_latest(self._registry)
