"""Who watches sees one screen, whatever it is wide and high, and in a log no line twice."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase, TrafficSource
from banana_delivery.policy.rollout.live import Evidence, LiveStep, Seen
from banana_delivery.policy.rollout.plan import Limit, StepKind
from banana_delivery.reports.overview import Overview
from banana_delivery.reports.steps import step_line
from banana_delivery.reports.watching import joined, screen
from tests.unit.reports.test_overview import WELL
from tests.unit.reports.test_terminal import AT_REST, NOW, shown

STEP = LiveStep(
    at=NOW - 1,
    kind=StepKind.SHIFT,
    weight=40,
    number=3,
    steps=7,
    seconds=12.0,
    left=33.0,
    left_at_most=78.0,
    left_after=375.0,
    candidate=Seen(requests=340, failed=3, p95_seconds=0.082),
    active=Seen(requests=510, failed=0),
    against=(
        Evidence(limit=Limit.FAILURES, source=TrafficSource.USER, bad=3, judged=340, log_e=4.1, needed=8.2),
        Evidence(limit=Limit.SLOW, source=TrafficSource.USER, bad=9, judged=340, log_e=1.0, needed=9.9, shared=True),
    ),
    healthy=2.3,
    healthy_needed=4.6,
    reason="Blue failed 3 of 340 user requests.",
)
UNDER_WAY = AT_REST.replace(
    owner="0123456789",
    phase=Phase.SHIFTING,
    heartbeat=NOW - 1,
    scale_down_at=None,
    candidate=AT_REST.deployments[Colour.BLUE].image,
    weights={Colour.BLUE: 40, Colour.GREEN: 60},
    look=STEP.model_dump_json(),
)
ATTEMPTS = [
    AttemptRecord(version=str(number), outcome=Outcome.REJECTED, reason="So " * 200, at=NOW, run_id=f"run {number}")
    for number in range(10)
]
SEEN = Overview(NOW, [UNDER_WAY], {Environment.PRODUCTION: WELL}, waiting=["version 43 (sensor)"], attempts=ATTEMPTS)


def printed(width: int, height: int, overview: Overview = SEEN) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(joined(screen(overview, height)))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (20, 10), (200, 60)])
def test_it_is_one_screen_whatever_that_is_wide_and_high(width: int, height: int) -> None:
    lines = printed(width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("Production: shifting"[: width - 1])


def test_the_step_its_figures_and_the_evidence_stand_on_eighty_columns_uncut() -> None:
    text = "\n".join(printed(80, 24))
    for said in (
        "Step 3/7 shift at 40 %: 12 s, ends within 33 s, at most 78 s; then 6:15 min",
        "candidate 340 requests, 3 failed, p95 82 ms; active 510, 0 failed, no p95",
        "[##########..........] 4.1 of 8.2 against: failures, 3 of 340",
        "[##..................] 1.0 of 9.9 against: slow, 9 of 340, production too",
        "[##########..........] 2.3 of 4.6 for it: healthy",
        "Waiting: version 43 (sensor)",
        "2/2 ready",
        "candidate",
    ):
        assert said in text


def test_status_once_shows_the_step_too() -> None:
    assert "Step 3/7 shift at 40 %" in shown(UNDER_WAY)


def test_what_was_seen_some_time_ago_is_said_to_be_old() -> None:
    old = UNDER_WAY.replace(look=STEP.replace(at=NOW - 60).model_dump_json())
    assert any("seen 60 s ago" in line for line in printed(120, 24, Overview(NOW, [old])))
    assert not any("seen" in line for line in printed(120, 24))


def test_programs_get_the_step_with_its_age_and_none_where_there_is_none() -> None:
    found = Overview(NOW, [UNDER_WAY]).json()["environments"]
    assert isinstance(found, dict)
    step = found["production"]["step"]
    assert (step["kind"], step["weight"], step["left"], step["age"]) == ("shift", 40, 33.0, 1.0)
    assert step["against"][0]["needed"] == 8.2
    at_rest = Overview(NOW, [AT_REST]).json()["environments"]
    assert isinstance(at_rest, dict)
    assert at_rest["production"]["step"] is None


def test_in_a_log_a_step_is_one_line_and_a_strangers_words_stay_in_it() -> None:
    line = step_line(STEP.replace(paused="ada: look\n\x1b[31m at it"))
    assert line.startswith(
        "step 3/7 shift at 40 %: paused, ada: look \\x1b[31m at it; 340 requests, 3 failed, p95 82 ms"
    )
    assert line.endswith("4.1 of 8.2 against it (failures), ends within 33 s")
