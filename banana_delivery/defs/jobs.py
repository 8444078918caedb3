"""The jobs: deliver a version, redeploy an old one, roll production back; the scorecard."""

from typing import Any, cast

import dagster as dg

from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.errors import GoneAlreadyError
from banana_delivery.images.base import ImageStore
from banana_delivery.names import TRIGGER_TAG
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import DELIVER, REDEPLOY, ROLLBACK, SCORE, SCORECARD, CodeLocation
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.targets.base import ReleaseTarget


class RollbackConfig(dg.Config):
    """Who rolls back, and why.

    Attributes:
        reason: one sentence for the audit trail.
        actor: who asked for it.
        version: the model version that has to go; empty for whatever is under way or else in production.
        digest: the same by its image.
        to: the released version that is to serve; empty for the one before.
    """

    reason: str
    actor: str = "Dagster"
    version: str = ""
    digest: str = ""
    to: str = ""


@dg.op(description="Production's traffic back to the colour before, by one weight change; the version is revoked.")
def roll_back_production(
    context: dg.OpExecutionContext,
    config: RollbackConfig,
    release_target: dg.ResourceParam[ReleaseTarget],
    recorder: dg.ResourceParam[AttemptRecorder],
    image_store: dg.ResourceParam[ImageStore],
) -> None:
    """Roll back whatever is in production, or under way to it."""
    location = CodeLocation.of(recorder.settings)
    try:
        Runs(context.instance, location).sign_in(context.run.run_id)
    except Exception as error:  # noqa: BLE001 - whatever Dagster's database does, users come first
        context.log.warning(f"Nobody will notice if this process dies: {error}")
    log = AuditLog(context.instance, location)
    rollback = EmergencyRollback(release_target, recorder, log, context.log.info, image_store)
    try:
        done = rollback.roll_back(
            actor=config.actor,
            reason=config.reason,
            run_id=context.run.run_id,
            version=config.version,
            digest=config.digest,
            to=config.to,
        )
        context.log.info(done.reason)
    except GoneAlreadyError as gone:
        context.log.info(str(gone))


def build_jobs(location: CodeLocation) -> list[Any]:
    """All jobs, as ``Definitions`` takes them."""
    return [
        dg.define_asset_job(
            DELIVER,
            selection=location.keys,
            tags=location.tags,
            description="Take a model version from MLflow to all of production's traffic, or safely back.",
        ),
        dg.define_asset_job(
            REDEPLOY,
            selection=location.keys[1:],
            tags={**location.tags, TRIGGER_TAG: "redeploy"},
            description="Put a version that was released before into production again, by its original digest.",
        ),
        _rollback_job(location),
        dg.define_asset_job(
            SCORE,
            selection=[location.key(SCORECARD)],
            tags=location.tags,
            description="Compute what deliveries were like from the audit trail.",
        ),
    ]


def _rollback_job(location: CodeLocation) -> dg.JobDefinition:
    @dg.job(name=ROLLBACK, tags=location.tags, description="Roll production back to the release before.")
    def rollback() -> None:
        roll_back_production()

    return rollback


def digest_to_roll_back(run: dg.DagsterRun) -> str:
    """The image that a run of the rollback job was to take out; empty for whatever was there."""
    ops = cast(dict[str, Any], run.run_config["ops"])
    return str(ops["roll_back_production"]["config"].get("digest", ""))
