"""What is played, and how each act must end."""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.policy.model import Outcome


@dataclass(frozen=True)
class Scenario:
    """One delivery of the demonstration.

    Attributes:
        title: what is shown.
        sample: the sample model that is published and staged; None for a redeploy.
        outcome: how it must end.
        redeploys: number of the act whose version is delivered again by a backfill, counted from 1.
        fault: the serving fault that strikes this version in production; empty for none.
    """

    title: str
    outcome: Outcome
    sample: str | None = None
    redeploys: int = 0
    fault: str = ""


SCENARIOS = (
    Scenario("A modest model is the first release", Outcome.RELEASED, sample="modest"),
    Scenario("A better one takes over, blue-green", Outcome.RELEASED, sample="better"),
    Scenario("A regressed one is rejected by the labelled images", Outcome.REJECTED, sample="regressed"),
    Scenario(
        "One that breaks only under production traffic is rolled back",
        Outcome.ROLLED_BACK,
        sample="better",
        fault="error:rate=0.7,after=40,environment=production,traffic=user",
    ),
    Scenario("The first one is redeployed by a backfill", Outcome.RELEASED, redeploys=1),
)


def faults(scenarios: tuple[Scenario, ...]) -> dict[str, str]:
    """The faults by model version; a fresh registry numbers published versions from 1."""
    published = [scenario for scenario in scenarios if scenario.sample]
    return {str(number): scenario.fault for number, scenario in enumerate(published, start=1) if scenario.fault}
