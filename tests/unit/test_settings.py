from __future__ import annotations

import pytest

from banana_delivery.settings import BadSettingsError, load_settings


def test_a_bad_port_is_one_sentence_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_PRODUCTION_PORT", "eighty")
    with pytest.raises(BadSettingsError, match=r"BANANA_PRODUCTION_PORT .*'eighty'"):
        load_settings()


def test_a_list_that_is_not_json_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_NOTIFY_URLS", "json://localhost")
    with pytest.raises(BadSettingsError, match="must be JSON"):
        load_settings()


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_NOTIFY_URLS", '["json://user:hunter2@localhost"]')
    monkeypatch.setenv("BANANA_SERVING_DATABASE_URL", "postgresql://user:hunter2@localhost/log")
    assert "hunter2" not in repr(load_settings())


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_HOME", "somewhere")
    assert load_settings().home.is_absolute()
