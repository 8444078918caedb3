from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from banana_delivery.settings import Settings
from tools.settings_page import PAGE, settings_page


class Few(BaseSettings):
    share: float = Field(default=0.5, ge=0, lt=1, description="A share.")
    mode: Literal["calm", "brisk"] = Field(default="calm", description="A choice.")
    password: SecretStr = Field(default=SecretStr("hunter2"), description="A secret.")
    extra: dict[str, str] = Field(default={"a": "b"}, description="Pairs.")


def test_the_page_says_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), (
        "docs/settings.md is out of date; write it again: .venv/bin/python -m tools.settings_page"
    )


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is_for(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize(
    "row",
    [
        "| `BANANA_SHARE` | `0.5` | number, ≥ 0, < 1 | A share. |",
        "| `BANANA_MODE` | `calm` | `calm` or `brisk` | A choice. |",
        "| `BANANA_PASSWORD` |  | secret | A secret. |",
        '| `BANANA_EXTRA` | `{"a": "b"}` | JSON object | Pairs. |',
    ],
)
def test_a_row_shows_the_default_the_bounds_and_the_meaning_but_never_a_secret(row: str) -> None:
    page = settings_page(Few)
    assert row in page.splitlines()
    assert "hunter2" not in page
