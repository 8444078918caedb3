"""The names by which the product's things are known outside of it: run tags, labels, annotations, headers.

Users, clusters and old records hold them, so what stands here is read for ever.
"""

from __future__ import annotations

# Tags of Dagster runs: ours, and Dagster's own.
PIPELINE_TAG = "banana/pipeline"
TRIGGER_TAG = "banana/trigger"
ACTOR_TAG = "banana/actor"
REQUEST_TAG = "banana/request"
STAGED_AT_TAG = "banana/staged_at"
STAGING_ORDER_TAG = "banana/staging_order"
SUPERSEDED_TAG = "banana/superseded_by"
ENDED_TAG = "banana/outcome"
WHY_TAG = "banana/reason"
WORKER_TAG = "banana/worker"
BACKFILL_TAG = "dagster/backfill"
PARENT_RUN_TAG = "dagster/parent_run_id"
RETRY_TAG = "dagster/retry_number"
PARTITION_TAG = "dagster/partition"
REPOSITORY_TAG = ".dagster/repository"

# Labels and annotations of objects in a cluster. The manifests in k8s/ bear them too.
DOMAIN = "banana-delivery"
COLOUR_KEY = f"{DOMAIN}/colour"
ENVIRONMENT_KEY = f"{DOMAIN}/environment"
RECORD_KEY = f"{DOMAIN}/record"
GENERATION_KEY = f"{DOMAIN}/generation"
REPLICAS_KEY = f"{DOMAIN}/replicas"
VERSION_KEY = f"{DOMAIN}/model-version"
IMAGE_KEY = f"{DOMAIN}/image-key"
URL_KEY = f"{DOMAIN}/url"
DEMO_KEY = f"{DOMAIN}/demo"
NAME_KEY = "app.kubernetes.io/name"

# Labels of images, and annotations of their entries in an image layout: ours, and OCI's own.
KEY_LABEL = "banana.key"
AGAIN_ANNOTATION = "banana.again"
"""Gives the same image another digest."""
VERSION_LABEL = "banana.version"
MODEL_SHA256_LABEL = "banana.model.sha256"
VERSION_FILE_SHA256_LABEL = "banana.version-file.sha256"
CODE_SHA256_LABEL = "banana.code.sha256"
LOCK_SHA256_LABEL = "banana.lock.sha256"
BASE_LABEL = "banana.base"
RUNTIME_LABEL = "banana.runtime"
MLFLOW_RUN_LABEL = "banana.mlflow_run"
CHECKPOINT_SHA256_LABEL = "banana.checkpoint_sha256"
BUILT_AT_LABEL = "banana.built-at"
USED_AT_LABEL = "banana.used-at"
DOOMED_AT_LABEL = "banana.doomed-at"
OCI_VERSION_LABEL = "org.opencontainers.image.version"
OCI_LICENSES_LABEL = "org.opencontainers.image.licenses"
OCI_SOURCE_LABEL = "org.opencontainers.image.source"

# Tags of images: for people, and those by which pipelines that share a registry agree.
LATEST_TAG = "latest"
STABLE_TAG = "stable"
REVISION_TAG_PREFIX = "sha-"
KEY_TAG_PREFIX = "key-"
LOCK_TAG_PREFIX = "lock-"
MADE_TAG_PREFIX = "made-"
"""With the time after it: when a runtime image was written whose config has no date."""
LEASE_TAG_PREFIX = "lease-"
PART_TAG_PREFIX = "part-"
"""Of an image that an index names: with the time when it was written, as a lease."""
DOOMED_TAG_PREFIX = "doomed-"
DOOM_LABEL = "banana.doom"
"""Of the note that such a tag lies on: the tag."""
PARDONED_TAG_PREFIX = "pardoned-"
LOST_TAG_PREFIX = "lost-"
"""Of a tag that led to nothing: with the time when that was seen first."""

# Tags of model versions in MLflow.
OUTCOME_TAG = "banana.outcome"
REASON_TAG = "banana.reason"
MARK_DIGEST_TAG = "banana.digest"
RUN_TAG = "banana.run"
TIME_TAG = "banana.at"
WISH_TAG_PREFIX = "banana."
ANSWER_TAG = "banana.answer"

# Attributes of spans, beside OpenTelemetry's own.
SPAN_PREFIX = "banana.delivery."

# Headers: who asks, set by routers and the probe; how the probe proves it; and who answered, set by the serving code.
TRAFFIC_HEADER = "X-Banana-Traffic"
PROBE_HEADER = "X-Banana-Probe"
DIGEST_HEADER = "X-Image-Digest"
VERSION_HEADER = "X-Model-Version"
COLOUR_HEADER = "X-Colour"

# A page in the folder of the reports.
SCORECARD_PAGE = "scorecard.html"
PROMQL_INFO = "PromQL info: "
"""How a Prometheus of before 2.54 begins a warning that is none, but a remark on how an expression is written."""
