"""Dagster's real application behind the guard, over an instance and a code location of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from banana_delivery.runs.pages.app import Workspace, dagster_pages, guarded
from banana_delivery.settings import Settings

HOME = "http://localhost:3000"
Pages = Callable[..., TestClient]


@pytest.fixture(scope="package")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    queued = {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}
    folder = tmp_path_factory.mktemp("instance")
    with dg.DagsterInstance.local_temp(
        str(folder), overrides={"run_coordinator": queued, "telemetry": {"enabled": False}}
    ) as opened:
        yield opened


@pytest.fixture(scope="package")
def workspace(instance: dg.DagsterInstance) -> Iterator[Workspace]:
    target = LoadableTargetOrigin(python_file=str(Path(__file__).with_name("small_location.py")))
    place = InProcessCodeLocationOrigin(target, location_name="small")
    with Workspace(instance, InProcessWorkspaceLoadTarget(place)) as opened:
        yield opened


@pytest.fixture(scope="package")
def everybodys(workspace: Workspace) -> ASGIApp:
    return dagster_pages(workspace)


@pytest.fixture
def pages(everybodys: ASGIApp, tmp_path: Path) -> Pages:
    """A client of the pages; settings are named as they are."""

    def serve(peer: str = "127.0.0.1", **settings: Any) -> TestClient:
        guard = guarded(everybodys, Settings(home=tmp_path, **settings))
        return TestClient(guard, base_url=HOME, client=(peer, 50_000))

    return serve
