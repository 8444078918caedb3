"""The names by which the product's things are known outside of it: run tags, labels, annotations, headers.

Users, clusters and old records hold them, so what stands here is read for ever.
"""

from __future__ import annotations

# Tags of Dagster runs: ours, and Dagster's own.
TRIGGER_TAG = "banana/trigger"
ACTOR_TAG = "banana/actor"
STAGED_AT_TAG = "banana/staged_at"
STAGING_ORDER_TAG = "banana/staging_order"
SUPERSEDED_TAG = "banana/superseded_by"
WORKER_TAG = "banana/worker"
BACKFILL_TAG = "dagster/backfill"
PARENT_RUN_TAG = "dagster/parent_run_id"
PARTITION_TAG = "dagster/partition"
