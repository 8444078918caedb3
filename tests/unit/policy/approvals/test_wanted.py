from __future__ import annotations

import pytest

from banana_delivery.model_registry.transitions import is_wanted
from banana_delivery.policy.approvals.wanted import unwanted


@pytest.mark.parametrize(
    ("stage", "aliases", "for_its_staging", "why"),
    [
        ("Staging", [], True, ""),
        ("None", ["Staging"], True, ""),
        ("Production", [], True, ""),
        ("None", ["production"], True, ""),
        ("None", [], True, "staged no more (stage None)"),
        ("Archived", ["best"], True, "staged no more (stage Archived)"),
        ("Archived", [], False, ""),
        ("None", [], False, ""),
        (None, [], True, "not in the registry any more"),
        (None, [], False, "not in the registry any more"),
    ],
)
def test_what_was_staged_is_wanted_for_as_long_and_what_was_delivered_by_its_number_until_it_is_deleted(
    stage: str | None, aliases: list[str], for_its_staging: bool, why: str
) -> None:
    wanted = stage is not None and is_wanted(stage, aliases)
    said = unwanted("7", for_its_staging=for_its_staging, stands=stage, wanted=wanted)
    assert bool(said) == bool(why)
    assert why in said
