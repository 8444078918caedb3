"""What a Dagster instance has to be like before a delivery begins."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.errors import DagsterError
from banana_delivery.runs.instance import refuse_without_slot


def instance(home: Path, granularity: str, limit: int | None) -> dg.DagsterInstance:
    pools = {"concurrency": {"pools": {"granularity": granularity, "default_limit": 1}}}
    made = dg.DagsterInstance.local_temp(str(home), overrides=pools)
    if limit is not None:
        made.event_log_storage.set_concurrency_slots("bananas", limit)
    return made


def test_a_pool_for_one_run_is_what_a_delivery_needs(tmp_path: Path) -> None:
    with instance(tmp_path, "run", 1) as one:
        refuse_without_slot(one, "bananas")


@pytest.mark.parametrize(
    ("granularity", "limit", "says"),
    [
        ("run", None, r"pool bananas is not set .* type: dagster instance concurrency set bananas 1$"),
        ("run", 2, r"pool bananas is 2 .* type: dagster instance concurrency set bananas 1$"),
        ("op", 1, r"set concurrency\.pools\.granularity to run in its dagster\.yaml"),
    ],
)
def test_any_other_is_refused_with_what_to_do(granularity: str, limit: int | None, says: str, tmp_path: Path) -> None:
    with instance(tmp_path, granularity, limit) as one, pytest.raises(DagsterError, match=says):
        refuse_without_slot(one, "bananas")
