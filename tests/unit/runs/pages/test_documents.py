"""Every mutation that Dagster knows is judged: it is work, or it is history."""

from __future__ import annotations

import re

import pytest
from dagster_graphql.schema import create_schema

from banana_delivery.runs import client
from banana_delivery.runs.pages.documents import HISTORY, SEEN, WORK, asked_by


def test_each_mutation_of_this_dagster_has_its_place() -> None:
    mutations = create_schema().graphql_schema.mutation_type
    assert mutations is not None
    assert set(mutations.fields) == WORK | HISTORY
    assert not WORK & HISTORY
    assert SEEN < WORK


@pytest.mark.parametrize("name", [name for name in dir(client) if re.fullmatch("[A-Z_]+", name)])
def test_what_the_command_line_asks_is_allowed(name: str) -> None:
    document = getattr(client, name)
    if isinstance(document, str) and "{" in document:
        assert asked_by(document).changes <= WORK
