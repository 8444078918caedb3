"""What `up` says to MLflow, and to whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.cli.stack import _say_webhook
from banana_delivery.errors import RegistryError
from banana_delivery.model_registry.webhooks import registration
from banana_delivery.model_registry.webhooks.secret import make_webhook_secret
from banana_delivery.settings import Settings

ELSEWHERE = "https://mlflow.example.com"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The servers that were told, and no server."""
    servers: list[str] = []

    def register(tracking_uri: str, *_: str) -> str:
        servers.append(tracking_uri)
        return "It says \x1b]8;;https://evil.example\x07here\nand there."

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registration, "register", register)
    return servers


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    make_webhook_secret(settings)
    return settings


def test_the_stacks_own_server_is_told_and_its_answer_moves_no_cursor(
    settings: Settings, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _say_webhook(settings)
    said = capsys.readouterr().out
    assert told == [settings.mlflow_url]
    assert "\x1b" not in said and "\x07" not in said


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_a_server_elsewhere_is_not_told_that_a_receiver_is_on_its_own_machine(
    name: str, settings: Settings, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, ELSEWHERE)
    _say_webhook(settings)
    assert told == []
    monkeypatch.setenv(name, f"{settings.mlflow_url}/")
    _say_webhook(settings)
    assert told == [settings.mlflow_url]


def test_a_stack_that_is_up_is_up_though_no_webhook_can_be_had(
    settings: Settings, told: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _say_webhook(settings.model_copy(update={"webhook_secret_file": settings.home / "nowhere"}))
    assert "nowhere" in capsys.readouterr().out.replace("\n", "")
    assert told == []

    def refuses(*_: str) -> str:
        raise RegistryError("It does not answer.")

    monkeypatch.setattr(registration, "register", refuses)
    _say_webhook(settings)
    assert "It does not answer." in capsys.readouterr().out
