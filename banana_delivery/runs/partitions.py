"""The one partitioning: a partition is an MLflow model version. Partitions are never deleted; they are the history."""

from __future__ import annotations

import dagster as dg

from banana_delivery.runs.code_location import CodeLocation

MODEL_VERSIONS = CodeLocation().partitions
"""Where the assets have no prefix."""


def ensure_partition(instance: dg.DagsterInstance, version: str, location: CodeLocation | None = None) -> None:
    """Make the version known to Dagster, so that runs, backfills and the audit trail can name it."""
    name = (location or CodeLocation()).partitions.name
    if name and not instance.has_dynamic_partition(name, version):
        instance.add_dynamic_partitions(name, [version])
