"""What a Dagster instance has to be like before a delivery begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)

from banana_delivery.errors import DagsterError
from banana_delivery.runs.instance import may_take_its_time, refuse_without_slot
from tests import ROOT

LISTENS = "staged_versions"


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


Threads = Callable[[dict[str, Any]], dg.DagsterInstance]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """One that keeps what it is told of sensors; making it takes seconds."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("instance"))) as one:
        yield one


@pytest.fixture
def with_threads(kept: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Threads:
    """That instance, as if its configuration said so of sensors."""

    def configured(told: dict[str, Any]) -> dg.DagsterInstance:
        monkeypatch.setattr(kept, "get_sensor_settings", lambda: told)
        return kept

    return configured


def ticked(at: float, location: str, sensor: str = LISTENS, *, stopped: bool = False) -> InstigatorState:
    """What the daemon keeps of a sensor."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    return InstigatorState(
        RemoteInstigatorOrigin(repository, sensor),
        InstigatorType.SENSOR,
        InstigatorStatus.STOPPED if stopped else InstigatorStatus.DECLARED_IN_CODE,
        SensorInstigatorData(last_tick_start_timestamp=at),
    )


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"use_threads": True},
        {"use_threads": False, "num_workers": 5},
        {"use_threads": True, "num_workers": 1},
        {"use_threads": True, "num_workers": 2},
        {"use_threads": True, "num_workers": 4},
    ],
)
def test_a_sensor_takes_no_thread_from_those_that_bring_production_back(
    told: dict[str, Any], with_threads: Threads
) -> None:
    assert not may_take_its_time(with_threads(told), LISTENS)


@pytest.mark.parametrize("file", ["dagster.yaml", "k8s/base/dagster/dagster.yaml"])
def test_where_our_own_configuration_holds_it_has_a_thread_of_its_own(file: str, with_threads: Threads) -> None:
    assert may_take_its_time(with_threads(yaml.safe_load((ROOT / file).read_text())["sensors"]), LISTENS)


def test_every_pipeline_of_an_instance_needs_a_thread_more_while_it_ticks(with_threads: Threads) -> None:
    instance = with_threads({"use_threads": True, "num_workers": 5})
    instance.add_instigator_state(ticked(1000.0, "ours"))
    instance.add_instigator_state(ticked(1000.0, "ours", "another sensor"))
    instance.add_instigator_state(ticked(100.0, "renamed since"))
    instance.add_instigator_state(ticked(999.0, "theirs, stopped", stopped=True))
    assert may_take_its_time(instance, LISTENS)
    instance.add_instigator_state(ticked(996.0, "theirs"))
    assert not may_take_its_time(instance, LISTENS)
    assert may_take_its_time(with_threads({"use_threads": True, "num_workers": 6}), LISTENS)
