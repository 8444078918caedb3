"""How good the image under way is, for the assets that judge it."""

from __future__ import annotations

from banana_delivery.defs.assets._run import DeliveryRun
from banana_delivery.errors import EvaluationError
from banana_delivery.evaluation.base import Evaluator, ReleaseEndpoint
from banana_delivery.policy.asset_records import ArtifactRecord, QualityRecord
from banana_delivery.policy.gate import somebody
from banana_delivery.policy.model import Environment, ImageRef
from banana_delivery.policy.quality.assessment import assess_quality, cannot_be_compared
from banana_delivery.targets.base import ReleaseTarget


def _classes_of(run: DeliveryRun, version: str) -> tuple[str, ...]:
    """What a version knows by the record of its export; empty if there is none."""
    artifact = run.audit_log.latest(ArtifactRecord, "model_artifact", version)
    return artifact.classes if artifact else ()


def measure_quality(
    run: DeliveryRun, target: ReleaseTarget, evaluator: Evaluator, ref: ImageRef, *, fresh: Environment
) -> QualityRecord:
    """The image as it runs in staging, judged alone and beside production on the same labelled images.

    Args:
        run: the delivery under way.
        target: says where both answer.
        evaluator: asks them.
        ref: the image that runs in staging.
        fresh: whose answers are asked for in any case; earlier ones of the same digest will do for the other. For a
            redeploy they will do for both: its image was judged by them, and a comparison decides nothing.
    """
    live, waived = target.record(Environment.PRODUCTION).live, run.redeploying
    staged = ReleaseEndpoint(target.url(Environment.STAGING), ref)
    candidate = evaluator.answers(staged, run.say, fresh=fresh is Environment.STAGING and not waived)
    production = None
    if live:
        serving = ReleaseEndpoint(target.url(Environment.PRODUCTION), live)
        asked = fresh is Environment.PRODUCTION and not waived
        production = evaluator.production_answers(serving, run.say, fresh=asked)
    override = run.override(ref)
    common = _classes_of(run, live.version) if live else ()
    if production and (why := cannot_be_compared(candidate, common)):
        raise EvaluationError(why)
    record = assess_quality(
        candidate,
        production.matches if production else None,
        minimum_map50=run.settings.minimum_map50,
        waived=waived,
        resamples=evaluator.resamples,
        unanswered=production.unanswered if production else 0,
        kept=production.kept if production else False,
        overridden_by=somebody(override.by) if override else "",
        margins=run.policy.quality,
        common=common,
        holdout=evaluator.holdout,
    )
    run.say(record.reason)
    if record.comparison and production:
        evaluator.keep_worst(ref, record.comparison, candidate, production.matches, run.say)
    return record
