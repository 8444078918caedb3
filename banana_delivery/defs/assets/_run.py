"""What every asset is declared with."""

import dagster as dg

from banana_delivery.defs.resources import Services
from banana_delivery.delivery.image_build import image_of
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.record_attempt import Attempting
from banana_delivery.errors import ImageError
from banana_delivery.evaluation.base import ReleaseEndpoint
from banana_delivery.policy.asset_records import QualityRecord
from banana_delivery.policy.gate import GateInputs
from banana_delivery.policy.model import Environment, ImageRef
from banana_delivery.policy.outcomes import is_redeploy
from banana_delivery.policy.quality.judging import assess_quality
from banana_delivery.runs.lifecycle import sign_in

GROUP = "delivery"
OWNERS = ["team:ml-platform"]


def attempting(context: dg.AssetExecutionContext, services: Services) -> Attempting:
    """The delivery under way; its process signs in, so that its death is noticed."""
    sign_in(context.instance, context.run.run_id)
    return Attempting(context, services)


def lease(context: dg.AssetExecutionContext, services: Services, environment: Environment) -> Lease:
    """This run's hold on an environment."""
    return Lease(
        services.target, environment, context.run.run_id, heartbeat_seconds=services.settings.heartbeat_seconds
    )


def redeploying(here: Attempting) -> bool:
    """Whether this delivery repeats a version that was released and never revoked."""
    return is_redeploy(here.history.attempts(here.version))


def gate_inputs(here: Attempting, services: Services) -> GateInputs:
    """What a gate goes by beside the evidence."""
    return GateInputs(
        history=here.history.attempts(here.version),
        decisions=here.history.decisions(here.version),
        frozen=services.settings.freeze,
    )


def image_to_deliver(here: Attempting) -> ImageRef:
    """The image that this version was built into.

    Raises:
        dagster.Failure: if there is none yet.
    """
    try:
        return image_of(here.history, here.version).ref
    except ImageError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def quality(here: Attempting, services: Services, ref: ImageRef, *, fresh: Environment) -> QualityRecord:
    """The image as it runs in staging, judged alone and beside production on the same labelled images.

    Args:
        here: the delivery under way.
        services: where the evidence comes from.
        ref: the image that runs in staging.
        fresh: whose answers are asked for in any case; earlier ones of the same digest will do for the other. For a
            redeploy they will do for both: its image was judged by them, and a comparison decides nothing.
    """
    target, evaluator, log = services.target, services.evaluator, here.context.log.info
    live, waived = target.record(Environment.PRODUCTION).live, redeploying(here)
    staged = ReleaseEndpoint(target.url(Environment.STAGING), ref)
    candidate = evaluator.answers(staged, log, fresh=fresh is Environment.STAGING and not waived)
    production = None
    if live:
        serving = ReleaseEndpoint(target.url(Environment.PRODUCTION), live)
        production = evaluator.answers(serving, log, fresh=fresh is Environment.PRODUCTION and not waived)
    record = assess_quality(candidate, production, minimum_map50=services.settings.minimum_map50, waived=waived)
    log(record.reason)
    return record


def quality_picture(judged: QualityRecord) -> dict[str, dg.MetadataValue]:
    """The comparison as a picture; nothing where there was nothing to compare with."""
    if judged.comparison is None:
        return {}
    from banana_delivery.reports.plots import embedded, quality_plot

    return {"quality": dg.MetadataValue.md(embedded(quality_plot(judged.comparison), "Quality beside production"))}
