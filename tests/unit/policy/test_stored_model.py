"""What is stored outlives the version that stored it: earlier names are read, and what is newer is passed on."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from banana_delivery.policy.model import SCHEMA, Colour, Environment, Phase, RolloutRecord

STORED = RolloutRecord(environment=Environment.PRODUCTION, active=Colour.BLUE, scale_down_at=7.0)


def test_every_stored_record_says_in_which_form_it_is() -> None:
    assert STORED.model_dump(mode="json")["schema"] == SCHEMA


def test_a_record_from_before_forms_had_numbers_is_read_by_its_old_names_and_written_in_todays_form() -> None:
    old = {"environment": "production", "active": "blue", "warm_until": 7.0}
    assert RolloutRecord.read(old) == STORED


def test_what_a_newer_version_added_is_kept_through_a_change() -> None:
    newer = {**STORED.model_dump(mode="json"), "schema": SCHEMA + 1, "mood": {"of": ["the", "day"]}}
    changed = RolloutRecord.read(newer).replace(phase=Phase.ROLLING_BACK)
    assert changed.phase is Phase.ROLLING_BACK
    written = changed.model_dump(mode="json")
    assert (written["schema"], written["mood"]) == (SCHEMA + 1, {"of": ["the", "day"]})
    assert RolloutRecord.read_json(changed.model_dump_json()) == changed


def test_what_a_newer_version_added_inside_a_part_is_kept_too() -> None:
    image = {"repository": "r", "digest": f"sha256:{'0' * 64}", "version": "1", "key": "k", "signed": True}
    newer = {**STORED.model_dump(mode="json"), "schema": SCHEMA + 1, "candidate": image}
    candidate = RolloutRecord.read(newer).replace(note="x").model_dump(mode="json")["candidate"]
    assert candidate == image


@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_an_unknown_key_that_no_newer_version_wrote_is_refused(schema: int | None) -> None:
    odd = {**STORED.model_dump(mode="json"), "schema": schema, "mood": "bad"}
    with pytest.raises(ValidationError, match="mood"):
        RolloutRecord.read({key: value for key, value in odd.items() if value is not None})


def test_a_change_of_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="pahse"):
        STORED.replace(pahse=Phase.IDLE)


def test_text_that_is_no_json_is_refused_as_such() -> None:
    with pytest.raises(ValidationError, match="JSON"):
        RolloutRecord.read_json("{half")
