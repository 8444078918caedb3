"""Which images somebody needs: what retention may not take away."""

from __future__ import annotations

import time
from collections.abc import Collection

import dagster as dg

from banana_delivery.delivery.history import History
from banana_delivery.policy.records import COLOURS, ImageRef
from banana_delivery.policy.timeline import served_since
from banana_delivery.services import Services

DAY_SECONDS = 86_400


def in_use(instance: dg.DagsterInstance, services: Services, *about_to: ImageRef) -> Collection[str]:
    """Digests that an environment runs, that production served within the rollback window, or that are next."""
    records = [services.target.record(environment) for environment in COLOURS]
    deployed = {deployment.image.digest for record in records for deployment in record.deployments.values()}
    candidates = {record.candidate.digest for record in records if record.candidate}
    since = time.time() - services.settings.rollback_window_days * DAY_SECONDS
    served = served_since(History(instance).attempts(), since)
    return deployed | candidates | served | {ref.digest for ref in about_to}
