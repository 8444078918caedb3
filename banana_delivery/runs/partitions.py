"""The one partitioning: a partition is an MLflow model version. Partitions are never deleted; they are the history."""

from __future__ import annotations

import dagster as dg

MODEL_VERSIONS = dg.DynamicPartitionsDefinition(name="model_version")


def ensure_partition(instance: dg.DagsterInstance, version: str) -> None:
    """Make the version known to Dagster, so that runs, backfills and the audit trail can name it."""
    name = MODEL_VERSIONS.name
    if name and not instance.has_dynamic_partition(name, version):
        instance.add_dynamic_partitions(name, [version])
