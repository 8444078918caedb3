"""What is a secret is left out of whatever is said."""

from __future__ import annotations

import logging

import pytest
from pydantic import SecretStr

from banana_delivery import errors
from banana_delivery.errors import RegistryError, hide, redacted
from banana_delivery.secrecy import secrets_of
from banana_delivery.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_secrets", set())


@pytest.mark.parametrize(
    "text",
    [
        "https://somebody:CANARY@mlflow.example/7",
        "https://CANARY@mlflow.example/7",
        "postgresql+psycopg://banana:CANARY@db:5432/log",
        "postgresql://banana:CAN/CANARY@db/log is away",
        "postgresql://banana:CAN@CANARY@db/log is away",
        "('https://u:CANARY@host/', 401)",
        "two: http://a:CANARY@b and http://c:CANARY@d",
        "GET https://bucket/best.pt?X-Amz-Signature=CANARY&x=1",
        "GET https://bucket/best.pt?x=1&X-Amz-Security-Token=CANARY",
        "https://account/models?sv=2024&sig=CANARY",
        "https://host/?access_token=CANARY#fragment",
        "https://host/?api_key=CANARY",
        "https://host/?password=CANARY",
        "{'Authorization': 'Bearer CANARY'}",
        "Authorization: Basic CANARY",
        "proxy-authorization: CANARY",
    ],
)
def test_a_secret_in_an_address_or_a_header_is_left_out(text: str) -> None:
    assert "CANARY" not in redacted(text)
    assert "CANARY" not in str(RegistryError(text))


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5001/#/models/detector/versions/3",
        "registry.example/banana@sha256:0123",
        "https://registry.example:5000/v2/banana/manifests/a@sha256:0123",
        "write to somebody@example.org about https://example.org/a?page=2&monkey=3",
        "Basic training failed; the token was refused.",
        "s3://models/run?versionId=3",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text


def test_a_known_secret_is_left_out_wherever_it_stands() -> None:
    hide(["hunter22hunter22", "hunter22", ""])
    assert redacted("it said 'hunter22hunter22' and xhunter22y") == "it said '***' and x***y"


def test_every_secret_setting_is_known_once_the_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BANANA_REGISTRY_PASSWORD", "canary-of-the-registry")
    monkeypatch.setenv("BANANA_SERVING_DATABASE_URL", "postgresql://u:canary-of-the-database@db/log")
    monkeypatch.setenv("BANANA_NOTIFY_URLS", '["json://u:canary-of-the-channel@host"]')
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "canary-of-mlflow")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-the-bucket")
    load_settings()
    for canary in ("of-the-registry", "of-mlflow", "of-the-bucket"):
        assert redacted(f"x canary-{canary} y") == "x *** y"
    with caplog.at_level(logging.INFO):
        logging.getLogger("banana_delivery.somewhere").info("it is %s", "canary-of-the-registry")
        logging.getLogger("banana_delivery").warning("at postgresql://u:canary-of-the-database@db/log")
        try:
            int("canary-of-the-bucket")
        except ValueError:
            logging.getLogger("banana_delivery.somewhere").exception("it failed")
    assert "canary" not in caplog.text
    assert "with base 10: '***'" in caplog.text


def test_no_secret_setting_is_forgotten() -> None:
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    given = {
        name: {"notify_urls": [secret], "metric_tokens": {"http://prometheus": secret}}.get(name, secret)
        for name in secrets
        for secret in [SecretStr(f"canary-{name}")]
    }
    assert {f"canary-{name}" for name in secrets} <= set(secrets_of(Settings(**given)))  # type: ignore[arg-type]
