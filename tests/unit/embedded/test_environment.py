"""What the stack's processes are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from banana_delivery.embedded.processes import children_environment, settings_environment
from banana_delivery.settings import Settings
from tests import ROOT


def test_settings_arrive_in_a_child_as_they_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        home=tmp_path / "a home",
        production_port=18_080,
        freeze=True,
        drill_faults={"4": "error:rate=0.5,after=200"},
        notify_urls=[SecretStr("json://user:secret@host")],
        serving_database_url=SecretStr("sqlite:///x.db"),
    )

    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)

    assert Settings() == settings


def test_what_is_not_set_is_left_out(tmp_path: Path) -> None:
    assert "BANANA_HOLDOUT" not in settings_environment(Settings(home=tmp_path, holdout=None))


def test_children_use_this_python_and_its_modules_and_phone_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("SUPERVISOR_SERVER_URL", "unix:///another/stack")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", ".:/opt/more")
    settings = Settings(home=tmp_path)

    environment = children_environment(settings)

    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
    assert environment["PYTHONPATH"] == f"{ROOT}:/opt/more", "they run in other folders than this process"
    assert environment["MLFLOW_TRACKING_URI"] == settings.mlflow_url
    assert environment["DAGSTER_HOME"] == str(tmp_path / "dagster")
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "true"
    assert environment["DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"] == "true"
    assert "SUPERVISOR_SERVER_URL" not in environment


def test_an_mlflow_elsewhere_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")

    assert children_environment(Settings(home=tmp_path))["MLFLOW_TRACKING_URI"] == "https://mlflow.example.org"
