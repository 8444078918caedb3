"""The audit trail as an external asset: attempts are materializations, people's decisions observations."""

from __future__ import annotations

import dagster as dg

from banana_delivery.defs.assets._run import GROUP, OWNERS
from banana_delivery.runs.partitions import MODEL_VERSIONS

rollout_log = dg.AssetSpec(
    "rollout_log",
    description=(
        "Every attempt to deliver a version and how it ended: released, rejected, rolled back, parked, superseded, "
        "cancelled or error. Approvals and overrides are its observations."
    ),
    deps=["production_release"],
    partitions_def=MODEL_VERSIONS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"audit"},
)
