"""Where the secret comes from, and that it stays one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from banana_delivery import errors
from banana_delivery.errors import BadSettingsError, redacted
from banana_delivery.model_registry.webhooks.bell import NoBell, ReceiverBell, bell_for
from banana_delivery.model_registry.webhooks.secret import NAME, listening_token, make_webhook_secret, webhook_secret
from banana_delivery.settings import Settings

LONG = "canary-of-the-webhooks"


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_secrets", set())


def test_the_first_one_is_made_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    make_webhook_secret(settings)
    first = webhook_secret(settings)
    make_webhook_secret(settings)
    assert webhook_secret(settings) == first
    assert stat.S_IMODE((tmp_path / "home" / NAME).stat().st_mode) == 0o600
    assert len(list((tmp_path / "home").iterdir())) == 1


def test_where_somebody_names_one_none_is_made(tmp_path: Path) -> None:
    for settings in (
        Settings(home=tmp_path, webhook_secret=SecretStr(LONG)),
        Settings(home=tmp_path, webhook_secret_file=tmp_path / "theirs"),
    ):
        make_webhook_secret(settings)
    assert list(tmp_path.iterdir()) == []


def test_it_is_that_of_the_variable_or_of_the_file_without_its_last_line_end(tmp_path: Path) -> None:
    file = tmp_path / "theirs"
    file.write_text(f"{LONG}\n")
    file.chmod(0o440)
    assert webhook_secret(Settings(home=tmp_path, webhook_secret_file=file)) == LONG
    told = Settings(home=tmp_path, webhook_secret_file=file, webhook_secret=SecretStr("another of some length"))
    assert webhook_secret(told) == "another of some length"


@pytest.mark.parametrize("content", ["", "short", "a secret\nof two lines", "x" * 1001, "pass\u00e9 par ici, vite"])
def test_one_that_cannot_be_used_is_refused_and_not_repeated(tmp_path: Path, content: str) -> None:
    file = tmp_path / "theirs"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(BadSettingsError) as refusal:
        webhook_secret(Settings(home=tmp_path, webhook_secret_file=file))
    assert str(file) in str(refusal.value)
    assert not content or content not in str(refusal.value)


def test_one_that_is_missing_or_open_to_others_is_refused_with_what_to_type(tmp_path: Path) -> None:
    file = tmp_path / "theirs"
    settings = Settings(home=tmp_path, webhook_secret_file=file)
    with pytest.raises(BadSettingsError, match="openssl rand"):
        webhook_secret(settings)
    file.write_text(LONG)
    file.chmod(0o644)
    with pytest.raises(BadSettingsError, match="chmod 600"):
        webhook_secret(settings)


def test_whoever_has_read_it_says_it_no_more(tmp_path: Path) -> None:
    webhook_secret(Settings(home=tmp_path, webhook_secret=SecretStr(LONG)))
    assert LONG not in redacted(f"MLflow refused {LONG}")


def test_it_cannot_be_read_from_what_the_sensor_shows() -> None:
    assert LONG not in listening_token(LONG)
    assert listening_token(LONG) != listening_token(f"{LONG}.")


def test_without_a_receiver_nobody_listens_and_without_a_secret_the_sensor_looks_anyway(tmp_path: Path) -> None:
    assert isinstance(bell_for(Settings(home=tmp_path)), NoBell)
    bell = bell_for(Settings(home=tmp_path, webhook_receiver="http://127.0.0.1:9"))
    assert isinstance(bell, ReceiverBell)
    assert bell.heard() is None
