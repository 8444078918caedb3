"""What a policy that only observes would have done to a whole delivery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from banana_delivery.policy.asset_records import AbRecord, ShiftStep, StagingRecord, Verdict
from banana_delivery.policy.hindsight.would_have import WouldHave
from banana_delivery.policy.model import ImageRef


def observed_of(
    ref: ImageRef, staging: StagingRecord | None, report: AbRecord | None, steps: Sequence[ShiftStep]
) -> tuple[WouldHave, ...]:
    """All that it would have done, in that order.

    Args:
        ref: the image that is released.
        staging: what staging saw of the version, of whatever image.
        report: its A/B report, likewise.
        steps: of the release.
    """
    ours = staging if staging and staging.ref.digest == ref.digest else None
    judged = report if report and report.ref.digest == ref.digest else None
    return tuple(_in_order(ours, judged, steps))


def _in_order(
    staging: StagingRecord | None, report: AbRecord | None, steps: Sequence[ShiftStep]
) -> Iterator[WouldHave]:
    if staging and staging.quality.verdict is Verdict.FAIL:
        yield WouldHave(what="reject", where="staging", reason=staging.quality.reason)
    if report and report.verdict.observed:
        users = report.observed
        if users:
            yield users
        of_users = users is not None and users.reason == report.verdict.reason
        if report.verdict.verdict is not Verdict.PASS and not of_users:
            what = "reject" if report.verdict.verdict is Verdict.FAIL else "park"
            yield WouldHave(what=what, where="the A/B report", reason=report.verdict.reason)
    yield from (step.observed for step in steps if step.observed)
