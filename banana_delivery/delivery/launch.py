"""What a person does from the command line: launching a delivery and following it to its end, and deciding."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Sequence

from rich.console import Console

from banana_delivery.errors import GateError
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.names import ACTOR_TAG, TRIGGER_TAG
from banana_delivery.policies.calendar import moment
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, FreezeRecord, ImageRecord, ManualDecision
from banana_delivery.policy.gate import CLAIMED
from banana_delivery.policy.model import ImageRef
from banana_delivery.quoting import in_terminal
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.client import DagsterClient
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import open_instance
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.settings import Settings
from banana_delivery.waiting import Clock

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


def claimed_by() -> str:
    """Who types, as far as this machine says: its user, whom nobody asked for a proof."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # A user without a name, as in a container.
        name = f"user {os.getuid()}"
    return f"{CLAIMED}{name} on {socket.gethostname()}"


def decide(
    settings: Settings,
    registry: ModelRegistry,
    clock: Clock,
    kind: DecisionKind,
    version: str,
    digest: str,
    reason: str,
) -> ManualDecision:
    """Put a person's decision about one image of an existing version on record.

    Args:
        settings: where the audit trail is.
        registry: knows which versions exist.
        clock: dates it, for people.
        kind: approval or override.
        version: MLflow model version.
        digest: the beginning of the image's digest; empty for the version's latest image.
        reason: why, in one sentence.

    Raises:
        GateError: if there is no reason, or no such image.
        UnknownVersionError: if there is no such version.
        DagsterError: if it cannot be put on record.
    """
    if not reason.strip():
        raise GateError(f"An {kind} needs a reason, which the audit trail keeps; say why: --reason '...'")
    with open_instance(settings) as instance:
        log = AuditLog(instance, CodeLocation.of(settings))
        version = registry.describe(version).version
        decision = ManualDecision(
            kind=kind,
            version=version,
            digest=_decided(log, version, digest).digest,
            by=claimed_by(),
            reason=reason.strip(),
            at=clock.time(),
        )
        log.record_decision(decision)
    return decision


def say_freeze(settings: Settings, clock: Clock, by: str, reason: str, until: str, *, frozen: bool) -> FreezeRecord:
    """Put on record that nothing is to enter production any more, or that deliveries may again; it counts at once.

    Args:
        settings: where the audit trail is.
        clock: dates it.
        by: who says it.
        reason: why, in one sentence.
        until: when it ends by itself, as typed; empty for never.
        frozen: which of the two.

    Raises:
        GateError: if there is no reason, or no such time.
        DagsterError: if it cannot be put on record.
    """
    if not reason.strip():
        raise GateError("It needs a reason, which the audit trail keeps; say why: --reason '...'")
    try:
        end = moment(until, clock.time()) if until.strip() else None
    except ValueError as error:
        raise GateError(str(error)) from None
    said = FreezeRecord(frozen=frozen, by=by, reason=reason.strip(), at=clock.time(), until=end)
    with open_instance(settings) as instance:
        AuditLog(instance, CodeLocation.of(settings)).record_freeze(said)
    return said


def _decided(log: AuditLog, version: str, digest: str) -> ImageRef:
    """The image that a decision is about."""
    wanted = digest if digest.startswith("sha256:") else f"sha256:{digest}"
    for image in log.all(ImageRecord, "image", version):
        if image.ref.digest.startswith(wanted):
            return image.ref
    which = f"no image {digest[:19]}" if digest else "no image yet that a decision could be about"
    raise GateError(f"Version {version} has {which} on record; deliver it first, type: {commands.deliver(version)}")
