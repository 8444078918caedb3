from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.policy.quality.comparison import RESAMPLES
from banana_delivery.reports.plots import Plots
from tests.integration.delivery.serving import Serving, serve
from tests.support.databases import kept_open
from tests.support.pipeline import PipelineHarness, open_pipeline


@pytest.fixture
def empty_pipeline(tmp_path: Path) -> Iterator[PipelineHarness]:
    """A pipeline in which nothing was ever delivered."""
    with open_pipeline(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory, _databases_do_not_slow_tests: None) -> Serving:
    """What is left of a pipeline in which version 1 was released."""
    return serve(tmp_path_factory.mktemp("template"))


@pytest.fixture
def pipeline(serving: Serving, tmp_path: Path) -> Iterator[PipelineHarness]:
    """A pipeline in which version 1 serves."""
    with serving.open(tmp_path / "world") as opened:
        yield opened


@pytest.fixture
def unabridged(pipeline: PipelineHarness) -> None:
    """A test that asks for this has its plots drawn and all resamples taken."""
    pipeline.evaluator.resamples = RESAMPLES
    pipeline.change(plots=Plots())


@pytest.fixture(scope="session", autouse=True)
def _databases_do_not_slow_tests() -> Iterator[None]:
    with kept_open():
        yield
