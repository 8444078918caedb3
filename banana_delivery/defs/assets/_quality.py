"""How good the image under way is, for the assets that judge it."""

from __future__ import annotations

from collections.abc import Callable

from banana_delivery.defs.assets._run import DeliveryRun
from banana_delivery.errors import EvaluationError
from banana_delivery.evaluation.base import Evaluator, ReleaseEndpoint
from banana_delivery.policy.asset_records import ArtifactRecord, QualityRecord
from banana_delivery.policy.gate import somebody
from banana_delivery.policy.model import Environment, ImageRef
from banana_delivery.policy.quality.assessment import assess_quality, cannot_be_compared
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.quality.stages.looks import Look, looks
from banana_delivery.targets.base import ReleaseTarget


class _TooFewError(EvaluationError):
    """The images of an early look show nothing by which two models could be compared; more of them may."""


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
    live = target.record(Environment.PRODUCTION).live
    images = evaluator.image_count()
    plan = looks(images, run.policy.quality.stages) if live else (Look(images, images),)
    for look in plan:
        asked = None if run.redeploying else fresh
        try:
            record, keep = _measured(run, target, evaluator, ref, asked, live, look if images else None)
        except _TooFewError:
            continue
        if look.is_last or _is_decided(record):
            break
        run.say(f"{look.images:,} of {look.of:,} labelled images do not decide; asking about more. {record.reason}")
    run.say(record.reason)
    keep()
    return record


def _is_decided(record: QualityRecord) -> bool:
    """Whether no more images are asked about; one below the minimum may be above it on more of them."""
    comparison = record.comparison
    return comparison is not None and comparison.verdict is QualityVerdict.WORSE


def _measured(
    run: DeliveryRun,
    target: ReleaseTarget,
    evaluator: Evaluator,
    ref: ImageRef,
    fresh: Environment | None,
    live: ImageRef | None,
    look: Look | None,
) -> tuple[QualityRecord, Callable[[], None]]:
    """One look, and what keeps its worst images for the report.

    Args:
        run: the delivery under way.
        target: says where both answer.
        evaluator: asks them.
        ref: the image that runs in staging.
        fresh: whose answers are asked for in any case; None: nobody's.
        live: what serves.
        look: after how many images; None for all of them.
    """
    first = {"first": look.images} if look and not look.is_last else {}
    staged = ReleaseEndpoint(target.url(Environment.STAGING), ref)
    candidate = evaluator.answers(staged, run.say, fresh=fresh is Environment.STAGING, **first)
    production = None
    if live:
        serving = ReleaseEndpoint(target.url(Environment.PRODUCTION), live)
        production = evaluator.production_answers(serving, run.say, fresh=fresh is Environment.PRODUCTION, **first)
    override = run.override(ref)
    common = _classes_of(run, live.version) if live else ()
    if production and (why := cannot_be_compared(candidate, common)):
        raise _TooFewError(why) if look and not look.is_last else EvaluationError(why)
    record = assess_quality(
        candidate,
        production.matches if production else None,
        minimum_map50=run.settings.minimum_map50,
        waived=run.redeploying,
        resamples=evaluator.resamples,
        unanswered=production.unanswered if production else 0,
        kept=production.kept if production else False,
        overridden_by=somebody(override.by) if override else "",
        margins=run.policy.quality,
        common=common,
        holdout=evaluator.holdout,
        look=look,
    )

    def keep() -> None:
        if record.comparison and production:
            evaluator.keep_worst(ref, record.comparison, candidate, production.matches, run.say)

    return record, keep
