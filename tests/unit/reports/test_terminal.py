"""The status on an ordinary terminal: every fact in its cell, none cut off."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import Colour, Deployment, Environment, ImageRef, Outcome, Phase, RolloutRecord
from banana_delivery.reports.terminal import decisions_view, status_view, unsigned_view

NOW = 1_000_000.0
DIGEST = "sha256:" + "0123456789ab" + "c" * 52
AT_REST = RolloutRecord(
    environment=Environment.PRODUCTION,
    active=Colour.GREEN,
    deployments={
        Colour.BLUE: Deployment(
            image=ImageRef(repository="banana", digest=DIGEST, key="key", version="41"), replicas=2
        ),
        Colour.GREEN: Deployment(
            image=ImageRef(repository="banana", digest=DIGEST, key="key", version="42"), replicas=3
        ),
    },
    weights={Colour.BLUE: 0, Colour.GREEN: 100},
    scale_down_at=NOW + 90,
)


def shown(record: RolloutRecord, observed: Observed | None = None, waiting: tuple[str, ...] = ()) -> str:
    console = Console(file=io.StringIO(), width=80)
    attempt = AttemptRecord(version="42", outcome=Outcome.ROLLED_BACK, reason="Too slow.", at=NOW, run_id="run")
    seen = {record.environment: observed} if observed else {}
    console.print(status_view([record], [attempt], NOW, observed=seen, waiting=waiting))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def row_of(text: str, colour: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if colour in line]
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_each_colour_is_one_line_on_eighty_columns() -> None:
    text = shown(AT_REST)
    assert "Production: idle\n" in text
    assert row_of(text, "blue") == ["blue", "41", DIGEST[:19], "2", "0 %", "warm 90 s"]
    assert row_of(text, "green") == ["green", "42", DIGEST[:19], "3", "100 %", "active"]
    assert "rolled_back" in text


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"owner": "0123456789", "phase": Phase.SHIFTING, "heartbeat": NOW - 3}, "shifting, 01234567 beat 3 s ago"),
        ({"phase": Phase.DRIFTED, "note": "blue has 7 replicas."}, "held: blue has 7 replicas."),
    ],
)
def test_who_is_at_work_or_why_nobody_may_be_is_said(changes: dict[str, object], state: str) -> None:
    assert f"Production: {state}\n" in shown(AT_REST.replace(**changes))


def test_a_release_under_way_is_shown_as_candidate_with_its_share_and_who_waits() -> None:
    candidate = AT_REST.deployments[Colour.BLUE].image
    under_way = AT_REST.replace(
        owner="0123456789",
        phase=Phase.SHIFTING,
        heartbeat=NOW - 3,
        scale_down_at=None,
        candidate=candidate.replace(digest="sha256:" + "d" * 64),
        deployments={
            **AT_REST.deployments,
            Colour.BLUE: Deployment(image=candidate.replace(digest="sha256:" + "d" * 64), replicas=2),
        },
        weights={Colour.BLUE: 40, Colour.GREEN: 60},
    )
    text = shown(under_way, waiting=("version 43 (sensor)", "version 44 (cli)"))
    assert "Production: shifting version 41 at 40 %, 01234567 beat 3 s ago\n" in text
    assert row_of(text, "blue")[-2:] == ["40 %", "candidate"]
    assert row_of(text, "green")[-2:] == ["60 %", "active"]
    assert "Waiting: version 43 (sensor), version 44 (cli)\n" in text


def test_ready_replicas_and_what_differs_from_the_record_are_shown_worst_first() -> None:
    observed = Observed(
        weights={Colour.BLUE: 20, Colour.GREEN: 80},
        replicas={Colour.BLUE: 2},
        digests={Colour.BLUE: DIGEST},
        ready={Colour.BLUE: 1},
    )
    text = shown(AT_REST, observed)
    assert row_of(text.partition("!")[0], "blue")[3] == "1/2"
    assert row_of(text.partition("!")[0], "green")[3] == "0/3"
    said = [line for line in text.splitlines() if line.startswith("  ! ")]
    assert said[0] == "  ! green has 0 replicas instead of 3. 80 % of users fail."
    assert "  ! blue is asked for 2 replicas, and 1 of them answer." in said


def test_records_that_nobody_signed_and_decisions_move_no_cursor_and_print_no_colours() -> None:
    words = "\x1b[2J[red]mine\nYes"
    page = io.StringIO()
    console = Console(file=page, width=200)
    console.print(unsigned_view([(7, "rollout_log", words, words, words)]))
    said = ManualDecision(kind=DecisionKind.OVERRIDE, version="1", by=words, reason=words, at=NOW)
    console.print(decisions_view([(said, 3600.0, False)], 0))
    assert "\x1b" not in page.getvalue()
    assert page.getvalue().count("[red]mine Yes") == 4
