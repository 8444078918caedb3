"""The audit trail as an external asset: attempts are materializations, people's decisions observations."""

from __future__ import annotations

import dagster as dg

from banana_delivery.defs.assets._run import GROUP, OWNERS
from banana_delivery.runs.code_location import ROLLOUT_LOG, CodeLocation


def rollout_log(location: CodeLocation) -> dg.AssetSpec:
    """The audit trail, where a code location has it."""
    return dg.AssetSpec(
        location.key(ROLLOUT_LOG),
        description=(
            "Every attempt to deliver a version and how it ended: released, rejected, rolled back, parked, superseded, "
            "cancelled or error. Approvals and overrides are its observations."
        ),
        deps=[location.key("production_release")],
        partitions_def=location.partitions,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"audit"},
    )
