"""What somebody sees who watches a delivery: lines for one screen, each cut where the screen ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text

from banana_delivery.policy.drift import find_drift
from banana_delivery.policy.model import COLOURS, Colour, Environment, RolloutRecord
from banana_delivery.policy.rollout.live import live_of
from banana_delivery.quoting import one_line
from banana_delivery.reports.overview import Overview
from banana_delivery.reports.steps import step_lines
from banana_delivery.reports.terminal import role, state_words

FEWEST_ATTEMPTS = 2


def screen(overview: Overview, height: int) -> list[Text]:
    """All of it in so many lines; old attempts are what gives way."""
    lines = [*_environments(overview)]
    lines += [Text(f"Waiting: {one_line(', '.join(overview.waiting))}")] if overview.waiting else []
    lines.append(overview.freeze)
    lines += [
        Text(one_line(f"{one.kind.capitalize()} of version {one.version}, {one.by}: {one.reason}"))
        for one, left, spent in overview.decisions
        if left > 0 and not spent
    ]
    room = max(height - len(lines), FEWEST_ATTEMPTS)
    lines += [
        Text(
            f"{time.strftime('%m-%d %H:%M', time.localtime(one.at))}  {one_line(one.version)}  "
            f"{one.outcome}: {one_line(one.reason)}"
        )
        for one in overview.attempts[:room]
    ]
    return lines[:height]


def _environments(overview: Overview) -> Iterator[Text]:
    for environment in reversed(Environment):
        if why := overview.unseen.get(environment):
            yield Text(f"{environment.capitalize()} cannot be seen: {one_line(why)}", "red")
    for record in sorted(overview.records, key=lambda one: one.environment is Environment.STAGING):
        yield Text(f"{record.environment.capitalize()}: {one_line(state_words(record, overview.at))}", "bold")
        observed = overview.observed.get(record.environment)
        for colour in COLOURS[record.environment]:
            if colour in record.deployments:
                ready = observed.ready.get(colour, 0) if observed else None
                yield _colour(record, colour, ready)
        for drift in find_drift(record, observed) if observed else ():
            yield Text(f"  ! {one_line(drift.sentence)}", "red")
        if step := live_of(record):
            yield from step_lines(step, overview.at)


def _colour(record: RolloutRecord, colour: Colour, ready: int | None) -> Text:
    deployment = record.deployments[colour]
    replicas = f"{'?' if ready is None else ready}/{deployment.replicas} ready"
    weight = record.weights.get(colour, 0)
    return Text(
        f"  {colour:<6}version {one_line(deployment.image.version):<6}{deployment.image.digest[:15]}  {replicas:<11} "
        f"{weight:>3} %  {role(record, colour)}"
    )


def joined(lines: Sequence[Text]) -> Group:
    """Lines one below the other, each cut where the screen ends."""
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)
