"""What each asset records of a release, one model an asset; ``runs.records`` turns them into metadata and back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from banana_delivery.policy.hindsight.would_have import WouldHave
from banana_delivery.policy.model import Colour, ImageRef, Outcome, StoredModel, StoredRecord
from banana_delivery.policy.quality.comparison import AbsoluteQuality, QualityComparison
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.rollout.metrics import StepMetrics
from banana_delivery.policy.rollout.plan import PolicyStamp


class Verdict(StrEnum):
    """What the A/B report says of a release."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class DecisionKind(StrEnum):
    """What a person may say about a version."""

    APPROVAL = "approval"
    OVERRIDE = "override"
    WITHDRAWAL = "withdrawal"


class ManualDecision(StoredRecord):
    """A person's recorded decision about a version.

    Attributes:
        kind: an approval settles an inconclusive verdict; an override also lets in what was revoked or frozen out; a
            withdrawal takes both back.
        version: MLflow model version.
        digest: the image it is about; empty means whatever the version's image is.
        by: who made it.
        reason: why.
        at: seconds since the epoch.
        frozen: whether a freeze kept shut what it opens, so that whoever made it began nothing: that goes on by itself.
        order: its place in the audit trail, which no clock decides; known once it was read from there.
    """

    kind: DecisionKind
    version: str
    digest: str = ""
    by: str
    reason: str
    at: float
    frozen: bool = False
    order: int = Field(default=0, exclude=True)


class AbVerdict(StoredModel):
    """The A/B report's verdict about a digest.

    Attributes:
        verdict: PASS, FAIL or INCONCLUSIVE.
        digest: what was measured.
        reason: one sentence with the numbers.
        at: seconds since the epoch.
        observed: whether the policy only observed, so that it keeps nobody out.
        order: its place in the audit trail, which no clock decides; known once it was read from there.
    """

    verdict: Verdict
    digest: str
    reason: str
    at: float
    observed: bool = False
    order: int = Field(default=0, exclude=True)


class ArtifactRecord(StoredRecord):
    """What ``model_artifact`` made of a version.

    Attributes:
        version: MLflow model version.
        mlflow_run_id, source: the run that trained it, and the URI of its artifacts.
        directory: where ``model.onnx`` and ``version.json`` lie.
        checkpoint_sha256: of ``best.pt``.
        onnx_sha256: of ``model.onnx``.
        classes: names, in the order of their ids.
        input_size: pixels of the longer side of what the network sees.
        parity_passed: whether the export answers as the checkpoint does.
        parity_reason: one sentence with the numbers.
        reused: whether the files of an earlier delivery were taken.
        model_signed_by: name of the key that signed ``best.pt``; empty if nobody asked.
        precision: what ``model.onnx`` computes in: f32, which the parity is about, or int8.
        precision_reason: one sentence that says why; empty in records of earlier versions.
        precision_gains: how many times less CPU time an image took in integers, by the kind of CPU, as first measured.
        seconds: wall-clock time.
    """

    version: str
    mlflow_run_id: str
    source: str
    directory: str
    checkpoint_sha256: str
    onnx_sha256: str
    classes: tuple[str, ...]
    input_size: int
    parity_passed: bool
    parity_reason: str
    reused: bool
    model_signed_by: str = ""
    precision: str = "f32"
    precision_reason: str = ""
    precision_gains: dict[str, float] = Field(default_factory=dict)
    seconds: float


