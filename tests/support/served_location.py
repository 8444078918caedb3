"""What Dagster's webserver loads as our code location: the definitions of a pipeline in memory."""

from __future__ import annotations

import dagster as dg

from tests.support.pipeline import PipelineHarness

pipeline: PipelineHarness | None = None


@dg.definitions
def defs() -> dg.Definitions:
    """Those of the pipeline that is served now."""
    assert pipeline is not None
    return pipeline.defs
