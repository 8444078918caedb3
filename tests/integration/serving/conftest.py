import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .postgres import Postgres, postgres
from .processes import RunningReplica, replica


@pytest.fixture(scope="session")
def database_server() -> Iterator[Postgres]:
    # Outside pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def shared_replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReplica]:
    with replica(tmp_path_factory.mktemp("shared"), HEADER_SECONDS="1", UPLOAD_SECONDS="2") as running:
        yield running
