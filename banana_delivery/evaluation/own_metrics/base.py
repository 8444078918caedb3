"""Where the figures of a team's own metrics come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric


class MetricSource(Protocol):
    """Whoever knows the figures of a team's metrics."""

    def measure(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
        """One figure of one release; what goes wrong is its ``trouble``, and nothing is raised.

        Args:
            metric: which.
            names: what each of ``PLACEHOLDERS`` stands for.
        """
