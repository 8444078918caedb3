"""Another version of Dagster meets the database that the one before left."""

from __future__ import annotations

from pathlib import Path

import dagster_postgres
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from tests.cluster.cluster import until
from tests.cluster.dagster.installation import START_SECONDS, Installation
from tests.cluster.dagster.test_faults import restarted


@pytest.mark.long
def test_the_database_is_brought_forward_before_the_daemon_starts(installation: Installation) -> None:
    scripts = ScriptDirectory(str(Path(dagster_postgres.__file__).parent / "alembic"))
    newest = scripts.get_current_head()
    assert newest is not None
    before = scripts.get_revision(newest).down_revision
    with sa.create_engine(installation.database.url).connect() as connection:
        revision = sa.text("SELECT DISTINCT version_num FROM alembic_version")
        assert connection.execute(revision).scalar_one() == newest
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :to"), {"to": before})
        connection.commit()
        restarted(installation, "dagster-daemon")
        until(installation.are_ready, "three Deployments ready", START_SECONDS)
        assert connection.execute(revision).scalar_one() == newest
