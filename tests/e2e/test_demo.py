"""The demonstration is the product's promise: it plays every act for real and must end as told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.demonstration import run_demo

pytestmark = pytest.mark.e2e


def test_every_act_ends_as_told_and_no_client_request_is_lost(
    stack_environment: dict[str, str], program: str, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.json"
    run_demo([program, "demo", "--summary", str(summary)], summary, stack_environment, tmp_path)
