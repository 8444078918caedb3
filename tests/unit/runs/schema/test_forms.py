"""How a database stands to the installed version of Dagster, by its tables and the revision as which it is stamped."""

from __future__ import annotations

import pytest

from banana_delivery.runs.schema.migration import TABLES, Form, form_of

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
