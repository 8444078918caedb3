"""What ``banana-delivery status`` shows.

What ``banana-delivery prune`` shows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from banana_delivery.images.base import PruneDecision
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord, ManualDecision, QualityRecord
from banana_delivery.policy.drift import Observed, find_drift
from banana_delivery.policy.model import COLOURS, Colour, Deployment, Environment, Phase, RolloutRecord
from banana_delivery.policy.rollout.live import live_of
from banana_delivery.quoting import in_terminal, one_line
from banana_delivery.reports.steps import step_lines


def status_view(
    records: Sequence[RolloutRecord],
    attempts: Sequence[AttemptRecord],
    now: float,
    *,
    observed: Mapping[Environment, Observed] | None = None,
    waiting: Sequence[str] = (),
) -> Group:
    """Environments, colours, digests, weights, what differs from the record, what waits, and the last outcomes.

    Args:
        records: of each environment.
        attempts: newest first.
        now: seconds since the epoch.
        observed: what really is, where it could be seen.
        waiting: deliveries that have not begun, in words, in the order in which they will.
    """
    seen = observed or {}
    queue = [f"Waiting: {', '.join(map(in_terminal, waiting))}"] if waiting else []
    return Group(
        *(record_view(record, now, seen.get(record.environment)) for record in records), *queue, _attempts(attempts)
    )


def decisions_view(decisions: Sequence[tuple[ManualDecision, float, bool]], unsigned: int) -> Group:
    """What people decided that still counts, and how many records count for nothing since nobody signed them.

    Args:
        decisions: each with the seconds for which it counts, and whether production went past it.
        unsigned: how many of the latest records bear no signature.
    """
    lines = [
        f"{one.kind.capitalize()} of version {one.version} as {one.digest[:19] or 'any image'}, {one.by}: {one.reason} "
        f"({left / 3600:.1f} h left)"
        for one, left, spent in decisions
        if left > 0 and not spent
    ]
    if unsigned:
        lines.append(
            f"{unsigned} of the latest records count for nothing, since they bear no signature; to see them and adopt "
            f"what an earlier version wrote, type: {commands.adopt_records()}"
        )
    return Group(*(Text(one_line(line)) for line in lines))


def unsigned_view(found: Sequence[tuple[int, str, str, str, str]]) -> Table:
    """Records without a signature: event, asset, version, run and what they say, which may be a stranger's words."""
    table = Table("Event", "Asset", "Version", "Run", "Says")
    for event, asset, version, run, says in found:
        table.add_row(str(event), *(Text(one_line(said)) for said in (asset, version, run[:8] or "none", says)))
    return table


def record_view(record: RolloutRecord, now: float, observed: Observed | None = None) -> Group:
    """One environment, its colours and their weights, and what really is where that was seen."""
    table = Table("Colour", "Version", "Digest", "Replicas", "Traffic", "Role")
    for colour in COLOURS[record.environment]:
        deployment = record.deployments.get(colour)
        table.add_row(
            colour,
            in_terminal(deployment.image.version) if deployment else "",
            in_terminal(deployment.image.digest[:19]) if deployment else "",
            _replicas(deployment, observed, colour),
            f"{record.weights.get(colour, 0)} %",
            _role(record, colour, now),
        )
    step = live_of(record)
    return Group(
        f"{record.environment.capitalize()}: {in_terminal(state_words(record, now))}",
        table,
        *_differences(record, observed),
        *(step_lines(step, now) if step else ()),
    )


def _replicas(deployment: Deployment | None, observed: Observed | None, colour: Colour) -> str:
    """Ready and wanted replicas; only what is wanted where nobody could see more."""
    if deployment is None:
        return ""
    return f"{observed.ready.get(colour, 0)}/{deployment.replicas}" if observed else str(deployment.replicas)


def _differences(record: RolloutRecord, observed: Observed | None) -> list[Text]:
    """What is not as recorded, worst first."""
    drifts = sorted(find_drift(record, observed), key=lambda drift: -drift.share) if observed else []
    return [
        Text(
            f"  ! {one_line(drift.sentence)}{f' {100 * drift.share:.0f} % of users fail.' if drift.share else ''}",
            "red",
        )
        for drift in drifts
    ]


def role(record: RolloutRecord, colour: Colour) -> str:
    """What a colour is for: ``active``, ``candidate``, ``warm`` or ``idle``."""
    if colour is record.active:
        return "active"
    deployment = record.deployments.get(colour)
    if record.candidate and deployment and deployment.image.digest == record.candidate.digest:
        return "candidate"
    return "warm" if record.scale_down_at is not None else "idle"


def _role(record: RolloutRecord, colour: Colour, now: float) -> str:
    """The same, and for how long a colour stays warm."""
    left = (record.scale_down_at or 0.0) - now
    return f"warm {left:.0f} s" if role(record, colour) == "warm" and left > 0 else role(record, colour)


