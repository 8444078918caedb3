"""A code location with one asset and one partition."""

from __future__ import annotations

import dagster as dg

VERSIONS = dg.DynamicPartitionsDefinition(name="model_version")
rollout_log = dg.AssetSpec("rollout_log", partitions_def=VERSIONS)


@dg.asset
def bananas() -> None:
    """Nothing."""


defs = dg.Definitions(assets=[bananas, rollout_log], jobs=[dg.define_asset_job("deliver", [bananas])])
