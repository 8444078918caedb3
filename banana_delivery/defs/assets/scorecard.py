"""``scorecard``: whether the pipeline keeps its promises, from the audit trail, as numbers that Dagster plots."""

import dagster as dg

from banana_delivery.defs.assets._run import GROUP, OWNERS
from banana_delivery.delivery.upkeep.scores import DAYS, keep_page, score
from banana_delivery.policy.scorecard.card import DAY, Scorecard, Standing
from banana_delivery.reports.scorecard import scorecard_grid
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import ROLLOUT_LOG, SCORECARD, CodeLocation, location_of
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.settings import Settings
from banana_delivery.waiting import Clock


def scorecard(location: CodeLocation) -> dg.AssetsDefinition:
    """The scorecard, where a code location has it. It is of no version, and waits for no delivery."""

    @dg.asset(
        key=location.key(SCORECARD),
        deps=[location.key(ROLLOUT_LOG)],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"audit"},
        description=f"What the last {DAYS} days of deliveries were like, beside what is promised of them.",
    )
    def compute(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], clock: dg.ResourceParam[Clock]
    ) -> dg.MaterializeResult[None]:
        here = CodeLocation.of(settings).called(location_of(context.run))
        Runs(context.instance, here).sign_in(context.run.run_id)
        now = clock.time()
        card = score(AuditLog(context.instance, here), now - DAYS * DAY, now)
        return dg.MaterializeResult(metadata={**_figures(card), **_shown(card, settings)})

    return compute


def _figures(card: Scorecard) -> dict[str, dg.MetadataValue]:
    """What is known, as numbers; what is not known has no point in the plot, for zero would be a good one."""
    known = {one.name: one.estimate.value for one in card.measures}
    figures = {name: dg.MetadataValue.float(round(value, 6)) for name, value in known.items() if value is not None}
    standings = [one.standing for one in card.measures]
    counts = {
        "deliveries": card.deliveries,
        "promises_kept": standings.count(Standing.KEPT),
        "promises_broken": standings.count(Standing.BROKEN),
        "promises_not_known": standings.count(Standing.UNSURE) + standings.count(Standing.UNKNOWN),
    }
    return {**figures, **{name: dg.MetadataValue.int(count) for name, count in counts.items()}}


def _shown(card: Scorecard, settings: Settings) -> dict[str, dg.MetadataValue]:
    return {
        "scorecard": dg.MetadataValue.md(scorecard_grid(card).markdown()),
        "page": dg.MetadataValue.path(keep_page(settings, card)),
    }