def state_words(record: RolloutRecord, now: float) -> str:
    """What an environment is about: its phase, the candidate and its share, who is at work, or why nobody may be."""
    if record.owner:
        weight = record.weights.get(record.idle, 0) if record.environment is Environment.PRODUCTION else 0
        step = f" version {record.candidate.version} at {weight} %" if record.candidate and weight else ""
        return f"{record.phase}{step}, {record.owner[:8]} beat {now - record.heartbeat:.0f} s ago"
    return f"held: {record.note}" if record.phase is Phase.DRIFTED else record.phase


def _attempts(attempts: Sequence[AttemptRecord]) -> Table:
    table = Table("When", "Version", "Outcome", "Why", title="Last outcomes", title_justify="left")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for attempt in attempts:
        when = time.strftime("%m-%d %H:%M:%S", time.localtime(attempt.at))
        table.add_row(when, in_terminal(attempt.version), attempt.outcome, in_terminal(attempt.reason))
    return table


def ticks_view(ticks: Mapping[str, float | None], now: float) -> str:
    """How long ago each sensor came to its end.

    Args:
        ticks: when, by sensor, seconds since the epoch; None if never.
        now: seconds since the epoch.
    """
    said = [f"{sensor} {'never' if at is None else f'{max(now - at, 0.0):.0f} s ago'}" for sensor, at in ticks.items()]
    return f"Sensors: {', '.join(said)}"


def retention_view(decisions: Sequence[PruneDecision], *, dry_run: bool) -> Table:
    """Each image with what becomes of it and why.

    Args:
        decisions: newest image first.
        dry_run: whether nothing was removed.
    """
    gone = "would go" if dry_run else "removed"
    freed = sum(decision.freed_bytes for decision in decisions)
    caption = f"{sum(not one.keep for one in decisions)} of {len(decisions)} {gone}; {freed / 1e6:,.1f} MB."
    table = Table("Version", "Digest", "", "Why", caption=caption, caption_justify="left")
    for decision in decisions:
        table.add_row(
            in_terminal(decision.ref.version),
            in_terminal(decision.ref.digest[:19]),
            "stays" if decision.keep else gone,
            in_terminal(decision.reason),
        )
    return table


def home_view(found: Sequence[tuple[str, bool, Path, int]], *, dry_run: bool) -> Table:
    """What deliveries left beside their images: each thing that goes, and how much of its kind stays.

    Args:
        found: of each the kind, whether it stays, where it is, and its bytes.
        dry_run: whether nothing was removed.
    """
    gone = "would go" if dry_run else "removed"
    freed = sum(size for _, stays, _, size in found if not stays)
    caption = f"{sum(not stays for _, stays, _, _ in found)} of {len(found)} {gone}; {freed / 1e6:,.1f} MB."
    table = Table("Left by deliveries", "", "", "MB", caption=caption, caption_justify="left")
    for kind in dict.fromkeys(kind for kind, *_ in found):
        for one, stays, path, size in found:
            if one == kind and not stays:
                table.add_row(kind, gone, str(path), f"{size / 1e6:,.1f}")
        left = [size for one, stays, _, size in found if one == kind and stays]
        if left:
            table.add_row(kind, "stay", f"{len(left):,}", f"{sum(left) / 1e6:,.1f}")
    return table


def holdout_view(facts: Mapping[str, int], objects: Mapping[str, int], detectable: Mapping[str, float]) -> Group:
    """What a hold-out holds, and the loss of recall that 90 of 100 deliveries would find.

    Args:
        facts: figures by what they are.
        objects: labelled ones by class.
        detectable: that loss by class; of all of them under the empty name.
    """
    size = Table(show_header=False)
    for what, count in facts.items():
        size.add_row(what, f"{count:,}")
    classes = Table("class", "labelled objects", "loss of recall found in 90 of 100 deliveries")
    for name, count in objects.items():
        classes.add_row(in_terminal(name), f"{count:,}", f"{detectable[name]:.3f}" if name in detectable else "none")
    classes.add_row("all", f"{sum(objects.values()):,}", f"{detectable['']:.3f}" if "" in detectable else "none")
    return Group(size, classes)


def quality_view(parity: str, record: QualityRecord, figures: Mapping[str, float]) -> Group:
    """How well a model finds what labelled images show, by class, and beside another where there is one.

    Args:
        parity: how alike its export answers, in one sentence.
        record: what was judged.
        figures: of the model alone, by what they are.
    """
    alone, beside = record.absolute, record.comparison
    table = Table("class", "AP50", *(("AP50 of the other", "labelled objects") if beside else ()))
    for name, precision in alone.per_class.items():
        other = beside.per_class.get(name) if beside else None
        more = (_precision(other.production), f"{other.objects:,}") if other else ("",) * 2
        table.add_row(in_terminal(name), _precision(precision), *(more if beside else ()))
    table.add_row("all", _precision(alone.map50), *((_precision(beside.production_map50), "") if beside else ()))
    told = [f"{what}: {value:.3f}" for what, value in figures.items()]
    return Group(table, *told, Text(one_line(parity)), Text(one_line(f"{record.verdict}: {record.reason}")))


def _precision(value: float | None) -> str:
    return "none shown" if value is None else f"{value:.3f}"
