"""Looking at what models are judged by."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from banana_delivery.cli.answering.answer import Answer
from banana_delivery.cli.common import cleared_up, console, errors
from banana_delivery.policy.model import Outcome
from banana_delivery.quoting import in_terminal, visible
from banana_delivery.settings import load_settings

if TYPE_CHECKING:
    from banana_delivery.delivery.evidence.backtest import Judged
    from banana_delivery.policy.hindsight.replay import Course, Replay

MOST_PAIRS = 10
"""Of each kind that are named."""


class Look(StrEnum):
    """What to do with labelled images."""

    CHECK = "check"


def holdout(
    look: Annotated[Look, typer.Argument(metavar="check", help="Look at them.")],
    where: Annotated[
        Path | None, typer.Argument(help="Folder or file, `#split` after it; without it, BANANA_HOLDOUT.")
    ] = None,
) -> Answer:
    """Show size, classes and small objects of labelled images, what is there twice, and which loss they show."""
    from banana_delivery.errors import LabelledImagesError
    from banana_delivery.evaluation.holdout.report import report
    from banana_delivery.policies.reading import load_policy
    from banana_delivery.policy.quality.matching import MAX_DETECTIONS
    from banana_delivery.reports.terminal import holdout_view

    del look  # There is one thing to do with them so far.
    settings = load_settings()
    place = where.expanduser() if where else settings.holdout
    if place is None:
        raise LabelledImagesError("No hold-out is set: name a folder, or set BANANA_HOLDOUT.")
    found = report(place, "" if where else settings.holdout_split, load_policy(settings.policy_source).quality)
    said: list[RenderableType] = [
        in_terminal(f"{found.path}, {found.digest[:19]}"),
        holdout_view(
            {
                "images": found.images,
                "of these, showing nothing": found.empty,
                f"of these, showing more than the {MAX_DETECTIONS} objects that are found at most": found.crowded,
                "labelled objects": sum(found.objects.values()),
                "of these, small": found.small,
                "pairs of equal files": len(found.twice),
                "pairs that look the same": len(found.near),
                "other splits looked at": len(found.splits),
                "pairs that look the same in another split": len(found.shared),
            },
            found.objects,
            found.detectable,
        ),
    ]
    for what, pairs in (
        ("The same file twice", found.twice),
        ("Look the same", found.near),
        ("Look the same in another split, so that a model may know the answer", found.shared),
    ):
        for one, other in pairs[:MOST_PAIRS]:
            said.append(in_terminal(f"{what}: {one} and {other}"))
    document = asdict(found) | {"path": str(found.path), "detectable": dict(found.detectable)}
    return Answer(document, said)


def check(
    checkpoint: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, resolve_path=True, help="The best.pt that training wrote."),
    ],
    holdout: Annotated[
        Path | None,
        typer.Option(help="Labelled images, `#split` after them; without it, BANANA_HOLDOUT or generated leaves."),
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            resolve_path=True,
            help="Another checkpoint to compare it with, such as production's.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")] = False,
) -> None:
    """Try a checkpoint as a delivery would before it runs anywhere: scan, export, parity, quality. Releases nothing."""
    from rich.progress import Progress

    from banana_delivery.delivery.upkeep.trying import Bench
    from banana_delivery.errors import RejectedModelError
    from banana_delivery.policies.reading import load_policy
    from banana_delivery.policy.outcomes import CONSEQUENCES
    from banana_delivery.reports.terminal import quality_view

    settings = load_settings()
    if holdout:
        settings = settings.model_copy(update={"holdout": Path.cwd() / holdout.expanduser(), "holdout_split": ""})
    margins = load_policy(settings.policy_source).quality
    with cleared_up(), Progress(console=errors, transient=True) as bar:
        task = bar.add_task("Labelled images", total=None)
        bench = Bench(
            settings,
            lambda line: errors.print(in_terminal(line), highlight=False, markup=False, soft_wrap=True),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
        try:
            tried, *others = [bench.try_out(one, margins) for one in (checkpoint, beside) if one]
        except RejectedModelError as error:
            bar.stop()
            errors.print(in_terminal(str(error)), style="red", highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(CONSEQUENCES[Outcome.REJECTED].exit_code) from None
    found = bench.judged(tried, others[0] if others else None, margins)
    if as_json:
        typer.echo(json.dumps(found.json(), indent=2))
    else:
        console.print(quality_view(found.parity.reason, found.quality, found.figures))
    raise typer.Exit(CONSEQUENCES[found.outcome].exit_code)


class PolicyLook(StrEnum):
    """What to do with release policies."""

    CHECK = "check"
    SHOW = "show"
    DIFF = "diff"


def policy(
    look: Annotated[PolicyLook, typer.Argument(help="What it promises, what it says in full, or what differs.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE] [FILE]", help="A file, or standard, seed or demo; without it, BANANA_POLICY."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Of check: print one JSON document, for programs.")] = False,
    rounds: Annotated[
        int, typer.Option(min=0, help="Of check: play so many, however long that takes; 0 for what 10 s allow.")
    ] = 0,
) -> None:
    """Show what a release policy promises, by playing deliveries; or its text; or how it differs from another."""
    from banana_delivery.policies.reading import load_policy

    named = files or [load_settings().policy_source]
    wanted = 2 if look is PolicyLook.DIFF and len(named) > 1 else 1
    if len(named) > wanted:
        raise typer.BadParameter(f"{look.value} takes {wanted} of them, and these are {len(named)}.")
    if look is PolicyLook.CHECK:
        _check(named[0], as_json=as_json, rounds=rounds)
        return
    if look is PolicyLook.SHOW:
        typer.echo(load_policy(named[0]).text, nl=False)
        return
    _show_difference(*(named if len(named) > 1 else [load_settings().policy_source, named[0]]))


def _check(source: str, *, as_json: bool, rounds: int) -> None:
    from banana_delivery.policies.foolish import foolish
    from banana_delivery.policies.promise import promise
    from banana_delivery.policies.reading import load_policy
    from banana_delivery.reports.promise import promise_view

    checked = load_policy(source)
    warnings, promised = foolish(checked, time.time()), promise(checked, rounds=rounds or None)
    if as_json:
        typer.echo(json.dumps({**promised.json(), "warnings": warnings}, indent=2))
    else:
        console.print(promise_view(promised, warnings))


def _show_difference(before: str, after: str) -> None:
    import difflib

    from banana_delivery.policies.reading import load_policy

    old, new = (load_policy(source).text.splitlines() for source in (before, after))
    for line in difflib.unified_diff(old, new, before, after, lineterm="", n=0):
        typer.echo(visible(line))


def backtest(
    policy: Annotated[str, typer.Option(help="A policy file, or standard, seed or demo.")],
    last: Annotated[int, typer.Option(min=1, help="How many of the latest attempts.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON document, for programs.")] = False,
) -> None:
    """Show which past attempts would have ended otherwise by another policy, when, and after how many bad requests."""
    from rich.progress import Progress

    from banana_delivery.cli.common import audit_trail
    from banana_delivery.delivery.evidence.backtest import backtest as judge
    from banana_delivery.policies.reading import load_policy
    from banana_delivery.reports.promise import backtest_view

    other, settings = load_policy(policy), load_settings()
    with audit_trail(settings) as log, Progress(console=errors, transient=True) as bar:
        task = bar.add_task("Attempts", total=None)
        found = judge(other, log, settings, last, lambda done: bar.update(task, completed=done))
    if as_json:
        typer.echo(json.dumps({"policy": other.name, "digest": other.digest, "attempts": _as_json(found)}, indent=2))
        return
    judged = [one for one in found if one.replay]
    rows = [_row(one, one.replay) for one in judged if one.replay]
    lacking = [
        f"Version {one.attempt.version} ({_day(one.attempt.at)}) is not replayable: {one.why}."
        for one in found
        if not one.replay
    ]
    notes = dict.fromkeys(note for one in judged if one.replay for note in one.replay.notes)
    differing = sum(one.replay.differs for one in judged if one.replay)
    console.print(backtest_view(other.name, rows, [*notes, *lacking], differing))


def _row(one: Judged, replay: Replay) -> list[str]:
    changed = replay.replayed if replay.differs else None
    return [
        one.attempt.version,
        _day(one.attempt.at),
        _course(replay.recorded),
        _course(changed) if changed else "the same",
        changed.reason if changed else "",
    ]


def _course(course: Course) -> str:
    where = "" if course.ended == "went on" else f" in {course.where}"
    return f"{course.ended}{where} after {course.seconds:.0f} s, {course.bad:,} bad"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _as_json(found: Sequence[Judged]) -> list[dict[str, object]]:
    return [
        {
            "version": one.attempt.version,
            "at": one.attempt.at,
            "run_id": one.attempt.run_id,
            "outcome": one.attempt.outcome,
            "replayable": one.replay is not None,
            **(
                {"differs": one.replay.differs, **one.replay.model_dump(mode="json")}
                if one.replay
                else {"why": one.why}
            ),
        }
        for one in found
    ]
