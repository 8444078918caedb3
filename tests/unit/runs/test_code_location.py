"""What is ours in a Dagster instance: by what a run bears and where it came from, never by having a partition."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.defs.build import build_defs
from banana_delivery.embedded.processes import children_environment
from banana_delivery.errors import BadSettingsError
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings, load_settings
from tests.support.other_teams import origin

OURS = CodeLocation(model="bananas")
PARTITION = {"dagster/partition": "7"}


def run(job: str = "deliver", location: str = "", *, image: str = "", **tags: str) -> dg.DagsterRun:
    return dg.DagsterRun(
        job_name=job,
        tags={**PARTITION, **tags},
        remote_job_origin=origin(job, location) if location else None,
        asset_selection={dg.AssetKey(image)} if image else None,
    )


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        (run(location=OURS.name), True),
        (run("redeploy", OURS.name), True),
        (run("__ASSET_JOB", OURS.name, image="image"), True),
        (run("train", OURS.name), False),
        (run("__ASSET_JOB", OURS.name, image="pictures"), False),
        (run(location="other-team"), False),
        (run("__ASSET_JOB", "other-team", image="image"), False),
        (run(), False),
        (run(**OURS.tags), True),
        (run(location="by-another-name", **OURS.tags), True),
        (run(**CodeLocation(model="plantains").tags), False),
    ],
)
def test_a_run_is_ours_by_its_tag_or_by_where_it_came_from(found: dg.DagsterRun, ours: bool) -> None:
    assert OURS.owns(found) is ours
    assert OURS.version_of(found) == ("7" if ours else "")


def test_a_rollback_of_ours_delivers_nothing() -> None:
    found = run("rollback", OURS.name)
    assert OURS.owns(found) and not OURS.version_of(found)


def sensors(settings: Settings) -> set[dg.DefaultSensorStatus]:
    return {
        sensor.default_status
        for sensor in build_defs(settings).sensors or []
        if isinstance(sensor, dg.SensorDefinition)
    }


def test_sensors_start_by_themselves_in_our_own_dagster_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert sensors(settings) == {dg.DefaultSensorStatus.STOPPED}
    own = children_environment(settings)
    assert own["BANANA_DAGSTER_SENSORS_START"] == "true"
    assert sensors(settings.model_copy(update={"dagster_sensors_start": True})) == {dg.DefaultSensorStatus.RUNNING}


def test_links_lead_to_pages_that_are_known(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, dagster_port=3999)
    assert settings.pages_url == ""
    assert children_environment(settings)["BANANA_DAGSTER_PUBLIC_URL"] == "http://127.0.0.1:3999"
    elsewhere = settings.model_copy(update={"dagster_public_url": "https://dagster.example.com/"})
    assert children_environment(elsewhere)["BANANA_DAGSTER_PUBLIC_URL"] == "https://dagster.example.com"


@pytest.mark.parametrize("prefix", ["/bananas", "team//bananas", "team bananas", "bananas/"])
def test_a_prefix_that_is_none_is_refused(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_DAGSTER_PREFIX", prefix)
    with pytest.raises(BadSettingsError, match="BANANA_DAGSTER_PREFIX"):
        load_settings()
