"""Figures in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric


@dataclass
class FakeMetrics:
    """Figures as a test says them.

    Attributes:
        says: the measurement of a metric about a release, by the metric's name and ``PLACEHOLDERS``.
    """

    says: Callable[[str, Mapping[str, str]], Measurement]

    def measure(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
        """What the test says."""
        return self.says(metric.name, names)
