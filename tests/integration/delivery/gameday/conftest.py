from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.integration.delivery.gameday.day import Stage, make_templates
from tests.integration.delivery.serving import Serving


@pytest.fixture(scope="session")
def stage(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where all days are played."""
    folder = tmp_path_factory.mktemp("gamedays")
    templates = make_templates(serving, folder)
    with dg.DagsterInstance.from_config(str(folder / "world" / "dagster")) as instance:
        yield Stage(folder / "world", instance, templates)
