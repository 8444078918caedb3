"""Blocking asset checks: the gates between the assets. They read what an asset recorded and judge it.

The partition of a check is a preview feature of Dagster; everything that depends on it is in this file.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import dagster as dg

from banana_delivery.defs.resources import Services
from banana_delivery.images.scanning import Audit
from banana_delivery.policy.asset_records import AbRecord, ArtifactRecord, ImageRecord, StagingRecord, Verdict
from banana_delivery.policy.model import Environment, StoredRecord
from banana_delivery.policy.outcomes import is_redeploy
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.partitions import MODEL_VERSIONS

Record = TypeVar("Record", bound=StoredRecord)


class Answer(NamedTuple):
    """What a check says.

    Attributes:
        passed: whether it passed.
        sentence: why, with the numbers.
        blocks: whether failing it ends the delivery; otherwise it warns, and something else decides.
    """

    passed: bool
    sentence: str
    blocks: bool = True


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Every check of the pipeline."""
    return [
        _check("model_artifact", "answers_like_the_checkpoint", ArtifactRecord, _parity),
        _check("model_artifact", "classes_as_in_production", ArtifactRecord, _classes),
        _check("image", "self_test", ImageRecord, _self_test),
        _check("image", "no_pickle_inside", ImageRecord, _no_pickles),
        _check("image", "no_known_vulnerability", ImageRecord, _audit),
        _check("staging_release", "tests_pass", StagingRecord, _tests),
        _check("staging_release", "quality", StagingRecord, _quality),
        _check("ab_report", "verdict", AbRecord, _verdict),
    ]


class _Scene:
    """What a check may look at besides the record it judges."""

    def __init__(self, context: dg.AssetCheckExecutionContext, services: Services) -> None:
        self.version = context.partition_key
        self.history = AuditLog(context.instance)
        self.services = services

    @property
    def redeploying(self) -> bool:
        """Comparisons with production are waived for a version that was released before."""
        return is_redeploy(self.history.attempts(self.version))


def _check(
    asset: str, name: str, kind: type[Record], judge: Callable[[Record, _Scene], Answer]
) -> dg.AssetChecksDefinition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)

        @dg.asset_check(asset=asset, name=name, blocking=True, partitions_def=MODEL_VERSIONS, description=judge.__doc__)
        def check(context: dg.AssetCheckExecutionContext, services: dg.ResourceParam[Services]) -> dg.AssetCheckResult:
            scene = _Scene(context, services)
            record = scene.history.latest(kind, asset, scene.version)
            if record is None:
                raise dg.Failure(f"{asset} recorded nothing about version {scene.version}.", allow_retries=False)
            answer = judge(record, scene)
            severity = dg.AssetCheckSeverity.ERROR if answer.blocks else dg.AssetCheckSeverity.WARN
            return dg.AssetCheckResult(passed=answer.passed, description=answer.sentence, severity=severity)

    return check


def _parity(record: ArtifactRecord, _: _Scene) -> Answer:
    """The exported model answers like the checkpoint on labelled images."""
    return Answer(record.parity_passed, record.parity_reason)


def _classes(record: ArtifactRecord, scene: _Scene) -> Answer:
    """The classes and their order are production's, or those of the first release; waived for a redeploy."""
    live = scene.services.target.record(Environment.PRODUCTION).live
    production = scene.history.latest(ArtifactRecord, "model_artifact", live.version) if live else None
    if production is None or production.classes == record.classes:
        return Answer(True, f"The classes are {', '.join(record.classes)}.")
    sentence = (
        f"Version {record.version} knows the classes {', '.join(record.classes)}, production "
        f"{', '.join(production.classes)}; whoever reads class numbers would misread them. "
        "Train it with production's classes in production's order."
    )
    return Answer(scene.redeploying, f"{sentence} Waived: this is a redeploy." if scene.redeploying else sentence)


def _self_test(record: ImageRecord, _: _Scene) -> Answer:
    """The image loads its model, predicts on its own pictures and knows its version."""
    return Answer(record.self_test_passed, record.self_test_detail)


def _audit(record: ImageRecord, _: _Scene) -> Answer:
    """No package of the serving lock has a known vulnerability; a database that cannot be asked is a warning."""
    if not record.audit:
        return Answer(True, "An embedded release brings no packages; it runs on this host's.")
    return Answer(record.audit == Audit.CLEAN, record.audit_detail, blocks=record.audit == Audit.VULNERABLE)


def _no_pickles(record: ImageRecord, _: _Scene) -> Answer:
    """Production never unpickles: no file of the image is a pickle."""
    if record.pickles:
        holds = ", ".join(record.pickles)
        return Answer(False, f"The image holds pickles: {holds}; remove them from serving/ or the model.")
    return Answer(True, "No file of the image is a pickle.")


def _tests(record: StagingRecord, _: _Scene) -> Answer:
    """Smoke, integration and performance tests of the staged image pass."""
    failed = record.failed_tests
    if failed:
        sentence = f"{len(failed)} of {len(record.tests)} tests failed. {failed[0].name}: {failed[0].detail}"
        return Answer(False, sentence)
    return Answer(True, f"All {len(record.tests)} tests passed.")


def _quality(record: StagingRecord, _: _Scene) -> Answer:
    """The staged image finds what is on the labelled images, and not less than production does."""
    return Answer(record.quality.verdict is not Verdict.FAIL, record.quality.reason)


def _verdict(record: AbRecord, _: _Scene) -> Answer:
    """Under production traffic the candidate is not worse. An undecided report warns, and a person decides."""
    verdict = record.verdict.verdict
    sentence = f"{verdict}: {record.verdict.reason}"
    return Answer(verdict is Verdict.PASS, sentence, blocks=verdict is not Verdict.INCONCLUSIVE)
