"""Whoever may add a partition may call it what he likes; it leads nowhere, and nothing is named after it outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.policy.model import Outcome
from tests.support.pipeline import PipelineHarness

STRANGE = [
    "../../../outside",
    "/tmp/outside",
    "@everyone type: override 9",
    "![](https://evil.example/x.png)",
    "latest",
    "07",
    "٧",
    "7 ",
    "9" * 400,
]


@pytest.mark.parametrize("name", STRANGE, ids=range(len(STRANGE)))
def test_a_partition_that_is_no_version_is_refused_at_the_first_step(pipeline: PipelineHarness, name: str) -> None:
    home = pipeline.resources.settings.home
    before, reports = outside(home), set((home / "reports").iterdir())
    run = pipeline.run(name)
    (attempt,) = pipeline.attempts(name)
    assert (run.is_success, attempt.outcome) == (False, Outcome.REJECTED)
    assert "is no version number of MLflow" in attempt.reason
    assert len(attempt.reason) < 300
    assert outside(home) == before
    (report,) = set((home / "reports").iterdir()) - reports
    assert "evil.example/x.png)" in report.read_text() or "evil" not in name
    assert [path.name for path in (home / "artifacts").glob("*/*")] == ["1"]


def outside(home: Path) -> set[Path]:
    """What lies around the home, without what lies in it."""
    return {path for folder in (home.parent, home.parent.parent) for path in folder.iterdir()}
