"""Launching a delivery from the command line and following it to its end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from banana_delivery.names import ACTOR_TAG, TRIGGER_TAG
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.quoting import in_terminal
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.client import DagsterClient
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import open_instance
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.settings import Settings

LONGEST_DELIVERY_SECONDS = 3600.0


def deliver_one(
    settings: Settings,
    job: str,
    version: str,
    trigger: str,
    actor: str,
    assets: Sequence[str],
    console: Console,
) -> AttemptRecord | None:
    """Run a job for one version and show how it ended.

    Returns:
        The attempt as it was logged; None if the run did not come far enough to log one.
    """
    location = CodeLocation.of(settings)
    client = DagsterClient(settings.dagster_url, location, settings.pages_token.get_secret_value())
    with open_instance(settings) as instance:
        ensure_partition(instance, version, location)
        run_id = client.launch(job, version, {TRIGGER_TAG: trigger, ACTOR_TAG: actor}, assets)
        console.print(f"Version {version}: {settings.pages_url or settings.dagster_url}/runs/{run_id}")
        with console.status(f"Delivering version {version}"):
            status = client.wait(run_id, LONGEST_DELIVERY_SECONDS)
        attempt = AuditLog(instance, location).attempt_of(run_id, version)
    ended = f"Version {version}: {attempt.outcome}. {in_terminal(attempt.reason)}" if attempt else ""
    console.print(ended or f"The run ended {status}.")
    return attempt