class ImageRecord(StoredRecord):
    """What ``image`` built or found.

    Attributes:
        ref: the image, pinned.
        size_bytes: sum of its layers.
        new_bytes: of these, written now.
        layers_new: names of layers written now.
        layers_reused: names of layers that were there.
        tags: tags that point at it now.
        self_test_passed: whether the image's own self-test passed.
        self_test_detail: what it said.
        pickles: files in the image that are pickles; must be none.
        audit: what a scan of its packages for known vulnerabilities says; empty where images bring none.
        audit_detail: the same as a sentence.
        sbom: digest of its bill of materials, which is kept beside it; empty if there is none.
        sbom_components: how many that lists.
        sbom_trouble: why there is none, as a sentence; empty if there is one.
        signed_by: name of the key that signed it; empty if it was not signed.
        base_moved: one sentence if the tag of its base leads elsewhere than it did for the image before; empty if not.
        lock_difference: one sentence if it will run on other libraries than it was built with; empty otherwise.
        precision, precision_reason: what its model computes in, and why.
        reused: whether the digest existed before.
        pruned: digests that retention removed.
        prune_trouble: why older images could not be removed, as a sentence; empty if they could.
        seconds: wall-clock time.
    """

    ref: ImageRef
    size_bytes: int
    new_bytes: int
    layers_new: tuple[str, ...]
    layers_reused: tuple[str, ...]
    tags: tuple[str, ...]
    self_test_passed: bool
    self_test_detail: str
    pickles: tuple[str, ...]
    audit: str = ""
    audit_detail: str = ""
    sbom: str = ""
    sbom_components: int = 0
    sbom_trouble: str = ""
    signed_by: str = ""
    base_moved: str = ""
    lock_difference: str
    precision: str = "f32"
    precision_reason: str = ""
    reused: bool
    pruned: tuple[str, ...]
    prune_trouble: str = ""
    seconds: float


class TestRow(StoredModel):
    """One line of a test table.

    Attributes:
        name: what was looked at.
        passed: whether it was as it should be.
        detail: what was seen.
        seconds: how long it took.
        unreached: whether it failed because a connection was refused or broke off, for which a release may be innocent.
    """

    __test__ = False  # Not a test itself, whatever its name suggests to pytest.

    name: str
    passed: bool
    detail: str
    seconds: float = Field(ge=0)
    unreached: bool = False


class QualityRecord(StoredModel):
    """How well a release finds what is on labelled images, alone and beside what production answers.

    Attributes:
        absolute: the release alone, against the minimum.
        comparison: beside production; None when there is nothing to compare with.
        waived: whether the comparison was recorded but not held against it: a redeploy, or wanted by a person.
        unanswered: images that production did not answer; they count as empty, unless earlier answers of it were taken.
        kept: whether such were taken.
        overridden_by: whose word waived the comparison; empty if none did.
        holdout: digest of the labelled images and their labels; empty in what earlier versions recorded.
    """

    absolute: AbsoluteQuality
    comparison: QualityComparison | None
    waived: bool
    unanswered: int = 0
    kept: bool = False
    overridden_by: str = ""
    holdout: str = ""

    @property
    def verdict(self) -> Verdict:
        """The minimum counts for everybody, the comparison for whoever is not a redeploy."""
        if not self.absolute.passed:
            return Verdict.FAIL
        if self.comparison is None or self.waived:
            return Verdict.PASS
        known = {QualityVerdict.NOT_WORSE: Verdict.PASS, QualityVerdict.WORSE: Verdict.FAIL}
        return known.get(self.comparison.verdict, Verdict.INCONCLUSIVE)

    @property
    def reason(self) -> str:
        """One sentence with the numbers that decided; below the minimum, with all that speaks against it."""
        found = self.comparison
        if found and self.absolute.passed:
            return " ".join(filter(None, [found.reason, self._unanswered, self._waiver]))
        also = found.reason if found and not self.waived and found.verdict is QualityVerdict.WORSE else ""
        return f"{self.absolute.reason} {also}".rstrip()

    @property
    def _unanswered(self) -> str:
        if not self.unanswered or self.comparison is None:
            return ""
        left = f"Production left {self.unanswered:,} of {self.comparison.images:,} images unanswered"
        if self.kept:
            return f"{left}, so the answers kept of its image were taken."
        return f"{left}, which count as images in which it found nothing."

    @property
    def _waiver(self) -> str:
        if self.overridden_by:
            return f"Waived: production does not answer as it should, and {self.overridden_by} overrode."
        return "Waived: this is a redeploy." if self.waived else ""


