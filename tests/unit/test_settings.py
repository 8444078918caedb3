from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.errors import BadSettingsError
from banana_delivery.settings import default_home, load_settings


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


@pytest.mark.parametrize(
    "unusable", ['"slack://hunter2/secret"', '{"team": "slack://hunter2"}', '[["slack://hunter2"]]']
)
def test_a_secret_that_cannot_be_used_is_not_repeated(monkeypatch: pytest.MonkeyPatch, unusable: str) -> None:
    monkeypatch.setenv("BANANA_NOTIFY_URLS", unusable)
    with pytest.raises(BadSettingsError, match=r"^BANANA_NOTIFY_URLS cannot be used: ") as refusal:
        load_settings()
    assert "hunter2" not in str(refusal.value)


def test_an_entry_that_cannot_be_used_is_shown_with_the_variable_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_DRILL_FAULTS", '{"7": [1]}')
    with pytest.raises(BadSettingsError, match=r"^BANANA_DRILL_FAULTS cannot be used: .*\[1\]"):
        load_settings()


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_HOME", "somewhere")
    assert load_settings().home.is_absolute()


def test_the_home_is_in_the_checkout_where_there_is_one() -> None:
    assert default_home(Path("/src/banana-delivery")) == Path("/src/banana-delivery/.banana")


def test_without_a_checkout_the_home_is_the_users_wherever_the_package_lies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_home(None) == tmp_path / ".local/share/banana-delivery"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_home(None) == tmp_path / "data/banana-delivery"


def test_a_login_header_that_anybody_could_send_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_PAGES_LOGIN_HEADER", "X-Forwarded-User")
    with pytest.raises(BadSettingsError, match=r"BANANA_PAGES_PROXIES cannot be used: .*name who may"):
        load_settings()
    monkeypatch.setenv("BANANA_PAGES_PROXIES", '["10.0.0.0/24", "::1"]')
    assert load_settings().pages_proxies == ["10.0.0.0/24", "::1"]


@pytest.mark.parametrize("proxy", ["proxy.example.com", "10.0.0.1/24", "everybody", ""])
def test_a_proxy_is_named_by_its_address(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("BANANA_PAGES_PROXIES", f'["{proxy}"]')
    with pytest.raises(BadSettingsError, match="BANANA_PAGES_PROXIES"):
        load_settings()


@pytest.mark.parametrize("name", ["HOME", "POLICY", "REGISTRY_REPOSITORY", "EVIDENCE_KEY_FILE", "PRODUCTION_PORT"])
def test_a_variable_that_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(f"BANANA_{name}", raising=False)
    unset = getattr(load_settings(), name.lower())
    monkeypatch.setenv(f"BANANA_{name}", "")
    assert getattr(load_settings(), name.lower()) == unset


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WARM_SECONDS", "inf"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("LEAST_FREE_GIB", "-inf"),
        ("PRODUCTION_REPLICAS", "99999999"),
        ("STAGING_REPLICAS", "0"),
    ],
)
def test_a_number_beyond_reason_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BANANA_{name}", value)
    with pytest.raises(BadSettingsError, match=rf"BANANA_{name} cannot be used: .*{value}"):
        load_settings()


def test_a_mapping_that_is_not_json_is_one_sentence_with_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_DRILL_FAULTS", "7=slow")
    with pytest.raises(BadSettingsError, match=r'^BANANA_DRILL_FAULTS must be JSON and is not; write it as \{"name'):
        load_settings()


def test_what_is_not_json_and_may_be_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_NOTIFY_URLS", "slack://hunter2/secret")
    with pytest.raises(BadSettingsError, match="BANANA_NOTIFY_URLS must be JSON") as refusal:
        load_settings()
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("offset", ["5", "-10", "47010", "many"])
def test_an_offset_by_which_stacks_would_meet_or_ports_would_end_is_refused(
    monkeypatch: pytest.MonkeyPatch, offset: str
) -> None:
    monkeypatch.setenv("BANANA_PORT_OFFSET", offset)
    with pytest.raises(BadSettingsError, match=r"^BANANA_PORT_OFFSET cannot be used: "):
        load_settings()
