"""How good the image under way is, for the assets that judge it."""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.defs.assets._run import DeliveryRun
from banana_delivery.errors import EvaluationError
from banana_delivery.evaluation.base import Evaluator, ProductionAnswers, ReleaseEndpoint
from banana_delivery.policy.asset_records import ArtifactRecord, QualityRecord
from banana_delivery.policy.gate import somebody
from banana_delivery.policy.model import Environment, ImageRef
from banana_delivery.policy.quality.assessment import assess_quality, cannot_be_compared
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.policy.quality.stages.looks import Look, looks
from banana_delivery.targets.base import ReleaseTarget


class _TooFewError(EvaluationError):
    """The images of an early look show nothing by which two models could be compared; more of them may."""


@dataclass(frozen=True)
class _Said:
    """What both said of the labelled images up to now."""

    candidate: Matches | None = None
    production: ProductionAnswers | None = None


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
        fresh: whose answers are asked for in any case, once about each image; earlier ones of the same digest will do
            for the other. For a redeploy they will do for both: its image was judged by them, and a comparison decides
            nothing.
    """
    live = target.record(Environment.PRODUCTION).live
    images = evaluator.image_count()
    plan = looks(images, run.policy.quality.stages) if live else (Look(images, images),)
    asked, said = None if run.redeploying else fresh, _Said()
    for look in plan:
        said = _ask(run, target, evaluator, ref, asked, live, look, said)
        try:
            record = _judged(run, evaluator, ref, live, look if images else None, said)
        except _TooFewError:
            continue
        if look.is_last or _is_decided(record):
            break
        run.say(f"{look.images:,} of {look.of:,} labelled images do not decide; asking about more. {record.reason}")
    run.say(record.reason)
    if record.comparison and said.candidate and said.production:
        evaluator.keep_worst(ref, record.comparison, said.candidate, said.production.matches, run.say)
    return record


def _is_decided(record: QualityRecord) -> bool:
    """Whether no more images are asked about; one below the minimum may be above it on more of them."""
    comparison = record.comparison
    return comparison is not None and comparison.verdict is QualityVerdict.WORSE


def _ask(
    run: DeliveryRun,
    target: ReleaseTarget,
    evaluator: Evaluator,
    ref: ImageRef,
    fresh: Environment | None,
    live: ImageRef | None,
    look: Look,
    said: _Said,
) -> _Said:
    """What both say of the images of one look.

    Args:
        run: the delivery under way.
        target: says where both answer.
        evaluator: asks them.
        ref: the image that runs in staging.
        fresh: whose answers are asked for in any case; None: nobody's.
        live: what serves.
        look: after how many images.
        said: what they said at the look before.
    """
    first = 0 if look.is_last else look.images
    staged = ReleaseEndpoint(target.url(Environment.STAGING), ref)
    candidate = evaluator.answers(staged, run.say, fresh=fresh is Environment.STAGING, first=first, said=said.candidate)
    if not live:
        return _Said(candidate)
    serving = ReleaseEndpoint(target.url(Environment.PRODUCTION), live)
    production = evaluator.production_answers(
        serving,
        run.say,
        fresh=fresh is Environment.PRODUCTION,
        first=first,
        said=said.production.said if said.production else None,
    )
    return _Said(candidate, production)


def _judged(
    run: DeliveryRun, evaluator: Evaluator, ref: ImageRef, live: ImageRef | None, look: Look | None, said: _Said
) -> QualityRecord:
    candidate, production = said.candidate, said.production
    assert candidate is not None
    override = run.override(ref)
    common = _classes_of(run, live.version) if live else ()
    if production and (why := cannot_be_compared(candidate, common)):
        raise _TooFewError(why) if look and not look.is_last else EvaluationError(why)
    return assess_quality(
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
