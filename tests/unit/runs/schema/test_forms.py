"""How a database stands to the installed version of Dagster, by its tables and the revision as which it is stamped."""

from __future__ import annotations

import pytest

from banana_delivery.runs.schema.migration import TABLES, Form, form_of, told_to_libpq

KNOWN = ["first", "second", "third"]
ALL = [*TABLES, "alembic_version", "kvs"]


@pytest.mark.parametrize(
    ("tables", "revision", "form"),
    [
        ([], None, Form.EMPTY),
        (["alembic_version"], "third", Form.EMPTY),
        # Whoever made them was cut short between two of the three storages.
        (["runs", "alembic_version"], "third", Form.EMPTY),
        (ALL, "third", Form.OURS),
        (ALL, "second", Form.OLDER),
        (ALL, "first", Form.OLDER),
        # From before there were stamps.
        (ALL, None, Form.OLDER),
        (ALL, "fourth", Form.NEWER),
    ],
)
def test_a_form_is_told_by_the_tables_and_the_stamp(tables: list[str], revision: str | None, form: Form) -> None:
    assert form_of(tables, revision, "third", KNOWN) is form


@pytest.mark.parametrize(
    ("told", "options", "seconds"),
    [
        ({}, "-c lock_timeout=30s", "15"),
        # Where the tables are: without it others would be made elsewhere, while the pods wait for these.
        ({"PGOPTIONS": "-c search_path=dagster"}, "-c lock_timeout=30s -c search_path=dagster", "15"),
        (
            {"PGOPTIONS": "-c lock_timeout=5s", "PGCONNECT_TIMEOUT": "40"},
            "-c lock_timeout=30s -c lock_timeout=5s",
            "40",
        ),
    ],
)
def test_what_an_installation_tells_libpq_itself_counts(told: dict[str, str], options: str, seconds: str) -> None:
    assert told_to_libpq(told) == {"PGOPTIONS": options, "PGCONNECT_TIMEOUT": seconds}
