"""The status for programs: every fact under a name that stays, whatever could not be seen."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console
from rich.text import Text

from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase, RolloutRecord
from banana_delivery.reports.overview import Overview
from tests.unit.reports.test_terminal import AT_REST, DIGEST, NOW

BLUE, GREEN = Colour.BLUE, Colour.GREEN
WELL = Observed(
    weights={BLUE: 0, GREEN: 100},
    replicas={BLUE: 2, GREEN: 3},
    digests={BLUE: DIGEST, GREEN: DIGEST},
    ready={BLUE: 2, GREEN: 3},
)
IMAGE = {"version": "42", "digest": DIGEST}


def told(overview: Overview) -> dict[str, Any]:
    """As a program reads it."""
    read: dict[str, Any] = json.loads(json.dumps(overview.json()))
    return read


def production(record: RolloutRecord = AT_REST, observed: Observed | None = WELL) -> dict[str, Any]:
    seen = {record.environment: observed} if observed else {}
    found: dict[str, Any] = told(Overview(NOW, [record], seen))["environments"]["production"]
    return found


def test_an_environment_at_rest_is_told_with_its_colours() -> None:
    found = production()
    assert (found["phase"], found["owner"], found["active"], found["serving"]) == ("idle", None, "green", IMAGE)
    assert (found["candidate"], found["differences"], found["unseen"]) == (None, [], "")
    assert found["colours"]["green"] == {
        "role": "active",
        "image": IMAGE,
        "replicas": 3,
        "ready": 3,
        "weight": 100,
        "share": 1.0,
    }
    assert (found["colours"]["blue"]["role"], found["colours"]["blue"]["share"]) == ("warm", 0.0)


def test_what_differs_from_the_record_is_told_with_the_share_of_users_that_fail() -> None:
    found = production(observed=Observed(weights=WELL.weights, replicas=WELL.replicas, digests=WELL.digests))
    assert any(one["failing_share"] == 1.0 and "green" in one["sentence"].lower() for one in found["differences"])


def test_what_was_not_observed_is_null_and_not_zero() -> None:
    found = production(observed=None)
    assert (found["colours"]["green"]["ready"], found["colours"]["green"]["share"]) == (None, None)


def test_an_environment_that_cannot_be_seen_is_told_and_keeps_nothing_else_back() -> None:
    attempt = AttemptRecord(version="42", outcome=Outcome.ROLLED_BACK, reason="Too slow.", at=NOW, run_id="run")
    decision = ManualDecision(
        kind=DecisionKind.OVERRIDE, version="42", digest=DIGEST, by="claimed by ada on host", reason="So.", at=NOW
    )
    overview = Overview(
        NOW,
        unseen={Environment.PRODUCTION: "The router is away."},
        waiting=["version 43 (sensor)"],
        attempts=[attempt],
        decisions=[(decision, 60.0, False)],
        unsigned=2,
        freeze=Text("No freeze."),
        ticks={"reconcile": NOW - 3, "cool_down": None},
    )
    found = told(overview)
    assert found["environments"] == {"production": {"unseen": "The router is away."}, "staging": {"unseen": ""}}
    assert (found["form"], found["waiting"], found["unsigned_records"]) == (1, ["version 43 (sensor)"], 2)
    assert (found["attempts"][0]["outcome"], found["attempts"][0]["reason"]) == ("rolled_back", "Too slow.")
    assert (found["decisions"][0]["by"], found["decisions"][0]["seconds_left"]) == ("claimed by ada on host", 60.0)
    assert (found["freeze"], found["sensors"]) == ("No freeze.", {"reconcile": NOW - 3, "cool_down": None})

    shown = Console(file=io.StringIO(), width=200)
    shown.print(overview.view())
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue()
    assert all(one in text for one in ("Production cannot be seen: The router is away.", "No freeze.", "version 43"))


def test_a_delivery_under_way_is_told_with_its_candidate() -> None:
    candidate = AT_REST.deployments[BLUE].image.replace(version="43", digest="sha256:" + "d" * 64)
    deployments = {**AT_REST.deployments, BLUE: AT_REST.deployments[BLUE].replace(image=candidate)}
    record = AT_REST.replace(owner="run", phase=Phase.SHIFTING, candidate=candidate, deployments=deployments)
    found = production(record)
    assert (found["owner"], found["candidate"]["version"], found["colours"]["blue"]["role"]) == (
        "run",
        "43",
        "candidate",
    )
