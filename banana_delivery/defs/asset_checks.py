"""Blocking asset checks: the gates between the assets. Each is given what an asset recorded, and judges it.

The partition of a check is a preview feature of Dagster; everything that depends on it is in this file.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from banana_delivery.images.scanning import Audit
from banana_delivery.policy.asset_records import AbRecord, ArtifactRecord, ImageRecord, StagingRecord, Verdict
from banana_delivery.policy.model import Environment
from banana_delivery.policy.outcomes import is_redeploy
from banana_delivery.reports.style.numbers import quality_numbers, traffic_numbers
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.records import as_metadata
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget

Declared = Callable[[CodeLocation], dg.AssetChecksDefinition]


def _check(asset: str, name: str) -> Callable[[Callable[..., dg.AssetCheckResult]], Declared]:
    """Make a function a blocking check of an asset, by partition, once it is told where the asset is."""

    def decorate(judge: Callable[..., Any]) -> Declared:
        def build(location: CodeLocation) -> dg.AssetChecksDefinition:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", dg.PreviewWarning)
                warnings.simplefilter("ignore", dg.BetaWarning)
                return dg.asset_check(
                    asset=location.key(asset),
                    name=name,
                    blocking=True,
                    partitions_def=location.partitions,
                    description=judge.__doc__,
                )(judge)

        return build

    return decorate


Numbers = Mapping[str, float | int | None]


def _answer(passed: bool, sentence: str, *, blocks: bool = True, numbers: Numbers | None = None) -> dg.AssetCheckResult:
    """What a check says.

    Args:
        passed: whether it passed.
        sentence: why, with the numbers.
        blocks: whether failing it ends the delivery; otherwise it warns, and something else decides.
        numbers: what the sentence says, for Dagster to draw over the versions; what is not known is left out.
    """
    severity = dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=passed, description=sentence, severity=severity, metadata=as_metadata(numbers or {})
    )


@_check("model_artifact", "answers_like_the_checkpoint")
def answers_like_the_checkpoint(model_artifact: ArtifactRecord) -> dg.AssetCheckResult:
    """The exported model answers like the checkpoint on labelled images."""
    return _answer(model_artifact.parity_passed, model_artifact.parity_reason)


@_check("model_artifact", "classes_as_in_production")
def classes_as_in_production(
    context: dg.AssetCheckExecutionContext,
    model_artifact: ArtifactRecord,
    settings: dg.ResourceParam[Settings],
    release_target: dg.ResourceParam[ReleaseTarget],
) -> dg.AssetCheckResult:
    """The classes and their order are production's, or those of the first release; waived for a redeploy."""
    audit_log, ours = AuditLog(context.instance, CodeLocation.of(settings)), model_artifact
    live = release_target.record(Environment.PRODUCTION).live
    if live and not audit_log.made(live):
        return _answer(True, f"Production serves {live.digest[:19]}, of which this pipeline's records know nothing.")
    production = audit_log.latest(ArtifactRecord, "model_artifact", live.version) if live else None
    if production is None or production.classes == ours.classes:
        return _answer(True, f"The classes are {', '.join(ours.classes)}.")
    if ours.classes[: len(production.classes)] == production.classes:
        new = ", ".join(ours.classes[len(production.classes) :])
        grown = (
            f"Version {ours.version} knows classes that production does not: {new}. The others keep their numbers, and "
            "the two are compared on those; whoever reads the answers has to expect the new ones."
        )
        return _answer(True, grown, blocks=False)
    sentence = (
        f"Version {ours.version} knows the classes {', '.join(ours.classes)}, production "
        f"{', '.join(production.classes)}; whoever reads class numbers would misread them. "
        "Train it with production's classes in production's order."
    )
    waived = is_redeploy(audit_log.attempts(ours.version))
    return _answer(waived, f"{sentence} Waived: this is a redeploy." if waived else sentence)


@_check("image", "self_test")
def self_test(image: ImageRecord) -> dg.AssetCheckResult:
    """The image loads its model, predicts on its own pictures and knows its version."""
    return _answer(image.self_test_passed, image.self_test_detail)


@_check("image", "no_pickle_inside")
def no_pickle_inside(image: ImageRecord) -> dg.AssetCheckResult:
    """Production never unpickles: no file of the image is a pickle."""
    if image.pickles:
        holds = ", ".join(image.pickles)
        return _answer(False, f"The image holds pickles: {holds}; remove them from serving/ or the model.")
    return _answer(True, "No file of the image is a pickle.")


@_check("image", "no_known_vulnerability")
def no_known_vulnerability(image: ImageRecord, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """No package has a known vulnerability, Python's or the system's; what could not be asked warns, or is refused."""
    if not image.audit:
        return _answer(True, "An embedded release brings no packages; it runs on this host's.")
    refused = image.audit == Audit.UNKNOWN and settings.unaudited == "reject"
    why = f"{image.audit_detail} BANANA_UNAUDITED is reject." if refused else image.audit_detail
    return _answer(image.audit == Audit.CLEAN, why, blocks=refused or image.audit == Audit.VULNERABLE)


@_check("staging_release", "tests_pass")
def tests_pass(staging_release: StagingRecord) -> dg.AssetCheckResult:
    """Smoke, integration and performance tests of the staged image pass."""
    failed, tests = staging_release.failed_tests, staging_release.tests
    if failed:
        told = "; ".join(f"{row.name}: {row.detail}" for row in failed)
        sentence = f"{len(failed)} of {len(tests)} tests failed. {told}"
        return _answer(False, sentence, numbers={"tests": len(tests), "failed": len(failed)})
    return _answer(True, f"All {len(tests)} tests passed.", numbers={"tests": len(tests), "failed": 0})


@_check("staging_release", "quality")
def quality(staging_release: StagingRecord) -> dg.AssetCheckResult:
    """The staged image finds what is on the labelled images, and not less than production does."""
    judged = staging_release.quality
    lets = staging_release.observed and judged.absolute.passed
    passed = judged.verdict is not Verdict.FAIL
    return _answer(passed, judged.reason, blocks=not lets, numbers=quality_numbers(judged))


@_check("ab_report", "verdict")
def verdict(ab_report: AbRecord) -> dg.AssetCheckResult:
    """Under production traffic the candidate is not worse. An undecided report warns, and a person decides."""
    found = ab_report.verdict.verdict
    sentence = f"{found}: {ab_report.verdict.reason}"
    numbers = {**quality_numbers(ab_report.quality), **traffic_numbers(ab_report.traffic)}
    blocks = found is not Verdict.INCONCLUSIVE and not ab_report.verdict.observed
    return _answer(found is Verdict.PASS, sentence, blocks=blocks, numbers=numbers)


def build_checks(location: CodeLocation) -> list[dg.AssetChecksDefinition]:
    """Every check of the pipeline."""
    checks: list[Declared] = [
        answers_like_the_checkpoint,
        classes_as_in_production,
        self_test,
        no_pickle_inside,
        no_known_vulnerability,
        tests_pass,
        quality,
        verdict,
    ]
    return [check(location) for check in checks]