class StagingRecord(StoredRecord):
    """What ``staging_release`` saw.

    Attributes:
        ref: the image that runs in staging.
        replicas: how many.
        tests: the smoke, integration and performance table.
        quality: the staged image on the labelled images.
        observed: whether the policy only observes, so that a comparison keeps nobody out.
        seconds_to_ready: from deploy to the last replica answering.
        seconds: wall-clock time.
    """

    ref: ImageRef
    replicas: int
    tests: tuple[TestRow, ...]
    quality: QualityRecord
    seconds_to_ready: float
    seconds: float
    observed: bool = False

    @property
    def failed_tests(self) -> tuple[TestRow, ...]:
        """The rows that did not pass."""
        return tuple(row for row in self.tests if not row.passed)


class AbRecord(StoredRecord):
    """What ``ab_report`` found.

    Attributes:
        ref: the candidate.
        colour: the idle colour it ran in.
        against: production's release, if there was one.
        verdict: the report's verdict about this digest.
        traffic: errors and latency under production traffic; None if it was not needed.
        quality: the same labelled images to staging and production.
        seconds: wall-clock time.
        observed: what was not done to its users, as the policy only observes.
        before: what users met in the A/B each time that it began again, with the trial that followed.
    """

    ref: ImageRef
    colour: Colour
    against: ImageRef | None
    verdict: AbVerdict
    traffic: StepMetrics | None
    quality: QualityRecord
    seconds: float
    observed: WouldHave | None = None
    before: tuple[StepMetrics, ...] = ()

    @property
    def whole_traffic(self) -> tuple[StepMetrics, ...]:
        """All that users met in it, in order."""
        return (*self.before, self.traffic) if self.traffic else ()


class ShiftStep(StoredModel):
    """One decided step of a release.

    Attributes:
        metrics: what was seen.
        decision: what was done about it.
        reason: why, in one sentence.
        observed: what was not done, as the policy only observes.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"figures": "metrics"}

    metrics: StepMetrics
    decision: str
    reason: str
    observed: WouldHave | None = None


class AttemptRecord(StoredRecord):
    """One line of ``rollout_log``: how an attempt ended, whoever made it.

    Attributes:
        version: MLflow model version.
        outcome: how it ended.
        reason: one sentence with the numbers.
        digest: image digest; empty if none was built.
        previous_digest: what production served before; empty if nothing.
        serving_version: what production serves after it; empty if nothing.
        colour: the production colour the candidate took, if it came so far.
        steps: what each step saw.
        requests: requests that users and probes sent while it was under way.
        failed: of these, failed as the router saw it.
        rollback_seconds: from verdict to all traffic on the old colour; None without a rollback.
        basis: what opened the gate; ``frozen``: whether a freeze kept it shut, which no approval lifts.
        trigger: ``sensor``, ``manual``, ``backfill`` or ``cli``.
        actor: who or what did it.
        run_id: the Dagster run; empty if a person acted without one.
        at: seconds since the epoch.
        asked_at: when it was staged, by the registry's clock, or its run made; None without one, or in early records.
        seconds: wall-clock time of the whole delivery.
        revoked: whether this took the version out of service for being bad.
        revokes: the run whose release it took out, if that is known: what that run says later counts no more.
        policy: what it was judged by; None in records of earlier versions.
        precision: what the image's model computes in; empty if that is not known.
        precision_reason: why.
        observed: what was not done, as the policy only observes.
        order: its place in the audit trail, which no clock decides; known once it was read from there.
    """

    version: str
    outcome: Outcome
    reason: str
    digest: str = ""
    previous_digest: str = ""
    serving_version: str = ""
    colour: Colour | None = None
    steps: tuple[ShiftStep, ...] = ()
    requests: int = 0
    failed: int = 0
    rollback_seconds: float | None = None
    basis: str = ""
    frozen: bool = False
    trigger: str = ""
    actor: str = ""
    run_id: str = ""
    at: float
    asked_at: float | None = None
    seconds: float = 0.0
    revoked: bool = False
    revokes: str = ""
    policy: PolicyStamp | None = None
    precision: str = ""
    precision_reason: str = ""
    observed: tuple[WouldHave, ...] = ()
    order: int = Field(default=0, exclude=True)
